//! Group 0x05: queues. A change is answered when it is kept, and a message is handed out when it is
//! kept that it is (DATA_PATH R86).

mod answer;
pub mod message;
pub mod named;
mod shown;

use std::future::poll_fn;
use std::sync::Arc;

use isogrid_grid::catalog::Kind;
use isogrid_grid::structure::queue::{BATCH_MAX, Puller};
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
        let name = &*at.object(Kind::Queue)?.name;
        let way = self.queues_of_cluster();
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
    let mut keeper = Keeper::of_any(node.data.get().map(|data| &data.persistence));
    if let Some(keeper) = keeper.as_mut().filter(|_| !given.is_empty()) {
        keeper.wrote_to(node.structures_mode());
        if let Err(error) = poll_fn(|cx| keeper.poll_kept(cx)).await {
            let why = format!("it is unknown whether the delivery is kept: {error}");
            return Given::failure(&Failure::new(ErrorCode::OutcomeUnknown, why));
        }
    }
    say_pulled(object, &given, |answer| Given::answer(answer))
}

/// Groups of consumers are of topics.
fn check_group(group: &str) -> Result<(), Failure> {
    let is_none = group.is_empty();
    is_none.then_some(()).ok_or_else(|| Failure::invalid("`group` of a queue is empty"))
}
