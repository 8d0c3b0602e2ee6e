//! Group 0x05: queues and topics. A change is answered when it is kept, and a message is handed out when it is
//! kept that it is (DATA_PATH R86).

mod answer;
pub mod message;
pub mod named;
mod read;
mod shown;

use std::borrow::Cow;
use std::future::poll_fn;
use std::sync::Arc;

use isogrid_grid::catalog::Kind;
use isogrid_grid::structure::queue::{BATCH_MAX, Puller};
use isogrid_grid::structures::queues::names::of_topic;
use isogrid_wire::native::ErrorCode;
use isogrid_wire::native::queue::{Pull, Request};

pub use self::answer::Served;
use self::message::say_pulled;
use super::consume::{Consuming, Source};
use super::failure::Failure;
use super::live::Live;
use super::reply::{Given, Reply};
use super::request::{At, Flow};
use super::session::Session;
use super::under_way::Awaited;
use crate::server::keeper::Keeper;
use crate::server::node::Node;
use crate::server::queues::{self, Answer, Pending};

impl Session {
    /// Executes a request of this group.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn queue(
        &mut self,
        at: &At<'_>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        let (is_topic, name) = match at.object {
            Some(object) if object.kind == Kind::Topic => {
                (true, Cow::Owned(of_topic(&object.name)))
            }
            _ => (false, Cow::Borrowed(&*at.object(Kind::Queue)?.name)),
        };
        let name = &*name;
        check_kind(is_topic, name, request)?;
        let way = self.queues_of_cluster();
        if let Request::Read(read) = request {
            return self.read(way, at, name, read);
        }
        if let Request::Consume(consume) = request {
            check_group(consume.group)?;
            let source = Source::of(&self.node, way, name);
            let consuming = Consuming::open(source, at.id, consume)?;
            return Ok(Flow::Live(Box::new(Live::Consume(consuming)), consume.credit));
        }
        if let Some(way) = way {
            return self.clustered_queue(way, at, name, request);
        }
        if !matches!(request, Request::Browse(_) | Request::Stats(_)) {
            self.window.wrote_to(self.node.structures_mode());
        }
        if let Request::Pull(pull) = request {
            return self.pull(at, name, pull, reply);
        }
        let (place, limits) = (&self.node, &self.limits);
        Served { place, object: at.id, name, limits }.answer(request, reply)?;
        Ok(Flow::Said)
    }

    fn pull(
        &self,
        at: &At<'_>,
        name: &str,
        pull: &Pull<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        let (puller, wait) = self.puller(at, pull)?;
        let pending = match queues::pull(&self.node, name, puller, wait)? {
            Answer::Later(pending) => pending,
            Answer::Now(given) => {
                say_pulled(at.id, &given, |answer| reply.say(answer));
                return Ok(Flow::Said);
            }
        };
        let later = pulled(Arc::clone(&self.node), at.id, pending);
        Ok(Flow::Waits(Box::pin(later), Awaited { object: at.id, key: Vec::new() }))
    }

    /// Who asks for messages, and how long it waits for them, ms.
    ///
    /// # Errors
    /// It cannot ask so.
    pub fn puller(&self, at: &At<'_>, pull: &Pull<'_>) -> Result<(Puller, u64), Failure> {
        check_group(pull.group)?;
        let most = usize::from(pull.n);
        if !(1..=BATCH_MAX).contains(&most) {
            return Err(Failure::invalid(format!("`n` is 1 to {BATCH_MAX}")));
        }
        let consumer = self.instance.map_or(self.writer().into(), u128::from_le_bytes);
        let puller = Puller { consumer, most, visible: 0, auto: false, place: 0 };
        Ok((puller, if at.may_wait { pull.wait.0 } else { 0 }))
    }
}

async fn pulled(node: Arc<Node>, object: u32, pending: Pending) -> Given {
    let given = pending.await.unwrap_or_default();
    match kept(&node, !given.is_empty()).await {
        Ok(()) => say_pulled(object, &given, |answer| Given::answer(answer)),
        Err(failure) => Given::failure(&failure),
    }
}

/// Waits until all is kept that was done with queues until now, if there is `any` to be told.
///
/// # Errors
/// It is unknown whether it is.
pub async fn kept(node: &Node, any: bool) -> Result<(), Failure> {
    let mut keeper = Keeper::of_any(node.data.get().map(|data| &data.persistence));
    if let Some(keeper) = keeper.as_mut().filter(|_| any) {
        keeper.wrote_to(node.structures_mode());
        if let Err(error) = poll_fn(|cx| keeper.poll_kept(cx)).await {
            let why = format!("it is unknown whether the delivery is kept: {error}");
            return Err(Failure::new(ErrorCode::OutcomeUnknown, why));
        }
    }
    Ok(())
}

/// A group of consumers is a queue of its own.
fn check_group(group: &str) -> Result<(), Failure> {
    let is_none = group.is_empty();
    let why = "`group` is empty: a group of a topic is the queue TOPIC/GROUP";
    is_none.then_some(()).ok_or_else(|| Failure::invalid(why))
}

/// What is for a topic, and what is for a queue.
fn check_kind(is_topic: bool, name: &str, request: &Request<'_>) -> Result<(), Failure> {
    let is_wrong = match request {
        Request::Publish(_) | Request::Browse(_) | Request::Purge(_) | Request::Stats(_) => false,
        Request::Read(_) => !is_topic,
        Request::Consume(_)
        | Request::Pull(_)
        | Request::Ack(_)
        | Request::Nack(_)
        | Request::Extend(_)
        | Request::Redrive(_) => is_topic,
    };
    match (is_wrong, is_topic) {
        (false, _) => Ok(()),
        (true, false) => {
            Err(Failure::new(ErrorCode::WrongType, "a queue is not READ but consumed"))
        }
        (true, true) => {
            let why = format!("a topic is consumed by its groups, the queues {name}GROUP");
            Err(Failure::new(ErrorCode::WrongType, why))
        }
    }
}
