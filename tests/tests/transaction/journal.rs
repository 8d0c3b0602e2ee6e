//! A journal that keeps what it is told, and what it must make of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use isogrid_engine::table::Saved;
use isogrid_engine::{Change, Isolation, Journal, NewEntry, Table, Unrecorded};

use super::{get, put, table, value};

/// A change that outlives the call.
#[derive(Debug, Clone)]
enum Kept {
    Put { key: Vec<u8>, value: Vec<u8>, flags: u32, version: Option<u64>, epoch: u32, seq: u64 },
    Remove { key: Vec<u8>, seq: u64 },
    Clear,
    Transaction(Vec<Kept>),
}

/// A log in memory.
#[derive(Default)]
struct Records {
    /// The changes of each record, with the tables that they are of.
    all: Mutex<Vec<Vec<(usize, Kept)>>>,
    /// What tables have joined, for a record of several.
    joined: Mutex<Vec<(usize, Kept)>>,
    /// Whether the next record is refused.
    refuses: AtomicBool,
    publishes: bool,
}

/// The journal of one of the tables that record in it.
#[derive(Default)]
pub struct Memory {
    table: usize,
    log: Arc<Records>,
}

impl From<&Change<'_>> for Kept {
    fn from(change: &Change<'_>) -> Self {
        match *change {
            Change::Put { key, entry, epoch, seq } => Kept::Put {
                key: key.to_vec(),
                value: entry.value.concat(),
                flags: entry.flags,
                version: entry.version,
                epoch,
                seq,
            },
            Change::Remove { key, seq, .. } => Kept::Remove { key: key.to_vec(), seq },
            Change::Clear | Change::Life { .. } => Kept::Clear,
            Change::Transaction(all) => Kept::Transaction(all.iter().map(Kept::from).collect()),
        }
    }
}

impl Kept {
    fn replay(&self, table: &Table) {
        match self {
            Kept::Put { key, value, flags, version, epoch, seq } => {
                let value = [&value[..], b""];
                let entry =
                    NewEntry { value, flags: *flags, version: *version, ..NewEntry::default() };
                let saved = Saved { key, entry, epoch: *epoch, seq: *seq, accessed: 0 };
                table.replay(&saved, 0).unwrap();
            }
            Kept::Remove { key, seq } => table.replay_remove(key, *seq, 0),
            Kept::Clear => table.clear(0).unwrap(),
            Kept::Transaction(all) => all.iter().for_each(|one| one.replay(table)),
        }
    }
}

impl Memory {
    pub fn new(publishes: bool) -> Memory {
        Memory { table: 0, log: Arc::new(Records { publishes, ..Records::default() }) }
    }

    /// The journal of another table, by the place that [`Memory::replay`] has it at.
    pub fn of(&self, table: usize) -> Memory {
        Memory { table, log: Arc::clone(&self.log) }
    }

    /// How many records there are: the number of the last one.
    pub fn len(&self) -> u64 {
        self.log.all.lock().unwrap().len() as u64
    }

    pub fn refuse_next(&self) {
        self.log.refuses.store(true, Ordering::Relaxed);
    }

    /// Does everything again but the records of the numbers that were taken back.
    pub fn replay(&self, tables: &[&Table], taken_back: impl Fn(u64) -> bool) {
        let records = self.log.all.lock().unwrap();
        let numbered = (1..).zip(records.iter());
        let left = numbered.filter(|(n, _)| !taken_back(*n)).flat_map(|(_, record)| record);
        left.for_each(|(table, kept)| kept.replay(tables[*table]));
    }

    fn keep(&self, record: Vec<(usize, Kept)>) -> Result<u64, Unrecorded> {
        if self.log.refuses.swap(false, Ordering::Relaxed) {
            return Err(Unrecorded::Busy);
        }
        let mut all = self.log.all.lock().unwrap();
        all.push(record);
        Ok(all.len() as u64)
    }
}

impl Journal for Memory {
    fn record(&self, change: &Change<'_>) -> Result<u64, Unrecorded> {
        self.keep(vec![(self.table, Kept::from(change))])
    }

    fn publishes(&self) -> bool {
        self.log.publishes
    }

    fn log(&self) -> Option<usize> {
        Some(Arc::as_ptr(&self.log).addr())
    }

    /// What a record of several tables has is where it stands among all that has joined.
    fn join(&self, changes: &[Change<'_>], out: &mut Vec<u8>) -> Result<(), Unrecorded> {
        let mut joined = self.log.joined.lock().unwrap();
        out.extend_from_slice(&(joined.len() as u64).to_le_bytes());
        joined.push((self.table, Kept::from(&Change::Transaction(changes))));
        Ok(())
    }

    fn record_joined(&self, joined: &[u8]) -> Result<u64, Unrecorded> {
        let places = joined.chunks(8).map(|at| u64::from_le_bytes(at.try_into().unwrap()));
        let all = self.log.joined.lock().unwrap();
        self.keep(places.map(|at| all[usize::try_from(at).unwrap()].clone()).collect())
    }
}

/// All that readers see: value and version of each key.
pub fn contents(table: &Table) -> BTreeMap<Vec<u8>, (Vec<u8>, u64)> {
    let (mut all, mut cursor) = (BTreeMap::new(), Some(isogrid_engine::Cursor::default()));
    while let Some(at) = cursor {
        cursor = table.scan(at, 100, 0, |entry| {
            all.insert(entry.key().to_vec(), (entry.value().to_vec(), entry.version()));
        });
    }
    all
}

#[test]
fn nothing_is_seen_before_its_record_is_kept_and_all_is_taken_back_with_it() {
    for kept in [true, false] {
        let (table, journal) = (table(16), Arc::new(Memory::new(true)));
        table.set_journal(journal.clone());
        let keys: Vec<_> = (0..8_u8).map(|n| [n]).collect();
        keys.iter().for_each(|key| assert!(put(&table, key, b"old").is_ok()));
        table.publish_upto(8, 0);
        let before = contents(&table);
        let mut transaction = table.transaction(Isolation::Serializable, 0);
        keys[..6].iter().for_each(|key| transaction.put(key, &value(b"new")).unwrap());
        transaction.remove(&keys[6]).unwrap();
        transaction.put(b"another", &value(b"new")).unwrap();
        let committed = transaction.commit(0).unwrap();
        assert_eq!((committed.record, journal.len()), (Some(9), 9), "one record");
        table.publish_upto(8, 0);
        assert_eq!(contents(&table), before);
        if kept {
            table.publish_upto(9, 0);
            let after = contents(&table);
            let versions = committed.versions.iter();
            assert!(
                versions.clone().all(|(key, version)| after[key] == (b"new".to_vec(), *version))
            );
            assert_eq!((committed.versions.len(), after.len()), (7, 8));
        } else {
            table.abort_from(9, 0);
            table.publish_upto(9, 0);
            assert_eq!(contents(&table), before);
        }
    }
}

/// Says that a record is kept while the one who writes it has not come back yet.
struct Hasty {
    table: Weak<Table>,
    records: AtomicU64,
}

impl Journal for Hasty {
    fn record(&self, _: &Change<'_>) -> Result<u64, Unrecorded> {
        let record = self.records.fetch_add(1, Ordering::Relaxed) + 1;
        let table = self.table.upgrade().ok_or(Unrecorded::Failed)?;
        let publisher = std::thread::spawn(move || table.publish_upto(record, 0));
        // It ends, or it waits for the lock that is held here.
        for _ in 0..10_000 {
            if publisher.is_finished() {
                break;
            }
            std::thread::yield_now();
        }
        Ok(record)
    }

    fn publishes(&self) -> bool {
        true
    }
}

/// The publisher passed over segments in which no write waited yet, and the write that it came
/// for was not seen until the next one.
#[test]
fn a_record_that_is_kept_before_its_write_is_noted_is_published_all_the_same() {
    let becomes_visible = |table: &Table, keys: &[&[u8]]| {
        (0..1_000_000).any(|_| {
            std::thread::yield_now();
            keys.iter().all(|key| get(table, key).is_some())
        })
    };
    let table = Arc::new(table(4));
    let journal = Hasty { table: Arc::downgrade(&table), records: AtomicU64::new(0) };
    table.set_journal(Arc::new(journal));
    put(&table, b"single", b"1").unwrap();
    assert!(becomes_visible(&table, &[b"single"]));
    let mut transaction = table.transaction(Isolation::Snapshot, 0);
    let keys: [&[u8]; 3] = [b"a", b"b", b"c"];
    keys.iter().for_each(|key| transaction.put(key, &value(b"t")).unwrap());
    assert_eq!(transaction.commit(0).unwrap().record, Some(2));
    assert!(becomes_visible(&table, &keys));
}
