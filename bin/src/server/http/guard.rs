//! From where may be asked. Where nobody logs in, a server that only its own machine reaches has to
//! make sure that it is a program of that machine that asks, and not a page in a browser there:
//! a page may send requests to any address (cross-site requests), and may read the answers when
//! its own name suddenly resolves to 127.0.0.1 (DNS rebinding).

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::header::{HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName};

use super::problem::{Code, Problem};
use crate::server::node::Node;

/// Whether a request may be answered at all.
///
/// # Errors
/// The problem to answer with instead.
pub fn check(node: &Node, headers: &HeaderMap, anytime: bool) -> Result<(), Problem> {
    if !anytime && !node.health.has_started() {
        return Err(Problem::new(Code::NotReady, "the data directory is being read"));
    }
    let host = text(headers, &HOST);
    let listeners = node.config.listeners();
    let local = listeners.iter().filter(|l| l.accept.http).all(|l| l.address.is_local());
    if local && !host.is_none_or(|host| is_local(host, &node.config.node.name)) {
        let why = format!("host `{}` is no name of this machine", host.unwrap_or_default());
        return Err(Problem::new(Code::Forbidden, why));
    }
    let origin = text(headers, &ORIGIN);
    let own = |origin: &str| origin.split_once("://").map(|(_, rest)| rest) == host;
    match origin.filter(|origin| !own(origin)) {
        Some(origin) => {
            let why = format!("pages of `{origin}` may not ask this server");
            Err(Problem::new(Code::Forbidden, why))
        }
        None => Ok(()),
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Whether a `Host` names this machine in a way that no foreign name server decides.
fn is_local(host: &str, node: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let v6 = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let name = name.to_ascii_lowercase();
    v6.is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok())
        || name.parse::<Ipv4Addr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || name == node.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_resolve_are_not_local() {
        for (host, local) in [
            ("127.0.0.1:7480", true),
            ("127.0.0.1", true),
            ("[::1]:7480", true),
            ("localhost", true),
            ("LOCALHOST:80", true),
            ("a.localhost:80", true),
            ("Node-1:7480", true),
            ("evil.example:7480", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("::1", false),
            ("", false),
            ("?", false),
        ] {
            assert_eq!(is_local(host, "node-1"), local, "{host}");
        }
    }
}
