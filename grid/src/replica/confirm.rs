//! Reads that trust no clock (R25): a read is answered when every copy whose answer counts for a
//! commit has said, after the read was made, that it is still in the primary's epoch.
//!
//! It is the write of nothing, and as safe as a write (R17): whoever serves in a later epoch was one
//! of these copies, and had left this epoch before. So when the first of them said that it is still
//! there nobody else had served, and what had been read by then was what there was. One of them is
//! not enough where there are several: those of which nobody says anything may serve already.
//!
//! One round is under way at a time, for all reads before it; those that come meanwhile wait for the
//! next one. Where no other copy counts nobody is asked: then nobody can be made primary as long as
//! this process is not known to be over, or given up by an operator, and for that there is the lease.

use super::primary::Followers;
use super::{Action, Peer, RESEND_MS, Replica, Role};
use crate::id::NodeId;
use crate::membership::Monotonic;
use crate::mutant::is_planted;

/// The rounds of a copy, for as long as its process lasts: no number is used twice.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// The last one that has begun.
    begun: u64,
    /// The last one that is over.
    over: u64,
    /// The last one that somebody waits for.
    wanted: u64,
    /// When those were asked who have not answered.
    asked_at: Option<Monotonic>,
}

impl Rounds {
    /// Whoever waits hears that this copy serves no more.
    pub(super) fn abandon(&mut self) {
        (self.wanted, self.over) = (self.begun, self.begun);
    }

    /// Those who have not answered are asked in the new epoch, at once.
    pub(super) fn enter(&mut self) {
        self.asked_at = None;
    }

    /// Ends the round that all have answered, and begins the next one if it is waited for; whether
    /// one is under way.
    fn turn(&mut self, followers: &Followers, out: &mut Vec<Action>) -> bool {
        loop {
            if self.over == self.begun {
                if self.wanted == self.begun {
                    return false;
                }
                (self.begun, self.asked_at) = (self.wanted, None);
            }
            if !followers.have_confirmed(self.begun) {
                return true;
            }
            self.over = self.begun;
            out.push(Action::Confirmed(self.over));
        }
    }
}

impl Replica {
    /// Something was read here: the round that is to be over before it is answered, which
    /// [`Replica::flush`] begins, and [`Action::Confirmed`] ends. `None`: nobody is to be asked, and
    /// it may be answered by the lease.
    pub fn confirm(&mut self) -> Option<u64> {
        let Role::Primary(followers) = &self.role else { return None };
        if !followers.has_counted() || is_planted("confirm-skipped") {
            return None;
        }
        if self.rounds.over < self.rounds.begun && is_planted("confirm-early") {
            return Some(self.rounds.begun);
        }
        self.rounds.wanted = self.rounds.begun + 1;
        Some(self.rounds.wanted)
    }

    /// The last round that is over.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        self.rounds.over
    }

    /// Goes on with the rounds, and asks those again of whom nothing is heard.
    pub(super) fn go_round(&mut self, now: Monotonic, out: &mut Vec<Action>) {
        let (epoch, rounds) = (self.epoch, &mut self.rounds);
        let Role::Primary(followers) = &mut self.role else { return };
        let is_waiting = |at: Monotonic| now < at + RESEND_MS;
        if rounds.turn(followers, out) && !rounds.asked_at.is_some_and(is_waiting) {
            rounds.asked_at = Some(now);
            let round = rounds.begun;
            let silent = followers.ask_to_confirm(now, round);
            let message = || Peer::Confirm { epoch, round };
            out.extend(silent.map(|node| Action::Send(node, message())));
        }
    }

    /// The primary asks whether this copy is still in its epoch, which the message has.
    pub(super) fn is_still_here(&self, from: NodeId, round: u64, out: &mut Vec<Action>) {
        if matches!(self.role, Role::Backup(primary) if primary == from) {
            out.push(Action::Send(from, Peer::Confirmed { epoch: self.epoch, round }));
        }
    }
}
