//! What writes: rounds of batches, each round ended by a checkpoint. One for all caches, a step at
//! a time; time comes in as an argument.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::capture::Captures;
use super::catalog::{Catalog, Home};
use super::dirty::Unit;
use super::feed::Feed;
use super::recovery::{self, BehindRecovered};
use super::signal::Signal;
use super::{BehindConfig, PersistError};
use crate::env::Timestamp;
use crate::store::{BATCH_BYTES_DEFAULT, Batch, CacheId, Error, Position, Report, Store};
use crate::table::{Cursor, Table};

/// Bytes of batches between two checkpoints, about: a round must not keep other caches waiting,
/// and what is not durable is written again after trouble.
const ROUND_BYTES: usize = 4 << 20;
/// How many sequence numbers a segment may give out before the store must know of more: far more
/// than it can between two rounds. 2^16 crashes fit into the 40 bits.
pub(super) const RESERVE: u64 = 1 << 24;
/// How long a store in trouble is left alone, at first and at the most, ms.
pub(super) const REOPEN_MS: u64 = 100;
const REOPEN_MS_MAX: u64 = 2_000;

/// Why a save ends.
const LOST: &str = "the store has lost entries while it was read";

/// What the writer tells others.
#[derive(Default)]
pub(super) struct Status {
    told: Mutex<Told>,
    /// Saves that are under way.
    pub captures: Captures,
    /// Rings when the thread has ended.
    pub ended: Signal,
}

#[derive(Debug, Default)]
struct Told {
    trouble: Option<String>,
    key_trouble: Option<String>,
    alarms: Vec<String>,
}

impl Status {
    pub fn trouble(&self) -> Option<String> {
        self.told.lock().trouble.clone()
    }

    pub fn key_trouble(&self) -> Option<String> {
        self.told.lock().key_trouble.clone()
    }

    pub fn take_alarms(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock().alarms)
    }

    pub fn alarm(&self, text: String) {
        self.told.lock().alarms.push(text);
    }
}

/// A cache and where it is in the store.
pub(super) struct Slot {
    pub feed: Arc<Feed>,
    pub home: Option<Home>,
    /// The store lost entries: all are written again, from here on.
    pub refill: Option<Cursor>,
}

/// A store that takes nothing.
struct Outage {
    /// When it is tried again.
    until: Timestamp,
    pause: u64,
}

pub(super) struct Writer {
    pub(super) store: Arc<dyn Store>,
    pub(super) slots: Vec<Slot>,
    pub(super) catalog: Catalog,
    storage_id: [u8; 16],
    position: u64,
    outage: Option<Outage>,
    /// The store was opened again after it failed and has taken nothing since: if it fails again,
    /// what is written may be the cause.
    doubt: bool,
    status: Arc<Status>,
}

impl Writer {
    /// Reads the store into the tables; from then on their changes are noted.
    pub fn open(
        config: BehindConfig,
        feeds: &[Arc<Feed>],
        now: Timestamp,
    ) -> Result<(Writer, BehindRecovered), PersistError> {
        let slot = |feed: &Arc<Feed>| Slot { feed: Arc::clone(feed), home: None, refill: None };
        let mut writer = Writer {
            catalog: Catalog::read(&*config.store)?,
            store: config.store,
            slots: feeds.iter().map(slot).collect(),
            storage_id: config.storage_id,
            position: config.report.applied.0,
            outage: None,
            doubt: false,
            status: Arc::default(),
        };
        recovery::check_owner(&writer.catalog, config.storage_id)?;
        let unclaimed = writer.claim()?;
        let mut recovered = BehindRecovered { unclaimed, ..BehindRecovered::default() };
        recovered.note(&config.report);
        for slot in &writer.slots {
            slot.begin(&writer.store);
            recovery::fill(&*writer.store, slot, now, &mut recovered)?;
        }
        // From here on no number that was given before is given again.
        (0..writer.slots.len()).try_for_each(|at| writer.settle_in(at, false))?;
        writer.store.checkpoint()?;
        for slot in &writer.slots {
            slot.raise_ceiling();
            slot.attach();
        }
        Ok((writer, recovered))
    }

    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Finds the caches in the store; gives those up that nobody wants.
    fn claim(&mut self) -> Result<Vec<String>, Error> {
        // Of a table that is new, the store has nothing unless it was written with its number.
        let has = |slot: &Slot, name: &str| {
            slot.feed.name == name && (!slot.feed.is_new || slot.home.is_some())
        };
        let wanted = |name: &String| self.slots.iter().any(|slot| has(slot, name));
        let known = self.catalog.caches.keys();
        let unclaimed: Vec<_> = known.filter(|name| !wanted(name)).cloned().collect();
        let mut batch = self.batch();
        unclaimed.iter().try_for_each(|name| self.catalog.forget(name, &mut batch))?;
        if self.catalog.storage_id.is_none() {
            self.catalog.claim(self.storage_id, &mut batch)?;
        }
        self.find_homes();
        if !batch.is_empty() {
            self.store.commit(&batch)?;
        }
        Ok(unclaimed)
    }

    fn find_homes(&mut self) {
        for slot in &mut self.slots {
            slot.home = self.catalog.caches.get(&slot.feed.name).copied();
            slot.feed.lock().move_in(slot.home.map(|home| home.id));
        }
    }

    pub(super) fn batch(&mut self) -> Batch {
        self.position += 1;
        let mut batch = Batch::new(usize::MAX);
        batch.advance(Position(self.position));
        batch
    }

    /// Does what is due, or with `drain` everything; when to come again, `None` = when woken.
    pub fn step(&mut self, now: Timestamp, drain: bool) -> Option<Timestamp> {
        if let Err(error) = self.try_step(now, drain) {
            self.fail(&error, now);
        }
        if let Some(outage) = &self.outage {
            return Some(outage.until);
        }
        if self.has_upkeep() {
            return Some(now);
        }
        self.slots.iter().filter_map(|slot| slot.feed.due()).min()
    }

    fn try_step(&mut self, now: Timestamp, drain: bool) -> Result<(), Error> {
        if self.outage.as_ref().is_some_and(|outage| now < outage.until) {
            return Ok(());
        }
        if self.outage.is_some() {
            self.reopen()?;
        }
        for at in 0..self.slots.len() {
            let due = self.slots.get(at).and_then(|slot| slot.feed.due());
            if due.is_some_and(|due| drain || due <= now) {
                self.round(at, now)?;
            }
        }
        self.upkeep(now)
    }

    /// Writes changes of one cache until nothing is left or the round is long enough, and makes
    /// them durable.
    fn round(&mut self, at: usize, now: Timestamp) -> Result<(), Error> {
        let Some(slot) = self.slots.get(at) else { return Ok(()) };
        let feed = Arc::clone(&slot.feed);
        let cleared = feed.lock().cleared.take();
        let mut written = Vec::new();
        let result = self.write(at, &feed, cleared.is_some(), now, &mut written);
        if result.is_err() {
            feed.put_back(&written, cleared);
            return result;
        }
        let count: usize = written.iter().map(Vec::len).sum();
        feed.counts.written.fetch_add(count as u64, Ordering::Relaxed);
        feed.lock().dirty.done(&written);
        Ok(())
    }

    fn write(
        &mut self,
        at: usize,
        feed: &Feed,
        cleared: bool,
        now: Timestamp,
        written: &mut Vec<Unit>,
    ) -> Result<(), Error> {
        self.settle_in(at, cleared)?;
        let Some(home) = self.slots.get(at).and_then(|slot| slot.home) else { return Ok(()) };
        let mut bytes = 0;
        while bytes < ROUND_BYTES {
            let mut units = feed.lock().take(now, BATCH_BYTES_DEFAULT);
            if units.is_empty() {
                break;
            }
            match self.commit(feed, home.id, &mut units, now) {
                Ok(committed) => {
                    bytes += committed;
                    feed.counts.batches.fetch_add(1, Ordering::Relaxed);
                    written.append(&mut units);
                }
                Err(error) => self.not_committed(feed, &units, error, now)?,
            }
        }
        self.store.checkpoint()?;
        self.doubt = false;
        self.slots.get(at).iter().for_each(|slot| slot.raise_ceiling());
        Ok(())
    }

    /// Writes where the cache is, if that is another place, and how far its sequence numbers may
    /// be given out, if that is to be further.
    pub(super) fn settle_in(&mut self, at: usize, cleared: bool) -> Result<(), Error> {
        let Some(slot) = self.slots.get(at) else { return Ok(()) };
        let (name, highest) = (slot.feed.name.clone(), slot.feed.lock().highest);
        let reserved = highest + RESERVE;
        let enough = slot.home.is_some_and(|home| home.reserved > highest + RESERVE / 2);
        if !cleared && enough {
            return Ok(());
        }
        let mut batch = self.batch();
        let home = match cleared {
            true => self.catalog.renew(&name, reserved, &mut batch)?,
            false => self.catalog.reserve(&name, reserved, &mut batch)?,
        };
        self.store.commit(&batch)?;
        self.slots.get_mut(at).into_iter().for_each(|slot| {
            slot.home = Some(home);
            slot.feed.lock().move_in(Some(home.id));
        });
        Ok(())
    }

    /// Commits units; gives the bytes of their batch.
    fn commit(
        &mut self,
        feed: &Feed,
        cache: CacheId,
        units: &mut [Unit],
        now: Timestamp,
    ) -> Result<usize, Error> {
        let mut batch = self.batch();
        for op in units.iter_mut().flatten() {
            match op.to.take().filter(|stored| stored.deadline.is_none_or(|at| at > now)) {
                Some(stored) => batch.put(cache, &op.key, Arc::unwrap_or_clone(stored))?,
                None => batch.delete(cache, &op.key)?,
            }
        }
        let bytes = batch.bytes();
        if let Some(capture) = feed.captured() {
            let keys = units.iter().flatten().map(|op| &op.key);
            keys.for_each(|key| capture.replaces(cache, key, &*self.store));
        }
        self.store.commit(&batch).map(|()| bytes)
    }

    /// Decides whom to blame for a batch that failed. What says nothing of the store is an error.
    fn not_committed(
        &mut self,
        feed: &Feed,
        units: &[Unit],
        error: Error,
        now: Timestamp,
    ) -> Result<(), Error> {
        feed.counts.retries.fetch_add(1, Ordering::Relaxed);
        let of_entries = matches!(error, Error::Damaged(_) | Error::Size { .. });
        let again = self.doubt && !matches!(error, Error::OutOfSpace(_));
        if !of_entries && !again {
            feed.lock().dirty.put_back(units);
            return Err(error);
        }
        feed.lock().dirty.failed(units, now);
        if let [_] = units {
            self.status.told.lock().key_trouble = Some(error.to_string());
        }
        if of_entries { Ok(()) } else { Err(error) }
    }

    /// Whether the store takes anything now.
    pub(super) fn well(&self) -> Result<(), String> {
        let trouble = || self.status.trouble().unwrap_or_default();
        if self.outage.is_some() { Err(trouble()) } else { Ok(()) }
    }

    /// The store takes nothing for now: why not.
    pub(super) fn failed(&mut self, error: &Error, now: Timestamp) -> String {
        self.fail(error, now);
        error.to_string()
    }

    /// The store takes nothing for now.
    fn fail(&mut self, error: &Error, now: Timestamp) {
        let pause = self.outage.as_ref().map_or(REOPEN_MS, |outage| outage.pause * 2);
        let pause = pause.min(REOPEN_MS_MAX);
        self.outage = Some(Outage { until: now + pause, pause });
        let full = matches!(error, Error::OutOfSpace(_));
        self.slots.iter().for_each(|slot| slot.feed.out_of_space.store(full, Ordering::Relaxed));
        self.status.told.lock().trouble = Some(error.to_string());
    }

    /// Opens the store again. Everything that its last checkpoint does not have still waits.
    fn reopen(&mut self) -> Result<(), Error> {
        let report = self.reopen_store()?;
        let next = self.catalog.next();
        self.catalog = Catalog::read(&*self.store)?;
        self.catalog.skip_below(next);
        self.position = report.applied.0;
        self.claim()?;
        if has_lost(&report) {
            self.slots.iter_mut().for_each(|slot| {
                slot.refill = Some(Cursor::default());
                slot.feed.lock().refilling = true;
            });
        }
        recovery::alarms(&report).into_iter().for_each(|alarm| self.status.alarm(alarm));
        self.doubt = true;
        self.outage = None;
        self.status.told.lock().trouble = None;
        self.slots.iter().for_each(|slot| slot.feed.out_of_space.store(false, Ordering::Relaxed));
        Ok(())
    }

    /// No save reads of the store between its losing entries and being told so.
    fn reopen_store(&self) -> Result<Report, Error> {
        let captures = self.status.captures.all();
        let mut held: Vec<_> = captures.iter().map(|capture| capture.hold()).collect();
        let report = self.store.reopen()?;
        if has_lost(&report) {
            held.iter_mut().for_each(|read| read.fail(LOST));
        }
        Ok(report)
    }

    /// What failed is tried again at once.
    pub fn retry_now(&self) {
        self.slots.iter().for_each(|slot| slot.feed.lock().dirty.retry_now());
    }

    /// Whether everything is durable but what failed by itself since `began`.
    pub fn is_drained(&self, began: Timestamp) -> bool {
        let drained = |slot: &Slot| {
            let state = slot.feed.lock();
            state.cleared.is_none()
                && state.dirty.oldest_queued().is_none()
                && state.dirty.next_retry().is_none_or(|at| at > began)
        };
        self.outage.is_none()
            && self.slots.iter().all(|slot| slot.refill.is_none() && drained(slot))
    }

    /// Ends the store in good order: the next start goes on with the numbers as they are.
    pub fn finish(&mut self) {
        if let Err(error) = self.try_finish() {
            self.status.told.lock().trouble = Some(error.to_string());
        }
    }

    fn try_finish(&mut self) -> Result<(), Error> {
        let mut batch = self.batch();
        for slot in &self.slots {
            let highest = slot.feed.lock().highest;
            self.catalog.reserve(&slot.feed.name, highest, &mut batch)?;
        }
        self.store.commit(&batch)?;
        self.store.checkpoint()?;
        self.store.close()
    }
}

/// Whether the store has less than was in it.
fn has_lost(report: &Report) -> bool {
    report.suspect || report.quarantined.is_some()
}

impl Slot {
    /// What is evicted from the table stays readable.
    pub(super) fn begin(&self, store: &Arc<dyn Store>) {
        let _ = self.feed.store.set(Arc::clone(store));
        let backing = |table: Arc<Table>| table.set_backing(Arc::clone(&self.feed) as _);
        self.feed.table.upgrade().map(backing);
    }

    /// Everything is in its place: from now on the changes of the table are noted.
    pub(super) fn attach(&self) {
        self.feed.lock().filled = true;
        let journal = |table: Arc<Table>| table.set_journal(Arc::clone(&self.feed) as _);
        self.feed.table.upgrade().map(journal);
    }

    /// What the store knows durably to be given out may be.
    pub(super) fn raise_ceiling(&self) {
        let reserved = self.home.map_or(0, |home| home.reserved);
        let mut state = self.feed.lock();
        state.ceiling = state.ceiling.max(reserved);
    }
}
