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

mod restore;
mod transaction;

use std::collections::VecDeque;

use parking_lot::{Mutex, MutexGuard};

use super::account::Account;
use super::bag::Bag;
use super::index::{Grower, Index, Place};
use super::slots::{Access, Accesses, ReadBuffer, SlotMap, policy_hash};
use super::version::{Draft, Marks, Version, VersionPtr};
use super::{Change, KeyHash, Shared};
use crate::env::Timestamp;
use crate::error::Error;
use crate::eviction::{Entries, Policy, Reads, Slot};
use crate::expiry::Wheel;
use crate::metrics::{Metrics, count};
use crate::sync::{AtomicU64, Ordering};

/// A victim whose newest write is not published yet stays; so many of them are passed over.
const UNPUBLISHED_VICTIMS_MAX: usize = 8;
/// Older versions looked at for trimming with each write.
const TRIM_BUDGET: usize = 4;
/// Expired entries that a write takes out itself where nothing may be evicted.
const MAKE_ROOM_BUDGET: usize = 64;
/// Lines of the index that one step of a sweep or a scan covers.
const SWEEP_LINES: usize = 16;

pub(crate) struct Segment {
    /// Its place among the table's segments.
    number: usize,
    pub index: Index,
    /// The watermark: everything up to it is published.
    pub committed: AtomicU64,
    /// Everything up to it was cleared (`flush_all`).
    pub cleared: AtomicU64,
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
    /// Bytes of garbage before anything was evicted for it: what went since is as good as free.
    pub retired: u64,
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
        Locked { shared, segment: self, w: self.writer.lock(), now }
    }

    /// Takes the segment's lock when nobody has it.
    pub fn try_lock<'t>(&'t self, shared: &'t Shared, now: Timestamp) -> Option<Locked<'t>> {
        let w = self.writer.try_lock()?;
        Some(Locked { shared, segment: self, w, now })
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

impl<'t> Locked<'t> {
    fn account(&self) -> &'t Account {
        &self.shared.account
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
        let (visible, record) = match self.record(visible, change) {
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
        let lack = self.evict_surplus(region, draft.charge(self.shared.allocator));
        self.shared.watch_pressure(region);
        Ok((seq, lack))
    }

    /// Tells the journal, if there is one, of the change that is about to be done under the next
    /// sequence number; when it will be visible then, and its number in the journal.
    #[inline]
    fn record<'c>(
        &self,
        visible: Visible,
        change: impl FnOnce(u32, u64) -> Change<'c>,
    ) -> Result<(Visible, u64), Error> {
        let journal = match self.shared.journal.get() {
            Some(journal) if visible != Visible::Together => journal,
            _ => return Ok((visible, NO_RECORD)),
        };
        let change = change(self.shared.epoch_u32(), self.w.seq + 1);
        if visible == Visible::Later || !journal.publishes() {
            journal.record(&change)?;
            return Ok((visible, NO_RECORD));
        }
        self.expect_record();
        let record = journal.record(&change).inspect_err(|_| self.note_unpublished())?;
        Ok((Visible::Later, record))
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
        if now && self.w.pending.is_empty() {
            self.segment.committed.store(seq, Ordering::Release);
        } else {
            self.w.pending.push_back(Pending { seq, slot, done: now, record });
            self.note_unpublished();
        }
        match found {
            Some((place, _)) => self.w.grower.replace(hash.index, place, bits),
            None => self.w.grower.insert(&self.segment.index, hash.index, bits),
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
            Some(at) => {
                let now = self.now;
                self.w.wheel.get_or_insert_with(|| Box::new(Wheel::new(now))).schedule(slot, at);
            }
            None => self.unschedule(slot),
        }
    }

    fn unschedule(&mut self, slot: Slot) {
        if let Some(wheel) = &mut self.w.wheel {
            wheel.cancel(slot);
        }
    }

    /// Deletes what was `found`; gives the sequence number of the deletion when it was alive.
    pub fn remove(
        &mut self,
        hash: KeyHash,
        found: Found<'t>,
        visible: Visible,
    ) -> Result<Option<u64>, Error> {
        self.drain_reads();
        let Some((place, old)) = found else { return Ok(None) };
        let alive = self.is_alive(old);
        // What is dead already needs no deletion that somebody would have to publish, or would
        // take for a change.
        if old.is_tombstone() || (!alive && self.keeps_older(visible)) {
            return Ok(None);
        }
        let (visible, record) = if alive {
            self.record(visible, |epoch, seq| Change::Remove { key: old.key(), epoch, seq })?
        } else {
            (visible, NO_RECORD)
        };
        if self.keeps_older(visible) {
            let seq = self.bury(hash, place, old, visible, record);
            self.settle();
            return Ok(alive.then_some(seq));
        }
        self.take_out(old, true);
        self.w.seq += 1;
        self.segment.committed.store(self.w.seq, Ordering::Release);
        self.settle();
        Ok(alive.then_some(self.w.seq))
    }

    /// Puts a tombstone over a version that somebody may still read.
    fn bury(
        &mut self,
        hash: KeyHash,
        place: Place<'t>,
        old: Version<'t>,
        visible: Visible,
        record: u64,
    ) -> u64 {
        let (slot, region) = (old.slot(), self.w.slots.region(old.slot()));
        let draft = Draft {
            key: old.key(),
            value: [b"", b""],
            flags: 0,
            deadline: None,
            max_idle: None,
            version: None,
            marks: Marks::TOMBSTONE,
            linked: true,
        };
        self.w.seq += 1;
        let seq = self.w.seq;
        let pointer = VersionPtr::new(&draft, slot, seq, self.now);
        self.install(hash, Some((place, old)), pointer, true, visible, record);
        self.w.slots.set(slot, pointer.to_bits(), region, false);
        let charge = old.charge(self.shared.allocator);
        with_policy!(self, region, |policy, _view| policy.remove(slot, weight(charge)));
        let tombstone = draft.charge(self.shared.allocator);
        self.charge(region, -signed(charge), -1);
        // From here on both versions count as structure: no policy can evict them.
        self.account().charge_structures(signed(charge + tombstone));
        self.unschedule(slot);
        count(&self.segment.metrics.removed);
        seq
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
        if let Some(journal) = self.shared.journal.get() {
            let (epoch, seq) = (self.shared.epoch_u32(), old.seq());
            journal.record(&Change::Put { key: draft.key, entry: draft.entry(), epoch, seq })?;
        }
        let older = old.older();
        let (slot, region) = (old.slot(), self.w.slots.region(old.slot()));
        let draft = Draft { linked: old.is_linked(), ..draft };
        let pointer = VersionPtr::new(&draft, slot, old.seq(), self.now);
        let Some(new) = version_at(pointer.to_bits()) else { return Ok(()) };
        new.set_older(older);
        self.w.grower.replace(hash.index, place, pointer.to_bits());
        self.w.slots.set(slot, pointer.to_bits(), region, true);
        if old.seq() > self.segment.committed.load(Ordering::Relaxed) {
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

    /// Takes an entry with all its versions out of the table at once. `ordered` says whether the
    /// policy still has it.
    fn take_out(&mut self, newest: Version<'t>, ordered: bool) {
        let (slot, region) = (newest.slot(), self.w.slots.region(newest.slot()));
        let hash = self.shared.hasher.index_hash(newest.key());
        let pointer = self.w.slots.pointer(slot);
        let charge = newest.charge(self.shared.allocator);
        if newest.is_tombstone() {
            self.account().charge_structures(-signed(charge));
        } else {
            if ordered {
                with_policy!(self, region, |p, _view| p.remove(slot, weight(charge)));
            }
            self.charge(region, -signed(charge), -1);
            count(&self.segment.metrics.removed);
        }
        if let Some(place) = self.segment.index.find(hash, |p| p == pointer) {
            self.w.grower.remove(hash, place);
        }
        self.unschedule(slot);
        self.w.slots.free(slot);
        self.retire_chain(newest.older());
        self.retire(pointer, charge);
    }

    fn retire_chain(&mut self, older: Option<VersionPtr>) {
        let mut next = older;
        while let Some(version) = next {
            let bits = version.to_bits();
            let Some(v) = version_at(bits) else { return };
            next = v.older();
            let charge = v.charge(self.shared.allocator);
            self.account().charge_structures(-signed(charge));
            self.retire(bits, charge);
        }
    }

    /// Hands a version to the garbage; its bytes left the live account before.
    fn retire(&mut self, pointer: u64, charge: usize) {
        let shared = self.shared;
        self.w.bag.version(VersionPtr::from_bits(pointer), charge, shared);
    }

    /// The small work that goes with each write: resizing, trimming, and keeping the account of
    /// the structures exact.
    fn settle(&mut self) {
        self.settle_step(true);
    }

    /// As [`Locked::settle`]; when a write only put one version in another's place and no resize
    /// is under way, no structure can have changed its size.
    fn settle_step(&mut self, resized: bool) {
        let resized = resized || self.w.grower.is_growing(&self.segment.index);
        let shared = self.shared;
        let Writer { grower, bag, .. } = &mut *self.w;
        grower.grow(
            &self.segment.index,
            |pointer| version_at(pointer).map_or(0, |v| shared.hasher.index_hash(v.key())),
            |retired, size| bag.lines(retired, size, shared),
        );
        self.trim(TRIM_BUDGET);
        if resized {
            self.charge_structures();
            self.note_due();
        }
    }

    /// Charges a change of `bytes` and `entries` to a region of this segment.
    fn charge(&mut self, region: u8, bytes: i64, entries: i64) {
        self.w.entry_bytes += bytes;
        self.account().charge(region, bytes, entries);
    }

    fn charge_structures(&mut self) {
        let w = &mut *self.w;
        let memory = w.grower.memory()
            + w.slots.memory()
            + w.access_memory
            + w.pending.capacity() * size_of::<Pending>()
            + w.linked.capacity() * size_of::<(u64, Slot)>()
            + w.policies.iter().map(|policy| policy.memory()).sum::<usize>()
            + w.wheel.as_ref().map_or(0, |wheel| size_of::<Wheel>() + wheel.memory());
        self.shared.account.charge_structures(signed(memory) - signed(w.charged));
        w.charged = memory;
    }

    fn note_due(&self) {
        let wheel = self.w.wheel.as_ref().and_then(|wheel| wheel.next_due());
        let busy = self.w.sweep.is_some()
            || !self.w.linked.is_empty()
            || self.w.grower.is_growing(&self.segment.index);
        let due = if busy { 0 } else { wheel.unwrap_or(u64::MAX) };
        self.segment.due.store(due, Ordering::Relaxed);
    }

    /// Empties the ring of reads into the policies.
    pub fn drain_reads(&mut self) {
        let Some(buffer) = &self.segment.buffer else { return };
        let Writer { slots, policies, drained, .. } = &mut *self.w;
        let pushed = buffer.pushed();
        if std::mem::replace(drained, pushed) == pushed {
            return;
        }
        let view = View { slots, accesses: &self.segment.accesses, shared: self.shared };
        buffer.drain(|slot, hash| {
            let region = slots.ordered_in(slot).map(usize::from);
            if let Some(policy) = region.and_then(|region| policies.get_mut(region)) {
                policy.touch(slot, hash, &view);
            }
        });
    }
}

/// Room: limits and eviction.
impl<'t> Locked<'t> {
    /// Refuses a write that does not fit where nothing may be evicted for it. What was found may
    /// be elsewhere afterwards.
    fn make_room(
        &mut self,
        hash: KeyHash,
        region: u8,
        found: Found<'t>,
        draft: &Draft<'_>,
    ) -> Result<Found<'t>, Error> {
        let more = draft.charge(self.shared.allocator);
        if more as u64 > self.account().max_bytes() {
            return Err(self.full());
        }
        if self.shared.evicts(region) {
            return Ok(found);
        }
        let old = found.map_or(0, |(_, old)| old.charge(self.shared.allocator));
        let more = more.saturating_sub(old) as u64;
        let over = |locked: &Self| {
            locked.account().is_over(0, more) || locked.account().is_region_over(region, more)
        };
        if more > 0 && over(self) {
            self.expire(MAKE_ROOM_BUDGET);
            if over(self) {
                return Err(self.full());
            }
            return Ok(self.find(hash, draft.key));
        }
        Ok(found)
    }

    /// Evicts from this segment until the table and the region are within their limits, or the
    /// segment has nothing more to give. `more` are the bytes of the write that asks: a segment
    /// with more than its share makes room for the next such write too, one with less takes that
    /// room. Otherwise the shares, which nothing holds together, would drift apart.
    fn evict_surplus(&mut self, region: u8, more: usize) -> Option<Lack> {
        // Garbage counts against the limit, but what this loop itself retires must not make it go
        // on: it is as good as free.
        let retired = self.account().retired();
        while self.account().is_region_over(region, 0) && self.evict_one(region) {}
        while self.account().is_over(retired, 0) || self.makes_way(retired, more) {
            let victim = self.fullest_region();
            if !victim.is_some_and(|victim| self.evict_one(victim)) {
                return self.account().is_over(retired, 0).then_some(Lack { retired });
            }
        }
        None
    }

    /// Whether it has more than its share of the table's bytes, and the table no room for `more`.
    fn makes_way(&self, retired: u64, more: usize) -> bool {
        let live = self.account().live();
        let own = u64::try_from(self.w.entry_bytes).unwrap_or(0) + self.w.charged as u64;
        self.account().held(retired) + more as u64 > self.account().max_bytes()
            && own * self.shared.segments > live
    }

    /// Evicts on behalf of another segment that had nothing left to give.
    pub fn help_evict(&mut self) -> bool {
        self.drain_reads();
        self.fullest_region().is_some_and(|region| self.evict_one(region))
    }

    /// The region with the most bytes among those that may evict.
    fn fullest_region(&self) -> Option<u8> {
        (0..=u8::MAX)
            .take(self.w.policies.len())
            .filter(|region| self.shared.evicts(*region))
            .max_by_key(|region| self.account().region(*region).0)
    }

    fn evict_one(&mut self, region: u8) -> bool {
        let mut unpublished = Vec::new();
        let mut evicted = false;
        while unpublished.len() < UNPUBLISHED_VICTIMS_MAX {
            let victim = with_policy!(self, region, |policy, view| policy.evict(&view)).flatten();
            let Some(version) = victim.and_then(|slot| version_at(self.w.slots.pointer(slot)))
            else {
                break;
            };
            if version.seq() > self.segment.committed.load(Ordering::Relaxed) {
                unpublished.push(version);
                continue;
            }
            self.count_eviction(version);
            self.take_out(version, false);
            self.settle_evicted();
            evicted = true;
            break;
        }
        for version in unpublished {
            let hash = policy_hash(self.shared.hasher.index_hash(version.key()));
            let bytes = weight(version.charge(self.shared.allocator));
            with_policy!(self, region, |p, view| p.insert(version.slot(), hash, bytes, &view));
        }
        evicted
    }

    fn settle_evicted(&mut self) {
        self.charge_structures();
        self.note_due();
    }

    fn count_eviction(&self, version: Version<'_>) {
        let metrics = &self.segment.metrics;
        count(&metrics.evicted);
        if !self.segment.accesses.get(version.slot()).fetched() {
            count(&metrics.evicted_unfetched);
        }
        if version.deadline().is_some() || version.max_idle().is_some() {
            count(&metrics.evicted_with_ttl);
        }
    }
}

/// Time: expiry, the sweep after a clear, trimming.
impl Locked<'_> {
    /// Removes what has expired, at most `budget` slots; whether there may be more.
    pub fn expire(&mut self, budget: usize) -> bool {
        let Some(mut wheel) = self.w.wheel.take() else { return false };
        let (now, mut gone) = (self.now, Vec::new());
        let committed = self.segment.committed.load(Ordering::Relaxed);
        let slots = &self.w.slots;
        let asked = wheel.advance(now, budget, &mut |slot| {
            let version = version_at(slots.pointer(slot))?;
            let at = version.expires_at(now)?;
            if at > now {
                return Some(at);
            }
            // An unpublished write waits for its publication, then goes.
            if version.seq() > committed {
                return Some(now + 1);
            }
            gone.push(version);
            None
        });
        self.w.wheel = Some(wheel);
        for version in gone {
            count(&self.segment.metrics.expired);
            if !self.segment.accesses.get(version.slot()).fetched() {
                count(&self.segment.metrics.expired_unfetched);
            }
            self.take_out(version, true);
        }
        self.settle();
        asked == budget
    }

    /// Hides everything that is stored now; the memory comes back in [`Locked::sweep`].
    pub fn clear(&mut self) {
        self.segment.cleared.store(self.w.seq, Ordering::Release);
        self.w.sweep = Some(0);
        self.note_due();
    }

    /// One step of removing what was cleared; whether there is more. Waits while snapshots are
    /// open, since they may still read it.
    pub fn sweep(&mut self) -> bool {
        let Some(from) = self.w.sweep.filter(|_| !self.shared.snapshots.any_open()) else {
            return false;
        };
        let cleared = self.segment.cleared.load(Ordering::Relaxed);
        let mut gone = Vec::new();
        self.w.sweep = self.scan(from, |version| {
            if version.seq() <= cleared && !version.is_tombstone() {
                gone.push(version);
            }
        });
        for version in gone {
            count(&self.segment.metrics.cleared);
            self.take_out(version, true);
        }
        self.settle();
        self.w.sweep.is_some()
    }

    /// Visits the newest version of some entries from `from` on; where to go on.
    pub fn scan<'t>(&self, from: u64, mut found: impl FnMut(Version<'t>)) -> Option<u64> {
        let hash = |pointer: u64| {
            version_at(pointer).map_or(0, |v| self.shared.hasher.index_hash(v.key()))
        };
        let visit = |pointer: u64| version_at(pointer).into_iter().for_each(&mut found);
        self.w.grower.scan(&self.segment.index, from, SWEEP_LINES, hash, visit)
    }

    /// Cuts off versions that no snapshot can see any more.
    pub fn trim(&mut self, budget: usize) {
        if self.w.linked.is_empty() {
            return;
        }
        let committed = self.segment.committed.load(Ordering::Relaxed);
        let horizon = self.shared.snapshots.horizon(self.segment.number).min(committed);
        for _ in 0..budget {
            match self.w.linked.front().copied() {
                Some((seq, slot)) if seq <= horizon => {
                    self.w.linked.pop_front();
                    self.trim_slot(slot, horizon);
                }
                Some(_) => return,
                // A long snapshot made it long; the next one may be far away.
                None => return self.w.linked = VecDeque::new(),
            }
        }
    }

    /// Keeps the newest version that the oldest snapshot sees, drops those behind it.
    fn trim_slot(&mut self, slot: Slot, horizon: u64) {
        let Some(newest) = version_at(self.w.slots.pointer(slot)) else { return };
        let mut version = newest;
        while version.seq() > horizon {
            let Some(older) = version.older().and_then(|older| version_at(older.to_bits())) else {
                return;
            };
            version = older;
        }
        let older = version.older();
        version.set_older(None);
        self.retire_chain(older);
        if newest.is_tombstone() && newest.seq() == version.seq() {
            self.take_out(newest, false);
        }
    }

    /// Sends what was retired on its way even if it is little.
    pub fn flush_garbage(&mut self) {
        let shared = self.shared;
        self.w.bag.flush(shared);
    }

    /// Bytes of the index.
    pub fn index_bytes(&self) -> usize {
        self.w.grower.memory()
    }

    /// Whether a step of background work is left: resizing, trimming.
    pub fn work(&mut self) -> bool {
        self.trim(64);
        self.settle();
        self.w.grower.is_growing(&self.segment.index)
    }
}

/// Publication.
impl Locked<'_> {
    /// Makes the writes visible that waited for records up to this one.
    pub fn publish_upto(&mut self, record: u64) {
        let waiting = self.w.pending.iter_mut().take_while(|p| p.done || p.record <= record);
        waiting.for_each(|pending| pending.done = true);
        self.publish_done();
        self.settle();
    }

    /// Takes back the writes that wait for records from this one on.
    pub fn abort_from(&mut self, record: u64) {
        let waits = |pending: &&Pending| pending.record != NO_RECORD && pending.record >= record;
        if let Some(first) = self.w.pending.iter().find(waits).map(|pending| pending.seq) {
            self.abort(first);
        }
    }

    fn publish_done(&mut self) {
        while let Some(pending) = self.w.pending.front().copied().filter(|front| front.done) {
            self.w.pending.pop_front();
            self.segment.committed.store(pending.seq, Ordering::Release);
        }
        self.note_unpublished();
    }

    /// Called before the journal is: it may say that a record is kept before the write that waits
    /// for it is noted, and must then come and wait for the lock.
    pub fn expect_record(&self) {
        self.segment.unpublished.store(0, Ordering::Release);
    }

    fn note_unpublished(&self) {
        let oldest = self.w.pending.iter().find(|pending| pending.record != NO_RECORD);
        let record = oldest.map_or(NO_RECORD, |pending| pending.record);
        self.segment.unpublished.store(record, Ordering::Release);
    }

    /// Makes a prepared write visible, once all before it are.
    pub fn publish(&mut self, seq: u64) {
        if let Some(pending) = self.w.pending.iter_mut().find(|pending| pending.seq == seq) {
            pending.done = true;
        }
        self.publish_done();
        self.settle();
    }

    /// Takes prepared writes from `seq` on back: the commit failed, and what was prepared after it
    /// may have been decided by what it read of it.
    pub fn abort(&mut self, seq: u64) {
        while let Some(last) = self.w.pending.back().copied().filter(|last| last.seq >= seq) {
            self.w.pending.pop_back();
            self.w.linked.retain(|(linked, _)| *linked != last.seq);
            self.undo(last.slot);
        }
        self.note_unpublished();
        self.settle();
    }

    /// Puts the version before the newest one of a slot back in its place.
    fn undo(&mut self, slot: Slot) {
        let pointer = self.w.slots.pointer(slot);
        let Some(newest) = version_at(pointer) else { return };
        newest.withdraw();
        let Some(older) = newest.older() else {
            self.take_out(newest, true);
            return;
        };
        let Some(old) = version_at(older.to_bits()) else { return };
        let (hash, region) =
            (self.shared.hasher.index_hash(newest.key()), self.w.slots.region(slot));
        let Some(place) = self.segment.index.find(hash, |p| p == pointer) else { return };
        self.w.grower.replace(hash, place, older.to_bits());
        self.w.slots.set(slot, older.to_bits(), region, !old.is_tombstone());
        self.reorder(hash, slot, region, newest, old);
        self.schedule(slot, old);
        self.look_again(slot, old);
        self.retire(pointer, newest.charge(self.shared.allocator));
    }

    /// Sweep and trim may have gone past a version while it was hidden: what is dead of it is
    /// noted for them once more.
    fn look_again(&mut self, slot: Slot, old: Version<'_>) {
        let trimmed = self.w.linked.front().is_none_or(|(seq, _)| *seq > old.seq());
        if old.is_tombstone() && trimmed {
            self.w.linked.push_front((old.seq(), slot));
        }
        if old.seq() <= self.segment.cleared.load(Ordering::Relaxed) {
            self.w.sweep = Some(0);
        }
    }

    /// Turns what policy and account hold of `from` into what they hold of `to`.
    fn reorder(&mut self, hash: u64, slot: Slot, region: u8, from: Version<'_>, to: Version<'_>) {
        let allocator = self.shared.allocator;
        let (was, is) = (from.charge(allocator), to.charge(allocator));
        let hash = policy_hash(hash);
        // An older version counts as structure while it is hidden.
        self.account().charge_structures(-signed(is));
        if from.is_tombstone() {
            self.account().charge_structures(-signed(was));
        } else {
            with_policy!(self, region, |p, _view| p.remove(slot, weight(was)));
            self.charge(region, -signed(was), -1);
        }
        if to.is_tombstone() {
            self.account().charge_structures(signed(is));
        } else {
            with_policy!(self, region, |p, view| p.insert(slot, hash, weight(is), &view));
            self.charge(region, signed(is), 1);
        }
    }
}
