//! Whether what is told to people on a terminal has colours.

use std::sync::atomic::{AtomicBool, Ordering};

static IS_LEFT_OUT: AtomicBool = AtomicBool::new(false);

/// Leaves colours out from now on.
pub fn leave_out() {
    IS_LEFT_OUT.store(true, Ordering::Relaxed);
}

/// Whether colours are wanted: nobody has left them out, here or by `NO_COLOR`
/// (<https://no-color.org>).
pub fn is_wanted() -> bool {
    let variable = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty());
    !variable && !IS_LEFT_OUT.load(Ordering::Relaxed)
}
