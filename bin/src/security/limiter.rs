//! Slows down guessing. Ten failures a minute are free, for each user and for each network that
//! they come from; then a user's logins take a second each, and a network gets one try a second.
//! A user is never locked out: tries from elsewhere wait for a second and no longer.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Failures within [`WINDOW`] that slow nothing down.
const FREE: u32 = 10;
/// How long a failure counts, ms.
const WINDOW: u64 = 60_000;
/// Between two tries once they are slowed down, ms.
const STEP: u64 = 1_000;
/// Who would have to wait longer is refused, ms.
pub const WAIT_MAX: u64 = 10_000;
/// Users and networks that are remembered at most; the oldest are forgotten.
const ENTRIES_MAX: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    /// A name is as long as a client likes: what is kept is its hash.
    User([u8; 32]),
    Network(IpAddr),
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    failures: u32,
    /// When the failures begin to count anew, ms.
    until: u64,
    /// When the next try from a network may take place, ms.
    next: u64,
}

/// Who failed how often.
#[derive(Default)]
pub struct Limiter {
    entries: BTreeMap<Key, Entry>,
}

/// What to do with a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Check it after so many ms.
    For(u64),
    /// Refuse it without a check.
    Refuse,
}

impl Limiter {
    /// How long a try at `now` has to wait; it takes its turn in its network's line.
    pub fn wait(&mut self, now: u64, user: &[u8; 32], address: Option<IpAddr>) -> Wait {
        let slow = |entry: &&mut Entry| entry.failures >= FREE && now < entry.until;
        let of_user = self.entries.get_mut(&Key::User(*user)).filter(slow).map_or(0, |_| STEP);
        let network = address.map(|address| Key::Network(network(address)));
        let Some(entry) = network.and_then(|key| self.entries.get_mut(&key)).filter(slow) else {
            return Wait::For(of_user);
        };
        let at = entry.next.max(now);
        if at - now > WAIT_MAX {
            return Wait::Refuse;
        }
        entry.next = at + STEP;
        Wait::For(of_user.max(at - now))
    }

    /// A try at `now` failed.
    pub fn failed(&mut self, now: u64, user: &[u8; 32], address: Option<IpAddr>) {
        let network = address.map(|address| Key::Network(network(address)));
        for key in [Some(Key::User(*user)), network].into_iter().flatten() {
            self.make_room(now);
            let fresh = Entry { failures: 0, until: now + WINDOW, next: now };
            let entry = self.entries.entry(key).or_insert(fresh);
            if now >= entry.until {
                *entry = fresh;
            }
            entry.failures += 1;
            entry.until = if entry.failures >= FREE { now + WINDOW } else { entry.until };
        }
    }

    /// Forgets who has been quiet; and if nobody has, the one that would be first.
    fn make_room(&mut self, now: u64) {
        if self.entries.len() < ENTRIES_MAX {
            return;
        }
        self.entries.retain(|_, entry| now < entry.until);
        if self.entries.len() >= ENTRIES_MAX {
            let first = self.entries.iter().min_by_key(|(_, entry)| entry.until);
            if let Some(key) = first.map(|(key, _)| *key) {
                self.entries.remove(&key);
            }
        }
    }
}

/// An IPv4 address by its /24, an IPv6 address by its /56.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() & 0xffff_ff00).into()),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & (!0 << 72)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 1_700_000_000_000;
    const ALICE: [u8; 32] = [1; 32];
    const BOB: [u8; 32] = [2; 32];

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn fail(limiter: &mut Limiter, times: u32, user: &[u8; 32], address: &str) {
        (0..times).for_each(|_| limiter.failed(START, user, ip(address)));
    }

    #[test]
    fn nine_failures_are_free_and_ten_are_not() {
        let mut limiter = Limiter::default();
        fail(&mut limiter, FREE - 1, &ALICE, "10.0.0.1");
        assert_eq!(limiter.wait(START, &ALICE, ip("10.0.0.1")), Wait::For(0));
        fail(&mut limiter, 1, &ALICE, "10.0.0.1");
        let waits: Vec<_> = (0..12).map(|_| limiter.wait(START, &BOB, ip("10.0.0.200"))).collect();
        let expected: Vec<_> =
            (0..=10).map(|n| Wait::For(n * STEP)).chain([Wait::Refuse]).collect();
        assert_eq!(waits, expected, "one a second from the network, whoever it is");
    }

    #[test]
    fn the_user_gets_in_from_elsewhere_after_a_second() {
        let mut limiter = Limiter::default();
        fail(&mut limiter, 1_000, &ALICE, "10.0.0.1");
        while limiter.wait(START, &ALICE, ip("10.0.0.1")) != Wait::Refuse {}
        assert_eq!(limiter.wait(START, &ALICE, ip("10.0.1.1")), Wait::For(STEP));
        assert_eq!(limiter.wait(START, &ALICE, None), Wait::For(STEP));
        assert_eq!(limiter.wait(START, &BOB, ip("10.0.1.1")), Wait::For(0));
    }

    #[test]
    fn after_a_quiet_minute_all_is_forgotten() {
        let mut limiter = Limiter::default();
        fail(&mut limiter, 20, &ALICE, "2001:db8:1:200::1");
        let other = ip("2001:db8:1:2ff::9");
        assert_eq!(limiter.wait(START + WINDOW - 1, &ALICE, other), Wait::For(STEP));
        assert_eq!(limiter.wait(START + WINDOW, &ALICE, other), Wait::For(0));
        limiter.failed(START + WINDOW, &ALICE, other);
        assert_eq!(limiter.wait(START + WINDOW, &ALICE, other), Wait::For(0), "counted anew");
        assert_eq!(network(other.unwrap()), network(ip("2001:db8:1:200::1").unwrap()));
        assert_ne!(network(other.unwrap()), network(ip("2001:db8:1:300::1").unwrap()));
    }

    #[test]
    fn no_flood_of_names_fills_the_memory() {
        let mut limiter = Limiter::default();
        for n in 0..20_000u32 {
            let mut user = [0; 32];
            user[..4].copy_from_slice(&n.to_be_bytes());
            let address = IpAddr::V4((n << 8).into());
            limiter.failed(START + u64::from(n / 100), &user, Some(address));
        }
        assert!(limiter.entries.len() <= ENTRIES_MAX + 1, "{}", limiter.entries.len());
    }
}
