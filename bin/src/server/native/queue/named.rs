//! Queues by name: made, found, described and dropped.

use std::sync::Arc;

use isogrid_grid::catalog::{Kind, Object, is_name};
use isogrid_grid::structure::queue::{QueueOptionError, QueueOptions};
use isogrid_wire::native::ErrorCode;
use serde_json::{Map, Value, json};

use super::{Failure, stats};
use crate::server::node::Node;
use crate::server::queues;

/// Queues of a node at the most.
const QUEUES_MAX: usize = 1_024;

/// The queue of this name, which is made if it is not there, and whether it was; one that is there must
/// have the options that are given.
///
/// # Errors
/// Why it was not made.
pub fn open(
    node: &Node,
    name: &str,
    options: &[(&str, &str)],
) -> Result<(Arc<Object>, bool), Failure> {
    if node.cluster.get().is_some() {
        return Err(Failure::invalid("a cluster has no queues; a node that stands alone has"));
    }
    if !is_name(name) {
        let why = format!("{name:?} cannot name a queue: 1 to 64 of a-z, A-Z, 0-9, `_`, `.`, `-`");
        return Err(Failure::invalid(why));
    }
    let wanted = QueueOptions::default().with(options)?;
    let known = node.queues.all().len();
    if node.queues.look(name).is_none() && known >= QUEUES_MAX {
        let why = format!("there are {known} queues, as many as there may be");
        let failure = Failure::new(ErrorCode::QuotaExceeded, why);
        return Err(failure.with("limit", QUEUES_MAX.to_string()));
    }
    let made = node.queues.create(node.now(), name, wanted)?;
    if let Err(have) = &made {
        let wanted = have.with(options)?;
        differ(name, &have.differences(&wanted))?;
    }
    if !queues::note(node, name) {
        return Err(Failure::of(ErrorCode::Internal));
    }
    let object = node.catalog.find(Kind::Queue, name);
    let object = object.map_err(|_| Failure::of(ErrorCode::NoSuchObject))?;
    if made.is_ok() {
        tracing::info!(event = "queue_created", queue = name, id = object.id);
    }
    Ok((object, made.is_ok()))
}

fn differ(name: &str, differences: &[String]) -> Result<(), Failure> {
    if differences.is_empty() {
        return Ok(());
    }
    let why = format!("the queue {name:?} is there with other options: {}", differences.join("; "));
    let failure = Failure::new(ErrorCode::ObjectExists, why);
    Err(differences.iter().fold(failure, |failure, one| failure.with("option", one.as_str())))
}

/// Drops a queue with all that is in it; `false` when there was none.
///
/// # Errors
/// It is there as before.
pub fn remove(node: &Node, name: &str) -> Result<bool, Failure> {
    let removed = node.queues.remove(node.now(), name)?;
    node.catalog.forget(Kind::Queue, name);
    if removed {
        tracing::info!(event = "queue_dropped", queue = name);
    }
    Ok(removed)
}

/// The options of a queue.
pub fn props(node: &Node, name: &str) -> Value {
    let Some((options, _)) = node.queues.look(name) else { return json!({}) };
    let options = options.texts().map(|(name, text)| (name.to_owned(), json!(text)));
    Value::Object(options.collect::<Map<_, _>>())
}

/// All that there is to say of a queue.
pub fn document(node: &Node, object: &Object) -> Value {
    let stats = stats(node, &object.name).unwrap_or_default();
    json!({
        "id": object.id,
        "name": object.name,
        "kind": object.kind.name(),
        "origin": object.origin.name(),
        "props": props(node, &object.name),
        "stats": serde_json::from_str::<Value>(&stats).unwrap_or_else(|_| json!({})),
    })
}

impl From<QueueOptionError> for Failure {
    fn from(error: QueueOptionError) -> Failure {
        Failure::invalid(error.to_string())
    }
}
