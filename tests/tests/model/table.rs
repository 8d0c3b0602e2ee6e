//! The engine's table against the naive one, with time as an argument.

use std::collections::{BTreeMap, BTreeSet};

use isogrid_engine::{
    Cursor, Marks, PolicyKind, Prepared, Snapshot, Table, TableConfig, Timestamp,
};
use isogrid_tests::model::table::{self as model, Bytes, Item, Mark, Seen, Ticket};
use isogrid_tests::seeds;
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

/// When every table is made.
const START: Timestamp = 1_000_000;
/// A wheel fires less than this after a deadline.
const TICK_MS: u64 = 32;
/// A deadline that is not reached.
const FAR_MS: u64 = 1 << 40;

#[derive(Debug, Clone)]
enum Op {
    Put(u8, New),
    PreparePut(u8, New),
    Remove(u8),
    PrepareRemove(u8),
    /// Publishes so many of the prepared writes, from this one on.
    Publish(usize, usize),
    Abort(usize),
    Rewrite(u8, New),
    Get(u8),
    Peek(u8),
    /// As a writer sees it.
    Look(u8),
    Clear,
    Advance(u64),
    Maintain(usize),
    Open,
    Close(usize),
    ReadAt(usize, u8),
    /// One more page of the snapshot's own scan.
    ScanAt(usize, usize),
    /// The whole table in pages.
    Scan(usize),
    /// Many keys at once, so that the index grows and shrinks.
    PutRange(u8, u8),
    RemoveRange(u8, u8),
}

/// What a write stores, times from now on.
#[derive(Debug, Clone)]
struct New {
    fill: u8,
    len: usize,
    flags: u32,
    ttl: Option<u64>,
    max_idle: Option<u32>,
    chosen: Option<u64>,
    marks: u8,
}

impl New {
    fn item(&self, now: Timestamp) -> Item {
        let all = [Marks::STALE, Marks::LEASED, Marks::BINARY_KEY];
        let chosen = (0..3).filter(|bit| self.marks & 1 << bit != 0).map(|bit| all[bit]);
        Item {
            value: Bytes(vec![self.fill; self.len]),
            flags: self.flags,
            deadline: self.ttl.map(|ttl| now + ttl),
            max_idle: self.max_idle,
            chosen: self.chosen,
            marks: chosen.fold(Marks::default(), Marks::with),
        }
    }

    fn plain(fill: u8) -> New {
        let (len, flags, marks) = (usize::from(fill) % 9, 0, 0);
        New { fill, len, flags, ttl: None, max_idle: None, chosen: None, marks }
    }
}

/// Different lengths, the long form of a header among them.
fn key(n: u8) -> Vec<u8> {
    vec![n; if n % 7 == 3 { 300 } else { 1 + usize::from(n) % 5 }]
}

fn new() -> impl Strategy<Value = New> {
    let len = prop_oneof![8 => 0..40usize, 1 => 60_000..70_000usize, 1 => 16_380..16_390usize];
    let ttl = prop_oneof![6 => 1..300u64, 2 => 1..100_000u64, 1 => Just(FAR_MS), 1 => Just(0)];
    let idle = prop_oneof![4 => 1..300u32, 1 => Just(0x7fff_ffffu32)];
    let flags = prop_oneof![Just(0), any::<u32>()];
    let parts = (weighted(0.4, ttl), weighted(0.2, idle), weighted(0.2, 1..1_000u64));
    (any::<u8>(), len, flags, parts, prop_oneof![3 => Just(0u8), 1 => 0..8u8]).prop_map(
        |(fill, len, flags, (ttl, max_idle, chosen), marks)| New {
            fill,
            len,
            flags,
            ttl,
            max_idle,
            chosen,
            marks,
        },
    )
}

fn op(keys: u8) -> impl Strategy<Value = Op> {
    let any = 0..usize::MAX;
    let k = 0..keys;
    let many = if keys > 50 { 4 } else { 1 };
    prop_oneof![
        12 => (k.clone(), new()).prop_map(|(k, new)| Op::Put(k, new)),
        6 => (k.clone(), new()).prop_map(|(k, new)| Op::PreparePut(k, new)),
        5 => k.clone().prop_map(Op::Remove),
        3 => k.clone().prop_map(Op::PrepareRemove),
        6 => (any.clone(), 1..4usize).prop_map(|(at, n)| Op::Publish(at, n)),
        2 => any.clone().prop_map(Op::Abort),
        3 => (k.clone(), new()).prop_map(|(k, new)| Op::Rewrite(k, new)),
        8 => k.clone().prop_map(Op::Get),
        4 => k.clone().prop_map(Op::Peek),
        3 => k.clone().prop_map(Op::Look),
        1 => Just(Op::Clear),
        6 => prop_oneof![4 => 1..200u64, 2 => 200..5_000u64, 1 => 0..200_000u64]
            .prop_map(Op::Advance),
        6 => prop_oneof![Just(1), Just(3), Just(1_000)].prop_map(Op::Maintain),
        3 => Just(Op::Open),
        2 => any.clone().prop_map(Op::Close),
        5 => (any.clone(), k).prop_map(|(at, k)| Op::ReadAt(at, k)),
        3 => (any, 1..5usize).prop_map(|(at, page)| Op::ScanAt(at, page)),
        1 => (1..9usize).prop_map(Op::Scan),
        many => (0..keys, 0..keys).prop_map(|(from, n)| Op::PutRange(from, n)),
        many => (0..keys, 0..keys).prop_map(|(from, n)| Op::RemoveRange(from, n)),
    ]
}

/// An open snapshot and what the model knows of it.
struct Open<'t> {
    snapshot: Snapshot<'t>,
    marks: Vec<Mark>,
    /// Keys that expired since: they may have left the snapshot.
    loose: BTreeSet<Vec<u8>>,
    cursor: Option<Cursor>,
    scanned: BTreeSet<Vec<u8>>,
}

/// The table, its model, and what is under way.
struct Run<'t> {
    table: &'t Table,
    model: model::Table,
    now: Timestamp,
    prepared: Vec<(Prepared, Ticket)>,
    snapshots: Vec<Open<'t>>,
    /// The last version of each key that the table chose itself.
    last: BTreeMap<u8, u64>,
}

type Checked = Result<(), TestCaseError>;

impl<'t> Run<'t> {
    fn new(table: &'t Table) -> Self {
        let segments = u32::try_from(table.segment_count()).unwrap();
        let (model, prepared) = (model::Table::new(segments), Vec::new());
        let (snapshots, last) = (Vec::new(), BTreeMap::new());
        Run { table, model, now: START, prepared, snapshots, last }
    }

    fn step(&mut self, op: &Op) -> Checked {
        match *op {
            Op::Put(k, ref new) => self.put(k, new, true),
            Op::PreparePut(k, ref new) => self.put(k, new, false),
            Op::Remove(k) => self.remove(k),
            Op::PrepareRemove(k) => self.prepare_remove(k),
            Op::Publish(at, count) => self.publish(at, count),
            Op::Abort(at) => self.abort(at),
            Op::Rewrite(k, ref new) => self.rewrite(k, new),
            Op::Get(k) => self.get(k),
            Op::Peek(k) => self.peek(k),
            Op::Look(k) => self.look(k),
            Op::Clear => self.clear(),
            Op::Advance(ms) => self.advance(ms),
            Op::Maintain(budget) => self.maintain(budget),
            Op::Open => self.open(),
            Op::Close(at) => self.close(at),
            Op::ReadAt(at, k) => self.read_at(at, k),
            Op::ScanAt(at, page) => self.scan_at(at, page),
            Op::Scan(page) => self.scan(page),
            Op::PutRange(from, n) => self.range(from, n, |run, k| run.put(k, &New::plain(k), true)),
            Op::RemoveRange(from, n) => self.range(from, n, Self::remove),
        }
    }

    fn range(&mut self, from: u8, n: u8, step: impl Fn(&mut Self, u8) -> Checked) -> Checked {
        (from..from.saturating_add(n)).try_for_each(|k| step(self, k))
    }

    fn put(&mut self, k: u8, new: &New, visible: bool) -> Checked {
        let (key, item) = (key(k), new.item(self.now));
        let pinned = self.table.pin();
        let mut entry = pinned.entry(self.table.hash(&key), &key, self.now).unwrap();
        let prepared = if visible { None } else { Some(entry.prepare_put(&item.entry()).unwrap()) };
        let version = match &prepared {
            Some(prepared) => prepared.version,
            None => entry.put(&item.entry()).unwrap(),
        };
        drop(entry);
        match item.chosen {
            Some(chosen) => prop_assert_eq!(version, chosen),
            None => self.rises(k, version)?,
        }
        let ticket = self.model.put(&key, item, version, visible, self.now);
        self.prepared.extend(prepared.map(|prepared| (prepared, ticket)));
        Ok(())
    }

    /// The table's own versions of a key rise with each write.
    fn rises(&mut self, k: u8, version: u64) -> Checked {
        let last = self.last.insert(k, version).unwrap_or(0);
        prop_assert!(version > last, "key {}: version {} after {}", k, version, last);
        prop_assert_eq!(version >> 40, 1);
        Ok(())
    }

    fn remove(&mut self, k: u8) -> Checked {
        let key = key(k);
        let pinned = self.table.pin();
        let real = pinned.entry(self.table.hash(&key), &key, self.now).unwrap().remove().unwrap();
        let model = self.model.remove(&key, true, self.now);
        prop_assert_eq!(real, model.is_some(), "remove {}", k);
        Ok(())
    }

    fn prepare_remove(&mut self, k: u8) -> Checked {
        let key = key(k);
        let pinned = self.table.pin();
        let real =
            pinned.entry(self.table.hash(&key), &key, self.now).unwrap().prepare_remove().unwrap();
        let model = self.model.remove(&key, false, self.now);
        prop_assert_eq!(real.is_some(), model.is_some(), "prepare to remove {}", k);
        self.prepared.extend(real.zip(model));
        real.map_or(Ok(()), |prepared| self.rises(k, prepared.version))
    }

    fn publish(&mut self, at: usize, count: usize) -> Checked {
        let mut chosen = Vec::new();
        while chosen.len() < count && !self.prepared.is_empty() {
            chosen.push(self.prepared.remove(at % self.prepared.len()));
        }
        let writes: Vec<_> = chosen.iter().map(|(prepared, _)| *prepared).collect();
        self.table.publish(&writes, self.now);
        chosen.iter().for_each(|(_, ticket)| self.model.publish(*ticket));
        Ok(())
    }

    fn abort(&mut self, at: usize) -> Checked {
        if self.prepared.is_empty() {
            return Ok(());
        }
        let (prepared, ticket) = self.prepared.remove(at % self.prepared.len());
        self.table.abort(&[prepared], self.now);
        self.model.abort(ticket);
        let model = &self.model;
        self.prepared.retain(|(_, ticket)| model.waits(*ticket));
        Ok(())
    }

    fn rewrite(&mut self, k: u8, new: &New) -> Checked {
        let key = key(k);
        let pinned = self.table.pin();
        let mut entry = pinned.entry(self.table.hash(&key), &key, self.now).unwrap();
        let chosen = entry.get().and_then(|entry| entry.chosen_version());
        let item = Item { chosen, ..new.item(self.now) };
        entry.rewrite(&item.entry()).unwrap();
        self.model.rewrite(&key, item, self.now);
        Ok(())
    }

    fn get(&mut self, k: u8) -> Checked {
        let (key, now) = (key(k), self.now);
        let pinned = self.table.pin();
        let real = pinned.get(self.table.hash(&key), &key, now);
        let real = real.map(|e| (Seen::from(e), e.was_fetched(), e.idle_seconds(now)));
        let seconds = |at: Timestamp| u32::try_from((at - START) / 1_000).unwrap();
        let model = self.model.get(&key, now);
        let model = model.map(|(seen, fetched, at)| (seen, fetched, seconds(now) - seconds(at)));
        prop_assert_eq!(real, model, "get {}", k);
        Ok(())
    }

    fn peek(&mut self, k: u8) -> Checked {
        let key = key(k);
        let pinned = self.table.pin();
        let real = pinned.peek(self.table.hash(&key), &key, self.now).map(Seen::from);
        prop_assert_eq!(real, self.model.peek(&key, self.now), "peek {}", k);
        Ok(())
    }

    fn look(&mut self, k: u8) -> Checked {
        let key = key(k);
        let pinned = self.table.pin();
        let mut entry = pinned.entry(self.table.hash(&key), &key, self.now).unwrap();
        prop_assert_eq!(entry.get().map(Seen::from), self.model.look(&key, self.now), "look {}", k);
        Ok(())
    }

    fn clear(&mut self) -> Checked {
        self.table.clear(self.now).unwrap();
        self.model.clear();
        Ok(())
    }

    fn advance(&mut self, ms: u64) -> Checked {
        self.now += ms;
        Ok(())
    }

    fn maintain(&mut self, budget: usize) -> Checked {
        self.table.maintain(self.now, budget);
        Ok(())
    }

    fn open(&mut self) -> Checked {
        self.snapshots.push(Open {
            snapshot: self.table.snapshot(self.now),
            marks: self.model.marks(),
            loose: BTreeSet::new(),
            cursor: Some(Cursor::default()),
            scanned: BTreeSet::new(),
        });
        Ok(())
    }

    fn close(&mut self, at: usize) -> Checked {
        if !self.snapshots.is_empty() {
            self.snapshots.swap_remove(at % self.snapshots.len());
        }
        Ok(())
    }

    fn read_at(&mut self, at: usize, k: u8) -> Checked {
        let Some(n) = at.checked_rem(self.snapshots.len()) else { return Ok(()) };
        let (open, key) = (&self.snapshots[n], key(k));
        let pinned = self.table.pin();
        let real = open.snapshot.get(&pinned, self.table.hash(&key), &key, self.now);
        let model = self.model.at(&key, &open.marks, self.now);
        if real.is_some() || !open.loose.contains(&key) {
            prop_assert_eq!(real.map(Seen::from), model, "snapshot {} of {}", n, k);
        }
        Ok(())
    }

    fn scan_at(&mut self, at: usize, page: usize) -> Checked {
        let Some(n) = at.checked_rem(self.snapshots.len()) else { return Ok(()) };
        let open = &mut self.snapshots[n];
        let Some(cursor) = open.cursor else { return Ok(()) };
        let mut seen = Vec::new();
        open.cursor = open.snapshot.scan(cursor, page, self.now, |e| seen.push(Seen::from(e)));
        prop_assert!(seen.len() >= page || open.cursor.is_none(), "a short page");
        for seen in seen {
            let model = self.model.at(&seen.key.0, &open.marks, self.now);
            prop_assert!(open.scanned.insert(seen.key.0.clone()), "scanned twice: {:?}", seen.key);
            prop_assert_eq!(Some(seen), model);
        }
        let missing = self.model.keys().find(|key| {
            let there = self.model.at(key, &open.marks, self.now).is_some();
            there && !open.scanned.contains(*key) && !open.loose.contains(*key)
        });
        prop_assert!(open.cursor.is_some() || missing.is_none(), "not scanned: {:?}", missing);
        Ok(())
    }

    fn scan(&mut self, page: usize) -> Checked {
        let (mut real, mut cursor) = (Vec::new(), Some(Cursor::default()));
        while let Some(at) = cursor {
            cursor = self.table.scan(at, page, self.now, |entry| real.push(Seen::from(entry)));
        }
        real.sort_by(|a, b| a.key.cmp(&b.key));
        let model = self.model.keys().filter_map(|key| self.model.peek(key, self.now));
        let mut model = model.collect::<Vec<_>>().into_iter();
        for real in real {
            prop_assert_eq!(Some(real), model.next(), "scan");
        }
        prop_assert_eq!(None, model.next(), "scan");
        Ok(())
    }

    /// Notes what may have left the open snapshots.
    fn loosen(&mut self) {
        let (model, now) = (&self.model, self.now);
        for open in &mut self.snapshots {
            let dropped = model.keys().filter(|key| model.may_be_dropped(key, now));
            open.loose.extend(dropped.map(<[u8]>::to_vec));
        }
    }

    /// Publishes and closes everything: all that is alive is there, and nothing else.
    fn finish(&mut self) -> Checked {
        self.publish(0, usize::MAX)?;
        self.snapshots.clear();
        let before = self.alive();
        self.now += TICK_MS;
        self.settle()?;
        let entries = usize::try_from(self.table.usage().entries).unwrap();
        prop_assert!(
            (self.alive()..=before).contains(&entries),
            "{} entries, {} were alive, {} are",
            entries,
            before,
            self.alive()
        );
        self.scan(3)
    }

    fn alive(&self) -> usize {
        self.model.keys().filter(|key| self.model.peek(key, self.now).is_some()).count()
    }

    /// Maintenance comes to an end.
    fn settle(&mut self) -> Checked {
        let rounds = (0..1_000).take_while(|_| {
            let more = self.table.maintain(self.now, 1_000);
            more || self.table.maintain(self.now, 1_000)
        });
        prop_assert!(rounds.count() < 1_000, "maintenance without end");
        Ok(())
    }
}

fn check(test: &str, keys: u8, ops: usize, config: &TableConfig) {
    seeds::check(test, &vec(op(keys), 1..ops), |ops| {
        let table = Table::new(config, START).unwrap();
        let mut run = Run::new(&table);
        for op in ops {
            run.step(op)?;
            run.loosen();
        }
        run.finish()
    });
}

fn config(segments: u32) -> TableConfig {
    let eviction = PolicyKind::None;
    TableConfig { segments: Some(segments), eviction, seed: 1, ..TableConfig::default() }
}

#[test]
fn a_table_of_one_segment_is_its_model() {
    check("model::a_table_of_one_segment_is_its_model", 6, 60, &config(1));
}

#[test]
fn a_table_of_four_segments_is_its_model() {
    check("model::a_table_of_four_segments_is_its_model", 10, 80, &config(4));
}

#[test]
fn a_table_that_grows_and_shrinks_is_its_model() {
    check("model::a_table_that_grows_and_shrinks_is_its_model", 240, 40, &config(1));
}
