//! `isogrid bench`: puts load on a server and says what came of it.

mod binary;
mod choose;
pub(super) mod clock;
mod codec;
mod compare;
mod connection;
mod kv;
mod native;
mod picture;
mod report;
mod run;
mod schedule;
mod socket;
mod tally;
mod text;

use std::process::ExitCode;

pub use clock::Clock;

use clap::{Args, Subcommand};

#[derive(Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Gets and sets: how many a second, and how long each takes.
    Kv(Box<kv::KvArgs>),
}

/// Runs `isogrid bench ...`.
pub fn main(args: &BenchArgs) -> ExitCode {
    match &args.command {
        Command::Kv(args) => kv::main(args),
    }
}
