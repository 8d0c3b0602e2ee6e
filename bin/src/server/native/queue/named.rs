//! Queues, topics and groups by name: made, found, described and dropped. A topic has the name `TOPIC/`
//! where it is served, and a group is the queue `TOPIC/GROUP`.

use std::sync::Arc;

use isogrid_grid::catalog::{Kind, Object, Origin};
use isogrid_grid::structure::queue::{QueueOptionError, QueueStats};
use isogrid_grid::structures::queues::Made;
use isogrid_grid::structures::queues::names::{Name, Options, of_topic};
use isogrid_wire::native::ErrorCode;
use serde_json::{Map, Value, json};

use super::Failure;
use crate::cluster::object_number;
use crate::server::node::Node;
use crate::server::queues::{Place, Trouble};

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
) -> Result<(bool, Options), Failure> {
    if !Name::of(name).is_good() {
        let why = format!(
            "{name:?} cannot name a queue: 1 to 64 of a-z, A-Z, 0-9, `_`, `.`, `-`; a group of a topic is TOPIC/GROUP"
        );
        return Err(Failure::invalid(why));
    }
    let wanted = Options::default_of(name).with(options)?;
    if known >= QUEUES_MAX && look(place, name)?.is_none() {
        let why = format!("there are {known} queues, as many as there may be");
        let failure = Failure::new(ErrorCode::QuotaExceeded, why);
        return Err(failure.with("limit", QUEUES_MAX.to_string()));
    }
    match place.with(|turn| turn.create(name, wanted))? {
        (Made::New, _) => {
            tracing::info!(event = "queue_created", queue = name, id = number_of(name));
            Ok((true, wanted))
        }
        (Made::There, have) => {
            differ(name, &have.differences(&have.with(options)?))?;
            Ok((false, have))
        }
        (Made::NoTopic, _) => {
            Err(Failure::invalid(format!("{name:?} is a group of a topic that is not there")))
        }
        (Made::Ahead(ahead), _) => Err(Trouble::Ahead(ahead).into()),
    }
}

/// The name under which an object is served, if it is a queue, a group or a topic.
pub fn served(kind: Kind, name: &str) -> Option<String> {
    match kind {
        Kind::Queue => Some(name.to_owned()),
        Kind::Topic => Some(of_topic(name)),
        Kind::Cache | Kind::Counters | Kind::Locks | Kind::Sessions => None,
    }
}

/// What is served under a name, as an object.
pub fn object_of(name: &str) -> (Kind, &str) {
    match Name::of(name) {
        Name::Topic(topic) => (Kind::Topic, topic),
        Name::Queue(_) | Name::Group(..) => (Kind::Queue, name),
    }
}

/// What was served under a name is not known here any more.
pub fn forget(node: &Node, name: &str) {
    let (kind, of) = object_of(name);
    node.catalog.forget(kind, of);
    if kind == Kind::Topic {
        let all = node.catalog.list(Some(Kind::Queue));
        let groups = all.iter().filter(|queue| queue.name.starts_with(name));
        groups.for_each(|group| node.catalog.forget(Kind::Queue, &group.name));
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
    let (kind, of) = object_of(name);
    if !node.catalog.note(kind, of, number_of(name)) {
        return Err(Failure::of(ErrorCode::Internal));
    }
    let object = node.catalog.find(kind, of);
    object.map_err(|_| Failure::of(ErrorCode::NoSuchObject))
}

fn differ(name: &str, differences: &[String]) -> Result<(), Failure> {
    if differences.is_empty() {
        return Ok(());
    }
    let (kind, of) = object_of(name);
    let why = format!(
        "the {} {of:?} is there with other options: {}",
        kind.name(),
        differences.join("; ")
    );
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
pub fn look<P: Place>(place: &P, name: &str) -> Result<Option<(Options, QueueStats)>, Failure> {
    Ok(place.with(|turn| Ok(turn.queues.look(name)))?)
}

/// Options as they are told.
pub fn props(options: &Options) -> Value {
    let options = options.texts().into_iter().map(|(name, text)| (name.to_owned(), json!(text)));
    Value::Object(options.collect::<Map<_, _>>())
}

/// All that there is to say of a queue.
pub fn document(name: &str, (options, stats): &(Options, QueueStats)) -> Value {
    let (kind, of) = object_of(name);
    json!({
        "id": number_of(name),
        "name": of,
        "kind": kind.name(),
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
        "died": went.died, "redriven": went.redriven, "stale": went.stale, "lost": went.lost,
    })
}

impl From<QueueOptionError> for Failure {
    fn from(error: QueueOptionError) -> Failure {
        Failure::invalid(error.to_string())
    }
}
