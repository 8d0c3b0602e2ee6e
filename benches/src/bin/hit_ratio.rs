//! Prints the hit ratios of the policies on traces: `hit_ratio --traces DIR`.

use std::{error::Error, path::PathBuf};

use clap::Parser;
use isogrid_benches::hit_ratio::{Trace, belady, charged, ideal_split, in_table, lru};
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
                row(&args, &drawings, *share, *segments)?;
            }
        }
    }
    Ok(())
}

fn head(_: &Args) {
    println!("trace share segments policy alone charged -garbage table seeds.. | structures garbage%");
}

fn row(args: &Args, traces: &[Trace], share: u64, segments: u32) -> Result<()> {
    let capacity = |trace: &Trace| trace.footprint() / share.max(1);
    let name = traces.first().map_or("", |trace| &trace.name);
    for policy in &args.policy {
        let (mut a, mut b, mut c, mut t, mut st, mut g) = (0., 0., 0., 0., 0, 0.);
        for (n, trace) in traces.iter().enumerate() {
            let cap = capacity(trace);
            a += ideal_split(*policy, trace, cap, segments.into());
            if args.tables {
            let played = in_table(*policy, trace, cap, segments, n as u64 + 1)?;
            let ch = charged(trace, played.structures)?;
            b += ideal_split(*policy, &ch, cap, segments.into());
            c += ideal_split(*policy, &ch, cap - played.garbage, segments.into());
            t += played.hit_ratio;
            st += played.structures;
            g += played.garbage as f64 / cap as f64;
            }
        }
        let n = traces.len() as f64;
        println!("{name:<9} 1/{share:<3} {segments:>3} {policy:<10} {:.4} {:.4} {:.4} {:.4} | {} {:.4}", a / n, b / n, c / n, t / n, st / traces.len() as u32, g / n);
    }
    Ok(())
}
