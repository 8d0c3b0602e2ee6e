//! A store that is opened when the first table wants it: a node without tables that are written
//! behind has none.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::{Behind, BehindConfig, BehindRecovered, BehindTable};
use crate::env::{Clock, Timestamp};
use crate::persist::PersistError;

/// Opens the store, or makes it.
pub type OpenBehind = Box<dyn Fn() -> Result<BehindConfig, PersistError> + Send + Sync>;

/// Tables that are written behind, if there are any.
pub struct BehindOnDemand {
    open: OpenBehind,
    clock: Arc<dyn Clock>,
    behind: OnceLock<Behind>,
    /// Held while the store is opened.
    opening: Mutex<()>,
}

impl BehindOnDemand {
    /// Nothing is opened yet.
    #[must_use]
    pub fn new(open: OpenBehind, clock: Arc<dyn Clock>) -> Self {
        BehindOnDemand { open, clock, behind: OnceLock::new(), opening: Mutex::default() }
    }

    /// What writes, once there was a table.
    #[must_use]
    pub fn get(&self) -> Option<&Behind> {
        self.behind.get()
    }

    /// Opens the store with the first tables, as [`Behind::open`]. `None`: it was open already, and
    /// nothing was done.
    ///
    /// # Errors
    /// As [`Behind::open`].
    pub fn begin(&self, tables: Vec<BehindTable>) -> Result<Option<BehindRecovered>, PersistError> {
        let _one = self.opening.lock();
        if self.behind.get().is_some() {
            return Ok(None);
        }
        let (behind, recovered) = Behind::open((self.open)()?, tables, Arc::clone(&self.clock))?;
        let _ = self.behind.set(behind);
        Ok(Some(recovered))
    }

    /// As [`Behind::add_table`]; opens the store where it is the first.
    ///
    /// # Errors
    /// As [`Behind::add_table`] and [`Behind::open`].
    pub fn add_table(&self, table: BehindTable) -> Result<(), PersistError> {
        // With none: what cannot be opened leaves the table as it is.
        self.begin(Vec::new())?;
        self.get().map_or(Ok(()), |behind| behind.add_table(table))
    }

    /// As [`Behind::alter_table`].
    pub fn alter_table(&self, table: &BehindTable) {
        self.get().into_iter().for_each(|behind| behind.alter_table(table));
    }

    /// As [`Behind::remove_table`].
    pub fn remove_table(&self, name: &str, now: Timestamp) {
        self.get().into_iter().for_each(|behind| behind.remove_table(name, now));
    }

    /// As [`Behind::settle`].
    ///
    /// # Errors
    /// As [`Behind::settle`].
    pub fn settle(&self) -> Result<(), PersistError> {
        self.get().map_or(Ok(()), Behind::settle)
    }
}
