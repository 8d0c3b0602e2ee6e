//! `memory`: bytes an item over its key and value, by the growth of the server's memory.

use std::time::Duration;

use super::Result;
use super::bars::ITEM_OVERHEAD_BYTES;
use super::cli::MemoryArgs;
use super::clock::pause;
use super::lab::{Lab, progress};
use super::load::Load;
use super::product::{MIB, Product};
use super::protocol::KEY_BYTES;
use super::table::{Cell, Table};
use super::traffic::Traffic;
use super::values::Sizes;

const COLUMNS: [&str; 8] = [
    "server",
    "items",
    "rss_before_mib",
    "rss_after_mib",
    "overhead_bytes",
    "bar",
    "goal",
    "verdict",
];
const CONNECTIONS: usize = 8;
const DEPTH: usize = 64;
/// Keys a get when looking whether all items are there.
const SWEEP_KEYS: usize = 50;
/// For what a server does after the last set.
const SETTLE: Duration = Duration::from_millis(500);

/// Fills each server afresh.
pub fn run(lab: &Lab, arguments: &MemoryArgs) -> Result<Table> {
    let MemoryArgs { items, value_size, limit_mib } = arguments;
    let title = format!(
        "memory: {items} items of {KEY_BYTES} B keys and {value_size} B values, limit {limit_mib} MiB"
    );
    let mut table = Table::new(title, &COLUMNS);
    for product in lab.products() {
        progress(&format!("memory: {items} items into {product}"));
        push(&mut table, product, &fill(lab, product, arguments)?, *value_size);
    }
    Ok(table)
}

/// What a server held, and in how much memory.
struct Filled {
    items: u64,
    rss_before: u64,
    rss_after: u64,
}

fn fill(lab: &Lab, product: Product, arguments: &MemoryArgs) -> Result<Filled> {
    let MemoryArgs { items, value_size, limit_mib } = *arguments;
    let server = lab.start(product, limit_mib)?;
    let mut load = Load::connect(server.address, product.protocol(), CONNECTIONS)?;
    pause(SETTLE);
    let rss_before = server.rss_bytes()?;
    load.run(&mut Traffic::preload(items, Sizes::Fixed(value_size)), DEPTH, None)?;
    pause(SETTLE);
    let rss_after = server.rss_bytes()?;
    let mut sweep = Traffic::sweep(items, SWEEP_KEYS, value_size);
    let found = load.run(&mut sweep, 1, None)?.hits;
    if found != sweep.keys_asked() {
        let asked = sweep.keys_asked();
        progress(&format!("{product} holds {found} of {asked}: raise --limit-mib"));
    }
    Ok(Filled { items: found, rss_before, rss_after })
}

fn push(table: &mut Table, product: Product, filled: &Filled, value_size: usize) {
    let grown = filled.rss_after.saturating_sub(filled.rss_before) as f64;
    let overhead = grown / filled.items as f64 - (KEY_BYTES + value_size) as f64;
    let judged = (product == Product::Isogrid).then_some(ITEM_OVERHEAD_BYTES);
    table.push([
        product.to_string().into(),
        Cell::Number(filled.items as f64, 0),
        Cell::Number(filled.rss_before as f64 / MIB as f64, 1),
        Cell::Number(filled.rss_after as f64 / MIB as f64, 1),
        Cell::Number(overhead, 1),
        Cell::number(judged.map(|bar| bar.bar), 0),
        Cell::number(judged.map(|bar| bar.goal), 0),
        judged.map_or(Cell::Empty, |bar| Cell::Verdict(bar.judge(overhead))),
    ]);
}
