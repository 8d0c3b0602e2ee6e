//! `compare`: Isogrid beside memcached and Redis on this machine; `compare --help` teaches it.

use std::process::ExitCode;

use clap::Parser;
use isogrid_benches::compare::{cli::Cli, run};

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}
