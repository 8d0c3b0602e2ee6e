//! Linearizability of a key by versions and real time, without a search: an operation comes after
//! everything that was answered before it was asked, and a newer version is a later one.
//!
//! Two views of time are checked. By versions: nobody is told of an older one than somebody was
//! told of before he asked. By values, which needs no versions: a value that was there before a
//! write was asked for is not read after that write was answered (Gibbons and Korach, Testing
//! shared memories, 1997: zones of values that are written once).

use std::collections::BTreeMap;

use super::{Ask, Highest, Operation, Told};

/// A value that is known to have been in the key.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// By when it was there, ns.
    by: u64,
    /// When its write was asked for, ns.
    asked: u64,
    version: Option<u64>,
}

struct Key<'a> {
    operations: &'a [&'a Operation],
    writers: BTreeMap<u64, &'a Operation>,
    seen: BTreeMap<u64, Seen>,
    /// What each version is.
    versions: BTreeMap<u64, u64>,
}

/// Checks the operations of one key, which is not counted up.
///
/// # Errors
/// What does not fit, with the operation.
pub fn check(operations: &[&Operation]) -> Result<(), String> {
    let mut key = Key {
        operations,
        writers: BTreeMap::new(),
        seen: BTreeMap::new(),
        versions: BTreeMap::new(),
    };
    key.collect_writers()?;
    key.collect_seen()?;
    key.versions_rise()?;
    key.values_are_fresh()?;
    key.absence_is_explained()?;
    key.chains_are_whole()
}

fn at<T>(operation: &Operation, checked: Result<T, String>) -> Result<T, String> {
    checked.map_err(|why| format!("{why}:\n  {operation}"))
}

/// The value and the version that an operation found in the key.
fn found(operation: &Operation) -> Option<(u64, u64)> {
    match (operation.ask, operation.told) {
        (Ask::Get, Told::Read(found)) => found,
        (Ask::Cas { expected, version, .. }, Told::Done(_)) => Some((expected, version)),
        _ => None,
    }
}

impl<'a> Key<'a> {
    fn collect_writers(&mut self) -> Result<(), String> {
        for operation in self.operations {
            if let Some(value) = operation.writes()
                && self.writers.insert(value, operation).is_some()
            {
                return at(operation, Err(format!("a history that writes {value} twice")));
            }
        }
        Ok(())
    }

    /// Who saw which value, with which version.
    fn collect_seen(&mut self) -> Result<(), String> {
        for operation in self.operations {
            if let Some((value, version)) = found(operation) {
                at(operation, self.see(operation, value, Some(version)))?;
            }
            if let (Some(value), Told::Done(version)) = (operation.writes(), operation.told) {
                at(operation, self.see(operation, value, version))?;
            }
        }
        Ok(())
    }

    fn see(&mut self, by: &Operation, value: u64, version: Option<u64>) -> Result<(), String> {
        let Some(writer) = self.writers.get(&value) else {
            return Err(format!("I7: {value} is read, and nobody wrote it"));
        };
        if !writer.may_be_done() {
            return Err(format!("I15: {value} is read, and its write failed: {writer}"));
        }
        if writer.called > by.returned {
            return Err(format!("{value} is read before it was written: {writer}"));
        }
        let new = Seen { by: by.returned, asked: writer.called, version };
        let seen = self.seen.entry(value).or_insert(new);
        seen.by = seen.by.min(by.returned);
        if let Some(version) = version {
            let (known, holds) = (
                *seen.version.get_or_insert(version),
                *self.versions.entry(version).or_insert(value),
            );
            if known != version {
                return Err(format!("I7: {value} has the versions {known} and {version}"));
            }
            if holds != value {
                return Err(format!("I7: version {version} is of {holds} and of {value}"));
            }
        }
        Ok(())
    }

    /// I8 by versions.
    fn versions_rise(&self) -> Result<(), String> {
        let told = self.seen.values().filter_map(|seen| Some((seen.by, seen.version?)));
        let highest = Highest::new(told);
        for operation in self.operations {
            let floor = highest.before(operation.called).unwrap_or(0);
            if let Some((value, version)) = found(operation)
                && version < floor
            {
                let why = format!("I8: {value} of version {version} after {floor} was known");
                return at(operation, Err(why));
            }
            let version = operation.writes().and_then(|value| self.seen.get(&value)?.version);
            if let Some(version) = version
                && version <= floor
            {
                let why = format!("I8: written as version {version} after {floor} was known");
                return at(operation, Err(why));
            }
        }
        Ok(())
    }

    /// I8 by values: what was read had not been replaced before it was asked for.
    fn values_are_fresh(&self) -> Result<(), String> {
        let changes = self.operations.iter().filter(|operation| {
            matches!(operation.told, Told::Done(_)) && operation.ask != Ask::Get
        });
        let replaced = Highest::new(changes.map(|change| (change.returned, change.called)));
        for operation in self.operations {
            let Some((value, _)) = found(operation) else { continue };
            let Some(seen) = self.seen.get(&value) else { continue };
            // Asked for after the value was there, and answered before this was asked for.
            if replaced.before(operation.called).is_some_and(|newest| newest > seen.by) {
                let why = format!("I8: {value} was replaced by an acknowledged change before");
                return at(operation, Err(why));
            }
        }
        Ok(())
    }

    /// A key that held something is absent only if somebody deleted it since.
    fn absence_is_explained(&self) -> Result<(), String> {
        let present = Highest::new(self.seen.values().map(|seen| (seen.by, seen.asked)));
        let deletions = self
            .operations
            .iter()
            .filter(|operation| operation.ask == Ask::Delete && operation.may_be_done());
        let until = |deletion: &Operation| match deletion.told {
            Told::Unknown => u64::MAX,
            _ => deletion.returned,
        };
        let deleted = Highest::new(deletions.map(|one| (one.called, until(one))));
        for operation in self.operations {
            let is_absent = matches!(operation.told, Told::Missing | Told::Read(None));
            let Some(written) = present.before(operation.called).filter(|_| is_absent) else {
                continue;
            };
            let last = deleted.before(operation.returned);
            if last.is_none_or(|last| last < written) {
                let why = "I6: absent, though it was written and nobody deleted it since";
                return at(operation, Err(why.into()));
            }
        }
        Ok(())
    }

    /// A conditional write follows at once what it expected, and is refused only if there is
    /// something else.
    fn chains_are_whole(&self) -> Result<(), String> {
        for operation in self.operations {
            let Ask::Cas { expected, version: before, value } = operation.ask else { continue };
            let after = self.seen.get(&value).and_then(|seen| seen.version);
            if let Some(after) = after
                && let Some((between, of)) =
                    self.versions.range(before + 1..after.max(before + 1)).next()
            {
                let why = format!("{of} of version {between} lies between {before} and {after}");
                return at(operation, Err(why));
            }
            let Some(expected) = self.seen.get(&expected) else { continue };
            let can_replace = |other: &&&Operation| {
                other.may_be_done()
                    && other.ask != Ask::Get
                    && other.called < operation.returned
                    && (other.returned > expected.asked || other.told == Told::Unknown)
                    && other.called != expected.asked
            };
            let is_refused = operation.told == Told::Changed;
            if is_refused && !self.operations.iter().any(|other| can_replace(&other)) {
                return at(operation, Err("refused, though nothing else was written".into()));
            }
        }
        Ok(())
    }
}
