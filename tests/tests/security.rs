//! Logins, roles, TLS, protected mode and the audit log, on a real server.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failing test may panic"
)]

#[path = "security/audit.rs"]
mod audit;
#[path = "security/http.rs"]
mod http;
#[path = "security/limits.rs"]
mod limits;
#[path = "security/logins.rs"]
mod logins;
#[path = "security/native.rs"]
mod native;
#[path = "security/native_logins.rs"]
mod native_logins;
#[path = "security/overflow.rs"]
mod overflow;
#[path = "security/permissions.rs"]
mod permissions;
#[path = "security/start.rs"]
mod start;
#[path = "security/tls.rs"]
mod tls;

use isogrid_tests::harness::{Server, Users};

const PASSWORD: &str = "correct-horse-battery";

/// A server that wants logins, with `users`' file and `more` flags.
fn guarded(users: &Users, more: &[&str]) -> Server {
    let file = format!("auth.users={}", users.file());
    let audit = format!("auth.audit={}", users.path("audit.jsonl"));
    let args = [&["--set", "auth.mode=on", "--set", &file, "--set", &audit], more].concat();
    Server::isogrid(&args)
}
