//! A naive table: every version of every key in a list that is never thrown away, read from the
//! newest on. Publication, snapshots, clear and expiry are conditions on what a reader skips.

#![expect(clippy::indexing_slicing, reason = "a model may panic")]

use std::collections::BTreeMap;
use std::fmt;

use isogrid_engine::{Entry, Marks, NewEntry, Timestamp};
use xxhash_rust::xxh64::xxh64;

/// A key or a value; a long one is shown by its first byte and its length.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub Vec<u8>);

/// What a write stores, and what a read shows of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The value.
    pub value: Bytes,
    /// The client's 32 bits.
    pub flags: u32,
    /// When it expires.
    pub deadline: Option<Timestamp>,
    /// How long it lives without being read.
    pub max_idle: Option<u32>,
    /// The version, when the writer chose it.
    pub chosen: Option<u64>,
    /// Its marks.
    pub marks: Marks,
}

/// One answer to a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The key.
    pub key: Bytes,
    /// What is stored.
    pub item: Item,
    /// Its version.
    pub version: u64,
}

/// What is seen of a segment: versions up to `committed`, not those up to `cleared`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mark {
    committed: u64,
    cleared: u64,
}

/// A write that waits for its publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    segment: usize,
    seq: u64,
}

#[derive(Debug, Clone)]
struct Version {
    seq: u64,
    version: u64,
    /// `None` is a deletion.
    item: Option<Item>,
    used: Timestamp,
}

#[derive(Debug, Default)]
struct Segment {
    seq: u64,
    mark: Mark,
    /// Writes above the watermark, oldest first, and whether they may be published.
    pending: Vec<(u64, bool)>,
}

/// Everything that was ever written to a key.
#[derive(Debug, Default)]
struct Key {
    versions: Vec<Version>,
    fetched: bool,
    accessed: Timestamp,
}

/// The table.
#[derive(Debug)]
pub struct Table {
    segments: Vec<Segment>,
    keys: BTreeMap<Vec<u8>, Key>,
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.first().filter(|_| self.0.len() > 8) {
            Some(first) => write!(f, "[{first}.. {} bytes]", self.0.len()),
            None => write!(f, "{:?}", self.0),
        }
    }
}

impl Item {
    /// As the engine takes it.
    #[must_use]
    pub fn entry(&self) -> NewEntry<'_> {
        let (front, back) = self.value.0.split_at(self.value.0.len() / 3);
        NewEntry {
            value: [front, back],
            flags: self.flags,
            deadline: self.deadline,
            max_idle: self.max_idle,
            version: self.chosen,
            marks: self.marks,
        }
    }
}

impl From<Entry<'_>> for Seen {
    fn from(entry: Entry<'_>) -> Self {
        let item = Item {
            value: Bytes(entry.value().to_vec()),
            flags: entry.flags(),
            deadline: entry.deadline(),
            max_idle: entry.max_idle(),
            chosen: entry.chosen_version(),
            marks: entry.marks(),
        };
        Seen { key: Bytes(entry.key().to_vec()), item, version: entry.version() }
    }
}

impl Version {
    fn is_expired(&self, now: Timestamp) -> bool {
        let Some(item) = &self.item else { return false };
        let idle = item.max_idle.map(|idle| self.used + u64::from(idle));
        item.deadline.is_some_and(|at| at <= now) || idle.is_some_and(|at| at <= now)
    }

    fn is_alive(&self, mark: Mark, now: Timestamp) -> bool {
        self.item.is_some() && self.seq > mark.cleared && !self.is_expired(now)
    }

    fn seen(&self, key: &[u8]) -> Option<Seen> {
        let item = self.item.clone()?;
        Some(Seen { key: Bytes(key.to_vec()), item, version: self.version })
    }
}

fn segment_of(key: &[u8], segments: usize) -> usize {
    usize::try_from(xxh64(key, 0)).unwrap_or(0) & (segments - 1)
}

impl Table {
    /// An empty table; `segments` is a power of two.
    #[must_use]
    pub fn new(segments: u32) -> Self {
        let segments = (0..segments).map(|_| Segment::default()).collect();
        Table { segments, keys: BTreeMap::new() }
    }

    fn segment_of(&self, key: &[u8]) -> usize {
        segment_of(key, self.segments.len())
    }

    /// The watermarks now: what a snapshot that is opened now sees.
    #[must_use]
    pub fn marks(&self) -> Vec<Mark> {
        self.segments.iter().map(|segment| segment.mark).collect()
    }

    /// What a reader with these watermarks sees of a key.
    #[must_use]
    pub fn at(&self, key: &[u8], marks: &[Mark], now: Timestamp) -> Option<Seen> {
        let mark = marks[self.segment_of(key)];
        let versions = &self.keys.get(key)?.versions;
        let newest = versions.iter().rev().find(|v| v.seq <= mark.committed)?;
        newest.is_alive(mark, now).then(|| newest.seen(key))?
    }

    /// What a reader sees of a key now.
    #[must_use]
    pub fn peek(&self, key: &[u8], now: Timestamp) -> Option<Seen> {
        self.at(key, &self.marks(), now)
    }

    /// As `peek`, with whether the entry had been fetched and when it was accessed before.
    pub fn get(&mut self, key: &[u8], now: Timestamp) -> Option<(Seen, bool, Timestamp)> {
        let seen = self.peek(key, now)?;
        let committed = self.segments[self.segment_of(key)].mark.committed;
        let at = self.keys.get_mut(key)?;
        at.versions.iter_mut().rev().find(|v| v.seq <= committed)?.used = now;
        let before = (at.fetched, at.accessed);
        (at.fetched, at.accessed) = (true, now);
        Some((seen, before.0, before.1))
    }

    fn newest(&self, key: &[u8], now: Timestamp) -> Option<&Version> {
        let mark = self.segments[self.segment_of(key)].mark;
        self.keys.get(key)?.versions.last().filter(|v| v.is_alive(mark, now))
    }

    /// What a writer sees of a key: prepared writes included.
    #[must_use]
    pub fn look(&self, key: &[u8], now: Timestamp) -> Option<Seen> {
        self.newest(key, now)?.seen(key)
    }

    fn write(&mut self, key: &[u8], visible: bool, make: impl FnOnce(u64) -> Version) -> Ticket {
        let at = self.segment_of(key);
        let segment = &mut self.segments[at];
        segment.seq += 1;
        let seq = segment.seq;
        if visible && segment.pending.is_empty() {
            segment.mark.committed = seq;
        } else {
            segment.pending.push((seq, visible));
        }
        self.keys.entry(key.to_vec()).or_default().versions.push(make(seq));
        Ticket { segment: at, seq }
    }

    /// Stores an item that the engine gave `version`.
    pub fn put(
        &mut self,
        key: &[u8],
        item: Item,
        version: u64,
        visible: bool,
        now: Timestamp,
    ) -> Ticket {
        let ticket =
            self.write(key, visible, |seq| Version { seq, version, item: Some(item), used: now });
        let at = self.keys.entry(key.to_vec()).or_default();
        (at.fetched, at.accessed) = (false, now);
        ticket
    }

    /// Deletes a key, if there is one.
    pub fn remove(&mut self, key: &[u8], visible: bool, now: Timestamp) -> Option<Ticket> {
        self.newest(key, now)?;
        let deletion = |seq| Version { seq, version: 0, item: None, used: now };
        Some(self.write(key, visible, deletion))
    }

    /// Changes the newest item of a key in place, if there is one.
    pub fn rewrite(&mut self, key: &[u8], item: Item, now: Timestamp) {
        if self.newest(key, now).is_none() {
            return;
        }
        if let Some(newest) = self.keys.get_mut(key).and_then(|key| key.versions.last_mut()) {
            (newest.item, newest.used) = (Some(item), now);
        }
    }

    /// Lets a prepared write be seen, once all before it in its segment are.
    pub fn publish(&mut self, ticket: Ticket) {
        let segment = &mut self.segments[ticket.segment];
        for pending in segment.pending.iter_mut().filter(|pending| pending.0 == ticket.seq) {
            pending.1 = true;
        }
        while let Some((seq, true)) = segment.pending.first().copied() {
            segment.mark.committed = seq;
            segment.pending.remove(0);
        }
    }

    /// Takes back a prepared write and all that came after it in its segment.
    pub fn abort(&mut self, ticket: Ticket) {
        self.segments[ticket.segment].pending.retain(|(seq, _)| *seq < ticket.seq);
        let segments = self.segments.len();
        let here = |key: &[u8]| segment_of(key, segments) == ticket.segment;
        for (_, key) in self.keys.iter_mut().filter(|(key, _)| here(key)) {
            key.versions.retain(|v| v.seq < ticket.seq);
        }
    }

    /// Whether a prepared write still waits to be published.
    #[must_use]
    pub fn waits(&self, ticket: Ticket) -> bool {
        self.segments[ticket.segment].pending.iter().any(|(seq, _)| *seq == ticket.seq)
    }

    /// Hides everything that is stored now.
    pub fn clear(&mut self) {
        for segment in &mut self.segments {
            segment.mark.cleared = segment.seq;
        }
    }

    /// Every key that was ever written.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.keys().map(Vec::as_slice)
    }

    /// Whether the table may have dropped a key with all its versions, because its newest
    /// published one has expired: "entries that expire leave a snapshot".
    #[must_use]
    pub fn may_be_dropped(&self, key: &[u8], now: Timestamp) -> bool {
        let committed = self.segments[self.segment_of(key)].mark.committed;
        let newest = self.keys.get(key).and_then(|key| key.versions.last());
        newest.is_some_and(|v| v.seq <= committed && v.is_expired(now))
    }
}
