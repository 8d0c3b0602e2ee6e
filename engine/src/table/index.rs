//! The lock-free index of a segment: from a key's hash to a pointer.
//!
//! A *line* is one cache line: seven slots of `tag << 48 | pointer` and a control word that counts
//! the entries which found the line full and went on to the next one. A lookup reads the home line
//! and follows only as long as that count is not zero, so it mostly touches one cache line.
//!
//! Readers take no lock and write nothing. One writer at a time (it holds the segment's mutex and
//! proves it with `&mut Grower`) changes slots, each with one store.
//!
//! **Resizing** is incremental: a second set of lines grows beside the first, and each write moves
//! a few lines. An entry is stored in the new lines before it is cleared in the old ones; readers
//! look first in the old, then in the new, so they cannot miss it. When they find nothing they
//! check that the set they began with is still the current one, else they look again.
#![expect(unsafe_code, reason = "lines are reached through atomic pointers and freed by epoch")]

#[cfg(not(loom))]
use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::ptr::null_mut;

use crate::sync::{AtomicPtr, AtomicU64, Ordering};

/// Slots of a line beside its control word. Models make everything small, so that rare paths are
/// common.
const LINE_SLOTS: usize = if cfg!(loom) { 2 } else { 7 };
/// Lines that are allocated together.
const CHUNK_LINES: usize = if cfg!(loom) { 2 } else { 32 };
/// Lines of the smallest table.
const LINES_MIN: usize = if cfg!(loom) { 1 } else { 4 };
/// Old lines moved by each write while the table is resized: at 6 entries a line the old lines
/// are empty long before the new ones are full.
const MOVE_LINES: usize = 4;
/// Chunks of a replaced table given back by each write.
const FREE_CHUNKS: usize = 4;

/// Cache lines of an entry that are fetched early.
const ENTRY_LINES: u64 = 3;

const POINTER_BITS: u32 = 48;
const POINTER_MASK: u64 = (1 << POINTER_BITS) - 1;

/// One cache line of the index.
#[repr(C, align(64))]
struct Line {
    slots: [AtomicU64; LINE_SLOTS],
    /// How many entries went past this line because it was full.
    passed: AtomicU64,
}

type Chunk = [Line; CHUNK_LINES];

/// One set of lines. Chunks come into being with their first entry.
struct Lines {
    count: usize,
    chunks: Box<[AtomicPtr<Chunk>]>,
}

/// Memory that readers may still look at: to be freed after a grace period.
#[derive(Debug)]
pub(crate) struct Retired(Garbage);

#[derive(Debug)]
enum Garbage {
    Chunk(*mut Chunk),
    Lines(*mut Lines),
}

// SAFETY: lines hold atomics only; whoever owns the garbage may free it on any thread.
unsafe impl Send for Retired {}

impl Retired {
    /// Frees the memory.
    ///
    /// # Safety
    /// No reader that began before the memory was retired may still run.
    pub unsafe fn free(self) {
        match self.0 {
            // SAFETY: allocated by `new_chunk` with this layout; the caller is the last owner.
            Garbage::Chunk(chunk) => drop(unsafe { Box::from_raw(chunk) }),
            // SAFETY: came from `Box::into_raw`; the caller is the last owner.
            Garbage::Lines(lines) => drop(unsafe { Box::from_raw(lines) }),
        }
    }
}

/// What readers share.
pub(crate) struct Index {
    current: AtomicPtr<Lines>,
    /// The lines that the current ones move to, null when the table is not being resized.
    next: AtomicPtr<Lines>,
}

/// What only the writer knows. Holding it mutably is the right to change the index.
#[derive(Debug)]
pub(crate) struct Grower {
    entries: usize,
    /// The first line of the current set that is not moved yet.
    moved: usize,
    /// A replaced set of lines whose chunks are given back bit by bit, and how many are.
    replaced: Option<(*mut Lines, usize)>,
    memory: usize,
    /// The next growth goes to so many lines at least, and nothing shrinks below.
    reserved: usize,
}

// SAFETY: the pointer is to lines that this writer alone takes apart.
unsafe impl Send for Grower {}

/// Where an entry's pointer is kept. Valid until the next change of the index.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    lines: &'a Lines,
    line: usize,
    word: &'a AtomicU64,
    /// The pointer that was found there.
    pub pointer: u64,
}

/// A slot and what it held when it was looked at.
#[derive(Clone, Copy)]
pub(crate) struct Hint<'a> {
    word: &'a AtomicU64,
    entry: u64,
}

impl Hint<'_> {
    /// The pointer that was there.
    #[inline]
    pub fn pointer(self) -> u64 {
        self.entry & POINTER_MASK
    }

    /// Whether it is still there: then it is what a lookup would find, if it is of the same key.
    #[inline]
    pub fn holds(self) -> bool {
        self.word.load(Ordering::Acquire) == self.entry
    }
}

impl Lines {
    fn new(count: usize) -> *mut Lines {
        let chunks = (0..count.div_ceil(CHUNK_LINES)).map(|_| AtomicPtr::new(null_mut()));
        Box::into_raw(Box::new(Lines { count, chunks: chunks.collect() }))
    }

    fn directory_memory(&self) -> usize {
        size_of::<Lines>() + self.chunks.len() * size_of::<AtomicPtr<Chunk>>()
    }

    /// The line where an entry of this hash belongs: the hash's upper half scaled to the count,
    /// so that a table need not be a power of two (Lemire, "fast alternative to modulo").
    #[inline]
    fn home(&self, hash: u64) -> usize {
        scale(hash, self.count)
    }

    #[inline]
    fn line(&self, at: usize) -> Option<&Line> {
        let chunk = self.chunks.get(at / CHUNK_LINES)?.load(Ordering::Acquire);
        // SAFETY: a chunk is published initialised and freed only a grace period after it was
        // taken out of the directory; the caller reads under an epoch guard or the writer's lock.
        unsafe { chunk.as_ref() }?.get(at % CHUNK_LINES)
    }

    fn after(&self, line: usize) -> usize {
        if line + 1 == self.count { 0 } else { line + 1 }
    }

    /// `is` gets 0 for an empty slot, and is to say no.
    #[inline]
    fn find(&self, hash: u64, is: impl Fn(u64) -> bool) -> Option<Place<'_>> {
        let tag = tag(hash);
        let mut at = self.home(hash);
        for _ in 0..self.count {
            let line = self.line(at)?;
            for word in &line.slots {
                let entry = word.load(Ordering::Acquire);
                if entry & !POINTER_MASK == tag && is(entry & POINTER_MASK) {
                    let pointer = entry & POINTER_MASK;
                    return Some(Place { lines: self, line: at, word, pointer });
                }
            }
            if line.passed.load(Ordering::Acquire) == 0 {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// The line, allocated if it is not there yet.
    fn line_or_new(&self, at: usize, memory: &mut usize) -> Option<&Line> {
        let slot = self.chunks.get(at / CHUNK_LINES)?;
        if slot.load(Ordering::Relaxed).is_null() {
            slot.store(new_chunk(), Ordering::Release);
            *memory += size_of::<Chunk>();
        }
        self.line(at)
    }

    /// Puts a word where it belongs. There is a free slot: the table is kept below its load.
    fn insert(&self, hash: u64, word: u64, memory: &mut usize) {
        let mut at = self.home(hash);
        while let Some(line) = self.line_or_new(at, memory) {
            if let Some(free) = line.slots.iter().find(|s| s.load(Ordering::Relaxed) == 0) {
                free.store(word, Ordering::Release);
                return;
            }
            // Counted before the entry is stored: a reader that sees the entry's key missing here
            // must know to go on.
            line.passed.fetch_add(1, Ordering::AcqRel);
            at = self.after(at);
        }
    }

    /// Takes back what an entry at `line` left on the lines it went past.
    fn unpass(&self, hash: u64, line: usize) {
        let mut at = self.home(hash);
        while at != line {
            if let Some(passed) = self.line(at) {
                passed.passed.fetch_sub(1, Ordering::AcqRel);
            }
            at = self.after(at);
        }
    }
}

#[inline]
fn tag(hash: u64) -> u64 {
    hash << POINTER_BITS
}

#[inline]
fn scale(hash: u64, count: usize) -> usize {
    (((hash >> 32) * count as u64) >> 32) as usize
}

/// An empty chunk, one zeroed allocation.
#[cfg(not(loom))]
fn new_chunk() -> *mut Chunk {
    let layout = Layout::new::<Chunk>();
    // SAFETY: the layout is not empty, and zero bytes are valid lines: empty slots, none passed.
    let chunk = unsafe { alloc_zeroed(layout) };
    if chunk.is_null() {
        handle_alloc_error(layout);
    }
    chunk.cast()
}

/// An empty chunk; loom's atomics are not plain words, so they are built one by one.
#[cfg(loom)]
fn new_chunk() -> *mut Chunk {
    Box::into_raw(Box::new(std::array::from_fn(|_| Line {
        slots: std::array::from_fn(|_| AtomicU64::new(0)),
        passed: AtomicU64::new(0),
    })))
}

impl Index {
    /// An empty index and the right to change it.
    pub fn new() -> (Index, Grower) {
        let lines = Lines::new(LINES_MIN);
        // SAFETY: just made, and nobody else has it.
        let memory = unsafe { &*lines }.directory_memory();
        let index = Index { current: AtomicPtr::new(lines), next: AtomicPtr::new(null_mut()) };
        (index, Grower { entries: 0, moved: 0, replaced: None, memory, reserved: 0 })
    }

    #[inline]
    fn current(&self) -> &Lines {
        // SAFETY: never null; replaced lines are freed a grace period later.
        unsafe { &*self.current.load(Ordering::Acquire) }
    }

    #[inline]
    fn next(&self) -> Option<&Lines> {
        // SAFETY: as in `current`.
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }

    /// The pointer of the entry for which `is` holds. Lock-free.
    #[inline]
    pub fn get(&self, hash: u64, is: impl Fn(u64) -> bool) -> Option<u64> {
        let current = self.current();
        match current.find(hash, &is) {
            Some(place) => Some(place.pointer),
            None => self.get_moved(current, hash, is),
        }
    }

    /// What is not in the lines that were current when the lookup began may have moved.
    #[inline(never)]
    fn get_moved<'i>(
        &'i self,
        mut seen: &'i Lines,
        hash: u64,
        is: impl Fn(u64) -> bool,
    ) -> Option<u64> {
        loop {
            if let Some(place) = self.next().and_then(|next| next.find(hash, &is)) {
                return Some(place.pointer);
            }
            // Nothing found: that is the truth unless a resize ended meanwhile.
            let current = self.current();
            if std::ptr::eq(seen, current) {
                return None;
            }
            if let Some(place) = current.find(hash, &is) {
                return Some(place.pointer);
            }
            seen = current;
        }
    }

    /// Asks the processor to fetch the line that a lookup of `hash` begins with.
    #[inline]
    pub fn prefetch_line(&self, hash: u64) {
        let lines = self.current();
        let home = lines.home(hash);
        if let Some(line) = lines.line(home) {
            prefetch(std::ptr::from_ref(line).cast());
        }
    }

    /// The first slot with the hash's tag, where a lookup will most likely end; asks the processor
    /// to fetch what it points to.
    #[inline]
    pub fn hint(&self, hash: u64) -> Option<Hint<'_>> {
        let lines = self.current();
        let tag = tag(hash);
        for word in &lines.line(lines.home(hash))?.slots {
            let entry = word.load(Ordering::Acquire);
            if entry & !POINTER_MASK == tag && entry & POINTER_MASK != 0 {
                // The first lines of an entry: header, key and a small value.
                for line in 0..ENTRY_LINES {
                    prefetch_word(entry + line * 64);
                }
                return Some(Hint { word, entry });
            }
        }
        None
    }

    /// The place of the entry for which `is` holds, for the writer.
    pub fn find(&self, hash: u64, is: impl Fn(u64) -> bool + Copy) -> Option<Place<'_>> {
        self.current().find(hash, is).or_else(|| self.next()?.find(hash, is))
    }
}

/// Asks the processor to fetch the cache line at an address.
#[inline]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint; it cannot fault, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

impl Grower {
    /// Entries in the index.
    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Bytes held by lines and directories.
    pub fn memory(&self) -> usize {
        self.memory
    }

    /// Makes the entry at `place` point to `pointer`.
    pub fn replace(&mut self, hash: u64, place: Place<'_>, pointer: u64) {
        place.word.store(tag(hash) | pointer, Ordering::Release);
    }

    /// So many entries are about to come: room for all of them is made in one step, and kept until
    /// this is said again.
    pub fn reserve(&mut self, entries: usize) {
        self.reserved = entries.div_ceil(LINE_SLOTS - 1);
    }

    /// Adds an entry that is not in the index.
    pub fn insert(&mut self, index: &Index, hash: u64, pointer: u64) {
        let lines = index.next().unwrap_or(index.current());
        lines.insert(hash, tag(hash) | pointer, &mut self.memory);
        self.entries += 1;
    }

    /// Takes the entry at `place` out.
    pub fn remove(&mut self, hash: u64, place: Place<'_>) {
        place.word.store(0, Ordering::Release);
        place.lines.unpass(hash, place.line);
        self.entries -= 1;
    }

    /// Does a bounded piece of resizing work; to be called after each write. `hash_of` gives the
    /// hash of the entry behind a pointer; what readers may still use goes to `retire`.
    pub fn grow(
        &mut self,
        index: &Index,
        hash_of: impl Fn(u64) -> u64,
        mut retire: impl FnMut(Retired, usize),
    ) {
        self.free_replaced(&mut retire);
        if let Some(next) = index.next() {
            self.move_lines(index, next, hash_of);
        } else if let Some(count) = self.wanted(index.current().count) {
            let next = Lines::new(count);
            // SAFETY: just made, and nobody else has it.
            self.memory += unsafe { &*next }.directory_memory();
            self.moved = 0;
            index.next.store(next, Ordering::Release);
        }
    }

    /// The number of lines to resize to: a quarter more above 6/7 load (small tables double),
    /// half as many below a fifth of the slots. Never while old lines are still given back.
    fn wanted(&self, count: usize) -> Option<usize> {
        if self.replaced.is_some() {
            return None;
        }
        if self.entries > count * (LINE_SLOTS - 1) {
            let more = if count < CHUNK_LINES { count } else { count / 4 };
            return Some((count + more).max(self.reserved));
        }
        (count > LINES_MIN.max(self.reserved) && self.entries < count * LINE_SLOTS / 5)
            .then_some((count / 2).max(LINES_MIN))
    }

    fn move_lines(&mut self, index: &Index, next: &Lines, hash_of: impl Fn(u64) -> u64) {
        let current = index.current();
        for at in self.moved..(self.moved + MOVE_LINES).min(current.count) {
            self.moved = at + 1;
            let Some(line) = current.line(at) else { continue };
            for word in &line.slots {
                prefetch_word(word.load(Ordering::Relaxed));
            }
            for word in &line.slots {
                let entry = word.load(Ordering::Relaxed);
                if entry != 0 {
                    next.insert(hash_of(entry & POINTER_MASK), entry, &mut self.memory);
                    // `passed` stays: readers of the old lines must go on past this one.
                    word.store(0, Ordering::Release);
                }
            }
        }
        if self.moved == current.count {
            let old = index.current.swap(index.next.load(Ordering::Relaxed), Ordering::AcqRel);
            index.next.store(null_mut(), Ordering::Release);
            self.replaced = Some((old, 0));
        }
    }

    fn free_replaced(&mut self, retire: &mut impl FnMut(Retired, usize)) {
        let Some((old, freed)) = self.replaced else { return };
        // SAFETY: the lines are retired below, after their last chunk.
        let lines = unsafe { &*old };
        let upto = (freed + FREE_CHUNKS).min(lines.chunks.len());
        for slot in lines.chunks.get(freed..upto).unwrap_or_default() {
            // A late reader that finds the chunk gone sees a miss, and then that the current
            // lines are others.
            let chunk = slot.swap(null_mut(), Ordering::AcqRel);
            if !chunk.is_null() {
                self.memory -= size_of::<Chunk>();
                retire(Retired(Garbage::Chunk(chunk)), size_of::<Chunk>());
            }
        }
        self.replaced = Some((old, upto));
        if upto == lines.chunks.len() {
            self.replaced = None;
            let size = lines.directory_memory();
            self.memory -= size;
            retire(Retired(Garbage::Lines(old)), size);
        }
    }

    /// Whether a resize is under way, so that an idle owner may finish it.
    pub fn is_growing(&self, index: &Index) -> bool {
        self.replaced.is_some() || index.next().is_some()
    }

    /// The pointers of entries whose home lies in `from..` on the scale of hashes, for at least
    /// `lines` lines; returns the place on the scale to go on from, `None` at the end.
    pub fn scan(
        &self,
        index: &Index,
        from: u64,
        lines: usize,
        hash_of: impl Fn(u64) -> u64,
        mut found: impl FnMut(u64),
    ) -> Option<u64> {
        let count = index.current().count;
        let step = ((1u64 << 32) * lines as u64 / count as u64).max(1);
        let upto = from + step;
        for set in [Some(index.current()), index.next()].into_iter().flatten() {
            set.visit(from, upto, &hash_of, &mut found);
        }
        (upto < 1 << 32).then_some(upto)
    }
}

impl Lines {
    /// Visits the entries whose hash's upper half lies in `from..upto`: those of the lines that
    /// are home to the range, and those that went past them.
    fn visit(
        &self,
        from: u64,
        upto: u64,
        hash_of: &impl Fn(u64) -> u64,
        found: &mut impl FnMut(u64),
    ) {
        let first = scale(from << 32, self.count);
        let last = scale((upto.min(1 << 32) - 1) << 32, self.count);
        let mut at = first;
        for visited in 0..self.count {
            let line = self.line(at);
            for word in line.map(|line| line.slots.as_slice()).unwrap_or_default() {
                let pointer = word.load(Ordering::Acquire) & POINTER_MASK;
                if pointer != 0 && (from..upto).contains(&(hash_of(pointer) >> 32)) {
                    found(pointer);
                }
            }
            let passed = line.is_some_and(|line| line.passed.load(Ordering::Acquire) > 0);
            if visited >= last - first && !passed {
                return;
            }
            at = self.after(at);
        }
    }
}

#[inline]
fn prefetch_word(word: u64) {
    prefetch(std::ptr::with_exposed_provenance((word & POINTER_MASK) as usize));
}

impl Drop for Index {
    fn drop(&mut self) {
        for lines in [&self.current, &self.next] {
            let lines = lines.load(Ordering::Relaxed);
            if !lines.is_null() {
                // SAFETY: dropping means that no reader is left.
                unsafe { free_lines(lines) };
            }
        }
    }
}

impl Drop for Grower {
    fn drop(&mut self) {
        if let Some((old, _)) = self.replaced {
            // SAFETY: the grower goes with its index, so no reader is left.
            unsafe { free_lines(old) };
        }
    }
}

/// Frees a set of lines with its chunks.
///
/// # Safety
/// The caller owns the lines and no reader is left.
unsafe fn free_lines(lines: *mut Lines) {
    // SAFETY: made by `Lines::new`.
    let lines = unsafe { Box::from_raw(lines) };
    for chunk in &lines.chunks {
        let chunk = chunk.load(Ordering::Relaxed);
        if !chunk.is_null() {
            // SAFETY: owned, as the lines are.
            unsafe { Retired(Garbage::Chunk(chunk)).free() };
        }
    }
}

#[cfg(test)]
mod tests;
