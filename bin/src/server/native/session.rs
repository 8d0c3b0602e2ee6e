//! One connection's conversation: frames in, frames out.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use isogrid_grid::catalog::{Index, Kind as ObjectKind, Object};
use isogrid_wire::Output;
use isogrid_wire::native::conn::FenceReply;
use isogrid_wire::native::control::{Credit, Ping};
use isogrid_wire::native::{
    Assembled, Cancel, ErrorCode, Frame, Header, Kind, Limits, Reader, Reassembly, Streams,
    decode_all,
};
use tokio::time::Sleep;

use super::admission::refuse;
use super::cache;
use super::clustered::Unsent;
use super::clustered::follow::Followings;
use super::clustered::order::Order;
use super::failure::Failure;
use super::fence::Fencing;
use super::handshake::{self, Preface};
use super::live::Lives;
use super::login::Login;
use super::open_tx::OpenTransactions;
use super::reply::{Given, To};
use super::under_way::UnderWay;
use super::window::{Window, pong};
use crate::server::connection::{Conversation, Done, OUTPUT_LEN_MAX, Turn};
use crate::server::connections::{Place, Spoken};
use crate::server::counters::{Counters, Counts};
use crate::server::invalidated::Misses;
use crate::server::loading::Loading;
use crate::server::login::Client;
use crate::server::node::Node;

/// Frames of one turn, for each request that a turn may have.
const FRAMES_PER_REQUEST: usize = 4;
const CANCELLED: &str = "the client cancelled the request";

/// How far the conversation is.
pub(super) enum Stage {
    Preface,
    Hello,
    /// It has to log in, and has begun to: `limits.login_timeout` ends it.
    Login,
    Open,
}

/// The state of one connection's conversation.
pub struct Session {
    /// The server.
    pub node: Arc<Node>,
    /// The connection's number, by which its own changes are known.
    pub origin: u64,
    /// Who it speaks for.
    pub login: Login,
    /// The client's process.
    pub instance: Option<[u8; 16]>,
    /// What is taken from it.
    pub limits: Limits,
    /// Largest payload of a frame that it takes, bytes.
    pub frame_max: usize,
    /// The time of this run, ms.
    pub now: u64,
    /// The topology epoch of this run, low half.
    pub epoch: u32,
    /// When what is in the input was read, ms.
    pub read_at: u64,
    /// Its open streams.
    pub streams: Streams,
    /// Answers that wait until they are kept.
    pub window: Window,
    /// The order of what it asks of caches of the cluster.
    pub order: Order,
    /// What is for other members and is sent at the end of the turn.
    pub unsent: Unsent,
    /// Listeners at other nodes that are told of this one's changes.
    pub followings: Followings,
    /// What it has missed of invalidated caches.
    pub misses: Misses,
    /// Its requests come from another member: none is passed on once more.
    pub is_passed: bool,
    /// Requests that are answered later.
    pub under_way: UnderWay,
    /// Its streams that have items.
    pub lives: Lives,
    /// Its transactions.
    pub transactions: OpenTransactions,
    /// Entries that are on their way into memory, by the object that they are of.
    pub loading: BTreeMap<u32, Loading>,
    /// What is known of the fence of the next request.
    pub(super) fencing: Fencing,
    /// A message of several frames that waits for them.
    pub(super) stopped: Option<(Header, Vec<u8>)>,
    pub(super) stage: Stage,
    /// Whether the login that is under way is to be answered by a `WELCOME`.
    pub(super) is_hello: bool,
    reassembly: Reassembly,
    pub(super) counts: Counts,
    counters: Arc<Counters>,
    /// The object that those are of.
    counted: u32,
    by_cache: BTreeMap<u32, (Arc<Counters>, Counts)>,
    /// Wakes for the end of the time until HELLO, and then after each silence.
    pub(super) timer: Pin<Box<Sleep>>,
    /// It has been asked to wake.
    pub(super) is_timed: bool,
    /// When a silence that goes on is over, ms: at the latest when the timer wakes, which is a line of
    /// memory more to look at.
    pub(super) silent_until: u64,
    /// Since when nothing was heard, ms; and how often that was noticed.
    pub(super) heard_at: u64,
    /// Wakes when a transaction has been idle for too long.
    pub(super) idle: Option<Pin<Box<Sleep>>>,
    /// When requests are refused, since the node stops, ms.
    pub(super) refuse_at: Option<u64>,
    pub(super) close: Option<&'static str>,
    /// All requests of this run were answered at once, and there is nothing else to do.
    is_calm: bool,
}

impl Session {
    /// The conversation of a new connection.
    pub fn new(node: Arc<Node>, place: &Place, client: Client) -> Self {
        let now = node.now();
        let item = node.config.limits.max_item_size;
        let limits = Limits::default();
        let limits = Limits {
            value_len_max: item,
            message_len_max: limits.message_len_max.max(item.saturating_add(limits.frame_len_max)),
            ..limits
        };
        let first = node.config.caches.first().map_or("", |cache| cache.name.as_str());
        Session {
            origin: place.number(),
            login: Login::new(&node, client, &place.info),
            instance: None,
            frame_max: limits.frame_len_max,
            now,
            epoch: 0,
            read_at: now,
            streams: Streams::new(limits.streams_max),
            window: Window::new(&node),
            order: Order::default(),
            unsent: Unsent::default(),
            followings: Followings::default(),
            misses: Misses::default(),
            is_passed: false,
            under_way: UnderWay::default(),
            lives: Lives::default(),
            transactions: OpenTransactions::default(),
            loading: BTreeMap::new(),
            fencing: Fencing::default(),
            stopped: None,
            stage: Stage::Preface,
            is_hello: false,
            reassembly: Reassembly::new(&limits),
            counts: Counts::default(),
            counters: node.counters.of(first, Spoken::Native),
            counted: node.catalog.index().by_name(ObjectKind::Cache, first).map_or(0, |of| of.id),
            by_cache: BTreeMap::new(),
            timer: Box::pin(tokio::time::sleep(node.config.limits.handshake_timeout)),
            is_timed: false,
            silent_until: now,
            heard_at: now,
            idle: None,
            refuse_at: None,
            close: None,
            is_calm: false,
            limits,
            node,
        }
    }

    /// Where operations on a cache are counted.
    #[inline]
    pub fn count(&mut self, object: &Object) -> &mut Counts {
        if object.id == self.counted { &mut self.counts } else { self.count_apart(object) }
    }

    fn count_apart(&mut self, object: &Object) -> &mut Counts {
        let counters = || self.node.counters.of(&object.name, Spoken::Native);
        let own = self.by_cache.entry(object.id);
        &mut own.or_insert_with(|| (counters(), Counts::default())).1
    }

    /// Counts a request that nobody could read.
    pub fn count_malformed(&mut self) {
        self.counts.protocol_errors += 1;
    }

    /// Whether requests are refused, since the node stops.
    pub fn refuses(&self) -> bool {
        self.refuse_at.is_some_and(|at| at <= self.now)
    }

    /// Nothing behind this can be understood: an `ERR` on stream 0, then the end.
    pub fn broken(&mut self, failure: &Failure, out: &mut Output) {
        self.count_malformed();
        refuse(failure, out);
        self.close = Some(failure.code.info().reason);
    }

    /// Takes what the input begins with; how many bytes that was, or how many there must be.
    fn step(&mut self, index: &Index, input: &[u8], out: &mut Output) -> Result<usize, usize> {
        if let Stage::Preface = self.stage {
            match handshake::preface(input, out) {
                Preface::Incomplete => return Err(handshake::LEN),
                Preface::Answered => self.stage = Stage::Hello,
                Preface::Close(why) => self.close = Some(why),
            }
            return Ok(handshake::LEN.min(input.len()));
        }
        let before_auth = !matches!(self.stage, Stage::Open);
        let limits = if before_auth { self.limits.before_auth() } else { self.limits };
        match Frame::decode(input, &limits) {
            Ok(None) => {
                let needed = Frame::needed(input);
                if before_auth {
                    self.count_before_auth(0, 0, needed, out);
                }
                Err(needed)
            }
            Ok(Some(frame)) if self.window.holds_reads() && !cache::only_writes(&frame.header) => {
                Err(frame.encoded_len())
            }
            Ok(Some(frame)) => {
                if before_auth {
                    let before = out.len();
                    self.before_auth(&frame, out);
                    let got = out.len().saturating_sub(before);
                    self.count_before_auth(frame.encoded_len(), got, 0, out);
                } else if self.frame(index, frame, out) {
                    return Err(frame.encoded_len());
                }
                Ok(frame.encoded_len())
            }
            Err(error) => {
                self.broken(&Failure::new(error.code(), error.to_string()), out);
                Ok(0)
            }
        }
    }

    /// Whom the answer to a frame goes to.
    pub(super) fn to(&self, header: &Header) -> To {
        let Header { op, stream, .. } = *header;
        To { op, stream, frame_max: self.frame_max, epoch: self.epoch }
    }

    /// Whether the frame has to come again, when what it needs is in memory.
    fn frame(&mut self, index: &Index, frame: Frame<'_>, out: &mut Output) -> bool {
        match self.reassembly.push(frame) {
            Assembled::Frame(frame) => return self.whole(index, &frame, out),
            Assembled::Message(header, payload) => {
                if self.whole(index, &Frame { header, payload: &payload }, out) {
                    self.stopped = Some((header, payload));
                }
            }
            Assembled::Incomplete => {}
            Assembled::Refused(header, code) => {
                self.count_malformed();
                let to = self.to(&header);
                to.fail(&Failure::of(code), out);
                self.window.answered(to);
            }
            Assembled::Broken(code) => self.broken(&Failure::of(code), out),
        }
        false
    }

    fn whole(&mut self, index: &Index, frame: &Frame<'_>, out: &mut Output) -> bool {
        match frame.header.kind {
            Kind::Req => return self.request(index, frame, out),
            Kind::Credit => self.credit(frame, out),
            Kind::Cancel => self.cancel(frame, out),
            Kind::Ping => self.ping(frame, out),
            Kind::Pong => {}
            _ => self.broken(&Failure::of(ErrorCode::ProtocolError), out),
        }
        false
    }

    /// Whether a message is not whole.
    #[inline]
    pub(super) fn is_reassembling(&self) -> bool {
        !self.reassembly.is_empty()
    }

    /// Whether the next request waits for what is on its way into memory, or for its fence.
    fn is_loading(&self) -> bool {
        self.fencing.waits()
            || !self.loading.is_empty() && self.loading.values().any(Loading::waits)
    }

    pub(super) fn ping(&mut self, frame: &Frame<'_>, out: &mut Output) {
        match decode_all::<Ping>(Reader::new(frame.payload, &self.limits)) {
            Ok(ping) => {
                pong(ping.opaque, out);
                self.window.ponged(ping.opaque);
            }
            Err(malformed) => self.broken(&malformed.into(), out),
        }
    }

    fn credit(&mut self, frame: &Frame<'_>, out: &mut Output) {
        let stream = frame.header.stream;
        let credit = match decode_all::<Credit>(Reader::new(frame.payload, &self.limits)) {
            Ok(credit) => credit,
            Err(malformed) => return self.broken(&malformed.into(), out),
        };
        match self.streams.credit(stream, credit.items) {
            Ok(()) => {}
            Err(ErrorCode::OutOfRange) => {
                self.count_malformed();
                self.end_stream(stream, &Failure::of(ErrorCode::OutOfRange), out);
            }
            Err(code) => self.broken(&Failure::of(code), out),
        }
    }

    fn cancel(&mut self, frame: &Frame<'_>, out: &mut Output) {
        if !frame.payload.is_empty() {
            return self.broken(&Failure::of(ErrorCode::BadEncoding), out);
        }
        let stream = frame.header.stream;
        if self.streams.cancel(stream) == Cancel::Stop {
            self.end_stream(stream, &Failure::new(ErrorCode::Cancelled, CANCELLED), out);
        }
    }

    /// Gives up what is under way on a stream, and says so.
    pub(super) fn end_stream(&mut self, stream: u32, failure: &Failure, out: &mut Output) {
        let given_up = self.under_way.cancel(stream);
        let given_up = self.lives.remove(stream).or(given_up);
        if let Some(to) = given_up.filter(|_| self.streams.finish(stream)) {
            to.fail(failure, out);
            self.window.answered(to);
        }
    }

    /// Says the answers that have come meanwhile.
    fn poll_under_way(&mut self, cx: &mut Context<'_>, out: &mut Output) {
        while out.len() < OUTPUT_LEN_MAX {
            if let Some(to) = self.under_way.free_fence() {
                self.finish(to, &Given::answer(&FenceReply::Ok {}), out);
                continue;
            }
            let Poll::Ready(Some((to, given))) = self.under_way.poll(cx) else { return };
            self.finish(to, &given, out);
        }
        cx.waker().wake_by_ref();
    }

    /// Answers a request that was under way.
    fn finish(&mut self, to: To, given: &Given, out: &mut Output) {
        self.lives.remove(to.stream);
        if self.streams.finish(to.stream) {
            To { epoch: self.epoch, ..to }.give(given, out);
        }
    }

    /// Gives the streams that have items their turns.
    fn poll_lives(&mut self, cx: &mut Context<'_>, out: &mut Output) {
        for stream in self.lives.turns() {
            if Lives::is_enough(out) {
                return cx.waker().wake_by_ref();
            }
            let (credit, who) = (self.streams.available(stream), self.login.identity());
            let server = (&*self.node, self.now, self.epoch, who);
            let Some((to, step)) = self.lives.poll(stream, credit, server, cx, out) else {
                continue;
            };
            self.streams.take(stream, u32::try_from(step.sent).unwrap_or(u32::MAX));
            if let Some(end) = step.end {
                self.finish(to, &end, out);
            } else if step.more {
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Who is logged in may be somebody else by now, or a login goes on.
    fn go_on_with_login(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Output,
    ) -> Poll<Result<Option<&'static str>, &'static str>> {
        let before = out.len();
        match ready!(self.login.poll(cx)) {
            None => return Poll::Ready(Ok(self.refresh(out))),
            Some(Ok(data)) => self.admit_as(self.is_hello, data, out),
            Some(Err(())) => self.login_failed(out),
        }
        self.count_before_auth(0, out.len().saturating_sub(before), 0, out);
        Poll::Ready(Ok(self.close))
    }

    /// Says what is to be said though nothing was asked now.
    fn say_more(&mut self, cx: &mut Context<'_>, out: &mut Output) {
        if !self.under_way.is_idle() {
            self.poll_under_way(cx, out);
        }
        if !self.lives.is_empty() {
            self.poll_lives(cx, out);
        }
        self.poll_timer(cx, out);
        self.poll_idle(cx);
        self.go_away(out);
    }

    /// Whether something is to be said that nobody asked for: the time is over, or the node stops.
    #[inline(always)]
    fn is_due(&self) -> bool {
        self.now >= self.silent_until || self.node.is_stopping()
    }

    /// Whether nothing waits to be said, and nothing is due by time alone.
    fn has_no_more(&self) -> bool {
        self.under_way.is_idle()
            && self.lives.is_empty()
            && self.is_timed
            && self.idle.is_none()
            && self.transactions.is_empty()
            && !self.is_due()
    }

    /// Whether nothing but requests is waited for.
    #[inline(never)]
    fn has_calmed_down(&self) -> bool {
        matches!(self.stage, Stage::Open)
            && self.stopped.is_none()
            && self.close.is_none()
            && self.login.rests()
            && self.owes_nothing()
            && self.has_no_more()
    }
}

impl Session {
    /// Whether no answer waits until it is kept, and no request for what is on the disk or its fence.
    #[inline]
    fn owes_nothing(&self) -> bool {
        self.window.is_empty() && self.loading.is_empty() && !self.fencing.waits()
    }

    /// Whether the next request may be taken.
    fn takes_more(&self) -> bool {
        self.close.is_none() && self.has_room() && !self.is_loading() && !self.login.is_pending()
    }

    /// Tries a message again that had to wait.
    #[cold]
    fn go_on_with_stopped(&mut self, index: &Index, out: &mut Output) {
        if let Some((header, payload)) = self.stopped.take()
            && self.whole(index, &Frame { header, payload: &payload }, out)
        {
            self.stopped = Some((header, payload));
        }
    }
}

impl Conversation for Session {
    fn begin(&mut self) {
        self.now = self.node.now();
        let cluster = self.node.cluster.get();
        self.epoch = cluster.map_or(0, |cluster| cluster.view().short_epoch());
        // Of who was calm at the end of the last run nothing but this can have changed.
        let is_as_before = || self.login.rests() && !self.is_due();
        self.is_calm = if self.is_calm { is_as_before() } else { self.has_calmed_down() };
    }

    fn end(&mut self) {
        self.counters.take(&mut self.counts);
        if !self.by_cache.is_empty() {
            for (counters, counts) in self.by_cache.values_mut() {
                counters.take(counts);
            }
        }
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn counts(&mut self) -> &mut Counts {
        &mut self.counts
    }

    fn was_read(&mut self) {
        (self.read_at, self.heard_at) = (self.now, self.now);
    }

    fn turn(&mut self, input: &[u8], out: &mut Output) -> Done {
        let mut done = Done { consumed: 0, needed: 1, close: None, turn: Turn::Go };
        let index = self.node.catalog.lend();
        let mut quota = self.node.config.limits.requests_per_turn * FRAMES_PER_REQUEST;
        if self.stopped.is_some() {
            self.go_on_with_stopped(&index, out);
        }
        while quota > 0
            && done.consumed < input.len()
            && (self.is_calm || self.takes_more())
            && out.len() < OUTPUT_LEN_MAX
        {
            let rest = input.get(done.consumed..).unwrap_or_default();
            let went = self.run(&index, rest, quota, out);
            if went.requests > 0 {
                done.consumed += went.len;
                quota -= went.requests;
                self.is_calm &= self.owes_nothing();
                continue;
            }
            self.is_calm = false;
            match self.step(&index, rest, out) {
                Ok(len) => done.consumed += len,
                Err(needed) => {
                    done.needed = needed;
                    break;
                }
            }
            quota -= 1;
        }
        index.give_back();
        self.send_clustered();
        done.close = self.close;
        if quota == 0 && self.close.is_none() && done.consumed < input.len() {
            self.counts.conn_yields += 1;
            done.turn = Turn::Yield;
        }
        done
    }

    /// Whoever is told that the node stops may still wait for answers.
    fn ends_in_silence(&self) -> bool {
        false
    }

    fn keeps(&self) -> bool {
        self.window.keeps()
    }

    #[inline(always)]
    fn poll_kept(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Output,
    ) -> Poll<Result<(), &'static str>> {
        if !self.window.is_empty() {
            ready!(self.window.poll_kept(cx, out));
        }
        Poll::Ready(Ok(()))
    }

    #[inline(always)]
    fn poll_login(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Output,
    ) -> Poll<Result<Option<&'static str>, &'static str>> {
        if self.login.rests() { Poll::Ready(Ok(None)) } else { self.go_on_with_login(cx, out) }
    }

    #[inline(always)]
    fn is_calm(&self) -> bool {
        self.is_calm
    }

    /// A whole message waits that was stopped.
    fn is_streaming(&self) -> bool {
        self.stopped.is_some()
    }

    fn poll_loaded(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.fencing.poll(cx));
        if self.loading.is_empty() { Poll::Ready(()) } else { self.poll_loading(cx) }
    }

    #[inline(always)]
    fn poll_more(&mut self, cx: &mut Context<'_>, out: &mut Output) -> Option<&'static str> {
        if !self.has_no_more() {
            self.say_more(cx, out);
        }
        self.close
    }

    fn in_flight(&self) -> usize {
        self.under_way.len() + self.window.len()
    }

    fn has_room(&self) -> bool {
        self.under_way.len() < self.limits.inflight_max
    }
}

impl Drop for Session {
    /// Transactions belong to their connection.
    fn drop(&mut self) {
        self.roll_back_all();
    }
}
