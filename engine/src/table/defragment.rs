//! Active defragmentation, as Redis has it. An allocator keeps entries of one size together, a slab
//! of them at a time, and a slab is free when all in it are. Where the mix of sizes changes, many
//! are half empty and of use to no other size: with W-TinyLFU, which likes small entries, they came
//! to a fifth of the limit. Entries that are given new memory fill the fullest slabs and empty the
//! others.

use super::Table;
use crate::env::Timestamp;

/// Steps that a call takes, where all that is met stays where it is.
const STEPS_MAX: usize = 64;

/// Where a pass over the entries of a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pass {
    segment: usize,
    from: u64,
}

impl Table {
    /// Says how many bytes of its limit the allocator holds and no entry has: there is so much less
    /// room, down to seven eighths, until they are fewer.
    pub fn set_aside(&self, bytes: u64) {
        self.shared.account.set_aside(bytes);
    }

    /// Gives the next entries of a pass new memory, some more than `budget` bytes of them. How many
    /// bytes they were; `None` when the pass is over.
    ///
    /// Readers see no difference, and the order of eviction stays. Entries with an idle time and
    /// those of 16 KiB and more stay where they are.
    pub fn defragment(&self, pass: &mut Pass, budget: u64, now: Timestamp) -> Option<u64> {
        let mut bytes = 0;
        for _ in 0..STEPS_MAX {
            if bytes >= budget {
                break;
            }
            let Some(segment) = self.segments.get(pass.segment) else { break };
            let (next, moved) = segment.lock(&self.shared, now).relocate(pass.from);
            bytes += moved as u64;
            *pass = match next {
                Some(from) => Pass { from, ..*pass },
                None => Pass { segment: pass.segment + 1, from: 0 },
            };
        }
        (bytes > 0 || pass.segment < self.segments.len()).then_some(bytes)
    }
}
