//! Prints the hit ratios of the policies on traces: `hit_ratio --traces DIR`.

use std::{error::Error, path::PathBuf};

use clap::Parser;
use isogrid_benches::hit_ratio::{Trace, belady, ideal_split, in_table, lru};
use isogrid_engine::eviction::PolicyKind;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

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
    segments: Vec<u32>,
    /// Besides the policies alone, tables of the engine that are limited to the same bytes.
    #[arg(long)]
    tables: bool,
    /// Multiplies the values' sizes; a table of few bytes is mostly overhead.
    #[arg(long, default_value_t = 1)]
    scale: u32,
    /// Prints the mean over so many drawings of sizes and hashes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
}

fn main() -> Result<()> {
    let mut args = Args::parse();
    if args.policy.is_empty() {
        args.policy = PolicyKind::ALL.into_iter().filter(|p| *p != PolicyKind::None).collect();
    }
    head(&args);
    for trace in Trace::read_dir(&args.traces)? {
        let drawings: Vec<Trace> =
            (0..args.seeds).map(|seed| trace.clone().varied(seed.into(), args.scale)).collect();
        for share in &args.share {
            for segments in &args.segments {
                row(&args, &drawings, *share, *segments, false)?;
                if args.tables {
                    row(&args, &drawings, *share, *segments, true)?;
                }
            }
        }
    }
    Ok(())
}

fn head(args: &Args) {
    print!("{:<10} {:>8} {:>8} {:<6}", "trace", "share", "segments", "what");
    print!(" {:>7} {:>7}", "belady", "lru-ref");
    for policy in &args.policy {
        print!(" {policy:>9}");
    }
    println!();
}

fn row(args: &Args, traces: &[Trace], share: u64, segments: u32, tables: bool) -> Result<()> {
    let capacity = |trace: &Trace| trace.footprint() / share.max(1);
    let name = traces.first().map_or("", |trace| &trace.name);
    let what = if tables { "table" } else { "policy" };
    print!("{name:<10} {:>8} {segments:>8} {what:<6}", format!("1/{share}"));
    print!(" {:>7.4}", mean(traces, |trace| Ok(belady(trace, capacity(trace))))?);
    print!(" {:>7.4}", mean(traces, |trace| Ok(lru(trace, capacity(trace))))?);
    for policy in &args.policy {
        let hit_ratio = mean(traces, |trace| match tables {
            true => in_table(*policy, trace, capacity(trace), segments),
            false => Ok(ideal_split(*policy, trace, capacity(trace), segments.into())),
        })?;
        print!(" {hit_ratio:>9.4}");
    }
    println!();
    Ok(())
}

fn mean(traces: &[Trace], of: impl Fn(&Trace) -> Result<f64>) -> Result<f64> {
    let sum = traces.iter().map(of).sum::<Result<f64>>()?;
    Ok(sum / traces.len().max(1) as f64)
}
