//! What stands between a connection and its cache where logins are required: who the client is,
//! what that permits, and the login on its way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use isogrid_wire::Output;
use isogrid_wire::memcached::{Framing, Keys, Refusal, Reply, Request, Text};

use super::login::{self, Client, LoggedIn};
use super::newcomers::Stay;
use super::node::Node;
use crate::security::audit::Event;
use crate::security::{OpClass, allow, memcached, plain};

/// Bytes that a connection may send, and get, before it has logged in.
pub const BYTES_MAX: usize = 4 << 10;
/// As memcached: a longer name of a mechanism is not looked at.
const MECHANISM_LEN_MAX: usize = 32;
/// The one mechanism of memcached's protocols.
const MECHANISM: &[u8] = b"PLAIN";

/// The client ends here: its user was changed or removed.
pub const REVOKED: &str = "its user may not log in like this any more";
/// The client ends here: it guesses.
pub const TRIES: &str = "too many failed logins";
/// The client ends here: it talks without having logged in.
pub const BYTES: &str = "too many bytes before a login";

type Check = Pin<Box<dyn Future<Output = Option<LoggedIn>> + Send>>;

/// A login that is being checked, and how its answer looks.
struct Pending {
    check: Check,
    framing: Framing<'static>,
}

/// The guard of one connection.
pub struct Guard {
    node: Arc<Node>,
    cache: String,
    client: Client,
    who: Option<LoggedIn>,
    /// Everything that plain requests do is permitted on the whole cache.
    free: bool,
    pending: Option<Pending>,
    /// A SASL login goes on with a step.
    stepping: bool,
    failures: u64,
    /// Bytes sent and got before the login.
    sent: usize,
    got: usize,
    stay: Option<Stay>,
}

impl Guard {
    /// The guard of a new connection to `cache`; a certificate may have logged it in already.
    pub fn new(node: Arc<Node>, cache: String, client: Client, stay: Stay) -> Self {
        let who = login::certificate(&node, &client);
        let mut guard = Guard {
            node,
            cache,
            client,
            who: None,
            free: false,
            pending: None,
            stepping: false,
            failures: 0,
            sent: 0,
            got: 0,
            stay: Some(stay),
        };
        who.into_iter().for_each(|who| guard.enter(who));
        guard
    }

    /// Whether plain requests need no look: everything that they do is permitted.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.free && self.pending.is_none()
    }

    /// Whether somebody has logged in.
    pub fn is_known(&self) -> bool {
        self.who.is_some()
    }

    /// Logins that failed on this connection.
    pub fn failures(&self) -> u64 {
        self.failures
    }

    /// Whether a login is being checked: what follows has to wait.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    fn enter(&mut self, who: LoggedIn) {
        let permits = |class| allow(Some(&who.identity), class, &self.cache, None);
        self.free = [OpClass::Read, OpClass::Write, OpClass::Delete].into_iter().all(permits);
        self.who = Some(who);
        self.stay = None;
    }

    /// Looks whether the accounts have changed; why the connection ends, if it does.
    pub fn refresh(&mut self) -> Option<&'static str> {
        let security = &self.node.security;
        let generation = security.generation();
        let who = self.who.as_ref().filter(|who| who.generation != generation)?;
        let accounts = security.accounts();
        if let Some(identity) = accounts.again(&who.accounts, &who.identity) {
            self.enter(LoggedIn { identity, accounts, generation });
            return None;
        }
        security.record(&Event {
            time: self.node.now(),
            event: "revoked",
            user: &who.identity.user,
            peer: self.client.address,
            ..Event::default()
        });
        Some(REVOKED)
    }

    /// Waits for the login that is being checked, and answers it. Why the connection ends, if it
    /// does so after the answer.
    pub fn poll(&mut self, cx: &mut Context<'_>, out: &mut Output) -> Poll<Option<&'static str>> {
        let Some(pending) = &mut self.pending else { return Poll::Ready(None) };
        let outcome = ready!(pending.check.as_mut().poll(cx));
        let framing = pending.framing;
        self.pending = None;
        match outcome {
            Some(who) => {
                self.enter(who);
                let stored = Reply::Stored { key: &[], cas: 0, size: 0 };
                let welcome =
                    if framing.is_binary() { Reply::Line("Authenticated") } else { stored };
                framing.encode(&welcome, out);
                Poll::Ready(None)
            }
            None => {
                let why = Refusal::Denied("authentication failure");
                framing.encode(&Reply::Refused(why), out);
                Poll::Ready(self.fail())
            }
        }
    }

    /// A login failed; why the connection ends, if that was its last try.
    pub fn fail(&mut self) -> Option<&'static str> {
        self.failures += 1;
        let tries = self.node.config.limits.login_tries;
        tries.is_some_and(|tries| self.failures >= tries).then_some(TRIES)
    }

    /// Counts what a connection sends and gets before its login; why it ends, if that is too much.
    /// `waiting_for` is how much of the next request it has announced.
    pub fn count(&mut self, sent: usize, got: usize, waiting_for: usize) -> Option<&'static str> {
        self.sent += sent;
        self.got += got;
        let over = self.sent + waiting_for > BYTES_MAX || self.got > BYTES_MAX;
        (over && !self.is_known() && self.node.config.limits.login_tries.is_some()).then_some(BYTES)
    }

    /// Begins to check a password.
    pub fn check(&mut self, user: &[u8], password: &[u8], framing: &Framing<'_>) {
        let framing = match framing {
            Framing::Binary(binary) => Framing::Binary(*binary),
            Framing::Text(_) | Framing::Meta(_) => Framing::Text(Text::default()),
        };
        let (node, client) = (Arc::clone(&self.node), self.client.clone());
        let check = login::password(node, client, user.to_owned(), password.to_owned());
        self.pending = Some(Pending { check: Box::pin(check), framing });
    }

    /// Answers SASL_AUTH and SASL_STEP, or begins to check the password in them. Why the
    /// connection ends, if it does.
    pub fn sasl(
        &mut self,
        mechanism: &[u8],
        data: &[u8],
        step: bool,
        framing: &Framing<'_>,
        out: &mut Output,
    ) -> Option<&'static str> {
        if mechanism.len() > MECHANISM_LEN_MAX {
            framing.encode(&Reply::Refused(Refusal::Client("Invalid arguments")), out);
            return None;
        }
        let begun = std::mem::take(&mut self.stepping);
        match plain::parse(data).filter(|_| mechanism == MECHANISM && (!step || begun)) {
            Some(plain) => {
                self.check(plain.user, plain.password, framing);
                None
            }
            None if mechanism == MECHANISM && data.is_empty() && !step => {
                self.stepping = true;
                framing.encode(&Reply::Continue, out);
                None
            }
            None => {
                framing.encode(&Reply::Refused(Refusal::Denied("authentication failure")), out);
                self.fail()
            }
        }
    }

    /// Whether the client may have `request` done. A denial is counted and recorded.
    pub fn permits(&self, request: &Request<'_>) -> bool {
        let class = memcached::class(request);
        let denied = match request {
            Request::Get(get) if matches!(get.keys, Keys::Line(_)) => {
                get.keys.iter().find(|key| !self.allows(class, Some(key))).map(Some)
            }
            request => {
                let key = request.key();
                (!self.allows(class, key)).then_some(key)
            }
        };
        match denied {
            Some(key) => self.record("denied", request, key),
            None if class == OpClass::Admin || class == OpClass::Clear => {
                self.record("admin", request, None);
            }
            None => {}
        }
        denied.is_none()
    }

    fn allows(&self, class: OpClass, key: Option<&[u8]>) -> bool {
        let identity = self.who.as_ref().map(|who| &who.identity);
        allow(identity, class, &self.cache, key)
    }

    fn record(&self, event: &'static str, request: &Request<'_>, key: Option<&[u8]>) {
        let security = &self.node.security;
        security.denied.fetch_add(u64::from(event == "denied"), Ordering::Relaxed);
        let user = self.who.as_ref().map_or("", |who| &who.identity.user);
        security.record(&Event {
            time: self.node.now(),
            event,
            user,
            peer: self.client.address,
            command: memcached::name(request),
            cache: &self.cache,
            key,
            ..Event::default()
        });
    }
}
