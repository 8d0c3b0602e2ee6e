//! The Isogrid server as a library, so that tests and benches can start it in-process.
#![forbid(unsafe_code)]

pub mod checker;
pub mod cli;
pub mod cluster;
pub mod colour;
pub mod config;
pub mod security;
pub mod server;
