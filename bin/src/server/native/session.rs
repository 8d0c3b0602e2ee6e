//! One connection's conversation: frames in, frames out.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use isogrid_grid::catalog::{Index, Object};
use isogrid_wire::Output;
use isogrid_wire::native::conn::FenceReply;
use isogrid_wire::native::control::{Credit, GoAway, GoAwayReason, Ping, put_control};
use isogrid_wire::native::frame::MORE;
use isogrid_wire::native::handshake::{Auth, from_payload, to_payload};
use isogrid_wire::native::tx::TxState;
use isogrid_wire::native::{
    Assembled, Cancel, ErrorCode, Frame, Header, Kind, Limits, List, Reader, Reassembly, Streams,
    decode_all,
};
use tokio::time::Sleep;

use super::failure::Failure;
use super::handshake::{self, Preface};
use super::live::Lives;
use super::login::{Begun, Login, Refreshed};
use super::once::instance_of;
use super::open_tx::OpenTransactions;
use super::reply::{Given, To};
use super::under_way::UnderWay;
use super::window::{Window, pong};
use super::{KEEPALIVE_MS, cache};
use crate::server::connection::{Conversation, Done, OUTPUT_LEN_MAX, Turn};
use crate::server::connections::{Place, Spoken};
use crate::server::counters::{Counters, Counts};
use crate::server::loading::Loading;
use crate::server::login::Client;
use crate::server::node::Node;

/// Frames of one turn, for each request that a turn may have.
const FRAMES_PER_REQUEST: usize = 4;
const CANCELLED: &str = "the client cancelled the request";

/// How far the conversation is.
enum Stage {
    Preface,
    Hello,
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
    /// When what is in the input was read, ms.
    pub read_at: u64,
    /// Its open streams.
    pub streams: Streams,
    /// Answers that wait until they are kept.
    pub window: Window,
    /// Requests that are answered later.
    pub under_way: UnderWay,
    /// Its streams that have items.
    pub lives: Lives,
    /// Its transactions.
    pub transactions: OpenTransactions,
    /// Entries that are on their way into memory, by the object that they are of.
    pub loading: BTreeMap<u32, Loading>,
    /// A message of several frames that waits for them.
    stopped: Option<(Header, Vec<u8>)>,
    stage: Stage,
    /// Whether the login that is under way is to be answered by a `WELCOME`.
    is_hello: bool,
    reassembly: Reassembly,
    counts: Counts,
    counters: Arc<Counters>,
    by_cache: BTreeMap<u32, (Arc<Counters>, Counts)>,
    /// Wakes for the end of the handshake, and then after each silence.
    timer: Pin<Box<Sleep>>,
    /// Since when nothing was heard, ms; and how often that was noticed.
    heard_at: u64,
    /// Wakes when a transaction has been idle for too long.
    idle: Option<Pin<Box<Sleep>>>,
    /// When requests are refused, since the node stops, ms.
    refuse_at: Option<u64>,
    close: Option<&'static str>,
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
            read_at: now,
            streams: Streams::new(limits.streams_max),
            window: Window::new(&node),
            under_way: UnderWay::default(),
            lives: Lives::default(),
            transactions: OpenTransactions::default(),
            loading: BTreeMap::new(),
            stopped: None,
            stage: Stage::Preface,
            is_hello: false,
            reassembly: Reassembly::new(&limits),
            counts: Counts::default(),
            counters: node.counters.of(first, Spoken::Native),
            by_cache: BTreeMap::new(),
            timer: Box::pin(tokio::time::sleep(node.config.limits.handshake_timeout)),
            heard_at: now,
            idle: None,
            refuse_at: None,
            close: None,
            limits,
            node,
        }
    }

    /// Where operations on a cache are counted.
    pub fn count(&mut self, object: &Object) -> &mut Counts {
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
        let before_auth = matches!(self.stage, Stage::Hello);
        let limits = if before_auth { self.limits.before_auth() } else { self.limits };
        match Frame::decode(input, &limits) {
            Ok(None) => {
                let needed = Frame::needed(input);
                if before_auth {
                    self.count_before_auth(0, 0, needed, out);
                }
                Err(needed)
            }
            Ok(Some(frame)) if self.window.holds_reads() && !cache::only_writes(&frame) => {
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

    fn hello(&mut self, frame: &Frame<'_>, out: &mut Output) -> Result<(), Failure> {
        let greeting = handshake::hello(frame, &self.limits)?;
        (self.instance, self.frame_max) = (greeting.instance, greeting.frame_max);
        if !self.node.security.is_required() {
            handshake::anonymous(greeting.auth.as_ref())?;
            self.admit_as(true, String::new(), out);
            return Ok(());
        }
        self.counts.auth_cmds += 1;
        self.is_hello = true;
        match self.login.begin(greeting.auth.as_ref())? {
            Begun::Checking => {}
            Begun::Challenge(data) => self.welcome(Auth::CONTINUE, data, out),
            Begun::Wrong => self.login_failed(out),
        }
        Ok(())
    }

    fn welcome(&self, state: &str, data: String, out: &mut Output) {
        let auth = handshake::auth(state, &self.login, data);
        handshake::welcome(&self.node, &self.limits, &self.login, auth, out);
    }

    /// Opens the conversation: behind a `HELLO`, or behind an `AUTH`.
    fn admit_as(&mut self, is_hello: bool, data: String, out: &mut Output) {
        if is_hello {
            self.welcome(Auth::OK, data, out);
        } else {
            let auth = handshake::auth(Auth::OK, &self.login, data);
            handshake::put(Kind::Auth, &to_payload(&auth), out);
        }
        let user = self.login.identity().map(|who| &*who.user);
        self.instance = self.instance.map(|instance| instance_of(user, instance));
        self.stage = Stage::Open;
        self.rest();
    }

    fn login_failed(&mut self, out: &mut Output) {
        self.counts.auth_errors += 1;
        refuse(&Failure::of(ErrorCode::AuthFailed), out);
        self.close = self.login.fail();
    }

    /// Counts what goes to and fro before the login.
    fn count_before_auth(&mut self, sent: usize, got: usize, waiting: usize, out: &mut Output) {
        if let Some(why) = self.login.count(sent, got, waiting).filter(|_| self.close.is_none()) {
            refuse(&Failure::new(ErrorCode::AuthRequired, why), out);
            self.close = Some(why);
        }
    }

    /// Looks whether the users have changed; why the connection ends, if it does.
    fn refresh(&mut self, out: &mut Output) -> Option<&'static str> {
        match self.login.refresh() {
            Refreshed::Same => None,
            Refreshed::Changed => {
                self.change_rights(out);
                None
            }
            Refreshed::Revoked(why) => {
                let (reason, alternatives) = (GoAwayReason::AuthExpired as u16, List::of(&[]));
                let away = GoAway { reason, drain_ms: 0, message: why, alternatives };
                put_control(Header::control(Kind::GoAway, 0, 0), &away, out);
                Some(why)
            }
        }
    }

    /// Ends what was begun under rights that are no more: streams that are not permitted now, and
    /// open transactions, whose writes nobody would ask about again.
    fn change_rights(&mut self, out: &mut Output) {
        let streams: Vec<u32> = self
            .lives
            .all()
            .filter(|(_, live)| !self.may_go_on(live))
            .map(|(stream, _)| stream)
            .collect();
        for stream in streams {
            self.end_stream(stream, &Failure::of(ErrorCode::Forbidden), out);
        }
        self.roll_back_all();
    }

    fn roll_back_all(&mut self) {
        for number in self.transactions.take_all() {
            self.node.transactions.end(number, Some(TxState::Aborted));
        }
    }

    fn before_auth(&mut self, frame: &Frame<'_>, out: &mut Output) {
        let header = frame.header;
        match header.kind {
            _ if header.has(MORE) => self.broken(&Failure::of(ErrorCode::ProtocolError), out),
            Kind::Hello => {
                if let Err(failure) = self.hello(frame, out) {
                    self.broken(&failure, out);
                }
            }
            Kind::Auth if self.login.is_proving() => match from_payload::<Auth>(frame.payload) {
                Ok(auth) => {
                    self.is_hello = false;
                    self.login.prove(&auth.data);
                }
                Err(malformed) => self.broken(&malformed.into(), out),
            },
            Kind::Ping => self.ping(frame, out),
            Kind::Pong => {}
            Kind::Req if header.stream != 0 => {
                let to = To { op: header.op, stream: header.stream, frame_max: self.frame_max };
                to.fail(&Failure::of(ErrorCode::AuthRequired), out);
            }
            _ => self.broken(&Failure::of(ErrorCode::ProtocolError), out),
        }
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
                let to = To { op: header.op, stream: header.stream, frame_max: self.frame_max };
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

    /// Whether something waits for what is on its way into memory.
    fn is_loading(&self) -> bool {
        self.loading.values().any(Loading::waits)
    }

    fn ping(&mut self, frame: &Frame<'_>, out: &mut Output) {
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
    fn end_stream(&mut self, stream: u32, failure: &Failure, out: &mut Output) {
        let given_up = self.under_way.cancel(stream);
        let given_up = self.lives.remove(stream).or(given_up);
        if let Some(to) = given_up.filter(|_| self.streams.finish(stream)) {
            to.fail(failure, out);
            self.window.answered(to);
        }
    }

    /// Sets the timer for the next silence.
    fn rest(&mut self) {
        let silence = Duration::from_millis(KEEPALIVE_MS.into());
        self.timer.set(tokio::time::sleep(silence));
    }

    /// What is due by time alone.
    fn poll_timer(&mut self, cx: &mut Context<'_>, out: &mut Output) {
        while self.timer.as_mut().poll(cx).is_ready() {
            if !matches!(self.stage, Stage::Open) {
                let failure = Failure::of(ErrorCode::HandshakeTimeout);
                self.close = Some(failure.code.info().reason);
                let unserved = &self.node.connections.unserved.handshake_timeout;
                unserved.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if matches!(self.stage, Stage::Hello) {
                    let header = Header::control(Kind::Err, 0, 0);
                    failure.body(|body| put_control(header, body, out));
                }
                return;
            }
            let silent = self.now.saturating_sub(self.heard_at);
            if silent >= 3 * u64::from(KEEPALIVE_MS) {
                self.close = Some("dead: three silences in a row");
                return;
            }
            if silent >= u64::from(KEEPALIVE_MS) {
                let ping = Ping { opaque: self.now };
                put_control(Header::control(Kind::Ping, 0, 0), &ping, out);
            }
            self.rest();
        }
    }

    /// Rolls transactions back that have been idle for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) {
        self.expire_transactions();
        let due = self.transactions.next_deadline();
        self.idle = due.map(|due| {
            let left = Duration::from_millis(due.saturating_sub(self.now).max(1));
            Box::pin(tokio::time::sleep(left))
        });
        if self.idle.as_mut().is_some_and(|idle| idle.as_mut().poll(cx).is_ready()) {
            cx.waker().wake_by_ref();
        }
    }

    /// Says that the node stops, and ends when nothing is under way any more.
    fn go_away(&mut self, out: &mut Output) {
        if !self.node.is_stopping() {
            return;
        }
        if !matches!(self.stage, Stage::Open) {
            self.close = Some("the node stops");
            return;
        }
        if self.refuse_at.is_none() {
            let drain = self.node.config.node.drain_timeout / 2;
            let drain_ms = u32::try_from(drain.as_millis()).unwrap_or(u32::MAX);
            self.refuse_at = Some(self.now + u64::from(drain_ms));
            let message = "the node is being stopped";
            let reason = GoAwayReason::Drain as u16;
            let alternatives = List::of(&[]);
            let away = GoAway { reason, drain_ms, message, alternatives };
            put_control(Header::control(Kind::GoAway, 0, 0), &away, out);
        }
        if self.refuses() && self.under_way.len() == 0 {
            let failure = Failure::of(ErrorCode::GoingAway);
            self.lives.to().for_each(|to| to.fail(&failure, out));
            self.lives = Lives::default();
            self.streams.finish_all().for_each(drop);
            self.close = Some("the node stops");
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
            to.give(given, out);
        }
    }

    /// Gives the streams that have items their turns.
    fn poll_lives(&mut self, cx: &mut Context<'_>, out: &mut Output) {
        for stream in self.lives.turns() {
            if Lives::is_enough(out) {
                return cx.waker().wake_by_ref();
            }
            let (credit, server) = (self.streams.available(stream), (&*self.node, self.now));
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
}

impl Conversation for Session {
    fn begin(&mut self) {
        self.now = self.node.now();
    }

    fn end(&mut self) {
        self.counters.add(&std::mem::take(&mut self.counts));
        for (counters, counts) in self.by_cache.values_mut() {
            counters.add(&std::mem::take(counts));
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
        let index = self.node.catalog.index();
        let mut quota = self.node.config.limits.requests_per_turn * FRAMES_PER_REQUEST;
        if let Some((header, payload)) = self.stopped.take()
            && self.whole(&index, &Frame { header, payload: &payload }, out)
        {
            self.stopped = Some((header, payload));
        }
        while quota > 0
            && self.close.is_none()
            && self.has_room()
            && !self.is_loading()
            && !self.login.is_pending()
            && out.len() < OUTPUT_LEN_MAX
        {
            let rest = input.get(done.consumed..).unwrap_or_default();
            if rest.is_empty() {
                break;
            }
            match self.step(&index, rest, out) {
                Ok(len) => done.consumed += len,
                Err(needed) => {
                    done.needed = needed;
                    break;
                }
            }
            quota -= 1;
        }
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

    fn poll_kept(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Output,
    ) -> Poll<Result<(), &'static str>> {
        ready!(self.window.poll_kept(cx, out));
        Poll::Ready(Ok(()))
    }

    fn poll_login(
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

    /// A whole message waits that was stopped.
    fn is_streaming(&self) -> bool {
        self.stopped.is_some()
    }

    fn poll_loaded(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_loading(cx)
    }

    fn poll_more(&mut self, cx: &mut Context<'_>, out: &mut Output) -> Option<&'static str> {
        self.poll_under_way(cx, out);
        self.poll_lives(cx, out);
        self.poll_timer(cx, out);
        self.poll_idle(cx);
        self.go_away(out);
        self.close
    }

    fn has_room(&self) -> bool {
        self.under_way.len() < self.limits.inflight_max
    }
}

/// Says an error of the connection.
fn refuse(failure: &Failure, out: &mut Output) {
    let header = Header::control(Kind::Err, 0, 0);
    failure.body(|body| put_control(header, body, out));
}

impl Drop for Session {
    /// Transactions belong to their connection.
    fn drop(&mut self) {
        self.roll_back_all();
    }
}
