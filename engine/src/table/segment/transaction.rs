//! The part that a segment has in a transaction.

use super::super::observer::Told;
use super::super::snapshot::Watermark;
use super::super::transaction::Seen;
use super::{KeyHash, Locked, NO_RECORD};
use crate::sync::Ordering;

impl<'t> Locked<'t> {
    /// Whether a key is otherwise than a transaction takes it to be, whose snapshot has this
    /// watermark; `seen` is what it read of the key, if it did.
    ///
    /// While the snapshot is open a deletion leaves a tombstone. What expiry and eviction take out
    /// leaves no trace: they are no writes, but what was read must still be there.
    pub fn has_changed(
        &self,
        hash: KeyHash,
        key: &[u8],
        seen: Option<Seen>,
        mark: Watermark,
    ) -> bool {
        let newest = self.find(hash, key).map(|(_, version)| version);
        let alive = newest.filter(|version| self.is_alive(*version)).map(|version| version.seq());
        let written = newest.is_some_and(|version| version.seq() > mark.committed);
        match seen {
            Some(Seen::Version(seq)) => alive != Some(seq),
            Some(Seen::Absent) => written || alive.is_some(),
            None => {
                let cleared = self.segment.cleared.load(Ordering::Relaxed);
                let hidden = mark.cleared + 1..=cleared;
                written || newest.is_some_and(|v| !v.is_tombstone() && hidden.contains(&v.seq()))
            }
        }
    }

    /// Whether writes that are prepared now can be published together with those of other
    /// segments: at once, or (`waits`) with their record. They cannot where they would have to
    /// wait for a write before them that its owner publishes.
    pub fn may_publish(&self, waits: bool) -> bool {
        self.w.pending.iter().all(|pending| waits && pending.record != NO_RECORD)
    }

    /// Lets the prepared writes from `seq` on wait for a record of the journal.
    pub fn wait_for(&mut self, seq: u64, record: u64) {
        let own = self.w.pending.iter_mut().filter(|pending| pending.seq >= seq);
        own.for_each(|pending| pending.record = record);
        self.note_unpublished();
    }

    /// Makes the prepared writes from `seq` on visible, once all before them are.
    pub fn publish_from(&mut self, seq: u64, told: &mut Told<'t>) {
        let own = self.w.pending.iter_mut().filter(|pending| pending.seq >= seq);
        own.for_each(|pending| pending.done = true);
        self.publish_done(told);
        self.settle();
    }
}
