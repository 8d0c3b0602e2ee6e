//! Tables come and go while the store is open.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::asks::{Ask, Reply, What};
use super::feed::Feed;
use super::writer::{Slot, Writer};
use super::{Behind, BehindTable};
use crate::env::Timestamp;
use crate::persist::{PersistError, behind, discard};

impl Behind {
    /// Writes one more table behind from now on. Whatever the store has of an earlier one of this
    /// name is gone for good, also after a crash. Waits for the disk.
    ///
    /// # Errors
    /// [`PersistError::Behind`] when the store takes nothing; the table is not kept and must not be
    /// used.
    pub fn add_table(&self, table: BehindTable) -> Result<(), PersistError> {
        let (clock, signal) = (Arc::clone(&self.clock), Arc::clone(&self.shared.signal));
        let feed = Arc::new(Feed::new(table, clock, signal));
        self.ask(What::Join(Arc::clone(&feed))).wait().map_err(behind::trouble)?;
        self.add_reader(&feed);
        self.feeds.write().push(feed);
        Ok(())
    }

    /// Takes over delay and bound of a table that is written behind. What waits beyond a smaller bound
    /// stays.
    pub fn alter_table(&self, table: &BehindTable) {
        if let Some(feed) = self.feed(&table.name) {
            feed.set_limits(table.delay_ms, table.bytes_max);
            self.shared.signal.wake();
        }
    }

    /// Writes the table of this name behind no more, and empties it. The store forgets it in a
    /// moment, or when it is well again; until it is [settled](Behind::settle) that it has, its owner
    /// has to remember that it was dropped ([`BehindTable::is_new`]).
    pub fn remove_table(&self, name: &str, now: Timestamp) {
        let Some(feed) = self.feed(name) else { return };
        feed.close();
        // Takes every lock of the table once: nobody is within a change after that.
        feed.table.upgrade().into_iter().for_each(|table| discard(&table, now));
        self.readers.write().remove(name);
        self.feeds.write().retain(|other| !Arc::ptr_eq(other, &feed));
        self.ask(What::Leave(feed));
    }

    /// Waits until what came and went is durable.
    ///
    /// # Errors
    /// [`PersistError::Behind`] when the store takes nothing.
    pub fn settle(&self) -> Result<(), PersistError> {
        self.ask(What::Settle).wait().map_err(behind::trouble)
    }

    fn ask(&self, what: What) -> Reply {
        let reply = self.shared.asks.ask(what);
        self.shared.signal.wake();
        reply
    }
}

impl Writer {
    /// Does what was asked, or says why not.
    pub(super) fn answer(&mut self, ask: &Ask, now: Timestamp) {
        let done = match &ask.what {
            What::Join(feed) => self.join(feed, now),
            What::Leave(feed) => self.leave(feed, now),
            What::Settle => self.settle(now),
        };
        ask.answer(done);
    }

    /// Gives a table its place in the store, and lets it be written to once that is durable.
    pub(super) fn join(&mut self, feed: &Arc<Feed>, now: Timestamp) -> Result<(), String> {
        self.slots.push(Slot { feed: Arc::clone(feed), home: None, refill: None });
        let done = self.well().and_then(|()| self.settle_new(self.slots.len() - 1, now));
        match (&done, self.slots.last()) {
            (Ok(()), Some(slot)) => {
                slot.begin(&self.store);
                slot.attach();
            }
            // What is in the store after all has no slot: it is given up when the store is back.
            _ => drop(self.slots.pop()),
        }
        done
    }

    fn settle_new(&mut self, at: usize, now: Timestamp) -> Result<(), String> {
        let settled = self.settle_in(at, true).and_then(|()| self.store.checkpoint());
        settled.map_err(|error| self.failed(&error, now))?;
        self.slots.get(at).iter().for_each(|slot| slot.raise_ceiling());
        Ok(())
    }

    /// Gives a table up. In a store that is in trouble that is done when it is back, since nobody
    /// wants what has no slot.
    pub(super) fn leave(&mut self, feed: &Arc<Feed>, now: Timestamp) -> Result<(), String> {
        self.slots.retain(|slot| !Arc::ptr_eq(&slot.feed, feed));
        self.well()?;
        let mut batch = self.batch();
        let forgotten = self.catalog.forget(&feed.name, &mut batch);
        let forgotten = forgotten.and_then(|()| self.store.commit(&batch));
        forgotten.map_err(|error| self.failed(&error, now))
    }

    pub(super) fn settle(&mut self, now: Timestamp) -> Result<(), String> {
        self.well()?;
        self.store.checkpoint().map(drop).map_err(|error| self.failed(&error, now))
    }
}

impl Feed {
    /// Takes no more changes: the table was dropped.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }
}
