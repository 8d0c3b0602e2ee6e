//! A queue: each message is delivered to one consumer, which says when it is done (DATA_PATH R84-R90).
//!
//! | a message is | until |
//! |---|---|
//! | delayed | its time comes |
//! | ready | it is delivered, in the order of priority and id; of a group, when those before it are done |
//! | in flight | its consumer acknowledges or refuses it, leaves, or its time is over |
//! | dead, after so many deliveries in vain | it is redriven or purged |
//!
//! Each delivery has a receipt of its own, and only the latest one counts. A message that is
//! acknowledged is never delivered again; one whose consumer says nothing is.
//!
//! It knows all of messages but their bytes, which whoever keeps the entries keeps (`parts.rs`). Time
//! is the one that all copies of the entries agree on.
//!
//! | file | what it is |
//! |---|---|
//! | `options.rs`, `texts.rs`, `operation.rs`, `message.rs` | what is said |
//! | `shelf.rs`, `line.rs` | messages by where they stand, and which comes next |
//! | `waiters.rs`, `deal.rs` | who waits for messages, and who gets which |
//! | `settle.rs` | how a delivery ends, and what ends by time alone |
//! | `dedup.rs` | ids that publishers gave |
//! | `follow.rs` | messages that are taken from a topic |
//! | `parts.rs` | the state as parts that are kept |

mod deal;
mod dedup;
mod follow;
mod line;
mod message;
mod operation;
mod options;
mod parts;
mod settle;
mod shelf;
mod texts;
mod waiters;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use isogrid_engine::Timestamp;

use super::Structure;
use crate::mutant::is_planted;
pub(super) use dedup::Window;
pub use message::{Cause, Head, Place, State};
pub use operation::{
    Delivery, NewMessage, Puller, QueueOp, QueueReply, QueueStats, Receipt, Refusal, Shown, Wake,
    Went, Which,
};
pub use options::{BATCH_MAX, NAME_LEN_MAX, PRIORITY_MAX, QueueOptions, REASON_LEN_MAX};
pub use parts::Part;
use shelf::{Message, Shelf};
pub use texts::QueueOptionError;
pub(super) use texts::{Field, above_zero, changed, differences, millis, put, shown};
use waiters::Waiters;

/// A queue.
#[derive(Debug, Clone)]
pub struct Queue {
    options: QueueOptions,
    /// The latest time that was told: it never goes back.
    now: Timestamp,
    next_id: u64,
    shelf: Shelf,
    window: Window,
    waiters: Waiters,
    /// The one consumer of a queue for one, and when it asked last.
    holder: Option<(u128, Timestamp)>,
    went: Went,
    /// The last message of the topic that it has taken, if it follows one.
    cursor: Option<u64>,
    changed: BTreeSet<Part>,
}

impl Queue {
    /// Empty; ids that it gives out begin with `first`.
    #[must_use]
    pub fn new(options: QueueOptions, now: Timestamp, first: u64) -> Self {
        Queue {
            options,
            now,
            next_id: first.max(1),
            shelf: Shelf::new(options.strict),
            window: Window::default(),
            waiters: Waiters::default(),
            holder: None,
            went: Went::default(),
            cursor: None,
            changed: BTreeSet::new(),
        }
    }

    /// What it is set to.
    #[must_use]
    pub fn options(&self) -> &QueueOptions {
        &self.options
    }

    /// The id that is given out next.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// What was said of a message when it was published.
    #[must_use]
    pub fn head(&self, id: u64) -> Option<&Head> {
        self.shelf.get(id).map(|message| &message.head)
    }

    /// What there is, and what went through.
    #[must_use]
    pub fn stats(&self) -> QueueStats {
        let (waiting, went) = (self.waiters.len() as u64, self.went);
        QueueStats { waiting, went, ..self.shelf.counts() }
    }

    fn publish(&mut self, new: &NewMessage<'_>) -> QueueReply {
        if self.cursor.is_some() {
            return QueueReply::Invalid("it is published to the topic");
        }
        if let Some(why) = refuse(new) {
            return QueueReply::Invalid(why);
        }
        if let Some(id) = new.dedup.and_then(|name| self.window.find(name)) {
            self.went.duplicates += 1;
            return QueueReply::Duplicate { id };
        }
        let (now, until) = (self.now, self.now.saturating_add(new.delay));
        let head = Head {
            published: now,
            due: if new.delay == 0 { 0 } else { until },
            expires: if new.ttl == 0 { 0 } else { now.saturating_add(new.ttl) },
            priority: new.priority,
            group: new.group.map(Into::into),
            dedup: new.dedup.map(Into::into),
            len: new.len,
        };
        if let Some(full) = self.full(&head) {
            self.went.refused += 1;
            return full;
        }
        let id = self.next_id;
        self.next_id += 1;
        if let Some(name) = &head.dedup {
            self.window.add(name, id, now);
        }
        let place = if new.delay == 0 { Place::Ready } else { Place::Delayed { until } };
        let state = State { place, ..State::default() };
        self.shelf.insert(id, Message { head, state });
        self.went.published += 1;
        QueueReply::Published { id }
    }

    fn full(&self, head: &Head) -> Option<QueueReply> {
        let QueueOptions { max_len, max_bytes, .. } = self.options;
        if self.shelf.len() as u64 >= max_len {
            return Some(QueueReply::Full { what: "messages", limit: max_len });
        }
        let bytes = self.shelf.counts().bytes.saturating_add(head.cost());
        (bytes > max_bytes).then_some(QueueReply::Full { what: "bytes", limit: max_bytes })
    }

    fn retract(&mut self, id: u64) -> QueueReply {
        self.window.forget(id);
        if self.shelf.remove(id).is_none() {
            return QueueReply::Gone;
        }
        self.went.published = self.went.published.saturating_sub(1);
        QueueReply::Done
    }

    /// Removes a message. The id that its publisher gave is known as long as before.
    fn remove(&mut self, id: u64) {
        let Some(message) = self.shelf.remove(id) else { return };
        if let Some(name) = message.head.dedup
            && self.window.find(&name) == Some(id)
            && !is_planted("queue-dedup-short")
        {
            self.changed.insert(Part::Dedup(name));
        }
        if self.cursor.is_none() && !is_planted("queue-acks-lost") {
            self.changed.insert(Part::Message(id));
        }
        if self.cursor.is_some() || !message.state.is_new() {
            self.changed.insert(Part::State(id));
        }
    }

    fn browse(&self, behind: u64, most: usize, which: Which) -> QueueReply {
        let mut found = self.shelf.behind(behind, which);
        let show = |(id, message): (u64, &Message)| {
            let (head, state) = (message.head.clone(), message.state.clone());
            Shown { id, head, state }
        };
        let shown = found.by_ref().take(most).map(show).collect();
        QueueReply::Shown(shown, found.next().is_some())
    }

    fn purge(&mut self, which: Which, most: usize) -> QueueReply {
        let is_free = |message: &Message| !matches!(message.state.place, Place::InFlight { .. });
        let found = self.shelf.behind(0, which).filter(|(_, message)| is_free(message));
        let found: Vec<u64> = found.map(|(id, _)| id).take(most).collect();
        found.iter().for_each(|id| self.remove(*id));
        QueueReply::Count(found.len())
    }

    fn redrive(&mut self, most: usize, out: &mut Vec<Wake>) -> QueueReply {
        let dead = self.shelf.behind(0, Which::Dead).map(|(id, _)| id);
        let dead: Vec<u64> = dead.take(most).collect();
        for id in &dead {
            if let Some(state) = self.shelf.state_mut(*id) {
                state.before = state.attempts;
            }
            self.shelf.put(*id, Place::Ready);
            self.changed.insert(Part::State(*id));
        }
        self.went.redriven += dead.len() as u64;
        self.deal(out);
        QueueReply::Count(dead.len())
    }
}

/// Why a message cannot be one.
pub(super) fn refuse(new: &NewMessage<'_>) -> Option<&'static str> {
    let is_name = |name: Option<&[u8]>| name.is_none_or(|n| (1..=NAME_LEN_MAX).contains(&n.len()));
    if !is_name(new.dedup) {
        Some("`dedup` has 1 to 255 bytes")
    } else if !is_name(new.group) {
        Some("`group` has 1 to 255 bytes")
    } else if new.priority > PRIORITY_MAX {
        Some("`priority` is 0 to 9")
    } else {
        None
    }
}

impl Structure for Queue {
    type Op<'a> = QueueOp<'a>;
    type Reply = QueueReply;
    type Effect = Wake;

    fn apply(&mut self, now: Timestamp, op: QueueOp<'_>, out: &mut Vec<Wake>) -> QueueReply {
        match op {
            // Those two belong together, and nothing comes between them.
            QueueOp::Retract { id } => return self.retract(id),
            QueueOp::Publish(new) => {
                self.tick(now, out);
                return self.publish(&new);
            }
            _ => self.advance(now, out),
        }
        match op {
            QueueOp::Pull { puller, wait } => self.pull(puller, wait, out),
            QueueOp::Cancel { ticket } => match self.waiters.remove(ticket) {
                true => QueueReply::Done,
                false => QueueReply::Gone,
            },
            QueueOp::Leave { consumer } => {
                self.leave(consumer, out);
                QueueReply::Done
            }
            QueueOp::Ack(receipt) => self.ack(receipt, out),
            QueueOp::Nack { receipt, refusal, reason } => self.nack(receipt, refusal, reason, out),
            QueueOp::Extend { receipt, visible } => self.extend(receipt, visible),
            QueueOp::Browse { behind, most, which } => self.browse(behind, most, which),
            QueueOp::Purge { which, most } => self.purge(which, most),
            QueueOp::Redrive { most } => self.redrive(most, out),
            QueueOp::Stats => QueueReply::Stats(self.stats()),
            QueueOp::Deal | QueueOp::Publish(_) | QueueOp::Retract { .. } => QueueReply::Done,
        }
    }

    fn advance(&mut self, now: Timestamp, out: &mut Vec<Wake>) {
        self.tick(now, out);
        self.deal(out);
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        let due =
            [self.shelf.first_due(), self.shelf.first_expiry(), self.waiters.first_deadline()];
        let due = due.into_iter().flatten().map(|(at, _)| at);
        due.chain(self.holder_deadline()).min()
    }

    fn snapshot(&self) -> Vec<u8> {
        self.encode()
    }

    fn restore(bytes: &[u8]) -> Option<Self> {
        Queue::decode(bytes)
    }
}
