//! Threads move money between accounts in several segments: no snapshot, no transaction and no
//! replay of the journal ever sees another sum.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use isogrid_engine::env::split_mix;
use isogrid_engine::{Isolation, Table, TransactionError};
use isogrid_tests::seeds;

use super::journal::{Memory, contents};
use super::{get, put, table, value};

const ACCOUNTS: u8 = 12;
const SEGMENTS: u32 = 8;
const BALANCE: u64 = 1_000;
const THREADS: u64 = 3;
/// Transfers of each thread that are to succeed; `ISOGRID_TRANSFERS` for longer runs.
const TRANSFERS: u64 = 500;

struct Bank {
    table: Table,
    isolation: Isolation,
    journal: Arc<Memory>,
    publishes: bool,
    done: AtomicBool,
    conflicts: AtomicU64,
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().unwrap())
}

fn open_accounts(table: &Table) {
    for n in 0..ACCOUNTS {
        put(table, &[n], &BALANCE.to_le_bytes()).unwrap();
    }
}

impl Bank {
    fn new(isolation: Isolation, publishes: bool) -> Bank {
        let table = table(SEGMENTS);
        open_accounts(&table);
        let journal = Arc::new(Memory::new(publishes));
        table.set_journal(journal.clone());
        let (done, conflicts) = (AtomicBool::new(false), AtomicU64::new(0));
        Bank { table, isolation, journal, publishes, done, conflicts }
    }

    fn transfer(&self, draw: u64) -> Result<(), TransactionError> {
        let from = u8::try_from(draw % u64::from(ACCOUNTS)).unwrap();
        let to = u8::try_from((draw >> 8) % u64::from(ACCOUNTS)).unwrap();
        let mut transaction = self.table.transaction(self.isolation, 0);
        for (account, other, gives) in [(from, to, true), (to, from, false)] {
            if account == other {
                return Ok(());
            }
            let balance = number(&transaction.get(&[account], 0)?.unwrap().value);
            let amount = draw >> 16 & 7;
            let balance =
                if gives { balance.wrapping_sub(amount) } else { balance.wrapping_add(amount) };
            transaction.put(&[account], &value(&balance.to_le_bytes()))?;
        }
        if draw >> 24 & 3 == 0 {
            // Others come in between.
            std::thread::yield_now();
        }
        transaction.commit(0).map(|_| ())
    }

    fn teller(&self, mut rng: u64, transfers: u64) {
        let mut left = transfers;
        while left > 0 {
            match self.transfer(split_mix(&mut rng)) {
                Ok(()) => left -= 1,
                Err(TransactionError::Conflict { keys }) => {
                    assert!(!keys.is_empty() && keys.len() <= 2);
                    self.conflicts.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// The log thread: what was recorded is kept.
    fn publish(&self) {
        while self.publishes && !self.done.load(Ordering::Relaxed) {
            self.table.publish_upto(self.journal.len(), 0);
            std::thread::yield_now();
        }
    }

    fn audit(&self) {
        let expected = u64::from(ACCOUNTS) * BALANCE;
        while !self.done.load(Ordering::Relaxed) {
            let snapshot = self.table.snapshot(0);
            let pinned = self.table.pin();
            let balance = |n: u8| {
                let entry = snapshot.get(&pinned, self.table.hash(&[n]), &[n], 0);
                number(entry.unwrap().value())
            };
            let sum = (0..ACCOUNTS).map(balance).fold(0, u64::wrapping_add);
            assert_eq!(sum, expected, "a snapshot sees half of a transaction");
        }
    }

    fn run(&self, seed: u64, transfers: u64) {
        std::thread::scope(|scope| {
            let aside = [scope.spawn(|| self.publish()), scope.spawn(|| self.audit())];
            let tellers: Vec<_> = (0..THREADS)
                .map(|n| scope.spawn(move || self.teller(seed * THREADS + n, transfers)))
                .collect();
            let results: Vec<_> = tellers.into_iter().map(|teller| teller.join()).collect();
            self.done.store(true, Ordering::Relaxed);
            let aside = aside.into_iter().map(|one| one.join());
            results.into_iter().chain(aside).for_each(|result| result.unwrap());
        });
    }
}

#[test]
fn the_sum_of_all_accounts_is_the_same_in_every_snapshot() {
    let transfers = seeds::number("ISOGRID_TRANSFERS", TRANSFERS);
    let seed = seeds::number("ISOGRID_SEED", 0);
    println!("{}", seeds::replay("transaction::the_sum", seed));
    for isolation in [Isolation::Snapshot, Isolation::Serializable] {
        for publishes in [false, true] {
            let bank = Bank::new(isolation, publishes);
            bank.run(seed, transfers);
            bank.table.publish_upto(bank.journal.len(), 0);
            let sum = (0..ACCOUNTS).map(|n| number(&get(&bank.table, &[n]).unwrap()));
            assert_eq!(sum.fold(0, u64::wrapping_add), u64::from(ACCOUNTS) * BALANCE);
            let conflicts = bank.conflicts.load(Ordering::Relaxed);
            println!("{isolation:?}, publishes {publishes}: {conflicts} conflicts");
            let fresh = table(SEGMENTS);
            open_accounts(&fresh);
            bank.journal.replay(&fresh, |_| false);
            assert_eq!(contents(&fresh), contents(&bank.table), "replayed");
        }
    }
}

/// A snapshot took the segments' watermarks one by one, and saw a write without the one before it.
#[test]
fn a_snapshot_that_sees_a_write_sees_those_before_it() {
    let (table, done) = (table(64), AtomicBool::new(false));
    let keys: Vec<_> = (0..32_u8).map(|n| [n]).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=1_000_u64 {
                keys.iter().for_each(|key| assert!(put(&table, key, &round.to_le_bytes()).is_ok()));
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let (snapshot, pinned) = (table.snapshot(0), table.pin());
            let round = |key: &[u8]| {
                let entry = snapshot.get(&pinned, table.hash(key), key, 0);
                entry.map_or(0, |entry| number(entry.value()))
            };
            let rounds: Vec<_> = keys.iter().map(|key| round(key)).collect();
            assert!(rounds.is_sorted_by(|before, after| before >= after), "{rounds:?}");
        }
    });
}
