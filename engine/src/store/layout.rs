//! The keys of the ordered tree under which records stand.
//!
//! ```text
//! 0 'a'                                   how far the log is applied
//! 0 'm' | cache u32 | record u16          highest versions of 64 segments
//! 1 | cache u32 | key                     head of an entry, key of at most 255 bytes
//! 1 | cache u32 | key[..224] | sha256     head of an entry with a longer key
//! 2 | cache u32 | chunk id u64 | n u32    a chunk of a long value
//! ```
//! Numbers are big-endian here, so that the tree's order is theirs. A long key is in the entry's
//! stream in full: tree keys must stay short, because a page of sled's index holds 256 of them.

use std::ops::Bound;

use sha2::{Digest, Sha256};

use super::{CacheId, ScanCursor};

const META: u8 = 0;
const ENTRY: u8 = 1;
const CHUNK: u8 = 2;
/// Longest key that is a tree key as it is. A longer one makes a tree key of one byte more, so
/// that the two never meet.
pub(super) const SHORT_KEY_MAX: usize = 255;
/// Bytes of a long key that are kept before its digest: scans by a prefix of so many bytes need
/// not look further.
pub(super) const LONG_KEY_PREFIX: usize = 224;
/// Bytes before the key.
const ENTRY_HEADER: usize = 5;

pub(super) const APPLIED: &[u8] = &[META, b'a'];

fn with_cache(kind: &[u8], cache: CacheId, rest: &[u8]) -> Vec<u8> {
    [kind, &cache.0.to_be_bytes(), rest].concat()
}

pub(super) fn marks(cache: CacheId, record: u16) -> Vec<u8> {
    with_cache(&[META, b'm'], cache, &record.to_be_bytes())
}

/// All marks of a cache.
pub(super) fn marks_prefix(cache: CacheId) -> Vec<u8> {
    with_cache(&[META, b'm'], cache, b"")
}

/// The number in the key of a record of marks.
pub(super) fn marks_record(tree_key: &[u8]) -> Option<u16> {
    tree_key.last_chunk().map(|number| u16::from_be_bytes(*number))
}

pub(super) fn is_long(key: &[u8]) -> bool {
    key.len() > SHORT_KEY_MAX
}

pub(super) fn entry(cache: CacheId, key: &[u8]) -> Vec<u8> {
    match key.split_at_checked(LONG_KEY_PREFIX) {
        Some((prefix, _)) if is_long(key) => {
            let digest = Sha256::digest(key);
            with_cache(&[ENTRY], cache, &[prefix, &digest[..]].concat())
        }
        _ => with_cache(&[ENTRY], cache, key),
    }
}

/// All entries of a cache with a prefix; of a long prefix only as much as tree keys hold.
pub(super) fn entries(cache: CacheId, prefix: &[u8]) -> Vec<u8> {
    let known = prefix.split_at_checked(LONG_KEY_PREFIX).map_or(prefix, |(known, _)| known);
    with_cache(&[ENTRY], cache, known)
}

/// The key in an entry's tree key; the first part of a long one.
pub(super) fn entry_key(tree_key: &[u8]) -> &[u8] {
    let key = tree_key.get(ENTRY_HEADER..).unwrap_or_default();
    if is_long(key) { key.get(..LONG_KEY_PREFIX).unwrap_or_default() } else { key }
}

pub(super) fn chunk(cache: CacheId, id: u64, n: u32) -> Vec<u8> {
    with_cache(&[CHUNK], cache, &[&id.to_be_bytes()[..], &n.to_be_bytes()].concat())
}

/// All chunks of a cache.
pub(super) fn chunks_prefix(cache: CacheId) -> Vec<u8> {
    with_cache(&[CHUNK], cache, b"")
}

/// A part of the tree.
pub(super) type Range<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The first key after all that begin with `prefix`.
pub(super) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end
}

/// From after `cursor`, or from `start`, up to `end`.
pub(super) fn range<'a>(
    start: &'a [u8],
    cursor: Option<&'a ScanCursor>,
    end: &'a [u8],
) -> Range<'a> {
    let from = cursor.map_or(Bound::Included(start), |cursor| Bound::Excluded(&cursor.0[..]));
    (from, Bound::Excluded(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_short_keys_never_share_a_tree_key() {
        let long = [b'k'; 300];
        let tree_key = entry(CacheId(1), &long);
        assert_eq!(tree_key.len(), ENTRY_HEADER + SHORT_KEY_MAX + 1);
        assert_eq!(entry_key(&tree_key), &long[..LONG_KEY_PREFIX]);
        assert_ne!(tree_key, entry(CacheId(1), &[b'k'; 301]));
        // A key made to look like the long one's tree key is itself a long one.
        assert_ne!(tree_key, entry(CacheId(1), &tree_key[ENTRY_HEADER..]));
        assert_eq!(entry_key(&entry(CacheId(1), &[9; SHORT_KEY_MAX])), [9; SHORT_KEY_MAX]);
    }

    #[test]
    fn the_end_of_a_prefix_is_after_all_that_begin_with_it() {
        for (prefix, end) in [(&[1, 2][..], &[1, 3][..]), (&[1, 255], &[2]), (&[1, 255, 255], &[2])]
        {
            assert_eq!(end_of(prefix), end);
        }
    }
}
