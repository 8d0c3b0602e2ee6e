//! Everything that a node knows about itself in one document, for whoever looks into a problem:
//! what the other methods of administration show, with the metrics.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Fault, Invocation, caches, cluster, config, node};
use crate::server::connections::{Info, State};
use crate::server::health::{self, Check};
use crate::server::metrics;
use crate::server::node::Node;

/// Connections that are shown, the oldest ones.
const CONNECTIONS_MAX: usize = 256;
/// Bytes of metrics that are shown: a document of the native protocol has 1 MiB at the most.
const METRICS_LEN_MAX: usize = 512 << 10;

/// The document.
///
/// # Errors
/// Never: `cluster` is null where the node belongs to none, or cannot say how that is.
pub async fn diagnose(call: Invocation) -> Result<Value, Fault> {
    let server = call.node.clone();
    let cluster = cluster::status(call).await.unwrap_or_default();
    Ok(json!({
        "taken_ms": server.now(),
        "node": node::info(&server),
        "ready": health::ready(&server).iter().map(check).collect::<Vec<_>>(),
        "stats": node::stats(&server),
        "configuration": config::show(&server),
        "connections": connections(&server),
        "caches": caches::list(&server),
        "cluster": cluster,
        "metrics": metrics(&server),
    }))
}

fn check(check: &Check) -> Value {
    json!({ "name": check.name, "state": check.state.word(), "why": check.why })
}

fn connections(node: &Node) -> Vec<Value> {
    let all = node.connections.list().into_iter().take(CONNECTIONS_MAX);
    all.map(|(number, info)| connection(number, &info, node.now())).collect()
}

fn connection(number: u64, info: &Info, now: u64) -> Value {
    let (state, since) = info.state();
    let state = match state {
        State::Idle => "idle",
        State::Reading => "reading",
        State::Writing => "writing",
    };
    json!({
        "number": number,
        "peer": info.peer.name,
        "protocol": info.spoken().name(),
        "state": state,
        "for_ms": now.saturating_sub(since),
    })
}

/// Whole lines, as many as there is room for.
fn metrics(node: &Arc<Node>) -> String {
    let mut text = metrics::classic(&metrics::render(node));
    if text.len() > METRICS_LEN_MAX {
        let end = text.as_bytes().get(..METRICS_LEN_MAX).unwrap_or_default();
        let end = end.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        text.truncate(end);
    }
    text
}
