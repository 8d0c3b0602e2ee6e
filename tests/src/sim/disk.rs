//! One disk: records that are written, and those that are durable.

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
