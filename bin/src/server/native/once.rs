//! Requests that may come twice: a client that lost its connection asks again with the same
//! number (`idem`) and is answered as the first time.

use std::sync::Arc;

use isogrid_grid::Dedup;
use isogrid_grid::dedup::{DedupLimits, Seen};
use isogrid_wire::native::ErrorCode;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::failure::Failure;
use super::reply::Given;
use crate::server::node::Node;

/// What an answer costs beside its payload, bytes.
const ANSWER_BYTES: usize = 64;
/// When a request that is under way may be asked for again, ms.
const RETRY_MS: u32 = 10;

/// The answers that a node remembers.
pub struct Answers(Mutex<Dedup<Given>>);

impl Default for Answers {
    fn default() -> Self {
        Answers(Mutex::new(Dedup::new(DedupLimits::default())))
    }
}

/// Under what the requests of a client's process are remembered: those of one user are nothing to
/// another who says the same `instance`.
pub fn instance_of(user: Option<&str>, instance: [u8; 16]) -> [u8; 16] {
    let Some(user) = user else { return instance };
    let hash = Sha256::new().chain_update(instance).chain_update(user).finalize();
    hash.first_chunk().copied().unwrap_or(instance)
}

/// What is known of a request.
pub enum Known {
    /// Nothing: it is to be executed, and this is to be told what came of it.
    New(Once),
    /// It was answered so.
    Answered(Given),
}

/// A request under way, until it is settled. To drop it is to say that nobody knows, or, of one
/// that only waited, that it was not executed.
pub struct Once {
    node: Arc<Node>,
    instance: [u8; 16],
    number: u64,
    waits: bool,
    settled: bool,
}

impl Once {
    /// Looks whether a request has come before.
    ///
    /// # Errors
    /// It is under way.
    pub fn begin(node: &Arc<Node>, instance: [u8; 16], number: u64) -> Result<Known, Failure> {
        match node.answers.0.lock().begin(node.now(), instance, number) {
            Seen::New => {
                let (node, waits, settled) = (Arc::clone(node), false, false);
                Ok(Known::New(Once { node, instance, number, waits, settled }))
            }
            Seen::Answered(given) => Ok(Known::Answered(given)),
            Seen::UnderWay => {
                let why = "the first request of this `idem` is under way";
                Err(Failure::new(ErrorCode::Overloaded, why).after(RETRY_MS))
            }
        }
    }

    /// It was answered so, and that is kept.
    pub fn settle(mut self, given: &Given) {
        self.settled = true;
        let mut answers = self.node.answers.0.lock();
        if given.is_undone {
            answers.undone(self.instance, self.number);
        } else {
            let bytes = ANSWER_BYTES + given.payload.len();
            let (now, instance) = (self.node.now(), self.instance);
            answers.done(now, instance, self.number, given.clone(), bytes);
        }
    }

    /// It waits for what it gives back when it is dropped.
    #[must_use]
    pub fn waiting(self) -> Once {
        let mut this = self;
        this.waits = true;
        this
    }

    /// It was surely not executed.
    pub fn undone(mut self) {
        self.settled = true;
        self.node.answers.0.lock().undone(self.instance, self.number);
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        if self.waits {
            self.node.answers.0.lock().undone(self.instance, self.number);
        } else {
            let unknown = Given::failure(&Failure::of(ErrorCode::OutcomeUnknown));
            let bytes = ANSWER_BYTES + unknown.payload.len();
            let (now, instance) = (self.node.now(), self.instance);
            self.node.answers.0.lock().done(now, instance, self.number, unknown, bytes);
        }
    }
}
