//! GNP/1 as a real server speaks it: every operation, and what it makes of bad input.
#![expect(clippy::indexing_slicing, reason = "a test: what is out of bounds fails it")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a failing test may panic")]

#[path = "native/abuse.rs"]
mod abuse;
#[path = "native/durability.rs"]
mod durability;
#[path = "native/figures.rs"]
mod figures;
#[path = "native/flow.rs"]
mod flow;
#[path = "native/overflow.rs"]
mod overflow;
#[path = "native/runs.rs"]
mod runs;
#[path = "native/script.rs"]
mod script;
#[path = "native/streams.rs"]
mod streams;

use isogrid_tests::harness::Server;

/// A server that speaks the native protocol.
fn server(args: &[&str]) -> Server {
    Server::isogrid(&[&["--native", "127.0.0.1:0"], args].concat())
}
