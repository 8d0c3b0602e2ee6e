//! The one place that asks for the time: a load generator measures real time.

use std::time::{Duration, Instant};

/// The moment of the call.
#[expect(clippy::disallowed_methods, reason = "a load generator measures real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// Waits for another process, which tells nobody when it is ready.
#[expect(clippy::disallowed_methods, reason = "there is nothing else to wait on")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
