//! One segment: the index that readers use without a lock, and the writer's state behind a mutex.
//!
//! **The write protocol**: `prepare` makes a version that nobody sees, `publish`
//! moves the watermark past it. A write that needs no commit in between is published as it is
//! prepared: the watermark is raised first, so that readers see the version the moment it is in
//! the index.
//!
//! **Invariants**
//! - A reader sees the newest version with `seq <= committed` and `seq > cleared`.
//! - `linked` holds, in the order of their sequence numbers, the versions that still link to an
//!   older one; the older one goes when no open snapshot can see it.
//! - A slot is in its region's policy exactly when its newest version is not a tombstone.

mod away;
mod copy;
mod publication;
mod relocate;
mod removal;
mod restore;
mod room;
mod telling;
mod time;
mod transaction;
mod upkeep;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::{Mutex, MutexGuard};

use super::account::Account;
use super::bag::Bag;
use super::epochs::Epochs;
use super::index::{Grower, Index, Place};
use super::slots::{Access, Accesses, ReadBuffer, SlotMap, policy_hash};
use super::version::{Draft, Marks, Version, VersionPtr};
use super::{Backing, Change, Journal, KeyHash, NewEntry, SEQ_BITS, Shared, Unrecorded};
use crate::env::Timestamp;
use crate::error::Error;
use crate::eviction::{Entries, Policy, Reads, Slot};
use crate::expiry::Wheel;
use crate::metrics::{Metrics, count};
use crate::sync::{AtomicU64, Ordering};

pub(crate) struct Segment {
    /// Its place among the table's segments.
    number: usize,
    pub index: Index,
    /// The watermark: everything up to it is published.
    pub committed: AtomicU64,
    /// Everything up to it was cleared (`flush_all`).
    pub cleared: AtomicU64,
    /// The number of the last event. Written by the holder of the lock.
    pub told: AtomicU64,
    pub epochs: Epochs,
    /// It is a copy that follows another: nothing leaves it but by that one's word.
    pub follows: AtomicBool,
    pub accesses: Accesses,
    /// Reads on their way to the policies, when one wants to hear of them.
    pub buffer: Option<Box<ReadBuffer>>,
    /// When there is background work to do, ms; `u64::MAX` = never.
    due: AtomicU64,
    /// Counted by the holder of the lock.
    pub metrics: Metrics,
    /// The oldest record of the journal that a write waits for to be published.
    unpublished: AtomicU64,
    writer: Mutex<Writer>,
}

/// What only the holder of the segment's lock touches.
pub(crate) struct Writer {
    seq: u64,
    grower: Grower,
    slots: SlotMap,
    policies: Vec<Box<dyn Policy>>,
    wheel: Option<Box<Wheel>>,
    /// Prepared writes that are not published, oldest first.
    pending: VecDeque<Pending>,
    /// Versions that link to an older one, oldest first: (seq, slot).
    linked: VecDeque<(u64, Slot)>,
    /// Where the sweep after a clear has got to.
    sweep: Option<u64>,
    bag: Bag,
    /// Bytes of its entries.
    entry_bytes: i64,
    /// Bytes of structures that the account knows of.
    charged: usize,
    /// Bytes of access words.
    access_memory: usize,
    /// How many reads had been pushed when the ring of reads was emptied last.
    drained: u32,
}

#[derive(Debug, Clone, Copy)]
struct Pending {
    seq: u64,
    slot: Slot,
    done: bool,
    /// Who wrote it.
    origin: u64,
    /// Its number in the journal, with which it is published; [`NO_RECORD`] = by its owner.
    record: u64,
}

/// No number of a journal.
const NO_RECORD: u64 = u64::MAX;

/// Where the newest version of a key is, if there is one. Valid until the segment is changed.
pub(crate) type Found<'t> = Option<(Place<'t>, Version<'t>)>;

/// The table is over its limit, and the segment has nothing more to give.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lack {
    /// Bytes that were leaving before anything was evicted for it: what went since is as good as
    /// free.
    pub leaving: u64,
}

/// When a write becomes visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Visible {
    Now,
    /// When [`Locked::publish`] is called with its sequence number.
    Later,
    /// As `Later`, and the journal hears of it from its transaction.
    Together,
}

impl Segment {
    pub fn new(shared: &Shared, number: usize, seed: u64) -> Segment {
        let (index, grower) = Index::new();
        let policies: Vec<_> = shared.policies.iter().map(|kind| kind.build(seed)).collect();
        let reports = policies.iter().any(|policy| policy.reads() == Reads::Reported);
        Segment {
            number,
            index,
            committed: AtomicU64::new(0),
            cleared: AtomicU64::new(0),
            told: AtomicU64::new(0),
            epochs: Epochs::new(shared.epoch),
            follows: AtomicBool::new(false),
            accesses: Accesses::new(),
            buffer: reports.then(|| Box::new(ReadBuffer::new())),
            due: AtomicU64::new(u64::MAX),
            metrics: Metrics::default(),
            unpublished: AtomicU64::new(NO_RECORD),
            writer: Mutex::new(Writer {
                seq: 0,
                grower,
                slots: SlotMap::default(),
                policies,
                wheel: None,
                pending: VecDeque::new(),
                linked: VecDeque::new(),
                sweep: None,
                bag: Bag::default(),
                entry_bytes: 0,
                charged: 0,
                access_memory: 0,
                drained: 0,
            }),
        }
    }

    /// Takes the segment's lock.
    pub fn lock<'t>(&'t self, shared: &'t Shared, now: Timestamp) -> Locked<'t> {
        Locked { shared, segment: self, w: self.writer.lock(), now, origin: 0, replays: false }
    }

    /// Takes the segment's lock when nobody has it.
    pub fn try_lock<'t>(&'t self, shared: &'t Shared, now: Timestamp) -> Option<Locked<'t>> {
        let w = self.writer.try_lock()?;
        Some(Locked { shared, segment: self, w, now, origin: 0, replays: false })
    }

    /// When there is background work to do: expiry, a sweep, trimming, resizing.
    pub fn due(&self) -> Timestamp {
        self.due.load(Ordering::Relaxed)
    }

    /// Whether a write waits for a record of the journal up to this one.
    pub fn waits_for(&self, record: u64) -> bool {
        self.unpublished.load(Ordering::Acquire) <= record
    }

    /// The versions that are left, when nobody uses the segment any more.
    pub fn drain(&mut self) -> Vec<VersionPtr> {
        let index = &self.index;
        let writer = self.writer.get_mut();
        let mut all = Vec::new();
        let mut from = Some(0);
        while let Some(at) = from {
            from = writer.grower.scan(
                index,
                at,
                1 << 31,
                |_| 0,
                |pointer| {
                    all.extend(VersionPtr::from_bits(pointer));
                },
            );
        }
        all
    }
}

/// A segment with its lock held: the one who may change it.
pub(crate) struct Locked<'t> {
    shared: &'t Shared,
    segment: &'t Segment,
    w: MutexGuard<'t, Writer>,
    now: Timestamp,
    /// Who writes, for the observer; 0 = nobody in particular.
    origin: u64,
    /// What is done was recorded by somebody else: the journal hears nothing of it.
    replays: bool,
}

/// What policies may ask, answered from the slot map and the access words.
struct View<'a> {
    slots: &'a SlotMap,
    accesses: &'a Accesses,
    shared: &'a Shared,
}

impl Entries for View<'_> {
    fn hash(&self, slot: Slot) -> u64 {
        let version = version_at(self.slots.pointer(slot));
        version.map_or(0, |v| policy_hash(self.shared.hasher.index_hash(v.key())))
    }

    fn weight(&self, slot: Slot) -> u32 {
        let version = version_at(self.slots.pointer(slot));
        version.map_or(0, |v| weight(v.charge(self.shared.allocator)))
    }

    fn take_reads(&self, slot: Slot) -> u8 {
        self.accesses.take_reads(slot)
    }
}

/// The version behind a pointer of the index or the slot map.
#[expect(unsafe_code, reason = "the segment's lock keeps every version that is in it alive")]
fn version_at<'g>(pointer: u64) -> Option<Version<'g>> {
    // SAFETY: called with the segment's lock held, on a pointer read from the index or the slot
    // map; versions are taken out of both under that lock before they are retired, and freed a
    // grace period later.
    VersionPtr::from_bits(pointer).map(|version| unsafe { version.get() })
}

fn weight(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Splits the guard into the writer and a view over it for its policies.
macro_rules! with_policy {
    ($locked:expr, $region:expr, |$policy:ident, $view:ident| $body:expr) => {{
        let Writer { slots, policies, .. } = &mut *$locked.w;
        let $view = View { slots, accesses: &$locked.segment.accesses, shared: $locked.shared };
        policies.get_mut(usize::from($region)).map(|$policy| $body)
    }};
}
use with_policy;

impl<'t> Locked<'t> {
    fn account(&self) -> &'t Account {
        &self.shared.account
    }

    /// Where what is done has to be recorded.
    fn journal(&self) -> Option<&'t Arc<dyn Journal>> {
        self.shared.journal.get().filter(|_| !self.replays)
    }

    /// The epoch that a sequence number belongs to.
    pub fn epoch_of(&self, seq: u64) -> u32 {
        u32::try_from(self.segment.epochs.version(seq) >> SEQ_BITS).unwrap_or(u32::MAX)
    }

    /// The version that a sequence number stands for.
    pub fn own_version(&self, seq: u64) -> u64 {
        self.segment.epochs.version(seq)
    }

    /// Whether it is a copy that follows another.
    pub fn follows(&self) -> bool {
        self.segment.follows.load(Ordering::Relaxed)
    }

    /// Looks a key up, for the write that follows.
    #[inline]
    pub fn find(&self, hash: KeyHash, key: &[u8]) -> Found<'t> {
        let is = |pointer| version_at(pointer).is_some_and(|v: Version<'_>| v.key() == key);
        let place = self.segment.index.find(hash.index, is)?;
        Some((place, version_at(place.pointer)?))
    }

    /// Whether a version, published or not, is to be seen by a writer.
    #[inline]
    pub fn is_alive(&self, version: Version<'_>) -> bool {
        !version.is_tombstone()
            && version.seq() > self.segment.cleared.load(Ordering::Relaxed)
            && !version.is_expired(self.now)
    }

    /// Stores a new version over what was `found`; gives its sequence number, and what
    /// [`Locked::evict_surplus`] says.
    pub fn put(
        &mut self,
        hash: KeyHash,
        found: Found<'t>,
        draft: Draft<'_>,
        visible: Visible,
    ) -> Result<(u64, Option<Lack>), Error> {
        self.drain_reads();
        let region = self.shared.region_of(draft.key);
        let found = self.make_room(hash, region, found, &draft)?;
        let slot = match found {
            Some((_, old)) => old.slot(),
            None => self.take_slot(region)?,
        };
        let change = |epoch, seq| Change::Put { key: draft.key, entry: draft.entry(), epoch, seq };
        let (visible, record) = match self.record(visible, found, change) {
            Ok(recorded) => recorded,
            Err(why) => {
                if found.is_none() {
                    self.w.slots.free(slot);
                }
                return Err(why);
            }
        };
        let linked = self.keeps_older(visible);
        self.w.seq += 1;
        let seq = self.w.seq;
        let pointer = VersionPtr::new(&Draft { linked, ..draft }, slot, seq, self.now);
        self.install(hash, found, pointer, linked, visible, record);
        let old_charge = found.map_or(0, |(_, old)| old.charge(self.shared.allocator));
        self.order(hash, slot, region, found.map(|(_, old)| (old, old_charge)), pointer);
        if let Some((place, old)) = found {
            self.set_aside(place.pointer, old, old_charge, linked);
        }
        let timed = draft.deadline.is_some() || draft.max_idle.is_some();
        self.settle_step(found.is_none() || linked || timed);
        let lack = if visible == Visible::Together && self.backing().is_some() {
            // Another key of the transaction may not leave memory before it is done.
            Some(Lack { leaving: self.account().leaving() })
        } else {
            self.evict_surplus(region, draft.charge(self.shared.allocator))
        };
        self.shared.watch_pressure(region);
        Ok((seq, lack))
    }

    /// Tells the journal, if there is one, of the change that is about to be done under the next
    /// sequence number; when it will be visible then, and its number in the journal.
    #[inline]
    fn record<'c>(
        &self,
        visible: Visible,
        found: Found<'t>,
        change: impl FnOnce(u32, u64) -> Change<'c>,
    ) -> Result<(Visible, u64), Error> {
        let journal = match self.journal() {
            Some(journal) if visible != Visible::Together => journal,
            _ => return Ok((visible, NO_RECORD)),
        };
        let change = change(self.epoch_of(self.w.seq + 1), self.w.seq + 1);
        if visible == Visible::Later || !journal.publishes() {
            self.tell_journal(journal, found, &change)?;
            return Ok((visible, NO_RECORD));
        }
        self.expect_record();
        let record = self.tell_journal(journal, found, &change);
        let record = record.inspect_err(|_| self.note_unpublished())?;
        Ok((Visible::Later, record))
    }

    /// Tells a journal of a change of what was `found`. What copies have of it they hear nothing of.
    fn tell_journal(
        &self,
        journal: &Arc<dyn Journal>,
        found: Found<'t>,
        change: &Change<'_>,
    ) -> Result<u64, Unrecorded> {
        let found = found.filter(|(_, old)| journal.has_copies() && self.is_alive(*old));
        match found {
            Some((_, old)) => journal.record_over(&self.put_of(old), change),
            None => journal.record(change),
        }
    }

    /// The change that would put a version as it is.
    pub fn put_of(&self, version: Version<'t>) -> Change<'t> {
        let entry = NewEntry {
            value: [version.value(), b""],
            flags: version.flags(),
            deadline: version.deadline(),
            max_idle: version.max_idle(),
            version: version.version(),
            marks: version.marks(),
        };
        let (key, seq) = (version.key(), version.seq());
        Change::Put { key, entry, epoch: self.epoch_of(seq), seq }
    }

    /// What becomes of a version that was written over: hidden behind the new one, it counts as
    /// structure from now on; else it goes, and what it had hidden itself.
    fn set_aside(&mut self, pointer: u64, old: Version<'t>, charge: usize, linked: bool) {
        let bytes = signed(charge);
        if linked {
            self.account().charge_structures(if old.is_tombstone() { 0 } else { bytes });
            return;
        }
        self.account().charge_structures(if old.is_tombstone() { -bytes } else { 0 });
        self.retire_chain(old.older());
        self.retire(pointer, charge);
    }

    /// Whether the version that a write replaces must stay linked behind the new one, or the new
    /// one may be withdrawn.
    fn keeps_older(&self, visible: Visible) -> bool {
        visible != Visible::Now || !self.w.pending.is_empty() || self.shared.snapshots.any_open()
    }

    fn take_slot(&mut self, region: u8) -> Result<Slot, Error> {
        if let Some(slot) = self.w.slots.take() {
            return Ok(slot);
        }
        self.evict_one(region);
        self.w.slots.take().ok_or_else(|| self.full())
    }

    fn full(&self) -> Error {
        count(&self.segment.metrics.refused);
        Error::Full { used: self.account().live(), limit: self.account().max_bytes() }
    }

    /// Puts the version in the index and, in the order that readers need, raises the watermark.
    fn install(
        &mut self,
        hash: KeyHash,
        found: Found<'t>,
        pointer: VersionPtr,
        linked: bool,
        visible: Visible,
        record: u64,
    ) {
        let bits = pointer.to_bits();
        let Some(version) = version_at(bits) else { return };
        let (seq, slot) = (version.seq(), version.slot());
        if linked {
            version.set_older(found.and_then(|(place, _)| VersionPtr::from_bits(place.pointer)));
            self.w.linked.push_back((seq, slot));
        }
        let now = visible == Visible::Now;
        let published = now && self.w.pending.is_empty();
        if published {
            self.segment.committed.store(seq, Ordering::Release);
        } else {
            let origin = self.origin;
            self.w.pending.push_back(Pending { seq, slot, done: now, origin, record });
            self.note_unpublished();
        }
        match found {
            Some((place, _)) => self.w.grower.replace(hash.index, place, bits),
            None => self.w.grower.insert(&self.segment.index, hash.index, bits),
        }
        if published {
            // Who misses it in memory just before still finds the old one to be away.
            self.forget(hash, version.key());
            self.tell_write(version, found.map(|(_, old)| old));
        }
    }

    /// Tells the slot map, the policy, the wheel and the account of a new version.
    fn order(
        &mut self,
        hash: KeyHash,
        slot: Slot,
        region: u8,
        old: Option<(Version<'t>, usize)>,
        pointer: VersionPtr,
    ) {
        let Some(new) = version_at(pointer.to_bits()) else { return };
        self.w.slots.set(slot, pointer.to_bits(), region, true);
        let seconds = self.shared.seconds(self.now);
        self.w.access_memory += self.segment.accesses.set(slot, Access::stored(seconds));
        let (old_charge, had, replaces) = match old.filter(|(old, _)| !old.is_tombstone()) {
            Some((old, charge)) => (charge, true, self.is_alive(old)),
            None => (0, false, false),
        };
        let charge = new.charge(self.shared.allocator);
        count(&self.segment.metrics.stored);
        if !replaces {
            count(&self.segment.metrics.inserted);
        }
        let (hash, was, is) = (policy_hash(hash.index), weight(old_charge), weight(charge));
        with_policy!(self, region, |policy, view| {
            if had && !replaces {
                policy.remove(slot, was);
            }
            if replaces {
                // As long as nobody is told of reads, writes say nothing of an order either.
                if was != is || view.shared.under_pressure() {
                    policy.update(slot, hash, was, is);
                }
            } else {
                policy.insert(slot, hash, is, &view);
            }
        });
        let bytes = signed(charge) - signed(old_charge);
        self.charge(region, bytes, i64::from(!had));
        self.schedule(slot, new);
    }

    fn schedule(&mut self, slot: Slot, version: Version<'_>) {
        match version.expires_at(self.now) {
            Some(at) => self.schedule_at(slot, at),
            None => self.unschedule(slot),
        }
    }

    fn schedule_at(&mut self, slot: Slot, at: Timestamp) {
        let now = self.now;
        self.w.wheel.get_or_insert_with(|| Box::new(Wheel::new(now))).schedule(slot, at);
    }

    fn unschedule(&mut self, slot: Slot) {
        if let Some(wheel) = &mut self.w.wheel {
            wheel.cancel(slot);
        }
    }

    /// Replaces what was `found` by a version that differs in what is not its value (deadline, marks): the same
    /// sequence number, the same place in every order.
    pub fn rewrite(
        &mut self,
        hash: KeyHash,
        found: Found<'t>,
        draft: Draft<'_>,
    ) -> Result<(), Error> {
        let found = found.filter(|(_, old)| self.is_alive(*old));
        let Some((place, old)) = found else { return Ok(()) };
        if let Some(journal) = self.journal() {
            let (epoch, seq) = (self.epoch_of(old.seq()), old.seq());
            let change = Change::Put { key: draft.key, entry: draft.entry(), epoch, seq };
            self.tell_journal(journal, found, &change)?;
        }
        let published = old.seq() <= self.published();
        if published {
            self.forget(hash, draft.key);
        }
        let older = old.older();
        let (slot, region) = (old.slot(), self.w.slots.region(old.slot()));
        let draft = Draft { linked: old.is_linked(), ..draft };
        let pointer = VersionPtr::new(&draft, slot, old.seq(), self.now);
        let Some(new) = version_at(pointer.to_bits()) else { return Ok(()) };
        new.set_older(older);
        self.w.grower.replace(hash.index, place, pointer.to_bits());
        self.w.slots.set(slot, pointer.to_bits(), region, true);
        if !published {
            // If the write is taken back, only the new version can be told.
            old.withdraw();
        }
        let (was, is) = (old.charge(self.shared.allocator), new.charge(self.shared.allocator));
        if was != is {
            let hash = policy_hash(hash.index);
            with_policy!(self, region, |p, _v| p.update(slot, hash, weight(was), weight(is)));
            self.charge(region, signed(is) - signed(was), 0);
        }
        self.schedule(slot, new);
        self.retire(place.pointer, was);
        self.settle();
        self.evict_surplus(region, 0);
        Ok(())
    }
}
