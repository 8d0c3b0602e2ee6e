//! How a delivery ends: acknowledged, refused, or by time; and what else ends by time alone.

use isogrid_engine::Timestamp;

use super::Queue;
use super::message::Place;
use super::operation::{QueueReply, Receipt, Refusal, Wake};
use super::parts::Part;
use crate::mutant::is_planted;

/// What is done by time alone in one call, of each kind.
const BUDGET: usize = 1_000;
/// The longest time that a consumer can have for a message, ms: twelve hours.
pub(super) const VISIBLE_MAX: u64 = 43_200_000;

impl Queue {
    pub(super) fn ack(&mut self, receipt: Receipt, out: &mut Vec<Wake>) -> QueueReply {
        match self.check(receipt) {
            QueueReply::Done => {
                self.went.acked += 1;
                self.remove(receipt.id);
                // The next one of its group may be waited for.
                self.deal(out);
                QueueReply::Done
            }
            other => other,
        }
    }

    pub(super) fn nack(
        &mut self,
        receipt: Receipt,
        refusal: Refusal,
        reason: &str,
        out: &mut Vec<Wake>,
    ) -> QueueReply {
        let known = self.check(receipt);
        if known != QueueReply::Done {
            return known;
        }
        self.went.nacked += 1;
        let (id, now) = (receipt.id, self.now);
        let place = self.shelf.get(id).map(|message| message.state.place);
        if matches!(place, Some(Place::InFlight { .. })) {
            self.refused(id, refusal, reason);
        } else if refusal == Refusal::Drop {
            self.remove(id);
        } else if refusal == Refusal::Dead {
            self.die(id, now);
        }
        self.deal(out);
        QueueReply::Done
    }

    fn refused(&mut self, id: u64, refusal: Refusal, reason: &str) {
        let now = self.now;
        let Some(state) = self.shelf.state_mut(id) else { return };
        state.note(now, if reason.is_empty() { "refused" } else { reason });
        let tries = state.tries();
        match refusal {
            Refusal::Drop => self.remove(id),
            Refusal::Dead => self.die(id, now),
            Refusal::Requeue(_) if tries >= self.options.attempts => self.die(id, now),
            Refusal::Requeue(delay) => {
                let until = match delay {
                    0 => self.options.again(now, tries),
                    delay => now.saturating_add(delay),
                };
                self.come_back(id, until);
                self.changed.insert(Part::State(id));
            }
        }
    }

    pub(super) fn extend(&mut self, receipt: Receipt, visible: u64) -> QueueReply {
        let known = self.check(receipt);
        if known != QueueReply::Done {
            return known;
        }
        let place = self.shelf.get(receipt.id).map(|message| message.state.place);
        let Some(Place::InFlight { consumer, .. }) = place else {
            self.went.stale += 1;
            return QueueReply::Stale;
        };
        let until = self.now.saturating_add(visible.clamp(1, VISIBLE_MAX));
        self.shelf.put(receipt.id, Place::InFlight { until, consumer });
        self.changed.insert(Part::State(receipt.id));
        QueueReply::Done
    }

    /// Whether a receipt is the latest one of its message (R87).
    fn check(&mut self, receipt: Receipt) -> QueueReply {
        let Receipt { id, attempt } = receipt;
        let Some(message) = self.shelf.get(id) else {
            let was_given = (1..self.next_id).contains(&id) && attempt > 0;
            return if was_given { QueueReply::Gone } else { QueueReply::Unknown };
        };
        let state = &message.state;
        if attempt == 0 || attempt > state.attempts {
            return QueueReply::Unknown;
        }
        let is_old = attempt < state.attempts && !is_planted("queue-stale-receipt");
        if is_old || matches!(state.place, Place::Dead { .. }) {
            self.went.stale += 1;
            return QueueReply::Stale;
        }
        QueueReply::Done
    }

    /// A delivery failed: the message goes back to its place, or is dead.
    pub(super) fn failed(&mut self, id: u64, at: Timestamp, reason: &str) {
        let Some(state) = self.shelf.state_mut(id) else { return };
        state.note(at, reason);
        match state.tries() >= self.options.attempts {
            true => self.die(id, at),
            false => self.come_back(id, 0),
        }
    }

    fn come_back(&mut self, id: u64, until: Timestamp) {
        if self.shelf.get(id).is_some_and(|message| message.is_over(self.now)) {
            return self.expire(id);
        }
        let is_due = until <= self.now;
        self.shelf.put(id, if is_due { Place::Ready } else { Place::Delayed { until } });
    }

    /// It was delivered in vain too often: it stays in the queue's own segment (R89).
    fn die(&mut self, id: u64, since: Timestamp) {
        self.went.died += 1;
        if !self.options.dead_letters || is_planted("queue-dead-lost") {
            return self.remove(id);
        }
        self.shelf.put(id, Place::Dead { since });
        self.changed.insert(Part::State(id));
    }

    fn expire(&mut self, id: u64) {
        self.went.expired += 1;
        self.remove(id);
    }

    /// What is due by time alone, but for handing out.
    pub(super) fn tick(&mut self, now: Timestamp, out: &mut Vec<Wake>) {
        self.now = self.now.max(now);
        self.end_places();
        self.end_lives();
        self.end_waits(out);
        for _ in 0..BUDGET {
            let Some(name) = self.window.forget_one(self.now) else { break };
            self.changed.insert(Part::Dedup(name));
        }
    }

    fn end_places(&mut self) {
        for _ in 0..BUDGET {
            let due = self.shelf.first_due().filter(|(at, _)| *at <= self.now);
            let Some((at, id)) = due else { break };
            let place = self.shelf.get(id).map(|message| message.state.place);
            if matches!(place, Some(Place::InFlight { .. })) {
                self.went.timed_out += 1;
                self.failed(id, at, "its time was over");
            } else {
                self.come_back(id, 0);
            }
        }
    }

    /// A message that somebody has is looked at again when it comes back.
    fn end_lives(&mut self) {
        for _ in 0..BUDGET {
            let over = self.shelf.first_expiry().filter(|(at, _)| *at <= self.now);
            let Some((at, id)) = over else { break };
            self.shelf.saw_expiry((at, id));
            let message = self.shelf.get(id).filter(|message| message.is_over(self.now));
            let place = message.map(|message| message.state.place);
            if matches!(place, Some(Place::Ready | Place::Delayed { .. })) {
                self.expire(id);
            }
        }
    }

    fn end_waits(&mut self, out: &mut Vec<Wake>) {
        while let Some((at, ticket)) = self.waiters.first_deadline() {
            if at > self.now {
                break;
            }
            self.waiters.remove(ticket);
            out.push(Wake { ticket, deliveries: Vec::new() });
        }
    }
}
