//! One member's copy of one segment, and how copies stay the same (DATA_PATH sections 3, 5, 9).
//!
//! Primary and backups share a log of operations, each a record that was decided by the primary:
//! what became of an entry, never what was asked for (R15). The log's front part is committed and
//! is in the [`Base`]; the rest, the overlay, is held beside it. The primary commits what *every*
//! copy in sync has (R17). A new primary takes the longest log of those in sync, so that what
//! was acknowledged is in it, and brings all of them there before it serves (R30).
//!
//! The core does no I/O: [`Replica::step`] takes one event and says what is to be done. Whether
//! the member may answer at all, its lease knows ([`crate::control::Control::serves`]).

pub mod answers;
mod backup;
mod confirm;
mod fill;
mod follower;
mod history;
mod keep;
mod log;
mod message;
mod patch;
mod primary;
mod tail;
mod takeover;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::id::{Copy, Epoch, GroupId, NodeId, SegmentId};
use crate::membership::Monotonic;
use crate::metadata::{Filling, Segment};
use crate::mutant::is_planted;
use crate::segment::{Request, Wish};

pub use self::answers::{Answered, Answers, OpId, Seen};
use self::confirm::Rounds;
use self::keep::Keeping;
pub use self::keep::Kept;
use self::log::OpLog;
pub use self::message::{Begin, FillId, Op, Peer};
pub use self::patch::{Before, Patch};
use self::primary::Followers;
use self::tail::Tail;
pub use self::tail::{Budget, TAIL_BYTES, TAIL_MS};
use self::takeover::Takeover;

/// Operations that wait for copies, at most; more are refused (R22).
pub const OVERLAY_MAX: usize = 1_024;
/// Bytes of their records beyond which more are refused (R22).
const OVERLAY_BYTES: usize = 8 << 20;
/// How long a copy may owe an answer before the primary asks to go on without it, ms (R21).
const ANSWER_MS: u64 = 500;
/// After how long without one what may have got lost is sent again, ms.
const RESEND_MS: u64 = 100;
/// How long what was committed is kept for copies that are missing, ms (R43).
const KEEP_MS: u64 = 600_000;
/// Messages of an epoch that the member has not heard of yet.
const PARKED_MAX: usize = 256;

/// The committed entries of a segment.
pub trait Base {
    /// Does an operation that is committed. They come in the order of their numbers.
    fn apply(&mut self, op: &Op);

    /// Does an operation that is answered before it is committed (R37). It comes to
    /// [`Base::apply`] as well, when it is.
    fn show(&mut self, op: &Op);

    /// The entry of a key behind these operations, the newest first, and all that is committed: its
    /// number, and the record that would put it so; `None` where there is none, or none can be told.
    /// Where it is not told a copy takes no patches (R16).
    fn newest<'o>(
        &self,
        _key: &[u8],
        _open: impl Iterator<Item = &'o Op>,
    ) -> Option<(u64, Vec<u8>)> {
        None
    }

    /// Whether everything that came could be done. Else what is here is no copy of anything.
    fn is_sound(&self) -> bool {
        true
    }

    /// Entries from behind `after` on, as bytes for [`Base::take`], and where the next ones begin;
    /// `None` when these were the last.
    fn chunk(&self, after: Option<&[u8]>) -> (Vec<u8>, Option<Vec<u8>>);

    /// Forgets everything. From here to [`Base::filled`] entries come in chunks, with operations
    /// in between: of two states of an entry the one with the higher number holds, also when that
    /// is a deletion (R41).
    fn begin_filling(&mut self);

    /// Takes entries of a chunk; `None` when the bytes are none.
    fn take(&mut self, chunk: &[u8]) -> Option<()>;

    /// All chunks have come.
    fn filled(&mut self);
}

/// Everything that can happen to a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Some time has passed; a few times in 100 ms.
    Tick,
    /// A message of another member's copy.
    Received(NodeId, Peer),
    /// So many of the [`Action::Keep`] of this copy are durable.
    Durable(u64),
}

/// What is to be done for a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send this to the member's copy.
    Send(NodeId, Peer),
    /// Tell the leader of the cluster.
    Ask(Request),
    /// Keep this, behind all of this copy that was to be kept before, and say so when it is
    /// durable: it is the so-manieth. Copies that are not kept never ask for that.
    Keep(u64, Kept),
    /// Everything up to this number is committed, and in the base.
    Committed(u64),
    /// Everything up to this number can be seen, and may be answered, though it is not committed.
    Shown(u64),
    /// The round of this number is over: what was read before it began may be answered (R25).
    Confirmed(u64),
    /// These operations were answered here at once, or may have been, and no other copy has them as
    /// far as its log tells: they are lost.
    Discarded(Vec<Op>),
    /// Another copy has been filled from here.
    Filled(Filled),
    /// The copy serves: what follows gets numbers from this on.
    Active(u64),
    /// The copy does not serve any more. What waits for an answer is answered with UNKNOWN.
    Passive,
}

/// How a copy was filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filled {
    /// It had a part of the log already, and got what it lacked (R43); else all entries.
    pub kept: bool,
    /// Bytes of the entries and records that were sent for it.
    pub bytes: u64,
}

/// A write cannot be taken now, and was not (R14, R22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// The copy is not the primary, or has not taken over yet.
    #[error("this copy does not serve the segment")]
    Passive,
    /// Too many wait already.
    #[error("{OVERLAY_MAX} writes of the segment, or {OVERLAY_BYTES} bytes, wait for its copies")]
    Busy,
    /// Fewer copies are in sync than the group asks for.
    #[error("too few copies are in sync")]
    TooFewCopies,
}

/// A copy.
#[derive(Debug)]
pub struct Replica {
    us: NodeId,
    group: GroupId,
    segment: SegmentId,
    epoch: Epoch,
    role: Role,
    log: OpLog,
    /// Which filling the metadata say is under way, and which of the primaries' has begun here.
    filling: Option<(u64, Option<FillId>)>,
    /// What was below this version was declared lost (R29).
    lost_before: u64,
    /// Came ahead of the metadata that they belong to (R5).
    parked: VecDeque<(NodeId, Peer)>,
    /// What is known of its disk; `None`: it ends with its process.
    keeping: Option<Keeping>,
    /// What it answers at once; `None`: it answers what is committed.
    tail: Option<Tail>,
    rounds: Rounds,
    /// The entries are those of the log, up to where it is committed: no chunk of them is missing.
    is_whole: bool,
    /// When a copy was missing last, of those that should be there.
    missing_at: Option<Monotonic>,
}

/// What the copy is in this epoch.
#[derive(Debug)]
enum Role {
    /// Nothing: it has no data that count.
    None,
    /// It follows this primary, in sync or being filled.
    Backup(NodeId),
    /// It is to serve, and finds out what was acknowledged.
    Taking(Takeover),
    /// It serves.
    Primary(Followers),
}

impl Replica {
    /// No copy yet.
    #[must_use]
    pub fn new(us: NodeId, group: GroupId, segment: SegmentId) -> Self {
        Replica {
            us,
            group,
            segment,
            epoch: Epoch(0),
            role: Role::None,
            log: OpLog::default(),
            filling: None,
            lost_before: 0,
            parked: VecDeque::new(),
            keeping: None,
            tail: None,
            rounds: Rounds::default(),
            is_whole: true,
            missing_at: None,
        }
    }

    /// The metadata say this of the segment now; `ours` is the copy that this process has.
    pub fn view(
        &mut self,
        now: Monotonic,
        view: &Segment,
        ours: Option<Copy>,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        let is_new = view.epoch > self.epoch;
        let is_insync = ours.is_some_and(|ours| view.insync.contains(&ours));
        let filling = view.syncing.iter().find(|filling| Some(filling.copy) == ours);
        if view.lost_before > self.lost_before {
            // The segment begins anew, and so do the copies.
            self.lost_before = view.lost_before;
            if !is_planted("reset-keeps") {
                self.begin((0, Epoch(0)), base, out);
            }
            self.be_whole(base, out);
        }
        self.keep_for_missing(now, view);
        self.be_filled(filling.filter(|_| !is_insync), is_insync, base, out);
        if is_new {
            let is_first = self.epoch == Epoch(0);
            self.epoch = view.epoch;
            self.enter(now, view, is_insync, out);
            if is_first && is_insync {
                self.report(out);
            }
        }
        if let Role::Primary(followers) = &mut self.role {
            followers.view(view, self.us, self.log.committed(), self.log.last());
            self.tend(now, base, out);
        } else if filling.is_some()
            && let Some(primary) = view.primary
        {
            self.role = Role::Backup(primary);
        }
        if let Role::Taking(takeover) = &mut self.role {
            takeover.view(view);
            // A copy without others has nobody to ask.
            self.ask_again(now, base, out);
        }
        for (from, message) in std::mem::take(&mut self.parked) {
            self.step(now, Event::Received(from, message), base, out);
        }
    }

    /// While a copy is missing that may come back, and a while longer, what it lacks then is kept
    /// (R43): here too, since this copy may be the one that serves by then.
    fn keep_for_missing(&mut self, now: Monotonic, view: &Segment) {
        let is_missing = view.target.iter().any(|node| !view.is_insync(*node));
        if is_missing || !view.syncing.is_empty() {
            self.missing_at = Some(now);
        }
        let is_missing = self.missing_at.is_some_and(|at| now < at + KEEP_MS);
        // One that ends without a word may lack what it had said that it has.
        self.log.keep(is_missing || self.is_written_behind());
    }

    /// A copy that begins to be filled may keep what it has, if that is whole (R43).
    fn be_filled(
        &mut self,
        filling: Option<&Filling>,
        is_insync: bool,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        match (filling.map(|filling| filling.since), self.filling) {
            (Some(since), Some((before, _))) if since == before => {}
            (Some(since), _) => {
                self.filling = Some((since, None));
                // It gets what it lacks from one that has it.
                self.takes_up_torn();
                self.be_sound(base, out);
            }
            (None, Some(_)) if is_insync => {
                self.filling = None;
                self.be_whole(base, out);
            }
            (None, _) => self.filling = None,
        }
    }

    /// What is here is no copy as long as it lacks chunks: then it begins with nothing.
    fn be_sound(&mut self, base: &mut impl Base, out: &mut Vec<Action>) {
        if !self.is_whole || !base.is_sound() {
            self.begin((0, Epoch(0)), base, out);
            self.is_whole = true;
        }
    }

    /// Nothing is here, and what follows `after` comes, an operation of this epoch.
    fn begin(&mut self, after: (u64, Epoch), base: &mut impl Base, out: &mut Vec<Action>) {
        base.begin_filling();
        self.is_whole = false;
        self.discard(u64::MAX, &mut Vec::new());
        self.log.begin(after);
        self.keep_begin(after, out);
    }

    /// Everything is here.
    fn be_whole(&mut self, base: &mut impl Base, out: &mut Vec<Action>) {
        base.filled();
        self.is_whole = true;
        self.keep_whole(out);
    }

    /// A new epoch.
    fn enter(&mut self, now: Monotonic, view: &Segment, is_insync: bool, out: &mut Vec<Action>) {
        let serves = view.primary == Some(self.us) && is_insync;
        match (&mut self.role, view.primary) {
            // It goes on with other followers; what waits is sent to them in the new epoch.
            (Role::Primary(followers), _) if serves => {
                followers.enter(self.log.committed());
                self.rounds.enter();
            }
            (_, _) if serves => self.take_over(now, view, out),
            (role, primary) => {
                let served = matches!(role, Role::Primary(_));
                let follows = is_insync || self.filling.is_some();
                self.role = primary.filter(|_| follows).map_or(Role::None, Role::Backup);
                if served {
                    self.log.drop_withheld();
                    self.end_tail();
                    self.rounds.abandon();
                    out.push(Action::Passive);
                }
            }
        }
    }

    /// Does what an event asks for; `out` gets what is to be done.
    pub fn step(
        &mut self,
        now: Monotonic,
        event: Event,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        match event {
            Event::Tick => self.tick(now, base, out),
            Event::Durable(count) => self.became_durable(now, count, base, out),
            Event::Received(from, message)
                if message.epoch() == self.epoch
                    || (is_planted("old-primary") && message.epoch() < self.epoch) =>
            {
                self.receive(now, from, message, base, out);
            }
            Event::Received(from, message) if message.epoch() > self.epoch => {
                if self.parked.len() < PARKED_MAX {
                    self.parked.push_back((from, message));
                }
            }
            // Of an epoch that is over: whoever sent it will hear of that.
            Event::Received(..) => {}
        }
    }

    fn receive(
        &mut self,
        now: Monotonic,
        from: NodeId,
        message: Peer,
        base: &mut impl Base,
        out: &mut Vec<Action>,
    ) {
        match message {
            Peer::Repl { prev, ops, committed, .. } => {
                self.follow(from, prev, ops, committed, base, out);
            }
            Peer::Probe { fill, .. } => self.claim(from, fill, base, out),
            Peer::Fill { fill, begin, .. } => self.begin_fill(from, fill, begin, base, out),
            Peer::Chunk { fill, number, bytes, .. } => {
                self.take_chunk(from, fill, number, &bytes, base, out);
            }
            Peer::Ask { .. } => self.tell(from, out),
            Peer::Confirm { round, .. } => self.is_still_here(from, round, out),
            Peer::Fetch { after, .. } => self.give_tail(from, after, out),
            Peer::Ack { .. }
            | Peer::Lacks { .. }
            | Peer::Took { .. }
            | Peer::Holds { .. }
            | Peer::Confirmed { .. } => self.hear(now, from, &message, base, out),
            Peer::Has { last, .. } => self.has(now, from, last, base, out),
            Peer::Tail { ops, .. } => self.take_tail(now, ops, base, out),
        }
    }

    fn tick(&mut self, now: Monotonic, base: &mut impl Base, out: &mut Vec<Action>) {
        match &self.role {
            Role::None | Role::Backup(_) => {}
            Role::Taking(_) => self.ask_again(now, base, out),
            Role::Primary(_) => self.tend(now, base, out),
        }
    }

    fn ask(&self, wish: Wish, out: &mut Vec<Action>) {
        let (group, segment, epoch) = (self.group, self.segment, self.epoch);
        out.push(Action::Ask(Request { group, segment, epoch, wish }));
    }

    /// The epoch that this copy knows.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Up to where operations are committed, as far as this copy knows.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.log.committed()
    }

    /// The last operation that this copy has.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.log.last()
    }

    /// Whether this copy takes writes.
    #[must_use]
    pub fn is_active(&self) -> bool {
        matches!(&self.role, Role::Primary(followers) if followers.is_active)
    }

    /// Whether the copy is being filled.
    #[must_use]
    pub fn is_filling(&self) -> bool {
        self.filling.is_some()
    }

    /// Whether no chunk is missing here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The overlay: what is decided and not committed, oldest first.
    pub fn overlay(&self) -> impl Iterator<Item = &Op> {
        self.log.overlay()
    }
}

/// A record, shared between the log and everything that sends it.
pub type Record = Arc<[u8]>;

/// Peers by their members.
type Peers<T> = BTreeMap<NodeId, T>;

#[cfg(test)]
mod tests;
