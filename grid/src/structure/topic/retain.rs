//! What retention takes: the oldest messages, as many as are too many, too large or too old. They are
//! gone for groups too, whether they had taken them or not.

use isogrid_engine::Timestamp;

use super::Topic;
use crate::structure::queue::{Head, Part, Which};

/// What is taken in one call, of each kind.
const BUDGET: usize = 1_000;

impl Topic {
    /// Takes what is to go.
    pub(super) fn retain(&mut self) {
        for _ in 0..BUDGET {
            if !self.is_too_much() {
                break;
            }
            self.take_first();
        }
    }

    fn is_too_much(&self) -> bool {
        let is_old = self.too_old_at().is_some_and(|at| at <= self.now);
        self.log.len() as u64 > self.options.max_len
            || self.log.bytes() > self.options.max_bytes
            || is_old
    }

    /// When the oldest message is too old.
    fn too_old_at(&self) -> Option<Timestamp> {
        let (_, head) = self.log.first().filter(|_| self.options.max_age > 0)?;
        Some(head.published.saturating_add(self.options.max_age))
    }

    pub(super) fn retention_deadline(&self) -> Option<Timestamp> {
        if self.is_too_much() { Some(self.now) } else { self.too_old_at() }
    }

    fn take_first(&mut self) {
        let Some((id, head)) = self.log.take_first() else { return };
        self.forget(id, &head);
        self.went.lost += 1;
        self.groups.values_mut().for_each(|group| group.lose(id));
    }

    /// Messages that are gone are not kept; the ids that publishers gave are known as long as before.
    fn forget(&mut self, id: u64, head: &Head) {
        let is_known = |name: &&std::sync::Arc<[u8]>| self.window.find(name) == Some(id);
        if let Some(name) = head.dedup.as_ref().filter(is_known) {
            self.changed.insert(Part::Dedup(name.clone()));
        }
        self.changed.insert(Part::Message(id));
        self.changed.insert(Part::Cursor);
    }

    /// Removes the oldest messages, as who asks wants; how many.
    pub(super) fn purge(&mut self, which: Which, most: usize) -> usize {
        if !matches!(which, Which::All | Which::Ready) {
            return 0;
        }
        let count = self.log.len().min(most);
        (0..count).for_each(|_| self.take_first());
        count
    }

    pub(super) fn forget_ids(&mut self) {
        for _ in 0..BUDGET {
            let Some(name) = self.window.forget_one(self.now) else { break };
            self.changed.insert(Part::Dedup(name));
        }
    }
}
