//! Tasks and threads that wait until the log has come to a record.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use parking_lot::Mutex;

use super::Lsn;

/// Who waits for which record.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<BTreeMap<Lsn, Vec<Waker>>>);

impl Waiters {
    pub fn add(&self, lsn: Lsn, waker: &Waker) {
        let mut waiting = self.0.lock();
        let at = waiting.entry(lsn).or_default();
        if !at.iter().any(|other| other.will_wake(waker)) {
            at.push(waker.clone());
        }
    }

    /// Wakes all who wait for `upto` or a record before it.
    pub fn wake(&self, upto: Lsn) {
        let mut waiting = self.0.lock();
        if waiting.first_key_value().is_none_or(|(lsn, _)| *lsn > upto) {
            return;
        }
        let later = waiting.split_off(&upto.next());
        let woken = std::mem::replace(&mut *waiting, later);
        drop(waiting);
        woken.into_values().flatten().for_each(Waker::wake);
    }

    pub fn wake_all(&self) {
        let woken = std::mem::take(&mut *self.0.lock());
        woken.into_values().flatten().for_each(Waker::wake);
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Parks this thread until `poll` has an answer.
pub(crate) fn block_on<T>(poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(std::future::poll_fn(poll));
    loop {
        if let Poll::Ready(answer) = future.as_mut().poll(&mut context) {
            return answer;
        }
        std::thread::park();
    }
}
