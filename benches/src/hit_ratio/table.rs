//! The policies in the engine's tables: the order of evictions, and what everything beside the
//! values costs of the limit.

use isogrid_engine::{Error, NewEntry, Table, TableConfig, eviction::PolicyKind};

use super::{Object, Trace};

/// Nothing expires here.
const NOW: u64 = 0;

/// What a table made of a trace.
#[derive(Debug, Clone, Copy)]
pub struct Played {
    /// Hits of all accesses.
    pub hit_ratio: f64,
    /// Bytes of index, slots and policy in the end, for each entry.
    pub structures: u32,
    /// Bytes of garbage, on average behind each put.
    pub garbage: u64,
}

/// Plays a trace on a table with a limit in bytes on all that it holds.
///
/// # Errors
/// When the engine refuses the number of segments, or an entry for another reason than its size.
pub fn in_table(
    policy: PolicyKind,
    trace: &Trace,
    max_bytes: u64,
    segments: u32,
) -> Result<Played, Box<dyn std::error::Error>> {
    let segments = Some(segments);
    let config =
        TableConfig { segments, max_bytes, eviction: policy, seed: 1, ..TableConfig::default() };
    let table = Table::new(&config, NOW)?;
    let value = value_for(trace);
    let (mut misses, mut garbage) = (0, 0);
    for (_, object) in trace.iter() {
        if !look_aside(&table, object, &value)? {
            misses += 1;
            garbage += table.usage().retired_bytes;
        }
    }
    let usage = table.usage();
    let entries: u64 = trace.objects.iter().filter_map(|object| charge(&table, object)).sum();
    let structures = (usage.bytes - usage.retired_bytes - entries) / usage.entries.max(1);
    Ok(Played {
        hit_ratio: trace.ratio(trace.accesses.len() as u64 - misses),
        structures: u32::try_from(structures)?,
        garbage: garbage / misses.max(1),
    })
}

/// The trace with the sizes that a table charges: what each entry takes of the allocator, and so
/// many bytes of structures.
///
/// # Errors
/// As [`in_table`].
pub fn charged(trace: &Trace, structures: u32) -> Result<Trace, Box<dyn std::error::Error>> {
    let table = Table::new(&TableConfig::default(), NOW)?;
    let (mut charged, value) = (trace.clone(), value_for(trace));
    for object in &mut charged.objects {
        look_aside(&table, object, &value)?;
        let entry = charge(&table, object).ok_or("an entry was not kept")?;
        object.size = u32::try_from(entry)? + structures;
    }
    Ok(charged)
}

/// As many bytes as the largest value has.
fn value_for(trace: &Trace) -> Vec<u8> {
    let largest = trace.objects.iter().map(|object| object.size).max();
    vec![b'v'; largest.unwrap_or(0) as usize]
}

/// What a table charges for an object, if it holds it.
fn charge(table: &Table, object: &Object) -> Option<u64> {
    let key = object.key.to_string();
    let (key, hash) = (key.as_bytes(), table.hash(key.as_bytes()));
    Some(table.pin().peek(hash, key, NOW)?.charge() as u64)
}

/// Gets, and on a miss sets; whether it hit. What is larger than the limit is not stored.
fn look_aside(table: &Table, object: &Object, value: &[u8]) -> Result<bool, Error> {
    let key = object.key.to_string();
    let (key, hash) = (key.as_bytes(), table.hash(key.as_bytes()));
    let pinned = table.pin();
    if pinned.get(hash, key, NOW).is_some() {
        return Ok(true);
    }
    let len = (object.size as usize).saturating_sub(key.len());
    let new = NewEntry { value: [value.get(..len).unwrap_or(value), b""], ..NewEntry::default() };
    match pinned.entry(hash, key, NOW).map(|mut entry| entry.put(&new)) {
        Some(Err(error)) if !matches!(error, Error::Full { .. }) => Err(error),
        _ => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hit_ratio::ideal;

    /// Once the bytes of its entries are paid for, nothing but the hash of the keys is different.
    #[test]
    fn a_table_hits_as_often_as_its_policy_alone_with_as_many_bytes_an_entry() {
        let keys = (0..60_000_u64).map(|i| i * i % 5_003 * (i % 7));
        let trace = Trace::new("squares", keys);
        let capacity = trace.footprint() / 4;
        for policy in [PolicyKind::TinyLfu, PolicyKind::S3Fifo, PolicyKind::Lru, PolicyKind::Lfu] {
            let played = in_table(policy, &trace, capacity, 1).expect("a table");
            let charged = charged(&trace, played.structures).expect("a table");
            let alone = ideal(policy, &charged, capacity - played.garbage);
            assert!(alone > 0.2, "{policy}: {alone}");
            assert!(
                (played.hit_ratio - alone).abs() < 0.005,
                "{policy}: {played:?}, alone {alone}"
            );
        }
    }
}
