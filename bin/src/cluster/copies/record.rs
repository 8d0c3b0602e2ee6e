//! The bytes of a record: which copy, and what changed with it.

use isogrid_grid::id::{GroupId, SegmentId};
use isogrid_grid::replica::Kept;

/// The first record of a log and of each process, which is about no copy. So a log without records has
/// lost some.
pub(super) const BEGINS: &[u8] = &[0];

/// The last record of a process that ended as it should: what is written behind is all there.
pub(super) const SETTLED: &[u8] = &[1];

/// The bytes of a change, behind `out`.
pub(super) fn encode(group: GroupId, at: SegmentId, kept: &Kept, out: &mut Vec<u8>) {
    out.extend_from_slice(&group.0.to_le_bytes());
    out.extend_from_slice(&at.0.to_le_bytes());
    kept.encode(out);
}

/// The change of these bytes; `None` when they are none.
pub(super) fn decode(bytes: &[u8]) -> Option<(GroupId, SegmentId, Kept)> {
    let (group, rest) = bytes.split_first_chunk::<2>()?;
    let (at, kept) = rest.split_first_chunk::<2>()?;
    let (group, at) = (u16::from_le_bytes(*group), u16::from_le_bytes(*at));
    Some((GroupId(group), SegmentId(at), Kept::decode(kept)?))
}
