//! Expiry: when an entry's time has come.
//!
//! An entry has an absolute deadline in milliseconds; its owner works it out from the time to
//! live and the idle time. Readers compare it with the clock themselves, so nobody sees an entry
//! that is past it. The [`Wheel`] finds those that nobody reads, so that their memory comes back.

mod wheel;

pub use wheel::{TICK_MS, Wheel};
