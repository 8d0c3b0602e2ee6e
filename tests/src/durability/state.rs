//! What a key may hold, and whether what was found is that.

use super::{Found, Value};

/// How exactly the moment of an expiry is known: the protocol counts in seconds, and the server
/// took the operation somewhat later than it was sent.
const DEADLINE_SLACK_MS: u64 = 2_500;

/// A key: an entry, or nothing.
pub type State = Option<Entry>;

/// An entry as its owner left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The value.
    pub value: Value,
    /// The client flags.
    pub flags: u32,
    /// When it expires, in milliseconds since 1970.
    pub deadline: Option<u64>,
    /// Its version.
    pub cas: Cas,
}

/// What is known of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cas {
    /// The server told it.
    Is(u64),
    /// Above each one that the key had before.
    Above(u64),
}

impl Cas {
    fn allows(self, cas: u64) -> bool {
        match self {
            Cas::Is(known) => cas == known,
            Cas::Above(low) => cas > low,
        }
    }
}

/// Says how what was `found` at `now` differs from `state`; an entry about to expire may be gone.
pub fn differs(key: &str, state: &State, found: Option<&Found>, now: u64) -> Option<String> {
    match (state, found) {
        (None, None) => None,
        (None, Some(found)) => Some(format!("{key} should be gone and is {found:?}")),
        (Some(entry), None) => {
            let may_be_gone = entry.deadline.is_some_and(|at| at <= now + DEADLINE_SLACK_MS);
            (!may_be_gone).then(|| format!("{key} is lost, it was {entry:?}"))
        }
        (Some(entry), Some(found)) => {
            let what = part(key, entry, found, now)?;
            Some(format!("{key}: {what}: should be {entry:?} and is {found:?}"))
        }
    }
}

/// The part of an entry that is not as it should be.
fn part(key: &str, entry: &Entry, found: &Found, now: u64) -> Option<&'static str> {
    let expires = match (entry.deadline, found.ttl_s) {
        (None, None) => true,
        (Some(at), Some(ttl)) => (now + ttl * 1_000).abs_diff(at) <= DEADLINE_SLACK_MS,
        _ => false,
    };
    let overdue = entry.deadline.is_some_and(|at| at + DEADLINE_SLACK_MS < now);
    let checks = [
        (entry.value.is(key, &found.value), "the value"),
        (entry.flags == found.flags, "the flags"),
        (expires, "the deadline"),
        (!overdue, "it came back after its deadline"),
        (entry.cas.allows(found.cas), "the version"),
    ];
    checks.iter().find(|(good, _)| !good).map(|(_, what)| *what)
}
