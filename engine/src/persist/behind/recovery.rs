//! From the store to the tables.

use super::catalog::Catalog;
use super::feed::{ACCESSED, CHOSEN, value_of};
use super::writer::Slot;
use crate::env::Timestamp;
use crate::persist::PersistError;
use crate::store::{Report, Scan, Store, Stored};
use crate::table::{Marks, NewEntry, Restored, SEQ_BITS, Saved};

/// What was found in the store.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BehindRecovered {
    /// Entries that came back.
    pub entries: u64,
    /// Entries that have expired meanwhile: they are deleted.
    pub expired: u64,
    /// Entries that memory has no room for.
    pub left_out: u64,
    /// What an operator should know, damaged entries included.
    pub alarms: Vec<String>,
    /// Caches in the store that nobody wants any more: their entries are removed.
    pub unclaimed: Vec<String>,
}

/// Damaged entries that are named one by one.
const NAMED_MAX: usize = 8;

impl BehindRecovered {
    /// Takes in what the store said when it was opened.
    pub(super) fn note(&mut self, report: &Report) {
        self.alarms.extend(alarms(report));
    }
}

/// What to tell of a store that was opened.
pub(super) fn alarms(report: &Report) -> Vec<String> {
    let quarantined = report.quarantined.as_ref().map(|old| {
        format!(
            "the store was damaged beyond use and lies in {}: {}",
            old.path.display(),
            old.reason
        )
    });
    report.alarms.iter().cloned().chain(quarantined).collect()
}

/// Refuses the store of another data directory.
pub(super) fn check_owner(catalog: &Catalog, storage_id: [u8; 16]) -> Result<(), PersistError> {
    match catalog.storage_id {
        Some(other) if other != storage_id => Err(PersistError::Foreign {
            path: "store".into(),
            found: "it was written by another data directory".to_owned(),
            hint: "copy whole directories, never parts of them",
        }),
        _ => Ok(()),
    }
}

/// Fills a table, and raises its sequence numbers above all that may have been given out.
pub(super) fn fill(
    store: &dyn Store,
    slot: &Slot,
    now: Timestamp,
    recovered: &mut BehindRecovered,
) -> Result<(), PersistError> {
    let Some(home) = slot.home else { return Ok(()) };
    if let Some(table) = slot.feed.table.upgrade() {
        table.raise_all(home.reserved);
    }
    slot.feed.lock().highest = home.reserved;
    let mut cursor = None;
    loop {
        let page = store.scan(&Scan::all(home.id).after(cursor.as_ref()))?;
        for entry in page.entries {
            match entry {
                Ok((key, stored)) => restore(slot, &key, &stored, now, recovered),
                Err(damage) if recovered.alarms.len() < NAMED_MAX => {
                    recovered.alarms.push(damage.to_string());
                }
                Err(_) => {}
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

fn restore(
    slot: &Slot,
    key: &[u8],
    stored: &Stored,
    now: Timestamp,
    recovered: &mut BehindRecovered,
) {
    let Some(table) = slot.feed.table.upgrade() else { return };
    match table.restore(&saved(key, stored, now), now) {
        Ok(Restored::Stored | Restored::Newer) => recovered.entries += 1,
        Ok(Restored::Expired) => {
            recovered.expired += 1;
            slot.feed.lock().dirty.note(key, None, now);
        }
        Err(_) => {
            recovered.left_out += 1;
            slot.feed.note_away(table.hash(key), key);
        }
    }
}

/// The entry that was stored, as read at `since` at least. One whose version was chosen gets a new
/// number of the table's own.
pub(super) fn saved<'a>(key: &'a [u8], stored: &'a Stored, since: Timestamp) -> Saved<'a> {
    let (value, accessed) = value_of(stored);
    let chosen = stored.marks & CHOSEN != 0;
    let own = if chosen { 0 } else { stored.version };
    let entry = NewEntry {
        value: [value, b""],
        flags: stored.flags,
        deadline: stored.deadline,
        max_idle: stored.max_idle,
        version: chosen.then_some(stored.version),
        marks: Marks::of_bits(u32::from(stored.marks & !(CHOSEN | ACCESSED))).unwrap_or_default(),
    };
    let (epoch, seq) = (own >> SEQ_BITS, own & ((1 << SEQ_BITS) - 1));
    let accessed = accessed.max(since);
    Saved { key, entry, epoch: u32::try_from(epoch).unwrap_or(u32::MAX), seq, accessed }
}
