//! Who a connection speaks for, and the login on its way there.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use isogrid_wire::native::ErrorCode;
use isogrid_wire::native::handshake::AuthStart;
use isogrid_wire::scram::{self, Hello as ScramHello, ScramError};

use super::failure::Failure;
use crate::security::audit::Event;
use crate::security::{Attempt, Identity, Way, plain};
use crate::server::connections::Info;
use crate::server::guard::{BYTES, BYTES_MAX, REVOKED, TRIES};
use crate::server::login::{self, Client, LoggedIn, Proving};
use crate::server::newcomers::Stay;
use crate::server::node::Node;

/// The mechanism where nobody has to log in.
pub const ANONYMOUS: &str = "ANONYMOUS";
const PLAIN: &str = "PLAIN";
const TOKEN: &str = "TOKEN";
const EXTERNAL: &str = "EXTERNAL";

/// Who it is, and what the mechanism tells the client of it; `None` for a wrong login.
type Checked = Option<(LoggedIn, String)>;

/// How a login goes on.
enum Step {
    /// Nothing is under way.
    Idle,
    /// It is being checked: what follows has to wait.
    Checking(Pin<Box<dyn Future<Output = Checked> + Send>>),
    /// The client is to prove that it knows the password.
    Proving(Box<Proving>),
}

/// How a login began.
pub enum Begun {
    /// It is being checked.
    Checking,
    /// This is to be answered.
    Challenge(String),
    /// It was wrong.
    Wrong,
}

/// What became of a client since the users changed.
pub enum Refreshed {
    /// Nothing.
    Same,
    /// It may do other things than before.
    Changed,
    /// It may not log in like this any more.
    Revoked(&'static str),
}

/// The login of one connection.
pub struct Login {
    node: Arc<Node>,
    /// The other end.
    pub client: Client,
    who: Option<LoggedIn>,
    step: Step,
    failures: u64,
    /// Bytes sent and got before the login.
    sent: usize,
    got: usize,
    stay: Option<Stay>,
}

impl Login {
    /// Nobody yet, at the other end of a new connection.
    pub fn new(node: &Arc<Node>, client: Client, info: &Arc<Info>) -> Login {
        let required = node.security.is_required();
        let stay = required.then(|| node.unauthenticated.enter(info, node.now()));
        let (node, who, step) = (Arc::clone(node), None, Step::Idle);
        Login { node, client, who, step, failures: 0, sent: 0, got: 0, stay }
    }

    /// Who has logged in.
    pub fn identity(&self) -> Option<&Identity> {
        self.who.as_ref().map(|who| &who.identity)
    }

    /// Whether a login is being checked.
    pub fn is_pending(&self) -> bool {
        matches!(self.step, Step::Checking(_))
    }

    /// The mechanisms that this connection could use.
    pub fn mechanisms(&self) -> Vec<&'static str> {
        if !self.node.security.is_required() {
            return vec![ANONYMOUS];
        }
        let client = &self.client;
        [
            (scram::MECHANISM_PLUS, client.binding.is_some()),
            (scram::MECHANISM, !client.lacks_tls()),
            (TOKEN, client.is_private()),
            (PLAIN, client.is_private()),
            (EXTERNAL, client.certificate.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, offered)| offered.then_some(name))
        .collect()
    }

    fn refusal(&self, code: ErrorCode) -> Failure {
        Failure::of(code).with("mechanisms", self.mechanisms().join(" "))
    }

    /// Begins a login with what `HELLO` says. A client that says nothing is the user of its
    /// certificate.
    ///
    /// # Errors
    /// The `ERR` behind which the connection ends.
    pub fn begin(&mut self, auth: Option<&AuthStart>) -> Result<Begun, Failure> {
        self.step = Step::Idle;
        let (mech, data) = match auth {
            Some(auth) => (auth.mech.as_str(), auth.data.as_str()),
            None if self.client.certificate.is_some() => (EXTERNAL, ""),
            None if self.client.lacks_tls() => return Err(self.refusal(ErrorCode::TlsRequired)),
            None => return Err(self.refusal(ErrorCode::AuthRequired)),
        };
        match mech {
            scram::MECHANISM if self.client.lacks_tls() => {
                Err(self.refusal(ErrorCode::TlsRequired))
            }
            scram::MECHANISM => Ok(self.begin_scram(data, false)),
            scram::MECHANISM_PLUS if self.client.binding.is_some() => {
                Ok(self.begin_scram(data, true))
            }
            PLAIN => self.plain(data),
            TOKEN if self.client.is_private() => {
                let who = login::token(&self.node, &self.client, data);
                Ok(self.checked(who))
            }
            TOKEN => {
                let _ = login::token(&self.node, &self.client, data);
                Err(self.refusal(ErrorCode::TlsRequired))
            }
            EXTERNAL if !self.client.tls => Err(self.refusal(ErrorCode::TlsRequired)),
            EXTERNAL => {
                let own = self.client.certificate.as_deref();
                let fits = data.is_empty() || own == Some(data);
                let who = fits.then(|| login::certificate(&self.node, &self.client)).flatten();
                Ok(self.checked(who))
            }
            _ => Err(self.refusal(ErrorCode::MechUnsupported)),
        }
    }

    /// A login that was checked at once.
    fn checked(&mut self, who: Option<LoggedIn>) -> Begun {
        let outcome = who.map(|who| (who, String::new()));
        self.step = Step::Checking(Box::pin(std::future::ready(outcome)));
        Begun::Checking
    }

    fn plain(&mut self, data: &str) -> Result<Begun, Failure> {
        let Some(plain) = plain::parse(data.as_bytes()) else { return Ok(Begun::Wrong) };
        if !self.client.is_private() {
            self.refused(plain.user, Way::Plain, "a password in the clear");
            return Err(self.refusal(ErrorCode::TlsRequired));
        }
        let (node, client) = (Arc::clone(&self.node), self.client.clone());
        let check = login::password(node, client, plain.user.into(), plain.password.into());
        self.step = Step::Checking(Box::pin(async { Some((check.await?, String::new())) }));
        Ok(Begun::Checking)
    }

    fn begin_scram(&mut self, message: &str, plus: bool) -> Begun {
        let binding = self.client.binding.as_ref().map(<[u8; _]>::as_slice);
        let hello = match ScramHello::read(message.as_bytes(), plus, binding) {
            Ok(hello) => hello,
            Err(ScramError::Binding) => {
                self.refused(b"", Way::Scram, "the channel binding does not fit");
                return Begun::Wrong;
            }
            Err(_) => return Begun::Wrong,
        };
        let (user, security) = (hello.user().to_owned(), &self.node.security);
        // The accounts first: a change in between is found by the next look at them.
        let (generation, accounts) = (security.generation(), security.accounts());
        let challenge = security.scram(hello);
        let first = challenge.message().to_owned();
        self.step = Step::Proving(Box::new(Proving { user, challenge, accounts, generation }));
        Begun::Challenge(first)
    }

    /// Whether the client is to give a proof.
    pub fn is_proving(&self) -> bool {
        matches!(self.step, Step::Proving(_))
    }

    /// Checks the client's proof, if it was to give one.
    pub fn prove(&mut self, proof: &str) {
        if let Step::Proving(proving) = std::mem::replace(&mut self.step, Step::Idle) {
            let (node, client) = (Arc::clone(&self.node), self.client.clone());
            let check = login::scram(node, client, *proving, proof.as_bytes().to_vec());
            self.step = Step::Checking(Box::pin(check));
        }
    }

    /// Waits for the login that is being checked: what the mechanism tells the client, or `Err`
    /// when it was wrong.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<String, ()>>> {
        let Step::Checking(check) = &mut self.step else { return Poll::Ready(None) };
        let outcome = ready!(check.as_mut().poll(cx));
        self.step = Step::Idle;
        Poll::Ready(Some(outcome.ok_or(()).map(|(who, message)| {
            self.who = Some(who);
            self.stay = None;
            message
        })))
    }

    /// A login failed; why the connection ends, if that was its last try.
    pub fn fail(&mut self) -> Option<&'static str> {
        self.failures += 1;
        let tries = self.node.config.limits.login_tries;
        tries.is_some_and(|tries| self.failures >= tries).then_some(TRIES)
    }

    /// Counts what a client sends and gets before its login; why the connection ends, if that is
    /// too much. `waiting_for` is how much of the next frame it has announced.
    pub fn count(&mut self, sent: usize, got: usize, waiting_for: usize) -> Option<&'static str> {
        (self.sent, self.got) = (self.sent + sent, self.got + got);
        let over = self.sent + waiting_for > BYTES_MAX || self.got > BYTES_MAX;
        (over && self.is_bounded()).then_some(BYTES)
    }

    fn is_bounded(&self) -> bool {
        let limited = self.node.config.limits.login_tries.is_some();
        limited && self.who.is_none() && self.node.security.is_required()
    }

    /// Whether nobody is logged in and nobody is about to be.
    #[inline]
    pub fn rests(&self) -> bool {
        self.who.is_none() && !matches!(self.step, Step::Checking(_))
    }

    /// Looks whether the users have changed.
    pub fn refresh(&mut self) -> Refreshed {
        let security = &self.node.security;
        let Some(who) = self.who.take_if(|who| who.generation != security.generation()) else {
            return Refreshed::Same;
        };
        let before = who.identity.clone();
        self.who = who.again(security);
        match &self.who {
            Some(who) if who.identity.roles == before.roles => Refreshed::Same,
            Some(_) => Refreshed::Changed,
            None => {
                security.record(&Event {
                    time: self.node.now(),
                    event: "revoked",
                    user: &before.user,
                    peer: self.client.address,
                    ..Event::default()
                });
                Refreshed::Revoked(REVOKED)
            }
        }
    }

    fn refused(&self, user: &[u8], way: Way, why: &str) {
        let attempt = Attempt { now: self.node.now(), user, peer: self.client.address, way };
        self.node.security.refused(&attempt, why);
    }
}
