//! What peers said to the control core and it has not heard yet: bounded in bytes. What is too much
//! is left out, as if it had got lost on the way; all of it is said again (R69, R74).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much may wait beside the first message. A Raft snapshot of all metadata is a few MiB.
const BYTES_MAX: usize = 64 << 20;

/// How much waits.
#[derive(Debug, Default)]
pub(super) struct Intake(Arc<AtomicUsize>);

/// One message that waits; its room is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Waiting {
    of: Arc<AtomicUsize>,
    len: usize,
}

impl Intake {
    /// Room for a message; `None` when too much waits.
    pub fn take(&self, len: usize) -> Option<Waiting> {
        // What waits beside the bytes weighs as well.
        let len = len + size_of::<super::driver::Input>();
        let before = self.0.fetch_add(len, Ordering::Relaxed);
        let waiting = Waiting { of: Arc::clone(&self.0), len };
        (before == 0 || before + len <= BYTES_MAX).then_some(waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.of.fetch_sub(self.len, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_left_out_until_some_was_heard() {
        let intake = Intake::default();
        let first = intake.take(2 * BYTES_MAX).expect("one message is taken whatever its length");
        assert!(intake.take(1).is_none());
        drop(first);
        let all: Vec<Waiting> = std::iter::from_fn(|| intake.take(1 << 20)).collect();
        assert_eq!(all.len(), 63, "with what each weighs beside its bytes");
        drop(all);
        assert_eq!(intake.0.load(Ordering::Relaxed), 0);
    }
}
