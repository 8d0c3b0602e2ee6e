//! R62, with disks that are written behind: nothing that was answered is lost while a process lives
//! that was in sync; when all have ended without a word, what is lost is the last of it.
//!
//! That what is left is all there, without a gap, `linear.rs` sees: it forgets what was lost, and
//! nothing else.

use std::collections::BTreeMap;

use isogrid_grid::id::{Epoch, GroupId, Incarnation, NodeId, SegmentId};

type Place = (GroupId, SegmentId);

/// What was answered, and which processes have ended.
#[derive(Debug, Default)]
pub struct Behind {
    /// By number: its version, and when it is on the disks of all at the latest, us.
    answered: BTreeMap<Place, BTreeMap<u64, (u64, u64)>>,
    /// When a process has ended, us.
    ended: BTreeMap<(NodeId, Incarnation), u64>,
    /// Since what is on disks counts: when the first of their processes ended.
    disks: BTreeMap<Place, u64>,
    /// The last epoch in which a copy began to serve.
    epochs: BTreeMap<Place, Epoch>,
    lost: usize,
}

fn seq(version: u64) -> u64 {
    version & ((1 << 40) - 1)
}

impl Behind {
    /// An operation is answered, under a version. Then it is on all disks, if their processes live.
    pub fn answered(&mut self, place: Place, version: u64, then: u64) {
        self.answered.entry(place).or_default().entry(seq(version)).or_insert((version, then));
    }

    /// A process has ended.
    pub fn ended(&mut self, process: (NodeId, Incarnation), now: u64) {
        self.ended.insert(process, now);
    }

    /// What this process left on its disk counts.
    pub fn came_back(&mut self, place: Place, process: (NodeId, Incarnation)) {
        let ended = self.ended.get(&process).copied().unwrap_or(0);
        let first = self.disks.entry(place).or_insert(ended);
        *first = ended.min(*first);
    }

    /// A copy begins to serve in this epoch, with numbers from `from` on: how many that were answered
    /// are lost.
    ///
    /// # Errors
    /// More than may be.
    pub fn took_over(
        &mut self,
        place: Place,
        (epoch, from): (Epoch, u64),
        lost_before: u64,
    ) -> Result<usize, String> {
        // Who was paused may begin in an old epoch: what newer ones answered is not in its hands.
        let is_its = |_: &u64, (is, _): &mut (u64, u64)| *is >> 40 <= u64::from(epoch.0);
        let lost = self.answered.entry(place).or_default().extract_if(from.., is_its);
        let lost: Vec<_> = lost.map(|(_, one)| one).filter(|(is, _)| *is >= lost_before).collect();
        let last = self.epochs.entry(place).or_insert(epoch);
        *last = epoch.max(*last);
        let since = if epoch == *last {
            self.disks.remove(&place)
        } else {
            self.disks.get(&place).copied()
        };
        let may = |(_, at): &&(u64, u64)| since.is_some_and(|ended| *at >= ended);
        if let Some((version, at)) = lost.iter().find(|one| !may(one)) {
            return Err(format!(
                "R62: {version:x} of {place:?} was to be on all disks at {at} us and is lost in {epoch}; \
                 disks count since {since:?}"
            ));
        }
        self.lost += lost.len();
        Ok(lost.len())
    }

    /// How many operations were answered and are lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.lost
    }
}
