//! Transfers between accounts in different segments, of one group or of two, and audits that read
//! them all, each with a coordinator on one of the machines, which may die at any step.

use std::collections::{BTreeMap, BTreeSet};

use isogrid_grid::id::{GroupId, NodeId, SegmentId};
use isogrid_grid::replica::OpId;
use isogrid_grid::tx::coordinator::{Action, Event, Outcome};
use isogrid_grid::tx::{Coordinator, Decision, Hold, Intent, Needs, Open, Part, Ruling, TxId};

use super::again::{Request, Requests};
use super::chance::Chance;
use super::groups::persist_of;
use super::kv::State;
use super::part::{Call, Said};
use super::queue::What;
use super::server::answers_at_once;
use super::world::{SEGMENTS, World};
use crate::invariant::bank::{Account, accounts};
use crate::invariant::linear::Place;

/// How many steps of clients begin a transaction, in a million.
const BEGIN: u64 = 150_000;
/// How often a coordinator asks again, us, and for how long.
const AGAIN_US: (u64, u64) = (100_000, 400_000);
const PATIENCE_US: u64 = 4_000_000;

/// Who asked for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// A transaction that is under way.
    Coordinator(u64),
    /// An intent in this segment that waited for too long.
    Intent(TxId, Part),
    /// A COMMIT of this segment, of which others have to hear.
    Home(TxId, Part),
    /// A member that tells the client of a transaction that nothing is done.
    Refusal(u64),
    /// Nobody waits for what comes of it.
    Nobody,
}

#[derive(Debug, Clone)]
struct Asked {
    caller: Caller,
    /// The machine from which it comes, and its process.
    at: usize,
    boot: u64,
    place: Part,
    call: Call,
    until: u64,
    /// How many transfers of the account have to be seen.
    floor: u64,
}

#[derive(Debug)]
struct Transaction {
    at: usize,
    boot: u64,
    tx: TxId,
    audits: bool,
    /// The request that it is, which may come again.
    request: Option<Request>,
    accounts: Vec<Place>,
    seen: BTreeMap<Place, State>,
    core: Option<Coordinator>,
}

/// Those who move money.
#[derive(Debug)]
pub struct Bank {
    pub(super) chance: Chance,
    requests: Requests,
    next: u64,
    asked: BTreeMap<u64, Asked>,
    under_way: BTreeMap<u64, Transaction>,
    /// Who has not heard of a COMMIT yet.
    telling: BTreeMap<TxId, BTreeSet<Part>>,
}

/// The accounts of a group.
fn accounts_of(group: GroupId) -> impl Iterator<Item = Place> {
    accounts().map(move |key| (group, SegmentId(u16::from(key) % SEGMENTS), key))
}

fn part_of((group, segment, _): Place) -> Part {
    (group, segment)
}

impl Bank {
    /// Nobody has moved anything.
    #[must_use]
    pub fn new(seed: u64) -> Bank {
        Bank {
            chance: Chance::new(seed, 3),
            requests: Requests::default(),
            next: 0,
            asked: BTreeMap::new(),
            under_way: BTreeMap::new(),
            telling: BTreeMap::new(),
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Where a transaction runs that may come again, where its home is, and which request it is.
    pub(super) fn request_of(&self, number: u64) -> Option<(usize, Part, Request)> {
        let one = self.under_way.get(&number)?;
        let home = part_of(*one.accounts.first()?);
        Some((one.at, home, one.request.clone()?))
    }
}

impl World {
    /// A client may ask for a transfer or an audit.
    pub fn bank_client(&mut self) {
        let (running, bank) = (self.running(), &mut self.bank);
        if !bank.chance.hits(BEGIN) {
            return;
        }
        let Some(at) = bank.chance.pick(&running).copied() else { return };
        let group = GroupId(bank.chance.pick(&[0, 1, 2, 2]).copied().unwrap_or(0));
        // What is answered at once may be lost in a part: transactions are refused there.
        let group = if answers_at_once(self.options.at_once, group) { GroupId(1) } else { group };
        // A crash of all may tear what is written behind.
        let group = if self.options.behind { GroupId(0) } else { group };
        let audits = bank.chance.hits(250_000);
        let all: Vec<Place> = self.together(group).into_iter().flat_map(accounts_of).collect();
        let bank = &mut self.bank;
        let Some(from) = bank.chance.pick(&all).copied() else { return };
        let others: Vec<Place> = all.iter().copied().filter(|place| *place != from).collect();
        let Some(to) = bank.chance.pick(&others).copied() else { return };
        let accounts = if audits { all } else { vec![from, to] };
        let request = self.request(&accounts).filter(|_| !audits);
        let accounts = request.as_ref().map_or(accounts, |request| request.accounts.clone());
        self.begin_transaction(at, audits, request, accounts);
    }

    /// What a transfer is in runs in which they come again: a new request, or one that came before.
    fn request(&mut self, accounts: &[Place]) -> Option<Request> {
        if !self.options.transfers_again || self.is_bank_lost(accounts.first()?.0) {
            return None;
        }
        let bank = &mut self.bank;
        let again = bank.requests.again(&mut bank.chance);
        again.or_else(|| {
            let (amount, accounts) = (bank.chance.between(1, 9), accounts.to_vec());
            let request = Request { number: bank.number(), accounts, amount };
            bank.requests.begin(request.clone());
            Some(request)
        })
    }

    fn begin_transaction(
        &mut self,
        at: usize,
        audits: bool,
        request: Option<Request>,
        accounts: Vec<Place>,
    ) {
        let number = self.bank.number();
        let boot = self.boots(at);
        let begun = self.machines.get(at).map_or(0, |m| m.clock.now(self.now).wall);
        let tx = TxId { begun, name: OpId { client: [9; 16], number } };
        self.note(format_args!("bank {number}: {accounts:?} at m{at}, audits {audits}"));
        let (seen, core) = (BTreeMap::new(), None);
        let reads = accounts.clone();
        let transaction = Transaction { at, boot, tx, audits, request, accounts, seen, core };
        self.bank.under_way.insert(number, transaction);
        for place in reads {
            self.call((Caller::Coordinator(number), at), part_of(place), Call::Read(place.2));
        }
    }

    /// The groups between which money moves, this one included: those that are kept in one way, as
    /// caches of one transaction have to be.
    fn together(&self, group: GroupId) -> Vec<GroupId> {
        let kept = |group| persist_of(&self.options, group);
        let is_one = |one: &GroupId| {
            kept(*one) == kept(group) && !answers_at_once(self.options.at_once, *one)
        };
        (0..3).map(GroupId).filter(is_one).collect()
    }

    /// Asks a segment for something, from a machine.
    pub(super) fn call(&mut self, (caller, at): (Caller, usize), place: Part, call: Call) {
        let floor = match call {
            Call::Read(key) => self.invariants.bank.floor((place.0, place.1, key)),
            _ => 0,
        };
        let (boot, until) = (self.boots(at), self.now + PATIENCE_US);
        let number = self.bank.number();
        self.bank.asked.insert(number, Asked { caller, at, boot, place, call, until, floor });
        self.send_call(number);
    }

    fn send_call(&mut self, number: u64) {
        let Some(Asked { at, place, .. }) = self.bank.asked.get(&number).cloned() else { return };
        let again = self.bank.chance.between(AGAIN_US.0, AGAIN_US.1);
        self.schedule(again, What::CallAgain(number));
        let Some(control) = self.control(at) else { return };
        let us = control.identity().node;
        let view = control.metadata().groups().get(&place.0);
        let view = view.and_then(|group| group.segments.get(usize::from(place.1.0)));
        // Most go to who is believed to serve the segment, some anywhere.
        let primary = view.and_then(|view| view.primary).unwrap_or(us);
        let to = if self.bank.chance.hits(150_000) { Some(at) } else { self.machine_of(primary) };
        let Some(to) = to else { return };
        for delay in self.way(us, at, to) {
            self.schedule(delay, What::Call(to, number));
        }
    }

    /// When something arrives that a machine says to another: none, once or twice.
    fn way(&mut self, us: NodeId, at: usize, to: usize) -> Vec<u64> {
        if at == to {
            return vec![self.bank.chance.between(10, 100)];
        }
        let there = self.control(to).map_or(us, |control| control.identity().node);
        self.network.send(us, there, &self.options, &mut self.bank.chance).collect()
    }

    pub(super) fn call_arrives(&mut self, at: usize, number: u64) {
        if !self.is_awake(at) {
            return self.wait_for(at, What::Call(at, number));
        }
        // What comes twice, or late, comes though nobody waits for it any more.
        let Some(Asked { place, call, .. }) = self.bank.asked.get(&number).cloned() else { return };
        self.note(format_args!("m{at} bank call {number}: {call:?} of {place:?}"));
        self.serve(at, |server, moment, out| server.call(moment, place, (number, call), out));
        self.flush_later(at);
    }

    /// A segment says something to who asked.
    pub(super) fn said(&mut self, at: usize, number: u64, said: Said) {
        let Some(asked) = self.bank.asked.get(&number) else { return };
        let to = asked.at;
        let us = self.control(at).map_or(NodeId(0), |control| control.identity().node);
        for delay in self.way(us, at, to) {
            self.schedule(delay, What::Said(number, said.clone()));
        }
    }

    pub(super) fn heard(&mut self, number: u64, said: Said) {
        let Some(asked) = self.bank.asked.get_mut(&number) else { return };
        if asked.until == 0 {
            return;
        }
        // Only the first answer counts.
        asked.until = 0;
        let asked = asked.clone();
        if !self.runs(asked.at, asked.boot) {
            return;
        }
        if !self.is_awake(asked.at) {
            self.bank.asked.insert(number, Asked { until: u64::MAX, ..asked.clone() });
            return self.wait_for(asked.at, What::Said(number, said));
        }
        self.note(format_args!("m{} bank call {number}: {said:?}", asked.at));
        if let (Said::Read(state), Call::Read(key)) = (&said, &asked.call) {
            self.see((asked.place.0, asked.place.1, *key), asked.floor, *state);
        }
        self.go_on(&asked, Some(said));
    }

    /// What was acknowledged before an account was asked for is seen.
    fn see(&mut self, place: Place, floor: u64, state: State) {
        let account = Account::of(state.0);
        if account.count < floor && !self.is_lost(place.0) {
            self.fail(&format!(
                "{place:?} was read as {account:?} though {floor} transfers were acknowledged"
            ));
        }
    }

    pub(super) fn call_again(&mut self, number: u64) {
        let Some(asked) = self.bank.asked.get(&number) else { return };
        if asked.until == 0 || !self.runs(asked.at, asked.boot) {
            return;
        }
        if self.now < asked.until {
            return self.send_call(number);
        }
        let asked = asked.clone();
        self.bank.asked.insert(number, Asked { until: 0, ..asked.clone() });
        self.go_on(&asked, None);
    }

    /// Who asked goes on, with what was said or without.
    fn go_on(&mut self, asked: &Asked, said: Option<Said>) {
        match (asked.caller, said) {
            (Caller::Coordinator(number), said) => self.coordinate(number, asked, said),
            (Caller::Refusal(number), Some(Said::Ruling(ruling))) => self.refused(number, &ruling),
            (Caller::Intent(tx, place), Some(Said::Ruling(Ruling::Decided(decision)))) => {
                self.call((Caller::Nobody, asked.at), place, Call::Settle(tx, decision));
            }
            (Caller::Home(tx, home), Some(Said::Done)) => {
                let left = self.bank.telling.entry(tx).or_default();
                left.remove(&asked.place);
                if left.is_empty() {
                    self.call((Caller::Nobody, asked.at), home, Call::Close(tx));
                }
            }
            _ => {}
        }
    }

    /// A transaction has waited for too long.
    pub(super) fn resolve(&mut self, at: usize, place: Part, open: Open) {
        self.note(format_args!("m{at} {place:?} resolves {open:?}"));
        match open {
            Open::Ask(tx, home) => {
                let call = Call::Decide(tx, Decision::Abort, Vec::new(), None);
                self.call((Caller::Intent(tx, place), at), home, call);
            }
            Open::Tell(tx, parts) => {
                self.bank.telling.insert(tx, parts.iter().copied().collect());
                for part in parts {
                    let call = Call::Settle(tx, Decision::Commit);
                    self.call((Caller::Home(tx, place), at), part, call);
                }
            }
        }
    }

    /// The coordinator of a transaction hears something.
    fn coordinate(&mut self, number: u64, asked: &Asked, said: Option<Said>) {
        let Some(one) = self.bank.under_way.get_mut(&number) else { return };
        let (part, mut out) = (asked.place, Vec::new());
        match (&mut one.core, &asked.call, said) {
            (None, Call::Read(key), Some(Said::Read(state))) => {
                one.seen.insert((part.0, part.1, *key), state);
                if one.seen.len() == one.accounts.len() {
                    self.commit(number, &mut out);
                }
            }
            (None, ..) => {
                self.bank.under_way.remove(&number);
                self.invariants.bank.note("not read");
            }
            (Some(core), Call::Prepare(..), said) => {
                let vote = match said {
                    Some(Said::Vote(vote)) => Some(vote),
                    _ => None,
                };
                core.step(Event::Voted(part, vote), &mut out);
            }
            (Some(core), Call::Decide(..), said) => {
                let ruling = match said {
                    Some(Said::Ruling(ruling)) => Some(ruling),
                    _ => None,
                };
                core.step(Event::Decided(ruling), &mut out);
            }
            (Some(core), Call::Settle(..), Some(_)) => core.step(Event::Settled(part), &mut out),
            _ => {}
        }
        out.into_iter().for_each(|action| self.coordinator_acts(number, action));
    }

    /// All is read: a transfer moves something, and an audit sees whether all is there.
    fn commit(&mut self, number: u64, out: &mut Vec<Action>) {
        let amount = self.bank.chance.between(1, 9);
        let Some(one) = self.bank.under_way.get_mut(&number) else { return };
        let amount = one.request.as_ref().map_or(amount, |request| request.amount);
        let mut plan = BTreeMap::new();
        for (place, sign) in one.accounts.iter().zip([-1, 1]).filter(|_| !one.audits) {
            let before = Account::of(one.seen.get(place).and_then(|state| state.0));
            let balance = before.balance.saturating_add_signed(sign * amount.cast_signed());
            let after = Account { by: number, count: before.count + 1, balance };
            plan.insert(*place, (before, after));
        }
        if plan.values().any(|(before, _)| before.balance < amount || before.count == 0xffff) {
            // There is too little on it.
            self.bank.under_way.remove(&number);
            return;
        }
        let parts: BTreeSet<Part> = one.accounts.iter().map(|place| part_of(*place)).collect();
        let Some(home) = one.accounts.first().map(|place| part_of(*place)) else { return };
        let needs = match (&one.request, one.audits) {
            (Some(_), _) => Needs::Answer,
            (None, true) => Needs::Nothing,
            (None, false) => Needs::Decision,
        };
        one.core = Some(Coordinator::begin(home, parts, needs, out));
        let request = one.request.as_ref().map_or(number, |request| request.number);
        if !one.audits {
            self.invariants.bank.plan(number, request, plan);
        }
    }

    fn coordinator_acts(&mut self, number: u64, action: Action) {
        let Some(one) = self.bank.under_way.get(&number) else { return };
        let (tx, at, runs) = (one.tx, one.at, self.runs(one.at, one.boot));
        let Some(home) = one.core.as_ref().map(Coordinator::home).filter(|_| runs) else {
            return;
        };
        let (place, call) = match action {
            Action::Prepare(part, alone) => {
                (part, Call::Prepare(tx, self.intent(number, part, home), alone))
            }
            Action::Decide(parts) => {
                let answered = one.request.as_ref().map(|request| request.answered(number));
                (home, Call::Decide(tx, Decision::Commit, parts, answered))
            }
            Action::Settle(part, decision) => (part, Call::Settle(tx, decision)),
            Action::Close => (home, Call::Close(tx)),
            Action::Answer(outcome) => return self.told(number, &outcome),
        };
        self.call((Caller::Coordinator(number), at), place, call);
    }

    /// What a transaction does in one segment.
    fn intent(&self, number: u64, part: Part, home: Part) -> Intent {
        let Some(one) = self.bank.under_way.get(&number) else {
            return Intent { home, version: 0, holds: Vec::new() };
        };
        let accounts = one.accounts.iter().filter(|place| part_of(**place) == part);
        let hold = |place: &Place| {
            let seen = one.seen.get(place).map(|state| state.1);
            let write = self.invariants.bank.planned(number, *place);
            let write = write.map(|to| to.value().to_le_bytes().into());
            Hold { key: vec![place.2], seen, write }
        };
        Intent { home, version: 0, holds: accounts.map(hold).collect() }
    }

    /// A client is told what became of its transaction.
    fn told(&mut self, number: u64, outcome: &Outcome) {
        self.note(format_args!("bank {number}: {outcome:?}"));
        let Some(one) = self.bank.under_way.get(&number) else { return };
        let done = match outcome {
            Outcome::Committed(_) => Some(true),
            Outcome::Conflict(_) | Outcome::Failed | Outcome::Before(_) => Some(false),
            Outcome::Unknown => None,
        };
        if !one.audits {
            let request = one.request.clone();
            self.invariants.bank.ended(number, done);
            return request.into_iter().for_each(|one| self.told_again(number, &one, outcome));
        }
        let seen = one.seen.iter();
        let all = seen.map(|(place, state)| (*place, Account::of(state.0))).collect();
        if done == Some(true)
            && !one.accounts.iter().any(|place| self.is_lost(place.0))
            && let Err(broken) = self.invariants.bank.audited(&all)
        {
            self.fail(&broken);
        }
    }

    /// The client of a request that may come again is told what became of it.
    fn told_again(&mut self, number: u64, request: &Request, outcome: &Outcome) {
        match outcome {
            Outcome::Committed(_) => self.done_by(request, number),
            Outcome::Before(answer) => self.answered_before(request, answer),
            Outcome::Conflict(_) => self.refuse(number),
            Outcome::Failed | Outcome::Unknown => {}
        }
    }

    /// Whether some was declared lost of the groups between which money of this one moves.
    pub(super) fn is_bank_lost(&self, group: GroupId) -> bool {
        self.together(group).iter().any(|group| self.is_lost(*group))
    }

    /// Whether some of a group was declared lost: then so are transactions.
    fn is_lost(&self, group: GroupId) -> bool {
        (0..SEGMENTS).any(|at| self.invariants.lost(group, SegmentId(at)).any > 0)
    }

    /// In the end all or nothing of each transaction is done, and nothing is in doubt.
    ///
    /// # Errors
    /// What is not so.
    pub fn all_ended(&self) -> Result<(), String> {
        let banks: BTreeSet<_> = (0..3).map(|group| self.together(GroupId(group))).collect();
        for bank in banks {
            // What was declared lost has lost its part of transactions (R29).
            if !bank.iter().any(|group| self.is_lost(*group)) {
                self.bank_ended(&bank)?;
            }
        }
        Ok(())
    }

    fn bank_ended(&self, bank: &[GroupId]) -> Result<(), String> {
        let (mut all, mut expected) = (BTreeMap::new(), 0);
        for place in bank.iter().copied().flat_map(accounts_of) {
            expected += 1;
            let Some(at) = self.server_of(part_of(place)) else { continue };
            let process = self.machines.get(at).and_then(|m| m.process.as_ref());
            let mut copies = process.into_iter().flat_map(|process| process.server.copies());
            let copy = copies.find(|(of, at, ..)| (*of, *at) == part_of(place));
            let Some((.., base)) = copy else { continue };
            all.insert(place, Account::of(base.get(place.2).0));
            if base.ledger.doubts() > 0 {
                let ledger = &base.ledger;
                return Err(format!("{} {} is in doubt: {ledger:?}", place.0, place.1));
            }
        }
        if all.len() == expected { self.invariants.bank.check(&all) } else { Ok(()) }
    }
}
