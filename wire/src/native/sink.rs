//! Where encoded bytes go.

use std::sync::Arc;

use crate::Output;

/// Takes encoded bytes: a vector, or a connection's [`Output`].
pub trait Sink {
    /// Appends a copy of `bytes`.
    fn put(&mut self, bytes: &[u8]);

    /// Appends a value that others share; a sink that can do so takes it without a copy.
    fn put_shared(&mut self, value: &Arc<[u8]>) {
        self.put(value);
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Sink for Output {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        Output::put(self, bytes);
    }

    fn put_shared(&mut self, value: &Arc<[u8]>) {
        Output::put_shared(self, Arc::clone(value));
    }
}

/// Fills the front, and is what is left then. What does not fit is lost: the caller knows how long
/// what it encodes is.
impl Sink for &mut [u8] {
    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        if let Some((front, rest)) = std::mem::take(self).split_at_mut_checked(bytes.len()) {
            front.copy_from_slice(bytes);
            *self = rest;
        }
    }
}

/// Appends `number` as unsigned LEB128, in its shortest form.
#[inline(always)]
pub(super) fn put_varint<S: Sink>(number: u64, out: &mut S) {
    let [low, high, ..] = number.to_le_bytes();
    match number {
        ..=0x7f => out.put(&[low]),
        // The length of most values.
        0x80..=0x3fff => out.put(&[low | 0x80, high << 1 | low >> 7]),
        _ => put_long_varint(number, out),
    }
}

fn put_long_varint<S: Sink>(mut number: u64, out: &mut S) {
    let mut bytes = [0; VARINT_LEN_MAX];
    let mut len = 0;
    for byte in &mut bytes {
        len += 1;
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            *byte = low;
            break;
        }
        *byte = low | 0x80;
    }
    out.put(bytes.get(..len).unwrap_or_default());
}

/// Most bytes of a varint.
const VARINT_LEN_MAX: usize = 10;

/// How many bytes `number` has as a varint.
#[inline]
pub(super) fn varint_len(number: u64) -> usize {
    let bits = u64::BITS - (number | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_varints_are_as_long_ones_are() {
        let table = [0, 1, 0x7f, 0x80, 300, 0x3ffe, 0x3fff, 0x4000, 0x4001, 1 << 35, u64::MAX];
        for number in table {
            let (mut short, mut long) = (Vec::new(), Vec::new());
            put_varint(number, &mut short);
            put_long_varint(number, &mut long);
            assert_eq!((&short, short.len()), (&long, varint_len(number)), "{number}");
        }
    }
}
