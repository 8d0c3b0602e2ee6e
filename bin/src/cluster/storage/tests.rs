//! A member's disk: what it has after a crash at any moment, and what it refuses.

mod crash;
mod fixture;
mod refusal;
mod thread;
