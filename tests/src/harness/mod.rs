//! Real processes and real sockets: servers, raw clients, and what the kernel says of them.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and it waits for real processes on the real clock"
)]

mod binary;
mod client;
mod http;
mod mount;
pub mod native;
mod packages;
mod packet;
mod process;
pub mod script;
mod server;
pub mod tls;
mod tool;
mod users;

pub use binary::{example, isogrid};
pub use client::Client;
pub use http::{Answer, http_request};
pub use mount::{Mount, image};
pub use native::Native;
pub use packages::{must_work, node_with, python_with, works};
pub use packet::{HEADER_LEN, Packet, magic, opcode, request};
pub use process::{open_files, raise_open_files, resident_kib, run, send_signal};
pub use server::{Server, StartError, temporary};
pub use tool::{fail_syncs, has};
pub use users::Users;

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `ready` again and again until it says yes; panics with `what` when it never does.
pub fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !ready() {
        assert!(begin.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
