//! `start`: time from start to the first answer, memory when idle and with idle connections.

use std::time::Duration;

use super::Result;
use super::bars::{Bar, IDLE_RSS_MIB, START_MS};
use super::cli::StartArgs;
use super::clock::pause;
use super::lab::{Lab, progress};
use super::product::{MIB, Product};
use super::server::Server;
use super::statistics::{median, minimum};
use super::table::{Cell, Table};

const COLUMNS: [&str; 8] = [
    "server",
    "start_ms",
    "start_ms_min",
    "start_verdict",
    "idle_rss_mib",
    "idle_verdict",
    "connected_rss_mib",
    "kib_per_connection",
];
const LIMIT_MIB: u64 = 64;
/// Until a server that was just started has done what it does then.
const SETTLE: Duration = Duration::from_millis(300);

/// One start of one server.
struct Started {
    start_ms: f64,
    idle_mib: f64,
    connected_mib: f64,
}

/// Starts each server several times, taking turns.
pub fn run(lab: &Lab, arguments: &StartArgs) -> Result<Table> {
    let StartArgs { rounds, connections } = *arguments;
    let mut lanes: Vec<(Product, Vec<Started>)> = lab.products().map(|p| (p, vec![])).collect();
    for round in 1..=rounds {
        progress(&format!("start: round {round} of {rounds}"));
        for (product, starts) in &mut lanes {
            starts.push(measure(&lab.start(*product, LIMIT_MIB)?, connections)?);
        }
    }
    let title = format!(
        "start: {rounds} starts, {connections} idle connections; bars {} ms and {} MiB",
        START_MS.bar, IDLE_RSS_MIB.bar
    );
    let mut table = Table::new(title, &COLUMNS);
    for (product, starts) in &lanes {
        push(&mut table, *product, starts, connections);
    }
    Ok(table)
}

fn measure(server: &Server, connections: usize) -> Result<Started> {
    pause(SETTLE);
    let idle = server.rss_bytes()?;
    let open: Vec<_> = (0..connections).map(|_| server.greet()).collect::<Result<_>>()?;
    pause(SETTLE);
    let connected = server.rss_bytes()?;
    drop(open);
    Ok(Started {
        start_ms: server.start_time.as_secs_f64() * 1e3,
        idle_mib: idle as f64 / MIB as f64,
        connected_mib: connected as f64 / MIB as f64,
    })
}

fn push(table: &mut Table, product: Product, starts: &[Started], connections: usize) {
    let of = |field: fn(&Started) -> f64| median(starts.iter().map(field));
    let start_ms = of(|start| start.start_ms);
    let (idle_mib, connected_mib) = (of(|start| start.idle_mib), of(|start| start.connected_mib));
    let judge = |bar: Bar, measure: Option<f64>| match (product, measure) {
        (Product::Isogrid, Some(measure)) => Cell::Verdict(bar.judge(measure)),
        _ => Cell::Empty,
    };
    let grown = connected_mib.zip(idle_mib).map(|(connected, idle)| connected - idle);
    table.push([
        product.to_string().into(),
        Cell::number(start_ms, 1),
        Cell::number(minimum(starts.iter().map(|start| start.start_ms)), 1),
        judge(START_MS, start_ms),
        Cell::number(idle_mib, 1),
        judge(IDLE_RSS_MIB, idle_mib),
        Cell::number(connected_mib, 1),
        Cell::number(grown.map(|mib| mib * 1024.0 / connections as f64), 1),
    ]);
}
