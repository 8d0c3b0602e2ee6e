//! Proves who this client is, on each connection anew, and that the server knows it too.

use std::fmt;

use super::call::LinkId;
use super::dispatch::bytes_for;
use super::link::Stage;
use super::{Action, Core};
use crate::client::error::Cause;
use crate::native::handshake::{Auth, AuthStart, Welcome, to_payload};
use crate::native::{Header, Kind};
use crate::scram::{self, EXPORTER_LEN, ScramError};

/// What proves who connects.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Credentials {
    /// Nothing is said: nobody has to log in, or the certificate of the connection tells.
    #[default]
    None,
    /// A password that never travels: `SCRAM-SHA-256`, bound to the connection where it can be.
    Scram { user: String, password: String },
    /// A password that travels as it is.
    Plain { user: String, password: String },
    /// A token.
    Token(String),
    /// The certificate of the connection, which there has to be.
    External,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::None => "None",
            Credentials::Scram { .. } => "Scram",
            Credentials::Plain { .. } => "Plain",
            Credentials::Token(_) => "Token",
            Credentials::External => "External",
        })
    }
}

/// What a login may rely on, of a socket that is connected.
#[derive(Clone, Copy, Default)]
pub struct Channel {
    /// Whether nobody on the way can read along: TLS, or an end on the same machine.
    pub private: bool,
    /// The keying material of TLS 1.3.
    pub binding: Option<[u8; EXPORTER_LEN]>,
    /// Chance: no two connections have the same.
    pub nonce: [u8; 18],
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("private", &self.private).finish_non_exhaustive()
    }
}

/// A login of several steps that is not over.
pub struct Proving {
    scram: scram::Client,
    /// What the server said of itself, before it asked for the proof.
    welcome: Welcome,
}

impl fmt::Debug for Proving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proving(..)")
    }
}

impl Credentials {
    /// The first step on a connection, and the login that goes on behind it.
    ///
    /// # Errors
    ///
    /// Others could read the secret.
    pub fn begin(
        &self,
        channel: &Channel,
    ) -> Result<(Option<AuthStart>, Option<Box<Proving>>), Cause> {
        let start = |mech: &str, data: String| Some(AuthStart { mech: mech.to_owned(), data });
        match self {
            Credentials::None => Ok((None, None)),
            Credentials::External => Ok((start("EXTERNAL", String::new()), None)),
            Credentials::Plain { .. } | Credentials::Token(_) if !channel.private => {
                Err(Cause::Insecure(READABLE.to_owned()))
            }
            Credentials::Plain { user, password } => {
                Ok((start("PLAIN", format!("\0{user}\0{password}")), None))
            }
            Credentials::Token(token) => Ok((start("TOKEN", token.clone()), None)),
            Credentials::Scram { user, password } => {
                let binding = channel.binding.as_ref().map(<[u8; _]>::as_slice);
                let mech = binding.map_or(scram::MECHANISM, |_| scram::MECHANISM_PLUS);
                let password = password.as_bytes();
                let scram = scram::Client::new(user, password, &channel.nonce, binding, false);
                let first = scram.first();
                let proving = Proving { scram, welcome: Welcome::default() };
                Ok((start(mech, first), Some(Box::new(proving))))
            }
        }
    }
}

/// What follows a `WELCOME`.
#[derive(Debug)]
pub enum Step {
    /// The client is in.
    In(Box<Welcome>),
    /// The server wants this proof first.
    Prove(Auth),
}

impl Step {
    /// That behind this `WELCOME`.
    ///
    /// # Errors
    ///
    /// The server asks for a proof of nothing, or lets in who wants a proof of it.
    pub fn behind(proving: Option<&mut Proving>, welcome: Welcome) -> Result<Step, Cause> {
        let asks = welcome.auth.state.as_deref() == Some(Auth::CONTINUE);
        match proving {
            None if asks => Err(Cause::Protocol("the server asks for a proof of nothing")),
            None => Ok(Step::In(Box::new(welcome))),
            // Whoever lets everybody in need not know the password: it may be anybody.
            Some(_) if !asks => Err(unproven(ScramError::Proof)),
            Some(proving) => {
                let challenge = welcome.auth.data.as_bytes();
                let data = proving.scram.prove(challenge).map_err(unproven)?;
                proving.welcome = welcome;
                Ok(Step::Prove(Auth { data, ..Auth::default() }))
            }
        }
    }
}

impl Proving {
    /// Takes the server's own proof: what it said of itself counts now.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn verify(self, auth: &Auth) -> Result<Welcome, Cause> {
        self.scram.verify(auth.data.as_bytes()).map_err(unproven)?;
        Ok(self.welcome)
    }
}

impl Core {
    /// Takes a `WELCOME`: the server lets this client in, or wants a proof first.
    pub(super) fn welcomed(
        &mut self,
        id: LinkId,
        welcome: Welcome,
        out: &mut Vec<Action>,
    ) -> Result<(), Cause> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(()) };
        match Step::behind(link.proving.as_deref_mut(), welcome)? {
            Step::In(welcome) => self.welcome(id, &welcome, out),
            Step::Prove(auth) => {
                link.stage = Stage::Login;
                let payload = to_payload(&auth);
                let bytes = bytes_for(id, out);
                Header::control(Kind::Auth, 0, 0).encode(payload.len(), bytes);
                bytes.extend_from_slice(&payload);
                Ok(())
            }
        }
    }

    /// Takes the `AUTH` behind a proof: the server's own.
    pub(super) fn proven(
        &mut self,
        id: LinkId,
        auth: &Auth,
        out: &mut Vec<Action>,
    ) -> Result<(), Cause> {
        let proving = self.links.get_mut(&id).and_then(|link| link.proving.take());
        let Some(proving) = proving else { return Ok(()) };
        let welcome = proving.verify(auth)?;
        self.welcome(id, &welcome, out)
    }
}

fn unproven(why: ScramError) -> Cause {
    match why {
        ScramError::Proof | ScramError::Refused => Cause::Insecure(UNPROVEN.to_owned()),
        other => Cause::Insecure(format!("the server's part of the login is wrong: {other}")),
    }
}

const READABLE: &str = "the secret would travel as it is: use TLS";
const UNPROVEN: &str = "the server did not prove that it knows the password";
