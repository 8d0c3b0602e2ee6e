//! One version of one entry: a single allocation `header | parts | key | value`, never changed
//! once readers can see it (but for its link to the version before it and its idle clock).
//!
//! The header is 12 bytes; what most entries do not have (client flags, a deadline, ...) is a
//! *part* that only costs memory where it is used. Bytes, little endian words:
//!
//! ```text
//! 0   u32  slot << 8 | parts          8   u32  seq >> 32 | key length << 8 | value length << 16
//! 4   u32  seq, low 32 bits           12  parts in the order of their bits, key, value
//! ```
#![expect(unsafe_code, reason = "a version is a variable-length allocation read through a pointer")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::Arc;

use super::NewEntry;
use crate::env::Timestamp;
use crate::eviction::Slot;
use crate::memory::Allocator;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Values of at least this many bytes live in their own reference-counted allocation, so that a
/// server can send them without a copy while they are overwritten.
pub const SHARED_VALUE_LEN_MIN: usize = 16 * 1024;

/// Bits of a sequence number (version = epoch << 40 | seq).
pub(crate) const SEQ_BITS: u32 = 40;

const HEADER: usize = 12;
const ALIGN: usize = 8;

/// A link to the version before this one (4 bytes of padding, then the pointer).
const OLDER: u8 = 1;
/// Set in the link of a version that was taken back: pointers to versions are even.
const WITHDRAWN: usize = 1;
/// Lengths that do not fit the header: key u32, value u32.
const LONG: u8 = 2;
/// The client's 32 bits.
const FLAGS: u8 = 4;
/// The deadline, u64 ms.
const DEADLINE: u8 = 8;
/// Max-idle, u32 ms, and the low 32 bits of the last access, ms.
const IDLE: u8 = 16;
/// A version number other than `epoch << 40 | seq`.
const VERSION: u8 = 32;
/// [`Marks`], u32.
const MARKS: u8 = 64;
/// The value is an `Arc<[u8]>`: pointer and length.
const SHARED: u8 = 128;

/// The length of each part, in the order of the bits.
const PART_LEN: [u8; 8] = [12, 8, 4, 8, 8, 8, 4, 16];

/// The length of all parts of a set.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const PARTS_LEN: [u8; 256] = {
    let mut table = [0u8; 256];
    let mut set = 0;
    while set < 256 {
        let mut bit = 0;
        while bit < 8 {
            if set & (1 << bit) != 0 {
                table[set] += PART_LEN[bit];
            }
            bit += 1;
        }
        set += 1;
    }
    table
};

/// What an entry is marked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks(pub(crate) u32);

impl Marks {
    /// The value is out of date; somebody ought to write a new one.
    pub const STALE: Marks = Marks(1);
    /// Somebody has been told to write a new value.
    pub const LEASED: Marks = Marks(2);
    /// The key is not text: clients see it encoded.
    pub const BINARY_KEY: Marks = Marks(8);
    /// The key is deleted; kept only for open snapshots and unpublished writes.
    pub(crate) const TOMBSTONE: Marks = Marks(4);

    /// Whether all of `other` are set.
    #[must_use]
    pub fn has(self, other: Marks) -> bool {
        self.0 & other.0 == other.0
    }

    /// As the word that files keep.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// From the word that files keep; `None` when no entry that readers see has such marks.
    pub(crate) fn of_bits(bits: u32) -> Option<Marks> {
        let known = Marks::STALE.0 | Marks::LEASED.0 | Marks::BINARY_KEY.0;
        (bits & !known == 0).then_some(Marks(bits))
    }

    /// This set without `other`.
    #[must_use]
    pub fn without(self, other: Marks) -> Marks {
        Marks(self.0 & !other.0)
    }

    /// Both sets together.
    #[must_use]
    pub fn with(self, other: Marks) -> Marks {
        Marks(self.0 | other.0)
    }
}

/// What a new version is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draft<'a> {
    pub key: &'a [u8],
    /// The value, as the concatenation of two pieces.
    pub value: [&'a [u8]; 2],
    pub flags: u32,
    pub deadline: Option<Timestamp>,
    pub max_idle: Option<u32>,
    pub version: Option<u64>,
    pub marks: Marks,
    /// Whether there is a version before this one to link to.
    pub linked: bool,
}

impl<'a> Draft<'a> {
    /// What is stored, without the key.
    pub fn entry(&self) -> NewEntry<'a> {
        NewEntry {
            value: self.value,
            flags: self.flags,
            deadline: self.deadline,
            max_idle: self.max_idle,
            version: self.version,
            marks: self.marks,
        }
    }
}

impl Draft<'_> {
    fn value_len(&self) -> usize {
        self.value[0].len() + self.value[1].len()
    }

    fn parts(&self) -> u8 {
        let long = self.key.len() > 0xff || self.value_len() > 0xffff;
        [
            (self.linked, OLDER),
            (long, LONG),
            (self.flags != 0, FLAGS),
            (self.deadline.is_some(), DEADLINE),
            (self.max_idle.is_some(), IDLE),
            (self.version.is_some(), VERSION),
            (self.marks != Marks::default(), MARKS),
            (self.value_len() >= SHARED_VALUE_LEN_MIN, SHARED),
        ]
        .iter()
        .fold(0, |set, (present, bit)| if *present { set | bit } else { set })
    }

    /// Bytes that the version will be charged.
    pub fn charge(&self, allocator: Allocator) -> usize {
        let parts = self.parts();
        let head = HEADER + part_len(parts) + self.key.len();
        if parts & SHARED != 0 {
            allocator.usable(head) + allocator.usable(self.value_len() + 16)
        } else {
            allocator.usable(head + self.value_len())
        }
    }
}

#[inline]
fn part_len(parts: u8) -> usize {
    usize::from(PARTS_LEN.get(usize::from(parts)).copied().unwrap_or(0))
}

/// An owned or borrowed pointer to a version. Who may follow it says [`VersionPtr::get`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VersionPtr(NonNull<u8>);

// SAFETY: a version is plain bytes, atomics and an `Arc<[u8]>`; all of them may be read from any
// thread, and freeing from another thread than the allocating one is fine for every allocator.
unsafe impl Send for VersionPtr {}

impl VersionPtr {
    /// A new version. The caller owns it until it is published.
    pub fn new(draft: &Draft<'_>, slot: Slot, seq: u64, now: Timestamp) -> VersionPtr {
        let parts = draft.parts();
        let shared = parts & SHARED != 0;
        let inline_len = if shared { 0 } else { draft.value_len() };
        let len = HEADER + part_len(parts) + draft.key.len() + inline_len;
        let layout = layout(len);
        // SAFETY: the layout's size is at least HEADER, so it is not zero.
        let Some(at) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        let version = VersionPtr(at);
        let mut put = Cursor { at, len, offset: 0 };
        put.u32(slot.0 << 8 | u32::from(parts));
        put.u32(low(seq));
        let (key_len, value_len) = (draft.key.len(), draft.value_len());
        let lens = if parts & LONG != 0 { 0 } else { low32(key_len) << 8 | low32(value_len) << 16 };
        put.u32(low(seq >> 32) & 0xff | lens);
        if parts & OLDER != 0 {
            put.bytes(&[0; 12]);
        }
        if parts & LONG != 0 {
            put.u32(low32(key_len));
            put.u32(low32(value_len));
        }
        if parts & FLAGS != 0 {
            put.u32(draft.flags);
        }
        if let Some(deadline) = draft.deadline {
            put.u64(deadline);
        }
        if let Some(max_idle) = draft.max_idle {
            put.u32(max_idle);
            put.u32(low(now));
        }
        if let Some(number) = draft.version {
            put.u64(number);
        }
        if parts & MARKS != 0 {
            put.u32(draft.marks.0);
        }
        if shared {
            let value: Arc<[u8]> = if draft.value[1].is_empty() {
                Arc::from(draft.value[0])
            } else {
                Arc::from(draft.value.concat())
            };
            put.u64(Arc::into_raw(value).cast::<u8>().expose_provenance() as u64);
            put.u64(value_len as u64);
        }
        put.bytes(draft.key);
        if !shared {
            put.bytes(draft.value[0]);
            put.bytes(draft.value[1]);
        }
        version
    }

    /// The version behind the pointer.
    ///
    /// # Safety
    /// The version must not be freed while `'g` lives: the caller holds the segment's lock, or an
    /// epoch guard that was pinned before the pointer was read from the index.
    #[inline]
    pub unsafe fn get<'g>(self) -> Version<'g> {
        Version { at: self.0, lifetime: PhantomData }
    }

    /// Frees the version, not the ones before it.
    ///
    /// # Safety
    /// Nobody else may hold the pointer, now or later.
    pub unsafe fn free(self) {
        // SAFETY: the caller owns the version.
        let version = unsafe { self.get() };
        let layout = layout(version.allocated_len());
        if version.parts() & SHARED != 0 {
            // SAFETY: the pointer came from `Arc::into_raw` and is turned back exactly once.
            drop(unsafe { Arc::from_raw(version.shared_raw()) });
        }
        // SAFETY: allocated in `new` with the same layout.
        unsafe { dealloc(self.0.as_ptr(), layout) };
    }

    /// As the 48 bits that the index keeps.
    #[inline]
    pub fn to_bits(self) -> u64 {
        self.0.as_ptr().expose_provenance() as u64
    }

    /// Back from [`VersionPtr::to_bits`].
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "64-bit targets only; checked in lib.rs")]
    pub fn from_bits(bits: u64) -> Option<VersionPtr> {
        NonNull::new(std::ptr::with_exposed_provenance_mut(bits as usize)).map(VersionPtr)
    }
}

fn layout(len: usize) -> Layout {
    Layout::from_size_align(len, ALIGN).unwrap_or(Layout::new::<u64>())
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
fn low(number: u64) -> u32 {
    number as u32
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "lengths are checked to be below 2^30")]
fn low32(number: usize) -> u32 {
    number as u32
}

/// Writes a new version's bytes one after the other.
struct Cursor {
    at: NonNull<u8>,
    len: usize,
    offset: usize,
}

impl Cursor {
    fn bytes(&mut self, bytes: &[u8]) {
        debug_assert!(self.offset + bytes.len() <= self.len);
        // SAFETY: `new` sized the allocation as the sum of all that is put here, and nobody else
        // has the pointer yet.
        unsafe {
            let to = self.at.as_ptr().add(self.offset);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        self.offset += bytes.len();
    }

    fn u32(&mut self, word: u32) {
        self.bytes(&word.to_ne_bytes());
    }

    fn u64(&mut self, word: u64) {
        self.bytes(&word.to_ne_bytes());
    }
}

/// A version that lives at least as long as `'g`.
#[derive(Clone, Copy)]
pub(crate) struct Version<'g> {
    at: NonNull<u8>,
    lifetime: PhantomData<&'g [u8]>,
}

impl<'g> Version<'g> {
    #[inline]
    fn u32_at(self, offset: usize) -> u32 {
        // SAFETY: every offset used below lies within the allocation; immutable once published.
        unsafe { self.at.as_ptr().add(offset).cast::<u32>().read_unaligned() }
    }

    #[inline]
    fn u64_at(self, offset: usize) -> u64 {
        // SAFETY: as in `u32_at`.
        unsafe { self.at.as_ptr().add(offset).cast::<u64>().read_unaligned() }
    }

    #[inline]
    fn bytes_at(self, offset: usize, len: usize) -> &'g [u8] {
        // SAFETY: key and inline value lie within the allocation, which lives for `'g`.
        unsafe { std::slice::from_raw_parts(self.at.as_ptr().add(offset), len) }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the low byte is the set of parts")]
    fn parts(self) -> u8 {
        self.u32_at(0) as u8
    }

    /// The offset of a part: behind the header and all parts with lower bits.
    #[inline]
    fn part(self, bit: u8) -> Option<usize> {
        let parts = self.parts();
        (parts & bit != 0).then(|| HEADER + part_len(parts & (bit - 1)))
    }

    #[inline]
    pub fn slot(self) -> Slot {
        Slot(self.u32_at(0) >> 8)
    }

    #[inline]
    pub fn seq(self) -> u64 {
        u64::from(self.u32_at(8) & 0xff) << 32 | u64::from(self.u32_at(4))
    }

    #[inline]
    fn lens(self) -> (usize, usize) {
        match self.part(LONG) {
            Some(at) => (self.u32_at(at) as usize, self.u32_at(at + 4) as usize),
            None => {
                let word = self.u32_at(8);
                ((word >> 8 & 0xff) as usize, (word >> 16) as usize)
            }
        }
    }

    #[inline]
    pub fn key(self) -> &'g [u8] {
        self.bytes_at(HEADER + part_len(self.parts()), self.lens().0)
    }

    #[inline]
    pub fn value(self) -> &'g [u8] {
        let (key_len, value_len) = self.lens();
        if self.parts() & SHARED != 0 {
            // SAFETY: the `Arc` is held by this version, which lives for `'g`.
            return unsafe { &*self.shared_raw() };
        }
        self.bytes_at(HEADER + part_len(self.parts()) + key_len, value_len)
    }

    pub fn value_len(self) -> usize {
        self.lens().1
    }

    #[expect(clippy::cast_possible_truncation, reason = "64-bit targets only; checked in lib.rs")]
    fn shared_raw(self) -> *const [u8] {
        let at = self.part(SHARED).unwrap_or(HEADER);
        let data = std::ptr::with_exposed_provenance(self.u64_at(at) as usize);
        std::ptr::slice_from_raw_parts(data, self.u64_at(at + 8) as usize)
    }

    /// The value as a shared one, when it is large.
    #[inline]
    pub fn shared(self) -> Option<Arc<[u8]>> {
        self.part(SHARED)?;
        let raw = self.shared_raw();
        // SAFETY: the version holds one count of the `Arc` for as long as it lives, so the count
        // may be raised; the new `Arc` owns the raised count.
        unsafe {
            Arc::increment_strong_count(raw);
            Some(Arc::from_raw(raw))
        }
    }

    #[inline]
    pub fn flags(self) -> u32 {
        self.part(FLAGS).map_or(0, |at| self.u32_at(at))
    }

    #[inline]
    pub fn deadline(self) -> Option<Timestamp> {
        self.part(DEADLINE).map(|at| self.u64_at(at))
    }

    #[inline]
    pub fn max_idle(self) -> Option<u32> {
        self.part(IDLE).map(|at| self.u32_at(at))
    }

    pub fn version(self) -> Option<u64> {
        self.part(VERSION).map(|at| self.u64_at(at))
    }

    #[inline]
    pub fn marks(self) -> Marks {
        Marks(self.part(MARKS).map_or(0, |at| self.u32_at(at)))
    }

    /// Whether nothing but its sequence number and a clear can hide the version: it has no part
    /// that says when it is to be seen.
    #[inline]
    pub fn is_plain(self) -> bool {
        self.parts() & (OLDER | DEADLINE | IDLE | MARKS) == 0
    }

    #[inline]
    pub fn is_tombstone(self) -> bool {
        self.marks().has(Marks::TOMBSTONE)
    }

    #[inline]
    fn idle_clock(self) -> Option<&'g AtomicU32> {
        let at = self.part(IDLE)? + 4;
        // SAFETY: every part's length is a multiple of 4 and the allocation is 8-aligned, so the
        // word is aligned; from publication on it is only used as an atomic.
        Some(unsafe { &*self.at.as_ptr().add(at).cast::<AtomicU32>() })
    }

    /// Notes an access, for max-idle.
    #[inline]
    pub fn touch_idle(self, now: Timestamp) {
        if let Some(clock) = self.idle_clock() {
            clock.store(low(now), Ordering::Relaxed);
        }
    }

    /// How long ago the last access was, ms, where there is a max-idle time.
    #[inline]
    pub fn idle_age(self, now: Timestamp) -> Option<u32> {
        let since = low(now).wrapping_sub(self.idle_clock()?.load(Ordering::Relaxed));
        // A reader with a slightly later clock may have written the access: that is no age.
        Some(if since > u32::MAX / 2 { 0 } else { since })
    }

    /// When the version expires: by its deadline, or by not having been used.
    #[inline]
    pub fn expires_at(self, now: Timestamp) -> Option<Timestamp> {
        let idle = self.idle_age(now).map(|since| {
            let max_idle = self.max_idle().unwrap_or(u32::MAX);
            now - u64::from(since).min(now) + u64::from(max_idle)
        });
        match (self.deadline(), idle) {
            (Some(deadline), Some(idle)) => Some(deadline.min(idle)),
            (deadline, idle) => deadline.or(idle),
        }
    }

    #[inline]
    pub fn is_expired(self, now: Timestamp) -> bool {
        self.parts() & (DEADLINE | IDLE) != 0 && self.expires_at(now).is_some_and(|at| at <= now)
    }

    #[inline]
    fn older_link(self) -> Option<&'g AtomicPtr<u8>> {
        let at = self.part(OLDER)? + 4;
        // SAFETY: the link lies at offset 16 of an 8-aligned allocation and is only ever used as
        // an atomic.
        Some(unsafe { &*self.at.as_ptr().add(at).cast::<AtomicPtr<u8>>() })
    }

    /// The version before this one.
    #[inline]
    pub fn older(self) -> Option<VersionPtr> {
        let link = self.older_link()?.load(Ordering::Acquire);
        NonNull::new(link.map_addr(|at| at & !WITHDRAWN)).map(VersionPtr)
    }

    /// Links to the version before this one; the draft was `linked`.
    pub fn set_older(self, older: Option<VersionPtr>) {
        if let Some(link) = self.older_link() {
            let pointer = older.map_or(std::ptr::null_mut(), |older| older.0.as_ptr());
            link.store(pointer, Ordering::Release);
        }
    }

    /// Whether both are one allocation.
    pub fn is_same(self, other: Version<'_>) -> bool {
        self.at == other.at
    }

    /// Whether the version can be withdrawn and can hide another one.
    pub fn is_linked(self) -> bool {
        self.parts() & OLDER != 0
    }

    /// Says that the version was taken back before it was published. A reader may have found it
    /// before that and come to its sequence number when later writes have raised the watermark
    /// past it; it must go on to the version behind. The draft was `linked`.
    pub fn withdraw(self) {
        if let Some(link) = self.older_link() {
            let older = link.load(Ordering::Relaxed);
            link.store(older.map_addr(|at| at | WITHDRAWN), Ordering::Release);
        }
    }

    /// Whether the version was taken back.
    #[inline]
    pub fn is_withdrawn(self) -> bool {
        self.older_link().is_some_and(|link| link.load(Ordering::Acquire).addr() & WITHDRAWN != 0)
    }

    fn allocated_len(self) -> usize {
        let (key_len, value_len) = self.lens();
        let value_len = if self.parts() & SHARED != 0 { 0 } else { value_len };
        HEADER + part_len(self.parts()) + key_len + value_len
    }

    /// Bytes that the version is charged.
    pub fn charge(self, allocator: Allocator) -> usize {
        let head = allocator.usable(self.allocated_len());
        let shared =
            if self.parts() & SHARED != 0 { allocator.usable(self.value_len() + 16) } else { 0 };
        head + shared
    }
}

#[cfg(test)]
mod tests;
