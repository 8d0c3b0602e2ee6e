//! Who reads a topic of the cluster asks the member that serves it, again and again: it waits there
//! for a moment, and is told where to read on. Nothing is known of it there, so nothing is lost with
//! either of both.

use std::sync::Arc;
use std::time::Duration;

use isogrid_grid::id::NodeId;
use isogrid_grid::structure::queue::Puller;
use isogrid_grid::structure::topic::Start;
use isogrid_grid::structures::queues::Read;
use tokio::time::{Instant, timeout};

use super::super::spread::after;
use super::super::{LOOK_AGAIN, LOOK_ELSEWHERE, nowhere};
use super::errand::{Errand, What, encode_failure, encode_read, unpacked_read};
use super::pull::{self, HOLD_MS, PATIENCE, who};
use crate::cluster::{Done, Later};
use crate::server::native::failure::Failure;
use crate::server::node::Node;
use crate::server::queues::{self, Place, Trouble, Way};

/// A topic, where to read and how many messages.
type Asked<T> = (T, Start, usize);

/// Reads for a member whose client waits so long, ms, in the time in which this one serves the segment.
pub fn execute(
    node: &Arc<Node>,
    way: &Way,
    (segment, tenure): (u32, u64),
    (topic, start, most): Asked<String>,
    wait: u64,
) -> Later {
    let (node, way) = (Arc::clone(node), way.clone());
    Box::pin(async move {
        let here = node.hosted_queues.here(&way, segment);
        let look = |start| here.with(|turn| turn.read(&topic, start, most));
        let until = after(Duration::from_millis(wait.min(HOLD_MS)));
        let read = match queues::read(look, start, until).await {
            Ok(read) => read,
            Err(Trouble::Elsewhere | Trouble::Unknown) => return (Done::Elsewhere, Vec::new()),
            Err(trouble) => return (Done::Executed, encode_failure(&trouble.into())),
        };
        here.flush();
        // What was read may not be committed yet.
        match here.is_true(tenure).await {
            true => (Done::Executed, encode_read(&read)),
            false => (Done::Elsewhere, Vec::new()),
        }
    })
}

/// Messages of a topic from there on; none when it has waited long enough.
///
/// # Errors
/// There is no such topic, it has not come so far, or nobody serves it.
pub async fn ask(
    node: &Arc<Node>,
    way: &Way,
    (topic, mut start, most): Asked<&str>,
    until: Instant,
) -> Result<Read, Failure> {
    let left = |more: Duration| (until + more).saturating_duration_since(after(Duration::ZERO));
    loop {
        let wait = u64::try_from(left(Duration::ZERO).as_millis()).unwrap_or(u64::MAX);
        let puller = Puller { consumer: 0, most, visible: 0, auto: false, place: 0 };
        let (what, queue) = (What::Read(start), topic.to_owned());
        let errand = Errand { what, name: 0, puller, wait: wait.min(HOLD_MS), queue };
        let answer = match pull::ask(node, way, &errand) {
            Some(asked) => heard(way, topic, asked).await,
            None => (Done::Elsewhere, Vec::new()),
        };
        if let (Done::Executed, bytes) = answer {
            let read = unpacked_read(&bytes)?;
            if !read.given.is_empty() || read.lost > 0 || left(Duration::ZERO).is_zero() {
                return Ok(read);
            }
            start = Start::Position(read.next);
        } else if left(PATIENCE).is_zero() {
            return Err(nowhere());
        } else {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

/// The answer of who was asked, unless another member serves the topic before it has come.
async fn heard(way: &Way, topic: &str, (asked, mut later): (NodeId, Later)) -> (Done, Vec<u8>) {
    loop {
        if let Ok(answer) = timeout(LOOK_ELSEWHERE, &mut later).await {
            return answer;
        }
        if who(way, topic).is_some_and(|now| now != asked) {
            return (Done::Elsewhere, Vec::new());
        }
    }
}
