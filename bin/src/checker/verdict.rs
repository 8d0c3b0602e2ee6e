//! A whole history: each key is checked by what it is for.

use std::collections::BTreeMap;
use std::fmt;

use super::{Ask, Operation, Told, acked, by_key, counter, versioned, wgl};

/// What a key is for, and so what can be checked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It is written, removed and read all the time.
    Values,
    /// The same, by few operations: an order of them is searched.
    Searched,
    /// It is set once, and then counted up.
    Counter,
    /// It is written once.
    Once,
}

/// What was found of a history that can be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Operations.
    pub operations: usize,
    /// Of them, changes that were surely not done.
    pub failed: usize,
    /// Of them, changes of which nobody knows.
    pub unknown: usize,
    /// Keys that were written once, and acknowledged.
    pub acknowledged: usize,
    /// Keys whose orders were searched.
    pub searched: usize,
    /// Of them, those of which the search was given up.
    pub undecided: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { operations, failed, unknown, acknowledged, searched, undecided } = self;
        write!(
            f,
            "{operations} operations; {failed} changes failed, {unknown} unknown; {acknowledged} \
             acknowledged keys all there; {searched} orders searched, {undecided} given up"
        )
    }
}

/// Checks a history, in which every key is read at its end: `found` is what keys held then. A search
/// of one key tries at most so many `steps`.
///
/// # Errors
/// The first thing that cannot be.
pub fn check(
    history: &[Operation],
    found: &BTreeMap<String, Option<u64>>,
    kind_of: impl Fn(&str) -> Kind,
    steps: usize,
) -> Result<Verdict, String> {
    let changes = || history.iter().filter(|operation| operation.ask != Ask::Get);
    let told = |told| changes().filter(|operation| operation.told == told).count();
    let (failed, unknown) = (told(Told::Failed), told(Told::Unknown));
    let mut verdict = Verdict { operations: history.len(), failed, unknown, ..Verdict::default() };
    for (key, operations) in by_key(history) {
        match kind_of(key) {
            Kind::Counter => counter::check(&operations)?,
            Kind::Once => verdict.acknowledged += acked::check(&operations, found)?,
            Kind::Values => versioned::check(&operations)?,
            Kind::Searched => {
                versioned::check(&operations)?;
                verdict.searched += 1;
                match wgl::search(&operations, steps) {
                    wgl::Found::Linearizable => {}
                    wgl::Found::Undecided => verdict.undecided += 1,
                    wgl::Found::Broken => {
                        return Err(format!(
                            "I8: no order of what was done with {key} explains it"
                        ));
                    }
                }
            }
        }
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(key: &str) -> Kind {
        match key.as_bytes()[0] {
            b'c' => Kind::Counter,
            b's' => Kind::Searched,
            b'u' => Kind::Once,
            _ => Kind::Values,
        }
    }

    fn one(key: &str, ask: Ask, told: Told, called: u64) -> Operation {
        let (key, returned) = (key.to_owned(), called + 1);
        Operation { client: 0, node: 0, key, ask, told, called, returned }
    }

    /// A history of each kind of key, in which nothing is wrong.
    fn sound() -> Vec<Operation> {
        let done = |version| Told::Done(Some(version));
        vec![
            one("r", Ask::Put(1), done(1), 1),
            one("r", Ask::Get, Told::Read(Some((1, 1))), 3),
            one("c", Ask::Put(0), done(1), 1),
            one("c", Ask::Increment, Told::Counted(1), 3),
            one("s", Ask::Put(2), done(1), 1),
            one("s", Ask::Put(3), done(2), 3),
            one("s", Ask::Get, Told::Read(Some((3, 2))), 5),
            one("u", Ask::Put(4), done(1), 1),
            one("v", Ask::Put(5), Told::Failed, 1),
            one("w", Ask::Put(6), Told::Unknown, 1),
        ]
    }

    fn verdict(history: &[Operation], u: Option<u64>) -> Result<Verdict, String> {
        check(history, &BTreeMap::from([("u".to_owned(), u)]), kind_of, 1_000)
    }

    #[test]
    fn each_kind_is_checked() {
        let counts = Verdict {
            operations: 10,
            failed: 1,
            unknown: 1,
            acknowledged: 1,
            searched: 1,
            undecided: 0,
        };
        assert_eq!(verdict(&sound(), Some(4)), Ok(counts));
        assert!(verdict(&sound(), None).unwrap_err().contains("is lost"));
        let wrong = [
            (1, Told::Read(Some((9, 9))), "nobody wrote it"),
            (3, Told::Counted(2), "only 1 were asked for"),
            (6, Told::Read(Some((2, 1))), "I8"),
        ];
        for (at, told, why) in wrong {
            let mut history = sound();
            history[at].told = told;
            let error = verdict(&history, Some(4)).unwrap_err();
            assert!(error.contains(why), "{at}: {error}");
        }
    }
}
