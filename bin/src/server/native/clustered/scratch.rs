//! What a transaction over caches of the cluster sees and is to do, at the member that was asked.
//! Its entries are copied into a small table of its own, in which its requests are executed as on
//! a node alone; what comes of them is committed by the segments that the entries are from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use isogrid_engine::table::{Change, OwnedEntry, decode_change, encode_change};
use isogrid_engine::{Isolation, NewEntry, PolicyKind, Table, TableConfig, Transaction};
use isogrid_grid::Cache;
use isogrid_grid::tx::{Hold, INTENTS_BYTES};
use isogrid_wire::native::ErrorCode;

use super::nowhere;
use super::phases::{Way, read};
use crate::server::native::failure::Failure;

/// Bytes of the table: more than a transaction may hold.
const BYTES_MAX: u64 = 4 * INTENTS_BYTES as u64;

/// Entries, and what is to become of them.
pub struct Scratch {
    table: Table,
    /// The version of each entry that was looked at; 0: there was none.
    seen: BTreeMap<Vec<u8>, u64>,
    /// What is to be put, or removed.
    writes: BTreeMap<Vec<u8>, Option<OwnedEntry>>,
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

    /// Gets the entries of keys that are not known yet, from who serves them.
    ///
    /// # Errors
    /// Nobody serves some of them, or there are too many bytes.
    pub async fn learn(
        &mut self,
        way: &Way,
        cache: &Cache,
        keys: impl Iterator<Item = &[u8]> + Send,
        patience: Duration,
    ) -> Result<(), Failure> {
        let unknown = keys.filter(|key| !self.seen.contains_key(*key));
        let unknown: BTreeSet<(u32, Vec<u8>)> =
            unknown.map(|key| (cache.hash(key).segment(), key.to_vec())).collect();
        let said = read(way, &unknown, patience).await;
        let now = way.0.now().wall;
        for ((_, key), bytes) in unknown.into_iter().zip(said) {
            let bytes = bytes.ok_or_else(nowhere)?;
            let version = version(&bytes);
            if let Some(Change::Put { entry, .. }) = decode_change(&bytes) {
                let pinned = self.table.pin();
                let place = pinned.entry(self.table.hash(&key), &key, now);
                place.map(|mut place| place.put(&entry)).transpose()?;
            }
            self.seen.insert(key, version);
        }
        Ok(())
    }

    /// Executes something that sees what was done before. What it does counts if it is done.
    ///
    /// # Errors
    /// What it says.
    pub fn run<R>(
        &mut self,
        now: u64,
        act: impl FnOnce(&mut Transaction<'_>) -> Result<R, Failure>,
    ) -> Result<R, Failure> {
        let mut tx = self.table.transaction(Isolation::Serializable, now);
        for (key, write) in &self.writes {
            let again = match write {
                Some(entry) => tx.put(key, &NewEntry { version: entry.version, ..entry.as_new() }),
                None => tx.remove(key),
            };
            again.map_err(|error| super::super::tx::failed(&error))?;
        }
        let done = act(&mut tx)?;
        let writes = tx.writes().map(|(key, write)| (key.to_vec(), write.cloned()));
        self.writes = writes.collect();
        Ok(done)
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

    /// What the segments are to hold, and to write.
    ///
    /// # Errors
    /// It is too much.
    pub fn holds(&self, cache: &Cache) -> Result<Vec<(u32, Hold)>, Failure> {
        let keys: BTreeSet<&Vec<u8>> = self.seen.keys().chain(self.writes.keys()).collect();
        let hold = |key: &Vec<u8>| {
            let write = self.writes.get(key).map(|write| change(key, write.as_ref()));
            let hold = Hold { key: key.clone(), seen: self.seen(key), write };
            (cache.hash(key).segment(), hold)
        };
        let holds: Vec<(u32, Hold)> = keys.into_iter().map(hold).collect();
        let written = |(_, hold): &(u32, Hold)| hold.write.as_ref().map_or(0, Vec::len);
        let bytes: usize = holds.iter().map(written).sum();
        if bytes <= INTENTS_BYTES {
            return Ok(holds);
        }
        let why = format!(
            "{bytes} bytes are written: a transaction over the cluster writes at \
                           most {INTENTS_BYTES}"
        );
        Err(Failure::new(ErrorCode::QuotaExceeded, why).with("limit", INTENTS_BYTES.to_string()))
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

/// An entry of a scratch, kept by a transaction that is open.
pub type Kept = Arc<tokio::sync::Mutex<Scratch>>;
