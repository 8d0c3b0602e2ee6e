//! Shared pieces of the tests: naive models of what is tested, and the seeds that drive them.

pub mod cluster;
pub mod differential;
pub mod durability;
pub mod harness;
pub mod invariant;
pub mod model;
pub mod protocol;
pub mod queues;
pub mod seeds;
pub mod sessions;
pub mod sim;
pub mod tidy;

pub use isogrid::checker;
