//! CONSUME: messages of a queue as they are asked for by credit.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use isogrid_grid::structure::queue::{BATCH_MAX, Puller, QueueOp};
use isogrid_grid::structures::queues::Given as Handed;
use isogrid_wire::native::queue::{Consume, ConsumeAck, ConsumeMode, ConsumeReply};
use isogrid_wire::native::{ErrorCode, Nothing};

use super::failure::Failure;
use super::live::{FRAME_BYTES, Step, Turn};
use super::queue::{delivery, receipt};
use super::reply::Given;
use crate::security::random;
use crate::server::keeper::Keeper;
use crate::server::node::Node;
use crate::server::queues::{Answer, Pending, Trouble};

/// How long a consumer waits before it asks again, ms: nobody hears of it.
const WAIT_MS: u64 = 60_000;

/// A consumer. What it has goes back when it ends.
pub struct Consuming {
    node: Arc<Node>,
    /// The queue's number.
    pub object: u32,
    queue: String,
    /// Its own name, which no other one has.
    consumer: u128,
    auto: bool,
    visible: u64,
    waits: Option<Pending>,
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
    pub fn open(
        node: &Arc<Node>,
        object: u32,
        queue: &str,
        consume: &Consume<'_>,
    ) -> Result<Consuming, Failure> {
        if consume.mode == ConsumeMode::Broadcast {
            return Err(Failure::invalid("`mode` of a queue is COMPETING"));
        }
        Ok(Consuming {
            node: Arc::clone(node),
            object,
            queue: queue.to_owned(),
            consumer: u128::from_le_bytes(random::bytes()),
            auto: consume.ack == ConsumeAck::Auto,
            visible: consume.ack_wait_ms.into(),
            waits: None,
            handed: VecDeque::new(),
            keeper: Keeper::of_any(node.data.get().map(|data| &data.persistence)),
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
        if let Some(waits) = &mut self.waits {
            let Poll::Ready(handed) = Pin::new(waits).poll(cx) else { return Ok(Poll::Pending) };
            self.waits = None;
            self.took(handed.unwrap_or_default());
            return Ok(Poll::Ready(()));
        }
        let Consuming { consumer, auto, visible, .. } = *self;
        let puller = Puller { consumer, most: credit.min(BATCH_MAX), visible, auto };
        let op = QueueOp::Pull { puller, wait: WAIT_MS };
        match self.node.queues.apply(&self.node, &self.queue, op) {
            Ok(Answer::Now(done)) => self.took(done.given),
            Ok(Answer::Later(pending)) => self.waits = Some(pending),
            Err(Trouble::Absent) => return Err(Given::answer(&ConsumeReply::Ended {})),
            Err(trouble) => return Err(Given::failure(&trouble.into())),
        }
        Ok(Poll::Ready(()))
    }

    /// What is handed out is sent when it is kept that it is.
    fn took(&mut self, handed: Vec<Handed>) {
        if let Some(keeper) = self.keeper.as_mut().filter(|_| !handed.is_empty()) {
            keeper.wrote_to(self.node.structures_mode());
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
        let leave = QueueOp::Leave { consumer: self.consumer };
        let _ = self.node.queues.apply_now(self.node.now(), &self.queue, leave);
    }
}
