//! Which loads from outside may still be stored (DATA_PATH R39): a load that began before its key was
//! invalidated may bring what was written over.

use std::sync::{Mutex, MutexGuard, PoisonError};

use isogrid_engine::hash::stable_segment;

use crate::mutant::is_planted;

/// Keys share slots: who shares one with an invalidated key loads once more than it has to.
const SLOTS: usize = 4_096;
/// Placeholders that a slot remembers. A store in place of one that is forgotten is a write, which is
/// always right and costs others their copies.
const VACANT_MAX: usize = 4;

/// What a load has to show when it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token(u64);

/// The tokens of one cache of one member.
pub struct Fills(Box<[Mutex<Slot>]>);

#[derive(Default)]
struct Slot {
    /// How often a key of the slot was invalidated.
    kills: u64,
    /// Placeholders that somebody is to fill, and their versions.
    vacant: Vec<(Box<[u8]>, u64)>,
}

impl Default for Fills {
    fn default() -> Self {
        Fills((0..SLOTS).map(|_| Mutex::default()).collect())
    }
}

impl Fills {
    fn slot(&self, key: &[u8]) -> Option<MutexGuard<'_, Slot>> {
        self.0
            .get(stable_segment(key, SLOTS))
            .map(|slot| slot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The token of a load that begins now.
    #[must_use]
    pub fn token(&self, key: &[u8]) -> Token {
        Token(self.slot(key).map_or(0, |slot| slot.kills))
    }

    /// Stores what was loaded, unless the key was invalidated since the token was taken: then
    /// nothing is done. No invalidation comes in between.
    pub fn fill<T>(&self, key: &[u8], token: Token, store: impl FnOnce() -> T) -> Option<T> {
        let slot = self.slot(key)?;
        (slot.kills == token.0 || is_planted("late-fill")).then(store)
    }

    /// Invalidates a key while `change` writes to it, or takes it out of the cache.
    pub fn kill<T>(&self, key: &[u8], change: impl FnOnce() -> T) -> T {
        let slot = self.slot(key);
        let done = change();
        if let Some(mut slot) = slot {
            slot.kills += 1;
            slot.vacant.retain(|(vacant, _)| **vacant != *key);
        }
        done
    }

    /// Invalidates all keys: `clear` empties the cache then.
    pub fn kill_all<T>(&self, clear: impl FnOnce() -> T) -> T {
        for slot in &self.0 {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            slot.kills += 1;
            slot.vacant.clear();
        }
        clear()
    }

    /// A reader that missed has left a placeholder of this version, and is to fill it.
    pub fn vacated(&self, key: &[u8], version: u64) {
        if let Some(mut slot) = self.slot(key) {
            if slot.vacant.len() >= VACANT_MAX {
                slot.vacant.remove(0);
            }
            slot.vacant.push((key.into(), version));
        }
    }

    /// Whether a store in place of this version fills a placeholder. An invalidation has taken the
    /// placeholder away, so the version itself is the token.
    #[must_use]
    pub fn is_vacant(&self, key: &[u8], version: u64) -> bool {
        let is_it = |(vacant, of): &(Box<[u8]>, u64)| **vacant == *key && *of == version;
        self.slot(key).is_some_and(|slot| slot.vacant.iter().any(is_it))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fill_holds_unless_its_key_was_invalidated_since_its_load_began() {
        assert_ne!(stable_segment(b"ours", SLOTS), stable_segment(b"other", SLOTS));
        type Event = (&'static str, fn(&Fills), bool);
        let events: [Event; 4] = [
            ("nothing", |_| {}, true),
            ("another key", |fills| fills.kill(b"other", || {}), true),
            ("the key", |fills| fills.kill(b"ours", || {}), false),
            ("all keys", |fills| fills.kill_all(|| {}), false),
        ];
        for (what, happen, holds) in events {
            let fills = Fills::default();
            let token = fills.token(b"ours");
            fills.vacated(b"ours", 7);
            happen(&fills);
            assert_eq!(fills.fill(b"ours", token, || ()).is_some(), holds, "{what}");
            assert_eq!(fills.is_vacant(b"ours", 7), holds, "{what}");
            assert!(fills.fill(b"ours", fills.token(b"ours"), || ()).is_some(), "after {what}");
        }
    }

    #[test]
    fn a_placeholder_is_known_by_its_key_and_version_and_the_oldest_is_forgotten() {
        let fills = Fills::default();
        (1..=5).for_each(|version| fills.vacated(b"k", version));
        let known: Vec<bool> = (1..=6).map(|version| fills.is_vacant(b"k", version)).collect();
        assert_eq!(known, [false, true, true, true, true, false]);
        assert!(!fills.is_vacant(b"other", 3));
    }
}
