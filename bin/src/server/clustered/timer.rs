//! When a connection that waits is to look again.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use isogrid_grid::membership::Monotonic;
use tokio::time::Sleep;

/// Runs up to one moment.
#[derive(Default)]
pub struct Timer(Option<(Monotonic, Pin<Box<Sleep>>)>);

impl Timer {
    /// Ready when `at` has come, or a moment before it that was waited for earlier.
    pub fn poll_until(&mut self, now: Monotonic, at: Monotonic, cx: &mut Context<'_>) -> Poll<()> {
        if self.0.as_ref().is_none_or(|(until, _)| *until > at) {
            let rest = Duration::from_millis(at.saturating_sub(now).max(1));
            self.0 = Some((at, Box::pin(tokio::time::sleep(rest))));
        }
        if let Some((_, sleep)) = &mut self.0 {
            ready!(sleep.as_mut().poll(cx));
        }
        self.stop();
        Poll::Ready(())
    }

    /// Nothing is waited for any more.
    pub fn stop(&mut self) {
        self.0 = None;
    }
}
