//! What of a copy is there after a restart, and what it may say before that is so (R17, R52).
//!
//! Each change of a copy is told to whoever keeps it as a [`Kept`], in order. A copy that is kept
//! promises only what is durable: it acknowledges operations and chunks, tells a new primary how
//! far it is, and counts itself, when [`Event::Durable`](super::Event::Durable) has said so. So
//! what any copy in sync has said that it has is there after its restart, and the copy is one in
//! sync still (R2).
//!
//! A copy that is written behind promises what it has in memory, and is one in sync as long as its
//! process lives. Only while it is filled it waits as the others do: what is on the disk of a copy
//! in sync is always the front part of its log, whatever was there before.

use std::collections::VecDeque;

use super::{Action, Base, FillId, Op, Peer, Replica, Role};
use crate::bytes::{Input, put_bytes, put_many, put_u8, put_u64, whole};
use crate::id::{Epoch, NodeId};
use crate::membership::Monotonic;
use crate::metadata::Persist;
use crate::mutant::is_planted;

/// One change of a copy. A copy is what all of them say, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// It has nothing, and what follows `after` comes.
    Begin {
        /// The number of the last operation before.
        after: u64,
        /// Its epoch.
        of: Epoch,
        /// What was below this version was declared lost (R29).
        lost_before: u64,
    },
    /// Entries of a chunk (R41).
    Chunk(Vec<u8>),
    /// Operations, and up to where is committed. They may be committed further: what a copy in
    /// sync has beyond, its primary decides when it takes over (R30).
    Ops {
        /// The operations.
        ops: Vec<Op>,
        /// Up to where.
        committed: u64,
    },
    /// All chunks have come.
    Whole,
}

impl Kept {
    /// Its bytes, behind `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Kept::Begin { after, of, lost_before } => {
                put_u8(out, 1);
                put_u64(out, *after);
                of.encode(out);
                put_u64(out, *lost_before);
            }
            Kept::Chunk(bytes) => {
                put_u8(out, 2);
                put_bytes(out, bytes);
            }
            Kept::Ops { ops, committed } => {
                put_u8(out, 3);
                put_many(out, ops.iter(), |out, op| op.encode(out));
                put_u64(out, *committed);
            }
            Kept::Whole => put_u8(out, 4),
        }
    }

    /// What these bytes say; `None` when they say nothing.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Kept> {
        whole(bytes, |input: &mut Input<'_>| {
            Some(match input.u8()? {
                1 => {
                    let (after, of) = (input.u64()?, Epoch::decode(input)?);
                    Kept::Begin { after, of, lost_before: input.u64()? }
                }
                2 => Kept::Chunk(input.bytes()?.to_vec()),
                3 => Kept::Ops { ops: input.many(Op::decode)?, committed: input.u64()? },
                4 => Kept::Whole,
                _ => return None,
            })
        })
    }
}

/// What a copy has told to be kept, and how much of that is durable.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    /// It promises what is not durable yet.
    is_behind: bool,
    /// What it has is from a disk that may lack the end of what the process before promised.
    is_torn: bool,
    /// How many changes were told.
    told: u64,
    /// The last operation that was told.
    last: u64,
    /// The last operation that is durable, with all before it.
    durable: u64,
    /// What may be said when so many changes are durable.
    promises: VecDeque<(u64, Promise)>,
}

#[derive(Debug)]
enum Promise {
    /// Everything up to this operation is here.
    Log(u64),
    /// This chunk is here; number 0: nothing else is.
    Took(NodeId, FillId, u64),
}

impl Replica {
    /// The same copy, which is kept like this from now on. One that was kept gets back what it was
    /// with [`Replica::restore`] before anything else happens to it.
    #[must_use]
    pub fn kept(mut self, persist: Persist) -> Self {
        let is_behind = persist == Persist::Async;
        let keeping = Keeping { is_behind, ..Keeping::default() };
        self.keeping = persist.is_kept().then_some(keeping);
        self.log.keep(is_behind);
        self
    }

    /// The same copy is kept like this, as is known only now: before anything happens to it but that
    /// it got back what it was, for which it was one that is written behind.
    pub fn keep_as(&mut self, persist: Persist) {
        let is_behind = persist == Persist::Async;
        self.keeping = self.keeping.take().filter(|_| persist.is_kept());
        if let Some(keeping) = self.keeping.as_mut().filter(|_| !is_behind) {
            // What it has promised was durable.
            (keeping.is_behind, keeping.is_torn) = (false, false);
        }
        self.log.keep(is_behind);
    }

    /// One change of what the copy was before a restart; `None` when it cannot have been that.
    pub fn restore(&mut self, kept: Kept, base: &mut impl Base) -> Option<()> {
        match kept {
            Kept::Begin { after, of, lost_before } => {
                (self.lost_before, self.is_whole) = (lost_before, false);
                base.begin_filling();
                self.log.begin((after, of));
            }
            Kept::Chunk(bytes) => base.take(&bytes)?,
            Kept::Ops { ops, committed } => {
                self.log.extend(ops);
                self.log.commit(committed, base, &mut Vec::new());
            }
            Kept::Whole => self.is_whole = true,
        }
        Some(())
    }

    /// All that the copy was is there again, and durable; but for the end of it, unless it is known
    /// that the process before has `settled` it.
    pub fn restored(&mut self, settled: bool, base: &mut impl Base) {
        base.filled();
        let last = self.log.last();
        let is_behind = self.is_written_behind();
        let is_torn = is_behind && last > 0 && !settled;
        let kept = Keeping { is_behind, is_torn, last, durable: last, ..Keeping::default() };
        self.keeping = Some(kept);
        // The process before may have answered all of it.
        self.tail.as_mut().into_iter().for_each(|tail| tail.shown = last);
    }

    /// What the copy is beside its entries: for who writes down what it is now. The entries
    /// themselves are the base's chunks, each read at this moment or later, and behind them comes
    /// [`Kept::Whole`] if [`Replica::is_whole`].
    #[must_use]
    pub fn state(&self) -> [Kept; 2] {
        let committed = self.log.committed();
        let of = self.log.epoch_of(committed);
        let begin = Kept::Begin { after: committed, of, lost_before: self.lost_before };
        let ready = self.log.overlay().take_while(|op| op.seq <= self.log.ready());
        [begin, Kept::Ops { ops: ready.cloned().collect(), committed }]
    }

    /// Up to where everything is durable here, and in the log of a copy that is not kept.
    pub(super) fn durable(&self) -> u64 {
        let last = self.log.last();
        match &self.keeping {
            Some(keeping) if self.withholds(keeping) => keeping.durable.min(last),
            _ => last,
        }
    }

    fn withholds(&self, keeping: &Keeping) -> bool {
        let is_filled = self.filling.is_some() && !is_planted("filled-in-memory");
        (!keeping.is_behind || is_filled) && !is_planted("ack-before-durable")
    }

    /// Whether its disk may lack the end of what it has promised.
    pub(super) fn is_written_behind(&self) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| keeping.is_behind)
    }

    /// Whether the copy begins to serve with what a disk has that may lack the end; asked once.
    pub fn takes_up_torn(&mut self) -> bool {
        self.keeping.as_mut().is_some_and(|keeping| std::mem::take(&mut keeping.is_torn))
    }

    /// Whether others wait until its disk has what it told.
    #[must_use]
    pub fn awaits_disk(&self) -> bool {
        self.keeping.as_ref().is_some_and(|keeping| self.withholds(keeping))
    }

    /// Whether nothing of the log waits to be durable.
    pub(super) fn is_durable(&self) -> bool {
        self.durable() == self.log.last()
    }

    /// Says what is here after a restart: in the epoch that the primary is in it may have heard more
    /// of what is committed than was kept.
    pub(super) fn report(&self, out: &mut Vec<Action>) {
        if let (Some(_), Role::Backup(primary)) = (&self.keeping, &self.role) {
            out.push(Action::Send(*primary, self.ack(self.durable())));
        }
    }

    /// Tells what of the log was not told yet.
    pub(super) fn keep_log(&mut self, out: &mut Vec<Action>) {
        let Some(keeping) = &mut self.keeping else { return };
        while keeping.last < self.log.ready() {
            let Some(ops) = self.log.batch(keeping.last) else { return };
            keeping.last += ops.len() as u64;
            let promise = Promise::Log(keeping.last);
            keeping.tell(Kept::Ops { ops, committed: self.log.committed() }, promise, out);
        }
    }

    /// Tells that the copy begins anew behind `after`, an operation of this epoch. What was promised
    /// before is void.
    pub(super) fn keep_begin(&mut self, (after, of): (u64, Epoch), out: &mut Vec<Action>) {
        let Some(keeping) = &mut self.keeping else { return };
        (keeping.last, keeping.durable) = (after, after);
        keeping.promises.clear();
        let kept = Kept::Begin { after, of, lost_before: self.lost_before };
        keeping.tell(kept, Promise::Log(after), out);
    }

    /// Tells that all chunks have come.
    pub(super) fn keep_whole(&mut self, out: &mut Vec<Action>) {
        if let Some(keeping) = &mut self.keeping {
            let last = keeping.last;
            keeping.tell(Kept::Whole, Promise::Log(last), out);
        }
    }

    /// Tells a chunk.
    pub(super) fn keep_chunk(&mut self, bytes: &[u8], out: &mut Vec<Action>) {
        if let Some(keeping) = &mut self.keeping {
            let last = keeping.last;
            keeping.tell(Kept::Chunk(bytes.to_vec()), Promise::Log(last), out);
        }
    }

    /// Says that a chunk is here, once everything that was told until now is durable.
    pub(super) fn took(&mut self, from: NodeId, fill: FillId, number: u64, out: &mut Vec<Action>) {
        let withholds = self.awaits_disk();
        match &mut self.keeping {
            Some(keeping) if withholds && !keeping.promises.is_empty() => {
                keeping.promises.push_back((keeping.told, Promise::Took(from, fill, number)));
            }
            _ => out.push(Action::Send(from, Peer::Took { epoch: self.epoch, fill, number })),
        }
    }

    /// So many changes are durable: what was held back for them is said.
    pub(super) fn became_durable(
        &mut self,
        now: Monotonic,
        count: u64,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        let Some(keeping) = &mut self.keeping else { return };
        let before = keeping.durable;
        let mut took = Vec::new();
        while let Some((_, promise)) = keeping.promises.pop_front_if(|(at, _)| *at <= count) {
            match promise {
                Promise::Log(last) => keeping.durable = keeping.durable.max(last),
                Promise::Took(from, fill, number) => took.push((from, fill, number)),
            }
        }
        let is_more = keeping.durable > before;
        let epoch = self.epoch;
        match &self.role {
            Role::Backup(primary) => {
                let (primary, last) = (*primary, self.durable());
                let begun = self.filling.map(|(_, begun)| begun);
                if is_more && begun != Some(None) {
                    out.push(Action::Send(primary, self.ack(last)));
                }
                took.retain(|(from, fill, _)| *from == primary && begun == Some(Some(*fill)));
                let took = took.into_iter();
                out.extend(took.map(|(from, fill, number)| {
                    Action::Send(from, Peer::Took { epoch, fill, number })
                }));
            }
            Role::Primary(_) => self.advance(now, base, out),
            Role::None | Role::Taking(_) => {}
        }
    }
}

impl Keeping {
    fn tell(&mut self, kept: Kept, promise: Promise, out: &mut Vec<Action>) {
        self.told += 1;
        self.promises.push_back((self.told, promise));
        out.push(Action::Keep(self.told, kept));
    }
}
