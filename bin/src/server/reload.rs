//! Files that may change while the server runs: users, certificates, and the audit log that is
//! moved away. A change is seen within a second (users), a minute (certificates), or at SIGHUP.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::signal::unix::{SignalKind, signal};

use super::Error;
use super::node::Node;
use super::tls::{Tls, days_left};
use crate::cluster::transport::PeerTls;

/// Between two looks at the users, ms.
const USERS_PAUSE: u64 = 500;
/// Between two looks at the certificates, ms.
const CERTIFICATES_PAUSE: u64 = 60_000;
/// Between two warnings of a certificate that ends soon, ms.
const WARNING_PAUSE: u64 = 24 * 3_600 * 1_000;

/// What a change of the file of users shows in: it is replaced as a whole.
type Stamp = Option<(SystemTime, u64, u64)>;

/// When to look at which file.
pub struct Reload {
    users: Stamp,
    next_users: u64,
    next_certificates: u64,
    next_warning: u64,
}

impl Reload {
    /// Begins to look.
    pub fn new(node: &Node) -> Self {
        let now = node.now();
        Reload {
            // The first look reads the file: it may have changed since the start.
            users: None,
            next_users: now,
            next_certificates: now + CERTIFICATES_PAUSE,
            next_warning: now,
        }
    }

    /// Looks at what it is time to look at.
    pub fn look(&mut self, node: &Arc<Node>) {
        let now = node.now();
        if now >= self.next_users {
            self.next_users = now + USERS_PAUSE;
            if let Some(audit) = node.security.audit() {
                audit.tick(now);
            }
            let stamp = node.security.source().and_then(|source| stamp(source.path()));
            if stamp != self.users {
                self.users = stamp;
                let _ = reload_users(node);
            }
        }
        if now >= self.next_certificates {
            self.next_certificates = now + CERTIFICATES_PAUSE;
            if node.tls.as_ref().is_some_and(|tls| tls.is_stale()) {
                let _ = reload_certificates(node);
            }
            if peers(node).is_some_and(PeerTls::is_stale) {
                let _ = reload_peers(node);
            }
        }
        if now >= self.next_warning {
            self.next_warning = now + WARNING_PAUSE;
            warn_of_end(node);
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let data = std::fs::metadata(path).ok()?;
    Some((data.modified().ok()?, data.len(), data.ino()))
}

/// What came of reading something again.
pub type Read = Result<(), String>;

/// Looks at everything at SIGHUP.
///
/// # Errors
/// When the signal cannot be listened for.
pub fn on_hangup(node: &Arc<Node>) -> Result<(), Error> {
    let mut hangup =
        signal(SignalKind::hangup()).map_err(Error::io("cannot listen for signals"))?;
    let node = Arc::clone(node);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            everything(&node);
        }
    });
    Ok(())
}

/// Reads all again that may change while the server runs; what came of each, by its name. Where
/// one cannot be read, the old one holds.
pub fn everything(node: &Node) -> Vec<(&'static str, Read)> {
    let mut all = vec![("users", reload_users(node))];
    if node.tls.is_some() {
        all.push(("certificates", reload_certificates(node)));
    }
    if peers(node).is_some() {
        all.push(("peer_certificates", reload_peers(node)));
    }
    if let Some(audit) = node.security.audit() {
        audit.reopen();
        all.push(("audit_log", Ok(())));
    }
    all
}

/// Reads the users again. Those whose login is worth nothing now are closed at once, and so are
/// all that never logged in, when logins are required from now on.
///
/// # Errors
/// The file cannot be read.
pub fn reload_users(node: &Node) -> Read {
    let was_required = node.security.is_required();
    match node.security.reload(node.now()) {
        Ok(false) => Ok(()),
        Ok(true) => {
            tracing::info!(event = "users_loaded");
            if node.security.is_required() && !was_required {
                for (_, info) in node.connections.list() {
                    info.end("it has to log in from now on");
                }
            }
            node.connections.wake_all();
            Ok(())
        }
        Err(error) => {
            tracing::error!(event = "users_not_loaded", %error, "the old ones hold");
            Err(error.to_string())
        }
    }
}

/// Reads certificate, key and authorities again.
///
/// # Errors
/// They cannot be read, or do not fit together.
pub fn reload_certificates(node: &Node) -> Read {
    let Some(tls) = &node.tls else { return Ok(()) };
    let read = tls.reload(node.now()).map_err(|error| error.to_string());
    match &read {
        Ok(()) => tracing::info!(event = "certificate_loaded", expires_ms = tls.expires()),
        Err(error) => {
            tracing::error!(event = "certificate_not_loaded", %error, "the old one holds");
        }
    }
    read
}

fn peers(node: &Node) -> Option<&PeerTls> {
    node.cluster.get().and_then(|cluster| cluster.peer_tls())
}

/// Reads certificate, key and authority of peers again.
fn reload_peers(node: &Node) -> Read {
    let Some(tls) = peers(node) else { return Ok(()) };
    let read = tls.reload().map_err(|error| error.to_string());
    match &read {
        Ok(()) => tracing::info!(event = "peer_certificate_loaded", expires_ms = tls.expires()),
        Err(error) => {
            tracing::error!(event = "peer_certificate_not_loaded", %error, "the old one holds");
        }
    }
    read
}

fn warn_of_end(node: &Node) {
    let now = node.now();
    let of_clients = node.tls.as_ref().and_then(Tls::expires);
    let of_peers = peers(node).and_then(PeerTls::expires);
    for (of, end) in [("clients", of_clients), ("peers", of_peers)] {
        if let Some(days) = end.and_then(|end| days_left(end, now)) {
            tracing::warn!(event = "certificate_ends_soon", of, days, "put a new one in its place");
        }
    }
}
