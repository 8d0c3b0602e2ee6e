//! What a connection says: requests in, replies out, a batch at a time. No socket in here.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use isogrid_engine::{Entry, Hint, KeyHash};
use isogrid_grid::{Batch, Cache};
use isogrid_wire::Output;
use isogrid_wire::memcached::{
    Decoder, Framing, Keys, PlainGet, PlainSet, Reply, Request, Step, Value,
};

use super::connection::{Conversation, Done, OUTPUT_LEN_MAX, Turn};
use super::connections::Spoken;
use super::counters::{Counters, Counts};
use super::dispatch::Dispatch;
use super::dump::Dump;
use super::keeper::Keeper;
use super::node::Node;

/// Requests that are decoded, looked up and executed together.
const BATCH: usize = 32;
/// Keys of one line that are looked up together.
const KEYS: usize = 32;
/// A line of more keys than this ends its batch, so that its answer can be sent in parts.
const LONG_LINE_LEN: usize = 2048;
/// Writes whose outcome nobody knows were under way.
const UNKEPT: &str = "the log failed; it is unknown whether the last writes are kept";

/// The listener's part in how requests are answered.
#[derive(Debug, Clone, Copy)]
pub struct Rights {
    /// Whether `flush_all` is allowed.
    pub flush: bool,
}

/// An answer that is too long for one turn.
enum Stream {
    /// The keys that are left of a long line.
    Get { line: Vec<u8>, framing: Framing<'static> },
    /// A dump of all keys.
    Dump(Dump),
}

/// A conversation in one of memcached's protocols.
pub struct Memcached {
    session: Session,
    decoder: Decoder,
}

impl Memcached {
    /// The conversation of a new connection.
    pub fn new(session: Session, decoder: Decoder) -> Self {
        Memcached { session, decoder }
    }
}

impl Conversation for Memcached {
    #[inline]
    fn begin(&mut self) {
        self.session.now = self.session.node.now();
    }

    #[inline]
    fn end(&mut self) {
        self.session.counters.add(&std::mem::take(&mut self.session.counts));
    }

    #[inline]
    fn now(&self) -> u64 {
        self.session.now
    }

    #[inline]
    fn counts(&mut self) -> &mut Counts {
        &mut self.session.counts
    }

    #[inline]
    fn turn(&mut self, input: &[u8], out: &mut Output) -> Done {
        self.session.turn(&mut self.decoder, input, out)
    }

    #[inline]
    fn is_streaming(&self) -> bool {
        self.session.is_streaming()
    }

    /// Nothing more will come of a node that stops.
    fn ends_in_silence(&self) -> bool {
        self.session.node.is_stopping()
    }

    #[inline]
    fn keeps(&self) -> bool {
        self.session.keeper.is_some()
    }

    #[inline]
    fn poll_kept(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Output,
    ) -> Poll<Result<(), &'static str>> {
        let Some(keeper) = self.session.keeper.as_mut().filter(|keeper| keeper.waits()) else {
            return Poll::Ready(Ok(()));
        };
        Poll::Ready(ready!(keeper.poll_kept(cx)).map_err(|_| {
            // Nobody knows what became of the writes, so no answer is the only true one.
            out.clear();
            UNKEPT
        }))
    }
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
    counters: Arc<Counters>,
    /// The time of this turn, ms.
    pub now: u64,
    /// What the answers wait for, when the cache is kept on disk.
    pub keeper: Option<Keeper>,
    rights: Rights,
    stream: Option<Stream>,
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
                matches!(request, Request::Dump { .. } | Request::Stats { .. } | Request::Quit)
            }
            Decoded::Get(..) | Decoded::Set(..) => false,
        }
    }
}

impl Session {
    /// The session of a new connection.
    pub fn new(node: Arc<Node>, cache: Arc<Cache>, rights: Rights) -> Self {
        let (now, keeper) = (node.now(), node.keeper(cache.name()));
        let counters = node.counters.of(cache.name(), Spoken::Memcached);
        let counts = Counts::default();
        Session { node, cache, counts, counters, now, keeper, rights, stream: None }
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
        let cache = Arc::clone(&self.cache);
        let batch = cache.batch(self.now);
        match decoder.plain_get(input) {
            Some((get, len)) if len == input.len() => {
                done.consumed = len;
                self.answer(&batch, &get, cache.hash(get.key), Hint::NONE, out);
            }
            _ => self.batches(&batch, decoder, input, out, &mut done),
        }
        done
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
            let len = self.decode(batch, decoder, input, places, done);
            let requests = places.get_mut(..len).unwrap_or_default();
            if len > 1 {
                requests.iter_mut().flatten().for_each(|request| request.prefetch_entry(batch));
                requests.iter().flatten().for_each(|request| request.prefetch_access(batch));
            }
            for request in requests.iter().flatten() {
                match request {
                    Decoded::Get(get, hash, hint) => self.answer(batch, get, *hash, *hint, out),
                    Decoded::Set(set, hash) => {
                        self.note_write();
                        self.dispatch(batch, &set.framing()).set(set, *hash, out);
                    }
                    Decoded::Other(request, framing, hash) => {
                        self.execute(batch, request, framing, *hash, out, done);
                    }
                }
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

    fn execute(
        &mut self,
        batch: &Batch<'_>,
        request: &Request<'_>,
        framing: &Framing<'_>,
        hash: Option<KeyHash>,
        out: &mut Output,
        done: &mut Done,
    ) {
        if let Request::Get(get) = request
            && !matches!(framing, Framing::Meta(_))
            && get.touch.is_none()
        {
            return self.get_line(batch, &get.keys, framing, out);
        }
        self.note_write();
        let mut dispatch = self.dispatch(batch, framing);
        dispatch.execute(request, hash, out);
        let (close, dump) = (dispatch.close, dispatch.dump);
        done.close = done.close.or(close);
        if let Some(dump) = dump {
            self.stream = Some(Stream::Dump(dump));
        }
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
    fn must_wait(&self) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| keeper.is_sync() && keeper.waits())
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
    ) {
        match self.look_up(batch, get.key, hash, hint) {
            Some(entry) => {
                let cas = if self.node.config.protocol.cas { entry.version() } else { 0 };
                match entry.shared() {
                    None => get.hit(entry.flags(), cas, &Value::Inline(entry.value()), out),
                    Some(value) => get.hit(entry.flags(), cas, &Value::Shared(&value), out),
                }
            }
            None => get.miss(out),
        }
    }

    /// Answers a classic `get` line, the keys of a few cache lines at a time; what does not fit
    /// into one turn's output is kept for the next.
    fn get_line(
        &mut self,
        batch: &Batch<'_>,
        keys: &Keys<'_>,
        framing: &Framing<'_>,
        out: &mut Output,
    ) {
        let mut keys = keys.iter();
        loop {
            let mut chunk = [(&[][..], None, Hint::NONE); KEYS];
            let mut len = 0;
            for (place, key) in chunk.iter_mut().zip(keys.by_ref()) {
                let hash = self.cache.hash(key);
                batch.prefetch_line(hash);
                *place = (key, Some(hash), Hint::NONE);
                len += 1;
            }
            let chunk = chunk.get_mut(..len).unwrap_or_default();
            for (_, hash, hint) in chunk.iter_mut() {
                *hint = hash.map_or(Hint::NONE, |hash| batch.hint(hash));
            }
            for (_, hash, hint) in chunk.iter() {
                hash.iter().for_each(|hash| batch.prefetch_access(*hash, *hint));
            }
            for (key, hash, hint) in chunk {
                if let Some(hash) = hash {
                    self.get_key(batch, key, *hash, *hint, framing, out);
                }
            }
            if len < KEYS {
                return framing.encode(&Reply::End, out);
            }
            if let (true, Framing::Text(text)) = (out.len() > OUTPUT_LEN_MAX, framing) {
                let line = keys.fold(Vec::new(), |line, key| [&line[..], key, b" "].concat());
                self.stream = Some(Stream::Get { line, framing: Framing::Text(*text) });
                return;
            }
        }
    }

    #[inline]
    fn get_key<'b>(
        &mut self,
        batch: &'b Batch<'_>,
        key: &[u8],
        hash: KeyHash,
        hint: Hint<'b>,
        framing: &Framing<'_>,
        out: &mut Output,
    ) {
        let cas = self.node.config.protocol.cas;
        match self.look_up(batch, key, hash, hint) {
            Some(entry) => super::dispatch::encode_entry(&entry, key, framing, cas, out),
            None => framing.encode(&Reply::Miss { key }, out),
        }
    }

    /// Looks a key up and counts it.
    #[inline]
    fn look_up<'b>(
        &mut self,
        batch: &'b Batch<'_>,
        key: &[u8],
        hash: KeyHash,
        hint: Hint<'b>,
    ) -> Option<Entry<'b>> {
        let entry = batch.get_hinted(hash, key, hint);
        let hit = entry.is_some();
        self.counts.cmd_get += 1;
        self.counts.get_hits += u64::from(hit);
        self.counts.get_misses += u64::from(!hit);
        self.node.detail.count(key, super::detail::Event::Get { hit });
        entry
    }

    /// One more part of a long answer.
    fn go_on(&mut self, out: &mut Output) {
        match self.stream.take() {
            Some(Stream::Get { line, framing }) => {
                let cache = Arc::clone(&self.cache);
                self.get_line(&cache.batch(self.now), &Keys::Line(&line), &framing, out);
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
fn decode_any<'a>(
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
