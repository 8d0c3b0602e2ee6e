//! Requests of a BATCH that are for caches and counters of the cluster: those for one cache, or for
//! counters, go out together, to each member in one request, and each has its own outcome (DATA_PATH
//! R35, R36).
//!
//! What is asked of one key is done in its order. A write is committed some time after it was
//! executed, so a read of a key that was written in the same batch is asked in the next *wave*, when
//! all before it is answered; and what is about the whole cache is a wave of its own.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use isogrid_grid::catalog::{Kind, Object};
use isogrid_wire::native::cache::Request;
use isogrid_wire::native::{Reader, Request as Any};
use tokio::task::JoinSet;

use super::many::{Join, does, joined, one};
use super::spread::{Fate, Spread, Unit, wide};
use super::{one_by_one, segment_of, whole};
use crate::cluster::{Cluster, Shared};
use crate::server::native::failure::Failure;
use crate::server::native::reply::Given;
use crate::server::native::request::At;
use crate::server::native::session::Session;

type Way = (Arc<Cluster>, Arc<Shared>);
/// The answers, each with the place of its request.
type Answers = Vec<(usize, Given)>;

/// Requests of a batch, by what they are for.
#[derive(Default)]
pub struct Together(Vec<Part>);

/// Those for one cache, or for counters.
struct Part {
    way: Way,
    /// The cache.
    object: Option<Arc<Object>>,
    units: Vec<Unit>,
    subs: Vec<Sub>,
}

/// One of them.
struct Sub {
    /// Its place in the batch.
    place: usize,
    units: Range<usize>,
    join: Join,
}

impl Together {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, way: Way, object: Option<&Arc<Object>>, place: usize, cut: Cut) {
        let (more, join) = cut;
        let is_same = |part: &Part| part.way.1.group == way.1.group;
        let at = self.0.iter().position(is_same).unwrap_or_else(|| {
            let (object, units, subs) = (object.cloned(), Vec::new(), Vec::new());
            self.0.push(Part { way, object, units, subs });
            self.0.len() - 1
        });
        if let Some(Part { units, subs, .. }) = self.0.get_mut(at) {
            subs.push(Sub { place, units: units.len()..units.len() + more.len(), join });
            units.extend(more);
        }
    }
}

/// What a request is cut into, and how that makes one answer.
type Cut = (Vec<Unit>, Join);

impl Session {
    /// What of the cluster a request is for.
    pub fn way_together(&self, object: Option<&Arc<Object>>, request: &Any<'_>) -> Option<Way> {
        match request {
            Any::Cache(_) => self.clustered(object),
            Any::Counter(_) => self.structures_of_cluster(),
            _ => None,
        }
    }

    /// Puts a request for a cache or counters of the cluster to those that are executed together.
    ///
    /// # Errors
    /// It cannot be within another one, or its options have no meaning.
    pub fn put_together(
        &self,
        way: Way,
        at: &At<'_>,
        request: &Any<'_>,
        (place, together): (usize, &mut Together),
    ) -> Result<(), Failure> {
        match request {
            Any::Cache(request) => {
                let object = at.object(Kind::Cache)?;
                let cut = self.cut(at, object, request)?;
                together.add(way, Some(object), place, cut);
            }
            Any::Counter(request) => {
                at.object(Kind::Counters)?;
                let cut = self.counter_units(&way, at, request)?;
                together.add(way, None, place, cut);
            }
            _ => return Err(one_by_one()),
        }
        Ok(())
    }

    fn cut(&self, at: &At<'_>, object: &Object, request: &Request<'_>) -> Result<Cut, Failure> {
        if let Some(cut) = whole::cut(request)? {
            return Ok(cut);
        }
        let untracked = self.register(at, request)?;
        let request = untracked.as_ref().unwrap_or(request);
        let cache = object.cache.as_ref().ok_or_else(one_by_one)?;
        let (op, limits) = (at.to.op, self.limits);
        if let Some(units) = self.units_of(cache, request)? {
            return Ok((units, Box::new(move |fates| joined(op, fates, &limits))));
        }
        let (key, _) = self.key_of(request)?;
        let (segment, mut body) = (segment_of(at, key)?, Vec::with_capacity(at.body.len()));
        request.encode(&mut body);
        Ok((vec![Unit { segment, op, body, name: None }], Box::new(one)))
    }

    /// Begins with them; the answers come in time.
    pub fn begin_together(&mut self, at: &At<'_>, together: Together) -> JoinSet<Answers> {
        let mut parts = JoinSet::new();
        for part in together.0 {
            parts.spawn(self.begin_part(at, part));
        }
        parts
    }

    fn begin_part(
        &mut self,
        at: &At<'_>,
        part: Part,
    ) -> impl Future<Output = Answers> + Send + use<> {
        let Part { way, object, units, subs } = part;
        let (writer, said_max) = (self.writer(), self.limits.message_len_max);
        let (does, waves) = (does(&units), waves(&units));
        let of_wave = |wave: &[usize]| -> Vec<Unit> {
            wave.iter().filter_map(|at| units.get(*at).cloned()).collect()
        };
        let mut all = waves.iter().map(|wave| of_wave(wave));
        let spread = Spread::new(way.clone(), all.next().unwrap_or_default(), at.patience);
        let (until, later): (_, Vec<_>) = (spread.deadline(), all.collect());
        let first = self.begin_spread(&way, object.as_ref(), spread.each_within(said_max), &does);
        async move {
            let mut fates = vec![Fate::Undone; waves.iter().map(Vec::len).sum()];
            let mut note = |wave: &[usize], some: Vec<Fate>| {
                for (at, fate) in wave.iter().zip(some) {
                    fates.get_mut(*at).into_iter().for_each(|place| *place = fate.clone());
                }
            };
            let mut waves = waves.iter();
            let begun = first.await.ok();
            // The places are held until all waves are over.
            let (some, _places) = begun.unwrap_or_default();
            waves.next().into_iter().for_each(|wave| note(wave, some.clone()));
            for (wave, units) in waves.zip(later) {
                let spread = Spread::until(way.clone(), units, until).each_within(said_max);
                note(wave, spread.by(writer).go_all().await.unwrap_or_default());
            }
            let answer = |sub: &Sub| {
                (sub.place, (sub.join)(fates.get(sub.units.clone()).unwrap_or_default()))
            };
            subs.iter().map(answer).collect()
        }
    }
}

/// The places of units in the order in which they are asked: those of a wave at once, in the order of
/// their places.
fn waves(units: &[Unit]) -> Vec<Vec<usize>> {
    let mut waves: Vec<Vec<usize>> = Vec::new();
    // Of each key the wave of what was asked of it last, and whether it is written in that.
    let mut keys: BTreeMap<&[u8], (usize, bool)> = BTreeMap::new();
    let (limits, mut begins, mut whole) = (wide(), 0, None);
    for (at, unit) in units.iter().enumerate() {
        let is_next = whole == Some(unit.op);
        whole = whole::is_of_all(unit).then_some(unit.op);
        if whole.is_some() {
            if !is_next {
                waves.push(Vec::new());
                keys.clear();
                begins = waves.len();
            }
            waves.last_mut().into_iter().for_each(|wave| wave.push(at));
            continue;
        }
        let key = Reader::new(&unit.body, &limits).bytes().unwrap_or_default();
        let (wave, is_written) = keys.entry(key).or_insert((begins, false));
        if *is_written && !unit.writes() {
            (*wave, *is_written) = (*wave + 1, false);
        }
        *is_written |= unit.writes();
        if waves.len() <= *wave {
            waves.resize(*wave + 1, Vec::new());
        }
        waves.get_mut(*wave).into_iter().for_each(|wave| wave.push(at));
    }
    waves
}

#[cfg(test)]
mod tests {
    use isogrid_wire::native::cache::{Clear, Get, Put, Size};
    use isogrid_wire::native::{Key, ReadOptions, Value, WriteOptions};

    use super::*;

    #[test]
    fn what_waits_for_what_is_before_it_is_of_a_later_wave() {
        let get = |key| Unit::of(0, &Get { key: Key(key), read: ReadOptions::default() });
        let put = |key| {
            let (value, write) = (Value::Inline(b"v"), WriteOptions::default());
            Unit::of(0, &Put { key: Key(key), value, write })
        };
        let clear = |segment| Unit::of(segment, &Clear { delay_ms: 0, notify: false });
        let size = |segment| Unit::of(segment, &Size { exact: false });
        let (a, b): (&[u8], &[u8]) = (b"a", b"b");
        let cases = [
            (vec![], vec![]),
            (vec![get(a), put(a), put(b)], vec![vec![0, 1, 2]]),
            (vec![put(a), get(b), get(a), get(a)], vec![vec![0, 1], vec![2, 3]]),
            (vec![put(a), get(a), put(a), put(b), get(a)], vec![vec![0, 3], vec![1, 2], vec![4]]),
            (
                vec![put(a), clear(0), clear(1), size(0), size(1), get(a), put(b)],
                vec![vec![0], vec![1, 2], vec![3, 4], vec![5, 6]],
            ),
            (vec![size(0), put(a), clear(0), get(a)], vec![vec![0], vec![1], vec![2], vec![3]]),
        ];
        for (units, expected) in cases {
            assert_eq!(waves(&units), expected);
        }
    }
}
