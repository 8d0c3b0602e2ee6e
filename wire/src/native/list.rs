//! Lists that stay where they came from.

use std::fmt;

use super::codec::Codec;
use super::reader::{Malformed, Reader};
use super::schema::Type;
use super::sink::{Sink, put_varint, varint_len};

/// A list of items. One that was decoded is the bytes of its items, checked from end to end; the
/// items are decoded again as they are walked, so that no list costs memory before it is needed.
pub struct List<'a, T>(Items<'a, T>);

enum Items<'a, T> {
    /// Of items to be encoded.
    Given(&'a [T]),
    /// Of so many items, checked.
    Encoded(usize, &'a [u8]),
}

impl<T> Clone for List<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for List<'_, T> {}

impl<T> Clone for Items<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Items<'_, T> {}

impl<'a, T> List<'a, T> {
    /// A list of `items`.
    #[must_use]
    pub const fn of(items: &'a [T]) -> Self {
        List(Items::Given(items))
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.0 {
            Items::Given(items) => items.len(),
            Items::Encoded(count, _) => count,
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a, T: Codec<'a> + Copy> List<'a, T> {
    /// The items, in order.
    #[must_use]
    pub fn iter(&self) -> Iter<'a, T> {
        match self.0 {
            Items::Given(items) => Iter::Given(items.iter()),
            Items::Encoded(_, bytes) => Iter::Encoded(Reader::trusted(bytes)),
        }
    }
}

impl<'a, T: Codec<'a> + Copy> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// Walks a [`List`].
#[derive(Debug, Clone)]
pub enum Iter<'a, T> {
    /// Items that were given.
    Given(std::slice::Iter<'a, T>),
    /// Items that are decoded one after the other.
    Encoded(Reader<'a>),
}

impl<'a, T: Codec<'a> + Copy> Iterator for Iter<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self {
            Iter::Given(items) => items.next().copied(),
            // They were decoded once without an error, and no limits hold here.
            Iter::Encoded(rest) => T::decode(rest).ok(),
        }
    }
}

impl<'a, T: Codec<'a> + Copy + PartialEq> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<'a, T: Codec<'a> + Copy + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, T: Codec<'a> + Copy> Codec<'a> for List<'a, T> {
    const TYPE: Type = Type::List(&T::TYPE);
    const LEN_MIN: usize = 1;

    fn encoded_len(&self) -> usize {
        let items = match self.0 {
            Items::Given(items) => items.iter().map(T::encoded_len).sum(),
            Items::Encoded(_, bytes) => bytes.len(),
        };
        varint_len(self.len() as u64) + items
    }

    fn encode<S: Sink>(&self, out: &mut S) {
        put_varint(self.len() as u64, out);
        match self.0 {
            Items::Given(items) => items.iter().for_each(|item| item.encode(out)),
            Items::Encoded(_, bytes) => out.put(bytes),
        }
    }

    fn decode(input: &mut Reader<'a>) -> Result<Self, Malformed> {
        let count = input.count(T::LEN_MIN)?;
        let all = input.rest();
        for _ in 0..count {
            T::decode(input)?;
        }
        let bytes = all.get(..all.len() - input.rest().len()).unwrap_or_default();
        Ok(List(Items::Encoded(count, bytes)))
    }
}
