//! `churn`: memory over the limit after many sets of mixed sizes, which is what fragmentation
//! and inexact accounting cost.

use std::time::Duration;

use super::Result;
use super::bars::CHURN_RSS_OVER_LIMIT;
use super::cli::ChurnArgs;
use super::clock::pause;
use super::lab::{Lab, progress};
use super::load::{Load, Outcome};
use super::product::{MIB, Product};
use super::table::{Cell, Table};
use super::traffic::Traffic;
use super::values::Sizes;

const COLUMNS: [&str; 10] = [
    "server",
    "sets_per_s",
    "refused",
    "cpu_us",
    "rss_max_mib",
    "rss_end_mib",
    "rss_over_limit",
    "bar",
    "goal",
    "verdict",
];
const CONNECTIONS: usize = 8;
const DEPTH: usize = 32;
/// Memory is looked at between so many parts of the run.
const PARTS: u64 = 20;
/// For what a server does after the last set.
const SETTLE: Duration = Duration::from_millis(500);

/// Churns each server afresh.
pub fn run(lab: &Lab, arguments: &ChurnArgs) -> Result<Table> {
    let ChurnArgs { sets, keys, value_size_min: low, value_size_max: high, limit_mib } = arguments;
    if low > high {
        return Err(format!("no sizes from {low} to {high}").into());
    }
    let title =
        format!("churn: {sets} sets of {low}..{high} B over {keys} keys, limit {limit_mib} MiB");
    let mut table = Table::new(title, &COLUMNS);
    for product in lab.products() {
        progress(&format!("churn: {sets} sets into {product}"));
        push(&mut table, product, &churn(lab, product, arguments)?, *limit_mib);
    }
    Ok(table)
}

/// What a server did with the sets.
struct Churned {
    sets_per_s: f64,
    refused: u64,
    cpu_us: f64,
    rss_max: u64,
    rss_end: u64,
}

fn churn(lab: &Lab, product: Product, arguments: &ChurnArgs) -> Result<Churned> {
    let ChurnArgs { sets, keys, value_size_min: low, value_size_max: high, limit_mib } = *arguments;
    let server = lab.start(product, limit_mib)?;
    let mut load = Load::connect(server.address, product.protocol(), CONNECTIONS)?;
    let (mut rss_max, mut outcomes) = (0, Vec::new());
    for part in 0..PARTS {
        let mut traffic = Traffic::churn(keys, sets / PARTS, Sizes::Spread { low, high }, part);
        outcomes.push(load.run(&mut traffic, DEPTH, None)?);
        rss_max = rss_max.max(server.rss_bytes()?);
    }
    let cpu_ns = server.cpu_ns()?;
    pause(SETTLE);
    let total = |count: fn(&Outcome) -> u64| outcomes.iter().map(count).sum::<u64>();
    let elapsed: Duration = outcomes.iter().map(|outcome| outcome.elapsed).sum();
    let requests = total(|outcome| outcome.requests) as f64;
    Ok(Churned {
        sets_per_s: requests / elapsed.as_secs_f64(),
        refused: total(|outcome| outcome.refused),
        cpu_us: cpu_ns as f64 / requests / 1e3,
        rss_max,
        rss_end: server.rss_bytes()?,
    })
}

fn push(table: &mut Table, product: Product, churned: &Churned, limit_mib: u64) {
    let over = churned.rss_end as f64 / (limit_mib * MIB) as f64;
    let judged = (product == Product::Isogrid).then_some(CHURN_RSS_OVER_LIMIT);
    table.push([
        product.to_string().into(),
        Cell::Number(churned.sets_per_s, 0),
        Cell::Number(churned.refused as f64, 0),
        Cell::Number(churned.cpu_us, 2),
        Cell::Number(churned.rss_max as f64 / MIB as f64, 1),
        Cell::Number(churned.rss_end as f64 / MIB as f64, 1),
        Cell::Number(over, 3),
        Cell::number(judged.map(|bar| bar.bar), 2),
        Cell::number(judged.map(|bar| bar.goal), 2),
        judged.map_or(Cell::Empty, |bar| Cell::Verdict(bar.judge(over))),
    ]);
}
