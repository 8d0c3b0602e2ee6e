//! Requests that may come twice (R34, R35): each is executed once, whichever member it reaches and
//! however often the segment goes to another one meanwhile.
//!
//! What such a request records stays where it is until its answer is known, and leaves as one
//! record with it. While the copy serves it looks into what is committed and into what it has
//! executed since; whoever takes over has all of that in its own copy when it begins to serve.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use isogrid_engine::Timestamp;

use super::base::Beside;
use super::{Copies, Fragment, SCRATCH, State};
use crate::id::GroupId;
use crate::mutant::is_planted;
use crate::replica::answers::{Answer, join};
use crate::replica::{Answered, OpId, Seen};
use crate::tx::TxId;

/// What became of a request that may come twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Once {
    /// It was executed now, or surely not if it says so itself.
    Executed,
    /// It was executed before, and answered so. Like every answer it is true once what was written
    /// is committed.
    Before(Arc<[u8]>),
    /// Nobody remembers its answer; it was not executed now, but it may have been before.
    Forgotten,
    /// It is being executed.
    UnderWay,
    /// It was surely not executed: the copy does not serve, or takes no writes now.
    Refused,
}

/// What is known of a request whose answer is not committed yet.
#[derive(Debug)]
pub(super) enum Open {
    UnderWay,
    Answered(Answer),
}

/// What a request records in a segment meanwhile.
#[derive(Debug)]
pub(super) struct Withheld {
    /// Which one.
    pub place: (GroupId, usize),
    /// The numbers of what it recorded.
    pub seqs: Vec<u64>,
    /// The transaction that it is, whose keys it may write.
    pub tx: Option<TxId>,
}

/// A request under way. Dropped without an end it was not answered, and what it did stands.
struct Execution<'a> {
    copies: &'a Copies,
    fragment: &'a Fragment,
    id: OpId,
    tenure: u64,
    is_over: bool,
}

impl Copies {
    /// Has a request executed unless it came before. `execute` writes to no other segment of this
    /// cache, and gives the bytes of the answer that is to be remembered; `None`: nothing was done,
    /// and it may be when the request comes again.
    pub fn once(
        &self,
        now: Timestamp,
        segment: u32,
        id: OpId,
        execute: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Once {
        let at = segment as usize;
        let Some(fragment) = self.fragments.get(at) else { return Once::Refused };
        if let Some(known) = fragment.begin(now, id) {
            return known;
        }
        let tenure = fragment.tenure.load(Ordering::Acquire);
        let execution = Execution { copies: self, fragment, id, tenure, is_over: false };
        let withheld = Withheld { place: (self.group, at), seqs: Vec::new(), tx: None };
        SCRATCH.with_borrow_mut(|scratch| scratch.withheld = Some(withheld));
        let answer = execute();
        execution.end(answer.map(|answer| Answered::new(id, now, &answer)))
    }
}

impl Fragment {
    /// What is known of a request; `None`: nothing, and from now on it is under way.
    fn begin(&self, now: Timestamp, id: OpId) -> Option<Once> {
        let mut state = self.lock();
        if !state.replica.is_active() {
            return Some(Once::Refused);
        }
        let known = |answer: &Answer| answer.clone().map_or(Once::Forgotten, Once::Before);
        if is_planted("queue-again") {
            return None;
        }
        match state.beside.seen(now, id) {
            None => Some(Once::UnderWay),
            Some(Seen::Answered(answer)) => Some(known(&answer)),
            Some(Seen::Forgotten) => Some(Once::Forgotten),
            Some(Seen::New) => {
                state.beside.open.insert(id, Open::UnderWay);
                None
            }
        }
    }
}

impl Beside {
    /// What is known of a request, what is not committed yet included; `None`: it is being executed.
    pub(super) fn seen(&self, now: Timestamp, id: OpId) -> Option<Seen> {
        match self.open.get(&id) {
            Some(Open::UnderWay) => None,
            Some(Open::Answered(answer)) => Some(Seen::Answered(answer.clone())),
            None => Some(self.answers.seen(now, id)),
        }
    }
}

impl Execution<'_> {
    fn end(mut self, answered: Option<Answered>) -> Once {
        self.is_over = true;
        self.settle(answered)
    }

    fn settle(&self, answered: Option<Answered>) -> Once {
        let withheld = SCRATCH.with_borrow_mut(|scratch| scratch.withheld.take());
        let seqs = withheld.map(|withheld| withheld.seqs).unwrap_or_default();
        let Execution { copies, fragment, id, tenure, .. } = self;
        let mut state = fragment.lock();
        state.beside.open.remove(id);
        let is_gone = |seq: &u64| state.replica.withheld(*seq).is_none();
        if fragment.tenure.load(Ordering::Acquire) != *tenure || seqs.iter().any(is_gone) {
            // Nothing of it has left, and nothing will.
            return Once::Refused;
        }
        let Some(answered) = answered else {
            seqs.iter().for_each(|seq| state.release(*seq));
            return Once::Executed;
        };
        match seqs.split_last() {
            None => {
                let marker = join(Some(&answered), &[]);
                if fragment.append(&mut state, (marker, None), copies.min_insync).is_err() {
                    return Once::Refused;
                }
            }
            // Some without the others must not be found anywhere.
            Some((last, front)) => {
                state.seal_all(*last, front, |changes| join(Some(&answered), changes));
            }
        }
        state.beside.open.insert(*id, Open::Answered(answered.answer));
        Once::Executed
    }
}

impl Drop for Execution<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.settle(None);
        }
    }
}

impl State {
    /// Lets an operation leave as it is.
    pub(super) fn release(&mut self, seq: u64) {
        if let Some(record) = self.replica.withheld(seq).cloned() {
            self.replica.seal(seq, record);
        }
    }
}
