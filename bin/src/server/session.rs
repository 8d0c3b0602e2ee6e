//! What a connection says: requests in, replies out, a batch at a time. No socket in here.

use std::sync::Arc;

use isogrid_engine::KeyHash;
use isogrid_grid::{Batch, Cache};
use isogrid_wire::Output;
use isogrid_wire::memcached::{Decoder, Framing, Keys, Reply, Request, Step};

use super::connection::OUTPUT_LEN_MAX;
use super::counters::Counts;
use super::dispatch::Dispatch;
use super::dump::Dump;
use super::node::Node;

/// Requests that are decoded, looked up and executed together.
const BATCH: usize = 32;
/// Keys of one line that are looked up together.
const KEYS: usize = 32;
/// A line of more keys than this ends its batch, so that its answer can be sent in parts.
const LONG_LINE_LEN: usize = 2048;

/// The listener's part in how requests are answered.
#[derive(Debug, Clone, Copy)]
pub struct Rights {
    /// Whether `flush_all` is allowed.
    pub flush: bool,
}

/// Whether a connection goes on at once or lets others have their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Go on.
    Go,
    /// Let others have their turn; there is more input.
    Yield,
}

/// What one turn did.
pub struct Done {
    /// Input bytes that are done with.
    pub consumed: usize,
    /// How much input is needed before the next turn can do anything.
    pub needed: usize,
    /// Why the connection ends after the output, if it does.
    pub close: Option<&'static str>,
    /// Whether others are to have their turn.
    pub turn: Turn,
}

/// An answer that is too long for one turn.
enum Stream {
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
    /// The time of this turn, ms.
    pub now: u64,
    rights: Rights,
    stream: Option<Stream>,
}

/// A decoded request with what was learnt of it early.
struct Decoded<'a> {
    request: Request<'a>,
    framing: Framing<'a>,
    hash: Option<KeyHash>,
}

impl Session {
    /// The session of a new connection.
    pub fn new(node: Arc<Node>, cache: Arc<Cache>, rights: Rights) -> Self {
        let now = node.now();
        Session { node, cache, counts: Counts::default(), now, rights, stream: None }
    }

    /// Begins a run of turns.
    #[inline]
    pub fn begin(&mut self) {
        self.now = self.node.now();
    }

    /// Ends a run of turns: its counts are added up.
    #[inline]
    pub fn end(&mut self) {
        self.node.counters.add(&std::mem::take(&mut self.counts));
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
        if let Some(first) = decode(decoder, input, &mut done) {
            if done.consumed == input.len() {
                let hash = first.request.key().map(|key| cache.hash(key));
                self.execute(&batch, &Decoded { hash, ..first }, out, &mut done);
            } else {
                self.batches(&batch, decoder, input, first, out, &mut done);
            }
        }
        done
    }

    /// Goes on with a first request and those behind it.
    #[inline(never)]
    fn batches<'a>(
        &mut self,
        batch: &Batch<'_>,
        decoder: &mut Decoder,
        input: &'a [u8],
        first: Decoded<'a>,
        out: &mut Output,
        done: &mut Done,
    ) {
        let cache = Arc::clone(&self.cache);
        let quota = self.node.config.limits.requests_per_turn;
        let mut requests: [Option<Decoded<'a>>; BATCH] = std::array::from_fn(|_| None);
        let mut next = Some(first);
        let mut executed = 0;
        while let Some(first) = next {
            let mut len = 0;
            let mut decoded = Some(first);
            for place in requests.iter_mut().take(quota - executed) {
                let Some(request) = decoded.take() else { break };
                let last = ends_batch(&request.request);
                *place = Some(request);
                len += 1;
                if !last && len < BATCH.min(quota - executed) {
                    decoded = decode(decoder, input, done);
                }
            }
            executed += len;
            let requests = requests.get_mut(..len).unwrap_or_default();
            prefetch(batch, &cache, requests);
            for decoded in requests.iter().flatten() {
                self.execute(batch, decoded, out, done);
            }
            let go_on = done.close.is_none() && !self.is_streaming() && out.len() < OUTPUT_LEN_MAX;
            if executed >= quota && done.close.is_none() && done.consumed < input.len() {
                self.counts.conn_yields += 1;
                done.turn = Turn::Yield;
            }
            next = if go_on && executed < quota { decode(decoder, input, done) } else { None };
        }
    }

    fn execute(
        &mut self,
        batch: &Batch<'_>,
        decoded: &Decoded<'_>,
        out: &mut Output,
        done: &mut Done,
    ) {
        let Decoded { request, framing, hash } = decoded;
        if let Request::Get(get) = request
            && !matches!(framing, Framing::Meta(_))
            && get.touch.is_none()
        {
            return match (&get.keys, hash) {
                (Keys::One(key), Some(hash)) => {
                    self.get_key(batch, key, *hash, framing, out);
                    framing.encode(&Reply::End, out);
                }
                _ => self.get_line(batch, &get.keys, framing, out),
            };
        }
        let mut dispatch = Dispatch {
            node: &self.node,
            cache: &self.cache,
            batch,
            counts: &mut self.counts,
            now: self.now,
            flush: self.rights.flush,
            framing,
            close: None,
            dump: None,
        };
        dispatch.execute(request, *hash, out);
        done.close = done.close.or(dispatch.close);
        if let Some(dump) = dispatch.dump {
            self.stream = Some(Stream::Dump(dump));
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
            let mut chunk = [(&[][..], None); KEYS];
            let mut len = 0;
            for (place, key) in chunk.iter_mut().zip(keys.by_ref()) {
                *place = (key, Some(self.cache.hash(key)));
                len += 1;
            }
            let chunk = chunk.get(..len).unwrap_or_default();
            batch.prefetch(chunk.iter().filter_map(|(_, hash)| *hash));
            for (key, hash) in chunk {
                if let Some(hash) = hash {
                    self.get_key(batch, key, *hash, framing, out);
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
    fn get_key(
        &mut self,
        batch: &Batch<'_>,
        key: &[u8],
        hash: KeyHash,
        framing: &Framing<'_>,
        out: &mut Output,
    ) {
        self.counts.cmd_get += 1;
        let entry = batch.get(hash, key);
        let hit = entry.is_some();
        self.node.detail.count(key, super::detail::Event::Get { hit });
        match entry {
            Some(entry) => {
                self.counts.get_hits += 1;
                super::dispatch::encode_entry(
                    &entry,
                    key,
                    framing,
                    self.node.config.protocol.cas,
                    out,
                );
            }
            None => {
                self.counts.get_misses += 1;
                framing.encode(&Reply::Miss { key }, out);
            }
        }
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
fn decode<'a>(decoder: &mut Decoder, input: &'a [u8], done: &mut Done) -> Option<Decoded<'a>> {
    let rest = input.get(done.consumed..).unwrap_or_default();
    if rest.is_empty() {
        return None;
    }
    let decoded = decoder.decode(rest);
    done.consumed += decoded.consumed;
    match decoded.step {
        Step::Request(request, framing) => return Some(Decoded { request, framing, hash: None }),
        Step::Incomplete { needed } => done.needed = needed,
        Step::Close(why) => done.close = Some(why),
    }
    None
}

/// Whether what follows a request must wait until its answer is under way.
fn ends_batch(request: &Request<'_>) -> bool {
    match request {
        Request::Get(get) => matches!(get.keys, Keys::Line(line) if line.len() > LONG_LINE_LEN),
        Request::Dump { .. } | Request::Stats { .. } | Request::Quit => true,
        _ => false,
    }
}

/// Computes the hashes of a batch and has the memory of all of its entries fetched at once.
fn prefetch(batch: &Batch<'_>, cache: &Cache, requests: &mut [Option<Decoded<'_>>]) {
    for decoded in requests.iter_mut().flatten() {
        decoded.hash = decoded.request.key().map(|key| cache.hash(key));
    }
    if requests.len() > 1 {
        batch.prefetch(requests.iter().flatten().filter_map(|decoded| decoded.hash));
    }
}
