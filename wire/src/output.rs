//! What is to be written to a connection: one contiguous buffer, with large shared values spliced
//! in by reference so that they are never copied a second time.

use std::io::IoSlice;
use std::sync::Arc;

/// What the buffer holds at least once it is used.
const BUFFER_LEN_MIN: usize = 4 << 10;

/// Bytes to write, in order. Small pieces are copied into `buffer`; a large value is kept as a
/// shared slice that belongs before `buffer[position..]`.
#[derive(Debug, Default)]
pub struct Output {
    /// Bytes up to `end` are output; those behind it are room that was filled before.
    buffer: Vec<u8>,
    end: usize,
    shared: Vec<(usize, Arc<[u8]>)>,
    shared_len: usize,
    /// How much of the front is written already.
    written: usize,
}

impl Output {
    /// An empty output.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `len` more bytes of output, for the caller to fill: what they hold now is of no meaning.
    #[inline(always)]
    pub fn room(&mut self, len: usize) -> &mut [u8] {
        let (start, end) = (self.end, self.end + len);
        if end > self.buffer.len() {
            self.grow(end);
        }
        self.end = end;
        self.buffer.get_mut(start..end).unwrap_or_default()
    }

    #[cold]
    fn grow(&mut self, end: usize) {
        self.buffer.resize(end.max(self.buffer.len() * 2).max(BUFFER_LEN_MIN), 0);
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).copy_from_slice(bytes);
    }

    /// Appends one byte.
    #[inline]
    pub fn put_u8(&mut self, byte: u8) {
        self.put(&[byte]);
    }

    /// Appends `number` in decimal.
    #[inline]
    pub fn put_decimal(&mut self, number: u64) {
        write_decimal(number, self.room(decimal_len(number)));
    }

    /// Appends `value` without copying it.
    pub fn put_shared(&mut self, value: Arc<[u8]>) {
        self.shared_len += value.len();
        self.shared.push((self.end, value));
    }

    /// Bytes that are still to be written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end + self.shared_len - self.written
    }

    /// Bytes held in the output's own memory (shared values belong to the cache).
    #[must_use]
    pub fn buffered_len(&self) -> usize {
        self.end
    }

    /// Bytes of memory that it holds, if only for what it may be given later, without what is shared.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.buffer.capacity() + self.shared.capacity() * size_of::<(usize, Arc<[u8]>)>()
    }

    /// Whether nothing is left to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A place in the output to come back to with [`Output::truncate`].
    #[must_use]
    pub fn mark(&self) -> (usize, usize) {
        (self.end, self.shared.len())
    }

    /// Takes back all that was put since `mark`.
    pub fn truncate(&mut self, mark: (usize, usize)) {
        self.end = self.end.min(mark.0);
        for (_, value) in self.shared.drain(mark.1.min(self.shared.len())..) {
            self.shared_len -= value.len();
        }
    }

    /// The pieces still to be written, in order, as many as fit into `slices`; returns how many.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        let mut skip = self.written;
        let mut from = 0;
        let mut push = |piece: &'a [u8]| -> bool {
            let taken = skip.min(piece.len());
            skip -= taken;
            let rest = piece.get(taken..).unwrap_or_default();
            if rest.is_empty() {
                return true;
            }
            let Some(slice) = slices.get_mut(filled) else { return false };
            *slice = IoSlice::new(rest);
            filled += 1;
            true
        };
        for (position, value) in &self.shared {
            let before = self.buffer.get(from..*position).unwrap_or_default();
            if !push(before) || !push(value) {
                return filled;
            }
            from = *position;
        }
        push(self.buffer.get(from..self.end).unwrap_or_default());
        filled
    }

    /// Whether all of it lies in one piece, and that piece.
    #[must_use]
    pub fn contiguous(&self) -> Option<&[u8]> {
        self.shared.is_empty().then(|| self.buffer.get(self.written..self.end).unwrap_or_default())
    }

    /// Notes that `n` more bytes are written; starts over when nothing is left.
    pub fn advance(&mut self, n: usize) {
        self.written += n;
        if self.is_empty() {
            self.clear();
        }
    }

    /// Drops everything and keeps the memory for the next batch.
    pub fn clear(&mut self) {
        self.end = 0;
        self.shared.clear();
        self.shared_len = 0;
        self.written = 0;
    }

    /// The bytes as one vector, for tests and for handing over what is left.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        if let Some(bytes) = self.contiguous() {
            return bytes.to_vec();
        }
        let mut all = Vec::with_capacity(self.len());
        let mut slices = vec![IoSlice::new(&[]); self.shared.len() * 2 + 1];
        let n = self.slices(&mut slices);
        for slice in slices.iter().take(n) {
            all.extend_from_slice(slice);
        }
        all
    }
}

/// How many digits `number` has.
#[inline]
fn decimal_len(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// Writes the lowest digits of `number` so that they fill `digits`.
#[inline]
fn write_decimal(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_values_keep_their_place_at_every_split() {
        let mut out = Output::new();
        out.put(b"ab");
        out.put_shared(Arc::from(&b"CDE"[..]));
        out.put_decimal(120);
        out.put_shared(Arc::from(&b"F"[..]));
        assert_eq!(out.to_vec(), b"abCDE120F");
        for _ in 0..9 {
            let left = out.to_vec();
            out.advance(1);
            assert_eq!(out.to_vec(), &left[1..]);
        }
        assert!(out.is_empty() && out.buffered_len() == 0);
    }

    #[test]
    fn truncate_takes_back_shared_values_too() {
        let mut out = Output::new();
        out.put(b"keep");
        let mark = out.mark();
        out.put(b"x");
        out.put_shared(Arc::from(&b"yy"[..]));
        out.truncate(mark);
        assert_eq!((out.to_vec().as_slice(), out.len()), (&b"keep"[..], 4));
    }
}
