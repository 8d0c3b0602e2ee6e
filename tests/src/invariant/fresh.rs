//! I17: after a write of an invalidated cache was acknowledged, no member that serves has an older
//! value of its key.

use std::collections::BTreeMap;

/// A key.
pub type Key = u8;

/// What writers were told, and where loads come from.
#[derive(Debug, Default)]
pub struct Fresh {
    /// What the caches stand in front of: the newest value of each key. Values rise.
    database: BTreeMap<Key, u64>,
    /// The newest value of each key that was acknowledged.
    floors: BTreeMap<Key, u64>,
    next: u64,
    hits: u64,
    acknowledged: u64,
}

impl Fresh {
    /// A key is written: its value, newer than all before.
    pub fn write(&mut self, key: Key) -> u64 {
        self.next += 1;
        self.database.insert(key, self.next);
        self.next
    }

    /// A write was acknowledged.
    pub fn acknowledged(&mut self, key: Key, value: u64) {
        let floor = self.floors.entry(key).or_default();
        *floor = (*floor).max(value);
        self.acknowledged += 1;
    }

    /// What somebody loads who missed a key.
    #[must_use]
    pub fn load(&self, key: Key) -> u64 {
        self.database.get(&key).copied().unwrap_or(0)
    }

    /// A member serves this value.
    ///
    /// # Errors
    /// It is older than one that was acknowledged.
    pub fn read(&mut self, key: Key, value: u64) -> Result<(), String> {
        self.hits += 1;
        let floor = self.floors.get(&key).copied().unwrap_or(0);
        if value < floor {
            return Err(format!(
                "I17: key {key} is read as {value} after {floor} was acknowledged"
            ));
        }
        Ok(())
    }

    /// How many reads found something, and how many writes were acknowledged.
    #[must_use]
    pub fn told(&self) -> (u64, u64) {
        (self.hits, self.acknowledged)
    }
}
