//! Turns of a memcached connection to an invalidated cache.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use isogrid_engine::{KeyHash, Marks};
use isogrid_grid::Batch;
use isogrid_grid::invalidation::{Item, Ticket};
use isogrid_grid::membership::Monotonic;
use isogrid_wire::Output;
use isogrid_wire::memcached::{Decoder, Framing, Get, Refusal, Reply, Request, Store, StoreMode};

use super::Misses;
use crate::cluster::{Cluster, Fresh, Invalidated};
use crate::server::clustered::{LOOK_AGAIN_MS, NOWHERE, PATIENCE_MS, Timer, refusal};
use crate::server::connection::{Done, OUTPUT_LEN_MAX, Turn};
use crate::server::session::{Session, Stream, decode_any};

/// Nobody knows whether others still serve what was written over.
const UNKNOWN: Refusal =
    Refusal::Server("outcome unknown: not all members are known to have heard");

/// What a session has of an invalidated cache.
pub struct Turns {
    cluster: Arc<Cluster>,
    cache: Arc<Invalidated>,
    misses: Misses,
    /// What was answered since the output was empty, in order.
    parts: Vec<Part>,
    /// What was written in this turn, which the others do not know yet.
    items: Vec<Item>,
    /// What the writes wait for.
    ticket: Option<Ticket>,
    /// Nothing is executed before this member may serve.
    is_stalled: bool,
    /// That took too long: what is there is refused.
    refuses: bool,
    /// Until when something is waited for.
    until: Option<Monotonic>,
    timer: Timer,
}

/// So many bytes of the output.
struct Part {
    len: usize,
    kind: Kind,
    framing: Framing<'static>,
    /// What the client reads instead.
    refused: Option<Refusal>,
}

/// What a request is to the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    Other,
    /// True if the cache may still be served when it was executed.
    Read,
    /// True when all others have heard of it.
    Write,
}

impl Turns {
    /// For the sessions of a cache, if it is an invalidated one.
    pub fn of(cluster: Option<&Arc<Cluster>>, cache: &str) -> Option<Box<Turns>> {
        let cluster = Arc::clone(cluster?);
        let cache = cluster.invalidated(cache)?;
        Some(Box::new(Turns {
            cluster,
            cache,
            misses: Misses::default(),
            parts: Vec::new(),
            items: Vec::new(),
            ticket: None,
            is_stalled: false,
            refuses: false,
            until: None,
            timer: Timer::default(),
        }))
    }

    /// Whether something is waited for, or was answered since the output was empty.
    pub fn has_parts(&self) -> bool {
        self.is_stalled || !self.parts.is_empty()
    }

    /// Waits until this member may serve, and until the others have heard of what was written.
    pub fn poll(&mut self, cx: &mut Context<'_>, out: &mut Output) -> Poll<()> {
        loop {
            let now = self.cluster.now().monotonic;
            let until = *self.until.get_or_insert(now + PATIENCE_MS);
            let look = if self.is_stalled {
                if self.cluster.fresh().is_some() || now >= until {
                    self.refuses = now >= until;
                    break;
                }
                until.min(now + LOOK_AGAIN_MS)
            } else {
                let told = self.ticket.map(|ticket| self.cluster.poll_told(ticket, cx));
                match told {
                    Some(Poll::Pending) if now < until => until,
                    Some(Poll::Pending | Poll::Ready(Err(_))) => {
                        self.refuse(Kind::Write, UNKNOWN);
                        break;
                    }
                    Some(Poll::Ready(Ok(()))) | None => break,
                }
            };
            ready!(self.timer.poll_until(now, look, cx));
        }
        self.assemble(out);
        (self.is_stalled, self.until, self.ticket) = (false, None, None);
        self.timer.stop();
        Poll::Ready(())
    }

    /// Answers of this kind are not true.
    fn refuse(&mut self, kind: Kind, why: Refusal) {
        let parts = self.parts.iter_mut().filter(|part| part.kind == kind);
        parts.for_each(|part| part.refused = Some(why));
    }

    fn assemble(&mut self, out: &mut Output) {
        if self.parts.iter().any(|part| part.refused.is_some()) {
            let bytes = out.to_vec();
            let mut rest = &bytes[..];
            out.clear();
            for part in &self.parts {
                let (front, behind) = rest.split_at_checked(part.len).unwrap_or((rest, b""));
                rest = behind;
                match part.refused {
                    Some(why) => out.put(&refusal(&part.framing, why)),
                    None => out.put(front),
                }
            }
        }
        self.parts.clear();
    }

    fn answered(&mut self, len: usize, kind: Kind, framing: &Framing<'_>) {
        self.parts.push(Part { len, kind, framing: framing.of_refusals(), refused: None });
    }

    /// What was written is told, and what was read is true if the cache may still be served.
    fn end_turn(&mut self, fresh: Fresh) {
        if !self.cluster.is_still(fresh) {
            self.refuse(Kind::Read, NOWHERE);
        }
        if !self.items.is_empty() {
            self.ticket = self.cluster.tell_written(fresh, &self.items);
            self.items.clear();
            if self.ticket.is_none() {
                self.refuse(Kind::Write, UNKNOWN);
            }
        }
    }
}

impl Session {
    /// Decodes and executes what is in `input`, if this member may serve.
    #[inline(never)]
    pub(in crate::server) fn invalidated_turn(
        &mut self,
        batch: &Batch<'_>,
        decoder: &mut Decoder,
        input: &[u8],
        out: &mut Output,
        done: &mut Done,
    ) {
        let Some(turns) = &mut self.invalidated else { return };
        let (fresh, refuses) = (turns.cluster.fresh(), std::mem::take(&mut turns.refuses));
        if fresh.is_none() && !refuses {
            turns.is_stalled = true;
            return;
        }
        let mut quota = self.node.config.limits.requests_per_turn;
        while quota > 0 && done.close.is_none() && out.len() < OUTPUT_LEN_MAX {
            let rest = input.get(done.consumed..).unwrap_or_default();
            let Some((request, framing)) = decode_any(decoder, rest, done) else { break };
            let said = out.len();
            let kind =
                self.invalidated_request(batch, (&request, &framing), fresh.is_some(), out, done);
            if let Some(turns) = &mut self.invalidated {
                turns.answered(out.len() - said, kind, &framing);
            }
            quota -= 1;
            if self.is_streaming() {
                break;
            }
        }
        if let Some((turns, fresh)) = self.invalidated.as_mut().zip(fresh) {
            turns.end_turn(fresh);
        }
        if quota == 0 && done.close.is_none() && done.consumed < input.len() {
            self.counts.conn_yields += 1;
            done.turn = Turn::Yield;
        }
    }

    fn invalidated_request(
        &mut self,
        batch: &Batch<'_>,
        (request, framing): (&Request<'_>, &Framing<'_>),
        serves: bool,
        out: &mut Output,
        done: &mut Done,
    ) -> Kind {
        let kind = kind_of(request);
        if self.guard.is_some() && self.stops(request, framing, out, done) {
            return Kind::Other;
        }
        if kind != Kind::Other && !serves {
            framing.encode(&Reply::Refused(NOWHERE), out);
            return Kind::Other;
        }
        match request {
            Request::Get(get) => self.read_invalidated(batch, (request, get, framing), out, done),
            Request::Store(store) if self.fills(store) => {
                self.fill_invalidated(batch, (request, store, framing), out, done);
                // If nobody may serve any more, nobody reads what was stored.
                return Kind::Read;
            }
            Request::FlushAll { delay } => {
                if delay.is_some_and(|delay| delay != 0) {
                    let why = Refusal::Server("an invalidated cache is flushed at once only");
                    framing.encode(&Reply::Refused(why), out);
                    return Kind::Other;
                }
                if !self.may_flush() {
                    let _ = self.execute(batch, request, framing, None, out, done);
                    return Kind::Other;
                }
                self.write_invalidated(batch, (request, None, framing), out, done);
            }
            _ if kind == Kind::Write => {
                self.write_invalidated(batch, (request, request.key(), framing), out, done);
            }
            _ => self.execute_keyed(batch, (request, framing), out, done),
        }
        kind
    }

    fn execute_keyed(
        &mut self,
        batch: &Batch<'_>,
        (request, framing): (&Request<'_>, &Framing<'_>),
        out: &mut Output,
        done: &mut Done,
    ) {
        let hash = request.key().map(|key| self.cache.hash(key));
        let _ = self.execute(batch, request, framing, hash, out, done);
    }

    /// A get of any kind. Who misses is given a token; a placeholder is known as one.
    fn read_invalidated(
        &mut self,
        batch: &Batch<'_>,
        (request, get, framing): (&Request<'_>, &Get<'_>, &Framing<'_>),
        out: &mut Output,
        done: &mut Done,
    ) {
        let missing = |key: &[u8], hash: KeyHash| batch.peek(hash, key).is_none();
        let vivified = get.vivify.and(request.key());
        let was_missing = vivified.is_some_and(|key| missing(key, self.cache.hash(key)));
        let misses = self.counts.get_misses;
        self.execute_keyed(batch, (request, framing), out, done);
        while matches!(self.stream, Some(Stream::Get { .. })) {
            self.go_on(out);
        }
        let Some(turns) = &mut self.invalidated else { return };
        if let Some(key) = vivified.filter(|_| was_missing)
            && let Some(entry) = batch.peek(self.cache.hash(key), key)
            && is_placeholder(&entry)
        {
            turns.cache.fills.vacated(key, entry.version());
        } else if self.counts.get_misses > misses {
            let missed = get.keys.iter().filter(|key| missing(key, self.cache.hash(key)));
            missed.for_each(|key| turns.misses.note(&turns.cache, key));
        }
    }

    /// Whether a store brings what was loaded because the key was missed.
    fn fills(&self, store: &Store<'_>) -> bool {
        let vacant = |cas| {
            let turns = self.invalidated.as_ref();
            turns.is_some_and(|turns| turns.cache.fills.is_vacant(&store.key, cas))
        };
        store.mode == StoreMode::Add || store.cas.is_some_and(vacant)
    }

    fn fill_invalidated(
        &mut self,
        batch: &Batch<'_>,
        (request, store, framing): (&Request<'_>, &Store<'_>, &Framing<'_>),
        out: &mut Output,
        done: &mut Done,
    ) {
        let Some(turns) = &mut self.invalidated else { return };
        let cache = Arc::clone(&turns.cache);
        let token = turns.misses.take(&cache, &store.key).filter(|_| store.cas.is_none());
        let mut execute = || self.execute_keyed(batch, (request, framing), out, done);
        let Some(token) = token else { return execute() };
        if cache.fills.fill(&store.key, token, execute).is_none() {
            self.counts.set_not_stored += 1;
            framing.encode(&Reply::NotStored { key: &store.key }, out);
        }
    }

    /// A write of a key, or of all: what was loaded before it must not be stored behind it.
    fn write_invalidated(
        &mut self,
        batch: &Batch<'_>,
        (request, key, framing): (&Request<'_>, Option<&[u8]>, &Framing<'_>),
        out: &mut Output,
        done: &mut Done,
    ) {
        let Some(turns) = &mut self.invalidated else { return };
        turns.items.push(turns.cache.item(key));
        let cache = Arc::clone(&turns.cache);
        let execute = || self.execute_keyed(batch, (request, framing), out, done);
        match key {
            Some(key) => cache.fills.kill(key, execute),
            None => cache.fills.kill_all(execute),
        }
    }
}

fn kind_of(request: &Request<'_>) -> Kind {
    match request {
        Request::Get(_) | Request::Debug { .. } => Kind::Read,
        Request::Store(_)
        | Request::StoreTooLarge { .. }
        | Request::Delete(_)
        | Request::Arithmetic(_)
        | Request::Touch { .. }
        | Request::FlushAll { .. } => Kind::Write,
        _ => Kind::Other,
    }
}

/// Whether an entry is what `mg N` leaves on a miss.
fn is_placeholder(entry: &isogrid_engine::Entry<'_>) -> bool {
    let marks = entry.marks();
    entry.value().is_empty() && marks.has(Marks::LEASED) && !marks.has(Marks::STALE)
}
