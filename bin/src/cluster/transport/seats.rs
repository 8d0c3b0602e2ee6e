//! Who is connected to us: newcomers, who have not said yet who they are, and peers, with one
//! connection a lane each.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::lane::Lane;

/// A peer's address and a lane.
type Key = (String, Lane);

/// The connections that were accepted.
#[derive(Default)]
pub struct Seats {
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    next: u64,
    newcomers: BTreeMap<u64, AbortHandle>,
    seats: BTreeMap<Key, Seat>,
}

/// A seat as the others see it.
struct Seat {
    leave: Arc<Notify>,
    left: oneshot::Receiver<()>,
}

/// A newcomer's stay; dropping it ends it.
pub struct Newcomer {
    seats: Arc<Seats>,
    id: u64,
}

/// A peer's seat; dropping it frees it.
pub struct Seated {
    seats: Arc<Seats>,
    key: Key,
    leave: Arc<Notify>,
    _left: oneshot::Sender<()>,
    before: Option<oneshot::Receiver<()>>,
}

impl Seats {
    /// Takes in a newcomer, for whom `spawn` starts a task. When there are more than `max`, the one
    /// that has been there longest is shown out, so that slow ones cannot keep others out.
    pub fn enter(self: &Arc<Self>, max: usize, spawn: impl FnOnce(Newcomer) -> AbortHandle) {
        let mut inside = self.inside.lock();
        let id = inside.next;
        inside.next += 1;
        // Under the lock: its stay cannot end before it has begun.
        let task = spawn(Newcomer { seats: Arc::clone(self), id });
        inside.newcomers.insert(id, task);
        let is_full = inside.newcomers.len() > max;
        let oldest = if is_full { inside.newcomers.pop_first() } else { None };
        drop(inside);
        if let Some((_, task)) = oldest {
            task.abort();
        }
    }

    /// Seats a peer, in the place of the connection that it had; `None` when `max` are taken.
    pub fn seat(self: &Arc<Self>, from: &str, lane: Lane, max: usize) -> Option<Seated> {
        let key = (from.to_owned(), lane);
        let (leave, (left_sender, left)) = (Arc::new(Notify::new()), oneshot::channel());
        let mut inside = self.inside.lock();
        if inside.seats.len() >= max && !inside.seats.contains_key(&key) {
            return None;
        }
        let before = inside.seats.insert(key.clone(), Seat { leave: Arc::clone(&leave), left });
        drop(inside);
        let before = before.map(|seat| {
            seat.leave.notify_one();
            seat.left
        });
        Some(Seated { seats: Arc::clone(self), key, leave, _left: left_sender, before })
    }

    /// Shows out whoever says to be `from`.
    pub fn show_out(&self, from: &str) {
        let inside = self.inside.lock();
        let of_peer = inside.seats.iter().filter(|((address, _), _)| address == from);
        of_peer.for_each(|(_, seat)| seat.leave.notify_one());
    }
}

#[cfg(test)]
impl Seats {
    pub fn is_empty(&self) -> bool {
        self.inside.lock().seats.is_empty()
    }
}

impl Seated {
    /// Waits until the peer's connection before this one is read no more: what it held must not
    /// come after what comes now. Says whether there was one.
    pub async fn alone(&mut self) -> bool {
        match self.before.take() {
            Some(left) => left.await.is_err(),
            None => false,
        }
    }

    /// Returns when this connection has to make room.
    pub async fn shown_out(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.seats.inside.lock().newcomers.remove(&self.id);
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        let mut inside = self.seats.inside.lock();
        let ours = inside.seats.get(&self.key).is_some_and(|s| Arc::ptr_eq(&s.leave, &self.leave));
        if ours {
            inside.seats.remove(&self.key);
        }
    }
}
