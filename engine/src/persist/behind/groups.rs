//! Keys that must be written together, since transactions changed them together.

use super::dirty::Key;
use crate::hash::RandomMap;

/// Groups of keys, numbered from 1. No key is in two.
#[derive(Debug, Default)]
pub(super) struct Groups {
    members: RandomMap<u64, Vec<Key>>,
    last: u64,
}

impl Groups {
    /// Makes one group of keys and of the groups that they are in (0 = none): the largest of these
    /// takes the others in. Its number, and the keys that were in another one or in none.
    pub fn merge(&mut self, keys: Vec<(Key, u64)>) -> (u64, Vec<Key>) {
        let size = |group: u64| self.members.get(&group).map_or(0, Vec::len);
        let largest = keys.iter().map(|(_, group)| *group).max_by_key(|group| size(*group));
        let into = largest.filter(|group| size(*group) > 0).unwrap_or(self.last + 1);
        self.last = self.last.max(into);
        let mut joined = Vec::new();
        for (key, group) in keys.into_iter().filter(|(_, group)| *group != into) {
            match group {
                0 => joined.push(key),
                // Gone when an earlier key of the same group came with all of it.
                group => joined.extend(self.members.remove(&group).unwrap_or_default()),
            }
        }
        self.members.entry(into).or_default().extend(joined.iter().cloned());
        (into, joined)
    }

    /// Ends a group and gives its keys; `None` when there is none of this number.
    pub fn take(&mut self, group: u64) -> Option<Vec<Key>> {
        self.members.remove(&group)
    }

    /// Whether this is the number of a group that has ended.
    pub fn is_over(&self, group: u64) -> bool {
        group != 0 && !self.members.contains_key(&group)
    }
}
