//! Runs of requests of one key: those that stand together in the input, and are for one cache, are
//! looked up together and answered with one pin, as memcached's are in batches. One miss of the
//! processor's caches after the other would be a quarter of what a request costs.
//!
//! A run takes what says nothing beside what it does. All else ends it and goes the way of
//! `request.rs`; so does what will be refused before it is tried: why is said there alone.

use isogrid_engine::{Hint, KeyHash};
use isogrid_grid::catalog::{Index, Kind, Object};
use isogrid_grid::{Batch, Cache};
use isogrid_wire::Output;
use isogrid_wire::native::cache::{Get, Request};
use isogrid_wire::native::{
    Call, Codec, Frame, Key, Kind as FrameKind, ReadOptions, Reader, Request as Any, RequestFrame,
    decode_all,
};

use super::cache::{only_writes, say_entry};
use super::edit;
use super::reply::{Reply, To};
use super::session::{Session, Stage};
use crate::server::connection::OUTPUT_LEN_MAX;
use crate::server::loading::Loading;

/// Requests that are looked up and executed together.
const RUN: usize = 32;
/// The group of caches, and its first operations that have a key of their own in front.
const OF_ONE_KEY: std::ops::RangeInclusive<u16> = 0x0101..=0x010d;

/// How far a run came.
#[derive(Debug, Clone, Copy, Default)]
pub struct Went {
    /// Requests that were answered.
    pub requests: usize,
    /// Bytes that those had.
    pub len: usize,
}

/// A request of one key.
struct Plain<'a> {
    to: To,
    key: &'a [u8],
    body: Reader<'a>,
    /// Bytes of its frame.
    len: usize,
    /// It needs not see what was written before it.
    only_writes: bool,
}

/// A request, the hash of its key, and where its lookup begins.
struct Placed<'a, 'b>(Plain<'a>, KeyHash, Hint<'b>);

/// What the requests of a run have in common.
struct Run<'i> {
    id: u32,
    object: &'i Object,
    cache: &'i Cache,
    /// Entries may be on the disk alone.
    may_be_away: bool,
    hits: u64,
    misses: u64,
}

impl Session {
    /// Answers the requests that the input begins with, up to `max`, as far as they are a run.
    pub fn run(&mut self, index: &Index, input: &[u8], max: usize, out: &mut Output) -> Went {
        let mut went = Went::default();
        let Some((id, first)) = self.plain(input) else { return went };
        let Some(mut run) = self.run_of(index, id) else { return went };
        let batch = run.cache.batch(self.now).by(self.origin);
        if first.len == input.len() {
            let hash = run.cache.hash(first.key);
            let alone = [Some(Placed(first, hash, Hint::NONE))];
            self.answer_all(&mut run, &batch, &alone, &mut went, out);
        } else {
            let mut places: [Option<Placed<'_, '_>>; RUN] = [const { None }; RUN];
            let places = places.get_mut(..RUN.min(max)).unwrap_or_default();
            let len = self.decode_run(&run, &batch, input, places);
            let places = places.get_mut(..len).unwrap_or_default();
            fetch(&batch, places);
            self.answer_all(&mut run, &batch, places, &mut went, out);
        }
        if went.requests > 0 {
            self.went_on(run.object);
        }
        if run.hits + run.misses > 0 {
            let counts = self.count(run.object);
            counts.cmd_get += run.hits + run.misses;
            counts.get_hits += run.hits;
            counts.get_misses += run.misses;
        }
        went
    }

    /// The request that the input begins with and its object, if it has come whole and in time, and
    /// nothing is said beside it.
    #[inline]
    fn plain<'a>(&self, input: &'a [u8]) -> Option<(u32, Plain<'a>)> {
        let frame = Frame::decode(input, &self.limits).ok()??;
        let header = frame.header;
        let is_plain = header.kind == FrameKind::Req && header.flags == 0;
        if !is_plain || !OF_ONE_KEY.contains(&header.op) {
            return None;
        }
        self.streams.check(header.stream).ok()?;
        let asked = RequestFrame::decode(&frame, &self.limits).ok()?;
        if self.now > self.read_at && self.patience(header.op, asked.timeout_ms).is_zero() {
            return None;
        }
        let Key(key) = Key::decode(&mut { asked.body }).ok()?;
        let plain = Plain {
            to: To { op: header.op, stream: header.stream, frame_max: self.frame_max },
            key,
            body: asked.body,
            len: frame.encoded_len(),
            only_writes: only_writes(&frame),
        };
        Some((asked.object, plain))
    }

    /// The run of requests for a cache, if the connection can have one now.
    #[inline]
    fn run_of<'i>(&self, index: &'i Index, id: u32) -> Option<Run<'i>> {
        let object = index.by_id(id).filter(|object| object.kind == Kind::Cache)?;
        let cache = object.cache.as_deref()?;
        let is_open = matches!(self.stage, Stage::Open) && !self.is_reassembling();
        let is_refused = self.loading.get(&id).is_some_and(Loading::refuses);
        let may_be_away = self.node.data.get().is_some() && object.options.persist.is_logged();
        let run = Run { id, object, cache, may_be_away, hits: 0, misses: 0 };
        (is_open && !is_refused && !self.refuses()).then_some(run)
    }

    /// Finds the requests of a run, and has the index lines of their keys fetched meanwhile.
    #[inline]
    fn decode_run<'a>(
        &self,
        run: &Run<'_>,
        batch: &Batch<'_>,
        input: &'a [u8],
        places: &mut [Option<Placed<'a, '_>>],
    ) -> usize {
        let (mut rest, mut len) = (input, 0);
        for place in places {
            let Some((id, plain)) = self.plain(rest) else { break };
            if id != run.id {
                break;
            }
            rest = rest.get(plain.len..).unwrap_or_default();
            let hash = run.cache.hash(plain.key);
            batch.prefetch_line(hash);
            *place = Some(Placed(plain, hash, Hint::NONE));
            len += 1;
        }
        len
    }

    /// Answers one after the other, as far as nothing has to be waited for.
    #[inline]
    fn answer_all(
        &mut self,
        run: &mut Run<'_>,
        batch: &Batch<'_>,
        all: &[Option<Placed<'_, '_>>],
        went: &mut Went,
        out: &mut Output,
    ) {
        for placed in all.iter().flatten() {
            let Placed(plain, ..) = placed;
            let waits = self.window.holds_reads() && !plain.only_writes;
            if waits || out.len() >= OUTPUT_LEN_MAX {
                return;
            }
            let mut reply = Reply::sent(plain.to, out);
            let answered = match plain.to.op {
                Get::CODE => self.answer_get(run, batch, placed, &mut reply),
                _ => self.answer_write(run, batch, placed, &mut reply),
            };
            if answered.is_none() {
                return;
            }
            self.window.answered(plain.to);
            went.requests += 1;
            went.len += plain.len;
        }
    }

    /// Says the entry, or that there is none. `None`: nothing was said, and it is to be asked for
    /// in the other way.
    #[inline]
    fn answer_get(
        &mut self,
        run: &mut Run<'_>,
        batch: &Batch<'_>,
        Placed(plain, hash, hint): &Placed<'_, '_>,
        reply: &mut Reply<'_>,
    ) -> Option<()> {
        let get: Get<'_> = decode_all(plain.body).ok()?;
        if self.node.security.is_required() {
            self.may(run.object, &Any::Cache(Request::Get(get)))?;
        }
        let entry = self.look_up(run.object, batch, &get, *hash, *hint).ok()?;
        if entry.is_none() && run.may_be_away && batch.is_away(*hash, plain.key) {
            return None;
        }
        if !get.read.has(ReadOptions::NO_TOUCH) {
            run.hits += u64::from(entry.is_some());
            run.misses += u64::from(entry.is_none());
        }
        say_entry(&get, entry.as_ref(), self.now, reply);
        Some(())
    }

    /// Does a write and answers it. `None`: it was not done, and is to be asked for in the other
    /// way, now or when there is room.
    fn answer_write(
        &mut self,
        run: &Run<'_>,
        batch: &Batch<'_>,
        Placed(plain, hash, _): &Placed<'_, '_>,
        reply: &mut Reply<'_>,
    ) -> Option<()> {
        let request = Request::decode(plain.to.op, plain.body)?.ok()?;
        let (key, edit) = edit::of(&request, self.limits.value_len_max).ok()??;
        if run.may_be_away && !edit.is_blind() {
            return None;
        }
        if self.node.security.is_required() {
            self.may(run.object, &Any::Cache(request))?;
        }
        match self.edit(run.object, batch, (*hash, key), &edit, &request, reply) {
            Err(failure) if failure.is_behind => match self.wait_for_room(run.object) {
                Ok(()) => return None,
                Err(failure) => reply.fail(&failure),
            },
            Err(failure) => reply.fail(&failure),
            Ok(()) => {}
        }
        Some(())
    }
}

/// The second and the third step ahead of the lookups: entries, and what reads leave traces on.
fn fetch<'b>(batch: &'b Batch<'_>, places: &mut [Option<Placed<'_, 'b>>]) {
    for Placed(_, hash, hint) in places.iter_mut().flatten() {
        *hint = batch.hint(*hash);
    }
    for Placed(_, hash, hint) in places.iter().flatten() {
        batch.prefetch_access(*hash, *hint);
    }
}
