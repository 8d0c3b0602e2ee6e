//! A login on its way: slowed down where somebody guesses, checked on a thread of its own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use isogrid_wire::scram::{Challenge, EXPORTER_LEN};

use super::node::Node;
use crate::security::limiter::Wait;
use crate::security::{Accounts, Attempt, Identity, Security, Way};

/// Who is at the other end, as far as it matters to security.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// The address; `None` on a unix socket.
    pub address: Option<IpAddr>,
    /// Whether the connection is over TLS.
    pub tls: bool,
    /// The common name of the certificate that the client has shown.
    pub certificate: Option<String>,
    /// What binds a SCRAM login to its TLS connection, where that has it.
    pub binding: Option<[u8; EXPORTER_LEN]>,
    /// Whether logins over TCP are taken over TLS alone, those of this machine too.
    pub logs_in_over_tls: bool,
}

impl Client {
    /// Whether nobody else can read what the client sends.
    pub fn is_private(&self) -> bool {
        let local = |address: IpAddr| address.to_canonical().is_loopback();
        !self.lacks_tls() && (self.tls || self.address.is_none_or(local))
    }

    /// Whether no login is taken from it, for want of TLS.
    pub fn lacks_tls(&self) -> bool {
        self.logs_in_over_tls && !self.tls && self.address.is_some()
    }
}

/// Somebody who is logged in, with the accounts that say so.
pub struct LoggedIn {
    /// Who.
    pub identity: Identity,
    /// The accounts.
    pub accounts: Arc<Accounts>,
    /// Their generation.
    pub generation: u64,
}

impl LoggedIn {
    /// The same somebody as the accounts have them now; `None` when they are gone, or what they
    /// logged in with is worth nothing any more.
    pub fn again(self, security: &Security) -> Option<LoggedIn> {
        let generation = security.generation();
        if self.generation == generation {
            return Some(self);
        }
        let accounts = security.accounts();
        let identity = accounts.again(&self.accounts, &self.identity)?;
        Some(LoggedIn { identity, accounts, generation })
    }
}

/// Checks a name and a password. `None` is all that the client learns of a failure; the audit log
/// has the reason.
pub async fn password(
    node: Arc<Node>,
    client: Client,
    user: Vec<u8>,
    password: Vec<u8>,
) -> Option<LoggedIn> {
    let security = &node.security;
    let attempt = |now| Attempt { now, user: &user, peer: client.address, way: Way::Plain };
    // memcached's own users chose to send passwords in the clear when they chose its flags.
    if !client.is_private() && !node.config.protocol.drop_in {
        security.refused(&attempt(node.now()), "a password in the clear");
        return None;
    }
    if !may_try(&node, attempt).await {
        return None;
    }
    // The generation first: a change in between is found by the next look at it.
    let (generation, accounts) = (security.generation(), security.accounts());
    let Ok(check) = security.password(&accounts, &user, &password) else {
        security.refused(&attempt(node.now()), "too many logins at once");
        return None;
    };
    match check.await.ok().flatten() {
        Some(identity) => {
            security.succeeded(&attempt(node.now()));
            Some(LoggedIn { identity, accounts, generation })
        }
        None => {
            security.failed(&attempt(node.now()), "wrong name or password");
            None
        }
    }
}

/// Waits as long as who guesses has to; whether this try may be checked at all.
async fn may_try<'a>(node: &Node, attempt: impl Fn(u64) -> Attempt<'a>) -> bool {
    match node.security.wait(&attempt(node.now())) {
        Wait::For(0) => true,
        Wait::For(ms) => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            true
        }
        Wait::Refuse => {
            node.security.refused(&attempt(node.now()), "too many tries from this network");
            false
        }
    }
}

/// A SCRAM login half-way, with the accounts that it began with.
pub struct Proving {
    /// Who it is to be.
    pub user: String,
    /// What the proof has to answer.
    pub challenge: Challenge,
    /// The accounts.
    pub accounts: Arc<Accounts>,
    /// Their generation.
    pub generation: u64,
}

/// Checks the proof of a SCRAM login; with who it is, what proves the server to the client.
pub async fn scram(
    node: Arc<Node>,
    client: Client,
    proving: Proving,
    proof: Vec<u8>,
) -> Option<(LoggedIn, String)> {
    let Proving { user, challenge, accounts, generation } = proving;
    let (security, way) = (&node.security, Way::Scram);
    let attempt = |now| Attempt { now, user: user.as_bytes(), peer: client.address, way };
    if !may_try(&node, attempt).await {
        return None;
    }
    let identity = accounts.named(&user, way);
    match challenge.finish(&proof).ok().zip(identity) {
        Some((message, identity)) => {
            security.succeeded(&attempt(node.now()));
            Some((LoggedIn { identity, accounts, generation }, message))
        }
        None => {
            security.failed(&attempt(node.now()), "wrong name or password");
            None
        }
    }
}

/// Who has this token.
pub fn token(node: &Node, client: &Client, token: &str) -> Option<LoggedIn> {
    let security = &node.security;
    let user = token.rsplit_once('.').map_or("", |(name, _)| name).as_bytes();
    let attempt = Attempt { now: node.now(), user, peer: client.address, way: Way::Token };
    if !client.is_private() {
        security.refused(&attempt, "a token in the clear");
        return None;
    }
    // A token cannot be guessed, so waiting would only cost.
    if security.wait(&attempt) != Wait::For(0) {
        security.refused(&attempt, "too many tries");
        return None;
    }
    let (generation, accounts) = (security.generation(), security.accounts());
    match accounts.with_token(token) {
        Some(identity) => {
            security.succeeded(&attempt);
            Some(LoggedIn { identity, accounts, generation })
        }
        None => {
            security.failed(&attempt, "wrong token");
            None
        }
    }
}

/// Who a client is by the certificate that it has shown, if that names a user.
pub fn certificate(node: &Node, client: &Client) -> Option<LoggedIn> {
    let name = client.certificate.as_deref()?;
    let security = &node.security;
    let (generation, accounts) = (security.generation(), security.accounts());
    let attempt = Attempt {
        now: node.now(),
        user: name.as_bytes(),
        peer: client.address,
        way: Way::Certificate,
    };
    match accounts.named(name, Way::Certificate) {
        Some(identity) => {
            security.succeeded(&attempt);
            Some(LoggedIn { identity, accounts, generation })
        }
        None => {
            security.refused(&attempt, "a certificate of nobody");
            None
        }
    }
}
