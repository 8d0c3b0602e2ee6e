//! Transactions: against a serial model, under threads, and as a journal hears of them.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests may panic, and wait for real processes"
)]

#[path = "transaction/bank.rs"]
mod bank;
#[path = "transaction/journal.rs"]
mod journal;
#[path = "transaction/kill.rs"]
mod kill;
#[path = "transaction/model.rs"]
mod model;

use isogrid_engine::{NewEntry, Table, TableConfig};

fn table(segments: u32) -> Table {
    Table::new(&TableConfig { seed: 1, segments: Some(segments), ..TableConfig::default() }, 0)
        .unwrap()
}

fn value(bytes: &[u8]) -> NewEntry<'_> {
    NewEntry { value: [bytes, b""], ..NewEntry::default() }
}

fn put(table: &Table, key: &[u8], bytes: &[u8]) -> Result<u64, isogrid_engine::Error> {
    table.pin().entry(table.hash(key), key, 0).unwrap().put(&value(bytes))
}

fn get(table: &Table, key: &[u8]) -> Option<Vec<u8>> {
    table.pin().get(table.hash(key), key, 0).map(|entry| entry.value().to_vec())
}
