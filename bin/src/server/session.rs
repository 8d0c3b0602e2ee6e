//! What a connection says: requests in, replies out, a batch at a time. No socket in here.

use std::sync::Arc;

use isogrid_engine::{Entry, Hint, KeyHash};
use isogrid_grid::{Batch, Cache};
use isogrid_wire::Output;
use isogrid_wire::memcached::{
    Decoder, Framing, Keys, PlainGet, PlainSet, Refusal, Reply, Request, Step, Value,
};

use super::clustered::Clustered;
use super::connection::{Done, OUTPUT_LEN_MAX, Turn};
use super::connections::Spoken;
use super::counters::{Counters, Counts};
use super::dispatch::Dispatch;
use super::dump::{self, Dump};
use super::guard::Guard;
use super::invalidated::Turns;
use super::keeper::Keeper;
use super::loading::{Loading, Stopped};
use super::node::Node;

/// Requests that are decoded, looked up and executed together.
const BATCH: usize = 32;
/// A line of more keys than this ends its batch, so that its answer can be sent in parts.
const LONG_LINE_LEN: usize = 2048;

/// The listener's part in how requests are answered.
#[derive(Debug, Clone, Copy)]
pub struct Rights {
    /// Whether `flush_all` is allowed.
    pub flush: bool,
}

/// An answer that is too long for one turn.
pub(super) enum Stream {
    /// The keys that are left of a long line.
    Get { line: Vec<u8>, framing: Framing<'static> },
    /// A dump of all keys.
    Dump(Dump),
}

/// The state of one connection's conversation.
pub struct Session {
    /// The server.
    pub node: Arc<Node>,
    /// The cache behind the listener.
    pub cache: Arc<Cache>,
    /// What this turn has counted.
    pub counts: Counts,
    /// Where that is added up.
    pub(super) counters: Arc<Counters>,
    /// The time of this turn, ms.
    pub now: u64,
    /// What the answers wait for, when the cache is kept on disk.
    pub keeper: Option<Keeper>,
    /// What the requests wait for, when entries may be on disk alone.
    pub loading: Option<Loading>,
    /// Where the keys are served, when the cache is the cluster's.
    pub(super) clustered: Option<Box<Clustered>>,
    /// What it has to do with others, when the cache is an invalidated one.
    pub(super) invalidated: Option<Box<Turns>>,
    /// Who the client is and what it may do, where logins are required.
    pub guard: Option<Box<Guard>>,
    rights: Rights,
    pub(super) stream: Option<Stream>,
}

/// What the requests of a batch have in common. Where writes are seen only when they are kept, a
/// batch is a run of plain gets, a run of plain sets, or one other request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    Any,
    Gets,
    Sets,
}

impl Run {
    #[inline]
    fn and(self, next: Run, sync: bool) -> Run {
        if sync { next } else { Run::Any }
    }
}

/// A decoded request with the hash of its key, when it has one, and where its lookup begins.
enum Decoded<'a, 'b> {
    Get(PlainGet<'a>, KeyHash, Hint<'b>),
    Set(PlainSet<'a>, KeyHash),
    Other(Request<'a>, Framing<'a>, Option<KeyHash>),
}

impl<'b> Decoded<'_, 'b> {
    /// The entry's memory is asked for.
    #[inline]
    fn prefetch_entry(&mut self, batch: &'b Batch<'_>) {
        match self {
            Decoded::Get(_, hash, hint) => *hint = batch.hint(*hash),
            Decoded::Set(_, hash) | Decoded::Other(_, _, Some(hash)) => {
                batch.hint(*hash);
            }
            Decoded::Other(_, _, None) => {}
        }
    }

    /// What a read leaves its traces on is asked for.
    #[inline]
    fn prefetch_access(&self, batch: &'b Batch<'_>) {
        if let Decoded::Get(_, hash, hint) = self {
            batch.prefetch_access(*hash, *hint);
        }
    }

    /// Whether what follows must wait until the answer is under way.
    #[inline]
    fn ends_batch(&self) -> bool {
        match self {
            Decoded::Other(Request::Get(get), ..) => {
                matches!(get.keys, Keys::Line(line) if line.len() > LONG_LINE_LEN)
            }
            Decoded::Other(request, ..) => {
                matches!(
                    request,
                    Request::Dump { .. }
                        | Request::Stats { .. }
                        | Request::Quit
                        | Request::SaslAuth { .. }
                )
            }
            Decoded::Get(..) | Decoded::Set(..) => false,
        }
    }
}

impl Session {
    /// The session of a new connection, without a guard.
    pub fn new(node: Arc<Node>, cache: Arc<Cache>, rights: Rights) -> Self {
        let (now, keeper) = (node.now(), node.keeper(cache.name()));
        let (loading, counts) = (node.loading(cache.name()), Counts::default());
        let counters = node.counters.of(cache.name(), Spoken::Memcached);
        let clustered = Clustered::of(node.cluster.get(), cache.name());
        let invalidated = Turns::of(node.cluster.get(), cache.name());
        let (guard, stream) = (None, None);
        Session {
            node,
            cache,
            counts,
            counters,
            now,
            keeper,
            loading,
            clustered,
            invalidated,
            guard,
            rights,
            stream,
        }
    }

    /// Whether a turn has something to say without more input.
    #[inline]
    pub fn is_streaming(&self) -> bool {
        self.stream.is_some()
    }

    /// Decodes, executes and answers what is in `input`: a batch at a time, so that the lookups of
    /// a batch wait for memory together.
    pub fn turn(&mut self, decoder: &mut Decoder, input: &[u8], out: &mut Output) -> Done {
        let mut done = Done { consumed: 0, needed: 1, close: None, turn: Turn::Go };
        if self.stream.is_some() {
            self.go_on(out);
            return done;
        }
        if let Some(why) = self.loading.as_mut().and_then(Loading::take_refusal) {
            self.refuse(why.text(), decoder, input, out, &mut done);
            return done;
        }
        let cache = Arc::clone(&self.cache);
        let batch = cache.batch(self.now);
        let is_known = self.guard.as_ref().is_none_or(|guard| guard.is_known());
        if self.clustered.is_some() && is_known {
            self.clustered_turn(&batch, decoder, input, out, &mut done);
            return done;
        }
        if self.invalidated.is_some() && is_known {
            self.invalidated_turn(&batch, decoder, input, out, &mut done);
            return done;
        }
        if let Some(guard) = &self.guard
            && !guard.is_free()
        {
            self.guarded(&batch, decoder, input, out, &mut done);
            self.note_progress(&done);
            return done;
        }
        match decoder.plain_get(input) {
            Some((get, len)) if len == input.len() => {
                done.consumed = len;
                if self.answer(&batch, &get, cache.hash(get.key), Hint::NONE, out).is_err() {
                    done.consumed = 0;
                }
            }
            _ => self.batches(&batch, decoder, input, out, &mut done),
        }
        self.note_progress(&done);
        done
    }

    #[inline]
    fn note_progress(&mut self, done: &Done) {
        if done.consumed > 0 {
            self.loading.iter_mut().for_each(Loading::went_on);
        }
    }

    #[inline(never)]
    fn batches(
        &mut self,
        batch: &Batch<'_>,
        decoder: &mut Decoder,
        input: &[u8],
        out: &mut Output,
        done: &mut Done,
    ) {
        let mut places: [Option<Decoded<'_, '_>>; BATCH] = [const { None }; BATCH];
        let mut quota = self.node.config.limits.requests_per_turn;
        let mut go_on = true;
        while go_on && quota > 0 {
            let places = places.get_mut(..BATCH.min(quota)).unwrap_or_default();
            let before = self.loading.is_some().then(|| (decoder.clone(), done.consumed));
            let len = self.decode(batch, decoder, input, places, done);
            let requests = places.get_mut(..len).unwrap_or_default();
            if len > 1 {
                requests.iter_mut().flatten().for_each(|request| request.prefetch_entry(batch));
                requests.iter().flatten().for_each(|request| request.prefetch_access(batch));
            }
            let mut went = 0;
            for request in requests.iter().flatten() {
                if self.serve(batch, request, out, done).is_err() {
                    break;
                }
                went += 1;
            }
            if went < len
                && let Some(before) = before
            {
                return self.rewind(batch, decoder, input, before, went, done);
            }
            quota -= len;
            let room = !self.is_streaming() && out.len() < OUTPUT_LEN_MAX;
            go_on = len > 0 && done.close.is_none() && room && !self.must_wait();
        }
        if quota == 0 && done.close.is_none() && done.consumed < input.len() {
            self.counts.conn_yields += 1;
            done.turn = Turn::Yield;
        }
    }

    #[inline]
    fn serve<'b>(
        &mut self,
        batch: &'b Batch<'_>,
        request: &Decoded<'_, 'b>,
        out: &mut Output,
        done: &mut Done,
    ) -> Result<(), Stopped> {
        match request {
            Decoded::Get(get, hash, hint) => self.answer(batch, get, *hash, *hint, out),
            Decoded::Set(set, hash) => {
                self.note_write();
                let framing = set.framing();
                let mut dispatch = self.dispatch(batch, &framing);
                dispatch.set(set, *hash, out);
                let stopped = dispatch.stopped;
                self.note_stop(stopped, Some(set.key))
            }
            Decoded::Other(request, framing, hash) => {
                self.execute(batch, request, framing, *hash, out, done)
            }
        }
    }

    /// The requests of a batch from the one on that was stopped have to be decoded once more.
    #[cold]
    fn rewind(
        &mut self,
        batch: &Batch<'_>,
        decoder: &mut Decoder,
        input: &[u8],
        (before, consumed): (Decoder, usize),
        went: usize,
        done: &mut Done,
    ) {
        *decoder = before;
        *done = Done { consumed, needed: 1, close: None, turn: Turn::Go };
        let mut places: [Option<Decoded<'_, '_>>; BATCH] = [const { None }; BATCH];
        let places = places.get_mut(..went).unwrap_or_default();
        self.decode(batch, decoder, input, places, done);
        done.needed = 1;
    }

    /// Answers what cannot be executed.
    #[cold]
    fn refuse(
        &mut self,
        why: &'static str,
        decoder: &mut Decoder,
        input: &[u8],
        out: &mut Output,
        done: &mut Done,
    ) {
        let refusal = Reply::Refused(Refusal::Server(why));
        let framing = match (decoder.plain_get(input), decoder.plain_set(input)) {
            (Some((get, len)), _) => Some((get.framing(), len)),
            (None, Some((set, len))) => Some((set.framing(), len)),
            (None, None) => None,
        };
        self.counts.storage_refused += 1;
        if let Some((framing, len)) = framing {
            done.consumed = len;
            framing.encode(&refusal, out);
        } else if let Some((_, framing)) = decode_any(decoder, input, done) {
            framing.encode(&refusal, out);
        }
    }

    /// Notes why a request was stopped, if it was, and begins to load what it needs.
    #[inline]
    pub(super) fn note_stop(
        &mut self,
        why: Option<Stopped>,
        key: Option<&[u8]>,
    ) -> Result<(), Stopped> {
        let Some(why) = why else { return Ok(()) };
        if let Some(loading) = &mut self.loading {
            if why == Stopped::Away {
                key.into_iter().for_each(|key| loading.load(key));
            }
            loading.stopped(why);
        }
        Err(why)
    }

    /// Decodes what fits into a batch, and has the index lines of the keys fetched meanwhile.
    #[inline]
    fn decode<'a>(
        &self,
        batch: &Batch<'_>,
        decoder: &mut Decoder,
        input: &'a [u8],
        places: &mut [Option<Decoded<'a, '_>>],
        done: &mut Done,
    ) -> usize {
        let mut len = 0;
        let mut run = Run::Any;
        for place in places {
            let rest = input.get(done.consumed..).unwrap_or_default();
            if run != Run::Sets
                && let Some((get, line_len)) = decoder.plain_get(rest)
            {
                run = run.and(Run::Gets, self.is_sync());
                done.consumed += line_len;
                let hash = self.cache.hash(get.key);
                batch.prefetch_line(hash);
                *place = Some(Decoded::Get(get, hash, Hint::NONE));
            } else if run != Run::Gets
                && let Some((set, set_len)) = decoder.plain_set(rest)
            {
                run = run.and(Run::Sets, self.is_sync());
                done.consumed += set_len;
                let hash = self.cache.hash(set.key);
                batch.prefetch_line(hash);
                *place = Some(Decoded::Set(set, hash));
            } else if run == Run::Any
                && let Some((request, framing)) = decode_any(decoder, rest, done)
            {
                let hash = request.key().map(|key| self.cache.hash(key));
                hash.into_iter().for_each(|hash| batch.prefetch_line(hash));
                *place = Some(Decoded::Other(request, framing, hash));
            } else {
                break;
            }
            len += 1;
            let alone = run == Run::Any && self.is_sync();
            if alone || place.as_ref().is_some_and(Decoded::ends_batch) {
                break;
            }
        }
        len
    }

    pub(super) fn execute(
        &mut self,
        batch: &Batch<'_>,
        request: &Request<'_>,
        framing: &Framing<'_>,
        hash: Option<KeyHash>,
        out: &mut Output,
        done: &mut Done,
    ) -> Result<(), Stopped> {
        if self.guard.is_some() && self.stops(request, framing, out, done) {
            return Ok(());
        }
        if let Request::Get(get) = request {
            if !matches!(framing, Framing::Meta(_)) && get.touch.is_none() {
                return self.get_line(batch, &get.keys, framing, out);
            }
            self.load_all(batch, &get.keys)?;
        }
        let unread = self.loading.as_ref().is_some_and(|loading| !loading.is_whole());
        if unread && dump::goes_through_all(request) {
            return self.note_stop(Some(Stopped::Unread), None);
        }
        self.note_write();
        if matches!(request, Request::Stats { .. }) {
            // What this connection has done until now is among the figures.
            self.counters.take(&mut self.counts);
        }
        let said = out.len();
        let mut dispatch = self.dispatch(batch, framing);
        dispatch.execute(request, hash, out);
        let (close, dump, stopped) = (dispatch.close, dispatch.dump, dispatch.stopped);
        done.close = done.close.or(close);
        if let Some(dump) = dump {
            self.stream = Some(Stream::Dump(dump));
        }
        if out.len() > said && stopped.is_some() {
            // Of a line of many keys some are answered already.
            framing.encode(&Reply::Refused(Refusal::Server("busy: try again")), out);
            return Ok(());
        }
        self.note_stop(stopped, request.key())
    }

    /// Whether the listener allows `flush_all`.
    pub(super) fn may_flush(&self) -> bool {
        self.rights.flush
    }

    /// Whether writes are seen only when they are kept.
    #[inline]
    fn is_sync(&self) -> bool {
        self.keeper.as_ref().is_some_and(Keeper::is_sync)
    }

    /// The request may write, or say what another one wrote.
    #[inline]
    fn note_write(&mut self) {
        self.keeper.iter_mut().for_each(Keeper::wrote);
    }

    /// Whether what follows must not be executed yet: it could not see what was written.
    #[inline]
    pub(super) fn must_wait(&self) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| keeper.is_sync() && keeper.waits())
            || self.guard.as_ref().is_some_and(|guard| guard.is_pending())
    }

    #[inline]
    fn dispatch<'d>(&'d mut self, batch: &'d Batch<'d>, framing: &'d Framing<'d>) -> Dispatch<'d> {
        Dispatch {
            node: &self.node,
            cache: &self.cache,
            batch,
            counts: &mut self.counts,
            now: self.now,
            flush: self.rights.flush,
            framing,
            close: None,
            dump: None,
            stopped: None,
        }
    }

    /// Answers a plain get.
    #[inline]
    fn answer<'b>(
        &mut self,
        batch: &'b Batch<'_>,
        get: &PlainGet<'_>,
        hash: KeyHash,
        hint: Hint<'b>,
        out: &mut Output,
    ) -> Result<(), Stopped> {
        match self.look_up(batch, get.key, hash, hint)? {
            Some(entry) => {
                let cas = if self.node.config.protocol.cas { entry.version() } else { 0 };
                match entry.shared() {
                    None => get.hit(entry.flags(), cas, &Value::Inline(entry.value()), out),
                    Some(value) => get.hit(entry.flags(), cas, &Value::Shared(&value), out),
                }
            }
            None => get.miss(out),
        }
        Ok(())
    }

    /// Looks a key up and counts it.
    #[inline]
    pub(super) fn look_up<'b>(
        &mut self,
        batch: &'b Batch<'_>,
        key: &[u8],
        hash: KeyHash,
        hint: Hint<'b>,
    ) -> Result<Option<Entry<'b>>, Stopped> {
        let entry = batch.get_hinted(hash, key, hint);
        let hit = entry.is_some();
        if !hit && self.loading.is_some() {
            let away = batch.is_away(hash, key);
            self.note_stop(away.then_some(Stopped::Away), Some(key))?;
        }
        self.counts.cmd_get += 1;
        self.counts.get_hits += u64::from(hit);
        self.counts.get_misses += u64::from(!hit);
        self.node.detail.count(key, super::detail::Event::Get { hit });
        Ok(entry)
    }

    /// One more part of a long answer.
    pub(super) fn go_on(&mut self, out: &mut Output) {
        match self.stream.take() {
            Some(Stream::Get { line, framing }) => {
                if let Some(why) = self.loading.as_mut().and_then(Loading::take_refusal) {
                    self.counts.storage_refused += 1;
                    return framing.encode(&Reply::Refused(Refusal::Server(why.text())), out);
                }
                let cache = Arc::clone(&self.cache);
                // What of a line has to wait is the stream again.
                let _ = self.get_line(&cache.batch(self.now), &Keys::Line(&line), &framing, out);
            }
            Some(Stream::Dump(dump)) => {
                self.stream = dump.page(&self.cache, self.now, out).map(Stream::Dump);
            }
            None => {}
        }
    }
}

/// Decodes the next request, if there is a whole one.
#[inline]
pub(super) fn decode_any<'a>(
    decoder: &mut Decoder,
    rest: &'a [u8],
    done: &mut Done,
) -> Option<(Request<'a>, Framing<'a>)> {
    if rest.is_empty() {
        return None;
    }
    let decoded = decoder.decode(rest);
    done.consumed += decoded.consumed;
    match decoded.step {
        Step::Request(request, framing) => return Some((request, framing)),
        Step::Incomplete { needed } => done.needed = needed,
        Step::Close(why) => done.close = Some(why),
    }
    None
}
