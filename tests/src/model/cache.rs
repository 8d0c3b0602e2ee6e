//! A naive cache: a map of items, and what each operation says about them.

use std::collections::BTreeMap;

use isogrid_engine::{Marks, Timestamp};

/// An item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The value.
    pub value: Vec<u8>,
    /// The client's 32 bits.
    pub flags: u32,
    /// When it expires.
    pub deadline: Option<Timestamp>,
    /// Its version, as the cache told it.
    pub version: u64,
    /// Whether the version was chosen by a client.
    pub chosen: bool,
    /// Its marks.
    pub marks: Marks,
    /// Whether it was ever fetched.
    pub fetched: bool,
}

/// The items.
#[derive(Debug, Default)]
pub struct Cache {
    items: BTreeMap<u8, Item>,
}

impl Cache {
    /// The item of a key, if it lives.
    #[must_use]
    pub fn get(&self, key: u8, now: Timestamp) -> Option<&Item> {
        self.items.get(&key).filter(|item| item.deadline.is_none_or(|at| at > now))
    }

    /// As `get`, to be changed.
    pub fn get_mut(&mut self, key: u8, now: Timestamp) -> Option<&mut Item> {
        self.items.get_mut(&key).filter(|item| item.deadline.is_none_or(|at| at > now))
    }

    /// Stores an item.
    pub fn put(&mut self, key: u8, item: Item) {
        self.items.insert(key, item);
    }

    /// Deletes a key.
    pub fn remove(&mut self, key: u8) {
        self.items.remove(&key);
    }

    /// Deletes all.
    pub fn clear(&mut self) {
        self.items.clear();
    }
}

/// A counter's text as a number: blanks, digits, then a blank or the end.
#[must_use]
pub fn number(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?.trim_start_matches(' ');
    text.split(' ').next().filter(|word| word.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

/// The text after a step: as long as the old one where the number is shorter.
#[must_use]
pub fn counted(old: &[u8], up: bool, delta: u64) -> Option<(u64, Vec<u8>)> {
    let before = number(old)?;
    let after = if up { before.wrapping_add(delta) } else { before.saturating_sub(delta) };
    Some((after, format!("{after:<width$}", width = old.len()).into_bytes()))
}
