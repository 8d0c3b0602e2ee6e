//! Connections that have not shown yet that they are worth their place: those whose TLS handshake
//! is not done, and those that have to log in. There is room for some of them and for some time;
//! when there is no room, the one that has been there longest goes, so that slow ones cannot keep
//! others out.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::connections::Info;

/// Newcomers of one kind.
pub struct Newcomers {
    max: usize,
    why_full: &'static str,
    why_late: &'static str,
    inside: Mutex<Inside>,
    /// Those that were closed for want of room, or for staying too long.
    pub closed: AtomicU64,
}

/// Who is there.
#[derive(Default)]
struct Inside {
    next: u64,
    /// Since when each is there, ms, in the order in which they came.
    by_id: BTreeMap<u64, (u64, Arc<Info>)>,
}

/// A newcomer's stay; dropping it ends it.
pub struct Stay {
    room: Arc<Newcomers>,
    id: u64,
}

impl Newcomers {
    /// Room for `max` of them, and the words for those that are closed.
    pub fn new(max: usize, why_full: &'static str, why_late: &'static str) -> Arc<Self> {
        let (inside, closed) = (Mutex::default(), AtomicU64::new(0));
        Arc::new(Newcomers { max, why_full, why_late, inside, closed })
    }

    /// Takes in one more.
    pub fn enter(self: &Arc<Self>, info: &Arc<Info>, now: u64) -> Stay {
        let mut inside = self.lock();
        let Inside { next, by_id } = &mut *inside;
        if by_id.len() >= self.max
            && let Some((_, (_, oldest))) = by_id.pop_first()
        {
            self.close(&oldest, self.why_full);
        }
        let id = *next;
        *next += 1;
        by_id.insert(id, (now, Arc::clone(info)));
        Stay { room: Arc::clone(self), id }
    }

    /// Closes those that have been there for `limit`.
    pub fn sweep(&self, limit: Duration, now: u64) {
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let mut inside = self.lock();
        while let Some(first) = inside.by_id.first_entry()
            && now.saturating_sub(first.get().0) >= limit
        {
            self.close(&first.remove().1, self.why_late);
        }
    }

    /// How many are there.
    pub fn len(&self) -> usize {
        self.lock().by_id.len()
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn close(&self, info: &Info, why: &'static str) {
        self.closed.fetch_add(1, Ordering::Relaxed);
        info.end(why);
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.room.lock().by_id.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info() -> Arc<Info> {
        Arc::new(Info::of_test())
    }

    #[test]
    fn the_oldest_makes_room_and_the_slow_go() {
        let room = Newcomers::new(3, "full", "late");
        let infos: Vec<_> = (0..5).map(|_| info()).collect();
        let mut stays: Vec<_> =
            infos.iter().zip(0..).map(|(info, n)| room.enter(info, n * 100)).collect();
        let why: Vec<_> = infos.iter().map(|info| info.ended()).collect();
        assert_eq!(why, [Some("full"), Some("full"), None, None, None]);
        drop(stays.remove(3));
        assert_eq!(room.len(), 2);
        room.sweep(Duration::from_millis(200), 399);
        assert_eq!(infos[2].ended(), None);
        room.sweep(Duration::from_millis(200), 400);
        let why: Vec<_> = infos.iter().map(|info| info.ended()).collect();
        assert_eq!(why, [Some("full"), Some("full"), Some("late"), None, None]);
        drop(stays);
        assert!(room.is_empty());
        assert_eq!(room.closed.load(Ordering::Relaxed), 3);
    }
}
