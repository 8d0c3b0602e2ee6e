//! One entry on its way into memory, and who waits for it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::LoadError;

/// An entry on its way into memory. Clones are the same flight.
#[derive(Clone)]
pub struct Flight(Arc<Inner>);

struct Inner {
    key: Box<[u8]>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    outcome: Option<Result<(), LoadError>>,
    waiting: Vec<Waker>,
}

impl Flight {
    pub(super) fn new(key: &[u8]) -> Flight {
        Flight(Arc::new(Inner { key: key.into(), state: Mutex::default() }))
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.0.key
    }

    /// Whether the flight has landed, or wakes the task when it does.
    ///
    /// # Errors
    /// [`LoadError`] says why the entry could not be brought into memory.
    pub fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), LoadError>> {
        let mut state = self.0.state.lock();
        if let Some(outcome) = state.outcome {
            return Poll::Ready(outcome);
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }

    pub(super) fn land(&self, outcome: Result<(), LoadError>) {
        let mut state = self.0.state.lock();
        state.outcome = Some(outcome);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }
}
