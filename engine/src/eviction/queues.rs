//! A few weighted queues over one set of links; each slot knows which one it is on.

use super::{
    Slot,
    list::{Links, List},
};

/// The bits of a tag that name the queue; the rest are the policy's own.
const QUEUE_MASK: u16 = 0b11;
/// The highest note that a policy can make on a slot.
pub(super) const NOTE_MAX: u16 = u16::MAX >> QUEUE_MASK.count_ones();

/// `N` queues, numbered from 0 (three at most).
#[derive(Debug)]
pub(super) struct Queues<const N: usize> {
    links: Links,
    queues: [Queue; N],
    len: u32,
}

/// One queue and its weight.
#[derive(Debug, Clone, Copy, Default)]
struct Queue {
    list: List,
    weight: u64,
}

impl<const N: usize> Default for Queues<N> {
    fn default() -> Self {
        const { assert!(N <= QUEUE_MASK as usize) };
        Self { links: Links::default(), queues: [Queue::default(); N], len: 0 }
    }
}

impl<const N: usize> Queues<N> {
    /// Puts a slot that is on no queue at the head of one, with the policy's note cleared.
    pub(super) fn push(&mut self, queue: usize, slot: Slot, weight: u32) {
        debug_assert_eq!(self.queue(slot), None, "pushed twice");
        self.links.set_tag(slot, u16::try_from(queue + 1).unwrap_or(QUEUE_MASK));
        let to = entry(&mut self.queues, queue);
        to.weight += u64::from(weight);
        self.links.push(&mut to.list, slot);
        self.len += 1;
    }

    /// Takes a slot off its queue; `false` when it was on none.
    pub(super) fn remove(&mut self, slot: Slot, weight: u32) -> bool {
        let Some(queue) = self.queue(slot) else { return false };
        let from = entry(&mut self.queues, queue);
        from.weight -= u64::from(weight);
        self.links.remove(&mut from.list, slot);
        self.links.set_tag(slot, 0);
        self.len -= 1;
        true
    }

    /// Moves a slot from its queue to the head of another, its note cleared.
    pub(super) fn transfer(&mut self, to: usize, slot: Slot, weight: u32) {
        if self.remove(slot, weight) {
            self.push(to, slot, weight);
        }
    }

    /// Moves a slot to the head of the queue that it is on.
    pub(super) fn move_to_head(&mut self, slot: Slot) {
        if let Some(queue) = self.queue(slot) {
            self.links.move_to_head(&mut entry(&mut self.queues, queue).list, slot);
        }
    }

    /// Corrects the weight of the queue that a slot is on.
    pub(super) fn reweigh(&mut self, slot: Slot, old_weight: u32, new_weight: u32) {
        if let Some(queue) = self.queue(slot) {
            let queue = entry(&mut self.queues, queue);
            queue.weight = queue.weight - u64::from(old_weight) + u64::from(new_weight);
        }
    }

    /// The queue that a slot is on.
    pub(super) fn queue(&self, slot: Slot) -> Option<usize> {
        usize::from(self.links.tag(slot) & QUEUE_MASK).checked_sub(1)
    }

    /// The policy's note on a slot, 0 after each push.
    pub(super) fn note(&self, slot: Slot) -> u16 {
        self.links.tag(slot) >> QUEUE_MASK.count_ones()
    }

    /// Sets the policy's note on a slot, [`NOTE_MAX`] at most.
    pub(super) fn set_note(&mut self, slot: Slot, note: u16) {
        let queue = self.links.tag(slot) & QUEUE_MASK;
        self.links.set_tag(slot, note << QUEUE_MASK.count_ones() | queue);
    }

    /// The oldest slot of a queue.
    pub(super) fn tail(&self, queue: usize) -> Option<Slot> {
        self.queues.get(queue)?.list.tail()
    }

    /// Weight of one queue.
    pub(super) fn weight(&self, queue: usize) -> u64 {
        self.queues.get(queue).map_or(0, |q| q.weight)
    }

    /// Weight of all queues.
    pub(super) fn total_weight(&self) -> u64 {
        self.queues.iter().map(|q| q.weight).sum()
    }

    /// Slots on all queues.
    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// Bytes on the heap.
    pub(super) fn memory(&self) -> usize {
        self.links.memory()
    }
}

#[expect(clippy::indexing_slicing, reason = "queue numbers are constants of the policies")]
fn entry<const N: usize>(queues: &mut [Queue; N], queue: usize) -> &mut Queue {
    &mut queues[queue]
}
