//! The copies that a member has of one cache's segments: each a [`Replica`] and the segment of the
//! engine's table that it is about.
//!
//! A write goes the way that every write goes: it is prepared in the table and recorded in its
//! journal, and here that is the replica's log; when all copies have it the replica commits, and
//! that publishes it (DECISIONS 4.4). So every command works on a primary as it does on a table
//! of its own, and what waits for a commit waits as for a disk.
//!
//! The lock of the table's segment is taken first, then the replica's. Whether a member may answer
//! is asked without either: [`Copies::serves`].

mod base;
mod confirm;
mod fragment;
mod keep;
mod lost;
mod once;
mod part;
mod patch;
mod stats;

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use isogrid_engine::hash::stable_segment;
use isogrid_engine::table::{Change, Journal, Table, Unrecorded, encode_change};

use crate::id::{Copy, Epoch, GroupId, NodeId, SegmentId};
use crate::membership::Now;
use crate::metadata::{Acks, GroupSettings, Segment};
use crate::mutant::is_planted;
use crate::replica::{Action, Budget, Event, Op, Peer, Record, Replica, TAIL_BYTES};
use crate::segment::Request;
use crate::tx;

use self::base::TableBase;
pub use self::confirm::Mark;
use self::fragment::{Fragment, State};
pub use self::keep::{Keeper, NotACopy};
pub use self::lost::changes;
pub use self::once::Once;
use self::once::Withheld;
pub use self::stats::{CopyStats, FillStats};

/// What is to be done for copies.
#[derive(Debug, Clone)]
pub enum Out {
    /// Send this to a member's copy.
    Send(NodeId, GroupId, SegmentId, Peer),
    /// Tell the control core.
    Ask(Request),
    /// What this one waits for is committed, or nobody here knows whether it will be.
    Wake(Waker),
    /// These writes of a segment were answered here at once, and are lost (R37): to be counted with
    /// [`CopyStats::discarded`].
    Discarded(GroupId, SegmentId, Vec<Op>),
    /// Find out how a transaction ends that has waited for too long, or tell those who took part.
    Resolve(GroupId, SegmentId, tx::Open),
}

/// Nobody here knows what becomes of a write: this copy does not serve any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the segment went to another member before its copies had said that they have the write")]
pub struct Unknown;

/// What an answer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The segment.
    pub segment: u32,
    /// Up to where what was written has to be committed; 0: nothing was.
    seq: u64,
    /// Which round has to be over (R25); 0: none.
    round: u64,
    /// For how long the copy has served when it was taken, in times that it began.
    tenure: u64,
}

/// The copies of one cache's segments.
pub struct Copies {
    group: GroupId,
    min_insync: u8,
    table: Arc<Table>,
    fragments: Box<[Fragment]>,
    stats: CopyStats,
    /// What may be answered and on no other copy; `None`: nothing may (R37).
    budget: Option<Arc<Budget>>,
    /// Where they are kept; `None`: they end with the process.
    keeper: Option<Arc<dyn Keeper>>,
    /// They are, or may have to be, kept there.
    is_kept: AtomicBool,
}

impl Copies {
    /// The copies that the member `us` has of a cache: none yet, or what [`Copies::restore`] says.
    /// The table records its changes here from now on.
    #[must_use]
    pub fn new(
        us: NodeId,
        group: GroupId,
        settings: &GroupSettings,
        table: Arc<Table>,
        keeper: Option<Arc<dyn Keeper>>,
    ) -> Arc<Copies> {
        let count = table.segment_count();
        let budget = (settings.acks == Acks::Async).then(|| Budget::new(TAIL_BYTES));
        let replica = |at| {
            let mut replica = Replica::new(us, group, SegmentId(at));
            if let Some(budget) = &budget {
                replica = replica.at_once(Arc::clone(budget));
            }
            if keeper.is_some() { replica.kept(settings.persist) } else { replica }
        };
        let fragments = (0..u16::try_from(count).unwrap_or(u16::MAX))
            .map(|at| Fragment::new(us, replica(at)))
            .collect();
        for at in 0..count {
            table.copy(at, 0).into_iter().for_each(|mut copy| copy.follow());
        }
        let copies = Arc::new(Copies {
            group,
            min_insync: settings.min_insync,
            table,
            fragments,
            stats: CopyStats::default(),
            budget,
            is_kept: keeper.is_some().into(),
            keeper,
        });
        copies.table.set_journal(Arc::clone(&copies) as Arc<dyn Journal>);
        copies
    }

    /// The metadata say this of a segment now; what is allowed as in [`Copies::allow`].
    pub fn view(
        &self,
        now: Now,
        at: SegmentId,
        view: &Segment,
        ours: Option<Copy>,
        (serves, reads): (Option<Epoch>, Option<Epoch>),
        out: &mut Vec<Out>,
    ) {
        self.allow(at, serves, reads);
        if let Some(fragment) = self.fragments.get(usize::from(at.0)) {
            let is_insync = ours.is_some_and(|ours| view.insync.contains(&ours));
            let epoch = if is_insync { view.epoch.0 } else { 0 };
            fragment.insync.store(epoch, Ordering::Release);
        }
        self.with(now, at, out, |replica, base, done| {
            replica.view(now.monotonic, view, ours, base, done);
        });
    }

    /// In which epoch the member may serve a segment, and in which its copy may be read, its lease
    /// left aside.
    pub fn allow(&self, at: SegmentId, serves: Option<Epoch>, reads: Option<Epoch>) {
        if let Some(fragment) = self.fragments.get(usize::from(at.0)) {
            fragment.allowed.store(serves.map_or(0, |epoch| epoch.0), Ordering::Release);
            fragment.readable.store(reads.map_or(0, |epoch| epoch.0), Ordering::Release);
        }
    }

    /// Nothing is written to a segment any more in this epoch: it is to be given up (R33).
    pub fn close(&self, at: SegmentId) {
        if let Some(fragment) = self.fragments.get(usize::from(at.0)) {
            let state = fragment.lock();
            fragment.closed.store(state.replica.epoch().0, Ordering::Release);
        }
    }

    /// Whether everything that was written to a segment here is committed, or its copy serves no
    /// more.
    #[must_use]
    pub fn is_settled(&self, at: SegmentId) -> bool {
        self.fragments.get(usize::from(at.0)).is_none_or(|fragment| {
            let serves = fragment.active.load(Ordering::Acquire) != 0;
            !serves
                || fragment.committed.load(Ordering::Acquire)
                    >= fragment.last.load(Ordering::Acquire)
        })
    }

    /// Whether writes are answered before the copies have them: then a segment is given up only
    /// when it is settled, since what was answered would be lost (R37).
    #[must_use]
    pub fn answers_at_once(&self) -> bool {
        self.budget.is_some()
    }

    /// What these copies count.
    #[must_use]
    pub fn stats(&self) -> &CopyStats {
        &self.stats
    }

    /// Bytes that are answered and not on all copies.
    #[must_use]
    pub fn tail_bytes(&self) -> usize {
        self.budget.as_ref().map_or(0, |budget| budget.used())
    }

    /// Whether this member's copy of a segment has all that was acknowledged, with nothing that
    /// is not committed yet, its lease left aside; without a lock. To be asked after what is
    /// answered was read (R24).
    #[must_use]
    pub fn may_read(&self, segment: u32) -> bool {
        let fragment = self.fragments.get(segment as usize);
        fragment.is_some_and(|fragment| fragment.is_clean_in(&fragment.readable))
    }

    /// Whether this member's copy of a segment is one in sync as far as is known here, with nothing
    /// that is not committed yet, its lease left aside; without a lock. Where the lease holds, that
    /// was so when it was asked for, so what is read lacks what came since at the most (R26).
    #[must_use]
    pub fn may_read_behind(&self, segment: u32) -> bool {
        let fragment = self.fragments.get(segment as usize);
        fragment.is_some_and(|fragment| fragment.is_clean_in(&fragment.insync))
    }

    /// Some time has passed.
    pub fn tick(&self, now: Now, out: &mut Vec<Out>) {
        for at in (0..).map(SegmentId).take(self.fragments.len()) {
            let mut open = Vec::new();
            self.with(now, at, out, |replica, base, done| {
                replica.step(now.monotonic, Event::Tick, base, done);
                open = base.beside.ledger.tend(now.monotonic, now.wall);
                open.retain(|_| replica.is_active());
            });
            out.extend(open.into_iter().map(|open| Out::Resolve(self.group, at, open)));
        }
    }

    /// A message of another member's copy.
    pub fn receive(&self, now: Now, from: NodeId, at: SegmentId, peer: Peer, out: &mut Vec<Out>) {
        self.with(now, at, out, |replica, base, done| {
            replica.step(now.monotonic, Event::Received(from, peer), base, done);
        });
    }

    /// Sends what was written to a segment since, and commits what needs nobody else.
    pub fn flush(&self, now: Now, segment: u32, out: &mut Vec<Out>) {
        let Ok(at) = u16::try_from(segment) else { return };
        self.with(now, SegmentId(at), out, |replica, base, done| {
            replica.flush(now.monotonic, base, done);
        });
    }

    /// Removes everything that a segment has, once that is committed.
    ///
    /// # Errors
    /// [`Unrecorded`]: nothing is removed.
    pub fn clear(&self, now: Now, segment: u32) -> Result<(), Unrecorded> {
        let at = usize::try_from(segment).unwrap_or(usize::MAX);
        let (Some(mut copy), Some(fragment)) =
            (self.table.copy(at, now.wall), self.fragments.get(at))
        else {
            return Ok(());
        };
        let mut record = Vec::new();
        copy.encode_clear(&mut record);
        let mut state = fragment.lock();
        if state.holds(&Change::Clear, None) {
            return Err(Unrecorded::Held);
        }
        fragment.append(&mut state, (record.into(), None), self.min_insync).map(|_| ())
    }

    /// How many entries a segment has, those included that have expired and are not removed yet.
    #[must_use]
    pub fn entries(&self, segment: u32) -> u64 {
        let copy = usize::try_from(segment).ok().and_then(|at| self.table.copy(at, 0));
        copy.map_or(0, |copy| copy.entries())
    }

    /// In which epoch this member serves a segment, its lease left aside; without a lock. To be
    /// asked after what is answered was read (R23).
    #[must_use]
    #[inline]
    pub fn serves(&self, segment: u32) -> Option<Epoch> {
        let fragment = self.fragments.get(segment as usize)?;
        let active = fragment.active.load(Ordering::Acquire);
        let is_allowed = fragment.allowed.load(Ordering::Acquire) == active;
        (active != 0 && is_allowed).then_some(Epoch(active))
    }

    /// In which epoch this member serves a segment, its lease left aside, and for how long without a
    /// break, in times that it began; without a lock.
    #[must_use]
    pub fn tenure(&self, segment: u32) -> Option<(Epoch, u64)> {
        let tenure = self.fragments.get(segment as usize)?.tenure.load(Ordering::Acquire);
        self.serves(segment).map(|epoch| (epoch, tenure))
    }

    /// What an answer has to wait for that depends on all that was written to a segment until
    /// now; `None` when all of that is committed.
    #[must_use]
    pub fn ticket(&self, segment: u32) -> Option<Ticket> {
        let fragment = self.fragments.get(segment as usize)?;
        let tenure = fragment.tenure.load(Ordering::Acquire);
        let seq = fragment.last.load(Ordering::Acquire);
        let is_open = fragment.shown.load(Ordering::Acquire) < seq;
        is_open.then_some(Ticket { segment, seq, round: 0, tenure })
    }

    /// Waits until that is committed, or may be answered before that (R37), and confirmed.
    ///
    /// # Errors
    /// [`Unknown`].
    pub fn poll(&self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<Result<(), Unknown>> {
        let Some(fragment) = self.fragments.get(ticket.segment as usize) else {
            return Poll::Ready(Err(Unknown));
        };
        if fragment.is_open(&ticket) && !is_planted("queue-unreplicated") {
            let mut state = fragment.lock();
            // It may have been committed, or be over, since we looked.
            let is_open = fragment.is_open(&ticket);
            if is_open && fragment.tenure.load(Ordering::Acquire) == ticket.tenure {
                let known =
                    |(of, waker): &(Ticket, Waker)| *of == ticket && waker.will_wake(cx.waker());
                if !state.waiting.iter().any(known) {
                    state.waiting.push((ticket, cx.waker().clone()));
                }
                return Poll::Pending;
            }
        }
        let holds = fragment.tenure.load(Ordering::Acquire) == ticket.tenure
            || (ticket.round == 0 && fragment.lock().has_committed(ticket));
        Poll::Ready(if holds { Ok(()) } else { Err(Unknown) })
    }

    /// Lets a replica do something, and does what it asks for.
    fn with(
        &self,
        now: Now,
        at: SegmentId,
        out: &mut Vec<Out>,
        act: impl FnOnce(&mut Replica, &mut TableBase<'_, '_>, &mut Vec<Action>),
    ) {
        let number = usize::from(at.0);
        let (Some(mut copy), Some(fragment)) =
            (self.table.copy(number, now.wall), self.fragments.get(number))
        else {
            return;
        };
        let mut state = fragment.lock();
        let mut done = Vec::new();
        let State { replica, beside, .. } = &mut *state;
        act(replica, &mut TableBase { copy: &mut copy, beside }, &mut done);
        fragment.carry_out(&mut state, &mut copy, (self, at), done, out);
    }

    /// Looks at a replica and its entries, or prepares them, before or beside what happens to them.
    fn locked(
        &self,
        now: Now,
        at: SegmentId,
        act: impl FnOnce(&mut Replica, &mut TableBase<'_, '_>),
    ) {
        self.with(now, at, &mut Vec::new(), |replica, base, _| act(replica, base));
    }

    /// What there is to say of each copy, for status and tests.
    pub fn each(&self, mut visit: impl FnMut(SegmentId, &Replica)) {
        for (at, fragment) in (0..).map(SegmentId).zip(&self.fragments) {
            visit(at, &fragment.lock().replica);
        }
    }
}

/// What a thread has while it writes.
struct Scratch {
    /// Where records are encoded, so that each is allocated once and with the length that it has.
    record: Vec<u8>,
    /// The request that it executes may come twice.
    withheld: Option<Withheld>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> =
        const { RefCell::new(Scratch { record: Vec::new(), withheld: None }) };
}

/// What of it is kept from one record to the next, bytes.
const SCRATCH_BYTES: usize = 64 << 10;

impl Journal for Copies {
    fn record(&self, change: &Change<'_>) -> Result<u64, Unrecorded> {
        self.put_into_log(None, change)
    }

    fn record_over(&self, before: &Change<'_>, change: &Change<'_>) -> Result<u64, Unrecorded> {
        self.put_into_log(Some(before), change)
    }

    fn publishes(&self) -> bool {
        true
    }

    fn has_copies(&self) -> bool {
        true
    }
}

impl Copies {
    /// Puts a change into the log of its segment, made over what there was `before` where that is
    /// known.
    fn put_into_log(
        &self,
        before: Option<&Change<'_>>,
        change: &Change<'_>,
    ) -> Result<u64, Unrecorded> {
        let at = self.segment_of(change).ok_or(Unrecorded::Elsewhere)?;
        let fragment = self.fragments.get(at).ok_or(Unrecorded::Elsewhere)?;
        if let Some(why) = self.refuses() {
            return Err(why);
        }
        SCRATCH.with_borrow_mut(|Scratch { record, withheld }| {
            record.clear();
            record.shrink_to(SCRATCH_BYTES);
            encode_change(change, record);
            let mut state = fragment.lock();
            if state.holds(change, withheld.as_ref().and_then(|withheld| withheld.tx)) {
                return Err(Unrecorded::Held);
            }
            let patch = before.and_then(|before| patch::over(before, change, record));
            let record = (Record::from(&**record), patch);
            let seq = fragment.append(&mut state, record, self.min_insync)?;
            let place = (self.group, at);
            if let Some(withheld) = withheld.as_mut().filter(|withheld| withheld.place == place) {
                state.replica.withhold();
                withheld.seqs.push(seq);
            }
            Ok(seq)
        })
    }

    /// The one segment that a change is about.
    fn segment_of(&self, change: &Change<'_>) -> Option<usize> {
        let of_key = |key: &[u8]| stable_segment(key, self.fragments.len());
        match change {
            Change::Put { key, .. } | Change::Remove { key, .. } => Some(of_key(key)),
            Change::Transaction(changes) => {
                let mut all = changes.iter().map(|change| self.segment_of(change));
                let first = all.next()??;
                all.all(|at| at == Some(first)).then_some(first)
            }
            Change::Clear | Change::Life { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests;
