//! Group 0x01: caches. A write is answered when it is kept, as the cache's `persist` says.

use std::sync::Arc;

use isogrid_engine::{Entry, Error, Hint, KeyHash};
use isogrid_grid::catalog::{Kind, Object};
use isogrid_grid::events::{self, Tracker};
use isogrid_grid::structure::cache::{Edit, Refusal};
use isogrid_grid::{Batch, Cache};
use isogrid_wire::native::cache::{
    ClearReply, Get, GetReply, PartSeq, PartSeqReply, PutReply, Request, SegmentSeq, SizeReply,
};
use isogrid_wire::native::{ErrorCode, Header, Kind as FrameKind, List, ReadOptions};

use super::edit::{self, Outcome};
use super::entry::{self, View};
use super::failure::Failure;
use super::listen::Listening;
use super::live::Live;
use super::reply::{Given, Reply};
use super::request::{At, Flow};
use super::scan::Scanning;
use super::session::Session;
use super::track::Tracking;
use crate::server::counters::Counts;

/// Entries that are counted before others have their turn.
const COUNT_BATCH: usize = 1_000;

/// Whether a frame is a write that needs not see what was written before it: it decides under
/// locks that know of writes which nobody may see yet.
pub fn only_writes(header: &Header) -> bool {
    header.kind == FrameKind::Req
        && matches!(
            header.op,
            0x0102 | 0x0103 | 0x0105 | 0x0108..=0x010a | 0x010d | 0x0111 | 0x0112
        )
}

impl Session {
    /// Executes a request of this group.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn cache(
        &mut self,
        at: &At<'_>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        let object = at.object(Kind::Cache)?;
        let cache = object.cache.as_ref().ok_or_else(|| Failure::of(ErrorCode::NoSuchObject))?;
        if let Request::MapUpdate(update) = request {
            self.check_keys(update.changes.len() + update.removals.len())?;
        }
        if let Some((key, edit)) = edit::of(request, self.limits.value_len_max)? {
            let batch = cache.batch(self.now).by(self.origin);
            self.edit(object, &batch, (cache.hash(key), key), &edit, request, reply)?;
            return Ok(Flow::Said);
        }
        match request {
            Request::Get(get) => self.get(object, cache, get, reply)?,
            Request::MapGet(get) => self.map_get(object, cache, get, reply)?,
            Request::GetMany(many) => self.get_many(object, cache, many, reply)?,
            Request::PutMany(many) => self.put_many(object, cache, many, reply)?,
            Request::RemoveMany(many) => self.remove_many(object, cache, many, reply)?,
            Request::TouchMany(many) => self.touch_many(object, cache, many, reply)?,
            Request::Size(size) if size.exact => {
                return Ok(Flow::Later(Box::pin(count_entries(Arc::clone(cache), self.now))));
            }
            Request::Size(_) => {
                reply.say(&SizeReply::Ok { entries: cache.table().usage().entries })
            }
            Request::Clear(clear) => {
                if clear.notify {
                    return Err(Failure::invalid(
                        "`notify`: listeners are told of the whole at once",
                    ));
                }
                self.window.wrote_to(object.options.persist);
                self.count(object).cmd_flush += 1;
                let at = self.now.saturating_add(clear.delay_ms.into());
                cache.clear(at, self.now)?;
                reply.say(&ClearReply::Ok { generation: cache.cleared() });
            }
            Request::PartSeq(request) => part_seq(cache, request, reply),
            Request::Scan(scan) => {
                let scanning = Scanning::open(cache, object.id, scan, self.now)?;
                return Ok(Flow::Live(Box::new(Live::Scan(scanning)), scan.credit));
            }
            Request::Listen(listen) => {
                let (origin, now) = (self.origin, self.now);
                let listening = Listening::open(cache, object.id, listen, origin, now)?;
                return Ok(Flow::Live(Box::new(Live::Listen(listening)), listen.credit));
            }
            Request::Track(track) => {
                let tracking = Tracking::open(cache, object.id, track, self.origin, None)?;
                return Ok(Flow::Live(Box::new(Live::Track(tracking)), track.credit));
            }
            _ => return Err(Failure::of(ErrorCode::UnsupportedOp)),
        }
        Ok(Flow::Said)
    }

    fn get(
        &mut self,
        object: &Object,
        cache: &Cache,
        get: &Get<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Failure> {
        let batch = cache.batch(self.now);
        let entry = self.look_up(object, &batch, get, cache.hash(get.key.0), Hint::NONE)?;
        if !get.read.has(ReadOptions::NO_TOUCH) {
            self.count_get(object, entry.is_some());
        }
        say_entry(get, entry.as_ref(), self.now, reply);
        Ok(())
    }

    /// Reads an entry as it is asked for; who asks counts the read.
    ///
    /// # Errors
    /// The connection does not track what it reads.
    #[inline(always)]
    pub fn look_up<'b>(
        &self,
        object: &Object,
        batch: &'b Batch<'_>,
        get: &Get<'_>,
        hash: KeyHash,
        hint: Hint<'b>,
    ) -> Result<Option<Entry<'b>>, Failure> {
        let (read, key) = (&get.read, get.key.0);
        if read.has(ReadOptions::TRACK) {
            // Ahead of the read: a change that the read does not see finds the registration.
            self.tracker(object)?.register(key);
        }
        Ok(if read.has(ReadOptions::NO_TOUCH) {
            batch.peek(hash, key)
        } else {
            batch.get_hinted(hash, key, hint)
        })
    }

    /// The tracker of what this connection reads of a cache.
    ///
    /// # Errors
    /// It has none.
    pub fn tracker(&self, object: &Object) -> Result<&Tracker, Failure> {
        let none = || Failure::invalid("TRACK: this connection has no TRACK stream of its reads");
        self.lives.tracker(object.id).ok_or_else(none)
    }

    /// Counts a read.
    pub fn count_get(&mut self, object: &Object, hit: bool) {
        count_read(self.count(object), Some(hit));
    }

    /// Does a write and answers it.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn edit(
        &mut self,
        object: &Object,
        batch: &Batch<'_>,
        (hash, key): (KeyHash, &[u8]),
        edit: &Edit<'_>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Failure> {
        self.window.wrote_to(object.options.persist);
        let (now, edited) = (self.now, batch.edit(hash, key, edit));
        let version = edited.as_ref().map(|edited| edited.version).map_err(|error| *error);
        let there = edited.as_ref().is_ok_and(|edited| edited.before.is_some());
        count(self.count(object), request, edit, version, there);
        let edited = match edited {
            Err(error @ Error::Behind) => {
                return Err(Failure::from(error).behind());
            }
            edited => edited?,
        };
        self.went_on(object);
        if let (Ok(version), true) = (edited.version, edit.is_blind()) {
            reply.say(&PutReply::Ok { version, prev: None });
            return Ok(());
        }
        let shared = edited.before.as_ref().and_then(Entry::shared);
        let outcome = Outcome {
            before: edited.before.as_ref().map(|entry| View::of(entry, shared.as_ref())),
            version: edited.version,
            number: edited.number,
            life: (edited.deadline, edited.max_idle),
        };
        edit::say(request, &outcome, now, reply);
        Ok(())
    }
}

/// Answers a read, looking at no more of the entry than is asked for.
pub fn say_entry(get: &Get<'_>, found: Option<&Entry<'_>>, now: u64, reply: &mut Reply<'_>) {
    let (read, shared) = (&get.read, found.and_then(Entry::shared));
    reply.say(&match found {
        Some(found) if read.if_changed == Some(found.version()) => GetReply::Unchanged {},
        Some(found) => {
            let entry = entry::parts(found, shared.as_ref(), read.switches, get.key.0, now);
            GetReply::Ok { entry }
        }
        None => GetReply::NotFound {},
    });
}

/// Answers a read.
pub fn say_get(get: &Get<'_>, found: Option<View<'_>>, now: u64, reply: &mut Reply<'_>) {
    let read = &get.read;
    reply.say(&match found {
        Some(found) if read.if_changed == Some(found.version) => GetReply::Unchanged {},
        Some(found) => GetReply::Ok { entry: found.parts(read.switches, get.key.0, now) },
        None => GetReply::NotFound {},
    });
}

/// Counts a read that found something or not, if it is one.
pub fn count_read(counts: &mut Counts, hit: Option<bool>) {
    counts.cmd_get += u64::from(hit.is_some());
    counts.get_hits += u64::from(hit == Some(true));
    counts.get_misses += u64::from(hit == Some(false));
}

/// Counts a write as the other protocols do.
fn count(
    counts: &mut Counts,
    request: &Request<'_>,
    edit: &Edit<'_>,
    version: Result<Result<u64, Refusal>, Error>,
    there: bool,
) {
    let done = matches!(version, Ok(Ok(_)));
    let (hit, miss) = (u64::from(done), u64::from(!done));
    match request {
        Request::Put(_) | Request::Append(_) | Request::Prepend(_) | Request::MapUpdate(_) => {
            counts.cmd_set += 1;
            counts.set_not_stored +=
                u64::from(matches!(version, Ok(Err(Refusal::Present | Refusal::Absent))));
            counts.set_failed += u64::from(version.is_err());
            if edit.expect.is_some_and(|expect| expect != 0) {
                counts.cas_hits += hit;
                counts.cas_misses += u64::from(!done && !there);
                counts.cas_badval += u64::from(!done && there);
            }
        }
        Request::Remove(_) => {
            counts.delete_hits += hit;
            counts.delete_misses += miss;
        }
        Request::Touch(_) | Request::GetTouch(_) => {
            counts.cmd_touch += 1;
            counts.touch_hits += hit;
            counts.touch_misses += miss;
            if matches!(request, Request::GetTouch(_)) {
                counts.cmd_get += 1;
                counts.get_hits += hit;
                counts.get_misses += miss;
            }
        }
        Request::Incr(incr) if incr.delta < 0 => {
            counts.decr_hits += u64::from(done && there);
            counts.decr_misses += u64::from(!there);
        }
        Request::Incr(_) => {
            counts.incr_hits += u64::from(done && there);
            counts.incr_misses += u64::from(!there);
        }
        _ => {}
    }
    if let Err(error) = version {
        count_error(counts, &error);
    }
}

/// Counts why a write was refused.
pub fn count_error(counts: &mut Counts, error: &Error) {
    match error {
        Error::Full { .. } => counts.store_no_memory += 1,
        Error::Away | Error::Behind => counts.storage_refused += 1,
        Error::KeyLength { .. } | Error::ValueLength { .. } => counts.store_too_large += 1,
        Error::Unrecorded(_) => counts.store_unrecorded += 1,
    }
}

/// Counts the entries one by one, beside the connection.
async fn count_entries(cache: Arc<Cache>, now: u64) -> Given {
    let mut entries = 0;
    let mut cursor = Some(isogrid_engine::Cursor::default());
    while let Some(from) = cursor {
        cursor = cache.table().scan(from, COUNT_BATCH, now, |_| entries += 1);
        tokio::task::yield_now().await;
    }
    Given::answer(&SizeReply::Ok { entries })
}

fn part_seq(cache: &Cache, request: &PartSeq<'_>, reply: &mut Reply<'_>) {
    let segments: Vec<u16> = if request.segments.is_empty() {
        let count = u16::try_from(cache.table().segment_count()).unwrap_or(u16::MAX);
        (0..count).collect()
    } else {
        request.segments.iter().collect()
    };
    let asked: Vec<u32> = segments.iter().map(|segment| u32::from(*segment)).collect();
    let mut states = Vec::with_capacity(segments.len());
    for (segment, state) in segments.iter().zip(cache.part_seq(&asked)) {
        let Some(state) = state else {
            let why = format!("there is no segment {segment}");
            return reply.fail(&Failure::new(ErrorCode::OutOfRange, why));
        };
        states.push(numbered(*segment, state));
    }
    reply.say(&PartSeqReply::Ok { segments: List::of(&states) });
}

/// How far a segment has come, as it is said.
pub(super) fn numbered(segment: u16, events::PartSeq { life, seq }: events::PartSeq) -> SegmentSeq {
    let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or(0);
    SegmentSeq { segment, uuid_high: half(life >> 64), uuid_low: half(life), seq }
}
