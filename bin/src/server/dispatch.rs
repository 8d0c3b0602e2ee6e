//! Request to grid call to reply: the only place that knows both vocabularies.

use std::sync::Arc;

use isogrid_engine::{Entry, Error, KeyHash, Marks, Unrecorded};
use isogrid_grid::structure::cache::{
    Counted, Hit, Lifespan, Mode, Put, Read, Removal, Step, Written,
};
use isogrid_grid::{Batch, Cache};
use isogrid_wire::Output;
use isogrid_wire::memcached::{
    Arithmetic, Delete, Exptime, Framing, Get, Item, Order, PlainSet, Refusal, Reply, Request,
    Store, StoreMode, Value,
};

use super::counters::Counts;
use super::detail::Event;
use super::dump::Dump;
use super::loading::Stopped;
use super::node::Node;
use super::stats;

/// What we say we are. Clients look for the features of a version; the newest memcached whose
/// behaviour we follow is this one.
pub const VERSION: &str = "1.6.45";

/// Relative expiry times end here; larger ones are absolute Unix seconds.
const RELATIVE_MAX: Exptime = 60 * 60 * 24 * 30;

/// One request on its way through.
pub struct Dispatch<'d> {
    /// The server.
    pub node: &'d Arc<Node>,
    /// The cache behind the listener.
    pub cache: &'d Cache,
    /// The batch that the request belongs to.
    pub batch: &'d Batch<'d>,
    /// What the turn counts.
    pub counts: &'d mut Counts,
    /// The time of the turn, ms.
    pub now: u64,
    /// Whether `flush_all` is allowed here.
    pub flush: bool,
    /// How the answer looks.
    pub framing: &'d Framing<'d>,
    /// Set when the connection ends with this request.
    pub close: Option<&'static str>,
    /// Set when the answer is a dump, to be sent a page at a time.
    pub dump: Option<Dump>,
    /// Set when the request was not executed: it has to be once more, later.
    pub stopped: Option<Stopped>,
}

/// Encodes an entry that a plain get found.
#[inline]
pub fn encode_entry(
    entry: &Entry<'_>,
    key: &[u8],
    framing: &Framing<'_>,
    cas: bool,
    out: &mut Output,
) {
    let shared = entry.shared();
    let value = shared.as_ref().map_or(Value::Inline(entry.value()), Value::Shared);
    let item = Item {
        value,
        flags: entry.flags(),
        cas: if cas { entry.version() } else { 0 },
        ttl: None,
        last_access: 0,
        fetched: false,
        won: false,
        stale: false,
        lease_sent: false,
        unchanged: false,
        key_binary: false,
    };
    framing.encode(&Reply::Item { key, item }, out);
}

impl Dispatch<'_> {
    /// Executes a request and encodes its answer. `hash` is there when the request has one key.
    pub fn execute(&mut self, request: &Request<'_>, hash: Option<KeyHash>, out: &mut Output) {
        self.perform(request, hash, out);
        if matches!(self.framing, Framing::Meta(_)) && self.stopped.is_none() {
            self.counts.cmd_meta += 1;
        }
    }

    fn perform(&mut self, request: &Request<'_>, hash: Option<KeyHash>, out: &mut Output) {
        match (request, hash) {
            (Request::Get(get), hash) => self.get(get, hash, out),
            (Request::Store(store), Some(hash)) => self.store(store, hash, out),
            (Request::StoreTooLarge { key }, Some(hash)) => self.too_large(key, hash, out),
            (Request::Delete(delete), Some(hash)) => self.delete(delete, hash, out),
            (Request::Arithmetic(step), Some(hash)) => self.count(step, hash, out),
            (Request::Touch { key, exptime }, Some(hash)) => self.touch(key, hash, *exptime, out),
            (Request::Debug { key }, Some(hash)) => self.debug(key, hash, out),
            (request, _) => self.administer(request, out),
        }
    }

    fn reply(&mut self, reply: &Reply<'_>, out: &mut Output) {
        self.framing.encode(reply, out);
        if self.framing.closes(reply) {
            self.close = Some(super::connection::LAST_ANSWER);
        }
    }

    fn lifespan(&self, exptime: Exptime) -> Lifespan {
        match exptime {
            0 => Lifespan::Default,
            ..0 => Lifespan::Until(self.now),
            1..=RELATIVE_MAX => Lifespan::Until(self.now + exptime.unsigned_abs() * 1000),
            _ => Lifespan::Until(exptime.unsigned_abs().saturating_mul(1000)),
        }
    }

    fn cas(&self, version: u64) -> u64 {
        if self.node.config.protocol.cas { version } else { 0 }
    }

    fn get(&mut self, get: &Get<'_>, hash: Option<KeyHash>, out: &mut Output) {
        let how = Read {
            touch: get.touch.map(|exptime| self.lifespan(exptime)),
            or_create: get.vivify.map(|exptime| self.lifespan(exptime)),
            win_below: get.recache.map(|seconds| seconds.max(0).unsigned_abs() * 1000),
            // Only meta replies can tell a reader that it won.
            unaware: !matches!(self.framing, Framing::Meta(_)),
            win_after_touch: get.order.touch_then_recache,
            quiet: get.no_bump,
            version: get.new_cas,
        };
        for key in get.keys.iter() {
            let hash = hash.unwrap_or_else(|| self.cache.hash(key));
            self.get_one(get, key, hash, &how, out);
            if self.stopped.is_some() {
                return;
            }
        }
        self.reply(&Reply::End, out);
    }

    fn get_one(&mut self, get: &Get<'_>, key: &[u8], hash: KeyHash, how: &Read, out: &mut Output) {
        let batch = self.batch;
        let hit = match batch.read(hash, key, how) {
            Ok(hit) => hit,
            Err(error) if self.stops(&error) => return,
            Err(error) => return self.failed(&error, out),
        };
        let found = hit.is_some();
        self.count_get(found, how.touch.is_some());
        self.node.detail.count(key, Event::Get { hit: found });
        match hit {
            Some(hit) => self.item(get, key, &hit, out),
            None => self.reply(&Reply::Miss { key }, out),
        }
    }

    /// As memcached: an item that the get creates is a hit, and a get that touches is a touch, but
    /// for a miss of `mg`.
    fn count_get(&mut self, found: bool, touches: bool) {
        let counts = &mut *self.counts;
        let touches = touches && (found || !matches!(self.framing, Framing::Meta(_)));
        let (asked, hits, misses) = if touches {
            (&mut counts.cmd_touch, &mut counts.touch_hits, &mut counts.touch_misses)
        } else {
            (&mut counts.cmd_get, &mut counts.get_hits, &mut counts.get_misses)
        };
        *asked += 1;
        *if found { hits } else { misses } += 1;
    }

    fn item(&mut self, get: &Get<'_>, key: &[u8], hit: &Hit<'_>, out: &mut Output) {
        let shared = hit.entry.shared();
        let value = shared.as_ref().map_or(Value::Inline(hit.entry.value()), Value::Shared);
        let item = Item {
            won: hit.won,
            stale: hit.stale,
            lease_sent: hit.leased && !hit.won,
            unchanged: get.unless_cas == Some(hit.entry.version()),
            ttl: self.ttl_shown(&get.order, hit.created, get.touch, hit.deadline_before),
            ..self.figures(&hit.entry, value)
        };
        self.reply(&Reply::Item { key, item }, out);
    }

    fn figures<'v>(&self, entry: &Entry<'_>, value: Value<'v>) -> Item<'v> {
        Item {
            value,
            flags: entry.flags(),
            cas: self.cas(entry.version()),
            ttl: entry.deadline().map(|at| self.seconds_left(at)),
            last_access: entry.idle_seconds(self.now),
            fetched: entry.was_fetched(),
            won: false,
            stale: false,
            lease_sent: false,
            unchanged: false,
            key_binary: entry.marks().has(Marks::BINARY_KEY),
        }
    }

    /// The seconds left where `t` stands among the flags that change them.
    fn ttl_shown(
        &self,
        order: &Order,
        created: bool,
        touch: Option<Exptime>,
        before: Option<u64>,
    ) -> Option<u32> {
        let deadline = match touch.filter(|_| order.touch_then_ttl) {
            _ if created && order.created_ttl == 0 => None,
            _ if created => self.cache.deadline(self.lifespan(order.created_ttl), self.now),
            Some(touch) => self.cache.deadline(self.lifespan(touch), self.now),
            None => before,
        };
        deadline.map(|at| self.seconds_left(at))
    }

    fn seconds_left(&self, deadline: u64) -> u32 {
        u32::try_from(deadline.saturating_sub(self.now).div_ceil(1000)).unwrap_or(u32::MAX)
    }

    /// Executes a plain set.
    pub fn set(&mut self, set: &PlainSet<'_>, hash: KeyHash, out: &mut Output) {
        let put = Put {
            mode: Mode::Set,
            value: set.value,
            flags: set.flags,
            lifespan: self.lifespan(set.exptime),
            max_idle: None,
            expected: None,
            stale_if_older: false,
            version: None,
            or_create: None,
            marks: Marks::default(),
            len_max: self.node.config.limits.max_item_size,
        };
        self.put(set.key, hash, &put, out);
    }

    fn store(&mut self, store: &Store<'_>, hash: KeyHash, out: &mut Output) {
        let marks = if store.key_binary { Marks::BINARY_KEY } else { Marks::default() };
        let put = Put {
            mode: mode(store.mode),
            value: store.value,
            flags: store.flags,
            lifespan: self.lifespan(store.exptime),
            max_idle: store.max_idle_ms,
            expected: store.cas,
            stale_if_older: store.invalidate,
            version: store.new_cas,
            or_create: store.vivify.map(|exptime| self.lifespan(exptime)),
            marks,
            len_max: self.node.config.limits.max_item_size,
        };
        self.put(&store.key, hash, &put, out);
    }

    fn put(&mut self, key: &[u8], hash: KeyHash, put: &Put<'_>, out: &mut Output) {
        let written = self.batch.put(hash, key, put);
        if written.as_ref().is_err_and(|error| self.stops(error)) {
            return;
        }
        self.counts.cmd_set += 1;
        self.node.detail.count(key, Event::Set);
        if put.expected.is_some() {
            self.count_cas(&written);
        }
        match written {
            Ok(written) => self.written(written, key, out),
            Err(error) => {
                self.counts.set_failed += 1;
                self.failed(&error, out);
            }
        }
    }

    fn count_cas(&mut self, written: &Result<Written, Error>) {
        match written {
            Ok(Written::Done { .. }) => self.counts.cas_hits += 1,
            Ok(Written::Conflict) => self.counts.cas_badval += 1,
            Ok(Written::Absent) => self.counts.cas_misses += 1,
            Ok(Written::Refused) | Err(_) => {}
        }
    }

    fn written(&mut self, written: Written, key: &[u8], out: &mut Output) {
        let reply = match written {
            Written::Done { version, len } => {
                Reply::Stored { key, cas: self.cas(version), size: len }
            }
            Written::Refused => {
                self.counts.set_not_stored += 1;
                Reply::NotStored { key }
            }
            Written::Conflict => Reply::Exists { key },
            Written::Absent => Reply::NotFound { key },
        };
        self.reply(&reply, out);
    }

    /// Whether an error says no more than that it is too early.
    #[inline]
    fn stops(&mut self, error: &Error) -> bool {
        self.stopped = match error {
            Error::Away => Some(Stopped::Away),
            Error::Behind => Some(Stopped::Behind),
            _ => return false,
        };
        true
    }

    fn failed(&mut self, error: &Error, out: &mut Output) {
        let reply = match error {
            // Those who may be stopped have asked before.
            Error::Away | Error::Behind => Reply::Refused(Refusal::Server("busy: try again")),
            Error::Full { .. } => {
                self.counts.store_no_memory += 1;
                Reply::OutOfMemory
            }
            Error::ValueLength { .. } => {
                self.counts.store_too_large += 1;
                Reply::TooLarge
            }
            Error::Unrecorded(why) => {
                self.counts.store_unrecorded += 1;
                Reply::Refused(Refusal::Server(unrecorded(*why)))
            }
            Error::KeyLength { .. } => Reply::Refused(Refusal::Client("bad command line format")),
        };
        self.reply(&reply, out);
    }

    /// A value over the limit takes the old one with it, so that nobody reads what the client
    /// meant to replace.
    fn too_large(&mut self, key: &[u8], hash: KeyHash, out: &mut Output) {
        let removed = self.batch.remove(hash, key, &Removal::default());
        if removed.is_err_and(|error| self.stops(&error)) {
            return;
        }
        self.counts.store_too_large += 1;
        self.reply(&Reply::TooLarge, out);
    }

    fn delete(&mut self, delete: &Delete<'_>, hash: KeyHash, out: &mut Output) {
        let removal = Removal {
            expected: delete.cas,
            mark_stale: delete.invalidate,
            lifespan: delete.exptime.map(|exptime| self.lifespan(exptime)),
            drop_value: delete.drop_value,
            version: delete.new_cas,
        };
        let key = delete.key.as_ref();
        let removed = self.batch.remove(hash, key, &removal);
        if removed.as_ref().is_err_and(|error| self.stops(error)) {
            return;
        }
        self.node.detail.count(key, Event::Delete);
        match removed {
            Ok(Written::Done { .. }) => {
                let gone = !removal.mark_stale && !removal.drop_value;
                self.counts.delete_hits += u64::from(gone);
                self.reply(&Reply::Deleted { key }, out);
            }
            Ok(Written::Absent | Written::Refused) => {
                self.counts.delete_misses += 1;
                self.reply(&Reply::NotFound { key }, out);
            }
            Ok(Written::Conflict) => {
                let meta = matches!(self.framing, Framing::Meta(_));
                self.counts.delete_misses += u64::from(meta);
                self.reply(&Reply::Exists { key }, out);
            }
            Err(error) => self.failed(&error, out),
        }
    }

    fn count(&mut self, request: &Arithmetic<'_>, hash: KeyHash, out: &mut Output) {
        let step = Step {
            up: request.up,
            delta: request.delta,
            or_create: request.create.map(|(value, exptime)| (value, self.lifespan(exptime))),
            touch: request.touch.map(|exptime| self.lifespan(exptime)),
            expected: request.cas,
            version: request.new_cas,
        };
        let key = request.key.as_ref();
        let counted = match self.batch.count(hash, key, &step) {
            Ok(counted) => counted,
            Err(error) if self.stops(&error) => return,
            Err(error) => return self.failed(&error, out),
        };
        self.count_step(step.up, counted);
        let reply = match counted {
            Counted::Value { value, version, deadline_before, created, .. } => {
                let (order, touch) = (&request.order, request.touch);
                let ttl = self.ttl_shown(order, created, touch, deadline_before);
                Reply::Number { key, value, cas: self.cas(version), ttl }
            }
            Counted::NotANumber => Reply::NonNumeric,
            Counted::Absent => Reply::NotFound { key },
            Counted::Conflict => Reply::Exists { key },
        };
        self.reply(&reply, out);
    }

    fn count_step(&mut self, up: bool, counted: Counted) {
        let counts = &mut *self.counts;
        let (hits, misses) = if up {
            (&mut counts.incr_hits, &mut counts.incr_misses)
        } else {
            (&mut counts.decr_hits, &mut counts.decr_misses)
        };
        match counted {
            Counted::Value { created: false, .. } => *hits += 1,
            Counted::Absent => *misses += 1,
            Counted::Value { .. } | Counted::NotANumber | Counted::Conflict => {}
        }
    }

    fn touch(&mut self, key: &[u8], hash: KeyHash, exptime: Exptime, out: &mut Output) {
        let lifespan = self.lifespan(exptime);
        let batch = self.batch;
        let touched = batch.touch(hash, key, lifespan);
        if touched.as_ref().is_err_and(|error| self.stops(error)) {
            return;
        }
        self.counts.cmd_touch += 1;
        match touched {
            Ok(Some(entry)) => {
                self.counts.touch_hits += 1;
                let cas = self.cas(entry.version());
                self.reply(&Reply::Touched { flags: entry.flags(), cas }, out);
            }
            Ok(None) => {
                self.counts.touch_misses += 1;
                self.reply(&Reply::NotFound { key }, out);
            }
            Err(error) => self.failed(&error, out),
        }
    }

    fn debug(&mut self, key: &[u8], hash: KeyHash, out: &mut Output) {
        let batch = self.batch;
        match batch.peek(hash, key) {
            Some(entry) => {
                let item = self.figures(&entry, Value::Inline(entry.value()));
                self.reply(&Reply::Debug { key, item, size: entry.charge() }, out);
            }
            None if batch.is_away(hash, key) => self.stopped = Some(Stopped::Away),
            None => self.reply(&Reply::Miss { key }, out),
        }
    }

    fn administer(&mut self, request: &Request<'_>, out: &mut Output) {
        match request {
            Request::FlushAll { delay } => self.flush_all(*delay, out),
            Request::Noop => self.reply(&Reply::Noop, out),
            Request::Version => self.reply(&Reply::Version(VERSION), out),
            Request::Verbosity { level } => self.verbosity(*level, out),
            Request::Stats { argument } => {
                let rows = stats::answer(self.node, self.cache, argument, self.now);
                stats::encode(rows, self.framing, out);
            }
            Request::Quit => self.reply(&Reply::Ok, out),
            Request::Shutdown { graceful } => self.shutdown(*graceful, out),
            Request::MemoryLimit { mebibytes } => self.memory_limit(*mebibytes, out),
            Request::Dump { format } if self.node.config.protocol.dump => {
                self.dump = Some(Dump::new(*format));
            }
            Request::Dump { .. } => {
                self.reply(&Reply::Refused(Refusal::Line("ERROR metadump not allowed")), out);
            }
            // Watchers would see each request: nothing here may cost that.
            Request::Watch { .. } => {
                self.reply(&Reply::Refused(Refusal::Client("watch commands not allowed")), out);
            }
            Request::RefreshCerts => self.refresh_certificates(out),
            // Where logins are required they do not come as far as this.
            Request::SaslList | Request::SaslAuth { .. } => {
                self.reply(&Reply::Refused(Refusal::Unknown), out);
            }
            Request::Accepted => self.reply(&Reply::Ok, out),
            Request::Refused(refusal) => {
                self.counts.protocol_errors += 1;
                self.counts.store_too_large += u64::from(*refusal == Refusal::TooLarge);
                self.reply(&Reply::Refused(*refusal), out);
            }
            // Those with one key: executed before.
            Request::Get(_)
            | Request::Store(_)
            | Request::StoreTooLarge { .. }
            | Request::Delete(_)
            | Request::Arithmetic(_)
            | Request::Touch { .. }
            | Request::Debug { .. } => {}
        }
    }

    fn flush_all(&mut self, delay: Option<Exptime>, out: &mut Output) {
        self.counts.cmd_flush += 1;
        if !self.flush {
            let refusal = Refusal::Client("flush_all not allowed");
            return self.reply(&Reply::Refused(refusal), out);
        }
        let at = match self.lifespan(delay.unwrap_or(0)) {
            Lifespan::Until(at) => at,
            Lifespan::Default => self.now,
        };
        match self.cache.clear(at, self.now) {
            Ok(()) => self.reply(&Reply::Ok, out),
            Err(error) => self.failed(&error, out),
        }
    }

    fn refresh_certificates(&mut self, out: &mut Output) {
        let Some(tls) = &self.node.tls else {
            return self.reply(&Reply::Refused(Refusal::Line("Error TLS not enabled")), out);
        };
        match tls.reload(self.now) {
            Ok(()) => self.reply(&Reply::Ok, out),
            Err(error) => {
                tracing::error!(event = "certificate_not_loaded", %error);
                let refusal = Refusal::Line("ERROR certificates not loaded: see the server's log");
                self.reply(&Reply::Refused(refusal), out);
            }
        }
    }

    fn verbosity(&mut self, level: u32, out: &mut Output) {
        self.node.verbosity.store(level, std::sync::atomic::Ordering::Relaxed);
        self.reply(&Reply::Ok, out);
    }

    fn shutdown(&mut self, graceful: bool, out: &mut Output) {
        if self.node.config.protocol.shutdown_command {
            tracing::info!(event = "shutdown", graceful, "asked by a client");
            self.close = Some("shutdown");
            return self.node.stop();
        }
        let refusal = Refusal::Line("SERVER_ERROR: shutdown not enabled");
        self.reply(&Reply::Refused(refusal), out);
    }

    fn memory_limit(&mut self, mebibytes: u64, out: &mut Output) {
        let bytes = mebibytes.saturating_mul(1 << 20);
        self.cache.table().set_max_bytes(bytes);
        self.node.memory_limit.store(bytes, std::sync::atomic::Ordering::Relaxed);
        self.reply(&Reply::Ok, out);
    }
}

/// Why a change was not kept, with what to do.
fn unrecorded(why: Unrecorded) -> &'static str {
    match why {
        Unrecorded::OutOfSpace => "out of storage: the disk of the data directory is full",
        Unrecorded::Busy => "busy: the disk is behind, try again",
        Unrecorded::Failed => "storage failed: see the server's log",
        Unrecorded::Elsewhere => "not served here now: try again",
        Unrecorded::Held => "a transaction holds the key: try again",
        Unrecorded::TooFewCopies => "too few copies are in sync: try again",
        Unrecorded::Dropped => "the cache has been dropped",
    }
}

fn mode(mode: StoreMode) -> Mode {
    match mode {
        StoreMode::Set => Mode::Set,
        StoreMode::Add => Mode::Add,
        StoreMode::Replace => Mode::Replace,
        StoreMode::Append => Mode::Append,
        StoreMode::Prepend => Mode::Prepend,
    }
}
