//! Group 0x05: queues of a node that stands alone. A change is answered when it is kept, and a message
//! is handed out when it is kept that it is (DATA_PATH R86).

pub mod named;
mod shown;

use std::future::poll_fn;
use std::sync::Arc;

use isogrid_grid::catalog::Kind;
use isogrid_grid::structure::queue::{
    BATCH_MAX, NewMessage, Puller, QueueOp, QueueReply, Receipt, Refusal as Becomes, Which,
};
use isogrid_grid::structures::queues::Given as Handed;
use isogrid_wire::native::queue::{
    AckReply, Content, Delivery, Extend, MessageState, Publish, PublishReply, PublishedMessage,
    Pull, PullReply, PurgeReply, RedriveReply, Refusal, RefusedDelivery, Request, StatsReply,
};
use isogrid_wire::native::{Codec, ErrorCode, Json, Limits, List, Reader, Status};
use serde_json::json;

use super::consume::Consuming;
use super::failure::Failure;
use super::live::Live;
use super::reply::{Given, Reply};
use super::request::{At, Flow};
use super::session::Session;
use super::under_way::Awaited;
use crate::server::keeper::Keeper;
use crate::server::node::Node;
use crate::server::queues::{Answer, Pending, Trouble};

/// Headers of a message at the most.
const HEADERS_MAX: usize = 64;
/// Messages that are removed or brought back under one lock.
const STEP: usize = 1_000;

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
        let is_read = matches!(request, Request::Browse(_) | Request::Stats(_));
        if !is_read {
            self.window.wrote_to(self.node.structures_mode());
        }
        match request {
            Request::Publish(publish) => self.publish(name, publish, reply)?,
            Request::Consume(consume) => {
                check_group(consume.group)?;
                let consuming = Consuming::open(&self.node, at.id, name, consume)?;
                return Ok(Flow::Live(Box::new(Live::Consume(consuming)), consume.credit));
            }
            Request::Ack(_) | Request::Nack(_) | Request::Extend(_) => {
                self.settle(at.id, name, request, reply)?;
            }
            Request::Pull(pull) => return self.pull(at, name, pull, reply),
            Request::Browse(browse) => self.browse(name, browse, reply)?,
            Request::Purge(purge) => {
                let which = which(purge.state);
                let count =
                    self.all_steps(name, |most| QueueOp::Purge { which, most }, usize::MAX)?;
                reply.say(&PurgeReply::Ok { count });
            }
            Request::Stats(_) => {
                let stats = stats(&self.node, name)?;
                reply.say(&StatsReply::Ok { stats: Json(&stats) });
            }
            Request::Redrive(redrive) => {
                let most = usize::try_from(redrive.n).unwrap_or(usize::MAX);
                let most = if most == 0 { usize::MAX } else { most };
                let count = self.all_steps(name, |most| QueueOp::Redrive { most }, most)?;
                reply.say(&RedriveReply::Ok { count });
            }
        }
        Ok(Flow::Said)
    }

    fn publish(
        &self,
        name: &str,
        publish: &Publish<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Failure> {
        self.check_keys(publish.messages.len())?;
        let mut messages = Vec::with_capacity(publish.messages.len());
        for new in publish.messages {
            let bytes = bytes_of(&new.content, &self.limits)?;
            let (delay, ttl) = (new.delay.0, new.ttl.0);
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let (dedup, group, priority) = (new.dedup, new.group, new.priority);
            messages.push((NewMessage { dedup, group, delay, ttl, priority, len }, bytes));
        }
        let replies = self.node.queues.publish(self.now, name, &messages)?;
        let mut failure = None;
        let results: Vec<_> = replies.into_iter().map(|one| published(one, &mut failure)).collect();
        let is_any = results.iter().any(|one| one.id != 0);
        if let Some(failure) = failure.filter(|_| !is_any) {
            return Err(failure);
        }
        let is_all = results.iter().all(|one| one.id != 0);
        let results = List::of(&results);
        reply.say(&match is_all {
            true => PublishReply::Ok { results },
            false => PublishReply::Partial { results },
        });
        Ok(())
    }

    /// Ends or prolongs deliveries.
    fn settle(
        &self,
        object: u32,
        name: &str,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<(), Failure> {
        let results = match request {
            Request::Ack(ack) => {
                let all = ack.receipts.iter().map(|receipt| (receipt, QueueOp::Ack));
                self.each_of(object, name, all)?
            }
            Request::Extend(Extend { receipts, wait }) => {
                let op = move |receipt| QueueOp::Extend { receipt, visible: wait.0 };
                self.each_of(object, name, receipts.iter().map(|receipt| (receipt, op)))?
            }
            Request::Nack(nack) => {
                let all = nack.deliveries.iter().map(|one| {
                    let (refusal, reason) = (becomes(&one), one.reason);
                    (one.receipt, move |receipt| QueueOp::Nack { receipt, refusal, reason })
                });
                self.each_of(object, name, all)?
            }
            _ => return Err(Failure::of(ErrorCode::Internal)),
        };
        let is_all = results.iter().all(|status| *status == Status::Ok);
        let results = List::of(&results);
        // The three answer alike.
        reply.say(&match is_all {
            true => AckReply::Ok { results },
            false => AckReply::Partial { results },
        });
        Ok(())
    }

    /// Does with each receipt what goes with it.
    fn each_of<'a, F: Fn(Receipt) -> QueueOp<'a>>(
        &self,
        object: u32,
        name: &str,
        all: impl Iterator<Item = (&'a [u8], F)>,
    ) -> Result<Vec<Status>, Failure> {
        let mut results = Vec::new();
        for (receipt, op) in all {
            let receipt = receipt_of(receipt, object)?;
            let settled = self.node.queues.apply_now(self.now, name, op(receipt))?;
            results.push(match settled {
                QueueReply::Done | QueueReply::Gone => Status::Ok,
                QueueReply::Stale => Status::VersionMismatch,
                _ => Status::NotFound,
            });
        }
        self.check_keys(results.len())?;
        match results.iter().all(|status| *status == Status::VersionMismatch) {
            true if !results.is_empty() => Err(Failure::of(ErrorCode::StaleReceipt)),
            _ => Ok(results),
        }
    }

    fn pull(
        &self,
        at: &At<'_>,
        name: &str,
        pull: &Pull<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        check_group(pull.group)?;
        let most = usize::from(pull.n);
        if !(1..=BATCH_MAX).contains(&most) {
            return Err(Failure::invalid(format!("`n` is 1 to {BATCH_MAX}")));
        }
        let consumer = self.instance.map_or(self.origin.into(), u128::from_le_bytes);
        let puller = Puller { consumer, most, visible: 0, auto: false };
        let wait = if at.may_wait { pull.wait.0 } else { 0 };
        let op = QueueOp::Pull { puller, wait };
        let pending = match self.node.queues.apply(&self.node, name, op)? {
            Answer::Later(pending) => pending,
            Answer::Now(done) => {
                say_pulled(at.id, &done.given, |answer| reply.say(answer));
                return Ok(Flow::Said);
            }
        };
        let later = pulled(Arc::clone(&self.node), at.id, pending);
        Ok(Flow::Waits(Box::pin(later), Awaited { object: at.id, key: Vec::new() }))
    }

    /// Does an operation on so many messages in steps that others can come between.
    fn all_steps(
        &self,
        name: &str,
        op: impl Fn(usize) -> QueueOp<'static>,
        most: usize,
    ) -> Result<u64, Failure> {
        let mut left = most;
        loop {
            let step = left.min(STEP);
            let done = self.node.queues.apply_now(self.now, name, op(step))?;
            let QueueReply::Count(count) = done else { return Err(unexpected(&done)) };
            left -= count;
            if count < step || left == 0 {
                return Ok((most - left) as u64);
            }
        }
    }
}

/// What came of a message.
fn published(
    one: Result<QueueReply, isogrid_engine::Error>,
    failure: &mut Option<Failure>,
) -> PublishedMessage {
    let (status, id) = match one {
        Ok(QueueReply::Published { id }) => (Status::Ok, id),
        Ok(QueueReply::Duplicate { id }) => (Status::NotStored, id),
        Ok(other) => {
            *failure = Some(unexpected(&other));
            (Status::NotStored, 0)
        }
        Err(error) => {
            *failure = Some(error.into());
            (Status::Failed, 0)
        }
    };
    PublishedMessage { status, id }
}

/// What a message carries, as bytes.
fn bytes_of(content: &Content<'_>, limits: &Limits) -> Result<Vec<u8>, Failure> {
    if content.headers.len() > HEADERS_MAX {
        return Err(Failure::invalid(format!("a message has at most {HEADERS_MAX} headers")));
    }
    let (len, limit) = (content.encoded_len(), limits.value_len_max);
    if len > limit {
        let why = format!("a message of {len} bytes, at most {limit} are allowed");
        let failure = Failure::new(ErrorCode::ValueTooLarge, why);
        return Err(failure.with("limit", limit.to_string()));
    }
    let mut bytes = Vec::with_capacity(len);
    content.encode(&mut bytes);
    Ok(bytes)
}

/// What a message carries, out of its bytes.
fn content(bytes: &[u8]) -> Content<'_> {
    const EMPTY: Content<'_> =
        Content { headers: List::of(&[]), body: isogrid_wire::native::Value::Inline(&[]) };
    let limits = Limits { value_len_max: usize::MAX, ..Limits::default() };
    Content::decode(&mut Reader::new(bytes, &limits)).unwrap_or(EMPTY)
}

/// A message that is handed out.
pub fn delivery<'a>(handed: &'a Handed, receipt: &'a [u8]) -> Delivery<'a> {
    let Handed { delivery, payload } = handed;
    Delivery {
        receipt,
        id: delivery.receipt.id,
        attempt: u16::try_from(delivery.attempt).unwrap_or(u16::MAX),
        published_ms: delivery.published,
        content: content(payload),
    }
}

/// The receipt of a delivery, which names its queue.
pub fn receipt(object: u32, Receipt { id, attempt }: Receipt) -> Vec<u8> {
    [&object.to_be_bytes()[..], &id.to_be_bytes(), &attempt.to_be_bytes()].concat()
}

fn receipt_of(bytes: &[u8], object: u32) -> Result<Receipt, Failure> {
    let parts = bytes.split_first_chunk().and_then(|(of, rest)| {
        let (id, attempt) = rest.split_first_chunk()?;
        let attempt = u32::from_be_bytes(attempt.try_into().ok()?);
        Some((u32::from_be_bytes(*of), Receipt { id: u64::from_be_bytes(*id), attempt }))
    });
    match parts {
        Some((of, receipt)) if of == object => Ok(receipt),
        Some(_) => Err(Failure::invalid("the receipt is of another queue")),
        None => Err(Failure::invalid("the receipt is none that this server has given")),
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

fn say_pulled<R>(object: u32, given: &[Handed], say: impl FnOnce(&PullReply<'_>) -> R) -> R {
    let receipts = given.iter().map(|one| receipt(object, one.delivery.receipt));
    let receipts: Vec<_> = receipts.collect();
    let all = given.iter().zip(&receipts).map(|(one, receipt)| delivery(one, receipt));
    let all: Vec<_> = all.collect();
    say(&PullReply::Ok { deliveries: List::of(&all) })
}

fn becomes(refused: &RefusedDelivery<'_>) -> Becomes {
    match refused.refusal {
        Refusal::Requeue => Becomes::Requeue(refused.delay.0),
        Refusal::DeadLetter => Becomes::Dead,
        Refusal::Drop => Becomes::Drop,
    }
}

fn which(state: MessageState) -> Which {
    match state {
        MessageState::Any => Which::All,
        MessageState::Ready => Which::Ready,
        MessageState::Delayed => Which::Delayed,
        MessageState::InFlight => Which::InFlight,
        MessageState::Dead => Which::Dead,
    }
}

/// Groups of consumers are of topics.
fn check_group(group: &str) -> Result<(), Failure> {
    let is_none = group.is_empty();
    is_none.then_some(()).ok_or_else(|| Failure::invalid("`group` of a queue is empty"))
}

/// What STATS answers.
fn stats(node: &Node, name: &str) -> Result<String, Failure> {
    let (_, stats) = node.queues.look(name).ok_or(Trouble::Absent)?;
    let went = stats.went;
    let document = json!({
        "ready": stats.ready, "delayed": stats.delayed, "in_flight": stats.in_flight,
        "dead": stats.dead, "bytes": stats.bytes, "waiting": stats.waiting,
        "published": went.published, "duplicates": went.duplicates, "refused": went.refused,
        "delivered": went.delivered, "redelivered": went.redelivered, "acked": went.acked,
        "nacked": went.nacked, "timed_out": went.timed_out, "expired": went.expired,
        "died": went.died, "redriven": went.redriven, "stale": went.stale,
    });
    Ok(document.to_string())
}

/// The answers that are failures here.
fn unexpected(reply: &QueueReply) -> Failure {
    match reply {
        QueueReply::Full { what, limit } => {
            let why = format!("the queue has {limit} {what}, as many as it may");
            let failure = Failure::new(ErrorCode::QuotaExceeded, why);
            failure.with("quota", *what).with("limit", limit.to_string())
        }
        QueueReply::Invalid(why) => Failure::invalid(*why),
        _ => Failure::of(ErrorCode::Internal),
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Absent => Failure::new(ErrorCode::NoSuchObject, "the queue was dropped"),
            Trouble::NotKept(why) => why.into(),
            Trouble::Reading => {
                Failure::new(ErrorCode::Storage, "a change of the queues could not be kept")
            }
        }
    }
}
