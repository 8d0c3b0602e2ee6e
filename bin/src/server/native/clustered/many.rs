//! Requests of many keys for a cache of the cluster: each key is a request of its own, executed
//! where it is served, and has its own outcome (DATA_PATH R27, R36).

use std::collections::BTreeMap;
use std::sync::Arc;

use isogrid_grid::Cache;
use isogrid_grid::catalog::{Kind, Object};
use isogrid_grid::structure::cache::Action;
use isogrid_wire::native::cache::{
    Get, GetMany, GetManyReply, GetReply, KeyStatus, KeyVersion, Put, PutMany, PutManyReply,
    PutReply, ReadItem, Remove, RemoveMany, RemoveManyReply, RemoveReply, Request, Touch,
    TouchManyReply, TouchReply,
};
use isogrid_wire::native::{
    Answer, Call, Entry, ErrorCode, Limits, List, Reader, Status, SubKind, WriteOptions,
};

use super::order::{Does, Place, Turn};
use super::spread::{Fate, Spread, Unit};
use super::{nowhere, unknown};
use crate::cluster::{Cluster, Shared};
use crate::server::native::failure::Failure;
use crate::server::native::many::without_expect;
use crate::server::native::reply::Given;
use crate::server::native::request::{At, Flow};
use crate::server::native::session::Session;

/// Makes one answer of what became of units.
pub(super) type Join = Box<dyn Fn(&[Fate]) -> Given + Send>;

impl Session {
    /// Executes a request of many keys; `None` when it is none.
    ///
    /// # Errors
    /// Too many keys, or options that have no meaning.
    pub(super) fn clustered_many(
        &mut self,
        way: &(Arc<Cluster>, Arc<Shared>),
        at: &At<'_>,
        request: &Request<'_>,
    ) -> Result<Option<Flow>, Failure> {
        let object = at.object(Kind::Cache)?;
        let cache = object.cache.as_ref().ok_or_else(|| Failure::of(ErrorCode::NoSuchObject))?;
        let Some(units) = self.units_of(cache, request)? else { return Ok(None) };
        let (op, limits) = (at.to.op, self.limits);
        let join = move |fates: &[Fate]| joined(op, fates, &limits);
        self.spread_out(way, at, (Some(object), units), join).map(Some)
    }

    /// Has units executed where their segments are served, here or elsewhere, in the order of what
    /// the connection asks; `join` makes one answer of what became of them.
    ///
    /// # Errors
    /// The request cannot be answered later.
    pub(super) fn spread_out(
        &mut self,
        way: &(Arc<Cluster>, Arc<Shared>),
        at: &At<'_>,
        (object, units): (Option<&Arc<Object>>, Vec<Unit>),
        join: impl FnOnce(&[Fate]) -> Given + Send + 'static,
    ) -> Result<Flow, Failure> {
        self.check_wait(at)?;
        let does = does(&units);
        let mut spread = Spread::new(way.clone(), units, at.patience);
        if does.values().all(|does| *does == Does::Reads) {
            spread = spread.within(self.limits.message_len_max);
        }
        let fates = self.begin_spread(way, object, spread, &does);
        let later = async move {
            match fates.await {
                Ok((fates, _places)) => join(&fates),
                Err(failure) => Given::failure(&failure),
            }
        };
        self.later(at, Box::pin(later))
    }

    /// Begins with units, when it is the turn of all: at once if it can be. Their places are held as
    /// long as what comes of them is.
    pub(super) fn begin_spread(
        &mut self,
        way: &(Arc<Cluster>, Arc<Shared>),
        object: Option<&Arc<Object>>,
        mut spread: Spread,
        does: &BTreeMap<u32, Does>,
    ) -> impl Future<Output = Result<(Vec<Fate>, Vec<Place>), Failure>> + Send + use<> {
        // It goes out at once, and must not overtake what was asked before it in this turn.
        self.unsent.send(&way.0);
        let (mut places, mut turns) = (Vec::new(), Vec::new());
        for (segment, does) in does {
            match self.order.turn(&way.1, *segment, *does) {
                Turn::Now(place) => places.push(place),
                Turn::Later(turn) => turns.push(turn),
            }
        }
        spread = spread.by(self.writer());
        let mut begun = None;
        if turns.is_empty() {
            let here = self.execute_units(way, object, spread.units());
            let asked = spread.ask(&here);
            begun = Some((here, asked));
        }
        async move {
            for turn in turns {
                places.push(turn.await);
            }
            let fates = match begun {
                Some((here, asked)) => spread.go(here, asked).await?,
                None => spread.go_all().await?,
            };
            Ok((fates, places))
        }
    }

    /// Its keys, each with the request for it.
    pub(super) fn units_of(
        &self,
        cache: &Cache,
        request: &Request<'_>,
    ) -> Result<Option<Vec<Unit>>, Failure> {
        let segment = |key: &[u8]| cache.hash(key).segment();
        let len_max = self.limits.value_len_max;
        let units: Vec<Unit> = match request {
            Request::GetMany(many) => {
                self.check_keys(many.keys.len())?;
                let read = many.read;
                many.keys.iter().map(|key| Unit::of(segment(key.0), &Get { key, read })).collect()
            }
            Request::PutMany(many) => {
                self.check_keys(many.entries.len())?;
                let (write, allowed) =
                    (many.write, WriteOptions::IF_ABSENT | WriteOptions::KEEP_TTL);
                without_expect(&write, allowed, Action::Put(b""), len_max)?;
                let put = |entry: isogrid_wire::native::cache::KeyValue<'_>| {
                    let put = Put { key: entry.key, value: entry.value, write };
                    Unit::of(segment(entry.key.0), &put)
                };
                many.entries.iter().map(put).collect()
            }
            Request::RemoveMany(many) => {
                self.check_keys(many.keys.len())?;
                let write = many.write;
                without_expect(&write, 0, Action::Remove, len_max)?;
                many.keys
                    .iter()
                    .map(|key| Unit::of(segment(key.0), &Remove { key, write }))
                    .collect()
            }
            Request::TouchMany(many) => {
                self.check_keys(many.keys.len())?;
                let write = many.write;
                without_expect(&write, 0, Action::Touch, len_max)?;
                many.keys
                    .iter()
                    .map(|key| Unit::of(segment(key.0), &Touch { key, write }))
                    .collect()
            }
            _ => return Ok(None),
        };
        Ok(Some(units))
    }
}

/// What units do in each segment.
pub(super) fn does(units: &[Unit]) -> BTreeMap<u32, Does> {
    let mut all = BTreeMap::new();
    for unit in units {
        let does = if unit.writes() { Does::Writes } else { Does::Reads };
        all.entry(unit.segment).and_modify(|all: &mut Does| *all = all.and(does)).or_insert(does);
    }
    all
}

/// The answer to a request of one unit.
pub(super) fn one(fates: &[Fate]) -> Given {
    match fates {
        [Fate::Given(given)] => given.clone(),
        [Fate::Undone] => Given::failure(&nowhere()),
        _ => Given::failure(&unknown()),
    }
}

/// The answer to the request `op` of what became of each key.
pub(super) fn joined(op: u16, fates: &[Fate], limits: &Limits) -> Given {
    if let Some(given) = same_end(fates) {
        return given;
    }
    match op {
        GetMany::CODE => {
            let items: Vec<_> = fates.iter().map(|fate| read(fate, limits)).collect();
            let is_whole = items.iter().all(|item| item.status != Status::Failed);
            let entries = List::of(&items);
            Given::answer(&if is_whole {
                GetManyReply::Ok { entries }
            } else {
                GetManyReply::Partial { entries }
            })
        }
        PutMany::CODE => {
            let results: Vec<_> = fates.iter().map(|fate| put(fate, limits)).collect();
            let all = results.iter().all(|result| result.status == Status::Ok);
            let results = List::of(&results);
            Given::answer(&if all {
                PutManyReply::Ok { results }
            } else {
                PutManyReply::Partial { results }
            })
        }
        RemoveMany::CODE => {
            let (all, results) = statuses(fates, |fate| removed(fate, limits));
            let results = List::of(&results);
            Given::answer(&if all {
                RemoveManyReply::Ok { results }
            } else {
                RemoveManyReply::Partial { results }
            })
        }
        _ => {
            let (all, results) = statuses(fates, |fate| touched(fate, limits));
            let results = List::of(&results);
            Given::answer(&if all {
                TouchManyReply::Ok { results }
            } else {
                TouchManyReply::Partial { results }
            })
        }
    }
}

/// The answer for all when no key has another outcome: that nobody knows, or that nothing was done.
fn same_end(fates: &[Fate]) -> Option<Given> {
    let is_given = |fate: &Fate| matches!(fate, Fate::Given(given) if given.kind == SubKind::Res);
    let unknown_count = fates.iter().filter(|fate| matches!(fate, Fate::Unknown)).count();
    if fates.iter().any(is_given) || fates.is_empty() {
        return None;
    }
    match unknown_count {
        0 => fates.iter().find_map(|fate| match fate {
            Fate::Given(given) => Some(given.clone()),
            _ => None,
        }),
        all if all == fates.len() => Some(Given::failure(&unknown())),
        _ => return None,
    }
    .or_else(|| Some(Given::failure(&nowhere())))
}

/// The answer for one key; without one, the status that says so.
fn answer<'a, A: Answer<'a>>(fate: &'a Fate, limits: &Limits) -> Result<A, Status> {
    match fate {
        Fate::Given(given) if given.kind == SubKind::Res => {
            A::decode_all(Reader::new(&given.payload, limits)).map_err(|_| Status::Unknown)
        }
        Fate::Given(_) | Fate::Undone => Err(Status::Failed),
        Fate::Unknown => Err(Status::Unknown),
    }
}

fn read<'a>(fate: &'a Fate, limits: &Limits) -> ReadItem<'a> {
    let none = Entry::default();
    match answer(fate, limits) {
        Ok(GetReply::Ok { entry }) => ReadItem { status: Status::Ok, entry },
        Ok(GetReply::NotFound {}) => ReadItem { status: Status::NotFound, entry: none },
        Ok(GetReply::Unchanged {}) => ReadItem { status: Status::Unchanged, entry: none },
        Err(_) => ReadItem { status: Status::Failed, entry: none },
    }
}

fn put(fate: &Fate, limits: &Limits) -> KeyVersion {
    match answer(fate, limits) {
        Ok(PutReply::Ok { version, .. }) => KeyVersion { status: Status::Ok, version },
        Ok(PutReply::NotStored { version, .. } | PutReply::VersionMismatch { version, .. }) => {
            KeyVersion { status: Status::NotStored, version }
        }
        Err(status) => KeyVersion { status, version: 0 },
    }
}

fn removed(fate: &Fate, limits: &Limits) -> Status {
    match answer(fate, limits) {
        Ok(RemoveReply::Ok { .. }) => Status::Ok,
        Ok(RemoveReply::NotFound {} | RemoveReply::VersionMismatch { .. }) => Status::NotFound,
        Err(status) => status,
    }
}

fn touched(fate: &Fate, limits: &Limits) -> Status {
    match answer(fate, limits) {
        Ok(TouchReply::Ok { .. }) => Status::Ok,
        Ok(TouchReply::NotFound {} | TouchReply::VersionMismatch { .. }) => Status::NotFound,
        Err(status) => status,
    }
}

fn statuses(fates: &[Fate], status: impl Fn(&Fate) -> Status) -> (bool, Vec<KeyStatus>) {
    let results: Vec<_> = fates.iter().map(|fate| KeyStatus { status: status(fate) }).collect();
    (results.iter().all(|result| result.status == Status::Ok), results)
}
