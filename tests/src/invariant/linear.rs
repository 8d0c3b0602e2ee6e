//! I7, I8, I15, R29, G3: what clients were told about a key fits one order of its operations.
//!
//! Answers carry versions, so the order is known and need not be searched for: an operation comes
//! after everything that was answered before it was asked. A deleted key has no version; that a
//! key is absent needs a deletion that can have come in between, or a declared loss.

use std::collections::BTreeMap;

use isogrid_grid::id::{GroupId, SegmentId};

use super::Lost;
use crate::sim::kv::{Key, State};
use crate::sim::server::{Answer, Ask};

/// Which key.
pub type Place = (GroupId, SegmentId, Key);

/// One operation of a client.
#[derive(Debug, Clone)]
pub struct Operation {
    /// Of which key.
    pub place: Place,
    /// What was asked for.
    pub ask: Ask,
    /// The newest version that anybody had been told of when it was asked.
    floor: u64,
    /// What of its segment had been declared lost by then.
    declared: Lost,
    /// How often some of the key's segment had been lost by then (R37).
    lost: u64,
}

/// What a written value has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nobody has seen it, or been told of it.
    Open,
    /// It has this version.
    Version(u64),
    /// Its client was told that it was surely not done; what was below this version had been declared
    /// lost when it asked, by R29 or R63.
    Failed(u64),
}

#[derive(Debug, Default)]
struct History {
    floor: u64,
    lost: u64,
    lost_before: u64,
    /// What was written, by its value: no two writes have the same.
    values: BTreeMap<u64, Fate>,
    /// Versions that are known, and what they hold.
    versions: BTreeMap<u64, Option<u64>>,
    /// Deletions of which nobody knows the version.
    open_deletions: usize,
    /// Writes that were to follow a version at once.
    followed: Vec<(u64, u64)>,
}

/// All operations so far.
#[derive(Debug, Default)]
pub struct Linear {
    keys: BTreeMap<Place, History>,
    told: BTreeMap<Told, u64>,
}

/// What answers were like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Told {
    /// It was read.
    Read,
    /// It was written.
    Written,
    /// It was counted.
    Counted,
    /// A condition did not hold.
    Conflict,
    /// Surely not done.
    Failed,
    /// Nobody knows.
    Unknown,
}

impl Linear {
    /// A client asks. So much was declared lost.
    pub fn ask(&mut self, place: Place, ask: Ask, declared: Lost) -> Operation {
        let history = self.keys.entry(place).or_default();
        match ask {
            Ask::Put(value) | Ask::Cas(_, value) => {
                history.values.insert(value, Fate::Open);
            }
            Ask::Delete => history.open_deletions += 1,
            Ask::Get | Ask::Add => {}
        }
        let (floor, lost) = (history.floor, history.lost);
        Operation { place, ask, floor, declared, lost }
    }

    /// A client is answered. What is below `lost_before` was declared lost.
    ///
    /// # Errors
    /// What does not fit.
    pub fn answer(
        &mut self,
        operation: &Operation,
        answer: Answer,
        lost_before: u64,
    ) -> Result<(), String> {
        let Some(history) = self.keys.get_mut(&operation.place) else { return Ok(()) };
        *self.told.entry(told(answer)).or_default() += 1;
        history.lost_before = history.lost_before.max(lost_before);
        if operation.lost < history.lost {
            // It may have been answered from what is lost, or be lost itself.
            return Ok(());
        }
        let floor = if operation.floor < lost_before { 0 } else { operation.floor };
        let checked = match answer {
            Answer::Read((Some(_), version)) if version < operation.declared.empty => {
                Err(format!("R29: read version {version:x}, which had been declared lost"))
            }
            Answer::Read(state) => history.read(state, floor),
            Answer::Conflict(state) => history.conflict(operation, state, floor),
            Answer::Written(version) => history.written(operation.ask, version, floor),
            Answer::Failed => history.failed(operation),
            // `counted.rs` looks at those.
            Answer::Counted(..) | Answer::Unknown => Ok(()),
        };
        checked.map_err(|why| format!("I8: {:?} of {:?}: {why}", operation.ask, operation.place))
    }

    /// What has such a version, of the keys of a segment, is lost: as if it had not been done (R37).
    pub fn lose(&mut self, segment: (GroupId, SegmentId), is_lost: &dyn Fn(u64) -> bool) {
        let of = |place: &Place| (place.0, place.1) == segment;
        for (_, history) in self.keys.iter_mut().filter(|(place, _)| of(place)) {
            history.lose(is_lost);
        }
    }

    /// How often answers were of each kind.
    #[must_use]
    pub fn told(&self) -> &BTreeMap<Told, u64> {
        &self.told
    }

    /// The newest version of each key that anybody was told of.
    pub fn floors(&self) -> impl Iterator<Item = (Place, u64)> {
        self.keys.iter().map(|(place, history)| (*place, history.floor))
    }
}

fn told(answer: Answer) -> Told {
    match answer {
        Answer::Read(_) => Told::Read,
        Answer::Written(_) => Told::Written,
        Answer::Counted(..) => Told::Counted,
        Answer::Conflict(_) => Told::Conflict,
        Answer::Failed => Told::Failed,
        Answer::Unknown => Told::Unknown,
    }
}

impl History {
    fn lose(&mut self, is_lost: &dyn Fn(u64) -> bool) {
        self.versions.retain(|version, _| !is_lost(*version));
        self.followed.retain(|(_, after)| !is_lost(*after));
        self.floor = self.versions.keys().next_back().copied().unwrap_or(0);
        for fate in self.values.values_mut() {
            if matches!(fate, Fate::Version(version) if is_lost(*version)) {
                *fate = Fate::Open;
            }
        }
        self.lost += 1;
    }

    fn read(&mut self, (value, version): State, floor: u64) -> Result<(), String> {
        let Some(value) = value else { return self.absent(floor) };
        if version < floor {
            return Err(format!("read version {version:x} after {floor:x} was known"));
        }
        match self.values.get(&value) {
            None => return Err(format!("read {value}, which nobody wrote")),
            // One that is stale and was made to serve may have done what those refused that are lost.
            Some(Fate::Failed(before)) if version.max(*before) >= self.lost_before => {
                return Err(format!("I15: read {value}, which had failed"));
            }
            // What was lost may have been asked for again, and done anew.
            Some(Fate::Version(known)) if *known != version && *known >= self.lost_before => {
                return Err(format!("I7: {value} has versions {known:x} and {version:x}"));
            }
            Some(_) => self.values.insert(value, Fate::Version(version)),
        };
        self.know(version, Some(value))
    }

    /// The version holds this, and nothing else (I7).
    fn know(&mut self, version: u64, value: Option<u64>) -> Result<(), String> {
        let known = *self.versions.entry(version).or_insert(value);
        self.floor = self.floor.max(version);
        if known != value {
            return Err(format!("I7: version {version:x} is of {known:?} and of {value:?}"));
        }
        // What followed may be lost, and what was in its place instead be found.
        let broken = |(before, after): &&(u64, u64)| {
            *before < version && version < *after && *after >= self.lost_before
        };
        match self.followed.iter().find(broken) {
            None => Ok(()),
            Some((before, after)) => {
                Err(format!("{version:x} lies between {before:x} and {after:x}, which follows it"))
            }
        }
    }

    fn absent(&self, floor: u64) -> Result<(), String> {
        let is_deleted = self.versions.range(floor..).any(|(_, value)| value.is_none());
        if floor == 0 || is_deleted || self.open_deletions > 0 {
            return Ok(());
        }
        Err(format!("absent after {floor:x} was known, and nobody deleted it"))
    }

    fn conflict(&mut self, of: &Operation, state: State, floor: u64) -> Result<(), String> {
        if matches!(of.ask, Ask::Cas(expected, _) if expected == state.1) {
            return Err("refused though the version was the expected one".into());
        }
        self.failed(of)?;
        self.read(state, floor)
    }

    fn written(&mut self, ask: Ask, version: u64, floor: u64) -> Result<(), String> {
        if version <= floor {
            return Err(format!("written as {version:x} after {floor:x} was known"));
        }
        let value = match ask {
            Ask::Put(value) => Some(value),
            Ask::Cas(expected, value) => {
                if expected != 0 {
                    let after = self.lost_before.max(expected + 1);
                    let between = self.versions.range(after.min(version)..version).next();
                    if let Some((between, _)) = between {
                        return Err(format!(
                            "{between:x} lies between {expected:x} and {version:x}"
                        ));
                    }
                    self.followed.push((expected, version));
                }
                Some(value)
            }
            Ask::Get | Ask::Delete | Ask::Add => {
                self.open_deletions -= 1;
                None
            }
        };
        if let Some(value) = value {
            self.values.insert(value, Fate::Version(version));
        }
        self.know(version, value)
    }

    fn failed(&mut self, of: &Operation) -> Result<(), String> {
        match of.ask {
            Ask::Put(value) | Ask::Cas(_, value) => {
                let fate = self.values.insert(value, Fate::Failed(of.declared.any));
                match fate {
                    // What was lost may have been asked for again, and be refused now.
                    Some(Fate::Version(known)) if known >= self.lost_before => {
                        Err(format!("I15: {value} was seen, and failed"))
                    }
                    _ => Ok(()),
                }
            }
            Ask::Delete => {
                self.open_deletions -= 1;
                Ok(())
            }
            Ask::Get | Ask::Add => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = (GroupId(1), SegmentId(0), 7);

    /// A refused value is found: when it was asked for, what had been declared lost by then, what has
    /// been by now, the version that it is found with, and whether that can be.
    #[test]
    fn a_refused_value_is_found_only_if_it_is_older_than_a_loss_declared_later() {
        let forced = |any| Lost { empty: 0, any };
        let table = [
            (forced(0), 0, 5, false),
            // Those who refused are lost, and a stale copy that serves now had done it.
            (forced(0), 10, 5, true),
            (forced(0), 10, 12, false),
            // The loss had been declared when it was asked for: nobody else can have done it.
            (forced(10), 10, 5, false),
            (forced(10), 20, 15, true),
            (Lost { empty: 10, any: 10 }, 10, 15, false),
        ];
        for (declared, lost_before, version, fits) in table {
            let mut linear = Linear::default();
            let put = linear.ask(PLACE, Ask::Put(1), declared);
            linear.answer(&put, Answer::Failed, lost_before).expect("a refusal");
            let get = linear.ask(PLACE, Ask::Get, Lost { empty: declared.empty, any: lost_before });
            let told = linear.answer(&get, Answer::Read((Some(1), version)), lost_before);
            assert_eq!(told.is_ok(), fits, "{declared:?} {lost_before} {version}: {told:?}");
        }
    }
}
