//! `isogrid`: arguments to configuration to run to exit code.

use std::process::ExitCode;

/// The allocator that measured best for a cache's mix of sizes.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    isogrid::cli::main(std::env::args_os())
}
