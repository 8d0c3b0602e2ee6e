//! Queues of the cluster: a request is executed where the segment of its queue is served, and its
//! answer waits for the copies (DATA_PATH R84-R87). What may come again has a name, the client's own
//! if it gave one, so that a message is published once however often it is passed on (R34, R35).
//!
//! | file | what |
//! |---|---|
//! | `pull.rs`, `errand.rs` | who waits for messages, and what it asks |
//! | `read.rs` | who reads topics |
//! | `named.rs` | queues by name: made, found, listed and dropped |

pub mod errand;
mod named;
pub mod pull;
pub mod read;

use std::sync::Arc;
use std::time::Duration;

use isogrid_grid::structures::queues::segment_of;
use isogrid_wire::native::queue::Request;
use isogrid_wire::native::{Call, Codec, ErrorCode, Reader, Request as Any, SubKind};

use self::pull::Pulling;
use super::many::one as only;
use super::once;
use super::spread::{Begun, Fate, Unit, after, wide};
use crate::server::native::failure::Failure;
use crate::server::native::queue::Served;
use crate::server::native::queue::message::say_pulled;
use crate::server::native::queue::named::{forget, number_of};
use crate::server::native::reply::{Given, Reply, To};
use crate::server::native::request::{At, Flow};
use crate::server::native::session::Session;
use crate::server::native::under_way::Awaited;
use crate::server::node::Node;
use crate::server::queues::{Here, Way, of_cluster};

impl Session {
    /// The queues of the cluster, if the node is of one: those of its own are not used then.
    pub fn queues_of_cluster(&self) -> Option<Way> {
        of_cluster(&self.node)
    }

    /// Has a request executed where its queue is served.
    ///
    /// # Errors
    /// It was not done.
    pub fn clustered_queue(
        &mut self,
        way: Way,
        at: &At<'_>,
        name: &str,
        request: &Request<'_>,
    ) -> Result<Flow, Failure> {
        if let Request::Pull(pull) = request {
            self.check_wait(at)?;
            let (puller, wait) = self.puller(at, pull)?;
            // It goes out at once, and must not overtake what was asked before it in this turn.
            self.unsent.send(&way.0);
            let until = Some(after(Duration::from_millis(wait)));
            let pulling = Pulling::begin(&self.node, &way, (name, puller), until);
            let (node, object, name) = (Arc::clone(&self.node), at.id, name.to_owned());
            let later = Box::pin(async move {
                let pulled = pulling.go().await;
                let say =
                    |given: &Vec<_>| say_pulled(object, given, |answer| Given::answer(answer));
                let given = pulled.as_ref().map_or_else(Given::failure, say);
                forget_absent(&node, &name, &given);
                given
            });
            let awaited = Awaited { object, key: Vec::new() };
            return Ok(if wait > 0 { Flow::Waits(later, awaited) } else { Flow::Later(later) });
        }
        let segment = segment_of(way.1.table(), name);
        let (op, body) = (at.to.op, with_name(name, at.body));
        let unit = Unit { segment, op, body, name: self.name_of(at)? };
        let (node, name) = (Arc::clone(&self.node), name.to_owned());
        self.spread_out(&way, at, (None, vec![unit]), move |fates| {
            let given = only(fates);
            forget_absent(&node, &name, &given);
            given
        })
    }

    /// Executes a unit here, if this member serves its queue.
    pub(super) fn queue_here(&mut self, way: &Way, unit: &Unit) -> Option<(Begun, usize)> {
        let (cluster, shared) = way;
        let (name, body) = split_name(&unit.body)?;
        let request = Any::decode(unit.op, Reader::new(body, &wide())).ok()?;
        let node = Arc::clone(&self.node);
        let here = node.hosted_queues.here(way, unit.segment);
        let copies = shared.copies().filter(|_| here.tenure().is_some())?;
        let to = To { op: unit.op, stream: 1, frame_max: self.frame_max, epoch: 0 };
        let execute = || self.executed(here, name, &request, to);
        // What is done in steps may be done again, and has too many of them for one record.
        let id = unit.name.filter(|_| !is_in_steps(&request));
        let given = match id {
            None => Some(execute()),
            Some(id) => once((copies, cluster.now().wall, unit.segment, id), execute),
        };
        // What was executed and is nowhere is not what is in memory.
        let Some(given) = given else {
            here.forget();
            return None;
        };
        // What was read may not be committed either.
        let ticket = copies.ticket(unit.segment);
        let is_elsewhere =
            given.is_undone && Failure::of_given(&given).code == ErrorCode::SegmentUnavailable;
        if is_elsewhere || ticket.is_none() && here.tenure().is_none() {
            return None;
        }
        self.unsent.wrote(cluster, shared, unit.segment);
        let cost = given.payload.len();
        Some(((given, ticket), cost))
    }

    fn executed(&self, here: Here<'_>, name: &str, request: &Any<'_>, to: To) -> Given {
        let mut all = Vec::new();
        let reply = &mut Reply::kept(to, &mut all);
        let done = match request {
            Any::Queue(request) => {
                let (object, limits) = (number_of(name), &self.limits);
                Served { place: &here, object, name, limits }.answer(request, reply)
            }
            Any::Catalog(request) => named::execute(&self.node, here, name, request, reply),
            _ => Err(Failure::of(ErrorCode::Internal)),
        };
        if let Err(failure) = done {
            all.push(Given::failure(&failure));
        }
        all.pop().unwrap_or_else(|| Given::failure(&Failure::of(ErrorCode::Internal)))
    }
}

fn is_in_steps(request: &Any<'_>) -> bool {
    use isogrid_wire::native::catalog::Request as Catalog;
    matches!(
        request,
        Any::Queue(Request::Purge(_) | Request::Redrive(_)) | Any::Catalog(Catalog::Drop(_))
    )
}

/// A queue that was dropped elsewhere is not known here any more.
fn forget_absent(node: &Node, name: &str, given: &Given) {
    let is_failure = given.kind == SubKind::Err;
    if is_failure && Failure::of_given(given).code == ErrorCode::NoSuchObject {
        forget(node, name);
    }
}

/// A unit for a queue.
fn unit<'a, R: Call + Codec<'a>>(way: &Way, name: &str, request: &R) -> Unit {
    let unit = Unit::of(segment_of(way.1.table(), name), request);
    Unit { body: with_name(name, &unit.body), ..unit }
}

/// The body of a unit: the name of the queue is in front of the request's own.
fn with_name(name: &str, body: &[u8]) -> Vec<u8> {
    let len = u8::try_from(name.len()).unwrap_or(u8::MAX);
    [&[len], name.as_bytes(), body].concat()
}

fn split_name(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (len, rest) = bytes.split_first()?;
    let (name, body) = rest.split_at_checked((*len).into())?;
    Some((str::from_utf8(name).ok()?, body))
}

/// The one answer to a request of one unit that came of this.
fn answer_of(fates: &Result<Vec<Fate>, Failure>) -> Given {
    fates.as_ref().map_or_else(Given::failure, |fates| only(fates))
}
