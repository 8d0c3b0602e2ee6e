//! Scans that can be resumed. A scan reads from a snapshot, which is kept for it while it is used;
//! when that is gone it goes on over what is committed at each page. Either way an entry that is
//! there all the time is given once; with the snapshot all pages are of one moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use isogrid_engine::table::OwnedEntry;
use isogrid_engine::{Cursor, Entry, Snapshot, Table, Timestamp};
use thiserror::Error;

use super::backlog::Key;
use super::cursor::SavedCursor;
use super::glob::Glob;
use super::hub::Hub;
use super::metrics::count;

/// A snapshot that no scan has used for so long is closed, ms.
pub const SCAN_IDLE_MS: u64 = 60_000;
/// A snapshot of this age is closed, ms: as long as it is open nothing that was overwritten since
/// can be freed.
pub const SCAN_LIFE_MS: u64 = 600_000;
/// Snapshots of one cache that scans may hold. A scan beyond is weak from its beginning.
pub const SCAN_SNAPSHOTS_MAX: usize = 16;
/// Steps of 16 index lines that one page may take, if it finds nothing.
const PAGE_STEPS_MAX: usize = 64;

/// What to scan.
#[derive(Debug, Clone)]
pub struct ScanOptions {
    /// Keys; `None` = all.
    pub glob: Option<Glob>,
    /// Segments; `None` = all.
    pub segments: Option<Vec<u32>>,
    /// Whether entries come with their values; all else of them always comes.
    pub value: bool,
}

impl Default for ScanOptions {
    fn default() -> Self {
        ScanOptions { glob: None, segments: None, value: true }
    }
}

/// An entry that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scanned {
    /// Its segment.
    pub segment: u32,
    /// Its key.
    pub key: Key,
    /// The entry.
    pub entry: OwnedEntry,
}

/// What one call gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// The entries, perhaps none though there are more.
    pub entries: Vec<Scanned>,
    /// The segments that came to their end in this page.
    pub finished: Vec<u32>,
    /// There is no more.
    pub ended: bool,
}

/// Why a scan was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ScanError {
    /// The cursor is damaged, or was never given out.
    #[error("the cursor is not one that was given out")]
    Cursor,
    /// The cursor is of a cache with other segments.
    #[error("the cursor is of another cache")]
    OtherCache,
    /// There is no such segment.
    #[error("there is no segment {0}")]
    Segment(u32),
}

/// The snapshots that scans hold.
#[derive(Default)]
pub(crate) struct Scans(Mutex<(u64, BTreeMap<u64, Held>)>);

struct Held {
    snapshot: Arc<Snapshot<'static>>,
    opened: Timestamp,
    used: Timestamp,
}

impl Scans {
    fn lock(&self) -> MutexGuard<'_, (u64, BTreeMap<u64, Held>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn len(&self) -> u64 {
        self.lock().1.len() as u64
    }

    /// Whether one more snapshot may be held.
    fn has_room(&self, now: Timestamp) -> bool {
        self.expire(now);
        self.lock().1.len() < SCAN_SNAPSHOTS_MAX
    }

    /// Keeps a snapshot, if there is room; its number, or 0.
    fn hold(&self, snapshot: Snapshot<'static>, now: Timestamp) -> u64 {
        let mut scans = self.lock();
        if scans.1.len() >= SCAN_SNAPSHOTS_MAX {
            return 0;
        }
        scans.0 += 1;
        let id = scans.0;
        scans.1.insert(id, Held { snapshot: Arc::new(snapshot), opened: now, used: now });
        id
    }

    fn get(&self, id: u64, now: Timestamp) -> Option<Arc<Snapshot<'static>>> {
        self.expire(now);
        let mut scans = self.lock();
        let held = scans.1.get_mut(&id)?;
        held.used = held.used.max(now);
        Some(Arc::clone(&held.snapshot))
    }

    fn close(&self, id: u64) {
        // Not under the lock: to close a snapshot takes one of the table's.
        let gone = self.lock().1.remove(&id);
        drop(gone);
    }

    /// Closes snapshots that are too old or that nobody uses.
    pub fn expire(&self, now: Timestamp) {
        let is_over =
            |held: &Held| held.used + SCAN_IDLE_MS <= now || held.opened + SCAN_LIFE_MS <= now;
        let mut scans = self.lock();
        let ids: Vec<_> =
            scans.1.iter().filter(|(_, held)| is_over(held)).map(|(id, _)| *id).collect();
        let gone: Vec<_> = ids.iter().filter_map(|id| scans.1.remove(id)).collect();
        drop(scans);
        drop(gone);
    }
}

/// A scan under way. When it is dropped before its end its snapshot is kept for a while, so that
/// it can be resumed.
pub struct Scan {
    hub: Arc<Hub>,
    table: Arc<Table>,
    options: ScanOptions,
    /// The segments, ascending.
    segments: Vec<u32>,
    /// Where it goes on; `None` at the end.
    at: Option<Cursor>,
    /// The number of its snapshot; 0 = none any more.
    snapshot: u64,
}

impl Scan {
    /// Begins a scan, or resumes one.
    pub(crate) fn open(
        hub: &Arc<Hub>,
        table: &Arc<Table>,
        options: ScanOptions,
        cursor: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<Scan, ScanError> {
        let there = u32::try_from(table.segment_count()).unwrap_or(u32::MAX);
        let wrong = options.segments.iter().flatten().find(|segment| **segment >= there);
        if let Some(wrong) = wrong {
            return Err(ScanError::Segment(*wrong));
        }
        let Some(bytes) = cursor else {
            if !hub.scans.has_room(now) {
                count(&hub.metrics.scans_weakened);
                return Ok(Scan::new(hub, table, options, 0));
            }
            let (snapshot, ()) = table.snapshot_beside(now, || ());
            return Ok(Scan::over(hub, table, options, snapshot, now));
        };
        let saved = SavedCursor::decode(bytes).ok_or(ScanError::Cursor)?;
        if saved.segments != there {
            return Err(ScanError::OtherCache);
        }
        let same_life = saved.life == table.life();
        if !same_life && !table.segments_are_stable() {
            // Keys are in other segments now: none of what was finished is.
            return Err(ScanError::OtherCache);
        }
        let mut scan = Scan::new(hub, table, options, if same_life { saved.snapshot } else { 0 });
        // Places in a segment mean something in one life only.
        let position = if same_life { saved.position } else { 0 };
        scan.at = scan.segment_from(saved.segment, position);
        Ok(scan)
    }

    /// A scan over a snapshot that is there.
    pub(super) fn over(
        hub: &Arc<Hub>,
        table: &Arc<Table>,
        options: ScanOptions,
        snapshot: Snapshot<'static>,
        now: Timestamp,
    ) -> Scan {
        hub.scans.expire(now);
        let id = hub.scans.hold(snapshot, now);
        if id == 0 {
            count(&hub.metrics.scans_weakened);
        }
        Scan::new(hub, table, options, id)
    }

    fn new(hub: &Arc<Hub>, table: &Arc<Table>, options: ScanOptions, snapshot: u64) -> Scan {
        count(&hub.metrics.scans);
        let all = 0..u32::try_from(table.segment_count()).unwrap_or(u32::MAX);
        let mut segments = options.segments.clone().unwrap_or_else(|| all.collect());
        segments.sort_unstable();
        segments.dedup();
        let (hub, table) = (Arc::clone(hub), Arc::clone(table));
        let mut scan = Scan { hub, table, options, segments, at: None, snapshot };
        scan.at = scan.segment_from(0, 0);
        scan
    }

    /// The place in a segment, or the beginning of the next one that is asked for.
    fn segment_from(&self, segment: u32, position: u64) -> Option<Cursor> {
        let next = self.segments.iter().find(|asked| **asked >= segment)?;
        Some(Cursor::at(*next as usize, if *next == segment { position } else { 0 }))
    }

    /// Fills a page with at most about `items` entries of `bytes` bytes: it ends with the entry
    /// that reaches one of them (and those, hardly ever any, that share its place). Its work is
    /// bounded, so it may find nothing and not be at the end.
    pub fn page(&mut self, now: Timestamp, items: usize, bytes: usize, page: &mut Page) {
        let snapshot = self.snapshot(now);
        let (mut held, mut steps) = (0, 0);
        while let Some(at) = self.at
            && page.entries.len() < items.max(1)
            && held < bytes.max(1)
            && steps < PAGE_STEPS_MAX
        {
            steps += 1;
            let segment = u32::try_from(at.segment()).unwrap_or(u32::MAX);
            let next = self.table.scan_step(snapshot.as_deref(), at, now, |entry| {
                if self.options.glob.as_ref().is_none_or(|glob| glob.matches(entry.key())) {
                    held += entry.key().len()
                        + if self.options.value { entry.value().len() } else { 0 };
                    page.entries.push(self.scanned(segment, &entry));
                }
                page.entries.len() < items && held < bytes
            });
            if next.is_none() {
                page.finished.push(segment);
            }
            self.at = next.or_else(|| self.segment_from(segment + 1, 0));
        }
        page.ended = self.at.is_none();
        if page.ended {
            self.hub.scans.close(self.snapshot);
        }
    }

    /// Its snapshot, while that is kept.
    fn snapshot(&mut self, now: Timestamp) -> Option<Arc<Snapshot<'static>>> {
        if self.snapshot == 0 {
            return None;
        }
        let snapshot = self.hub.scans.get(self.snapshot, now);
        if snapshot.is_none() {
            self.snapshot = 0;
            count(&self.hub.metrics.scans_weakened);
        }
        snapshot
    }

    fn scanned(&self, segment: u32, entry: &Entry<'_>) -> Scanned {
        let mut owned = OwnedEntry {
            value: [].into(),
            flags: entry.flags(),
            deadline: entry.deadline(),
            max_idle: entry.max_idle(),
            version: Some(entry.version()),
            marks: entry.marks(),
        };
        if self.options.value {
            owned.value = entry.shared().unwrap_or_else(|| entry.value().into());
        }
        Scanned { segment, key: entry.key().into(), entry: owned }
    }

    /// Ends a scan that nobody will resume.
    pub fn close(self) {
        self.hub.scans.close(self.snapshot);
    }

    /// Whether the pages so far, and those to come while the snapshot is kept, are of one moment.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        self.snapshot != 0
    }

    /// From where [`Cache::scan`](crate::Cache::scan) goes on; `None` at the end.
    #[must_use]
    pub fn cursor(&self) -> Option<Vec<u8>> {
        let at = self.at?;
        let saved = SavedCursor {
            life: self.table.life(),
            segments: u32::try_from(self.table.segment_count()).unwrap_or(u32::MAX),
            segment: u32::try_from(at.segment()).unwrap_or(u32::MAX),
            position: at.position(),
            snapshot: self.snapshot,
        };
        Some(saved.encode())
    }
}
