//! Requests of a BATCH that are for caches of the cluster: those for one cache go out together, to
//! each member in one request, and each has its own outcome (DATA_PATH R35, R36).
//!
//! What is asked of one key is done in its order. A write is committed some time after it was
//! executed, so a read of a key that was written in the same batch is asked in the next *wave*, when
//! all before it is answered.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use isogrid_grid::catalog::Object;
use isogrid_wire::native::Reader;
use isogrid_wire::native::cache::Request;
use tokio::task::JoinSet;

use super::many::{does, joined};
use super::spread::{Fate, Spread, Unit, wide};
use super::{nowhere, one_by_one, segment_of, unknown};
use crate::cluster::{Cluster, Shared};
use crate::server::native::failure::Failure;
use crate::server::native::reply::Given;
use crate::server::native::request::At;
use crate::server::native::session::Session;

type Way = (Arc<Cluster>, Arc<Shared>);
/// The answers, each with the place of its request.
type Answers = Vec<(usize, Given)>;

/// Requests of a batch, by the caches that they are for.
#[derive(Default)]
pub struct Together(Vec<Part>);

/// Those for one cache.
struct Part {
    way: Way,
    object: Arc<Object>,
    units: Vec<Unit>,
    subs: Vec<Sub>,
}

/// One of them.
struct Sub {
    /// Its place in the batch.
    place: usize,
    op: u16,
    /// Whether it is of many keys.
    is_many: bool,
    units: Range<usize>,
}

impl Together {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn add(&mut self, way: Way, object: &Arc<Object>, mut sub: Sub, units: Vec<Unit>) {
        let at = self.0.iter().position(|part| part.object.id == object.id).unwrap_or_else(|| {
            let (object, units, subs) = (Arc::clone(object), Vec::new(), Vec::new());
            self.0.push(Part { way, object, units, subs });
            self.0.len() - 1
        });
        if let Some(part) = self.0.get_mut(at) {
            sub.units = part.units.len()..part.units.len() + units.len();
            part.units.extend(units);
            part.subs.push(sub);
        }
    }
}

impl Session {
    /// Puts a request for a cache of the cluster to those that are executed together.
    ///
    /// # Errors
    /// It cannot be within another one, or its options have no meaning.
    pub fn put_together(
        &self,
        way: Way,
        at: &At<'_>,
        request: &Request<'_>,
        (place, together): (usize, &mut Together),
    ) -> Result<(), Failure> {
        let untracked = self.register(at, request)?;
        let request = untracked.as_ref().unwrap_or(request);
        let object = at.object.ok_or_else(one_by_one)?;
        let cache = object.cache.as_ref().ok_or_else(one_by_one)?;
        let many = self.units_of(cache, request)?;
        let is_many = many.is_some();
        let units = match many {
            Some(units) => units,
            None => {
                let (key, _) = self.key_of(request)?;
                let (segment, mut body) = (segment_of(at, key)?, Vec::with_capacity(at.body.len()));
                request.encode(&mut body);
                vec![Unit { segment, op: at.to.op, body, name: None }]
            }
        };
        let sub = Sub { place, op: at.to.op, is_many, units: 0..0 };
        together.add(way, object, sub, units);
        Ok(())
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
        let (Part { way, object, units, subs }, limits) = (part, self.limits);
        let writer = self.writer();
        let (does, waves) = (does(&units), waves(&units));
        let said_max = limits.message_len_max;
        let of_wave = |wave: &[usize]| -> Vec<Unit> {
            wave.iter().filter_map(|at| units.get(*at).cloned()).collect()
        };
        let mut all = waves.iter().map(|wave| of_wave(wave));
        let spread = Spread::new(way.clone(), all.next().unwrap_or_default(), at.patience);
        let (until, later): (_, Vec<_>) = (spread.deadline(), all.collect());
        let first = self.begin_spread(&way, Some(&object), spread.each_within(said_max), &does);
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
                let fates = fates.get(sub.units.clone()).unwrap_or_default();
                let many = sub.is_many.then(|| joined(sub.op, fates, &limits));
                (sub.place, many.unwrap_or_else(|| one(fates)))
            };
            subs.iter().map(answer).collect()
        }
    }
}

/// The answer to a request of one key.
fn one(fates: &[Fate]) -> Given {
    match fates {
        [Fate::Given(given)] => given.clone(),
        [Fate::Undone] => Given::failure(&nowhere()),
        _ => Given::failure(&unknown()),
    }
}

/// The places of units in the order in which they are asked: those of a wave at once, in the order of
/// their places.
fn waves(units: &[Unit]) -> Vec<Vec<usize>> {
    let mut waves: Vec<Vec<usize>> = Vec::new();
    // Of each key the wave of what was asked of it last, and whether it is written in that.
    let mut keys: BTreeMap<&[u8], (usize, bool)> = BTreeMap::new();
    let limits = wide();
    for (at, unit) in units.iter().enumerate() {
        let key = Reader::new(&unit.body, &limits).bytes().unwrap_or_default();
        let (wave, is_written) = keys.entry(key).or_default();
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
    use isogrid_wire::native::cache::{Get, Put};
    use isogrid_wire::native::{Key, ReadOptions, Value, WriteOptions};

    use super::*;

    #[test]
    fn a_read_behind_a_write_of_its_key_is_of_the_next_wave() {
        let get = |key| Unit::of(0, &Get { key: Key(key), read: ReadOptions::default() });
        let put = |key| {
            let (value, write) = (Value::Inline(b"v"), WriteOptions::default());
            Unit::of(0, &Put { key: Key(key), value, write })
        };
        let (a, b): (&[u8], &[u8]) = (b"a", b"b");
        let cases = [
            (vec![], vec![]),
            (vec![get(a), put(a), put(b)], vec![vec![0, 1, 2]]),
            (vec![put(a), get(b), get(a), get(a)], vec![vec![0, 1], vec![2, 3]]),
            (vec![put(a), get(a), put(a), put(b), get(a)], vec![vec![0, 3], vec![1, 2], vec![4]]),
        ];
        for (units, expected) in cases {
            assert_eq!(waves(&units), expected);
        }
    }
}
