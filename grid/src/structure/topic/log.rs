//! The messages of a topic, oldest first, and how many of before are gone.

use std::collections::VecDeque;

use isogrid_engine::Timestamp;

use crate::structure::queue::Head;

/// The messages that are kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    all: VecDeque<(u64, Head)>,
    bytes: u64,
    gone: Gone,
}

/// What retention took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Gone {
    /// Up to this id, itself included.
    pub last: u64,
    /// How many.
    pub count: u64,
}

impl Log {
    pub fn of(gone: Gone) -> Self {
        Log { gone, ..Log::default() }
    }

    pub fn gone(&self) -> Gone {
        self.gone
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The oldest message.
    pub fn first(&self) -> Option<&(u64, Head)> {
        self.all.front()
    }

    /// The youngest message.
    pub fn last(&self) -> Option<&(u64, Head)> {
        self.all.back()
    }

    pub fn get(&self, id: u64) -> Option<&Head> {
        let at = self.all.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.all.get(at).map(|(_, head)| head)
    }

    /// The messages behind an id.
    pub fn behind(&self, id: u64) -> impl Iterator<Item = (u64, &Head)> {
        self.all.range(self.upto(id)..).map(|(id, head)| (*id, head))
    }

    /// How many messages are behind an id.
    pub fn count_behind(&self, id: u64) -> usize {
        self.all.len() - self.upto(id)
    }

    /// The id ahead of the first message of this time or later; 0: there is none before.
    pub fn ahead_of(&self, time: Timestamp) -> u64 {
        let at = self.all.partition_point(|(_, head)| head.published < time);
        let before = at.checked_sub(1).and_then(|at| self.all.get(at));
        before.map_or(self.gone.last, |(id, _)| *id)
    }

    /// A message behind all others.
    pub fn push(&mut self, id: u64, head: Head) {
        self.bytes += head.cost();
        self.all.push_back((id, head));
    }

    /// Takes the last message back; whether it was this one.
    pub fn retract(&mut self, id: u64) -> bool {
        if self.all.back().is_none_or(|(last, _)| *last != id) {
            return false;
        }
        let head = self.all.pop_back();
        self.bytes -= head.map_or(0, |(_, head)| head.cost());
        true
    }

    /// Takes the oldest message out.
    pub fn take_first(&mut self) -> Option<(u64, Head)> {
        let (id, head) = self.all.pop_front()?;
        self.bytes -= head.cost();
        self.gone = Gone { last: id, count: self.gone.count + 1 };
        Some((id, head))
    }

    fn upto(&self, id: u64) -> usize {
        self.all.partition_point(|(of, _)| *of <= id)
    }
}
