//! One copy: its replica behind a lock, and beside it what is read without one.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use isogrid_engine::table::{SegmentCopy, Unrecorded};

use super::base::Beside;
use super::once::Open;
use super::{Copies, Out, Ticket};
use crate::id::{NodeId, SegmentId};
use crate::replica::{Action, NotTaken, Patch, Record, Replica};
use crate::segment::{Request, Wish};

/// One copy, with what is read without its lock.
pub(super) struct Fragment {
    pub(super) us: NodeId,
    /// The epoch in which it serves; 0: it does not.
    pub(super) active: AtomicU32,
    /// In which epoch the member may serve it, but for its lease; 0: in none.
    pub(super) allowed: AtomicU32,
    /// In which epoch its copy may be read, but for its lease; 0: in none.
    pub(super) readable: AtomicU32,
    /// In which epoch its copy is one in sync; 0: in none.
    pub(super) insync: AtomicU32,
    /// The epoch that the replica is in, when its entries are whole.
    pub(super) epoch: AtomicU32,
    /// The epoch in which nothing is written any more.
    pub(super) closed: AtomicU32,
    pub(super) last: AtomicU64,
    pub(super) committed: AtomicU64,
    /// Up to where writes are answered: what is committed, or more where that is not waited for.
    pub(super) shown: AtomicU64,
    /// The last round that is over (R25).
    pub(super) confirmed: AtomicU64,
    pub(super) tenure: AtomicU64,
    /// How many transactions hold keys.
    pub(super) intents: AtomicU64,
    pub(super) state: Mutex<State>,
}

pub(super) struct State {
    pub(super) replica: Replica,
    pub(super) beside: Beside,
    /// Who waits for what.
    pub(super) waiting: Vec<(Ticket, Waker)>,
    /// The last time that the copy served and does not any more, and what was committed then: all
    /// copies in sync have that, so whoever takes over has it as well.
    pub(super) over: (u64, u64),
}

impl Fragment {
    pub(super) fn new(us: NodeId, replica: Replica) -> Self {
        Fragment {
            us,
            active: AtomicU32::new(0),
            allowed: AtomicU32::new(0),
            readable: AtomicU32::new(0),
            insync: AtomicU32::new(0),
            epoch: AtomicU32::new(0),
            closed: AtomicU32::new(0),
            last: AtomicU64::new(0),
            committed: AtomicU64::new(0),
            shown: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            tenure: AtomicU64::new(0),
            intents: AtomicU64::new(0),
            state: Mutex::new(State {
                replica,
                beside: Beside::default(),
                waiting: Vec::new(),
                over: (0, 0),
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its entries are whole in this epoch, and everything that it has is committed.
    pub(super) fn is_clean_in(&self, allowed: &AtomicU32) -> bool {
        let epoch = self.epoch.load(Ordering::Acquire);
        let is_allowed = allowed.load(Ordering::Acquire) == epoch;
        let last = self.last.load(Ordering::Acquire);
        epoch != 0 && is_allowed && self.committed.load(Ordering::Acquire) == last
    }

    /// Puts a record into the log; whoever waits for it has it sent with [`Copies::flush`].
    pub(super) fn append(
        &self,
        state: &mut State,
        (record, patch): (Record, Option<Patch>),
        min_insync: u8,
    ) -> Result<u64, Unrecorded> {
        if self.closed.load(Ordering::Acquire) == state.replica.epoch().0 {
            return Err(Unrecorded::Elsewhere);
        }
        let taken = state.replica.append_patched(record, patch, min_insync);
        let seq = taken.map_err(|why| match why {
            NotTaken::Passive => Unrecorded::Elsewhere,
            NotTaken::Busy => Unrecorded::Busy,
            NotTaken::TooFewCopies => Unrecorded::TooFewCopies,
        })?;
        self.last.store(seq, Ordering::Release);
        Ok(seq)
    }

    /// Does what the replica asks for.
    pub(super) fn carry_out(
        &self,
        state: &mut State,
        copy: &mut SegmentCopy<'_>,
        (of, at): (&Copies, SegmentId),
        done: Vec<Action>,
        out: &mut Vec<Out>,
    ) {
        let (group, is_broken) = (of.group, state.beside.is_broken);
        for action in done {
            match action {
                // Whoever hears nothing more goes on without this copy (R21).
                Action::Send(..) if is_broken => {}
                Action::Send(to, peer) => out.push(Out::Send(to, group, at, peer)),
                Action::Ask(request) => out.push(Out::Ask(request)),
                Action::Keep(count, kept) => {
                    let (change, waits) = ((count, &kept), state.replica.awaits_disk());
                    let keeper = of.keeper.iter();
                    keeper.for_each(|keeper| keeper.keep((group, at), change, waits));
                }
                Action::Committed(seq) => {
                    self.committed.store(seq, Ordering::Release);
                    // More than that may have been answered already (R37).
                    self.shown.fetch_max(seq, Ordering::AcqRel);
                    self.answer(state, out);
                }
                Action::Shown(seq) => {
                    self.shown.store(seq, Ordering::Release);
                    self.answer(state, out);
                }
                Action::Confirmed(round) => {
                    self.confirmed.store(round, Ordering::Release);
                    self.answer(state, out);
                }
                Action::Discarded(ops) => out.push(Out::Discarded(group, at, ops)),
                Action::Filled(filled) => of.stats.filled(filled),
                Action::Active(from) => {
                    of.stats.taken_up(state.replica.takes_up_torn());
                    copy.lead(state.replica.epoch().0);
                    state.beside.prepared_from = Some(from);
                }
                Action::Passive => {
                    let tenure = self.tenure.fetch_add(1, Ordering::AcqRel);
                    state.over = (tenure, self.committed.load(Ordering::Acquire));
                    copy.follow();
                    state.beside.prepared_from = None;
                    state.beside.open.retain(|_, open| matches!(open, Open::UnderWay));
                    state.beside.ledger.passive();
                    out.extend(state.waiting.drain(..).map(|(_, waker)| Out::Wake(waker)));
                }
            }
        }
        let replica = &state.replica;
        let is_active = replica.is_active() && !is_broken;
        if replica.is_active() && is_broken {
            let (epoch, wish) = (replica.epoch(), Wish::GaveUp(self.us));
            out.push(Out::Ask(Request { group, segment: at, epoch, wish }));
        }
        let active = if is_active { replica.epoch().0 } else { 0 };
        self.last.store(replica.last(), Ordering::Release);
        self.shown.store(replica.shown(), Ordering::Release);
        self.committed.store(replica.committed(), Ordering::Release);
        self.active.store(active, Ordering::Release);
        let whole = if replica.is_filling() || is_broken { 0 } else { replica.epoch().0 };
        self.epoch.store(whole, Ordering::Release);
        self.count_intents(&state.beside.ledger);
    }

    /// Whether what an answer waits for is still to come.
    pub(super) fn is_open(&self, ticket: &Ticket) -> bool {
        self.shown.load(Ordering::Acquire) < ticket.seq
            || (ticket.round > 0 && self.confirmed.load(Ordering::Acquire) < ticket.round)
    }

    /// Whoever waits for what is done by now waits no more.
    fn answer(&self, state: &mut State, out: &mut Vec<Out>) {
        let done = state.waiting.extract_if(.., |(ticket, _)| !self.is_open(ticket));
        out.extend(done.map(|(_, waker)| Out::Wake(waker)));
    }
}

impl State {
    /// Whether a write was committed before the copy ceased to serve, though who waits for it looks
    /// only now.
    pub(super) fn has_committed(&self, ticket: Ticket) -> bool {
        let (tenure, committed) = self.over;
        tenure == ticket.tenure && ticket.seq <= committed
    }
}
