//! The simulator: a cluster of the real cores in one thread, with time, chance, network and disks
//! of its own. A seed decides everything, so a failure is replayed by its seed.
//!
//! | file | what it is |
//! |---|---|
//! | `chance` | draws from the seed |
//! | `clients` | what clients ask for, and whom |
//! | `clock` | clocks that drift, and are off |
//! | `disk` | what a disk has after power went |
//! | `failover` | how long a failover takes |
//! | `kv` | a small map on a replicated segment |
//! | `network` | delay, loss, repetition, partitions |
//! | `options` | which faults a run has, and how often, drawn from the seed |
//! | `process` | one process: the cores, and what stands for their shell |
//! | `server` | the copies of a process, and the operations on them |
//! | `world` | all processes and one queue of events |
//! | `run` | the phases: faults, healing, liveness, audit |

pub mod chance;
pub mod clients;
pub mod clock;
pub mod disk;
pub mod failover;
pub mod kv;
pub mod network;
pub mod options;
pub mod process;
pub mod run;
pub mod server;
pub mod world;

pub use run::{Report, run};
