//! What is committed in one step: puts, deletes and how far the log has been applied.

use std::collections::BTreeMap;

use super::{CacheId, Error, Position, Stored};

/// Longest key, bytes.
pub const KEY_LEN_MAX: usize = u16::MAX as usize;
/// Longest value, bytes.
pub const VALUE_LEN_MAX: usize = 1 << 30;
/// What an entry is charged beside its key and value.
const OVERHEAD_BYTES: usize = 64;
/// Default bound of a batch. A commit of so many bytes holds up readers of the store for some ten
/// milliseconds (docs/STORAGE.md).
pub const BATCH_BYTES_DEFAULT: usize = 256 << 10;

/// Puts and deletes of many keys of many caches, at most one for each key: the last one counts.
///
/// A batch is bounded in bytes: see [`Batch::has_room`].
#[derive(Debug, Clone)]
pub struct Batch {
    pub(super) ops: BTreeMap<(CacheId, Box<[u8]>), Option<Stored>>,
    pub(super) reached: BTreeMap<(CacheId, u16), u64>,
    pub(super) position: Position,
    bytes: usize,
    bytes_max: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Batch::new(BATCH_BYTES_DEFAULT)
    }
}

impl Batch {
    /// An empty batch that is full at `bytes_max` bytes.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        let (ops, reached) = (BTreeMap::new(), BTreeMap::new());
        Batch { ops, reached, position: Position(0), bytes: 0, bytes_max }
    }

    /// Whether a put of so many bytes still fits. An empty batch takes one put of any size.
    #[must_use]
    pub fn has_room(&self, key_len: usize, value_len: usize) -> bool {
        self.ops.is_empty()
            || self.bytes.saturating_add(OVERHEAD_BYTES + key_len + value_len) <= self.bytes_max
    }

    /// Stores an entry. Commit the batch first when it has no room ([`Batch::has_room`]).
    ///
    /// # Errors
    /// [`Error::Size`] for a key or value that no store takes; the batch is unchanged.
    pub fn put(&mut self, cache: CacheId, key: &[u8], stored: Stored) -> Result<(), Error> {
        self.set(cache, key, Some(stored))
    }

    /// Deletes an entry, present or not.
    ///
    /// # Errors
    /// As [`Batch::put`].
    pub fn delete(&mut self, cache: CacheId, key: &[u8]) -> Result<(), Error> {
        self.set(cache, key, None)
    }

    fn set(&mut self, cache: CacheId, key: &[u8], to: Option<Stored>) -> Result<(), Error> {
        let value = to.as_ref().map_or(0, |stored| stored.value.len());
        if key.is_empty() || key.len() > KEY_LEN_MAX || value > VALUE_LEN_MAX {
            return Err(Error::Size { key: key.len(), value });
        }
        let old = self.ops.insert((cache, key.into()), to);
        let cost = |value: usize| OVERHEAD_BYTES + key.len() + value;
        let replaced = old.map_or(0, |old| cost(old.map_or(0, |stored| stored.value.len())));
        self.bytes = self.bytes + cost(value) - replaced;
        Ok(())
    }

    /// Notes that everything of `segment` up to `version` is in this batch or an earlier one.
    pub fn reached(&mut self, cache: CacheId, segment: u16, version: u64) {
        let mark = self.reached.entry((cache, segment)).or_default();
        *mark = version.max(*mark);
    }

    /// Sets how far the log is applied once this batch is.
    pub fn advance(&mut self, position: Position) {
        self.position = position;
    }

    /// How far the log is applied once this batch is.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Keys that are put or deleted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether no key is put or deleted. Such a batch may still move the position.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Bytes held, against the bound.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Empties it for the next round.
    pub fn clear(&mut self) {
        *self = Batch { position: self.position, ..Batch::new(self.bytes_max) };
    }

    /// What the batch does to a key: `None` when it does not touch it.
    pub(super) fn op(&self, cache: CacheId, key: &[u8]) -> Option<&Option<Stored>> {
        self.ops.get(&(cache, key.into()))
    }
}
