//! What the policies are held against, written independently of them.

use std::collections::{BTreeMap, BTreeSet};

use super::Trace;

/// An access that never comes.
const NEVER: usize = usize::MAX;

/// The hit ratio of a plain LRU.
#[must_use]
pub fn lru(trace: &Trace, capacity: u64) -> f64 {
    let mut last_access: Vec<Option<usize>> = vec![None; trace.objects.len()];
    let mut oldest: BTreeMap<usize, u32> = BTreeMap::new();
    let (mut weight, mut hits) = (0, 0);
    for (now, (id, object)) in trace.iter().enumerate() {
        match last_access.get(id as usize).copied().flatten() {
            Some(then) => {
                oldest.remove(&then);
                hits += 1;
            }
            None => weight += u64::from(object.size),
        }
        oldest.insert(now, id);
        set(&mut last_access, id, Some(now));
        while weight > capacity {
            let Some((_, victim)) = oldest.pop_first() else { break };
            set(&mut last_access, victim, None);
            weight -= size(trace, victim);
        }
    }
    trace.ratio(hits)
}

/// The hit ratio of one who knows the future and evicts what is needed last (Belady: "A study of
/// replacement algorithms for a virtual-storage computer", 1966). What would be
/// evicted at once is not taken in. The optimum for entries of one size; with sizes that differ, a
/// policy that favours small entries may hold more of them and do better (on a loop it does).
#[must_use]
pub fn belady(trace: &Trace, capacity: u64) -> f64 {
    let next_access = next_accesses(trace);
    let mut held: BTreeSet<(usize, u32)> = BTreeSet::new();
    let (mut weight, mut hits) = (0, 0);
    for ((now, (id, object)), next) in trace.iter().enumerate().zip(next_access) {
        if held.remove(&(now, id)) {
            hits += 1;
        } else {
            weight += u64::from(object.size);
        }
        held.insert((next, id));
        while weight > capacity {
            let Some((_, victim)) = held.pop_last() else { break };
            weight -= size(trace, victim);
        }
    }
    trace.ratio(hits)
}

/// For each access, when the next one to the same object is.
fn next_accesses(trace: &Trace) -> Vec<usize> {
    let mut coming = vec![NEVER; trace.objects.len()];
    let mut next: Vec<usize> = trace
        .accesses
        .iter()
        .enumerate()
        .rev()
        .map(|(now, id)| coming.get_mut(*id as usize).map_or(NEVER, |c| std::mem::replace(c, now)))
        .collect();
    next.reverse();
    next
}

fn size(trace: &Trace, id: u32) -> u64 {
    trace.objects.get(id as usize).map_or(0, |object| u64::from(object.size))
}

fn set(last_access: &mut [Option<usize>], id: u32, to: Option<usize>) {
    if let Some(place) = last_access.get_mut(id as usize) {
        *place = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loop of ten objects, of which half fit.
    fn a_loop() -> (Trace, u64) {
        let trace = Trace::new("loop", (0..1000).map(|i| i % 10));
        let half = trace.footprint() / 2;
        (trace, half)
    }

    #[test]
    fn a_loop_defeats_lru_and_not_belady() {
        let (trace, half) = a_loop();
        assert_eq!(lru(&trace, half), 0.0);
        assert!(belady(&trace, half) > 0.4);
    }

    #[test]
    fn all_but_the_first_accesses_hit_when_everything_fits() {
        let (trace, half) = a_loop();
        assert_eq!(lru(&trace, half * 2 + 1), 0.99);
        assert_eq!(belady(&trace, half * 2 + 1), 0.99);
    }
}
