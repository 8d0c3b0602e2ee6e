//! Requests that do not wait, executed where their queue is served.

use isogrid_grid::structure::queue::{
    NewMessage, QueueOp, QueueReply, Receipt, Refusal as Becomes, Which,
};
use isogrid_wire::native::queue::{
    AckReply, Extend, MessageState, Publish, PublishReply, PublishedMessage, PurgeReply,
    RedriveReply, Refusal, RefusedDelivery, Request, StatsReply,
};
use isogrid_wire::native::{ErrorCode, Json, Limits, List, Status};

use super::message::{bytes_of, receipt_of};
use super::named;
use crate::server::native::clustered::{nowhere, unknown};
use crate::server::native::failure::Failure;
use crate::server::native::many::check_keys;
use crate::server::native::reply::Reply;
use crate::server::queues::{Place, Trouble};

/// Messages that are removed or brought back under one lock.
const STEP: usize = 1_000;

/// A queue, where it is served.
pub struct Served<'q, P> {
    /// Where that is.
    pub place: &'q P,
    /// Its number.
    pub object: u32,
    /// Its name.
    pub name: &'q str,
    /// What may be asked at once.
    pub limits: &'q Limits,
}

impl<P: Place> Served<'_, P> {
    /// Answers a request that does not wait.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn answer(&self, request: &Request<'_>, reply: &mut Reply<'_>) -> Result<(), Failure> {
        match request {
            Request::Publish(publish) => self.publish(publish, reply)?,
            Request::Ack(_) | Request::Nack(_) | Request::Extend(_) => {
                let results = self.settle(request)?;
                let is_all = results.iter().all(|status| *status == Status::Ok);
                let results = List::of(&results);
                // The three answer alike.
                reply.say(&match is_all {
                    true => AckReply::Ok { results },
                    false => AckReply::Partial { results },
                });
            }
            Request::Browse(browse) => self.browse(browse, reply)?,
            Request::Purge(purge) => {
                let which = which(purge.state);
                let count = self.all_steps(|most| QueueOp::Purge { which, most }, usize::MAX)?;
                reply.say(&PurgeReply::Ok { count });
            }
            Request::Stats(_) => {
                let (_, stats) = named::look(self.place, self.name)?.ok_or(Trouble::Absent)?;
                let stats = named::numbers(&stats).to_string();
                reply.say(&StatsReply::Ok { stats: Json(&stats) });
            }
            Request::Redrive(redrive) => {
                let most = usize::try_from(redrive.n).unwrap_or(usize::MAX);
                let most = if most == 0 { usize::MAX } else { most };
                let count = self.all_steps(|most| QueueOp::Redrive { most }, most)?;
                reply.say(&RedriveReply::Ok { count });
            }
            Request::Consume(_) | Request::Pull(_) | Request::Read(_) => {
                return Err(Failure::of(ErrorCode::Internal));
            }
        }
        Ok(())
    }

    fn publish(&self, publish: &Publish<'_>, reply: &mut Reply<'_>) -> Result<(), Failure> {
        check_keys(self.limits, publish.messages.len())?;
        let mut messages = Vec::with_capacity(publish.messages.len());
        for new in publish.messages {
            let bytes = bytes_of(&new.content, self.limits)?;
            let (delay, ttl) = (new.delay.0, new.ttl.0);
            let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
            let (dedup, group, priority) = (new.dedup, new.group, new.priority);
            messages.push((NewMessage { dedup, group, delay, ttl, priority, len }, bytes));
        }
        let replies = self.place.with(|turn| turn.publish(self.name, &messages))?;
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
    fn settle(&self, request: &Request<'_>) -> Result<Vec<Status>, Failure> {
        match request {
            Request::Ack(ack) => {
                self.each_of(ack.receipts.iter().map(|receipt| (receipt, QueueOp::Ack)))
            }
            Request::Extend(Extend { receipts, wait }) => {
                let op = move |receipt| QueueOp::Extend { receipt, visible: wait.0 };
                self.each_of(receipts.iter().map(|receipt| (receipt, op)))
            }
            Request::Nack(nack) => self.each_of(nack.deliveries.iter().map(|one| {
                let (refusal, reason) = (becomes(&one), one.reason);
                (one.receipt, move |receipt| QueueOp::Nack { receipt, refusal, reason })
            })),
            _ => Err(Failure::of(ErrorCode::Internal)),
        }
    }

    /// Does with each receipt what goes with it.
    fn each_of<'a, F: Fn(Receipt) -> QueueOp<'a>>(
        &self,
        all: impl Iterator<Item = (&'a [u8], F)>,
    ) -> Result<Vec<Status>, Failure> {
        let op = |(receipt, op): (&[u8], F)| Ok(op(receipt_of(receipt, self.object)?));
        let ops = all.map(op).collect::<Result<Vec<_>, Failure>>()?;
        check_keys(self.limits, ops.len())?;
        let settled = |reply| match reply {
            QueueReply::Done | QueueReply::Gone => Status::Ok,
            QueueReply::Stale => Status::VersionMismatch,
            _ => Status::NotFound,
        };
        let results = self.place.with(|turn| {
            let all = ops.iter().map(|op| turn.apply(self.name, *op));
            all.map(|done| done.map(|done| settled(done.reply))).collect::<Result<Vec<_>, _>>()
        })?;
        match results.iter().all(|status| *status == Status::VersionMismatch) {
            true if !results.is_empty() => Err(Failure::of(ErrorCode::StaleReceipt)),
            _ => Ok(results),
        }
    }

    /// Does an operation on so many messages in steps that others can come between.
    fn all_steps(
        &self,
        op: impl Fn(usize) -> QueueOp<'static>,
        most: usize,
    ) -> Result<u64, Failure> {
        let mut left = most;
        loop {
            let step = left.min(STEP);
            let done = self.place.apply(self.name, op(step))?;
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

fn becomes(refused: &RefusedDelivery<'_>) -> Becomes {
    match refused.refusal {
        Refusal::Requeue => Becomes::Requeue(refused.delay.0),
        Refusal::DeadLetter => Becomes::Dead,
        Refusal::Drop => Becomes::Drop,
    }
}

pub(super) fn which(state: MessageState) -> Which {
    match state {
        MessageState::Any => Which::All,
        MessageState::Ready => Which::Ready,
        MessageState::Delayed => Which::Delayed,
        MessageState::InFlight => Which::InFlight,
        MessageState::Dead => Which::Dead,
    }
}

/// The answers that are failures here.
pub(super) fn unexpected(reply: &QueueReply) -> Failure {
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
            Trouble::Undone(why) => why.into(),
            Trouble::NotKept(why) => why.into(),
            Trouble::Ahead(ahead) => {
                let failure = Failure::new(ErrorCode::OutOfRange, ahead.to_string());
                failure.with("next", ahead.next.to_string())
            }
            Trouble::Elsewhere => nowhere(),
            Trouble::Unknown => unknown(),
            Trouble::Reading => {
                Failure::new(ErrorCode::Storage, "a change of the queues could not be kept")
            }
        }
    }
}
