//! Interleaved transactions and single writes, in one table or in several with one log, against a
//! naive model: each key has the list of its changes, numbered in the order in which they were done.

use std::collections::BTreeMap;
use std::sync::Arc;

use isogrid_engine::table::publish_upto;
use isogrid_engine::{Error, Isolation, Joint, Table, TransactionError, Unrecorded};
use isogrid_tests::seeds;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::journal::{Memory, contents};
use super::{table, value};

const KEYS: u8 = 6;
const OPEN_MAX: usize = 4;

#[derive(Debug, Clone)]
enum Op {
    Begin(Isolation),
    Get(usize, u8),
    Put(usize, u8, u8),
    Remove(usize, u8),
    Commit(usize),
    Rollback(usize),
    SinglePut(u8, u8),
    SingleRemove(u8),
    /// Of the table of this key.
    Clear(u8),
    Maintain,
    /// The journal has kept all but so many of its records.
    Publish(u64),
    /// The journal has lost its last records, so many of those that wait.
    Lose(u64),
    /// The journal refuses the next record.
    Refuse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    NoJournal,
    Journal,
    Publishing,
}

fn op() -> impl Strategy<Value = Op> {
    let (t, k, v) = (0..OPEN_MAX, 0..KEYS, 0..=255_u8);
    let isolation = prop_oneof![Just(Isolation::Snapshot), Just(Isolation::Serializable)];
    prop_oneof![
        4 => isolation.prop_map(Op::Begin),
        6 => (t.clone(), k.clone()).prop_map(|(t, k)| Op::Get(t, k)),
        6 => (t.clone(), k.clone(), v.clone()).prop_map(|(t, k, v)| Op::Put(t, k, v)),
        3 => (t.clone(), k.clone()).prop_map(|(t, k)| Op::Remove(t, k)),
        5 => t.clone().prop_map(Op::Commit),
        1 => t.prop_map(Op::Rollback),
        4 => (k.clone(), v).prop_map(|(k, v)| Op::SinglePut(k, v)),
        2 => k.clone().prop_map(Op::SingleRemove),
        1 => k.prop_map(Op::Clear),
        2 => Just(Op::Maintain),
        5 => (0..3_u64).prop_map(Op::Publish),
        1 => (1..4_u64).prop_map(Op::Lose),
        1 => Just(Op::Refuse),
    ]
}

/// What a key was from a change on.
type History = Vec<(u64, Option<Vec<u8>>)>;

struct Open {
    joint: Joint,
    /// The tables that have joined.
    tables: Vec<usize>,
    isolation: Isolation,
    /// The last change that it sees.
    sees: u64,
    reads: BTreeMap<u8, Option<Vec<u8>>>,
    writes: BTreeMap<u8, Option<Vec<u8>>>,
}

struct Run {
    /// A key is in the table `key` modulo their number.
    tables: Vec<Arc<Table>>,
    journal: Arc<Memory>,
    mode: Mode,
    keys: BTreeMap<u8, History>,
    /// The last change, and the last that readers see.
    last: u64,
    seen: u64,
    lost: Vec<std::ops::Range<u64>>,
    refuses: bool,
    open: Vec<Open>,
}

type Checked = Result<(), TestCaseError>;

impl Run {
    fn new(tables: Vec<Arc<Table>>, mode: Mode) -> Self {
        let journal = Arc::new(Memory::new(mode == Mode::Publishing));
        for (at, table) in tables.iter().enumerate().filter(|_| mode != Mode::NoJournal) {
            table.set_journal(Arc::new(journal.of(at)));
        }
        let (keys, open, lost) = (BTreeMap::new(), Vec::new(), Vec::new());
        Run { tables, journal, mode, keys, last: 0, seen: 0, lost, refuses: false, open }
    }

    fn place(&self, key: u8) -> usize {
        usize::from(key) % self.tables.len()
    }

    fn table(&self, key: u8) -> Arc<Table> {
        Arc::clone(&self.tables[self.place(key)])
    }

    /// The change that made a key what it was after another one; `None`: it was not there.
    fn made_by(&self, key: u8, change: u64) -> Option<u64> {
        let history = self.keys.get(&key)?.iter().rev();
        let (number, value) = history.clone().find(|(number, _)| *number <= change)?;
        value.as_ref().map(|_| *number)
    }

    /// A key as it was after a change.
    fn at(&self, key: u8, change: u64) -> Option<Vec<u8>> {
        let history = self.keys.get(&key)?;
        history.iter().rev().find(|(number, _)| *number <= change)?.1.clone()
    }

    fn changed_after(&self, key: u8, change: u64) -> bool {
        let last = self.keys.get(&key).and_then(|history| history.last());
        last.is_some_and(|(number, _)| *number > change)
    }

    /// Does these changes in one step; what does nothing is none.
    fn change(&mut self, writes: impl IntoIterator<Item = (u8, Option<Vec<u8>>)>) -> bool {
        let newest = |key: u8, run: &Self| run.at(key, u64::MAX);
        let writes: Vec<_> = writes
            .into_iter()
            .filter(|(key, new)| new.is_some() || newest(*key, self).is_some())
            .collect();
        if writes.is_empty() {
            return false;
        }
        self.last += 1;
        for (key, new) in writes {
            self.keys.entry(key).or_default().push((self.last, new));
        }
        if self.mode != Mode::Publishing {
            self.seen = self.last;
        }
        true
    }

    fn has_effect(&self, writes: &BTreeMap<u8, Option<Vec<u8>>>) -> bool {
        writes.iter().any(|(key, new)| new.is_some() || self.at(*key, u64::MAX).is_some())
    }

    /// Whether the journal refuses a change that has an effect, and that it does so once.
    fn is_refused(&mut self, has_effect: bool) -> bool {
        self.mode != Mode::NoJournal && has_effect && std::mem::take(&mut self.refuses)
    }

    fn step(&mut self, op: &Op) -> Checked {
        match *op {
            Op::Begin(isolation) => self.begin(isolation),
            Op::Get(t, key) => return self.get(t, key),
            Op::Put(t, key, v) => return self.write(t, key, Some(vec![v, v])),
            Op::Remove(t, key) => return self.write(t, key, None),
            Op::Commit(t) if t < self.open.len() => return self.commit(t),
            Op::Rollback(t) if t < self.open.len() => drop(self.open.remove(t)),
            Op::SinglePut(key, v) => return self.single(key, Some(vec![v])),
            Op::SingleRemove(key) => return self.single(key, None),
            Op::Clear(key) => return self.clear(key),
            Op::Maintain => {
                self.tables.iter().for_each(|table| {
                    table.maintain(0, 100);
                });
            }
            Op::Publish(but) if self.mode == Mode::Publishing => {
                self.seen = self.seen.max(self.last.saturating_sub(but));
                publish_upto(&self.tables, self.seen, 0);
            }
            Op::Lose(count) if self.mode == Mode::Publishing => self.lose(count),
            Op::Refuse if self.mode != Mode::NoJournal => {
                self.refuses = true;
                self.journal.refuse_next();
            }
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, isolation: Isolation) {
        if self.open.len() < OPEN_MAX {
            let (joint, tables) = (Joint::new(isolation, 0), Vec::new());
            let (reads, writes) = (BTreeMap::new(), BTreeMap::new());
            self.open.push(Open { joint, tables, isolation, sees: self.seen, reads, writes });
        }
    }

    /// Lets the table of a key join; whether it has.
    fn join(&mut self, t: usize, key: u8) -> Result<bool, TestCaseError> {
        let (table, place, seen) = (self.table(key), self.place(key), self.seen);
        let Some(open) = self.open.get(t) else { return Ok(false) };
        if open.tables.contains(&place) {
            return Ok(true);
        }
        let read = open.reads.keys().copied();
        let changed = |key: &u8| self.made_by(*key, open.sees) != self.made_by(*key, seen);
        let mut changed: Vec<u8> = read.filter(changed).collect();
        let at = |key: &u8| (open.tables.iter().position(|at| *at == self.place(*key)), *key);
        changed.sort_by_key(at);
        let Some(open) = self.open.get_mut(t) else { return Ok(false) };
        let joined = open.joint.part(&table, 0).map(drop);
        if changed.is_empty() {
            prop_assert_eq!(joined, Ok(()), "table {} in transaction {}", place, t);
            open.tables.push(place);
            open.sees = seen;
            return Ok(true);
        }
        let keys = changed.into_iter().map(|key| vec![key]).collect();
        prop_assert_eq!(joined, Err(TransactionError::Conflict { keys }));
        Ok(false)
    }

    fn write(&mut self, t: usize, key: u8, new: Option<Vec<u8>>) -> Checked {
        if !self.join(t, key)? {
            return Ok(());
        }
        let table = self.table(key);
        let Some(open) = self.open.get_mut(t) else { return Ok(()) };
        let part = open.joint.part(&table, 0).unwrap();
        match &new {
            Some(bytes) => part.put(&[key], &value(bytes)).unwrap(),
            None => part.remove(&[key]).unwrap(),
        }
        open.writes.insert(key, new);
        Ok(())
    }

    fn get(&mut self, t: usize, key: u8) -> Checked {
        if !self.join(t, key)? {
            return Ok(());
        }
        let Some(sees) = self.open.get(t).map(|open| open.sees) else { return Ok(()) };
        let (table, snapshot) = (self.table(key), self.at(key, sees));
        let Some(open) = self.open.get_mut(t) else { return Ok(()) };
        let expected = open.writes.get(&key).cloned().unwrap_or_else(|| {
            open.reads.insert(key, snapshot.clone());
            snapshot
        });
        let part = open.joint.part(&table, 0).unwrap();
        let got = part.get(&[key], 0).unwrap().map(|entry| entry.value.to_vec());
        prop_assert_eq!(got, expected, "key {} in transaction {}", key, t);
        Ok(())
    }

    fn commit(&mut self, t: usize) -> Checked {
        let Open { joint, tables, isolation, sees, reads, writes } = self.open.remove(t);
        let mut checked: Vec<u8> = writes.keys().copied().collect();
        if isolation == Isolation::Serializable {
            checked.extend(reads.keys());
        }
        checked.sort_unstable();
        checked.dedup();
        checked.retain(|key| self.changed_after(*key, sees));
        let before = self.journal.len();
        let result = joint.commit(0);
        if !checked.is_empty() {
            let of = |place: usize| {
                let keys = checked.iter().filter(|key| self.place(**key) == place);
                let keys: Vec<_> = keys.map(|key| vec![*key]).collect();
                (!keys.is_empty()).then_some(TransactionError::Conflict { keys })
            };
            let refused =
                tables.iter().enumerate().filter_map(|(at, place)| Some((at, of(*place)?)));
            prop_assert_eq!(result, Err(refused.collect()));
            prop_assert_eq!(self.journal.len(), before);
            return Ok(());
        }
        let has_effect = self.has_effect(&writes);
        if self.is_refused(has_effect) {
            let why = result.map_err(|refused| refused.into_iter().map(|(_, why)| why).collect());
            let refused = TransactionError::Refused(Error::Unrecorded(Unrecorded::Busy));
            prop_assert_eq!(why, Err(vec![refused]));
            return Ok(());
        }
        let committed = result.map_err(|why| TestCaseError::fail(format!("{why:?}")))?;
        if isolation == Isolation::Serializable {
            // Done at once, here, it would have read the same.
            for (key, read) in &reads {
                prop_assert_eq!(read, &self.at(*key, u64::MAX), "key {} was read", key);
            }
        }
        for (done, place) in committed.iter().zip(&tables) {
            let own = writes.iter().filter(|(key, _)| self.place(**key) == *place);
            let own: BTreeMap<_, _> = own.map(|(key, new)| (*key, new.clone())).collect();
            let puts = own.iter().filter(|(_, new)| new.is_some()).map(|(key, _)| vec![*key]);
            let named: Vec<_> = done.versions.iter().map(|(key, _)| key.clone()).collect();
            prop_assert_eq!(named, puts.collect::<Vec<_>>());
            let recorded = self.has_effect(&own) && self.mode != Mode::NoJournal;
            prop_assert_eq!(done.record, recorded.then_some(before + 1));
        }
        self.change(writes);
        let recorded = has_effect && self.mode != Mode::NoJournal;
        prop_assert_eq!(self.journal.len(), before + u64::from(recorded), "one record");
        Ok(())
    }

    fn single(&mut self, key: u8, new: Option<Vec<u8>>) -> Checked {
        let (there, table) = (self.at(key, u64::MAX).is_some(), self.table(key));
        let (bytes, pinned) = ([key], table.pin());
        let mut entry = pinned.entry(table.hash(&bytes), &bytes, 0).unwrap();
        let done = match &new {
            Some(bytes) => entry.put(&value(bytes)).map(|_| true),
            None => entry.remove(),
        };
        let has_effect = there || new.is_some();
        if self.is_refused(has_effect) {
            prop_assert_eq!(done, Err(Error::Unrecorded(Unrecorded::Busy)));
        } else {
            prop_assert_eq!(done, Ok(has_effect));
            self.change([(key, new)]);
        }
        Ok(())
    }

    /// A clear is not published: it is kept out of what waits for a record.
    fn clear(&mut self, key: u8) -> Checked {
        if self.mode == Mode::Publishing {
            return Ok(());
        }
        let (table, place) = (self.table(key), self.place(key));
        let done = table.clear(0);
        if self.is_refused(true) {
            prop_assert!(done.is_err());
        } else {
            prop_assert_eq!(done, Ok(()));
            let own: Vec<_> = (0..KEYS).filter(|key| self.place(*key) == place).collect();
            self.change(own.into_iter().map(|key| (key, None)));
        }
        Ok(())
    }

    fn lose(&mut self, count: u64) {
        let first = (self.seen + 1).max((self.last + 1).saturating_sub(count));
        self.tables.iter().for_each(|table| table.abort_from(first, 0));
        self.lost.push(first..self.last + 1);
        for history in self.keys.values_mut() {
            history.retain(|(number, _)| *number < first);
        }
    }

    /// What readers see of all keys.
    fn check(&self) -> Checked {
        let seen: Vec<_> = self.tables.iter().map(|table| contents(table)).collect();
        for key in 0..KEYS {
            let value = seen[self.place(key)].get(&vec![key]).map(|(value, _)| value.clone());
            prop_assert_eq!(value, self.at(key, self.seen), "key {}", key);
        }
        Ok(())
    }

    fn finish(mut self, fresh: &[Arc<Table>]) -> Checked {
        self.open.clear();
        publish_upto(&self.tables, self.last, 0);
        self.seen = self.last;
        self.check()?;
        if self.mode != Mode::NoJournal {
            let lost = |record: u64| self.lost.iter().any(|range| range.contains(&record));
            self.journal.replay(&fresh.iter().map(|table| &**table).collect::<Vec<_>>(), lost);
            for (fresh, table) in fresh.iter().zip(&self.tables) {
                prop_assert_eq!(contents(fresh), contents(table), "replayed");
            }
        }
        Ok(())
    }
}

#[test]
fn transactions_are_their_model() {
    let mode = prop_oneof![Just(Mode::NoJournal), Just(Mode::Journal), Just(Mode::Publishing)];
    let histories = (mode, 0..4_u32, 1..4_usize, prop::collection::vec(op(), 1..80));
    let name = "transaction::model::transactions_are_their_model";
    seeds::check(name, &histories, |(mode, segments, count, ops)| {
        let tables = || (0..*count).map(|_| Arc::new(table(1 << segments))).collect::<Vec<_>>();
        let (mut run, fresh) = (Run::new(tables(), *mode), tables());
        for op in ops {
            run.step(op)?;
            run.check()?;
        }
        run.finish(&fresh)
    });
}
