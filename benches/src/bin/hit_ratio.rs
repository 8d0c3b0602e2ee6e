//! Prints the hit ratios of the policies on traces: `hit_ratio --traces DIR`.

use std::{io, path::PathBuf};

use clap::Parser;
use isogrid_benches::hit_ratio::{Trace, belady, ideal_split, lru};
use isogrid_engine::eviction::PolicyKind;

/// Simulates a look-aside cache on traces of keys and prints the hit ratio of each policy.
#[derive(Debug, Parser)]
struct Args {
    /// Directory of traces: `.txt` or `.txt.xz`, one decimal key a line.
    #[arg(long)]
    traces: PathBuf,
    /// Capacities: one in so many bytes of the trace's footprint.
    #[arg(long, value_delimiter = ',', default_value = "4,16")]
    share: Vec<u64>,
    /// Policies [default: all that evict].
    #[arg(long, value_delimiter = ',')]
    policy: Vec<PolicyKind>,
    /// Instances over which keys and capacity are spread.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    segments: Vec<u64>,
}

fn main() -> io::Result<()> {
    let mut args = Args::parse();
    if args.policy.is_empty() {
        args.policy = PolicyKind::ALL.into_iter().filter(|p| *p != PolicyKind::None).collect();
    }
    head(&args);
    for trace in Trace::read_dir(&args.traces)? {
        for share in &args.share {
            for segments in &args.segments {
                row(&args, &trace, *share, *segments);
            }
        }
    }
    Ok(())
}

fn head(args: &Args) {
    print!("{:<10} {:>8} {:>8} {:>7} {:>7}", "trace", "share", "segments", "belady", "lru-ref");
    for policy in &args.policy {
        print!(" {policy:>9}");
    }
    println!();
}

fn row(args: &Args, trace: &Trace, share: u64, segments: u64) {
    let capacity = trace.footprint() / share.max(1);
    print!("{:<10} {:>8} {segments:>8}", trace.name, format!("1/{share}"));
    print!(" {:>7.4} {:>7.4}", belady(trace, capacity), lru(trace, capacity));
    for policy in &args.policy {
        print!(" {:>9.4}", ideal_split(*policy, trace, capacity, segments));
    }
    println!();
}
