//! Which changes copies get as what differs from the entry that they have.

use isogrid_engine::table::{Change, encode_change};

use crate::replica::{Before, Patch};

/// Values that are shorter are sent as they are: what names a difference is about as long.
const VALUE_MIN: usize = 512;
/// Of two values that have neither so many bytes at the front in common nor at the end nothing more
/// is looked for: mostly they have nothing to do with each other.
const ALIKE: usize = 16;
/// A patch is worth it where it is shorter than this part of the record.
const PART: usize = 2;

/// What makes a record of a change of the one before it; `None` where that is not worth it.
pub(super) fn over(before: &Change<'_>, change: &Change<'_>, record: &[u8]) -> Option<Patch> {
    let (Change::Put { key, seq, entry: old, .. }, Change::Put { entry: new, .. }) =
        (before, change)
    else {
        return None;
    };
    let (old_len, new_len) = (len(old.value), len(new.value));
    // A record ends with its value.
    let head = record.len().checked_sub(new_len)?;
    let value = record.get(head..)?;
    if new_len < VALUE_MIN || old_len < new_len / PART || !are_alike(old.value[0], value) {
        return None;
    }
    let mut old = Vec::with_capacity(record.len().max(old_len) + 64);
    encode_change(before, &mut old);
    let before = Before { key, number: *seq, record: &old, head: old.len().checked_sub(old_len)? };
    let patch = Patch::between(before, record, head);
    (patch.cost() < record.len() / PART).then_some(patch)
}

/// Whether two values may have much in common.
fn are_alike(old: &[u8], new: &[u8]) -> bool {
    old.first_chunk::<ALIKE>() == new.first_chunk() || old.last_chunk::<ALIKE>() == new.last_chunk()
}

fn len(value: [&[u8]; 2]) -> usize {
    value.iter().map(|piece| piece.len()).sum()
}
