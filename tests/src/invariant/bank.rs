//! Transactions over segments (ADR 8): all or nothing, the sum stays, and what was acknowledged is
//! seen.
//!
//! An account's value says which transfer wrote it, and that one was planned with the values that
//! it found. So what an account is says all that it ever was, and nothing that happened to it gets
//! lost between.

use std::collections::{BTreeMap, BTreeSet};

use super::linear::Place;
use crate::sim::kv::Key;

/// What is on each account before the first transfer.
pub const OPENING: u64 = 1_000;

/// What an account is: who wrote it, how many transfers it has seen, and what is on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    /// The transfer; 0: none.
    pub by: u64,
    /// How many.
    pub count: u64,
    /// How much.
    pub balance: u64,
}

impl Account {
    /// As it is kept.
    #[must_use]
    pub fn value(self) -> u64 {
        self.by << 32 | self.count << 16 | self.balance
    }

    /// What is kept.
    #[must_use]
    pub fn of(value: Option<u64>) -> Account {
        value.map_or(Account { by: 0, count: 0, balance: OPENING }, |value| Account {
            by: value >> 32,
            count: value >> 16 & 0xffff,
            balance: value & 0xffff,
        })
    }
}

/// What became of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    Done,
    Undone,
}

#[derive(Debug)]
struct Transfer {
    /// What a client asked for: several transactions may be made of it.
    request: u64,
    /// What it found, and what it was to make of that.
    accounts: BTreeMap<Place, (Account, Account)>,
    fate: Fate,
}

/// All transfers.
#[derive(Debug, Default)]
pub struct Bank {
    transfers: BTreeMap<u64, Transfer>,
    /// How many transfers of each account were acknowledged, at least.
    floors: BTreeMap<Place, u64>,
    told: BTreeMap<&'static str, u64>,
    /// Which transaction was said to have done a request; 0: none, nor will any.
    answers: BTreeMap<u64, u64>,
}

impl Bank {
    /// A transfer is about to be committed, for a request.
    pub fn plan(
        &mut self,
        number: u64,
        request: u64,
        accounts: BTreeMap<Place, (Account, Account)>,
    ) {
        self.transfers.insert(number, Transfer { request, accounts, fate: Fate::Open });
    }

    /// A client was told which transfer did its request; 0: none.
    ///
    /// # Errors
    /// It was told otherwise before.
    pub fn answered(&mut self, request: u64, by: u64) -> Result<(), String> {
        match *self.answers.entry(request).or_insert(by) {
            first if first == by => Ok(()),
            first => {
                Err(format!("R34: {request} was said to be done by {first}, and then by {by}"))
            }
        }
    }

    /// What a transfer was to make of an account.
    #[must_use]
    pub fn planned(&self, number: u64, place: Place) -> Option<Account> {
        Some(self.transfers.get(&number)?.accounts.get(&place)?.1)
    }

    /// It is all done, it is surely not (`Some(false)`), or nobody knows.
    pub fn ended(&mut self, number: u64, done: Option<bool>) {
        let Some(transfer) = self.transfers.get_mut(&number) else { return };
        let (fate, told) = match done {
            Some(true) => (Fate::Done, "done"),
            Some(false) => (Fate::Undone, "undone"),
            None => (Fate::Open, "unknown"),
        };
        transfer.fate = fate;
        self.note(told);
        if done == Some(true)
            && let Some(transfer) = self.transfers.get(&number)
        {
            for (place, (_, after)) in &transfer.accounts {
                let floor = self.floors.entry(*place).or_default();
                *floor = after.count.max(*floor);
            }
        }
    }

    /// Counts what clients were told.
    pub fn note(&mut self, what: &'static str) {
        *self.told.entry(what).or_default() += 1;
    }

    /// What clients were told, and how often.
    #[must_use]
    pub fn told(&self) -> &BTreeMap<&'static str, u64> {
        &self.told
    }

    /// How many transfers whoever reads an account from now on has to see.
    #[must_use]
    pub fn floor(&self, place: Place) -> u64 {
        self.floors.get(&place).copied().unwrap_or(0)
    }

    /// All accounts were read in one transaction.
    ///
    /// # Errors
    /// The sum is another one.
    pub fn audited(&mut self, all: &BTreeMap<Place, Account>) -> Result<(), String> {
        self.note("audited");
        let sum: u64 = all.values().map(|account| account.balance).sum();
        let expected = OPENING * all.len() as u64;
        if sum == expected {
            return Ok(());
        }
        Err(format!("the sum of all accounts, {expected}, was read as {sum}: {all:?}"))
    }

    /// In the end an account is this. All that happened to it is known, and happened to all accounts
    /// of the transfer.
    ///
    /// # Errors
    /// Something that is half done, is not done, or should not be.
    pub fn check(&self, all: &BTreeMap<Place, Account>) -> Result<(), String> {
        let histories: BTreeMap<Place, BTreeSet<u64>> =
            all.iter().map(|(place, last)| (*place, self.history(*place, *last))).collect();
        for (number, transfer) in &self.transfers {
            let accounts = transfer.accounts.keys().filter(|place| all.contains_key(place));
            let seen: Vec<bool> =
                accounts.filter_map(|place| Some(histories.get(place)?.contains(number))).collect();
            let (some, every) = (seen.contains(&true), !seen.contains(&false));
            if seen.is_empty() {
                continue;
            }
            let broken = match transfer.fate {
                _ if some && !every => "is half done",
                Fate::Done if !every => "was acknowledged, and is not done",
                Fate::Undone if some => "was said not to be done, and is",
                _ => continue,
            };
            return Err(format!("transfer {number} {broken}: {transfer:?}"));
        }
        self.check_requests(&histories)?;
        let sum: u64 = all.values().map(|account| account.balance).sum();
        let expected = OPENING * all.len() as u64;
        if sum != expected {
            return Err(format!("the sum of all accounts is {sum}, and not {expected}: {all:?}"));
        }
        Ok(())
    }

    /// Each request is done once, by who was said to have done it.
    fn check_requests(&self, histories: &BTreeMap<Place, BTreeSet<u64>>) -> Result<(), String> {
        let done: BTreeSet<u64> = histories.values().flatten().copied().collect();
        let mut doers = BTreeMap::new();
        for number in done {
            let Some(request) = self.transfers.get(&number).map(|one| one.request) else {
                continue;
            };
            let said = self.answers.get(&request).copied().unwrap_or(number);
            let other = doers.insert(request, number).or(Some(said)).filter(|one| *one != number);
            if let Some(other) = other {
                return Err(format!(
                    "R34: {request} is done by {number}, and by {other} (0: none)"
                ));
            }
        }
        Ok(())
    }

    /// The transfers that made an account what it is.
    fn history(&self, place: Place, mut account: Account) -> BTreeSet<u64> {
        let mut history = BTreeSet::new();
        while let Some((before, _)) =
            self.transfers.get(&account.by).and_then(|transfer| transfer.accounts.get(&place))
        {
            history.insert(account.by);
            account = *before;
        }
        history
    }
}

/// The keys of accounts: behind those of the other clients.
pub fn accounts() -> impl Iterator<Item = Key> {
    40..46
}

#[cfg(test)]
mod tests {
    use isogrid_grid::id::{GroupId, SegmentId};

    use super::*;

    fn place(key: Key) -> Place {
        (GroupId(0), SegmentId(u16::from(key) % 4), key)
    }

    #[test]
    fn what_is_half_done_is_found() {
        let opened = Account::of(None);
        let with = |balance| Account { by: 7, count: 1, balance };
        let both = [(40, with(OPENING - 5)), (41, with(OPENING + 5))];
        for (a, b, done, is) in [
            (both[0].1, both[1].1, Some(true), Ok(())),
            (opened, opened, Some(false), Ok(())),
            (both[0].1, both[1].1, None, Ok(())),
            (opened, opened, None, Ok(())),
            (opened, opened, Some(true), Err("was acknowledged, and is not done")),
            (both[0].1, both[1].1, Some(false), Err("was said not to be done, and is")),
            (both[0].1, opened, None, Err("is half done")),
        ] {
            let mut bank = Bank::default();
            let plan = both.iter().map(|(key, after)| (place(*key), (opened, *after)));
            bank.plan(7, 7, plan.collect());
            bank.ended(7, done);
            let said = bank.check(&[(place(40), a), (place(41), b)].into());
            match is {
                Ok(()) => assert_eq!(said, Ok(())),
                Err(why) => {
                    assert!(said.as_ref().is_err_and(|said| said.contains(why)), "{said:?}")
                }
            }
        }
    }

    /// Two transfers of one request, both whole, and no sum says so.
    #[test]
    fn what_is_done_twice_is_found() {
        let opened = Account::of(None);
        let step = |before: Account, by, amount: i64| {
            let balance = before.balance.strict_add_signed(amount);
            (before, Account { by, count: before.count + 1, balance })
        };
        let first = [(40, step(opened, 7, -5)), (41, step(opened, 7, 5))];
        let second =
            first.map(|(key, (_, after))| (key, step(after, 8, if key == 40 { -5 } else { 5 })));
        for (request, told, broken) in [
            (8, None, None),
            (7, None, Some("R34: 7 is done by 8, and by 7")),
            (8, Some((7, 0)), Some("R34: 7 is done by 7, and by 0")),
            (8, Some((8, 8)), None),
        ] {
            let mut bank = Bank::default();
            let of =
                |all: [(Key, (Account, Account)); 2]| all.map(|(key, plan)| (place(key), plan));
            bank.plan(7, 7, of(first).into());
            bank.plan(8, request, of(second).into());
            told.into_iter().for_each(|(request, by)| bank.answered(request, by).unwrap());
            let said = bank.check(&second.map(|(key, (_, after))| (place(key), after)).into());
            match broken {
                None => assert_eq!(said, Ok(())),
                Some(why) => assert!(said.as_ref().is_err_and(|s| s.contains(why)), "{said:?}"),
            }
        }
        let mut bank = Bank::default();
        assert_eq!(bank.answered(1, 5), Ok(()));
        assert_eq!(bank.answered(1, 5), Ok(()));
        assert!(bank.answered(1, 6).is_err(), "it was told otherwise");
    }
}
