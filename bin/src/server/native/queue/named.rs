//! Queues by name: made, found, described and dropped.

use std::sync::Arc;

use isogrid_grid::catalog::{Kind, Object, Origin, is_name};
use isogrid_grid::structure::queue::{QueueOptionError, QueueOptions, QueueStats};
use isogrid_wire::native::ErrorCode;
use serde_json::{Map, Value, json};

use super::Failure;
use crate::cluster::object_number;
use crate::server::node::Node;
use crate::server::queues::Place;

/// Queues that a node serves, at the most.
const QUEUES_MAX: usize = 1_024;

/// The queue of this name on a node that stands alone, which is made if it is not there, and whether it
/// was; one that is there must have the options that are given.
///
/// # Errors
/// Why it was not made.
pub fn open(
    node: &Arc<Node>,
    name: &str,
    options: &[(&str, &str)],
) -> Result<(Arc<Object>, bool), Failure> {
    let (made, _) = create(node, node.queues.all().len(), name, options)?;
    Ok((noted(node, name)?, made))
}

/// Makes a queue where it is served, and where there are so many; whether it was made, and what it is set
/// to. One that is there must have the options that are given.
///
/// # Errors
/// Why it was not made.
pub fn create<P: Place>(
    place: &P,
    known: usize,
    name: &str,
    options: &[(&str, &str)],
) -> Result<(bool, QueueOptions), Failure> {
    if !is_name(name) {
        let why = format!("{name:?} cannot name a queue: 1 to 64 of a-z, A-Z, 0-9, `_`, `.`, `-`");
        return Err(Failure::invalid(why));
    }
    let wanted = QueueOptions::default().with(options)?;
    if known >= QUEUES_MAX && look(place, name)?.is_none() {
        let why = format!("there are {known} queues, as many as there may be");
        let failure = Failure::new(ErrorCode::QuotaExceeded, why);
        return Err(failure.with("limit", QUEUES_MAX.to_string()));
    }
    match place.with(|turn| turn.create(name, wanted))? {
        Ok(()) => {
            tracing::info!(event = "queue_created", queue = name, id = number_of(name));
            Ok((true, wanted))
        }
        Err(have) => {
            differ(name, &have.differences(&have.with(options)?))?;
            Ok((false, have))
        }
    }
}

/// The number of a queue: the same on every node, and not that of a cache of the same name.
pub fn number_of(name: &str) -> u32 {
    object_number(&format!("queue {name}"))
}

/// A queue that is there can be found by its name and its number from now on.
///
/// # Errors
/// Another object has its number.
pub fn noted(node: &Node, name: &str) -> Result<Arc<Object>, Failure> {
    if !node.catalog.note(Kind::Queue, name, number_of(name)) {
        return Err(Failure::of(ErrorCode::Internal));
    }
    let object = node.catalog.find(Kind::Queue, name);
    object.map_err(|_| Failure::of(ErrorCode::NoSuchObject))
}

fn differ(name: &str, differences: &[String]) -> Result<(), Failure> {
    if differences.is_empty() {
        return Ok(());
    }
    let why = format!("the queue {name:?} is there with other options: {}", differences.join("; "));
    let failure = Failure::new(ErrorCode::ObjectExists, why);
    Err(differences.iter().fold(failure, |failure, one| failure.with("option", one.as_str())))
}

/// Drops a queue with all that is in it, where it is served; `false` when there was none.
///
/// # Errors
/// It is there as before.
pub fn remove<P: Place>(place: &P, name: &str) -> Result<bool, Failure> {
    let removed = place.with(|turn| turn.remove(name))?;
    if removed {
        tracing::info!(event = "queue_dropped", queue = name);
    }
    Ok(removed)
}

/// What a queue is set to, and what there is in it.
///
/// # Errors
/// Nobody can say.
pub fn look<P: Place>(
    place: &P,
    name: &str,
) -> Result<Option<(QueueOptions, QueueStats)>, Failure> {
    let found = place.with(|turn| {
        let queue = turn.queues.get(name);
        Ok(queue.map(|queue| (*queue.options(), queue.stats())))
    });
    Ok(found?)
}

/// Options as they are told.
pub fn props(options: &QueueOptions) -> Value {
    let options = options.texts().map(|(name, text)| (name.to_owned(), json!(text)));
    Value::Object(options.collect::<Map<_, _>>())
}

/// All that there is to say of a queue.
pub fn document(name: &str, (options, stats): &(QueueOptions, QueueStats)) -> Value {
    json!({
        "id": number_of(name),
        "name": name,
        "kind": Kind::Queue.name(),
        "origin": Origin::Created.name(),
        "props": props(options),
        "stats": numbers(stats),
    })
}

/// What there is in a queue, and what went through it.
pub fn numbers(stats: &QueueStats) -> Value {
    let went = stats.went;
    json!({
        "ready": stats.ready, "delayed": stats.delayed, "in_flight": stats.in_flight,
        "dead": stats.dead, "bytes": stats.bytes, "waiting": stats.waiting,
        "published": went.published, "duplicates": went.duplicates, "refused": went.refused,
        "delivered": went.delivered, "redelivered": went.redelivered, "acked": went.acked,
        "nacked": went.nacked, "timed_out": went.timed_out, "expired": went.expired,
        "died": went.died, "redriven": went.redriven, "stale": went.stale,
    })
}

impl From<QueueOptionError> for Failure {
    fn from(error: QueueOptionError) -> Failure {
        Failure::invalid(error.to_string())
    }
}
