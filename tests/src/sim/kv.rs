//! A map of small numbers on a replicated segment: the simplest thing that a client can use.

use std::collections::BTreeMap;

use isogrid_grid::replica::answers::split;
use isogrid_grid::replica::{Answers, Base, Before, Op, Patch, Record};
use isogrid_grid::tx::{self, Ledger, Note};

/// A key.
pub type Key = u8;

/// What became of a key: its value, or none after a deletion, and its version.
pub type State = (Option<u64>, u64);

/// Entries of a chunk: few, so that filling takes several.
const CHUNK: usize = 1;
/// How a chunk of answers begins, where those of entries have a key.
const ANSWERS: u8 = 255;
/// How one of transactions begins.
const LEDGER: u8 = 254;

/// A record: what became of a key.
#[must_use]
pub fn record(key: Key, value: Option<u64>) -> Record {
    let mut bytes = vec![key, u8::from(value.is_some())];
    bytes.extend_from_slice(&value.unwrap_or(0).to_le_bytes());
    bytes.into()
}

/// What a record says.
///
/// # Panics
/// When it is none: a core has changed what it was given.
#[must_use]
pub fn parse(record: &[u8]) -> (Key, Option<u64>) {
    let [key, is_there, value @ ..] = record else { panic!("no record: {record:?}") };
    let value = u64::from_le_bytes(value.try_into().expect("a value has 8 bytes"));
    (*key, (*is_there == 1).then_some(value))
}

/// What an operation makes of keys.
///
/// # Panics
/// When it is none.
pub fn changes(op: &Op, mut visit: impl FnMut(Key, Option<u64>)) {
    let mut visit = |record: &[u8]| {
        let (key, value) = parse(record);
        visit(key, value);
    };
    if let Some(noted) = tx::split(&op.record) {
        noted.expect("a record").1.into_iter().for_each(visit);
        return;
    }
    split(&op.record, &mut visit).expect("a record");
}

/// What an operation makes of a key, if it writes it.
fn written(op: &Op, key: Key) -> Option<Option<u64>> {
    let mut written = None;
    changes(op, |other, value| written = if other == key { Some(value) } else { written });
    written
}

/// What a record is made from whose key is in this state, as what differs from that.
#[must_use]
pub fn patch(key: Key, (value, version): State, new: &Record) -> Option<Patch> {
    let old = record(key, Some(value?));
    Some(Patch::in_runs(
        Before { key: &[key], number: version, record: &old, head: 0 },
        (new, 0),
        1,
    ))
}

/// Whether an operation that is not committed yet makes it unsafe to read a key: it writes it, or
/// it holds it for a transaction.
pub fn touches(op: &Op, key: Key) -> bool {
    let mut is_written = false;
    changes(op, |other, _| is_written |= other == key);
    let noted = tx::split(&op.record).and_then(|noted| noted.ok());
    is_written
        || noted.is_some_and(|(note, _)| match note {
            Note::Prepare(_, intent) | Note::Alone(_, intent) => {
                intent.holds.iter().any(|hold| hold.key == [key] && hold.write.is_some())
            }
            _ => false,
        })
}

/// The version of an operation.
#[must_use]
pub fn version(op: &Op) -> u64 {
    u64::from(op.epoch.0) << 40 | op.seq
}

/// The committed entries.
#[derive(Debug, Clone)]
pub struct Kv {
    entries: BTreeMap<Key, (u64, u64)>,
    /// Up to here operations were done before they were committed.
    shown: u64,
    /// Deletions since filling began, by their versions.
    deleted: Option<BTreeMap<Key, u64>>,
    /// The answers to operations that may come again.
    pub answers: Answers,
    /// Transactions that hold keys, or are decided here.
    pub ledger: Ledger,
}

/// So little that it is not enough, bytes.
const LEDGER_ROOM: usize = 2_000;

impl Default for Kv {
    fn default() -> Self {
        Kv {
            entries: BTreeMap::new(),
            shown: 0,
            deleted: None,
            answers: Answers::default(),
            ledger: Ledger::with_room(LEDGER_ROOM),
        }
    }
}

impl Kv {
    /// The value and version of a key; version 0 where there is none.
    #[must_use]
    pub fn get(&self, key: Key) -> State {
        self.entries.get(&key).map_or((None, 0), |(value, version)| (Some(*value), *version))
    }

    /// All entries.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<Key, (u64, u64)> {
        &self.entries
    }

    fn put(&mut self, key: Key, value: Option<u64>, version: u64) {
        let known = self.entries.get(&key).map_or(0, |(_, version)| *version);
        let deleted = self.deleted.as_ref().and_then(|all| all.get(&key)).copied().unwrap_or(0);
        if version <= known.max(deleted) {
            return;
        }
        match value {
            Some(value) => {
                self.entries.insert(key, (value, version));
            }
            None => {
                self.entries.remove(&key);
                if let Some(deleted) = &mut self.deleted {
                    deleted.insert(key, version);
                }
            }
        }
    }
}

impl Base for Kv {
    fn apply(&mut self, op: &Op) {
        if let Some(noted) = tx::split(&op.record) {
            changes(op, |key, value| self.put(key, value, version(op)));
            let (note, _) = noted.expect("a record");
            self.ledger.apply(&note);
            if let Note::Decide(.., Some(answered)) = note {
                self.answers.note(answered);
            }
            return;
        }
        let is_shown = op.seq <= self.shown;
        let answered = split(&op.record, |record| {
            let (key, value) = parse(record);
            if !is_shown {
                self.put(key, value, version(op));
            }
        });
        answered.expect("a record").into_iter().for_each(|answered| self.answers.note(answered));
    }

    fn show(&mut self, op: &Op) {
        changes(op, |key, value| self.put(key, value, version(op)));
        self.shown = op.seq;
    }

    fn newest<'o>(&self, key: &[u8], open: impl Iterator<Item = &'o Op>) -> Option<(u64, Vec<u8>)> {
        let [key] = *key else { return None };
        let mut open = open.filter_map(|op| written(op, key).map(|value| (value, version(op))));
        let (value, version) = open.next().unwrap_or_else(|| self.get(key));
        value.map(|value| (version, record(key, Some(value)).to_vec()))
    }

    fn chunk(&self, after: Option<&[u8]>) -> (Vec<u8>, Option<Vec<u8>>) {
        if after.is_none() && !self.answers.is_empty() {
            let mut bytes = vec![ANSWERS];
            self.answers.encode(&mut bytes);
            return (bytes, Some(vec![LEDGER]));
        }
        if after.is_none_or(|after| after == [LEDGER]) && !self.ledger.is_empty() {
            let mut bytes = vec![LEDGER];
            self.ledger.encode(&mut bytes);
            return (bytes, Some(Vec::new()));
        }
        let after = after.filter(|after| *after != [LEDGER]);
        let from = after.and_then(|after| after.first()).map_or(0, |after| usize::from(*after) + 1);
        let mut bytes = Vec::new();
        let mut rest = self.entries.iter().filter(|(key, _)| usize::from(**key) >= from);
        let mut last = None;
        for (key, (value, version)) in rest.by_ref().take(CHUNK) {
            bytes.push(*key);
            bytes.extend_from_slice(&value.to_le_bytes());
            bytes.extend_from_slice(&version.to_le_bytes());
            last = Some(vec![*key]);
        }
        (bytes, last.filter(|_| rest.next().is_some()))
    }

    fn begin_filling(&mut self) {
        self.entries.clear();
        self.shown = 0;
        self.answers = Answers::default();
        self.ledger = Ledger::with_room(LEDGER_ROOM);
        self.deleted = Some(BTreeMap::new());
    }

    fn take(&mut self, chunk: &[u8]) -> Option<()> {
        if let Some(answers) = chunk.strip_prefix(&[ANSWERS]) {
            return self.answers.merge(answers);
        }
        if let Some(ledger) = chunk.strip_prefix(&[LEDGER]) {
            return self.ledger.merge(ledger);
        }
        for entry in chunk.chunks(17) {
            let (key, numbers) = entry.split_first()?;
            let (value, version) = numbers.split_first_chunk::<8>()?;
            let version = u64::from_le_bytes(version.try_into().ok()?);
            self.put(*key, Some(u64::from_le_bytes(*value)), version);
        }
        Some(())
    }

    fn filled(&mut self) {
        self.deleted = None;
    }
}
