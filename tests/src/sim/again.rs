//! Transfers that are asked for again, at any machine and whether or not somebody was told what became
//! of them, as a client does that has heard nothing: each is done once (R34).

use std::collections::BTreeMap;

use isogrid_grid::replica::answers::Answer;
use isogrid_grid::replica::{Answered, OpId};
use isogrid_grid::tx::{Decision, Ruling, TxId};

use super::bank::Caller;
use super::chance::Chance;
use super::part::Call;
use super::world::World;
use crate::invariant::linear::Place;

/// Requests that may come again: the newest.
const OPEN_MAX: usize = 8;
/// How many transactions are a request that came before, in a million, and after how many of them it
/// comes no more.
const AGAIN: u64 = 400_000;
const LAST: u64 = 300_000;
/// After how many conflicts, in a million, a client is told that nothing is done, once and for all.
const REFUSED: u64 = 300_000;
/// Clients that ask.
const CLIENTS: u64 = 4;

/// A transfer that a client asks for under a number.
#[derive(Debug, Clone)]
pub struct Request {
    /// The number.
    pub number: u64,
    /// From where, and where to.
    pub accounts: Vec<Place>,
    /// How much.
    pub amount: u64,
}

/// Those that may come again.
#[derive(Debug, Default)]
pub struct Requests(BTreeMap<u64, Request>);

impl Request {
    fn id(&self) -> OpId {
        let client = u128::from(1_000 + self.number % CLIENTS).to_le_bytes();
        OpId { client, number: self.number }
    }

    /// That it was done by this transaction; 0: by none, and never will be.
    pub fn answered(&self, by: u64) -> Answered {
        Answered::new(self.id(), 0, &by.to_le_bytes())
    }
}

impl Requests {
    /// One that came before.
    pub fn again(&mut self, chance: &mut Chance) -> Option<Request> {
        let known: Vec<u64> = self.0.keys().copied().collect();
        let number = chance.pick(&known).copied().filter(|_| chance.hits(AGAIN))?;
        if chance.hits(LAST) { self.0.remove(&number) } else { self.0.get(&number).cloned() }
    }

    /// One that is asked for the first time.
    pub fn begin(&mut self, request: Request) {
        self.0.insert(request.number, request);
        if self.0.len() > OPEN_MAX {
            self.0.pop_first();
        }
    }
}

/// Which transaction an answer names.
fn by(answer: &Answer) -> Option<u64> {
    answer.as_deref().and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
}

impl World {
    /// Somebody is told that a request was done by this transaction, or not: always the same.
    pub(super) fn done_by(&mut self, request: &Request, by: u64) {
        self.note(format_args!("request {}: done by {by}", request.number));
        let is_lost = request.accounts.iter().any(|place| self.is_bank_lost(place.0));
        let told = self.invariants.bank.answered(request.number, by);
        if let Err(broken) = told
            && !is_lost
        {
            self.fail(&broken);
        }
    }

    /// It was answered before, by this transaction if that is remembered.
    pub(super) fn answered_before(&mut self, request: &Request, answer: &Answer) {
        let Some(by) = by(answer) else { return self.invariants.bank.note("forgotten") };
        self.invariants.bank.note("answered again");
        if by > 0 {
            self.invariants.bank.ended(by, Some(true));
        }
        self.done_by(request, by);
    }

    /// Others were first: a client that does not ask again is told so, if nobody does it after all.
    pub(super) fn refuse(&mut self, number: u64) {
        if !self.bank.chance.hits(REFUSED) {
            return;
        }
        let name = OpId { client: [9; 16], number: self.bank.number() };
        let Some((at, home, request)) = self.bank.request_of(number) else { return };
        let begun = self.machines.get(at).map_or(0, |m| m.clock.now(self.now).wall);
        let tx = TxId { begun, name };
        let call = Call::Decide(tx, Decision::Abort, Vec::new(), Some(request.answered(0)));
        self.call((Caller::Refusal(number), at), home, call);
    }

    /// Home has said what was answered first.
    pub(super) fn refused(&mut self, number: u64, ruling: &Ruling) {
        let Some((_, _, request)) = self.bank.request_of(number) else { return };
        match ruling {
            Ruling::Decided(_) => self.done_by(&request, 0),
            Ruling::Before(answer) => self.answered_before(&request, answer),
        }
    }
}
