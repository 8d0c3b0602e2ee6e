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
    /// Besides the policies alone, tables of the engine that are limited to the same bytes; the
    /// policies alone when each entry takes as many bytes as in the table (`charged`); and how many
    /// that is over key and value (`bytes`).
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
                rows(&args, &drawings, *share, *segments)?;
            }
        }
    }
    Ok(())
}

fn head(args: &Args) {
    print!("{:<10} {:>8} {:>8} {:<7}", "trace", "share", "segments", "what");
    print!(" {:>7} {:>7}", "belady", "lru-ref");
    for policy in &args.policy {
        print!(" {policy:>9}");
    }
    println!();
}

/// What a policy comes to.
#[derive(Clone, Copy)]
struct Figures {
    alone: f64,
    charged: f64,
    table: f64,
    bytes: f64,
}

fn rows(args: &Args, traces: &[Trace], share: u64, segments: u32) -> Result<()> {
    let capacity = |trace: &Trace| trace.footprint() / share.max(1);
    let name = traces.first().map_or("", |trace| &trace.name);
    let references = [belady, lru].map(|of| mean(traces, |trace| of(trace, capacity(trace))));
    let measure = |policy| -> Result<Vec<Figures>> {
        traces.iter().map(|t| figures(args, policy, t, capacity(t), segments)).collect()
    };
    let measured: Vec<_> = args.policy.iter().copied().map(measure).collect::<Result<_>>()?;
    let row = |what, of: fn(&Figures) -> f64| {
        print!("{name:<10} {:>8} {segments:>8} {what:<7}", format!("1/{share}"));
        print!(" {:>7.4} {:>7.4}", references[0], references[1]);
        measured.iter().for_each(|figures| print!(" {:>9.4}", mean(figures, of)));
        println!();
    };
    row("policy", |figures| figures.alone);
    if args.tables {
        row("charged", |figures| figures.charged);
        row("table", |figures| figures.table);
        row("bytes", |figures| figures.bytes);
    }
    Ok(())
}

fn figures(
    args: &Args,
    policy: PolicyKind,
    trace: &Trace,
    capacity: u64,
    segments: u32,
) -> Result<Figures> {
    let simulated = |trace: &Trace, capacity| ideal_split(policy, trace, capacity, segments.into());
    let alone = simulated(trace, capacity);
    if !args.tables {
        return Ok(Figures { alone, charged: 0.0, table: 0.0, bytes: 0.0 });
    }
    let played = in_table(policy, trace, capacity, segments)?;
    let charged = charged(trace, played.structures)?;
    let beside = charged.footprint() - trace.footprint();
    Ok(Figures {
        alone,
        charged: simulated(&charged, capacity.saturating_sub(played.garbage)),
        table: played.hit_ratio,
        bytes: beside as f64 / trace.objects.len().max(1) as f64,
    })
}

fn mean<T>(of: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    of.iter().map(figure).sum::<f64>() / of.len().max(1) as f64
}
