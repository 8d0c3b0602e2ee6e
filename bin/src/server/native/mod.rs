//! GNP/1, the native protocol, as `docs/PROTOCOL.md` has it.
//!
//! | file | what it is |
//! |---|---|
//! | `session.rs` | one connection's conversation: frames in, frames out |
//! | `admission.rs`, `time.rs` | who may begin and stay, and what is due by time alone |
//! | `handshake.rs`, `login.rs` | who is there |
//! | `asked.rs`, `permit.rs` | what each request does, and whether it may be done |
//! | `run.rs` | requests of one key, many together: the short way of most |
//! | `request.rs` | from a frame to the operation, and all that is asked of every request |
//! | `reply.rs`, `failure.rs` | the answer, once |
//! | `loading.rs` | what a request needs and is not in memory |
//! | `window.rs` | answers that wait until what they say is kept |
//! | `under_way.rs` | requests that are answered later |
//! | `once.rs` | requests that may come twice |
//! | `cache.rs`, `many.rs`, `edit.rs`, `entry.rs` | group 0x01 |
//! | `scan.rs`, `listen.rs`, `track.rs`, `live.rs` | its streams |
//! | `tx.rs`, `tx_local.rs`, `open_tx.rs` | group 0x02 |
//! | `queue.rs`, `consume.rs` | group 0x05 |
//! | `clustered.rs` | requests for caches of the cluster |
//! | `conn.rs`, `counter.rs`, `lease.rs`, `sessions.rs`, `catalog.rs`, `admin.rs`, `batch.rs` | the other groups |

mod admin;
mod admission;
mod asked;
mod batch;
mod cache;
mod catalog;
pub mod clustered;
mod conn;
mod consume;
mod counter;
mod edit;
mod entry;
mod failure;
mod fence;
mod handshake;
mod invalidated;
mod lease;
mod listen;
mod live;
mod loading;
mod login;
mod many;
mod map;
pub mod once;
pub mod open_tx;
mod permit;
pub mod queue;
mod reply;
mod request;
mod run;
mod scan;
mod session;
mod sessions;
mod time;
mod topology;
mod track;
mod tx;
mod tx_local;
mod under_way;
pub mod waits;
mod window;

use std::sync::Arc;

pub use self::failure::Failure;
pub use self::session::Session;
pub use self::sessions::mask as session_mask;
use super::connection::Connection;
use super::listener::Arrival;
use super::node::Node;

/// The cluster that a node alone is.
const CLUSTER: &str = "isogrid";
/// Silence after which either side asks for a sign of life, ms.
const KEEPALIVE_MS: u32 = 15_000;

/// What serves a connection to its end.
pub fn connection(node: &Arc<Node>, arrival: Arrival) -> Connection<Session> {
    let session = Session::new(Arc::clone(node), &arrival.place, arrival.client.clone());
    Connection::new(arrival, session)
}
