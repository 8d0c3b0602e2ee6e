//! CONSUME: messages of a queue as they are asked for by credit.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use isogrid_grid::structure::queue::{BATCH_MAX, Puller, QueueOp};
use isogrid_grid::structures::queues::Given as Handed;
use isogrid_wire::native::queue::{Consume, ConsumeAck, ConsumeMode, ConsumeReply};
use isogrid_wire::native::{ErrorCode, Nothing};

use super::clustered::queues::pull::{Pulling, leave};
use super::failure::Failure;
use super::live::{FRAME_BYTES, Step, Turn};
use super::queue::message::{delivery, receipt};
use super::reply::Given;
use crate::security::random;
use crate::server::keeper::Keeper;
use crate::server::node::Node;
use crate::server::queues::{Answer, Place, Way, pull};

/// How long a consumer waits before it asks again, ms: nobody hears of it.
const WAIT_MS: u64 = 60_000;

/// Messages that are to come.
type Waits = Pin<Box<dyn Future<Output = Result<Vec<Handed>, Failure>> + Send>>;

/// A queue, and where it is served: here, or by whichever member of the cluster serves it.
pub struct Source {
    node: Arc<Node>,
    way: Option<Way>,
    queue: String,
}

impl Source {
    /// The queue of this name.
    pub fn of(node: &Arc<Node>, way: Option<Way>, queue: &str) -> Source {
        Source { node: Arc::clone(node), way, queue: queue.to_owned() }
    }

    /// Asks for messages until there are some.
    fn pull(&self, puller: Puller) -> Waits {
        let Source { node, way, queue } = self;
        if let Some(way) = way {
            return Box::pin(Pulling::begin(node, way, (queue, puller), None).go());
        }
        let answer = pull(node, queue, puller, WAIT_MS);
        Box::pin(async {
            Ok(match answer? {
                Answer::Now(given) => given,
                Answer::Later(pending) => pending.await.unwrap_or_default(),
            })
        })
    }

    fn leave(&self, consumer: u128) {
        match &self.way {
            Some(way) => leave(&self.node, way, &self.queue, consumer),
            None => drop(self.node.apply(&self.queue, QueueOp::Leave { consumer })),
        }
    }
}

/// A consumer. What it has goes back when it ends.
pub struct Consuming {
    source: Source,
    /// The queue's number.
    pub object: u32,
    /// Its own name, which no other one has.
    consumer: u128,
    auto: bool,
    visible: u64,
    waits: Option<Waits>,
    /// Handed out, and not sent yet.
    handed: VecDeque<Handed>,
    /// What they wait for.
    keeper: Option<Keeper>,
}

impl Consuming {
    /// Begins to consume.
    ///
    /// # Errors
    /// A queue cannot do it.
    pub fn open(source: Source, object: u32, consume: &Consume<'_>) -> Result<Consuming, Failure> {
        if consume.mode == ConsumeMode::Broadcast {
            return Err(Failure::invalid("`mode` of a queue is COMPETING"));
        }
        // What a member of the cluster hands out is committed.
        let data = source.node.data.get().filter(|_| source.way.is_none());
        let keeper = Keeper::of_any(data.map(|data| &data.persistence));
        Ok(Consuming {
            source,
            object,
            consumer: u128::from_le_bytes(random::bytes()),
            auto: consume.ack == ConsumeAck::Auto,
            visible: consume.ack_wait_ms.into(),
            waits: None,
            handed: VecDeque::new(),
            keeper,
        })
    }

    /// Sends what there is.
    pub fn poll(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Step {
        while self.handed.is_empty() && turn.credit > 0 {
            match self.ask(turn.credit, cx) {
                Ok(Poll::Ready(())) => {}
                Ok(Poll::Pending) => return Step::default(),
                Err(end) => return Step { end: Some(end), ..Step::default() },
            }
        }
        if let Some(keeper) = self.keeper.as_mut().filter(|keeper| keeper.waits()) {
            match keeper.poll_kept(cx) {
                Poll::Pending => return Step::default(),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    let why = format!("it is unknown whether deliveries are kept: {error}");
                    let failure = Failure::new(ErrorCode::Storage, why);
                    return Step { end: Some(Given::failure(&failure)), ..Step::default() };
                }
            }
        }
        let sent = self.send(turn);
        Step { sent, more: turn.credit > sent, end: None }
    }

    /// Asks for messages, or hears of some.
    fn ask(&mut self, credit: usize, cx: &mut Context<'_>) -> Result<Poll<()>, Given> {
        let Consuming { consumer, auto, visible, .. } = *self;
        let puller = Puller { consumer, most: credit.min(BATCH_MAX), visible, auto, place: 0 };
        let waits = self.waits.get_or_insert_with(|| self.source.pull(puller));
        let Poll::Ready(handed) = waits.as_mut().poll(cx) else { return Ok(Poll::Pending) };
        self.waits = None;
        match handed {
            Ok(handed) => self.took(handed),
            Err(failure) if failure.code == ErrorCode::NoSuchObject => {
                return Err(Given::answer(&ConsumeReply::Ended {}));
            }
            Err(failure) => return Err(Given::failure(&failure)),
        }
        Ok(Poll::Ready(()))
    }

    /// What is handed out is sent when it is kept that it is.
    fn took(&mut self, handed: Vec<Handed>) {
        if let Some(keeper) = self.keeper.as_mut().filter(|_| !handed.is_empty()) {
            keeper.wrote_to(self.source.node.structures_mode());
        }
        self.handed.extend(handed);
    }

    fn send(&mut self, turn: &mut Turn<'_>) -> usize {
        let (mut bytes, mut count) = (0, 0);
        for one in self.handed.iter().take(turn.credit) {
            count += 1;
            bytes += one.payload.len();
            if bytes >= FRAME_BYTES {
                break;
            }
        }
        if count == 0 {
            return 0;
        }
        let sending: Vec<Handed> = self.handed.drain(..count).collect();
        let receipts = sending.iter().map(|one| receipt(self.object, one.delivery.receipt));
        let receipts: Vec<_> = receipts.collect();
        let items = sending.iter().zip(&receipts).map(|(one, receipt)| delivery(one, receipt));
        let items: Vec<_> = items.collect();
        turn.to.items(&items, &Nothing {}, turn.out);
        count
    }
}

impl Drop for Consuming {
    fn drop(&mut self) {
        self.waits = None;
        self.source.leave(self.consumer);
    }
}
