//! A segment as a copy among several: what replication asks of it (DATA_PATH sections 3, 5, 9).
//!
//! A copy either serves, and then others follow it: its writes wait until they are committed
//! ([`super::Journal::publishes`]); or it follows one that does, and everything comes as the
//! changes and the entries of that one. The bytes of both are those of the log.

use thiserror::Error;

use super::entry::draft;
use super::segment::Locked;
use super::{Change, Saved, Table};
use crate::env::Timestamp;
use crate::error::Error;
use crate::persist::change;

/// Bytes that stand ahead of the entries of a chunk, at the most, beside its epochs.
const LEN_BYTES: usize = 4;

/// What the bytes of a change have beside the value, mostly.
const HEAD_BYTES: usize = 256;

/// The bytes of a chunk or of a change are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("these bytes are no entries of a segment")]
pub struct ChunkError;

/// A segment with its lock held.
pub struct SegmentCopy<'t> {
    locked: Locked<'t>,
    table: &'t Table,
    now: Timestamp,
}

impl Table {
    /// Takes the lock of a segment, to treat it as a copy among several; `None` when there is no
    /// segment of that number.
    pub fn copy(&self, segment: usize, now: Timestamp) -> Option<SegmentCopy<'_>> {
        self.shared.copied.store(true, std::sync::atomic::Ordering::Relaxed);
        let mut locked = self.segments.get(segment)?.lock(&self.shared, now);
        locked.replay_unrecorded();
        Some(SegmentCopy { locked, table: self, now })
    }
}

impl SegmentCopy<'_> {
    /// From now on it follows another copy: nothing expires or is evicted until that one says so.
    pub fn follow(&mut self) {
        self.locked.abort_all();
        self.locked.set_follows(true);
    }

    /// From now on others follow: what is written next is of this epoch.
    pub fn lead(&mut self, epoch: u32) {
        self.locked.begin_epoch(epoch);
        self.locked.set_follows(false);
    }

    /// The changes are seen that were recorded under numbers up to this one.
    pub fn publish_upto(&mut self, record: u64) {
        self.locked.publish_and_tell(record);
    }

    /// Does changes that were recorded elsewhere, and are committed. Each is called for once, in
    /// the order of the records.
    ///
    /// # Errors
    /// [`ChunkError`]: the bytes are none of [`encode_change`]; what came before is done.
    pub fn replay(&mut self, record: &[u8]) -> Result<(), ChunkError> {
        let mut all_done = true;
        let done = change::each(record, |_, change| all_done &= self.replay_one(&change).is_ok());
        done.filter(|()| all_done).ok_or(ChunkError)
    }

    fn replay_one(&mut self, change: &Change<'_>) -> Result<(), Error> {
        match change {
            Change::Put { key, entry, epoch, seq } => {
                let hash = self.table.hash(key);
                self.locked.replay_put(hash, draft(key, entry), *epoch, *seq)
            }
            Change::Remove { key, epoch, seq } => {
                self.locked.replay_remove(self.table.hash(key), key, *epoch, *seq);
                Ok(())
            }
            // What of a segment was cleared says its number.
            Change::Life { seq } => {
                self.locked.clear_upto(*seq);
                Ok(())
            }
            Change::Clear | Change::Transaction(_) => Ok(()),
        }
    }

    /// The bytes of a clear of everything that is in the segment now, prepared writes included:
    /// done when they are replayed, here as well.
    pub fn encode_clear(&mut self, out: &mut Vec<u8>) {
        let seq = self.locked.take_number();
        change::encode("", &Change::Life { seq }, out);
    }

    /// The version of a key as writers see it, prepared writes included; 0: there is no entry.
    #[must_use]
    pub fn version_of(&self, key: &[u8]) -> u64 {
        let found = self.locked.find(self.table.hash(key), key);
        let alive = found.filter(|(_, version)| self.locked.is_alive(*version));
        alive.map_or(0, |(_, version)| {
            version.version().unwrap_or_else(|| self.locked.own_version(version.seq()))
        })
    }

    /// The bytes of the change that would put a key's entry as it is, and its number; `None` where
    /// there is none.
    #[must_use]
    pub fn encode_entry(&self, key: &[u8]) -> Option<(u64, Vec<u8>)> {
        let (_, version) = self.locked.find(self.table.hash(key), key)?;
        let mut out = Vec::with_capacity(HEAD_BYTES + version.value().len());
        change::encode("", &self.locked.put_of(version), &mut out);
        (!version.is_tombstone()).then(|| (version.seq(), out))
    }

    /// A version above all that was written, which nothing else gets: for who writes later what it
    /// promises now.
    pub fn take_version(&mut self) -> u64 {
        let seq = self.locked.take_number();
        self.locked.own_version(seq)
    }

    /// Whether a record is one of [`SegmentCopy::encode_clear`].
    #[must_use]
    pub fn is_clear(record: &[u8]) -> bool {
        change::is_life(record)
    }

    /// How many entries it has, those included that have expired and are not removed yet.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.locked.entries()
    }

    /// Forgets everything: what it is to hold comes in chunks.
    pub fn empty(&mut self) {
        self.locked.empty();
    }

    /// Puts entries from `from` on behind `out`, about `bytes_max` of them; where to go on, or `None`
    /// when that was all. Entries that are there all the while come at least once.
    pub fn chunk(&self, from: u64, bytes_max: usize, out: &mut Vec<u8>) -> Option<u64> {
        let epochs = self.locked.epochs();
        out.extend_from_slice(&self.locked.published().to_le_bytes());
        out.extend_from_slice(&u32::try_from(epochs.len()).unwrap_or(0).to_le_bytes());
        epochs.iter().for_each(|first| out.extend_from_slice(&first.to_le_bytes()));
        let mut next = Some(from);
        while let Some(at) = next.filter(|_| out.len() < bytes_max) {
            next = self.locked.scan_published(at, |version| {
                let start = out.len();
                out.extend_from_slice(&[0; LEN_BYTES]);
                change::encode("", &self.locked.put_of(version), out);
                let len = u32::try_from(out.len() - start - LEN_BYTES).unwrap_or(u32::MAX);
                if let Some(place) = out.get_mut(start..start + LEN_BYTES) {
                    place.copy_from_slice(&len.to_le_bytes());
                }
            });
        }
        next
    }

    /// Takes the entries of a chunk in, but those for which `is_gone` says that they were removed
    /// since, under the number that it is given or a later one. Newer ones that are there stay.
    ///
    /// # Errors
    /// [`ChunkError`].
    pub fn take_chunk(
        &mut self,
        chunk: &[u8],
        is_gone: &dyn Fn(&[u8], u64) -> bool,
    ) -> Result<(), ChunkError> {
        let mut rest = self.take_head(chunk).ok_or(ChunkError)?;
        while let Some((len, behind)) = rest.split_first_chunk::<LEN_BYTES>() {
            let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
            let (entry, behind) = behind.split_at_checked(len).ok_or(ChunkError)?;
            rest = behind;
            let Some(Change::Put { key, entry, epoch, seq }) = change::single(entry) else {
                return Err(ChunkError);
            };
            if !is_gone(key, seq) {
                let saved = Saved { key, entry, epoch, seq, accessed: self.now };
                let hash = self.table.hash(key);
                self.locked.take_in(hash, &saved).map_err(|_| ChunkError)?;
            }
        }
        rest.is_empty().then_some(()).ok_or(ChunkError)
    }

    /// The numbers and epochs that stand ahead of a chunk's entries; what is behind them.
    fn take_head<'c>(&mut self, chunk: &'c [u8]) -> Option<&'c [u8]> {
        let (published, rest) = chunk.split_first_chunk::<8>()?;
        let (count, mut rest) = rest.split_first_chunk::<4>()?;
        let mut epochs = Vec::new();
        for _ in 0..u32::from_le_bytes(*count) {
            let (first, behind) = rest.split_first_chunk::<8>()?;
            epochs.push(u64::from_le_bytes(*first));
            rest = behind;
        }
        self.locked.learn_epochs(&epochs);
        self.locked.raise_seq(u64::from_le_bytes(*published));
        Some(rest)
    }
}

/// The bytes of a change, for [`SegmentCopy::replay`].
pub fn encode_change(change: &Change<'_>, out: &mut Vec<u8>) {
    change::encode("", change, out);
}

/// The one change that these bytes are; `None` when they are none, or several.
#[must_use]
pub fn decode_change(bytes: &[u8]) -> Option<Change<'_>> {
    change::single(bytes)
}

/// Visits the changes of a record, in order; `None`, behind those before, when the bytes are none of
/// [`encode_change`].
#[must_use]
pub fn each_change<'a>(record: &'a [u8], mut visit: impl FnMut(Change<'a>)) -> Option<()> {
    change::each(record, |_, change| visit(change))
}

/// Says of each entry that a change removes its key and number.
pub fn removals(record: &[u8], mut visit: impl FnMut(&[u8], u64)) {
    change::each(record, |_, change| {
        if let Change::Remove { key, seq, .. } = change {
            visit(key, seq);
        }
    });
}

#[cfg(test)]
mod tests;
