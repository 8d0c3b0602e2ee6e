//! What a client is told at its birth.

use std::time::Duration;

use super::core::{Credentials, Settings};
use super::dial::{Dialer, chance};
use crate::native::handshake::{Client, Hello};

/// How a client connects, and how long it waits.
///
/// ```
/// use std::time::Duration;
/// use isogrid_wire::client::Options;
///
/// let options = Options::default().app("checkout").timeout(Duration::from_secs(2));
/// # drop(options);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    app: String,
    cluster: Option<String>,
    pub(super) credentials: Credentials,
    #[cfg(feature = "client-tls")]
    tls: Option<super::TlsOptions>,
    pub(super) timeout: Duration,
    connect_timeout: Duration,
    keepalive: Duration,
    backoff: (Duration, Duration),
    pub(super) tag_writes: bool,
    routing: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            app: String::new(),
            cluster: None,
            credentials: Credentials::None,
            #[cfg(feature = "client-tls")]
            tls: None,
            timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
            keepalive: Duration::from_secs(5),
            backoff: (Duration::from_millis(20), Duration::from_secs(2)),
            tag_writes: false,
            routing: true,
        }
    }
}

impl Options {
    /// The application, for the server's list of connections.
    #[must_use]
    pub fn app(self, app: &str) -> Self {
        Options { app: app.to_owned(), ..self }
    }

    /// Refuses to talk to a cluster of another name.
    #[must_use]
    pub fn cluster(self, name: &str) -> Self {
        Options { cluster: Some(name.to_owned()), ..self }
    }

    /// Logs in with a password by SCRAM-SHA-256: the password never travels, and the server has to
    /// prove that it knows it too. Over TLS 1.3 the login is bound to the connection.
    #[must_use]
    pub fn password(self, user: &str, password: &str) -> Self {
        let (user, password) = (user.to_owned(), password.to_owned());
        Options { credentials: Credentials::Scram { user, password }, ..self }
    }

    /// Logs in with a password that is shown to the server, for one that cannot do better. It
    /// travels over TLS or within a machine, and nowhere else.
    #[must_use]
    pub fn plain_password(self, user: &str, password: &str) -> Self {
        let (user, password) = (user.to_owned(), password.to_owned());
        Options { credentials: Credentials::Plain { user, password }, ..self }
    }

    /// Logs in with a token. It travels over TLS or within a machine, and nowhere else.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        Options { credentials: Credentials::Token(token.to_owned()), ..self }
    }

    /// Logs in as the user of the certificate that is shown, and is refused without one. Default:
    /// the same, if the server wants logins and there is a certificate.
    #[must_use]
    pub fn external(self) -> Self {
        Options { credentials: Credentials::External, ..self }
    }

    /// Connects over TLS. Default: in the clear.
    #[cfg(feature = "client-tls")]
    #[must_use]
    pub fn tls(self, tls: super::TlsOptions) -> Self {
        Options { tls: Some(tls), ..self }
    }

    /// How long a request may take, connecting and repeating included. Default: 5 s.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Options { timeout, ..self }
    }

    /// How long one attempt to connect may take, handshake included. Default: 3 s.
    #[must_use]
    pub fn connect_timeout(self, connect_timeout: Duration) -> Self {
        Options { connect_timeout, ..self }
    }

    /// Silence after which the server is asked for a sign of life; after three times that the
    /// connection is taken for dead, and near caches are emptied. Default: 5 s.
    #[must_use]
    pub fn keepalive(self, keepalive: Duration) -> Self {
        Options { keepalive, ..self }
    }

    /// The first pause before something is tried again, and the longest: it doubles, with chance.
    /// Default: 20 ms and 2 s.
    #[must_use]
    pub fn backoff(self, first: Duration, most: Duration) -> Self {
        Options { backoff: (first, most), ..self }
    }

    /// Gives every write an idempotency tag, and not only those that must not be done twice. It
    /// keeps a write that is repeated after a broken connection from undoing one that came after
    /// it, and costs the server a remembered answer a write. Default: off.
    #[must_use]
    pub fn tag_writes(self, on: bool) -> Self {
        Options { tag_writes: on, ..self }
    }

    /// Sends each request about a key of a cache of a cluster to the member that serves the key, over
    /// a connection of its own. Off, all go over one connection to one of the seeds, and the member
    /// behind it passes on what it does not serve. Default: on.
    #[must_use]
    pub fn routing(self, on: bool) -> Self {
        Options { routing: on, ..self }
    }

    /// How connections are made.
    ///
    /// # Errors
    ///
    /// Which file of TLS cannot be used, and why.
    pub(super) fn dialer(&self) -> Result<Dialer, String> {
        #[cfg(feature = "client-tls")]
        if let Some(tls) = &self.tls {
            return Ok(Dialer { tls: Some(super::tls::Tls::read(tls)?) });
        }
        Ok(Dialer::default())
    }

    pub(super) fn settings(&self, addresses: Vec<String>) -> Settings {
        let client = Client {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            lang: "rust".to_owned(),
            instance: uuid(chance(0), chance(1)),
            app: self.app.clone(),
        };
        let millis = |span: Duration| u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
        Settings {
            addresses,
            hello: Hello {
                client,
                cluster: self.cluster.clone(),
                keepalive_ms: Some(millis(self.keepalive)),
                max_frame: Some(1 << 20),
                level: Some(if self.routing { "smart" } else { "basic" }.to_owned()),
                ..Hello::default()
            },
            credentials: self.credentials.clone(),
            connect_timeout: self.connect_timeout,
            keepalive: self.keepalive,
            backoff: self.backoff,
            routing: self.routing,
            seed: chance(2),
        }
    }
}

/// Any span between the half of `span` and all of it.
pub(super) fn about(span: Duration) -> Duration {
    super::core::about(chance(3), span)
}

/// A UUID of version 4 from 128 bits of chance.
fn uuid(high: u64, low: u64) -> String {
    let (high, low) = (high & !0xf000 | 0x4000, low & !(0b11 << 62) | 0b10 << 62);
    let (a, b, c) = (high >> 32, high >> 16 & 0xffff, high & 0xffff);
    let (d, e) = (low >> 48, low & 0xffff_ffff_ffff);
    format!("{a:08x}-{b:04x}-{c:04x}-{d:04x}-{e:012x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_uuids_and_differ() {
        assert_eq!(uuid(0, 0), "00000000-0000-4000-8000-000000000000");
        assert_eq!(uuid(u64::MAX, u64::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let instance = || Options::default().settings(Vec::new()).hello.client.instance;
        assert_ne!(instance(), instance());
    }

    #[test]
    fn secrets_are_not_printed() {
        let (user, secret) = ("app", "canary");
        let options = Options::default();
        for options in [
            options.clone().password(user, secret),
            options.clone().plain_password(user, secret),
            options.token(secret),
        ] {
            let printed = format!("{options:?} {:?}", options.settings(Vec::new()));
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}
