//! Tables that are written behind, step by step in virtual time, on stores that crash and fail.

mod evicted;
mod lives;
mod members;
mod save;
mod story;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalog::Catalog;
use super::writer::{REOPEN_MS, RESERVE, Writer};
use super::*;
use crate::TableConfig;
use crate::env::{ManualClock, Timestamp};
use crate::store::fault::FaultStore;
use crate::store::memory::MemoryStore;
use crate::store::{Error as StoreError, Position, Scan};
use crate::table::{Cursor, NewEntry};

const NOW: Timestamp = 1_000_000;
const DELAY: u64 = 1_000;

/// A store that crashes and fails on command.
type Faulty = FaultStore<MemoryStore>;

/// What a table shows: flags, deadline, max-idle, version and value of each key.
type Image = BTreeMap<String, (u32, Option<u64>, Option<u32>, u64, Vec<u8>)>;

/// One table from its start on; whoever runs the test is the thread that writes.
struct Life {
    table: Arc<Table>,
    feed: Arc<Feed>,
    clock: Arc<ManualClock>,
    writer: Writer,
    recovered: BehindRecovered,
}

fn faulty() -> Arc<Faulty> {
    Arc::new(FaultStore::new(MemoryStore::new()))
}

/// What is wrong with a disk.
fn io_error() -> StoreError {
    let reason = "on purpose".to_owned();
    StoreError::Io { path: "store".into(), kind: std::io::ErrorKind::Other, reason }
}

fn full() -> StoreError {
    StoreError::OutOfSpace("store".into())
}

impl Life {
    fn begin<S: Store + 'static>(store: &Arc<S>, clock: &Arc<ManualClock>) -> Self {
        Self::with(store, clock, 4, 1 << 20)
    }

    fn with<S: Store + 'static>(
        store: &Arc<S>,
        clock: &Arc<ManualClock>,
        segments: u32,
        bytes_max: usize,
    ) -> Self {
        Self::on(Arc::clone(store) as _, clock, segments, bytes_max)
    }

    fn on(
        store: Arc<dyn Store>,
        clock: &Arc<ManualClock>,
        segments: u32,
        bytes_max: usize,
    ) -> Self {
        Self::of(store, clock, &Self::table_config(segments), bytes_max)
    }

    fn table_config(segments: u32) -> TableConfig {
        TableConfig { segments: Some(segments), seed: 7, ..TableConfig::default() }
    }

    fn of(
        store: Arc<dyn Store>,
        clock: &Arc<ManualClock>,
        config: &TableConfig,
        bytes_max: usize,
    ) -> Self {
        let table = Arc::new(Table::new(config, clock.now()).unwrap());
        let config = BehindTable {
            name: "default".to_owned(),
            table: Arc::clone(&table),
            delay_ms: DELAY,
            bytes_max,
            is_new: false,
        };
        let own: Arc<dyn Clock> = Arc::clone(clock) as _;
        let feed = Arc::new(Feed::new(config, own, Arc::default()));
        let applied = store.applied().unwrap_or(Position(0));
        let config = BehindConfig {
            store,
            report: Report { applied, ..Report::default() },
            storage_id: [3; 16],
        };
        let feeds = [Arc::clone(&feed)];
        let (writer, recovered) = Writer::open(config, &feeds, clock.now()).unwrap();
        Life { table, feed, clock: Arc::clone(clock), writer, recovered }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Lets time pass; the writer comes when it asked to.
    fn pass(&mut self, ms: u64) {
        let end = self.now() + ms;
        while self.now() < end {
            let next = self.writer.step(self.now(), false).unwrap_or(end);
            let next = next.clamp(self.now() + 1, end);
            self.clock.advance(next - self.now());
        }
        self.writer.step(self.now(), false);
    }

    fn put(&self, key: &str, value: &str) -> Result<u64, crate::Error> {
        self.put_new(key, &NewEntry { value: [value.as_bytes(), b""], ..NewEntry::default() })
    }

    fn put_new(&self, key: &str, new: &NewEntry<'_>) -> Result<u64, crate::Error> {
        let pinned = self.table.pin();
        let hash = self.table.hash(key.as_bytes());
        pinned.entry(hash, key.as_bytes(), self.now()).unwrap().put(new)
    }

    fn remove(&self, key: &str) -> Result<bool, crate::Error> {
        let pinned = self.table.pin();
        let hash = self.table.hash(key.as_bytes());
        let mut entry = pinned.entry(hash, key.as_bytes(), self.now()).unwrap();
        entry.remove()
    }

    fn image(&self) -> Image {
        let (mut image, mut cursor) = (Image::new(), Some(Cursor::default()));
        while let Some(from) = cursor {
            cursor = self.table.scan(from, 100, self.now(), |entry| {
                let (flags, deadline) = (entry.flags(), entry.deadline());
                let shown =
                    (flags, deadline, entry.max_idle(), entry.version(), entry.value().to_vec());
                image.insert(String::from_utf8_lossy(entry.key()).into_owned(), shown);
            });
        }
        image
    }

    fn lag(&self) -> Lag {
        self.feed.lag(self.now())
    }
}

/// What a start on the store would find, without a start.
fn found(store: &Arc<impl Store>, clock: &ManualClock) -> Image {
    let home = Catalog::read(&**store).unwrap().caches.get("default").copied().unwrap();
    let (mut image, mut cursor) = (Image::new(), None);
    loop {
        let page = store.scan(&Scan::all(home.id).after(cursor.as_ref())).unwrap();
        for (key, stored) in page.entries.into_iter().map(Result::unwrap) {
            let Stored { flags, deadline, max_idle, version, value, .. } = stored;
            if deadline.is_none_or(|at| at > clock.now()) {
                let shown = (flags, deadline, max_idle, version, value);
                image.insert(String::from_utf8_lossy(&key).into_owned(), shown);
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            return image;
        }
    }
}
