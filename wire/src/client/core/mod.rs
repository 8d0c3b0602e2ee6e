//! The client without its sockets: [`Core::step`] takes what happened and says what to do.
//!
//! A request is *waiting* for a connection, *sent* on a stream of one, or *resting* before it is
//! sent again. It ends exactly once: with its answer, or with an [`Error`] that says whether it
//! may have been executed. The rule for that is one bit, `doubt`: it is set when an attempt was
//! sent and has no answer, and never cleared but by an answer.
//!
//! One connection is the main one. When the server wants to be rid of it another one is made,
//! requests go on over the old one until then, and it is closed once it is idle. Where servers are
//! a cluster there is one to each other member as well, for requests about keys that it serves
//! (`route.rs`).

mod answer;
mod backoff;
mod call;
mod connect;
mod dispatch;
mod link;
mod login;
mod route;
mod topology;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::error::{Cause, Error};
use crate::native::handshake::Hello;
use crate::native::schema::Repeat;
use backoff::Random;
pub use call::{By, CallId, Fencing, Life, LinkId, Moment, Request};
use call::{Call, State};
use link::Link;
pub use login::{Channel, Credentials, Proving, Step};
pub use route::Routing;
use topology::Topology;
pub use topology::hash;

/// What a core is told at its birth.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `host:port` of members; the first is tried first.
    pub addresses: Vec<String>,
    /// What to say of this client.
    pub hello: Hello,
    /// What proves who it is.
    pub credentials: Credentials,
    /// A connection that is not ready after this time is given up.
    pub connect_timeout: Duration,
    /// Silence after which a sign of life is asked for; after three times that the connection is
    /// taken for dead.
    pub keepalive: Duration,
    /// The first pause before something is tried again, and the longest.
    pub backoff: (Duration, Duration),
    /// Whether requests are sent to the members that serve their keys.
    pub routing: bool,
    /// For the chance in pauses.
    pub seed: u64,
}

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// Somebody asks. Ids ascend.
    Call(CallId, Box<Request>),
    /// Nobody waits for this any more.
    Cancel(CallId),
    /// A stream may send more items.
    Credit(CallId, u32),
    /// The socket is connected.
    Connected(LinkId, Channel),
    /// Bytes came.
    Received(LinkId, &'a [u8]),
    /// The socket could not be connected, or has ended.
    Lost(LinkId),
    /// The two ends do not trust each other, for this reason; the socket has ended.
    Distrusted(LinkId, String),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect a socket.
    Connect(LinkId, String),
    /// Send bytes.
    Send(LinkId, Vec<u8>),
    /// Close the socket; nothing more is to be said of it.
    Close(LinkId),
    /// A stream that had none is open on this connection: its request is sent.
    Opened(CallId, LinkId),
    /// Items of a stream: the payload of the `ITEM`, extensions apart.
    Items(CallId, Vec<u8>),
    /// The end of a request.
    Done(CallId, Result<Reply, Error>),
}

/// An answer that is not decoded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Status and result.
    pub payload: Vec<u8>,
    /// The life of the server that answered.
    pub life: Life,
    /// The connection over which it came.
    pub link: LinkId,
}

/// All connections and requests of a client.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    random: Random,
    topology: Topology,
    calls: BTreeMap<CallId, Call>,
    /// Requests in the state [`State::Waiting`].
    waiting: BTreeSet<CallId>,
    /// Deadlines and ends of rests.
    timers: BTreeSet<(Moment, CallId)>,
    links: BTreeMap<LinkId, Link>,
    next_link: LinkId,
    /// The main connection: requests are sent over it that go to no other member.
    ready: Option<LinkId>,
    /// The connection that is being made.
    making: Option<LinkId>,
    /// When the next connection may be made.
    connect_at: Moment,
    /// Connections that failed since one was proven.
    attempts: u32,
    /// The servers refuse this client: it comes back when somebody asks, and not by itself.
    rejected: bool,
    /// The address of the next connection.
    next_address: usize,
    /// The lives of servers by what those call them, the latest last.
    lives: Vec<(String, Life)>,
    next_life: Life,
    routed: Routing,
    next_tag: u64,
}

impl Core {
    /// Nothing is connected and nothing asked yet.
    pub fn new(settings: Settings) -> Self {
        Core {
            random: Random::new(settings.seed),
            settings,
            topology: Topology::default(),
            calls: BTreeMap::new(),
            waiting: BTreeSet::new(),
            timers: BTreeSet::new(),
            links: BTreeMap::new(),
            next_link: 1,
            ready: None,
            making: None,
            connect_at: Moment::ZERO,
            attempts: 0,
            rejected: false,
            next_address: 0,
            lives: Vec::new(),
            next_life: 1,
            routed: Routing::default(),
            next_tag: 1,
        }
    }

    /// Takes what happened at `now`, which never goes back, and appends what is to be done.
    pub fn step(&mut self, now: Moment, event: Event<'_>, out: &mut Vec<Action>) {
        match event {
            Event::Call(call, request) => self.begin(now, call, *request),
            Event::Cancel(call) => self.cancel(call, out),
            Event::Credit(call, items) => self.credit(call, items, out),
            Event::Connected(link, channel) => self.connected(now, link, &channel, out),
            Event::Received(link, bytes) => self.received(now, link, bytes, out),
            Event::Lost(link) => self.lost(now, link, &Cause::Disconnected, out),
            Event::Distrusted(link, why) => self.lost(now, link, &Cause::Insecure(why), out),
            Event::Tick => {}
        }
        self.timers_at(now, out);
        self.links_at(now, out);
        self.fetch(now);
        self.dispatch(now, out);
        self.close_idle(out);
    }

    /// When [`Event::Tick`] is due at the latest.
    pub fn next_tick(&self) -> Option<Moment> {
        let timer = self.timers.first().map(|(at, _)| *at);
        timer.into_iter().chain(self.links_due()).chain(self.fetch_due()).min()
    }

    /// Requests that have not ended.
    #[cfg(test)]
    pub fn unfinished(&self) -> usize {
        self.calls.len()
    }

    fn begin(&mut self, now: Moment, id: CallId, request: Request) {
        let deadline = request.timeout.map(|timeout| now.saturating_add(timeout));
        if let Some(deadline) = deadline {
            self.timers.insert((deadline, id));
        }
        let call = Call {
            deadline,
            state: State::Waiting,
            doubt: request.doubt,
            tag: None,
            first: None,
            life: 0,
            refused: 0,
            hops: 0,
            begun: false,
            refusal: None,
            request,
        };
        self.calls.insert(id, call);
        self.waiting.insert(id);
    }

    /// Takes a request out of all books.
    fn remove(&mut self, id: CallId) -> Option<Call> {
        let call = self.calls.remove(&id)?;
        self.waiting.remove(&id);
        if let Some(deadline) = call.deadline {
            self.timers.remove(&(deadline, id));
        }
        if let State::Resting(until) = call.state {
            self.timers.remove(&(until, id));
        }
        Some(call)
    }

    /// Ends a request that has no answer.
    fn fail(&mut self, id: CallId, cause: Cause, out: &mut Vec<Action>) {
        let Some(call) = self.remove(id) else { return };
        let unknown = call.doubt && !call.request.reads();
        let error = if unknown { Error::unknown(cause) } else { Error::failed(cause) };
        self.done(id, Err(error), out);
    }

    /// Sends a request again at `until`, if it still has time then.
    fn rest(&mut self, id: CallId, until: Moment, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get_mut(&id) else { return };
        if call.deadline.is_some_and(|deadline| deadline <= until) {
            let cause = call.refusal.take().map_or(Cause::Timeout, Cause::Refused);
            return self.fail(id, cause, out);
        }
        call.state = State::Resting(until);
        self.timers.insert((until, id));
    }

    fn wait(&mut self, id: CallId) {
        if let Some(call) = self.calls.get_mut(&id) {
            call.state = State::Waiting;
            self.waiting.insert(id);
        }
    }

    /// Ends what is over, and wakes what has rested.
    fn timers_at(&mut self, now: Moment, out: &mut Vec<Action>) {
        while let Some((at, id)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, id));
            let Some(call) = self.calls.get(&id) else { continue };
            if call.deadline == Some(at) {
                self.time_over(id, out);
            } else {
                self.wait(id);
            }
        }
    }

    fn time_over(&mut self, id: CallId, out: &mut Vec<Action>) {
        self.abandon(id, out);
        let refusal = self.calls.get_mut(&id).and_then(|call| call.refusal.take());
        self.fail(id, refusal.map_or(Cause::Timeout, Cause::Refused), out);
    }

    fn cancel(&mut self, id: CallId, out: &mut Vec<Action>) {
        self.abandon(id, out);
        self.remove(id);
    }

    /// Whether a request without an answer may be sent again.
    fn may_repeat(call: &Call, now: Moment, next_tag: u64) -> bool {
        match (call.request.repeat, call.tag, call.first) {
            (Repeat::Stream, ..) => false,
            (Repeat::Read, ..) | (Repeat::Idempotent, None, _) => true,
            (_, Some(tag), Some(first)) => {
                now.saturating_sub(first) < TAG_AGE_MAX && next_tag - tag < TAGS_MAX
            }
            _ => false,
        }
    }
}

/// Any span between the half of `span` and all of it.
pub fn about(seed: u64, span: Duration) -> Duration {
    Random::new(seed).about(span)
}

/// A tag is not sent again after so long, nor after so many others: the server remembers answers
/// for twice that (10 minutes, 65,536), and must not take an old tag for a new one.
const TAG_AGE_MAX: Duration = Duration::from_secs(300);
const TAGS_MAX: u64 = 32_768;
