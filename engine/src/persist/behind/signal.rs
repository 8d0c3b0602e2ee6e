//! Wakes the writer.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// A bell that is heard even if it rings while nobody waits.
#[derive(Debug, Default)]
pub(super) struct Signal {
    rung: Mutex<bool>,
    bell: Condvar,
}

impl Signal {
    pub fn wake(&self) {
        *self.rung.lock() = true;
        self.bell.notify_all();
    }

    /// Waits until it rings, at most so long.
    pub fn wait(&self, limit: Duration) {
        let mut rung = self.rung.lock();
        if !*rung {
            self.bell.wait_for(&mut rung, limit);
        }
        *rung = false;
    }
}
