//! The way of a change into the log, and back when it is durable.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use super::space::Space;
use super::tables::Tables;
use super::{KeptTable, PersistMode, change};
use crate::env::Clock;
use crate::table::{Change, Journal, Table, Unrecorded, publish_upto};
use crate::wal::{CommitHook, Log, Lsn, WalError, WalErrorKind};

/// What a record takes beside key and value, at the most.
const RECORD_BYTES: usize = 512;

/// Records the changes of one table.
pub(super) struct TableJournal {
    name: String,
    sync: bool,
    log: Log,
    space: Arc<Space>,
    /// The table was dropped.
    pub(super) closed: AtomicBool,
}

impl TableJournal {
    pub fn new(kept: &KeptTable, log: Log, space: Arc<Space>) -> Self {
        let (name, sync) = (kept.name.clone(), kept.mode == PersistMode::Sync);
        TableJournal { name, sync, log, space, closed: AtomicBool::new(false) }
    }
}

impl Journal for TableJournal {
    fn record(&self, change: &Change<'_>) -> Result<u64, Unrecorded> {
        if self.closed.load(Ordering::Acquire) {
            // What is cleared of a dropped table needs no record.
            let clears = matches!(change, Change::Clear);
            return if clears { Ok(0) } else { Err(Unrecorded::Dropped) };
        }
        self.take(change)?;
        self.append(|out| change::encode(&self.name, change, out))
    }

    fn publishes(&self) -> bool {
        self.sync
    }

    fn log(&self) -> Option<usize> {
        Some(Arc::as_ptr(&self.space).addr())
    }

    fn join(&self, changes: &[Change<'_>], out: &mut Vec<u8>) -> Result<(), Unrecorded> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Unrecorded::Dropped);
        }
        let change = Change::Transaction(changes);
        self.take(&change)?;
        change::nested(&self.name, &change, out);
        Ok(())
    }

    fn record_joined(&self, joined: &[u8]) -> Result<u64, Unrecorded> {
        self.append(|out| change::encode_joint(joined, out))
    }
}

impl TableJournal {
    /// Takes the room that a change needs.
    fn take(&self, change: &Change<'_>) -> Result<(), Unrecorded> {
        if self.space.take(bytes(change)) {
            return Ok(());
        }
        let failed = self.log.failure().is_some();
        Err(if failed { Unrecorded::Failed } else { Unrecorded::OutOfSpace })
    }

    fn append(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<u64, Unrecorded> {
        self.log.append(encode).map(|lsn| lsn.0).map_err(|error| match error.kind() {
            WalErrorKind::Later => Unrecorded::Busy,
            WalErrorKind::OutOfSpace => Unrecorded::OutOfSpace,
            _ => Unrecorded::Failed,
        })
    }
}

/// Bytes that a change takes on the disk, at the most.
fn bytes(change: &Change<'_>) -> usize {
    match change {
        Change::Put { key, entry, .. } => {
            RECORD_BYTES + key.len() + entry.value[0].len() + entry.value[1].len()
        }
        Change::Remove { key, .. } => RECORD_BYTES + key.len(),
        Change::Clear | Change::Life { .. } => RECORD_BYTES,
        Change::Transaction(changes) => changes.iter().map(bytes).sum(),
    }
}

/// What the log tells: changes that waited to be durable are seen now, or never. The tables hold the
/// log, which holds this: so this must not hold them.
pub(super) struct Hook {
    tables: Weak<Tables>,
    /// How often changes that waited were taken back.
    taken_back: AtomicU64,
    clock: Arc<dyn Clock>,
    space: Arc<Space>,
}

impl Hook {
    pub fn new(tables: &Arc<Tables>, clock: Arc<dyn Clock>, space: Arc<Space>) -> Self {
        let tables = Arc::downgrade(tables);
        Hook { tables, taken_back: AtomicU64::new(0), clock, space }
    }

    pub fn taken_back(&self) -> u64 {
        self.taken_back.load(Ordering::Acquire)
    }

    /// The tables whose changes wait to be durable.
    fn waiting(&self) -> Vec<Arc<Table>> {
        self.tables.upgrade().map_or_else(Vec::new, |tables| tables.waiting())
    }

    /// Takes back what was prepared with this record and after it: it may depend on it. The
    /// records of later ones may come to be durable all the same, so it is counted: when this is
    /// done, and so before any of them is durable.
    fn abort_from(&self, lsn: Lsn) {
        let now = self.clock.now();
        self.waiting().iter().for_each(|table| table.abort_from(lsn.0, now));
        self.taken_back.fetch_add(1, Ordering::Release);
    }
}

impl CommitHook for Hook {
    fn durable(&self, upto: Lsn) {
        let now = self.clock.now();
        publish_upto(&self.waiting(), upto.0, now);
    }

    fn refused(&self, records: RangeInclusive<Lsn>, _: &WalError) {
        // Somebody else filled the disk. Changes that wait are taken back; those that were seen
        // at once, and the log that has records of changes that were taken back, are put right by
        // the next checkpoint, and nothing is recorded before it.
        self.space.set_gap(true);
        self.abort_from(*records.start());
    }

    fn failed(&self, _: &WalError) {
        self.abort_from(Lsn(0));
    }
}
