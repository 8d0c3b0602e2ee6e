//! Who waits for messages of a queue of the cluster asks the member that serves it, again and again:
//! it waits there for a moment, in the place that it had, and gets what there is. What comes for a
//! client that has gone goes back.

use std::sync::Arc;
use std::time::Duration;

use isogrid_grid::id::NodeId;
use isogrid_grid::structure::queue::{Puller, QueueOp};
use isogrid_grid::structures::queues::{Given as Handed, segment_of};
use isogrid_wire::native::queue::{Nack, Refusal, RefusedDelivery};
use isogrid_wire::native::{List, Ms};
use tokio::time::{Instant, timeout};

use super::super::spread::{Spread, after};
use super::super::{LOOK_AGAIN, LOOK_ELSEWHERE, nowhere};
use super::errand::{Errand, What, encode_failure, encode_handed, unpacked};
use super::{read, unit};
use crate::cluster::{Done, Later, Route};
use crate::security::random;
use crate::server::native::failure::Failure;
use crate::server::native::queue::message::receipt;
use crate::server::native::queue::named::number_of;
use crate::server::node::Node;
use crate::server::queues::{Place, Pulled, Trouble, UNHEARD, Way};

/// How long a request waits at the member that serves its queue before it is asked for again, ms.
pub(super) const HOLD_MS: u64 = 1_000;
/// How long a request that need not wait is tried while nobody serves its queue, and what a client that
/// has gone was given is given back.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Executes what a member asks for; `None` when this one does not serve the queue.
pub fn execute(node: &Arc<Node>, way: &Way, bytes: &[u8]) -> Option<Later> {
    let Errand { what, name, puller, wait, queue } = Errand::decode(bytes)?;
    let segment = segment_of(way.1.table(), &queue);
    let here = node.hosted_queues.here(way, segment);
    let (_, tenure) = here.tenure()?;
    let pulled = match what {
        What::Read(start) => {
            let asked = (queue, start, puller.most);
            return Some(read::execute(node, way, (segment, tenure), asked, wait));
        }
        What::Pull => here.with(|turn| turn.pull(&queue, puller, wait)),
        What::GiveUp => {
            let waits = node.hosted_queues.waits_no_more(name);
            let given_up =
                |(queue, ticket): (String, u64)| here.with(|turn| turn.give_up(&queue, ticket));
            waits.map_or(Ok(()), given_up).map(|()| Pulled::Now(Vec::new()))
        }
        What::Leave => {
            let left = here.apply(&queue, QueueOp::Leave { consumer: puller.consumer });
            left.map(|_| Pulled::Now(Vec::new()))
        }
    };
    here.flush();
    let pulled = match pulled {
        Ok(pulled) => pulled,
        Err(Trouble::Elsewhere | Trouble::Unknown) => return None,
        Err(trouble) => {
            let failed = encode_failure(&trouble.into());
            return Some(Box::pin(std::future::ready((Done::Executed, failed))));
        }
    };
    if let Pulled::Later(ticket, _) = &pulled {
        node.hosted_queues.waits(name, &queue, *ticket);
    }
    let (node, way) = (Arc::clone(node), way.clone());
    Some(Box::pin(async move {
        let here = node.hosted_queues.here(&way, segment);
        let (place, given) = match pulled {
            Pulled::Now(given) => (0, given),
            Pulled::Later(ticket, given) => {
                let given = given.await;
                node.hosted_queues.waits_no_more(name);
                // It is served elsewhere, or is there no more.
                let Ok(given) = given else { return (Done::Elsewhere, Vec::new()) };
                (ticket, given)
            }
        };
        here.flush();
        if given.is_empty() && what == What::Pull || here.is_true(tenure).await {
            return (Done::Executed, encode_handed(place, &given));
        }
        (Done::Unknown, Vec::new())
    }))
}

/// A request of this node's client for messages.
pub struct Pulling {
    node: Arc<Node>,
    way: Way,
    queue: String,
    puller: Puller,
    /// Until when it waits; `None`: for ever.
    until: Option<Instant>,
    under: Option<Under>,
}

/// Who was asked, under what name, and what comes of it.
struct Under {
    who: NodeId,
    name: u64,
    later: Later,
}

impl Pulling {
    /// Asks at once, so that it does not overtake what was asked before it.
    pub fn begin(
        node: &Arc<Node>,
        way: &Way,
        (queue, puller): (&str, Puller),
        until: Option<Instant>,
    ) -> Pulling {
        let (node, way, queue) = (Arc::clone(node), way.clone(), queue.to_owned());
        let mut pulling = Pulling { node, way, queue, puller, until, under: None };
        pulling.under = pulling.ask();
        pulling
    }

    /// Messages; none when it has waited long enough.
    ///
    /// # Errors
    /// There is no such queue, or nobody serves it.
    pub async fn go(mut self) -> Result<Vec<Handed>, Failure> {
        loop {
            let (done, bytes) = self.answer().await;
            if done == Done::Executed {
                let (place, handed) = unpacked(&bytes)?;
                self.puller.place = place;
                if !handed.is_empty() || self.is_over(Duration::ZERO) {
                    return Ok(handed);
                }
            } else if self.is_over(PATIENCE) {
                return Err(nowhere());
            } else {
                // What was handed out and was not heard of comes again when its time is over.
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            self.under = self.ask();
        }
    }

    fn is_over(&self, patience: Duration) -> bool {
        self.until.is_some_and(|until| after(Duration::ZERO) >= until + patience)
    }

    /// The answer of who was asked; nobody knows when another member serves the queue before it has
    /// come.
    async fn answer(&mut self) -> (Done, Vec<u8>) {
        loop {
            let Some(under) = &mut self.under else { return (Done::Elsewhere, Vec::new()) };
            if let Ok(answer) = timeout(LOOK_ELSEWHERE, &mut under.later).await {
                self.under = None;
                return answer;
            }
            let asked = under.who;
            if who(&self.way, &self.queue).is_some_and(|now| now != asked) {
                self.give_up();
            }
        }
    }

    fn ask(&self) -> Option<Under> {
        let name = u64::from_le_bytes(random::bytes());
        let left = |until: Instant| until.saturating_duration_since(after(Duration::ZERO));
        let left = self.until.map_or(u128::MAX, |until| left(until).as_millis());
        let wait = u64::try_from(left).unwrap_or(u64::MAX).min(HOLD_MS);
        let (puller, queue) = (self.puller, self.queue.clone());
        let errand = Errand { what: What::Pull, name, puller, wait, queue };
        let (who, later) = ask(&self.node, &self.way, &errand)?;
        Some(Under { who, name, later })
    }

    /// What comes of what was asked goes back.
    fn give_up(&mut self) {
        let Some(Under { name, later, .. }) = self.under.take() else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (puller, queue) = (self.puller, self.queue.clone());
        let errand = Errand { what: What::GiveUp, name, puller, wait: 0, queue };
        let (node, way) = (Arc::clone(&self.node), self.way.clone());
        runtime.spawn(async move {
            let heard = ask(&node, &way, &errand);
            if let Ok((Done::Executed, bytes)) = timeout(PATIENCE, later).await {
                let (_, handed) = unpacked(&bytes).unwrap_or_default();
                give_back(&way, &errand.queue, &handed).await;
            }
            drop(heard);
        });
    }
}

impl Drop for Pulling {
    /// Its client has gone.
    fn drop(&mut self) {
        self.give_up();
    }
}

/// A consumer is gone: what it has goes back, as soon as somebody serves its queue.
pub fn leave(node: &Arc<Node>, way: &Way, queue: &str, consumer: u128) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    let (node, way) = (Arc::clone(node), way.clone());
    let puller = Puller { consumer, most: 0, visible: 0, auto: false, place: 0 };
    let errand = Errand { what: What::Leave, name: 0, puller, wait: 0, queue: queue.to_owned() };
    runtime.spawn(async move {
        let until = after(PATIENCE);
        while after(Duration::ZERO) < until {
            if let Some((_, later)) = ask(&node, &way, &errand)
                && let Ok((Done::Executed, _)) = timeout(PATIENCE, later).await
            {
                return;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    });
}

/// Gives messages back that nobody heard of.
async fn give_back(way: &Way, queue: &str, handed: &[Handed]) {
    if handed.is_empty() {
        return;
    }
    let receipts = handed.iter().map(|one| receipt(number_of(queue), one.delivery.receipt));
    let receipts: Vec<_> = receipts.collect();
    let (delay, refusal, reason) = (Ms(1), Refusal::Requeue, UNHEARD);
    let all = receipts.iter().map(|receipt| RefusedDelivery { receipt, delay, refusal, reason });
    let deliveries: Vec<_> = all.collect();
    let nack = Nack { deliveries: List::of(&deliveries) };
    let _ = Spread::new(way.clone(), vec![unit(way, queue, &nack)], PATIENCE).go_all().await;
}

pub(super) fn who((cluster, shared): &Way, queue: &str) -> Option<NodeId> {
    let view = cluster.view();
    match view.route(shared.group, segment_of(shared.table(), queue)) {
        Route::Here => view.us(),
        Route::There(node) => Some(node),
        Route::Nowhere => None,
    }
}

/// Has an errand done by the member that serves its queue; `None` when nobody is known who does.
pub(super) fn ask(node: &Arc<Node>, way: &Way, errand: &Errand) -> Option<(NodeId, Later)> {
    let (cluster, shared) = way;
    let (who, raw) = (who(way, &errand.queue)?, errand.encode());
    if cluster.view().us() == Some(who) {
        return Some((who, execute(node, way, &raw)?));
    }
    let asked = cluster.pass_on(who, shared, &raw)?;
    let later = async move {
        let answer = asked.await;
        (answer.done, answer.bytes.to_vec())
    };
    Some((who, Box::pin(later)))
}
