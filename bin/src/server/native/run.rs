//! Runs of requests of one key: those that stand together in the input, and are for one cache, are
//! looked up together and answered with one pin, as memcached's are in batches. One miss of the
//! processor's caches after the other would be a quarter of what a request costs.
//!
//! A run takes what says nothing beside what it does. All else ends it and goes the way of
//! `request.rs`; so does what will be refused before it is tried: why is said there alone.

mod answer;

use isogrid_engine::{Hint, KeyHash};
use isogrid_grid::catalog::{Index, Kind, Object};
use isogrid_grid::{Batch, Cache};
use isogrid_wire::Output;
use isogrid_wire::native::cache::{Get, Put};
use isogrid_wire::native::{
    Call, Codec, Frame, HEADER_LEN, Header, Key, Kind as FrameKind, RequestFrame,
};

use super::cache::only_writes;
use super::reply::{Reply, To};
use super::session::{Session, Stage};
use crate::server::connection::OUTPUT_LEN_MAX;
use crate::server::loading::Loading;

/// Requests that are looked up and executed together.
const RUN: usize = 32;
/// The operations of caches that have one key, in front, and whose value is one.
const OF_ONE_KEY: std::ops::RangeInclusive<u16> = 0x0101..=0x010b;

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
    op: u16,
    stream: u32,
    key: &'a [u8],
    /// The key, and what is behind it.
    body: &'a [u8],
    /// What is behind the key.
    rest: &'a [u8],
    /// Bytes of its frame.
    len: usize,
}

/// A request, the hash of its key, and where its lookup begins.
struct Placed<'a, 'b>(Plain<'a>, KeyHash, Hint<'b>);

/// What the requests of a run have in common.
struct Run<'i> {
    id: u32,
    object: &'i Object,
    cache: &'i Cache,
    /// Each has to be asked for.
    is_guarded: bool,
    /// Entries may be on the disk alone.
    may_be_away: bool,
    hits: u64,
    misses: u64,
    sets: u64,
}

impl Session {
    /// Answers the requests that the input begins with, up to `max`, as far as they are a run.
    #[inline(always)]
    pub fn run(&mut self, index: &Index, input: &[u8], max: usize, out: &mut Output) -> Went {
        if Frame::needed(input) == input.len() {
            return self.run_alone(index, input, out).unwrap_or_default();
        }
        let mut went = Went::default();
        let Some(mut run) = object(input).and_then(|id| self.run_of(index, id)) else {
            return went;
        };
        let batch = run.cache.batch(self.now).by(self.origin);
        self.run_together(&mut run, &batch, input, (max, &mut went), out);
        self.count_run(&run, went);
        went
    }

    /// Answers the one request that there is: what would be fetched ahead comes no sooner.
    #[inline(always)]
    fn run_alone(&mut self, index: &Index, input: &[u8], out: &mut Output) -> Option<Went> {
        let (id, plain) = self.plain(input)?;
        let mut run = self.run_of(index, id)?;
        let batch = run.cache.batch(self.now).by(self.origin);
        let alone = run.place(plain);
        let mut went = Went::default();
        self.answer_one(&mut run, &batch, &alone, &mut went, out);
        self.count_run(&run, went);
        Some(went)
    }

    #[inline(always)]
    fn count_run(&mut self, run: &Run<'_>, went: Went) {
        if went.requests > 0 {
            self.went_on(run.object);
            let counts = self.count(run.object);
            counts.cmd_get += run.hits + run.misses;
            counts.get_hits += run.hits;
            counts.get_misses += run.misses;
            counts.cmd_set += run.sets;
        }
    }

    /// Looks several up together. Apart from the rest: who asks for one at a time needs no places.
    #[inline(never)]
    fn run_together(
        &mut self,
        run: &mut Run<'_>,
        batch: &Batch<'_>,
        input: &[u8],
        (max, went): (usize, &mut Went),
        out: &mut Output,
    ) {
        let mut places: [Option<Placed<'_, '_>>; RUN] = [const { None }; RUN];
        let places = places.get_mut(..RUN.min(max)).unwrap_or_default();
        let len = self.decode_run(run, batch, input, places);
        let places = places.get_mut(..len).unwrap_or_default();
        fetch(batch, places);
        self.answer_all(run, batch, places, went, out);
    }

    /// The run of requests for a cache, if the connection can have one now.
    #[inline(always)]
    fn run_of<'i>(&self, index: &'i Index, id: u32) -> Option<Run<'i>> {
        let found = Some(index.by_id(id)?);
        let object = found.filter(|object| object.kind == Kind::Cache)?;
        let cache = object.cache.as_deref()?;
        let is_open = matches!(self.stage, Stage::Open) && !self.is_reassembling();
        let is_clustered = self.node.cluster.get().is_some()
            && (self.clustered(found).is_some() || self.invalidated(found).is_some());
        if is_clustered {
            return None;
        }
        let is_refused = self.loading.get(&id).is_some_and(Loading::refuses);
        let may_be_away = self.node.data.get().is_some() && object.options.persist.is_kept();
        let is_guarded = self.node.security.is_required();
        let run = Run { id, object, cache, is_guarded, may_be_away, hits: 0, misses: 0, sets: 0 };
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
            let placed = run.place(plain);
            rest = rest.get(placed.0.len..).unwrap_or_default();
            batch.prefetch_line(placed.1);
            *place = Some(placed);
            len += 1;
        }
        len
    }

    /// The request that the input begins with and its object, if it has come whole and in time, and
    /// nothing is said beside it.
    #[inline(always)]
    fn plain<'a>(&self, input: &'a [u8]) -> Option<(u32, Plain<'a>)> {
        let frame = Frame::decode(input, &self.limits).ok()??;
        let Header { kind, flags, op, stream, .. } = frame.header;
        let is_plain = kind == FrameKind::Req && flags == 0 && OF_ONE_KEY.contains(&op);
        if !is_plain || self.streams.check(stream).is_err() {
            return None;
        }
        let (timeout_ms, id, body) = RequestFrame::split(frame.payload, &self.limits).ok()?;
        let is_late = self.now > self.read_at && self.patience(op, timeout_ms).is_zero();
        if is_late {
            return None;
        }
        let mut rest = body;
        let Key(key) = Key::decode(&mut rest).ok()?;
        let (body, rest) = (body.rest(), rest.rest());
        Some((id, Plain { op, stream, key, body, rest, len: frame.encoded_len() }))
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
            if !self.answer_one(run, batch, placed, went, out) {
                return;
            }
        }
    }

    /// Whether one was answered.
    #[inline(always)]
    fn answer_one(
        &mut self,
        run: &mut Run<'_>,
        batch: &Batch<'_>,
        placed: &Placed<'_, '_>,
        went: &mut Went,
        out: &mut Output,
    ) -> bool {
        let Plain { op, stream, len, .. } = placed.0;
        let header = || Header::new(FrameKind::Req, op, stream, 0);
        let waits = self.window.holds_reads() && !only_writes(&header());
        if waits || out.len() >= OUTPUT_LEN_MAX {
            return false;
        }
        let to = To { op, stream, frame_max: self.frame_max, epoch: self.epoch };
        let mut answered = match op {
            Get::CODE => self.answer_get(run, batch, placed, to, out),
            Put::CODE => self.answer_put(run, batch, placed, to, out),
            _ => None,
        };
        if answered.is_none() && op != Get::CODE {
            let mut reply = Reply::sent(to, out);
            answered = self.answer_write(run, batch, placed, &mut reply);
        }
        if answered.is_none() {
            return false;
        }
        self.window.answered(to);
        went.requests += 1;
        went.len += len;
        true
    }
}

impl Run<'_> {
    #[inline(always)]
    fn place<'a, 'b>(&self, plain: Plain<'a>) -> Placed<'a, 'b> {
        let hash = self.cache.hash(plain.key);
        Placed(plain, hash, Hint::NONE)
    }
}

/// The object of the request that the input begins with, if nothing stands before it.
#[inline]
fn object(input: &[u8]) -> Option<u32> {
    let behind_timeout = input.get(HEADER_LEN + size_of::<u32>()..)?;
    behind_timeout.first_chunk().map(|object| u32::from_be_bytes(*object))
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
