//! The queues of a cluster, in the segments that this member serves. Requests of all members are
//! executed here, in one order for each queue; what an answer says is committed before it is said, and
//! a message is handed out when it is committed that it is (DATA_PATH R84-R87).
//!
//! Who waits waits here for a moment only, and its node asks again: so nobody waits for a node that
//! is lost, and when another member takes over who asks again waits there.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use isogrid_engine::{Error, Timestamp, Unrecorded};
use isogrid_grid::id::Epoch;
use isogrid_grid::structure::queue::QueueStats;
use isogrid_grid::structures::NotKept;
use isogrid_grid::structures::queues::Hosted;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::slot::{Place, Slot, Trouble, Turn};
use crate::cluster::{Cluster, SEGMENTS, Shared};

/// The cluster, and the table of its queues.
pub type Way = (Arc<Cluster>, Arc<Shared>);

/// The queues that this member serves.
pub struct Hosting {
    segments: Box<[Mutex<Hosted<Slot>>]>,
    /// The tickets of requests that wait, by the names that their nodes gave them.
    waiting: Mutex<BTreeMap<u64, (String, u64)>>,
    /// Something is due earlier than before.
    earlier: Notify,
    wakes_at: AtomicU64,
}

/// A segment for a request.
#[derive(Clone, Copy)]
pub struct Here<'h> {
    hosting: &'h Hosting,
    way: &'h Way,
    segment: u32,
}

impl Default for Hosting {
    fn default() -> Self {
        Hosting {
            segments: (0..SEGMENTS).map(|_| Mutex::default()).collect(),
            waiting: Mutex::default(),
            earlier: Notify::new(),
            wakes_at: AtomicU64::new(Timestamp::MAX),
        }
    }
}

impl Hosting {
    /// A segment.
    pub fn here<'h>(&'h self, way: &'h Way, segment: u32) -> Here<'h> {
        Here { hosting: self, way, segment }
    }

    /// What there is in the queues that this member serves.
    pub fn all(&self, (cluster, shared): &Way) -> Vec<(String, QueueStats)> {
        let serves = |segment: &u32| cluster.serves(shared, *segment);
        let segments = self.segments.iter().zip(0..).filter(|(_, segment)| serves(segment));
        let of = |segment: &Mutex<Hosted<Slot>>| {
            segment.lock().get().map_or_else(Vec::new, |(_, slot)| slot.all())
        };
        segments.flat_map(|(segment, _)| of(segment)).collect()
    }

    /// Does what is due by time in the segments that this member serves; when more is.
    pub fn tick(&self, way: &Way) -> Timestamp {
        let (cluster, shared) = way;
        self.wakes_at.store(Timestamp::MAX, Ordering::Release);
        let mut first = Timestamp::MAX;
        for segment in (0..SEGMENTS).filter(|segment| cluster.serves(shared, *segment)) {
            let here = self.here(way, segment);
            let due = here.due(cluster.now().wall).unwrap_or_else(|| {
                let done = here.with(|turn| {
                    turn.advance()?;
                    Ok(turn.queues.next_deadline().unwrap_or(Timestamp::MAX))
                });
                here.flush();
                done.unwrap_or(Timestamp::MAX)
            });
            first = first.min(due);
        }
        self.wakes_at.fetch_min(first, Ordering::AcqRel);
        first
    }

    /// Waits until something is due earlier than before.
    pub async fn earlier(&self) {
        self.earlier.notified().await;
    }

    /// A request that waits has a name.
    pub fn waits(&self, name: u64, queue: &str, ticket: u64) {
        self.waiting.lock().insert(name, (queue.to_owned(), ticket));
    }

    /// The request of this name waits no more: with which ticket it did.
    pub fn waits_no_more(&self, name: u64) -> Option<(String, u64)> {
        self.waiting.lock().remove(&name)
    }
}

impl Here<'_> {
    /// When something is due, if that is not now and its queues are in memory.
    fn due(&self, now: Timestamp) -> Option<Timestamp> {
        let (_, tenure) = self.tenure()?;
        let segment = self.hosting.segments.get(self.segment as usize)?.lock();
        let (of, slot) = segment.get()?;
        Some(slot.next_deadline()).filter(|due| of == tenure && *due > now)
    }

    /// In which epoch and for how long this member has served the segment, if it does.
    pub fn tenure(&self) -> Option<(Epoch, u64)> {
        let (cluster, shared) = self.way;
        let copies = shared.copies().filter(|_| cluster.serves(shared, self.segment))?;
        copies.tenure(self.segment)
    }

    /// Sends what was written to the other copies.
    pub fn flush(&self) {
        let (cluster, shared) = self.way;
        if shared.copies().is_some_and(|copies| copies.ticket(self.segment).is_some()) {
            cluster.flush(shared, &[self.segment]);
        }
    }

    /// What is in memory is to be read anew.
    pub fn forget(&self) {
        let segment = self.hosting.segments.get(self.segment as usize);
        segment.into_iter().for_each(|segment| segment.lock().forget());
    }

    /// Whether all that was done until now is committed, in the time of serving in which it was done,
    /// and may be said (R18, R23).
    pub async fn is_true(&self, tenure: u64) -> bool {
        let (_, shared) = self.way;
        let lasts = || self.tenure().is_some_and(|(_, now)| now == tenure);
        let Some(copies) = shared.copies().filter(|_| lasts()) else { return false };
        let committed = match copies.ticket(self.segment) {
            None => true,
            Some(ticket) => poll_fn(|cx| copies.poll(ticket, cx)).await.is_ok(),
        };
        committed && lasts()
    }
}

impl Place for Here<'_> {
    /// Whoever answers asks [`Here::is_true`] first, or waits for the segment's ticket.
    fn with<R>(&self, act: impl FnOnce(&mut Turn<'_>) -> Result<R, Trouble>) -> Result<R, Trouble> {
        let (cluster, shared) = self.way;
        let segment = self.hosting.segments.get(self.segment as usize);
        let mut segment = segment.ok_or(Trouble::Elsewhere)?.lock();
        let Some(((epoch, tenure), copies)) = self.tenure().zip(shared.copies()) else {
            segment.forget();
            return Err(Trouble::Elsewhere);
        };
        let (now, table) = (cluster.now().wall, shared.table());
        let slot = segment.take((epoch, tenure), (copies, table, self.segment), now, Slot::new);
        let mut slot = slot.ok_or(Trouble::Elsewhere)?;
        let done = slot.turn(table, now, act);
        let (next, due) = (slot.queues.next_id(), slot.next_deadline());
        if due < self.hosting.wakes_at.fetch_min(due, Ordering::AcqRel) {
            self.hosting.earlier.notify_one();
        }
        let lasts = copies.tenure(self.segment).is_some_and(|(_, now)| now == tenure);
        let is_kept = lasts && !matches!(done, Err(Trouble::NotKept(_)));
        segment.put(next, tenure, is_kept.then_some(slot));
        match done {
            // It is given up right now: nothing was prepared.
            Err(
                Trouble::Undone(Error::Unrecorded(Unrecorded::Elsewhere))
                | Trouble::NotKept(NotKept {
                    why: Error::Unrecorded(Unrecorded::Elsewhere),
                    done: 0,
                }),
            ) => Err(Trouble::Elsewhere),
            Ok(_) if !lasts => Err(Trouble::Unknown),
            done => done,
        }
    }
}
