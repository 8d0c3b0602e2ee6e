//! Methods about the node itself.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::server::connections::Spoken;
use crate::server::health::{State, ready};
use crate::server::node::Node;

/// What the node is.
pub fn info(node: &Node) -> Value {
    let listener = |listener: &crate::config::ListenerConfig| {
        let accepted = listener.accept.named().into_iter().filter(|(_, accepted)| *accepted);
        let accept: Vec<&str> = accepted.map(|(name, _)| name).collect();
        json!({ "address": listener.address.to_string(), "accept": accept })
    };
    json!({
        "name": node.config.node.name,
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "started_ms": node.started,
        "uptime_ms": node.now().saturating_sub(node.started),
        "threads": node.config.node.threads,
        "data_dir": node.kept_in(),
        "ready": ready(node).iter().all(|check| check.state != State::Bad),
        "draining": node.health.is_draining(),
        "configured_listeners": node.config.listeners().iter().map(listener).collect::<Vec<_>>(),
    })
}

/// What the node has counted.
pub fn stats(node: &Node) -> Value {
    let connections = &node.connections;
    let open =
        connections.by_spoken().map(|(spoken, open)| (spoken.name().to_owned(), open.into()));
    let operations = |(cache, spoken, counts): (String, Spoken, super::super::counters::Counts)| {
        json!({
            "cache": cache,
            "protocol": spoken.name(),
            "get_hits": counts.get_hits,
            "get_misses": counts.get_misses,
            "sets": counts.cmd_set,
            "delete_hits": counts.delete_hits,
            "delete_misses": counts.delete_misses,
        })
    };
    json!({
        "connections": {
            "open": Value::Object(open.into_iter().collect()),
            "max": node.config.limits.max_connections,
            "opened": connections.total.load(Ordering::Relaxed),
            "rejected": connections.rejected.load(Ordering::Relaxed),
        },
        "operations": node.counters.sums().into_iter().map(operations).collect::<Vec<_>>(),
    })
}

/// Asks load balancers to send new clients elsewhere, or takes that back.
pub fn drain(node: &Node, drain: bool) -> Value {
    node.health.drain(drain);
    tracing::info!(event = if drain { "drain" } else { "undrain" }, "asked by an operator");
    json!({ "draining": drain, "connections": node.connections.open() })
}
