//! Two tables: what one writes reaches the other as records, as entries of chunks, or as both.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::super::{Journal, NewEntry, Unrecorded};
use super::*;
use crate::config::TableConfig;
use crate::env::split_mix;

const SEGMENTS: usize = 4;

/// Records per segment; a change is seen when its record is published.
#[derive(Default)]
struct Records(Mutex<[Vec<Vec<u8>>; SEGMENTS]>);

impl Records {
    fn add(&self, segment: usize, record: Vec<u8>) -> u64 {
        let mut all = self.0.lock().unwrap();
        all[segment].push(record);
        all[segment].len() as u64
    }

    fn of(&self, segment: usize) -> Vec<Vec<u8>> {
        self.0.lock().unwrap()[segment].clone()
    }
}

impl Journal for Records {
    fn record(&self, change: &Change<'_>) -> Result<u64, Unrecorded> {
        let (Change::Put { key, .. } | Change::Remove { key, .. }) = change else {
            return Err(Unrecorded::Failed);
        };
        let mut bytes = Vec::new();
        encode_change(change, &mut bytes);
        let segment = usize::try_from(xxhash_rust::xxh64::xxh64(key, 0)).unwrap() % SEGMENTS;
        Ok(self.add(segment, bytes))
    }

    fn publishes(&self) -> bool {
        true
    }

    fn has_copies(&self) -> bool {
        true
    }
}

struct Node {
    table: Table,
    records: Arc<Records>,
}

impl Node {
    fn new(seed: u64) -> Node {
        let config = TableConfig {
            segments: Some(4),
            max_bytes: 160 << 10,
            seed,
            epoch: 3,
            ..TableConfig::default()
        };
        let table = Table::new(&config, 0).unwrap();
        let records = Arc::<Records>::default();
        table.set_journal(Arc::clone(&records) as Arc<dyn Journal>);
        Node { table, records }
    }

    fn each(&self, now: Timestamp, mut visit: impl FnMut(usize, &mut SegmentCopy<'_>)) {
        (0..SEGMENTS).for_each(|at| visit(at, &mut self.table.copy(at, now).unwrap()));
    }

    /// What readers see of the whole table.
    fn entries(&self, now: Timestamp) -> BTreeMap<Vec<u8>, (Vec<u8>, u64, Option<u64>)> {
        let pinned = self.table.pin();
        let keys = (0..KEYS).map(key);
        let get = |key: Vec<u8>| {
            let entry = pinned.get(self.table.hash(&key), &key, now)?;
            let seen = (entry.value().to_vec(), entry.version(), entry.deadline());
            Some((key, seen))
        };
        keys.filter_map(get).collect()
    }
}

const KEYS: u64 = 300;

fn key(n: u64) -> Vec<u8> {
    format!("key-{n}").into_bytes()
}

fn write(node: &Node, random: &mut u64, now: Timestamp) {
    let key = key(split_mix(random) % KEYS);
    let pinned = node.table.pin();
    let mut entry = pinned.entry(node.table.hash(&key), &key, now).unwrap();
    let value = vec![b'v'; usize::try_from(split_mix(random) % 1_500).unwrap()];
    let deadline = split_mix(random).is_multiple_of(4).then_some(now + split_mix(random) % 500);
    let new = NewEntry { value: [&value, b""], deadline, ..NewEntry::default() };
    match split_mix(random) % 8 {
        0 => drop(entry.remove().unwrap()),
        1 => {
            if let Some(old) = entry.get() {
                entry
                    .rewrite(&NewEntry {
                        value: [old.value(), b""],
                        deadline: Some(now + 900),
                        version: old.chosen_version(),
                        ..NewEntry::default()
                    })
                    .unwrap();
            }
        }
        2 => drop(entry.put(&NewEntry { version: Some(77), ..new }).unwrap()),
        _ => drop(entry.put(&new).unwrap()),
    }
}

/// A follower that comes late is filled in chunks while writes go on, follows, and leads in the
/// end: at each moment when both have the same records readers of both see the same.
struct Round<'n> {
    leader: &'n Node,
    follower: &'n Node,
    now: Timestamp,
    /// Where the next chunk of each segment begins.
    from: [Option<u64>; SEGMENTS],
    /// How many records of each segment are published.
    applied: [usize; SEGMENTS],
    gone: [BTreeMap<Vec<u8>, u64>; SEGMENTS],
}

impl Round<'_> {
    fn begin(&mut self, epoch: u32, fills: bool) {
        self.leader.each(self.now, |_, copy| copy.lead(epoch));
        self.follower.each(self.now, |_, copy| copy.follow());
        self.applied = std::array::from_fn(|at| self.leader.records.of(at).len());
        self.from = [fills.then_some(0); SEGMENTS];
        if fills {
            self.follower.each(self.now, |_, copy| copy.empty());
        }
    }

    fn write(&mut self, random: &mut u64) {
        write(self.leader, random, self.now);
        if split_mix(random).is_multiple_of(60) {
            let at = usize::try_from(split_mix(random)).unwrap() % SEGMENTS;
            let mut record = Vec::new();
            self.leader.table.copy(at, self.now).unwrap().encode_clear(&mut record);
            self.leader.records.add(at, record);
        }
        self.now += split_mix(random) % 5;
        self.leader.table.maintain(self.now, 100);
        self.follower.table.maintain(self.now, 100);
    }

    /// Publishes what is recorded on both.
    fn commit(&mut self, at: usize) {
        let records = self.leader.records.of(at);
        for (n, record) in records.iter().enumerate().skip(self.applied[at]) {
            let mut copy = self.leader.table.copy(at, self.now).unwrap();
            copy.publish_upto(n as u64 + 1);
            if SegmentCopy::is_clear(record) {
                copy.replay(record).unwrap();
            }
            drop(copy);
            removals(record, |key, seq| {
                self.gone[at].insert(key.to_vec(), seq);
            });
            self.follower.table.copy(at, self.now).unwrap().replay(record).unwrap();
        }
        self.applied[at] = records.len();
    }

    /// Gives the follower the next chunk, or all that are left.
    fn fill(&mut self, at: usize, all: bool) {
        while let Some(cursor) = self.from[at] {
            let mut chunk = Vec::new();
            let copy = self.leader.table.copy(at, self.now).unwrap();
            self.from[at] = copy.chunk(cursor, 4_096, &mut chunk);
            drop(copy);
            let gone = &self.gone[at];
            let is_gone = |key: &[u8], seq| gone.get(key).is_some_and(|gone| *gone >= seq);
            let mut copy = self.follower.table.copy(at, self.now).unwrap();
            copy.take_chunk(&chunk, &is_gone).unwrap();
            if !all {
                return;
            }
        }
    }
}

fn run(seed: u64) {
    let random = &mut seed.clone();
    let nodes = [Node::new(seed), Node::new(seed + 1)];
    let mut now = 1_000;
    for round in 0..4_u32 {
        let leads = usize::try_from(round).unwrap() % 2;
        let (leader, follower) = (&nodes[leads], &nodes[1 - leads]);
        let (from, applied, gone) = Default::default();
        let mut both = Round { leader, follower, now, from, applied, gone };
        both.begin(10 + round, round % 2 == 0);
        for step in 0..400 {
            both.write(random);
            for at in (0..SEGMENTS).filter(|_| step % 7 == 0 || step == 399) {
                both.commit(at);
                both.fill(at, step >= 300);
            }
        }
        now = both.now;
        let (ours, theirs) = (leader.entries(now), follower.entries(now));
        assert_eq!(ours, theirs, "seed {seed}, round {round}");
        assert!(ours.len() > 20);
    }
}

#[test]
fn a_copy_is_what_it_copies() {
    (0..30).for_each(run);
}

/// A chunk says up to which number its reader was, of all keys. What was written to a key of an
/// earlier chunk meanwhile, and comes later, was taken for done already, so the copy lacked it.
#[test]
fn a_chunk_may_be_ahead_of_what_is_written() {
    /// So many that they are several chunks.
    const MANY: u64 = 1_200;
    let nodes = [Node::new(1), Node::new(2)];
    let (from, applied, gone) = Default::default();
    let mut both = Round { leader: &nodes[0], follower: &nodes[1], now: 1, from, applied, gone };
    let write = |value: &[u8]| {
        for key in (0..MANY).map(key) {
            let pinned = nodes[0].table.pin();
            let mut entry = pinned.entry(nodes[0].table.hash(&key), &key, 1).unwrap();
            entry.put(&NewEntry { value: [value, b""], ..NewEntry::default() }).unwrap();
        }
    };
    both.begin(10, true);
    write(b"old");
    (0..SEGMENTS).for_each(|at| both.commit(at));
    (0..SEGMENTS).for_each(|at| both.fill(at, false));
    assert!(both.from.iter().all(Option::is_some), "there are more chunks: {:?}", both.from);
    let before = both.applied;
    write(b"new");
    for at in 0..SEGMENTS {
        let records = nodes[0].records.of(at);
        nodes[0].table.copy(at, 1).unwrap().publish_upto(records.len() as u64);
        both.fill(at, false);
        for record in &records[before[at]..] {
            nodes[1].table.copy(at, 1).unwrap().replay(record).unwrap();
        }
        both.fill(at, true);
    }
    let pinned = nodes[1].table.pin();
    let value = |key: &[u8]| Some(pinned.get(nodes[1].table.hash(key), key, 1)?.value().to_vec());
    let old: Vec<u64> = (0..MANY).filter(|n| value(&key(*n)) != Some(b"new".to_vec())).collect();
    assert_eq!(old, [] as [u64; 0]);
}

#[test]
fn a_follower_lets_nothing_go_by_itself() {
    let node = Node::new(1);
    node.each(0, |_, copy| copy.follow());
    let mut record = Vec::new();
    let new = NewEntry { value: [b"v", b""], deadline: Some(50), ..NewEntry::default() };
    encode_change(&Change::Put { key: b"k", entry: new, epoch: 9, seq: 1 }, &mut record);
    let at = node.table.hash(b"k").segment() as usize;
    node.table.copy(at, 10).unwrap().replay(&record).unwrap();
    node.table.maintain(100, 100);
    // Readers do not see it, but it is there until the primary says so.
    assert_eq!(node.table.pin().get(node.table.hash(b"k"), b"k", 100).map(|e| e.version()), None);
    assert_eq!(node.table.usage().entries, 1);
    node.table.copy(at, 100).unwrap().lead(10);
    node.table.maintain(200, 100);
    assert_eq!(node.table.usage().entries, 0);
    assert_eq!(node.records.of(at).len(), 1);
}

#[test]
fn bytes_that_are_none_are_refused() {
    let node = Node::new(1);
    let mut chunk = Vec::new();
    node.table.copy(0, 0).unwrap().chunk(0, 100, &mut chunk);
    for len in 0..chunk.len() {
        let mut copy = node.table.copy(1, 0).unwrap();
        assert_eq!(copy.take_chunk(&chunk[..len], &|_, _| false), Err(ChunkError), "{len}");
        assert_eq!(copy.replay(&[9, 9, 9][..len.min(3)]), Err(ChunkError));
    }
}
