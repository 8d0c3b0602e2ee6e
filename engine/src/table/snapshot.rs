//! Snapshots: a vector of watermarks, one a segment, taken behind a gate that multi-segment
//! commits hold shared while they publish. While one is open, versions that it
//! can see stay linked behind newer ones; eviction and expiry take entries out all the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use super::segment::Segment;
use super::{Entry, KeyHash, Pinned, Table};
use crate::env::Timestamp;

/// What is seen of one segment: versions up to `committed`, but not those up to `cleared`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Watermark {
    pub committed: u64,
    pub cleared: u64,
}

/// The open snapshots of a table.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    gate: RwLock<()>,
    open: AtomicUsize,
    by_id: Mutex<(u64, BTreeMap<u64, Vec<Watermark>>)>,
}

impl Snapshots {
    /// Whether a write must keep the version that it replaces. Asked under the segment's lock,
    /// which [`Table::snapshot`] takes after it said that a snapshot is open.
    #[inline]
    pub fn any_open(&self) -> bool {
        self.open.load(Ordering::Acquire) > 0
    }

    /// The oldest watermark of a segment that is still in use.
    pub fn horizon(&self, segment: usize) -> u64 {
        let by_id = self.by_id.lock();
        let marks = by_id.1.values().filter_map(|marks| marks.get(segment));
        marks.map(|mark| mark.committed).min().unwrap_or(u64::MAX)
    }

    fn register(&self, marks: Vec<Watermark>) -> u64 {
        let mut by_id = self.by_id.lock();
        by_id.0 += 1;
        let id = by_id.0;
        by_id.1.insert(id, marks);
        self.open.fetch_add(1, Ordering::AcqRel);
        id
    }

    /// Held while a commit over several segments is published, so that no snapshot sees half.
    pub fn gate(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read()
    }
}

/// A consistent view of a table at one moment. Entries that expire or are evicted leave it.
pub struct Snapshot<'t> {
    table: Holder<'t>,
    id: u64,
    marks: Vec<Watermark>,
}

/// How a snapshot or a transaction holds its table.
pub(super) enum Holder<'t> {
    Borrowed(&'t Table),
    Shared(Arc<Table>),
}

impl Holder<'_> {
    pub fn table(&self) -> &Table {
        match self {
            Holder::Borrowed(table) => table,
            Holder::Shared(table) => table,
        }
    }
}

/// Where a scan goes on: opaque to callers, valid for any snapshot of a table with as many
/// segments and the same seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursor {
    segment: usize,
    from: u64,
}

impl Cursor {
    /// The place in a segment that [`Cursor::position`] told; 0 is its beginning.
    #[must_use]
    pub fn at(segment: usize, position: u64) -> Cursor {
        Cursor { segment, from: position.min(POSITION_MAX) }
    }

    /// The segment.
    #[must_use]
    pub fn segment(self) -> usize {
        self.segment
    }

    /// The place in the segment, on a scale of hashes that no resize changes.
    #[must_use]
    pub fn position(self) -> u64 {
        self.from
    }
}

/// The last place on the scale of hashes.
const POSITION_MAX: u64 = (1 << 32) - 1;

impl Table {
    /// Opens a snapshot of what is committed now.
    #[must_use]
    pub fn snapshot(&self, now: Timestamp) -> Snapshot<'_> {
        self.snapshot_with(now, |_| ()).0
    }

    /// As [`Table::snapshot`], and does `beside` at the very moment that it is of; it gets what the
    /// snapshot sees.
    pub(crate) fn snapshot_with<R>(
        &self,
        now: Timestamp,
        beside: impl FnOnce(&[Watermark]) -> R,
    ) -> (Snapshot<'_>, R) {
        let (id, marks, result) = self.open_snapshot(now, beside);
        (Snapshot { table: Holder::Borrowed(self), id, marks }, result)
    }

    /// Opens a snapshot that may outlive the caller, and does `beside` at the very moment that it
    /// is of: no change becomes visible, and none is told, between the two. `beside` must not come
    /// back to the table, but for [`Table::told`].
    pub fn snapshot_beside<R>(
        self: &Arc<Self>,
        now: Timestamp,
        beside: impl FnOnce() -> R,
    ) -> (Snapshot<'static>, R) {
        let (id, marks, result) = self.open_snapshot(now, |_| beside());
        (Snapshot { table: Holder::Shared(Arc::clone(self)), id, marks }, result)
    }

    fn open_snapshot<R>(
        &self,
        now: Timestamp,
        beside: impl FnOnce(&[Watermark]) -> R,
    ) -> (u64, Vec<Watermark>, R) {
        let snapshots = &self.shared.snapshots;
        let _gate = snapshots.gate.write();
        // From here on nothing is cut off in any segment, before its watermark is known.
        let id = snapshots.register(vec![Watermark::default(); self.segments.len()]);
        // All at once: a write that was done after another one must not be seen without it.
        let all: Vec<_> = self.segments.iter().map(|s| s.lock(&self.shared, now)).collect();
        let marks: Vec<_> = self.segments.iter().map(Segment::watermark).collect();
        let result = beside(&marks);
        drop(all);
        snapshots.by_id.lock().1.insert(id, marks.clone());
        (id, marks, result)
    }
}

/// Opens a snapshot of each table, in their order, all of one moment. No table may be there twice.
pub(super) fn at_once(tables: &[Arc<Table>], now: Timestamp) -> Vec<Snapshot<'static>> {
    let mut ranked: Vec<_> = tables.iter().collect();
    ranked.sort_by_key(|table| table.rank());
    let _gates: Vec<_> = ranked.iter().map(|table| table.shared.snapshots.gate.write()).collect();
    let open = |table: &Arc<Table>| {
        let marks = vec![Watermark::default(); table.segments.len()];
        let id = table.shared.snapshots.register(marks.clone());
        Snapshot { table: Holder::Shared(Arc::clone(table)), id, marks }
    };
    let mut snapshots: Vec<_> = tables.iter().map(open).collect();
    let mut all = Vec::new();
    for table in &ranked {
        all.extend(table.segments.iter().map(|segment| segment.lock(&table.shared, now)));
    }
    for (snapshot, table) in snapshots.iter_mut().zip(tables) {
        snapshot.marks = table.segments.iter().map(Segment::watermark).collect();
        let marks = snapshot.marks.clone();
        table.shared.snapshots.by_id.lock().1.insert(snapshot.id, marks);
    }
    drop(all);
    snapshots
}

impl Segment {
    fn watermark(&self) -> Watermark {
        Watermark {
            committed: self.committed.load(Ordering::Acquire),
            cleared: self.cleared.load(Ordering::Acquire),
        }
    }
}

impl Snapshot<'_> {
    /// What it sees of a segment.
    pub(super) fn mark(&self, segment: u32) -> Watermark {
        self.marks.get(segment as usize).copied().unwrap_or_default()
    }

    /// For each segment the highest sequence number that it sees.
    pub fn watermarks(&self) -> impl Iterator<Item = u64> {
        self.marks.iter().map(|mark| mark.committed)
    }

    /// The entry of a key as the snapshot sees it; leaves no trace of the read.
    #[must_use]
    pub fn get<'g>(
        &self,
        pinned: &'g Pinned<'_>,
        hash: KeyHash,
        key: &[u8],
        now: Timestamp,
    ) -> Option<Entry<'g>> {
        let mark = *self.marks.get(hash.segment as usize)?;
        pinned.get_at(hash, key, now, mark)
    }

    /// Gives at least `count` entries from `cursor` on, or all that are left, to `visit`; the
    /// cursor to go on from, `None` at the end. Each entry of the snapshot is visited once.
    pub fn scan(
        &self,
        cursor: Cursor,
        count: usize,
        now: Timestamp,
        mut visit: impl FnMut(Entry<'_>),
    ) -> Option<Cursor> {
        let mark = |at: usize| self.marks.get(at).copied();
        self.table.table().scan_pages(cursor, count, now, mark, &mut |_, _, _| (), &mut visit)
    }

    /// As [`Snapshot::scan`] of one page or more. `pick` gets each page under the lock of its
    /// segment, and drops what is not to be visited: the segment, the page, and the place in the
    /// segment below which everything has been read then.
    pub(crate) fn scan_picked(
        &self,
        cursor: Cursor,
        now: Timestamp,
        pick: &mut dyn FnMut(usize, &mut Vec<Entry<'_>>, u64),
        mut visit: impl FnMut(Entry<'_>),
    ) -> Option<Cursor> {
        let mark = |at: usize| self.marks.get(at).copied();
        self.table.table().scan_pages(cursor, 1, now, mark, pick, &mut visit)
    }
}

impl Table {
    /// As [`Snapshot::scan`], over what is committed when each page is read: an entry that is
    /// there all the time is visited once, one that comes or goes meanwhile may be.
    pub fn scan(
        &self,
        cursor: Cursor,
        count: usize,
        now: Timestamp,
        mut visit: impl FnMut(Entry<'_>),
    ) -> Option<Cursor> {
        let mark = |at: usize| self.segments.get(at).map(Segment::watermark);
        self.scan_pages(cursor, count, now, mark, &mut |_, _, _| (), &mut visit)
    }

    fn scan_pages(
        &self,
        cursor: Cursor,
        count: usize,
        now: Timestamp,
        mark: impl Fn(usize) -> Option<Watermark>,
        pick: &mut dyn FnMut(usize, &mut Vec<Entry<'_>>, u64),
        visit: &mut impl FnMut(Entry<'_>),
    ) -> Option<Cursor> {
        let mut at = cursor;
        let mut visited = 0;
        while visited < count {
            let segment = self.segments.get(at.segment)?;
            let pinned = self.pin();
            let (mut page, locked) = (Vec::new(), segment.lock(&self.shared, now));
            let next = locked.scan(at.from, |newest| page.push(newest));
            // Under the lock, since trimming cuts off what is below the watermark.
            let mark = mark(at.segment)?;
            let seen = page.into_iter().filter_map(|newest| pinned.visible(newest, now, mark));
            let mut seen: Vec<_> = seen.collect();
            pick(at.segment, &mut seen, next.unwrap_or(POSITION_MAX + 1));
            drop(locked);
            visited += seen.len();
            seen.into_iter().for_each(&mut *visit);
            at = match next {
                Some(from) => Cursor { from, ..at },
                None => Cursor { segment: at.segment + 1, from: 0 },
            };
        }
        (at.segment < self.segments.len()).then_some(at)
    }
}

impl Table {
    /// Visits some entries of one segment, in the order of their places, until `visit` has enough
    /// and says `false`; the cursor to go on from, `None` at the segment's end. With a snapshot of
    /// this table it sees what that sees, without what is committed.
    ///
    /// Over all steps of a segment an entry that is there all the time is visited once. `visit`
    /// may get more after it had enough: what shares the last one's place.
    pub fn scan_step(
        &self,
        snapshot: Option<&Snapshot<'_>>,
        cursor: Cursor,
        now: Timestamp,
        mut visit: impl FnMut(Entry<'_>) -> bool,
    ) -> Option<Cursor> {
        let segment = self.segments.get(cursor.segment)?;
        let pinned = self.pin();
        let (mut page, locked) = (Vec::new(), segment.lock(&self.shared, now));
        let next = locked.scan(cursor.from, |newest| page.push(newest));
        // Under the lock, since trimming cuts off what is below the watermark.
        let mark = match snapshot {
            Some(snapshot) => *snapshot.marks.get(cursor.segment)?,
            None => segment.watermark(),
        };
        let place = |entry: &Entry<'_>| self.shared.hasher.index_hash(entry.key()) >> 32;
        let seen = page.into_iter().filter_map(|newest| pinned.visible(newest, now, mark));
        let mut seen: Vec<_> = seen.map(|entry| (place(&entry), entry)).collect();
        drop(locked);
        seen.sort_by_key(|(place, _)| *place);
        let mut last = None;
        for (place, entry) in seen {
            if last.is_some_and(|last| last != place) {
                return Some(Cursor { from: place, ..cursor });
            }
            if !visit(entry) {
                last = Some(place);
            }
        }
        next.map(|from| Cursor { from, ..cursor })
    }
}

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        let snapshots = &self.table.table().shared.snapshots;
        snapshots.by_id.lock().1.remove(&self.id);
        snapshots.open.fetch_sub(1, Ordering::AcqRel);
    }
}
