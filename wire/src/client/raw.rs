//! One connection for tools that speak GNP themselves, such as a load generator: it is made, and
//! gets through the login step by step. Nothing is repeated, and nothing is kept.

use std::fmt;
use std::io;

pub use super::core::Step;
use super::core::{Channel, Credentials, Proving};
use super::dial::{Dialer, Stream};
use super::{Cause, Options};
use crate::native::handshake::{Auth, AuthStart, Welcome};

/// How connections are made, and who logs in on them.
#[derive(Clone)]
pub struct Raw {
    dialer: Dialer,
    credentials: Credentials,
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

/// A login on one connection.
#[derive(Debug)]
pub struct Login {
    credentials: Credentials,
    channel: Channel,
    proving: Option<Box<Proving>>,
}

impl Options {
    /// What these options say of TLS and of the login, for who speaks GNP himself.
    ///
    /// # Errors
    /// Which file of TLS cannot be used, and why.
    pub fn raw(&self) -> Result<Raw, String> {
        Ok(Raw { dialer: self.dialer()?, credentials: self.credentials.clone() })
    }
}

impl Raw {
    /// Connects to `host:port`; the login is to be sent over it.
    ///
    /// # Errors
    /// Nobody answers, or the two ends do not trust each other.
    pub async fn connect(&self, address: &str) -> io::Result<(Box<dyn Stream>, Login)> {
        let dialed = self.dialer.clone().dial(address.to_owned()).await?;
        let (credentials, channel) = (self.credentials.clone(), dialed.channel);
        Ok((dialed.stream, Login { credentials, channel, proving: None }))
    }

    /// Whether connections are in the clear and nobody logs in.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.dialer.is_clear() && !self.logs_in()
    }

    /// Whether somebody logs in by what is sent in `HELLO`.
    #[must_use]
    pub fn logs_in(&self) -> bool {
        self.credentials != Credentials::None
    }
}

impl Login {
    /// What `HELLO` says of it.
    ///
    /// # Errors
    /// Others could read the secret.
    pub fn begin(&mut self) -> Result<Option<AuthStart>, Cause> {
        let (start, proving) = self.credentials.begin(&self.channel)?;
        self.proving = proving;
        Ok(start)
    }

    /// User and password for a protocol in which they travel as they are; `None` where nobody logs in
    /// by a password.
    ///
    /// # Errors
    /// Others could read the secret.
    pub fn plain(&self) -> Result<Option<(&str, &str)>, Cause> {
        let Credentials::Plain { user, password } = &self.credentials else { return Ok(None) };
        self.credentials.begin(&self.channel)?;
        Ok(Some((user, password)))
    }

    /// Takes a `WELCOME`: what is to be sent behind it, or that this is all.
    ///
    /// # Errors
    /// The server asks for what this login does not have, or does not prove itself.
    pub fn welcomed(&mut self, welcome: Welcome) -> Result<Step, Cause> {
        Step::behind(self.proving.as_deref_mut(), welcome)
    }

    /// Takes the `AUTH` behind the proof: what the server said of itself before counts now.
    ///
    /// # Errors
    /// The server did not prove that it knows the password.
    pub fn proven(&mut self, auth: &Auth) -> Result<Welcome, Cause> {
        let proving =
            self.proving.take().ok_or(Cause::Protocol("a proof that nobody asked for"))?;
        proving.verify(auth)
    }
}
