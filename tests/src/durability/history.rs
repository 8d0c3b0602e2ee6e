//! The operations of one owner, the answers it must get, and the prefix that a server came back
//! with.

use std::collections::VecDeque;
use std::time::Instant;

use super::state::differs;
use super::{Cas, Entry, Found, State};

/// One operation that was sent.
#[derive(Debug, Clone)]
pub struct Step {
    /// The key that it changes and what it leaves there; `None` = it empties all keys.
    pub change: Option<(usize, State)>,
    /// What the server has to answer; a number of a version may follow.
    pub answer: String,
    /// When the answer came.
    pub acked: Option<Instant>,
}

/// Everything about one owner.
#[derive(Debug, Clone)]
pub struct History {
    pub(super) name: String,
    pub(super) rng: u64,
    pub(super) flushes: bool,
    /// What the keys held before the first of `steps`.
    settled: Vec<State>,
    /// What they hold after the last one.
    pub(super) current: Vec<State>,
    /// The highest version that each key is known to have had.
    pub(super) highest: Vec<u64>,
    steps: VecDeque<Step>,
    acked: usize,
    /// The number of the first of `steps`; numbers are never used twice.
    first: u64,
    /// The first wrong answer.
    pub wrong: Option<String>,
}

impl History {
    /// An owner of `keys` keys. One that `flushes` has a cache of its own and empties it at times.
    pub fn new(name: &str, seed: u64, keys: usize, flushes: bool) -> History {
        History {
            name: name.to_owned(),
            rng: seed,
            flushes,
            settled: vec![None; keys],
            current: vec![None; keys],
            highest: vec![0; keys],
            steps: VecDeque::new(),
            acked: 0,
            first: 1,
            wrong: None,
        }
    }

    /// The name of a key.
    pub fn key(&self, index: usize) -> String {
        format!("{}-{index}", self.name)
    }

    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.current.len()
    }

    /// What was sent since the last comparison.
    pub fn sent(&self) -> usize {
        self.steps.len()
    }

    /// What was sent and answered since the last comparison.
    pub fn acked(&self) -> usize {
        self.acked
    }

    /// The number of the next operation.
    pub fn next_number(&self) -> u64 {
        self.first + self.steps.len() as u64
    }

    /// Notes an operation that is being sent.
    pub fn push(&mut self, change: Option<(usize, State)>, answer: &str) {
        match &change {
            Some((key, state)) => self.current[*key] = state.clone(),
            None => self.current.fill(None),
        }
        self.steps.push_back(Step { change, answer: answer.to_owned(), acked: None });
    }

    /// What the next answer must begin with; empty when none is due.
    pub fn due(&self) -> &str {
        self.steps.get(self.acked).map_or("", |step| &step.answer)
    }

    /// Notes the answer to the first operation without one; false when it is wrong.
    pub fn answered(&mut self, line: &str, at: Instant) -> bool {
        let Some(step) = self.steps.get_mut(self.acked) else {
            self.wrong = Some(format!("{}: an answer to nothing: {line}", self.name));
            return false;
        };
        let rest = line.strip_prefix(step.answer.as_str());
        let cas = rest.and_then(|rest| rest.strip_prefix(" c")).and_then(|cas| cas.parse().ok());
        if rest != Some("") && cas.is_none() {
            let number = self.first + self.acked as u64;
            let what = format!("{} operation {number}", self.name);
            self.wrong = Some(format!("{what}: answered {line}, should be {step:?}"));
            return false;
        }
        step.acked = Some(at);
        self.acked += 1;
        cas.is_none_or(|cas| self.told(cas))
    }

    /// Notes the version that the last answered operation made.
    fn told(&mut self, cas: u64) -> bool {
        let Some((key, Some(entry))) = self.steps[self.acked - 1].change.as_mut() else {
            return true;
        };
        if cas <= self.highest[*key] {
            let high = self.highest[*key];
            self.wrong = Some(format!("{}-{key}: version {cas} after {high}", self.name));
            return false;
        }
        self.highest[*key] = cas;
        let before = entry.clone();
        entry.cas = Cas::Is(cas);
        // Unless a later operation changed it, which may be on its way.
        if self.current[*key].as_ref() == Some(&before) {
            self.current[*key] = Some(entry.clone());
        }
        true
    }

    /// How many operations had been answered by `time`.
    pub fn acked_by(&self, time: Instant) -> usize {
        self.steps.partition_point(|step| step.acked.is_some_and(|acked| acked <= time))
    }

    /// The time at which the answer to an operation came.
    pub fn acked_at(&self, index: usize) -> Option<Instant> {
        self.steps.get(index).and_then(|step| step.acked)
    }

    /// How many operations must be there if a reader saw operation `number`.
    pub fn reaches(&self, number: u64) -> usize {
        number.checked_sub(self.first).map_or(0, |index| index as usize + 1)
    }

    /// The longest prefix of the operations, of `floor` at least, after which the keys are as was
    /// `found` at `now`.
    ///
    /// # Errors
    /// What differs from the prefix that differs least.
    pub fn prefix(&self, floor: usize, found: &[Option<Found>], now: u64) -> Result<usize, String> {
        let mut states = self.after(floor);
        let wrong =
            |key: usize, state: &State| differs(&self.key(key), state, found[key].as_ref(), now);
        let mut wrongs: Vec<_> = states.iter().enumerate().map(|(k, s)| wrong(k, s)).collect();
        let mut good = None;
        let mut best = (usize::MAX, 0, Vec::new());
        for prefix in floor..=self.steps.len() {
            let count = wrongs.iter().flatten().count();
            if count == 0 {
                good = Some(prefix);
            } else if count < best.0 {
                best = (count, prefix, wrongs.iter().flatten().take(5).cloned().collect());
            }
            let Some(step) = self.steps.get(prefix) else { break };
            let changed = step.apply(&mut states);
            changed.for_each(|key| wrongs[key] = wrong(key, &states[key]));
        }
        good.ok_or_else(|| {
            let (count, prefix, wrongs) = best;
            let (sent, name) = (self.steps.len(), &self.name);
            let flushes = self.steps.iter().zip(self.first..).filter(|(s, _)| s.change.is_none());
            let flushes: Vec<_> = flushes.map(|(_, number)| number).collect();
            format!(
                "{name}: {floor} operations must be there, of {sent} from {first} on, emptied by \
                 {flushes:?}; nearest is {prefix} with {count} wrong keys:\n  {}",
                wrongs.join("\n  "),
                first = self.first
            )
        })
    }

    /// What the keys hold after a prefix.
    pub fn after(&self, prefix: usize) -> Vec<State> {
        let mut states = self.settled.clone();
        for step in self.steps.iter().take(prefix) {
            step.apply(&mut states).for_each(drop);
        }
        states
    }

    /// Goes on from a prefix that was found, and from the versions that were.
    pub fn settle(&mut self, prefix: usize, found: &[Option<Found>]) {
        let mut states = self.after(prefix);
        for (key, (state, found)) in states.iter_mut().zip(found).enumerate() {
            match found {
                Some(found) => {
                    self.highest[key] = self.highest[key].max(found.cas);
                    state.iter_mut().for_each(|entry| entry.cas = Cas::Is(found.cas));
                }
                None => *state = None,
            }
        }
        self.first = self.next_number();
        self.settled.clone_from(&states);
        self.current = states;
        self.steps.clear();
        self.acked = 0;
    }

    /// What was put under a key, without its past: for a state that nobody has told yet.
    pub(super) fn entry(&self, key: usize, new: Entry) -> State {
        Some(Entry { cas: Cas::Above(self.highest[key]), ..new })
    }
}

impl Step {
    /// Changes `states`, and says which keys.
    fn apply(&self, states: &mut [State]) -> std::ops::Range<usize> {
        match &self.change {
            Some((key, state)) => {
                states[*key].clone_from(state);
                *key..key + 1
            }
            None => {
                states.fill(None);
                0..states.len()
            }
        }
    }
}
