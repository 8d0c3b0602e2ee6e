//! The simulator: a cluster of the real cores in one thread, with time, chance, network and disks
//! of its own. A seed decides everything, so a failure is replayed by its seed.
//!
//! | file | what it is |
//! |---|---|
//! | `ambush` | faults at the worst moments |
//! | `bank` | transfers between accounts of several segments |
//! | `chance` | draws from the seed |
//! | `clients` | what clients ask for, and whom |
//! | `clock` | clocks that drift, and are off |
//! | `deaf_backup` | a backup that is read from, and hears nothing of its primary |
//! | `disk` | what a disk has after power went |
//! | `failover` | how long a failover takes |
//! | `force` | an operator who has stale copies serve |
//! | `fragment` | one copy of a segment, and who waits for it |
//! | `fresh` | an invalidated cache on every process |
//! | `groups` | the groups of caches that all runs have, and that of the queues |
//! | `hosting` | the queues of a process |
//! | `job` | what is asked of a queue, and what it says |
//! | `kv` | a small map on a replicated segment |
//! | `late_grant` | a grant that the next process of its member gets |
//! | `long_tail` | a primary that answers at once, cut off under load |
//! | `network` | delay, loss, repetition, partitions |
//! | `options` | which faults a run has, and how often, drawn from the seed |
//! | `part` | a copy that takes part in transactions |
//! | `process` | one process: the cores, and what stands for their shell |
//! | `queue` | what is going to happen, in the order of true time |
//! | `server` | the copies of a process, and the operations on them |
//! | `shell` | what the cores ask for is carried out |
//! | `stocktaking` | what queues have in the end |
//! | `strangers` | the same for processes that are no members yet |
//! | `trace` | what has happened, for who has to find out why |
//! | `workers` | those who publish and consume messages of queues |
//! | `world` | all machines, and what happens to them |
//! | `run` | the phases: faults, healing, liveness, audit |

mod again;
mod ambush;
pub mod bank;
pub mod chance;
pub mod clients;
pub mod clock;
mod deaf_backup;
pub mod disk;
pub mod failover;
mod force;
mod fragment;
mod fresh;
mod groups;
mod hosting;
pub mod job;
pub mod kv;
mod late_grant;
mod long_tail;
mod network;
pub mod options;
pub mod part;
pub mod process;
mod queue;
pub mod run;
pub mod server;
mod shell;
mod stocktaking;
mod strangers;
mod tail;
mod trace;
pub mod workers;
pub mod world;

pub use run::{Report, run, traced};
