//! Who gets which message: those who wait get one each in turn, in the order in which they asked. Who
//! was served asks again behind the others, so consumers that are as fast get as many.

use std::collections::BTreeMap;

use isogrid_engine::Timestamp;

use super::Queue;
use super::message::Place;
use super::operation::{Delivery, Puller, QueueReply, Receipt, Wake};
use super::options::BATCH_MAX;
use super::parts::Part;
use crate::mutant::is_planted;

/// Whoever has so many bytes of messages gets no more of them at once.
const BATCH_BYTES: u64 = 1 << 20;

impl Queue {
    pub(super) fn pull(&mut self, puller: Puller, wait: u64, out: &mut Vec<Wake>) -> QueueReply {
        if puller.most == 0 {
            return QueueReply::Invalid("at least one message is asked for");
        }
        let puller = Puller { most: puller.most.min(BATCH_MAX), ..puller };
        let ticket = self.waiters.add(puller, self.now.saturating_add(wait));
        let before = out.len();
        self.deal(out);
        // Whoever had this place before may be among those who have waited long enough.
        if let Some(at) = out.iter().skip(before).position(|wake| wake.ticket == ticket) {
            return QueueReply::Deliveries(out.swap_remove(before + at).deliveries);
        }
        if wait == 0 {
            self.waiters.remove(ticket);
            return QueueReply::Deliveries(Vec::new());
        }
        QueueReply::Waiting { ticket }
    }

    /// Gives messages to those who wait, as far as there are both.
    pub(super) fn deal(&mut self, out: &mut Vec<Wake>) {
        let mut dealt: BTreeMap<u64, (u64, Vec<Delivery>)> = BTreeMap::new();
        let (mut last, mut round) = (0, 0);
        while let Some(id) = self.shelf.first() {
            let Some((ticket, puller)) = self.waiters.behind(last) else {
                if round == 0 {
                    break;
                }
                (last, round) = (0, 0);
                continue;
            };
            last = ticket;
            let (bytes, given) =
                dealt.get(&ticket).map_or((0, 0), |(bytes, all)| (*bytes, all.len()));
            if given < puller.most && bytes < BATCH_BYTES && self.admits(puller.consumer) {
                let len = self.shelf.get(id).map_or(0, |message| message.head.len.into());
                let delivery = self.hand_out(id, &puller);
                let (bytes, all) = dealt.entry(ticket).or_default();
                *bytes += len;
                all.extend(delivery);
                round += 1;
            }
        }
        for (ticket, (_, deliveries)) in dealt {
            self.waiters.remove(ticket);
            out.push(Wake { ticket, deliveries });
        }
    }

    fn hand_out(&mut self, id: u64, puller: &Puller) -> Option<Delivery> {
        let (now, consumer) = (self.now, puller.consumer);
        let published = self.shelf.get(id)?.head.published;
        let state = self.shelf.state_mut(id)?;
        state.attempts = state.attempts.saturating_add(1);
        let (attempt, receipt) = (state.tries(), Receipt { id, attempt: state.attempts });
        self.went.delivered += 1;
        self.went.redelivered += u64::from(receipt.attempt > 1);
        if puller.auto {
            self.went.acked += 1;
            self.remove(id);
        } else {
            let visible = if puller.visible == 0 { self.options.visible } else { puller.visible };
            self.shelf.put(id, Place::InFlight { until: now.saturating_add(visible), consumer });
            if !is_planted("queue-leases-lost") {
                self.changed.insert(Part::State(id));
            }
        }
        Some(Delivery { receipt, attempt, published })
    }

    /// Whether a consumer may have messages; of a queue for one consumer, whoever comes first may
    /// until it is gone.
    fn admits(&mut self, consumer: u128) -> bool {
        if !self.options.exclusive {
            return true;
        }
        let is_held = |queue: &Queue, holder| holder != consumer && queue.is_there(holder);
        if self.holder.is_some_and(|(holder, seen)| {
            is_held(self, holder) || holder != consumer && self.free_at(seen) > self.now
        }) {
            return false;
        }
        self.holder = Some((consumer, self.now));
        true
    }

    fn is_there(&self, consumer: u128) -> bool {
        !self.waiters.of(consumer).is_empty() || !self.shelf.held_by(consumer).is_empty()
    }

    fn free_at(&self, seen: Timestamp) -> Timestamp {
        seen.saturating_add(self.options.visible)
    }

    /// When others may have what the one consumer does not fetch.
    pub(super) fn holder_deadline(&self) -> Option<Timestamp> {
        let (holder, seen) = self.holder.filter(|_| self.options.exclusive)?;
        let is_idle = self.waiters.len() > 0 && self.shelf.first().is_some();
        (is_idle && !self.is_there(holder)).then(|| self.free_at(seen))
    }

    /// A consumer is gone.
    pub(super) fn leave(&mut self, consumer: u128, out: &mut Vec<Wake>) {
        for ticket in self.waiters.of(consumer) {
            self.waiters.remove(ticket);
        }
        for id in self.shelf.held_by(consumer) {
            self.failed(id, self.now, "its consumer left");
        }
        self.holder = self.holder.filter(|(holder, _)| *holder != consumer);
        self.deal(out);
    }
}
