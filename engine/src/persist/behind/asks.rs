//! What others ask of the thread that writes: tables come and go.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::feed::Feed;

/// What is asked.
pub(super) enum What {
    /// The changes of one more table are written; what the store has under its name is void.
    Join(Arc<Feed>),
    /// Those of this one are not any more, and what the store has of it is removed.
    Leave(Arc<Feed>),
    /// What was done so far is to be durable.
    Settle,
}

/// One question; who asked is answered at the latest when it is dropped.
pub(super) struct Ask {
    pub what: What,
    answer: Arc<Answer>,
}

#[derive(Default)]
struct Answer {
    said: Mutex<Option<Result<(), String>>>,
    told: Condvar,
}

/// What will be answered.
pub(super) struct Reply(Arc<Answer>);

impl Reply {
    pub fn wait(self) -> Result<(), String> {
        let mut said = self.0.said.lock();
        loop {
            if let Some(said) = said.take() {
                return said;
            }
            self.0.told.wait(&mut said);
        }
    }
}

/// The questions that wait; `None` once nobody answers any more.
pub(super) struct Asks(Mutex<Option<Vec<Ask>>>);

impl Default for Asks {
    fn default() -> Self {
        Asks(Mutex::new(Some(Vec::new())))
    }
}

impl Ask {
    pub fn answer(&self, said: Result<(), String>) {
        self.answer.said.lock().get_or_insert(said);
        self.answer.told.notify_all();
    }
}

impl Drop for Ask {
    fn drop(&mut self) {
        self.answer(Err(ENDED.to_owned()));
    }
}

const ENDED: &str = "nothing is written behind any more";

impl Asks {
    /// Asks one thing after the other.
    pub fn ask(&self, what: What) -> Reply {
        let ask = Ask { what, answer: Arc::default() };
        let reply = Reply(Arc::clone(&ask.answer));
        if let Some(asks) = &mut *self.0.lock() {
            asks.push(ask);
        }
        reply
    }

    pub fn take(&self) -> Vec<Ask> {
        self.0.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Nobody answers any more.
    pub fn close(&self) {
        let left = self.0.lock().take();
        drop(left);
    }
}
