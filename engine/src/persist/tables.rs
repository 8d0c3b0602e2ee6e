//! The tables that are kept now: they come and go while the log runs.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::journal::TableJournal;
use super::{KeptTable, PersistError, PersistMode, Persistence};
use crate::env::Timestamp;
use crate::table::{Change, Journal, Table, Unrecorded};

/// Entries of a segment that are freed before others have their turn.
const BUDGET: usize = 4_096;

/// Shared by the log, which tells them what is durable, and by checkpoints.
#[derive(Default)]
pub(super) struct Tables {
    all: RwLock<Arc<[KeptTable]>>,
    /// By name, to be closed when the table goes.
    journals: Mutex<Vec<(String, Arc<TableJournal>)>>,
}

impl Tables {
    pub fn new(all: &[KeptTable]) -> Self {
        Tables { all: RwLock::new(all.into()), journals: Mutex::default() }
    }

    /// Those of this moment.
    pub fn now(&self) -> Arc<[KeptTable]> {
        Arc::clone(&self.all.read())
    }

    /// The tables whose changes wait to be durable.
    pub fn waiting(&self) -> Vec<Arc<Table>> {
        let all = self.now();
        let sync = |kept: &&KeptTable| kept.mode == PersistMode::Sync;
        all.iter().filter(sync).map(|kept| Arc::clone(&kept.table)).collect()
    }

    /// From now on the changes of the table are recorded.
    pub fn attach(&self, kept: &KeptTable, journal: TableJournal) {
        let journal = Arc::new(journal);
        self.journals.lock().push((kept.name.clone(), Arc::clone(&journal)));
        kept.table.set_journal(journal);
    }

    fn add(&self, kept: KeptTable) {
        let mut all = self.all.write();
        *all = all.iter().cloned().chain([kept]).collect();
    }

    fn remove(&self, name: &str) {
        let mut all = self.all.write();
        *all = all.iter().filter(|kept| kept.name != name).cloned().collect();
        self.journals.lock().retain(|(of, _)| of != name);
    }

    fn journal(&self, name: &str) -> Option<Arc<TableJournal>> {
        let journals = self.journals.lock();
        journals.iter().find(|(of, _)| of == name).map(|(_, journal)| Arc::clone(journal))
    }
}

/// The journal of a table that is not kept and that nobody may write to any more.
struct Closed;

impl Journal for Closed {
    fn record(&self, change: &Change<'_>) -> Result<u64, Unrecorded> {
        if matches!(change, Change::Clear) { Ok(0) } else { Err(Unrecorded::Dropped) }
    }

    fn publishes(&self) -> bool {
        false
    }
}

/// Empties a table for good: whoever still holds it finds nothing in it, and every write is
/// refused with [`Unrecorded::Dropped`].
pub fn discard(table: &Table, now: Timestamp) {
    // Without effect on a table that has a journal: that one was closed.
    table.set_journal(Arc::new(Closed));
    let _ = table.clear(now);
    while table.maintain(now, BUDGET) {}
}

impl Persistence {
    /// Keeps one more table from now on. Whatever an earlier table of this name left in the log
    /// is gone for good, also after a crash: the first record of the new one says so.
    ///
    /// Waits for the disk.
    ///
    /// # Errors
    /// [`PersistError`]; the table is not kept and must not be used.
    pub fn add_table(&self, kept: KeptTable) -> Result<(), PersistError> {
        let journal = TableJournal::new(&kept, self.log.clone(), Arc::clone(&self.space));
        self.tables.attach(&kept, journal);
        // Ahead of the checkpoint that has the table: it waits for what the store is to forget.
        self.reads.iter().for_each(|reads| reads.add(reads.feeder.add(&kept.name, &kept.table)));
        // Ahead of the first write: a checkpoint that forgets that part of the log has the table.
        self.tables.add(kept.clone());
        let begun = match self.tables.journal(&kept.name).map(|j| j.record(&Change::Clear)) {
            Some(Err(why)) => Err(PersistError::Life(crate::Error::Unrecorded(why))),
            _ => kept.table.begin_life().map_err(PersistError::Life),
        };
        let begun = begun.and_then(|()| Ok(self.log.wait_durable(self.last())?));
        if begun.is_err() {
            self.reads.iter().for_each(|reads| reads.remove(&kept.name));
            self.tables.remove(&kept.name);
        }
        begun
    }

    /// Keeps the table of this name no more, and empties it. Its data is in no later checkpoint;
    /// until then its owner has to remember that it was dropped
    /// ([`PersistConfig::dropped`](super::PersistConfig::dropped)).
    pub fn remove_table(&self, name: &str, now: Timestamp) {
        let all = self.tables.now();
        let Some(kept) = all.iter().find(|kept| kept.name == name) else { return };
        if let Some(journal) = self.tables.journal(name) {
            journal.close();
        }
        // Takes every lock of the table once: whoever had begun to record has done so then, and
        // nothing of this table comes behind what a later one of its name records.
        let _ = kept.table.clear(now);
        // Changes that wait to be seen must not be left waiting when the log forgets the table.
        let _ = self.log.wait_durable(self.last());
        self.reads.iter().for_each(|reads| reads.remove(name));
        self.tables.remove(name);
        discard(&kept.table, now);
    }
}

impl TableJournal {
    /// Takes no more changes.
    fn close(&self) {
        self.closed.store(true, std::sync::atomic::Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
