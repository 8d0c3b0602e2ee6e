//! Turns of a connection whose cache is the cluster's: each request is executed where its key is
//! served, here or by a member that it is passed on to, and each answer waits until the copies
//! have what it says (DATA_PATH R13-R19, R23, R24, R35).
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | where each request goes |
//! | `part.rs` | answers that are not there yet, in the order of their requests |
//! | `timer.rs` | when a connection that waits is to look again |
//! | `lines.rs` | lines of several keys, and `flush_all` |
//! | `passed.rs` | requests that other members pass on |

mod lines;
mod part;
mod passed;
mod timer;

use std::cell::RefCell;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use isogrid_engine::KeyHash;
use isogrid_grid::Batch;
use isogrid_grid::copies::{Once, Ticket};
use isogrid_grid::membership::Monotonic;
use isogrid_grid::replica::OpId;
use isogrid_wire::Output;
use isogrid_wire::memcached::{Decoder, Framing, Refusal, Reply, Request, Text};

use super::connection::{Done, OUTPUT_LEN_MAX, Turn};
use super::session::{Session, decode_any};
use crate::cluster::{Cluster, Outgoing, Route, Shared};
use part::{Deferred, Part, Target};
pub use passed::Passed;
pub(super) use timer::Timer;

/// Nobody knows what becomes of the write, and nobody may try it again unasked (R35).
const UNKNOWN: Refusal = Refusal::Server("outcome unknown: the member that took it is gone");
/// It was surely not done.
pub(super) const NOWHERE: Refusal = Refusal::Server("nobody serves this key now: try again");

/// How long a request waits for somebody who serves its key, or for an answer, ms.
pub(super) const PATIENCE_MS: u64 = 5_000;
/// How often it looks whether somebody does, ms.
pub(super) const LOOK_AGAIN_MS: u64 = 10;
/// How often it looks whether whoever was asked serves the key still, ms.
const LOOK_ELSEWHERE_MS: u64 = 100;

/// What a session has of the cluster.
pub struct Clustered {
    cluster: Arc<Cluster>,
    shared: Arc<Shared>,
    /// What was answered since the output was empty, in order.
    parts: Vec<Part>,
    /// Segments that were written to in this turn.
    touched: Vec<u32>,
    /// The requests come from another member: none is passed on once more.
    passed: bool,
    /// Under what that may come which is executed now.
    name: Option<OpId>,
    /// One of them is for somebody else.
    is_elsewhere: bool,
    /// What goes to other members at the end of the turn.
    outgoing: Outgoing,
    /// How many parts are there, of those that are waited for.
    there: usize,
    /// Until when the parts are waited for.
    until: Option<Monotonic>,
    timer: Timer,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    /// It has to see what was written before it, and that is not committed yet.
    Later,
}

/// A request of one key.
struct Single<'a> {
    request: &'a Request<'a>,
    framing: &'a Framing<'a>,
    hash: KeyHash,
    /// Its bytes, for others to execute.
    raw: &'a [u8],
    reads: bool,
    /// It is a part of a line: what ends the line is not its own.
    is_part: bool,
}

impl Clustered {
    /// For the sessions of a cache, if it is the cluster's.
    pub fn of(cluster: Option<&Arc<Cluster>>, cache: &str) -> Option<Box<Clustered>> {
        let cluster = Arc::clone(cluster?);
        let shared = Arc::clone(cluster.cache(cache)?);
        Some(Box::new(Clustered {
            cluster,
            shared,
            parts: Vec::new(),
            touched: Vec::new(),
            passed: false,
            name: None,
            is_elsewhere: false,
            outgoing: Outgoing::default(),
            there: 0,
            until: None,
            timer: Timer::default(),
        }))
    }

    /// Whether something was answered since the output was empty.
    pub fn has_parts(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Waits for the first answer that is not there, and for those behind it.
    pub fn poll(&mut self, cx: &mut Context<'_>, out: &mut Output) -> Poll<()> {
        loop {
            let now = self.cluster.now().monotonic;
            let until = *self.until.get_or_insert(now + PATIENCE_MS);
            let Some(part) = self.parts.get_mut(self.there) else { break };
            if part.poll(&self.cluster, &self.shared, now >= until, cx).is_ready() {
                self.there += 1;
                continue;
            }
            let pause = if part.is_unasked() { LOOK_AGAIN_MS } else { LOOK_ELSEWHERE_MS };
            ready!(self.timer.poll_until(now, until.min(now + pause), cx));
            self.ask_again();
        }
        part::assemble(&mut self.parts, out);
        (self.there, self.until) = (0, None);
        self.timer.stop();
        Poll::Ready(())
    }

    /// Has everything passed on that nobody is asked for.
    fn ask_again(&mut self) {
        let Clustered { cluster, shared, parts, outgoing, .. } = self;
        let missing = parts.iter_mut().skip(self.there);
        missing.for_each(|part| part.ask_again(cluster, shared, outgoing));
        cluster.send_requests(outgoing);
    }

    fn is_written(&self, segment: u32) -> bool {
        self.parts.iter().any(|part| part.writes(segment))
    }

    fn serves(&self, segment: u32) -> bool {
        self.cluster.serves(&self.shared, segment)
    }

    /// Sends what came of the turn to other members. What they passed on themselves they send.
    fn end_turn(&mut self) {
        if self.passed {
            return;
        }
        if !self.touched.is_empty() {
            self.cluster.flush(&self.shared, &self.touched);
            self.touched.clear();
        }
        self.cluster.send_requests(&mut self.outgoing);
    }
}

impl Session {
    /// Decodes what is in `input`, and has each request executed where its key is served.
    #[inline(never)]
    pub(super) fn clustered_turn(
        &mut self,
        batch: &Batch<'_>,
        decoder: &mut Decoder,
        input: &[u8],
        out: &mut Output,
        done: &mut Done,
    ) {
        let mut quota = self.node.config.limits.requests_per_turn;
        while quota > 0 && done.close.is_none() && out.len() < OUTPUT_LEN_MAX {
            let rest = input.get(done.consumed..).unwrap_or_default();
            let before = (decoder.clone(), done.consumed);
            let Some((request, framing)) = decode_any(decoder, rest, done) else { break };
            let raw = input.get(before.1..done.consumed).unwrap_or_default();
            if self.route(batch, (&request, &framing, raw), out, done) == Flow::Later {
                (*decoder, done.consumed, done.needed) = (before.0, before.1, 1);
                break;
            }
            quota -= 1;
            if self.is_streaming() {
                break;
            }
        }
        self.clustered.iter_mut().for_each(|clustered| clustered.end_turn());
        if quota == 0 && done.close.is_none() && done.consumed < input.len() {
            self.counts.conn_yields += 1;
            done.turn = Turn::Yield;
        }
    }

    fn route(
        &mut self,
        batch: &Batch<'_>,
        (request, framing, raw): (&Request<'_>, &Framing<'_>, &[u8]),
        out: &mut Output,
        done: &mut Done,
    ) -> Flow {
        let said = out.len();
        if self.guard.is_some() && self.stops(request, framing, out, done) {
            self.answered(out.len() - said);
            return Flow::Next;
        }
        match request {
            Request::Get(get) if request.key().is_none() => {
                self.line(batch, (get, framing, raw), out, done)
            }
            Request::FlushAll { delay } => {
                self.flush_everywhere(delay.is_some_and(|delay| delay != 0), framing, out);
                Flow::Next
            }
            Request::StoreTooLarge { key } => {
                self.drop_everywhere(key, framing, out);
                Flow::Next
            }
            _ => match request.key().map(|key| self.cache.hash(key)) {
                Some(hash) => {
                    let reads = is_read(request, framing);
                    let is_part = false;
                    let single = Single { request, framing, hash, raw, reads, is_part };
                    self.single(batch, &single, out, done)
                }
                None => {
                    let _ = self.execute(batch, request, framing, None, out, done);
                    self.answered(out.len() - said);
                    Flow::Next
                }
            },
        }
    }

    /// Bytes of the output that say what is true already.
    fn answered(&mut self, len: usize) {
        if let Some(clustered) = &mut self.clustered {
            clustered.parts.push(Part::here(len, None, &Framing::Text(Text::default())));
        }
    }

    /// A request of one key.
    fn single(
        &mut self,
        batch: &Batch<'_>,
        single: &Single<'_>,
        out: &mut Output,
        done: &mut Done,
    ) -> Flow {
        let segment = single.hash.segment();
        let Some(clustered) = &self.clustered else { return Flow::Next };
        // What a get of any kind looks at first is what is committed.
        if matches!(single.request, Request::Get(_) | Request::Debug { .. })
            && clustered.is_written(segment)
        {
            return Flow::Later;
        }
        let may_read = single.reads && clustered.cluster.may_read(&clustered.shared, segment);
        // What a transaction holds waits as if nobody served it, until it is known how that ends.
        let is_held = || {
            let copies = clustered.shared.copies().filter(|copies| copies.has_intents(segment));
            copies
                .zip(single.request.key())
                .is_some_and(|(copies, key)| copies.is_held(segment, key, !single.reads))
        };
        if (may_read || clustered.serves(segment))
            && !is_held()
            && self.execute_here(batch, single, may_read, out, done)
        {
            return Flow::Next;
        }
        self.defer(single);
        Flow::Next
    }

    /// Executes a request here; whether it is true. If not, nothing was done.
    fn execute_here(
        &mut self,
        batch: &Batch<'_>,
        single: &Single<'_>,
        may_read: bool,
        out: &mut Output,
        done: &mut Done,
    ) -> bool {
        let Single { request, framing, hash, .. } = single;
        let (mark, said, segment) = (out.mark(), out.len(), hash.segment());
        let before = self.clustered.as_ref().and_then(|one| one.shared.mark(segment));
        let once = self.execute_once(segment, out, |session, out| {
            let _ = session.execute(batch, request, framing, Some(*hash), out, done);
        });
        match once {
            Once::Executed => {}
            Once::Before(answer) => out.put(&answer),
            Once::Forgotten => out.put(&refusal(framing, UNKNOWN)),
            Once::UnderWay | Once::Refused => {
                out.truncate(mark);
                return false;
            }
        }
        let Some(clustered) = &mut self.clustered else { return true };
        let ticket = clustered.shared.ticket(segment, before, single.reads);
        // What was read is true if we may still answer, or when that is confirmed; so is what was
        // refused. A write is true once it is committed.
        let still = |clustered: &Clustered| {
            clustered.serves(segment)
                || (may_read && clustered.cluster.may_read(&clustered.shared, segment))
        };
        if ticket.is_none() && !still(clustered) {
            out.truncate(mark);
            return false;
        }
        if single.is_part {
            trim_end(out);
        }
        let may_come_again = |ticket: &Ticket| ticket.is_to_be_confirmed() && !clustered.passed;
        let again = ticket.filter(may_come_again).map(|_| Box::new(clustered.again(single)));
        clustered.parts.push(Part::here(out.len() - said, ticket, framing).or(again));
        self.counts.cluster_here += u64::from(!clustered.passed);
        if (!single.reads || ticket.is_some()) && !clustered.touched.contains(&segment) {
            clustered.touched.push(segment);
        }
        true
    }

    /// Executes a request of a segment, unless it came before.
    fn execute_once(
        &mut self,
        segment: u32,
        out: &mut Output,
        execute: impl FnOnce(&mut Session, &mut Output),
    ) -> Once {
        let named = self.clustered.as_ref().and_then(|clustered| {
            let copies = clustered.name.and(clustered.shared.copies()).cloned()?;
            Some((clustered.name?, clustered.cluster.now().wall, copies))
        });
        let Some((id, now, copies)) = named else {
            execute(self, out);
            return Once::Executed;
        };
        let said = out.len();
        copies.once(now, segment, id, || {
            execute(self, out);
            out.to_vec().get(said..).map(<[u8]>::to_vec)
        })
    }

    /// Lets somebody else execute a request, or waits until somebody can.
    fn defer(&mut self, single: &Single<'_>) {
        let Some(clustered) = &mut self.clustered else { return };
        if clustered.passed {
            clustered.is_elsewhere = true;
            return;
        }
        let deferred = clustered.again(single);
        clustered.defer(deferred);
    }
}

/// Whether a request changes nothing. What meta reads leave behind (who won the right to write a
/// new value) is a change.
fn is_read(request: &Request<'_>, framing: &Framing<'_>) -> bool {
    match request {
        Request::Get(get) => get.touch.is_none() && !matches!(framing, Framing::Meta(_)),
        Request::Debug { .. } => true,
        _ => false,
    }
}

thread_local! {
    /// What is encoded and then kept as bytes: an output of its own would cost more than that.
    static SCRATCH: RefCell<Output> = RefCell::default();
}

/// What a client reads in place of an answer.
pub(super) fn refusal(framing: &Framing<'_>, why: Refusal) -> Vec<u8> {
    SCRATCH.with_borrow_mut(|out| {
        out.clear();
        framing.encode(&Reply::Refused(why), out);
        out.to_vec()
    })
}

/// Takes the end of a classic text answer back.
fn trim_end(out: &mut Output) {
    let (end, shared) = out.mark();
    out.truncate((end.saturating_sub(lines::END.len()), shared));
}

impl Clustered {
    /// A request for whoever serves its key by then.
    fn again(&self, single: &Single<'_>) -> Deferred {
        let Single { request, framing, hash, raw, reads, is_part } = *single;
        let target = Target::Segment(hash.segment());
        let deferred = Deferred::new(target, raw, !reads, is_part, Some(framing));
        // What only looks leaves too little behind to be recorded.
        let looks = reads || matches!(request, Request::Get(_));
        if looks { deferred } else { deferred.named(self.cluster.name()) }
    }

    /// Lets somebody else execute a request.
    fn defer(&mut self, mut deferred: Deferred) {
        deferred.ask(&self.cluster, &self.shared, &mut self.outgoing);
        self.parts.push(Part::There(Box::new(deferred)));
    }

    fn route(&self, segment: u32) -> Route {
        self.cluster.view().route(self.shared.group, segment)
    }
}
