//! What clients were promised by a server that dies: loads whose every answer is known beforehand,
//! and the comparison of what a restarted server holds with what it had acknowledged.
//!
//! An owner is one connection with keys that nobody else writes, so that the state of its keys is
//! that after some prefix of its operations. A server that comes back must show exactly one such
//! prefix, and it must reach as far as was promised.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and it talks to real processes on the real clock"
)]

mod draw;
mod fleet;
mod history;
mod load;
mod observe;
mod state;
mod value;

pub use fleet::{Fleet, Promise, Verdict};
pub use history::{History, Step};
pub use load::{drive, watch};
pub use observe::{Found, observe};
pub use state::{Cas, Entry, State};
pub use value::Value;

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    isogrid_engine::env::Clock::now(&isogrid_engine::env::SystemClock::new())
}
