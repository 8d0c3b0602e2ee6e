//! Clusters of real `isogrid serve` processes, whose network we hold in our hands, under load; and
//! what their clients are told is checked.
//!
//! | file | what |
//! |---|---|
//! | `network.rs`, `proxy.rs` | who reaches whom: a proxy in front of each node, faults by pair and direction |
//! | `namespaces.rs` | the same with packets: a network namespace for each node |
//! | `process.rs` | one server that is killed, stopped and started again |
//! | `nodes.rs`, `ports.rs` | a cluster of them, each with a folder of its own |
//! | `small_disk.rs` | a disk that can be full |
//! | `health.rs` | whether its copies are filled |
//! | `client.rs`, `load.rs` | clients of the memcached protocol that record what they ask and are told |
//! | `script.rs` | what is done to the cluster, drawn from a seed |
//! | `round.rs` | one round: load, script, audit, checks |
//! | `failover.rs`, `starts.rs` | how long clients miss a killed node; clusters that found themselves |
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a failing run may panic, and it waits for real processes on the real clock"
)]

mod client;
mod failover;
mod health;
mod load;
mod namespaces;
mod network;
mod nodes;
mod ports;
mod process;
mod proxy;
mod round;
mod script;
mod small_disk;
mod starts;
#[cfg(test)]
mod tests;

pub use client::Client;
pub use failover::{End, Gaps, failovers};
pub use load::Load;
pub use namespaces::may_make_namespaces;
pub use network::{Link, Network};
pub use nodes::{Cluster, Mode, Setup};
pub use ports::free_address;
pub use round::{play, round};
pub use script::{Script, Step, script};
pub use small_disk::may_mount;
pub use starts::starts;
