//! One disk: records that are written, and those that are durable.

use std::collections::BTreeMap;

use isogrid_grid::id::{GroupId, SegmentId};
use isogrid_grid::replica::Kept;

use super::chance::Chance;

/// The records of one member's Raft log.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    records: Vec<Vec<u8>>,
    synced: usize,
    /// Where a record stands that makes all before it needless, once it is durable.
    anew: Option<usize>,
}

impl SimDisk {
    /// Writes a record.
    pub fn write(&mut self, record: Vec<u8>, begins_anew: bool) {
        if begins_anew {
            self.anew = Some(self.records.len());
        }
        self.records.push(record);
    }

    /// Makes everything up to here durable: the first `count` records.
    pub fn sync(&mut self, count: usize) {
        self.synced = self.synced.max(count.min(self.records.len()));
    }

    /// How many records there are.
    #[must_use]
    pub fn written(&self) -> usize {
        self.records.len()
    }

    /// The power goes: of what is not durable any first part may be there.
    pub fn lose_power(&mut self, chance: &mut Chance) {
        let unsynced = (self.records.len() - self.synced) as u64;
        let kept = usize::try_from(chance.between(0, unsynced)).unwrap_or(0);
        self.records.truncate(self.synced + kept);
        self.end_of_process();
    }

    /// The process ends: what was written is there.
    pub fn end_of_process(&mut self) {
        self.synced = self.records.len();
        if let Some(anew) = self.anew.take().filter(|at| *at < self.records.len()) {
            self.records.drain(..anew);
            self.synced = self.records.len();
        }
    }

    /// The records, as a start finds them.
    #[must_use]
    pub fn records(&self) -> &[Vec<u8>] {
        &self.records
    }
}

/// A copy on the disk.
pub type Place = (GroupId, SegmentId);
/// What copies are, change by change.
pub type Changes = Vec<(Place, Kept)>;

/// What copies have on a disk: one log of all their changes.
#[derive(Debug, Default)]
pub struct CopyLog {
    records: Vec<(Place, u64, Vec<u8>)>,
    synced: usize,
    is_syncing: bool,
    /// So much is there whatever happens, though the process does not know it.
    safe: usize,
}

impl CopyLog {
    /// Writes a change, the `count`-th of its copy. Up to where a sync is to begin, unless one is
    /// under way.
    pub fn write(&mut self, place: Place, count: u64, kept: &Kept) -> Option<usize> {
        let mut bytes = Vec::new();
        kept.encode(&mut bytes);
        self.records.push((place, count, bytes));
        self.begin_sync()
    }

    fn begin_sync(&mut self) -> Option<usize> {
        let begins = !self.is_syncing && self.synced < self.records.len();
        self.is_syncing |= begins;
        begins.then_some(self.records.len())
    }

    /// A sync has ended: of which copies how many changes are durable, and up to where the next
    /// sync is to begin.
    pub fn sync(&mut self, upto: usize) -> (BTreeMap<Place, u64>, Option<usize>) {
        let new = self.records.get(self.synced..upto).unwrap_or_default();
        let counts = new.iter().map(|(place, count, _)| (*place, *count)).collect();
        (self.synced, self.is_syncing) = (upto, false);
        (counts, self.begin_sync())
    }

    /// The power goes, or the process that had it in memory: of what is not durable any first part
    /// may be there.
    pub fn lose_power(&mut self, chance: &mut Chance) {
        let synced = self.synced.max(self.safe);
        let unsynced = (self.records.len() - synced) as u64;
        let kept = usize::try_from(chance.between(0, unsynced)).unwrap_or(0);
        self.records.truncate(synced + kept);
    }

    /// Everything that was written is there: the process ends as it should, or stands still for
    /// longer than what is written behind may take.
    pub fn settle(&mut self) {
        self.safe = self.records.len();
    }

    /// What a start finds, in order.
    ///
    /// # Panics
    /// When a change was written that means nothing.
    pub fn take(&mut self) -> Changes {
        let kept = |bytes: &[u8]| Kept::decode(bytes).expect("a change that was written is one");
        let records = std::mem::take(self).records;
        records.into_iter().map(|(place, _, bytes)| (place, kept(&bytes))).collect()
    }

    /// A checkpoint: what was taken was made into these, durably.
    pub fn begin_with(&mut self, changes: Changes) {
        for (place, kept) in changes {
            self.write(place, 0, &kept);
        }
        (self.synced, self.is_syncing) = (self.records.len(), false);
    }
}
