//! The copies and reservations of a near cache: a bounded map without time or locks of its own.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::time::Instant;

use crate::client::cache::entry::Entry;

type Names = HashMap<Arc<[u8]>, usize, std::hash::RandomState>;

/// Places for copies, by key, with a clock hand that makes room.
#[derive(Debug)]
pub struct Copies {
    names: Names,
    places: Vec<Place>,
    /// Places that nobody has.
    free: Vec<usize>,
    hand: usize,
    entries_max: usize,
    reservations: u64,
    held: usize,
}

#[derive(Debug)]
struct Place {
    key: Arc<[u8]>,
    /// Who reads with an older one reads from before something that happened since.
    reservation: u64,
    copy: Option<Copy>,
    /// Used since the hand came by.
    used: bool,
}

#[derive(Debug)]
struct Copy {
    entry: Entry,
    asked: Instant,
    until: Option<Instant>,
}

impl Copies {
    pub fn new(entries_max: usize) -> Self {
        Copies {
            names: Names::default(),
            places: Vec::new(),
            free: Vec::new(),
            hand: 0,
            entries_max: entries_max.max(1),
            reservations: 0,
            held: 0,
        }
    }

    /// How many copies there are.
    pub fn len(&self) -> usize {
        self.held
    }

    pub fn get(&mut self, key: &[u8], now: Instant) -> Option<Entry> {
        let place = self.places.get_mut(*self.names.get(key)?)?;
        let copy = place.copy.as_ref()?;
        if copy.until.is_some_and(|until| until <= now) {
            self.remove(key);
            return None;
        }
        place.used = true;
        let age = now.saturating_duration_since(copy.asked);
        let ttl = copy.entry.ttl.map(|left| left.saturating_sub(age));
        Some(Entry { ttl, ..copy.entry.clone() })
    }

    /// A place for the key, that of an earlier read if there is one: nothing was said against the
    /// key since that one was sent, nor since now.
    pub fn reserve(&mut self, key: &[u8]) -> u64 {
        if let Some(place) = self.names.get(key).and_then(|at| self.places.get(*at)) {
            return place.reservation;
        }
        if self.names.len() >= self.entries_max {
            self.make_room();
        }
        self.reservations += 1;
        let (key, reservation): (Arc<[u8]>, _) = (key.into(), self.reservations);
        let place = Place { key: Arc::clone(&key), reservation, copy: None, used: false };
        let at = match self.free.pop() {
            Some(at) => {
                if let Some(old) = self.places.get_mut(at) {
                    *old = place;
                }
                at
            }
            None => {
                self.places.push(place);
                self.places.len() - 1
            }
        };
        self.names.insert(key, at);
        self.reservations
    }

    /// Keeps a copy, of what was asked for at `asked`, under a reservation that still holds.
    pub fn publish(
        &mut self,
        key: &[u8],
        reservation: u64,
        entry: &Entry,
        asked: Instant,
        life: Option<Duration>,
    ) {
        let until = life.and_then(|life| asked.checked_add(life));
        let Some(at) = self.names.get(key) else { return };
        let Some(place) = self.places.get_mut(*at) else { return };
        let newer = place.copy.as_ref().is_none_or(|copy| copy.entry.version <= entry.version);
        if place.reservation == reservation && newer {
            self.held += usize::from(place.copy.is_none());
            place.copy = Some(Copy { entry: entry.clone(), asked, until });
        }
    }

    /// Frees a place that no copy came into.
    pub fn give_up(&mut self, key: &[u8], reservation: u64) {
        let place = self.names.get(key).and_then(|at| self.places.get(*at));
        if place.is_some_and(|place| place.reservation == reservation && place.copy.is_none()) {
            self.remove(key);
        }
    }

    /// Drops copy and reservation; whether there was one.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let Some(at) = self.names.remove(key) else { return false };
        self.free.push(at);
        if let Some(place) = self.places.get_mut(at) {
            self.held -= usize::from(place.copy.take().is_some());
        }
        true
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.names.clear();
        self.places.clear();
        self.free.clear();
        (self.hand, self.held) = (0, 0);
    }

    /// Drops the first one that was not used since the hand came by.
    fn make_room(&mut self) {
        for _ in 0..self.places.len() * 2 {
            self.hand = (self.hand + 1) % self.places.len();
            let Some(place) = self.places.get_mut(self.hand) else { return };
            if !std::mem::take(&mut place.used) {
                let key = Arc::clone(&place.key);
                self.remove(&key);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(version: u64) -> Entry {
        let value = version.to_be_bytes().as_slice().into();
        Entry { value, version, flags: 0, ttl: None, idle: None, created: Duration::ZERO }
    }

    fn version(copies: &mut Copies, key: &[u8]) -> Option<u64> {
        copies.get(key, Instant::now()).map(|entry| entry.version)
    }

    #[test]
    fn what_was_invalidated_while_it_was_read_is_not_kept() {
        let mut copies = Copies::new(9);
        let before = copies.reserve(b"k");
        assert!(copies.remove(b"k"), "the reservation is dropped");
        copies.publish(b"k", before, &entry(1), Instant::now(), None);
        assert_eq!(version(&mut copies, b"k"), None);
        let after = copies.reserve(b"k");
        assert_ne!(before, after);
        copies.publish(b"k", before, &entry(1), Instant::now(), None);
        assert_eq!(version(&mut copies, b"k"), None, "of a read from before");
        copies.publish(b"k", after, &entry(2), Instant::now(), None);
        assert_eq!((version(&mut copies, b"k"), copies.len()), (Some(2), 1));
    }

    #[test]
    fn of_two_reads_the_newer_one_stays() {
        let mut copies = Copies::new(9);
        let (one, two) = (copies.reserve(b"k"), copies.reserve(b"k"));
        copies.publish(b"k", two, &entry(8), Instant::now(), None);
        copies.publish(b"k", one, &entry(7), Instant::now(), None);
        assert_eq!(version(&mut copies, b"k"), Some(8));
        copies.give_up(b"k", one);
        assert_eq!(version(&mut copies, b"k"), Some(8), "a place with a copy is not given up");
    }

    #[test]
    fn a_copy_is_not_used_after_its_time() {
        let mut copies = Copies::new(9);
        let (now, reservation) = (Instant::now(), copies.reserve(b"k"));
        let (ms, ttl) = (Duration::from_millis, Some(Duration::from_millis(30)));
        copies.publish(b"k", reservation, &Entry { ttl, ..entry(1) }, now, Some(ms(10)));
        let copy = copies.get(b"k", now + ms(9));
        assert_eq!(copy.and_then(|copy| copy.ttl), Some(ms(21)), "what is left of its time");
        assert!(copies.get(b"k", now + ms(10)).is_none());
        assert_eq!(copies.len(), 0);
    }

    #[test]
    fn there_are_never_more_than_asked_and_used_ones_stay() {
        let mut copies = Copies::new(4);
        for number in 0..100u64 {
            let key = number.to_be_bytes();
            let reservation = copies.reserve(&key);
            copies.publish(&key, reservation, &entry(number), Instant::now(), None);
            assert!(copies.len() <= 4 && copies.places.len() <= 4, "{number}");
            if number > 0 {
                assert_eq!(version(&mut copies, &0u64.to_be_bytes()), Some(0), "{number}");
            }
        }
        copies.clear();
        assert_eq!((copies.len(), version(&mut copies, &0u64.to_be_bytes())), (0, None));
    }
}
