//! Slots: the small numbers by which policies and the timing wheel know entries. The writer maps
//! a slot to its entry; readers leave their traces on the slot's *access word*.

use std::sync::OnceLock;

use crate::eviction::Slot;
use crate::eviction::chunks::Chunks;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Slots that a segment can have (24 bits of a version's header).
pub(crate) const SLOTS_MAX: u32 = 1 << 24;

const POINTER_BITS: u32 = 48;
const POINTER_MASK: u64 = (1 << POINTER_BITS) - 1;
/// The slot is in its region's policy.
const ORDERED: u64 = 1 << 56;
/// The entry is kept elsewhere too, exactly as it is.
const COPIED: u64 = 1 << 57;

/// The writer's map from slot to the newest version and the region it is charged to.
#[derive(Default)]
pub(crate) struct SlotMap {
    /// Pointer in the low 48 bits, region in the next 8, [`ORDERED`], [`COPIED`]; free slots are 0.
    entries: Chunks<u64>,
    free: Vec<u32>,
    next: u32,
}

impl SlotMap {
    /// A slot that nobody has; `None` when all 2^24 are taken.
    pub fn take(&mut self) -> Option<Slot> {
        if let Some(slot) = self.free.pop() {
            return Some(Slot(slot));
        }
        if self.next == SLOTS_MAX {
            return None;
        }
        self.next += 1;
        Some(Slot(self.next - 1))
    }

    /// Says what is at `slot`, and whether the region's policy has it.
    pub fn set(&mut self, slot: Slot, pointer: u64, region: u8, ordered: bool) {
        let ordered = if ordered { ORDERED } else { 0 };
        *self.entries.get_mut(slot.0) = pointer | u64::from(region) << POINTER_BITS | ordered;
    }

    /// What is at `slot` has moved in memory; nothing else has changed.
    pub fn relocate(&mut self, slot: Slot, pointer: u64) {
        let entry = self.entries.get_mut(slot.0);
        *entry = *entry & !POINTER_MASK | pointer;
    }

    /// Notes that the entry at `slot` is kept elsewhere too, until something else is set.
    pub fn mark_copied(&mut self, slot: Slot) {
        *self.entries.get_mut(slot.0) |= COPIED;
    }

    pub fn is_copied(&self, slot: Slot) -> bool {
        self.entries.get(slot.0) & COPIED != 0
    }

    /// The region whose policy has the slot.
    pub fn ordered_in(&self, slot: Slot) -> Option<u8> {
        let entry = self.entries.get(slot.0);
        (entry & ORDERED != 0).then(|| self.region(slot))
    }

    /// The pointer at `slot`, 0 when it is free.
    pub fn pointer(&self, slot: Slot) -> u64 {
        self.entries.get(slot.0) & POINTER_MASK
    }

    /// The region that the entry at `slot` is charged to.
    #[expect(clippy::cast_possible_truncation, reason = "the region has 8 bits")]
    pub fn region(&self, slot: Slot) -> u8 {
        (self.entries.get(slot.0) >> POINTER_BITS) as u8
    }

    /// Gives the slot back.
    pub fn free(&mut self, slot: Slot) {
        *self.entries.get_mut(slot.0) = 0;
        self.free.push(slot.0);
    }

    pub fn memory(&self) -> usize {
        self.entries.memory() + self.free.capacity() * size_of::<u32>()
    }
}

/// Access words that readers write without a lock: seconds of the last access, whether it was
/// fetched, and how often it was read since the policy asked last.
pub(crate) struct Accesses {
    /// Chunk `k` holds `FIRST << k` words.
    chunks: [OnceLock<Box<[AtomicU32]>>; CHUNKS],
}

const FIRST: u32 = 256;
const CHUNKS: usize = (SLOTS_MAX.ilog2() - FIRST.ilog2() + 1) as usize;

/// One reading of an access word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Access(u32);

const SECONDS_MASK: u32 = (1 << 28) - 1;
const FETCHED: u32 = 1 << 28;
const READ: u32 = 1 << 29;
const READS_MASK: u32 = 3 << 29;

impl Access {
    /// The word of an entry that was just stored.
    pub fn stored(seconds: u32) -> Access {
        Access(seconds & SECONDS_MASK)
    }

    /// The word after one more read.
    fn read(self, seconds: u32) -> Access {
        let reads = if self.0 & READS_MASK == READS_MASK { 0 } else { READ };
        Access((self.0 & !SECONDS_MASK | seconds & SECONDS_MASK | FETCHED) + reads)
    }

    /// Whether it was ever fetched.
    pub fn fetched(self) -> bool {
        self.0 & FETCHED != 0
    }

    /// When it was last accessed, in seconds of the table's own clock.
    pub fn seconds(self) -> u32 {
        self.0 & SECONDS_MASK
    }
}

impl Accesses {
    pub fn new() -> Self {
        Accesses { chunks: [const { OnceLock::new() }; CHUNKS] }
    }

    #[inline]
    fn word(&self, slot: Slot) -> Option<&AtomicU32> {
        let (chunk, at) = place(slot);
        self.chunks.get(chunk)?.get()?.get(at)
    }

    /// Asks the processor to fetch the word.
    #[inline]
    pub fn prefetch(&self, slot: Slot) {
        if let Some(word) = self.word(slot) {
            super::index::prefetch(std::ptr::from_ref(word).cast());
        }
    }

    /// Sets the word of a slot that was just given to an entry; makes room for it. Returns the
    /// bytes that were newly allocated.
    pub fn set(&self, slot: Slot, access: Access) -> usize {
        let (chunk, at) = place(slot);
        let Some(cell) = self.chunks.get(chunk) else { return 0 };
        let mut grown = 0;
        let words = cell.get_or_init(|| {
            let len = FIRST << chunk.saturating_sub(1);
            grown = len as usize * size_of::<AtomicU32>();
            (0..len).map(|_| AtomicU32::new(0)).collect()
        });
        if let Some(word) = words.get(at) {
            word.store(access.0, Ordering::Relaxed);
        }
        grown
    }

    /// The word now.
    #[inline]
    pub fn get(&self, slot: Slot) -> Access {
        Access(self.word(slot).map_or(0, |word| word.load(Ordering::Relaxed)))
    }

    /// Notes a read and returns the word before it. A hot entry's word mostly stays as it is, and
    /// then nothing is written. A race of two readers loses one of the reads, no more.
    #[inline]
    pub fn read(&self, slot: Slot, seconds: u32) -> Access {
        let Some(word) = self.word(slot) else { return Access::default() };
        let before = Access(word.load(Ordering::Relaxed));
        let after = before.read(seconds);
        if after != before {
            word.store(after.0, Ordering::Relaxed);
        }
        before
    }

    /// How often it was read since this was asked last, at most 3.
    pub fn take_reads(&self, slot: Slot) -> u8 {
        let Some(word) = self.word(slot) else { return 0 };
        let before = word.load(Ordering::Relaxed);
        if before & READS_MASK != 0 {
            word.store(before & !READS_MASK, Ordering::Relaxed);
        }
        u8::try_from((before & READS_MASK) / READ).unwrap_or(3)
    }
}

/// The chunk of a slot's word, and where in the chunk: chunk 0 holds the first 256, each other
/// one as many as all before it.
#[inline]
fn place(slot: Slot) -> (usize, usize) {
    if slot.0 < FIRST {
        return (0, slot.0 as usize);
    }
    let power = slot.0.ilog2();
    ((power - FIRST.ilog2() + 1) as usize, (slot.0 - (1 << power)) as usize)
}

/// Reads on their way to a policy that wants to hear of each: a small ring that readers fill
/// without a lock and the lock's holder empties. When readers are faster, the oldest are lost
/// (as in Caffeine's read buffer).
pub(crate) struct ReadBuffer {
    at: AtomicU32,
    reads: [AtomicU64; READS],
}

const READS: usize = 32;
/// A policy's hash leaves the low bits to the slot.
const SLOT_MASK: u64 = (1 << 24) - 1;
/// A word that is in use: slot 0 with hash 0 is not an empty word.
const IN_USE: u64 = 1 << 24;

/// The part of a key's hash that policies get.
#[inline]
pub(crate) fn policy_hash(hash: u64) -> u64 {
    hash & !(SLOT_MASK | IN_USE)
}

impl ReadBuffer {
    pub fn new() -> Self {
        ReadBuffer { at: AtomicU32::new(0), reads: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Notes a read; true when the ring is due to be emptied.
    #[inline]
    pub fn push(&self, slot: Slot, hash: u64) -> bool {
        let at = self.at.fetch_add(1, Ordering::Relaxed) as usize % READS;
        if let Some(word) = self.reads.get(at) {
            word.store(policy_hash(hash) | IN_USE | u64::from(slot.0), Ordering::Relaxed);
        }
        at == READS - 1
    }

    /// How many reads were pushed, modulo 2^32.
    #[inline]
    pub fn pushed(&self) -> u32 {
        self.at.load(Ordering::Relaxed)
    }

    /// Empties the ring, oldest first.
    pub fn drain(&self, mut touch: impl FnMut(Slot, u64)) {
        let at = self.at.load(Ordering::Relaxed) as usize % READS;
        for i in at..at + READS {
            let Some(word) = self.reads.get(i % READS) else { continue };
            if word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let read = word.swap(0, Ordering::Relaxed);
            let slot = Slot((read & SLOT_MASK) as u32);
            touch(slot, policy_hash(read));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_words_of_far_slots_do_not_meet() {
        let accesses = Accesses::new();
        let slots = [0, 1, 255, 256, 511, 512, 70_000, SLOTS_MAX - 1];
        for (n, slot) in (0u32..).zip(slots) {
            assert!(accesses.get(Slot(slot)) == Access::default());
            accesses.set(Slot(slot), Access::stored(n));
        }
        for (n, slot) in (0u32..).zip(slots) {
            assert_eq!(accesses.get(Slot(slot)).seconds(), n);
        }
    }

    #[test]
    fn reads_saturate_and_are_taken_once() {
        let accesses = Accesses::new();
        accesses.set(Slot(3), Access::stored(7));
        for _ in 0..5 {
            accesses.read(Slot(3), 9);
        }
        let word = accesses.get(Slot(3));
        assert!(word.fetched() && word.seconds() == 9);
        assert_eq!((accesses.take_reads(Slot(3)), accesses.take_reads(Slot(3))), (3, 0));
        assert!(accesses.get(Slot(3)).fetched());
    }

    #[test]
    fn the_read_buffer_keeps_order_and_forgets_the_oldest() {
        let buffer = ReadBuffer::new();
        for n in 0..40u32 {
            let full = buffer.push(Slot(n), u64::from(n) << 40);
            assert_eq!(full, n == 31);
        }
        let mut seen = Vec::new();
        buffer.drain(|slot, hash| seen.push((slot.0, hash)));
        assert_eq!(seen, (8..40u32).map(|n| (n, u64::from(n) << 40)).collect::<Vec<_>>());
        buffer.drain(|_, _| panic!("drained twice"));
    }
}
