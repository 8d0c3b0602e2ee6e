//! Numbers, strings and lists in snapshots of structures, in messages between members and in the
//! Raft log: little-endian, lengths in four bytes.
//!
//! What comes from a peer or a disk is an outsider's: every read is checked against what is
//! there, and a count reserves no memory before its items came.

/// Adds a number.
pub fn put_u8(out: &mut Vec<u8>, number: u8) {
    out.push(number);
}

/// Adds a number.
pub fn put_u16(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Adds a number.
pub fn put_u32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Adds a number.
pub fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Adds a number.
pub fn put_u128(out: &mut Vec<u8>, number: u128) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// Adds a string of bytes, with its length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}

/// Adds a number in as few bytes as it takes: seven bits each, the lowest first, and the highest bit
/// says that more follow.
pub fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        put_u8(out, number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    put_u8(out, number.to_le_bytes()[0]);
}

/// Adds a string of bytes, with its length in as few bytes as that takes.
pub fn put_short(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Adds how many of something follow.
pub fn put_count(out: &mut Vec<u8>, count: usize) {
    put_u64(out, count as u64);
}

/// Adds several of something, behind how many there are.
pub fn put_many<T>(
    out: &mut Vec<u8>,
    all: impl ExactSizeIterator<Item = T>,
    mut put: impl FnMut(&mut Vec<u8>, T),
) {
    put_count(out, all.len());
    all.for_each(|one| put(out, one));
}

/// Adds something or nothing, behind a byte that says which.
pub fn put_option<T>(out: &mut Vec<u8>, some: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    put_u8(out, u8::from(some.is_some()));
    if let Some(one) = some {
        put(out, one);
    }
}

/// Takes from the front what was added.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    /// A number of [`put_varint`].
    pub fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            (bits << shift >> shift == bits).then_some(())?;
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// A string of [`put_short`].
    pub fn short(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        self.take(len)
    }

    pub fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u32()?).ok()?;
        self.take(len)
    }

    /// A string that is UTF-8.
    pub fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    /// So many times what `read` reads.
    pub fn many<T>(&mut self, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let (count, mut all) = (self.u64()?, Vec::new());
        for _ in 0..count {
            all.push(read(self)?);
        }
        Some(all)
    }

    /// Something or nothing.
    pub fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.bool()? { read(self).map(Some) } else { Some(None) }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What `read` makes of all the bytes; `None` when it cannot, or when bytes are left.
pub fn whole<'a, T>(bytes: &'a [u8], read: impl FnOnce(&mut Input<'a>) -> Option<T>) -> Option<T> {
    let mut input = Input(bytes);
    read(&mut input).filter(|_| input.is_empty())
}
