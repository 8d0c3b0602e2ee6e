//! Threads move money between accounts in several segments, of one table or of several: no
//! snapshot, no transaction and no replay of the journal ever sees another sum.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use isogrid_engine::env::split_mix;
use isogrid_engine::table::{Refused, publish_upto};
use isogrid_engine::{Isolation, Joint, Table, TransactionError};
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
    /// Account `n` is in the table `n` modulo their number.
    tables: Vec<Arc<Table>>,
    isolation: Isolation,
    journal: Arc<Memory>,
    publishes: bool,
    done: AtomicBool,
    conflicts: AtomicU64,
}

fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(*bytes.first_chunk().unwrap())
}

fn open_accounts(tables: usize) -> Vec<Arc<Table>> {
    let tables: Vec<_> = (0..tables).map(|_| Arc::new(table(SEGMENTS))).collect();
    for n in 0..ACCOUNTS {
        put(&tables[usize::from(n) % tables.len()], &[n], &BALANCE.to_le_bytes()).unwrap();
    }
    tables
}

impl Bank {
    fn new(tables: usize, isolation: Isolation, publishes: bool) -> Bank {
        let tables = open_accounts(tables);
        let journal = Arc::new(Memory::new(publishes));
        for (at, table) in tables.iter().enumerate() {
            table.set_journal(Arc::new(journal.of(at)));
        }
        let (done, conflicts) = (AtomicBool::new(false), AtomicU64::new(0));
        Bank { tables, isolation, journal, publishes, done, conflicts }
    }

    fn table(&self, account: u8) -> &Arc<Table> {
        &self.tables[usize::from(account) % self.tables.len()]
    }

    fn transfer(&self, draw: u64) -> Result<(), Refused> {
        let from = u8::try_from(draw % u64::from(ACCOUNTS)).unwrap();
        let to = u8::try_from((draw >> 8) % u64::from(ACCOUNTS)).unwrap();
        let mut joint = Joint::new(self.isolation, 0);
        for (account, other, gives) in [(from, to, true), (to, from, false)] {
            if account == other {
                return Ok(());
            }
            let part = joint.part(self.table(account), 0).map_err(|why| vec![(0, why)])?;
            let balance = number(&part.get(&[account], 0).unwrap().unwrap().value);
            let amount = draw >> 16 & 7;
            let balance =
                if gives { balance.wrapping_sub(amount) } else { balance.wrapping_add(amount) };
            part.put(&[account], &value(&balance.to_le_bytes())).unwrap();
        }
        if draw >> 24 & 3 == 0 {
            // Others come in between.
            std::thread::yield_now();
        }
        joint.commit(0).map(|_| ())
    }

    fn teller(&self, mut rng: u64, transfers: u64) {
        let mut left = transfers;
        while left > 0 {
            match self.transfer(split_mix(&mut rng)) {
                Ok(()) => left -= 1,
                Err(refused) => {
                    let keys = refused.iter().map(|(_, why)| match why {
                        TransactionError::Conflict { keys } => keys.len(),
                        other => panic!("{other}"),
                    });
                    assert!((1..=2).contains(&keys.sum::<usize>()));
                    self.conflicts.fetch_add(1, Ordering::Relaxed);
                    std::thread::yield_now();
                }
            }
        }
    }

    /// The log thread: what was recorded is kept.
    fn publish(&self) {
        while self.publishes && !self.done.load(Ordering::Relaxed) {
            publish_upto(&self.tables, self.journal.len(), 0);
            std::thread::yield_now();
        }
    }

    fn audit(&self) {
        let expected = u64::from(ACCOUNTS) * BALANCE;
        let mut late = false;
        while !self.done.load(Ordering::Relaxed) {
            let mut joint = Joint::new(Isolation::Snapshot, 0);
            for table in self.tables.iter().filter(|_| !late) {
                joint.part(table, 0).unwrap();
            }
            late = !late;
            let sum = (0..ACCOUNTS).try_fold(0_u64, |sum, n| {
                // Of the moment at which all had joined, or the last of them did.
                let entry = joint.part(self.table(n), 0).ok()?.get(&[n], 0).unwrap();
                Some(sum.wrapping_add(number(&entry.unwrap().value)))
            });
            assert!(
                sum.is_none_or(|sum| sum == expected),
                "half of a transaction is seen: {sum:?}"
            );
            assert!(sum.is_some() || !late, "all had joined");
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
        for (publishes, tables) in [(false, 1), (true, 1), (false, 3), (true, 3)] {
            let bank = Bank::new(tables, isolation, publishes);
            bank.run(seed, transfers);
            publish_upto(&bank.tables, bank.journal.len(), 0);
            let sum = (0..ACCOUNTS).map(|n| number(&get(bank.table(n), &[n]).unwrap()));
            assert_eq!(sum.fold(0, u64::wrapping_add), u64::from(ACCOUNTS) * BALANCE);
            let conflicts = bank.conflicts.load(Ordering::Relaxed);
            println!(
                "{tables} tables, {isolation:?}, publishes {publishes}: {conflicts} conflicts"
            );
            let fresh = open_accounts(tables);
            bank.journal.replay(&fresh.iter().map(|table| &**table).collect::<Vec<_>>(), |_| false);
            for (fresh, table) in fresh.iter().zip(&bank.tables) {
                assert_eq!(contents(fresh), contents(table), "replayed");
            }
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

/// The same over tables that were written one after the other.
#[test]
fn a_moment_of_several_tables_that_sees_a_write_sees_those_before_it() {
    let tables: Vec<_> = (0..12).map(|_| Arc::new(table(64))).collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=20_000_u64 {
                for table in &tables {
                    put(table, b"k", &round.to_le_bytes()).unwrap();
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let mut joint = Joint::new(Isolation::Snapshot, 0);
            for table in &tables {
                joint.part(table, 0).unwrap();
            }
            let rounds = tables.iter().map(|table| {
                let entry = joint.part(table, 0).unwrap().get(b"k", 0).unwrap();
                entry.map_or(0, |entry| number(&entry.value))
            });
            let rounds: Vec<_> = rounds.collect();
            assert!(rounds.is_sorted_by(|before, after| before >= after), "{rounds:?}");
        }
    });
}
