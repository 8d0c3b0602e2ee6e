//! Linearizability of a key by search: is there an order of the operations that explains every
//! answer, in which none comes before one that was answered before it was asked?
//!
//! The algorithm of Wing and Gong (1993) as Lowe improved it (Testing for linearizability, 2017):
//! take any operation that may come next, go on, and step back when an answer cannot be explained;
//! what was tried already (which operations are taken, and what the key holds then) is remembered.
//! An operation of which nobody knows is never waited for: it may be taken at any time after its
//! call, or never.
#![expect(clippy::indexing_slicing, reason = "indexes of a list over arrays of its own length")]

use std::collections::BTreeSet;

use super::{Ask, Operation, Told};

/// What a search may cost, in operations that are tried.
pub const STEPS_MAX: usize = 2_000_000;

/// What a search has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There is an order.
    Linearizable,
    /// There is none.
    Broken,
    /// It was given up.
    Undecided,
}

/// What the key holds after an operation that found `state`; `None` when it cannot have been
/// answered so.
fn apply(state: Option<u64>, operation: &Operation) -> Option<Option<u64>> {
    let is_unknown = operation.told == Told::Unknown;
    let unchanged = Some(state);
    match (operation.ask, operation.told) {
        (Ask::Get, Told::Read(read)) => (read.map(|(value, _)| value) == state).then_some(state),
        (Ask::Put(value), Told::Done(_) | Told::Unknown) => Some(Some(value)),
        (Ask::Cas { expected, value, .. }, told) => match told {
            Told::Done(_) => (state == Some(expected)).then_some(Some(value)),
            Told::Unknown if state == Some(expected) => Some(Some(value)),
            Told::Changed => state.is_some_and(|is| is != expected).then_some(state),
            Told::Missing => state.is_none().then_some(state),
            _ => is_unknown.then_some(state),
        },
        (Ask::Delete, Told::Done(_)) => state.map(|_| None),
        (Ask::Delete, Told::Unknown) => Some(None),
        (Ask::Increment, Told::Counted(number)) => {
            (state?.checked_add(1) == Some(number)).then_some(Some(number))
        }
        (Ask::Increment, Told::Unknown) => Some(state.map(|number| number + 1)),
        (Ask::Delete | Ask::Increment, Told::Missing) => state.is_none().then_some(state),
        (_, Told::Failed) => unchanged,
        _ => None,
    }
}

/// Searches an order of the operations of one key, which is absent at first, with at most `steps`
/// tries.
#[must_use]
pub fn search(operations: &[&Operation], steps: usize) -> Found {
    let matters = |operation: &&&Operation| {
        let is_read = operation.ask == Ask::Get && operation.told == Told::Unknown;
        operation.told != Told::Failed && !is_read
    };
    let operations: Vec<&Operation> = operations.iter().filter(matters).copied().collect();
    Search::new(&operations).run(steps)
}

/// An event of the list: an operation is called, or it has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Call(usize),
    Return(usize),
}

struct Search<'a> {
    operations: &'a [&'a Operation],
    events: Vec<Event>,
    /// The list of events that are left, by index; `events.len()` is its head and its end.
    next: Vec<usize>,
    previous: Vec<usize>,
    /// Where the return of each operation is.
    returns: Vec<Option<usize>>,
    state: Option<u64>,
    taken: Vec<u64>,
    /// Operations that have to be taken still.
    due: usize,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [&'a Operation]) -> Self {
        let is_due = |operation: &Operation| operation.told != Told::Unknown;
        let mut timed = Vec::new();
        for (at, operation) in operations.iter().enumerate() {
            timed.push((operation.called, Event::Call(at)));
            if is_due(operation) {
                timed.push((operation.returned, Event::Return(at)));
            }
        }
        // At the same time: calls first, so that the two overlap.
        timed.sort_unstable();
        let events: Vec<Event> = timed.into_iter().map(|(_, event)| event).collect();
        let mut returns = vec![None; operations.len()];
        for (place, event) in events.iter().enumerate() {
            if let Event::Return(at) = event {
                returns[*at] = Some(place);
            }
        }
        let len = events.len();
        Search {
            operations,
            next: (1..=len).chain([0]).collect(),
            previous: [len].into_iter().chain(0..len).collect(),
            events,
            returns,
            state: None,
            taken: vec![0; operations.len().div_ceil(64)],
            due: operations.iter().filter(|operation| is_due(operation)).count(),
        }
    }

    fn run(mut self, steps: usize) -> Found {
        let head = self.events.len();
        let (mut tried, mut stack) = (BTreeSet::new(), Vec::new());
        let (mut place, mut left) = (self.next[head], steps);
        while self.due > 0 {
            if left == 0 {
                return Found::Undecided;
            }
            left -= 1;
            if place != head
                && let Event::Call(at) = self.events[place]
            {
                let before = self.state;
                let after = apply(before, self.operations[at]);
                let is_new = after.is_some_and(|after| {
                    self.flip(at);
                    let is_new = tried.insert((self.taken.clone(), after));
                    if !is_new {
                        self.flip(at);
                    }
                    is_new
                });
                if let (true, Some(after)) = (is_new, after) {
                    stack.push((place, before));
                    self.state = after;
                    self.lift(place, at);
                    place = self.next[head];
                } else {
                    place = self.next[place];
                }
                continue;
            }
            // Somebody was answered whom nothing explains so far: the last choice was wrong.
            let Some((last, before)) = stack.pop() else { return Found::Broken };
            let Event::Call(at) = self.events[last] else { return Found::Broken };
            self.state = before;
            self.flip(at);
            self.put_back(last, at);
            place = self.next[last];
        }
        Found::Linearizable
    }

    fn flip(&mut self, at: usize) {
        self.taken[at / 64] ^= 1 << (at % 64);
    }

    fn lift(&mut self, place: usize, at: usize) {
        self.unlink(place);
        if let Some(place) = self.returns[at] {
            self.unlink(place);
            self.due -= 1;
        }
    }

    fn put_back(&mut self, place: usize, at: usize) {
        if let Some(place) = self.returns[at] {
            self.link(place);
            self.due += 1;
        }
        self.link(place);
    }

    fn unlink(&mut self, place: usize) {
        let (before, after) = (self.previous[place], self.next[place]);
        self.next[before] = after;
        self.previous[after] = before;
    }

    fn link(&mut self, place: usize) {
        let (before, after) = (self.previous[place], self.next[place]);
        self.next[before] = place;
        self.previous[after] = place;
    }
}
