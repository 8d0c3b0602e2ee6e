//! Snapshots of a table that is written to: one moment, and short waits.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use isogrid_engine::disk::MemoryDisk;
use isogrid_engine::env::split_mix;
use isogrid_engine::{NewEntry, Table};

use super::*;

/// Accounts, over all segments; money only moves between them.
const ACCOUNTS: u64 = 400;
const EACH: u64 = 1_000;
const WRITERS: u64 = 3;
/// Other entries, so that a scan takes a while.
const OTHERS: u32 = 20_000;
const FILES: u64 = 5;
/// A page of a scan, with the entries that went past their line.
const PAGE_ENTRIES_MAX: u64 = 16 * 7 * 2;

fn key(account: u64) -> Vec<u8> {
    format!("account {account}").into_bytes()
}

fn balance(table: &Table, account: u64) -> u64 {
    let key = key(account);
    let pinned = table.pin();
    let entry = pinned.peek(table.hash(&key), &key, NOW).unwrap();
    u64::from_le_bytes(*entry.value().first_chunk().unwrap())
}

/// One transfer at a time: what is prepared by another holds up what is published after it.
static TRANSFERS: Mutex<()> = Mutex::new(());

/// Prepares and publishes both halves of a transfer: each writer has accounts of its own.
fn transfer(table: &Table, from: u64, to: u64, amount: u64) {
    let _alone = TRANSFERS.lock().unwrap();
    let balances = [(from, balance(table, from) - amount), (to, balance(table, to) + amount)];
    let prepared = balances.map(|(account, balance)| {
        let (key, value) = (key(account), balance.to_le_bytes());
        let new = NewEntry { value: [&value, b""], ..NewEntry::default() };
        table.pin().entry(table.hash(&key), &key, NOW).unwrap().prepare_put(&new).unwrap()
    });
    table.publish(&prepared, NOW);
}

fn move_money(table: &Table, writer: u64, stop: &AtomicBool, moved: &AtomicU64) {
    let mut rng = writer + 1;
    let account = |rng: &mut u64| split_mix(rng) % (ACCOUNTS / WRITERS) * WRITERS + writer;
    while !stop.load(Ordering::Relaxed) {
        let (from, to) = (account(&mut rng), account(&mut rng));
        let amount = split_mix(&mut rng) % 10;
        if from != to && balance(table, from) >= amount {
            transfer(table, from, to, amount);
            moved.fetch_add(1, Ordering::Relaxed);
        }
        // Plain writes between them, that come and go.
        let noise = format!("noise {}", split_mix(&mut rng) % 1_000).into_bytes();
        put_value(table, &noise, &noise);
        remove(table, &noise, NOW);
    }
}

#[test]
fn a_file_shows_one_moment_and_waits_are_short() {
    let table = filled(OTHERS);
    (0..ACCOUNTS).for_each(|n| _ = put_value(&table, &key(n), &EACH.to_le_bytes()));
    let (stop, moved) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (table, stop, moved) = (&table, &stop, &moved);
            scope.spawn(move || move_money(table, writer, stop, moved));
        }
        let disk = MemoryDisk::new();
        let written: Result<(), String> = (0..FILES).try_for_each(|n| {
            let begun = moved.load(Ordering::Relaxed);
            save(&disk, &header(), &table);
            while moved.load(Ordering::Relaxed) < begun + 100 {
                std::thread::yield_now();
            }
            check(&open(&disk)).map_err(|why| format!("file {n}: {why}"))
        });
        stop.store(true, Ordering::Relaxed);
        written.unwrap();
    });
    // Nothing of the snapshots is left behind.
    while table.maintain(NOW, 1_000) {}
    assert_eq!(contents(&table, NOW).len() as u64, ACCOUNTS + u64::from(OTHERS));
}

/// Money is neither made nor lost, and nothing that is not written to is missing.
fn check(file: &SnapshotFile) -> Result<(), String> {
    let found = records(file);
    let accounts: Vec<u64> = found
        .iter()
        .filter(|(key, _)| key.starts_with(b"account"))
        .map(|(_, seen)| u64::from_le_bytes(*seen.value.first_chunk().unwrap()))
        .collect();
    let steady = found.keys().filter(|key| key.starts_with(b"key")).count();
    let (count, sum) = (accounts.len() as u64, accounts.iter().sum::<u64>());
    match (count, sum, steady) == (ACCOUNTS, ACCOUNTS * EACH, OTHERS as usize) {
        true => Ok(()),
        false => Err(format!("{count} accounts hold {sum}, {steady} others")),
    }
}

/// A page of a scan takes the lock of a segment for about a hundred entries, however many there
/// are: between two looks at the callback a writer can come in.
#[test]
fn a_page_is_short() {
    let table = table(Some(1), 1, 1);
    (0..50_000_u32).for_each(|n| _ = put_value(&table, &n.to_le_bytes(), b"v"));
    let (snapshot, mut cursor) = (table.snapshot(NOW), Some(Default::default()));
    let (mut pages, mut all) = (0, 0);
    while let Some(at) = cursor {
        let mut page = 0;
        cursor = snapshot.scan(at, 1, NOW, |_| page += 1);
        assert!(page <= PAGE_ENTRIES_MAX, "{page} entries under one lock");
        (pages, all) = (pages + 1, all + page);
    }
    assert!(all == 50_000 && pages > 400, "{all} entries on {pages} pages");
}
