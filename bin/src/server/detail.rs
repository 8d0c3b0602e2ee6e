//! `stats detail`: gets, hits, sets and deletes by key prefix, when switched on.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Prefixes that are told apart at the most; keys beyond them are not counted.
const PREFIXES_MAX: usize = 10_000;

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Looked up, found or not.
    Get {
        /// Whether it was found.
        hit: bool,
    },
    /// Stored.
    Set,
    /// Deleted.
    Delete,
}

#[derive(Default)]
struct Row {
    get: u64,
    hit: u64,
    set: u64,
    delete: u64,
}

/// Counts by prefix.
pub struct Detail {
    on: AtomicBool,
    delimiter: u8,
    rows: Mutex<BTreeMap<Vec<u8>, Row>>,
}

impl Detail {
    /// Nothing counted yet. Keys without the delimiter are not counted.
    pub fn new(on: bool, delimiter: char) -> Self {
        let delimiter = u8::try_from(delimiter).unwrap_or(b':');
        Detail { on: AtomicBool::new(on), delimiter, rows: Mutex::default() }
    }

    /// Whether it is switched on.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Switches it on or off; the counts stay.
    pub fn switch(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Counts an event, when switched on.
    #[inline]
    pub fn count(&self, key: &[u8], event: Event) {
        if self.is_on() {
            self.count_on(key, event);
        }
    }

    #[cold]
    fn count_on(&self, key: &[u8], event: Event) {
        let Some(end) = key.iter().position(|byte| *byte == self.delimiter) else { return };
        let prefix = key.get(..end).unwrap_or_default();
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.len() >= PREFIXES_MAX && !rows.contains_key(prefix) {
            return;
        }
        let row = rows.entry(prefix.to_vec()).or_default();
        match event {
            Event::Get { hit } => {
                row.get += 1;
                row.hit += u64::from(hit);
            }
            Event::Set => row.set += 1,
            Event::Delete => row.delete += 1,
        }
    }

    /// The rows of `stats detail dump`.
    pub fn dump(&self) -> String {
        let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (prefix, Row { get, hit, set, delete }) in rows.iter() {
            let prefix = String::from_utf8_lossy(prefix);
            let _ = write!(text, "PREFIX {prefix} get {get} hit {hit} set {set} del {delete}\r\n");
        }
        text
    }

    /// Forgets all counts (`stats reset`).
    pub fn reset(&self) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
