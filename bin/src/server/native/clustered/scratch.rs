//! What a transaction sees of a cache of the cluster and is to do there, at the member that was asked.
//! The entries are copied into a small table of its own, in which its requests are executed as on
//! a node alone; what comes of them is committed by the segments that the entries are from.

use std::collections::{BTreeMap, BTreeSet};

use isogrid_engine::table::{Change, OwnedEntry, decode_change, encode_change};
use isogrid_engine::{Isolation, NewEntry, PolicyKind, Table, TableConfig, Transaction};
use isogrid_grid::tx::{Hold, INTENTS_BYTES};
use isogrid_wire::native::ErrorCode;

use crate::server::native::failure::Failure;
use crate::server::native::tx::failed;

/// Bytes of the table: more than a transaction may hold.
const BYTES_MAX: u64 = 4 * INTENTS_BYTES as u64;

/// What is to be put, or removed.
pub type Writes = BTreeMap<Vec<u8>, Option<OwnedEntry>>;

/// Entries, and what is to become of them.
pub struct Scratch {
    table: Table,
    /// The version of each entry that was looked at; 0: there was none.
    seen: BTreeMap<Vec<u8>, u64>,
    writes: Writes,
}

impl Scratch {
    /// Nothing is known yet.
    ///
    /// # Errors
    /// No table can be made.
    pub fn new(now: u64) -> Result<Scratch, Failure> {
        let (segments, eviction) = (Some(1), PolicyKind::None);
        let config =
            TableConfig { segments, max_bytes: BYTES_MAX, eviction, ..TableConfig::default() };
        let table = Table::new(&config, now);
        let table = table.map_err(|error| Failure::new(ErrorCode::Internal, error.to_string()))?;
        Ok(Scratch { table, seen: BTreeMap::new(), writes: BTreeMap::new() })
    }

    /// Takes what the entry of a key is, as who serves it says it.
    ///
    /// # Errors
    /// There are too many bytes.
    pub fn learn(&mut self, key: Vec<u8>, bytes: &[u8], now: u64) -> Result<(), Failure> {
        if let Some(Change::Put { entry, .. }) = decode_change(bytes) {
            let pinned = self.table.pin();
            let place = pinned.entry(self.table.hash(&key), &key, now);
            place.map(|mut place| place.put(&entry)).transpose()?;
        }
        self.seen.insert(key, version(bytes));
        Ok(())
    }

    /// A transaction that sees what was done before; what it does counts if it is [kept](Scratch::keep).
    ///
    /// # Errors
    /// What was done before has no room any more.
    pub fn begin(&self, now: u64) -> Result<Transaction<'_>, Failure> {
        let mut tx = self.table.transaction(Isolation::Serializable, now);
        for (key, write) in &self.writes {
            let again = match write {
                Some(entry) => tx.put(key, &NewEntry { version: entry.version, ..entry.as_new() }),
                None => tx.remove(key),
            };
            again.map_err(|error| failed(&error))?;
        }
        Ok(tx)
    }

    /// What a transaction writes.
    pub fn written(tx: &Transaction<'_>) -> Writes {
        tx.writes().map(|(key, write)| (key.to_vec(), write.cloned())).collect()
    }

    /// What is to be put or removed, from now on.
    pub fn keep(&mut self, writes: Writes) {
        self.writes = writes;
    }

    /// Whether anything is.
    pub fn writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// The version that a key had; `None`: nobody has looked at it.
    pub fn seen(&self, key: &[u8]) -> Option<u64> {
        self.seen.get(key).copied()
    }

    /// A client says itself what version it saw; `None`: it did not look.
    pub fn saw(&mut self, key: &[u8], version: Option<u64>) {
        match version {
            Some(version) => drop(self.seen.insert(key.to_vec(), version)),
            None => drop(self.seen.remove(key)),
        }
    }

    /// What is to be held of its keys, and written.
    pub fn holds(&self) -> impl Iterator<Item = Hold> {
        let keys: BTreeSet<&Vec<u8>> = self.seen.keys().chain(self.writes.keys()).collect();
        keys.into_iter().map(|key| {
            let write = self.writes.get(key).map(|write| change(key, write.as_ref()));
            Hold { key: key.clone(), seen: self.seen(key), write }
        })
    }

    /// The versions that keys have when it is committed, from those of their segments.
    pub fn versions(&self, of: impl Fn(&[u8]) -> u64) -> Vec<(Vec<u8>, u64)> {
        let put = self.writes.iter().filter_map(|(key, write)| Some((key, write.as_ref()?)));
        put.map(|(key, entry)| (key.clone(), entry.version.unwrap_or_else(|| of(key)))).collect()
    }
}

/// The version of an entry as who serves it says it; 0: there is none.
pub fn version(bytes: &[u8]) -> u64 {
    match decode_change(bytes) {
        Some(Change::Put { entry, .. }) => entry.version.unwrap_or(0),
        _ => 0,
    }
}

/// What is to become of a key, as its segment keeps it until then.
fn change(key: &[u8], write: Option<&OwnedEntry>) -> Vec<u8> {
    let change = match write {
        Some(entry) => {
            let entry = NewEntry { version: entry.version, ..entry.as_new() };
            Change::Put { key, entry, epoch: 0, seq: 0 }
        }
        None => Change::Remove { key, epoch: 0, seq: 0 },
    };
    let mut bytes = Vec::new();
    encode_change(&change, &mut bytes);
    bytes
}
