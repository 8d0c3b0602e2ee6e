//! Two ways to ask one server of ours, which take turns under the same requests: what the second
//! costs over the first.

use std::time::Duration;

use super::Result;
use super::bars::Bar;
use super::cli::{KvArgs, LoadArgs};
use super::lab::progress;
use super::load::Load;
use super::server::Server;
use super::statistics::median;
use super::table::{Cell, Table};
use super::traffic::Traffic;
use super::values::Sizes;

/// Requests a batch while loading.
const PRELOAD_DEPTH: usize = 64;

/// The two, and what is said of them.
pub struct Pair {
    /// The scenario.
    pub name: &'static str,
    /// The table's columns: the load, the CPU of the first and of the second in us, their ratio,
    /// the bar, the goal and the verdict.
    pub columns: [&'static str; 7],
    /// The server of both.
    pub server: Server,
    /// The connections of the first.
    pub first: Load,
    /// Those of the second.
    pub second: Load,
    /// What is promised of the ratio at a depth.
    pub bar: fn(usize) -> Option<Bar>,
}

impl Pair {
    /// Runs every depth over both.
    pub fn run(&mut self, arguments: &KvArgs) -> Result<Table> {
        let LoadArgs { keys, zipf, value_size, rounds, seconds, .. } = arguments.load;
        let mut preload = Traffic::preload(keys, Sizes::Fixed(value_size));
        self.first.run(&mut preload, PRELOAD_DEPTH, None)?;
        let (name, connections) = (self.name, arguments.connections);
        let title =
            format!("{name}: {connections} connections, {keys} keys, {value_size} B values");
        let mut table = Table::new(title, &self.columns);
        for &depth in &arguments.depths {
            let traffic = Traffic::mix(keys, zipf, arguments.sets, 1, value_size);
            let time = Duration::from_secs_f64(seconds);
            let mut costs = Vec::new();
            for round in 1..=rounds {
                progress(&format!("{name}: depth {depth}, round {round} of {rounds}"));
                costs.push(self.round(&traffic, depth, time)?);
            }
            let bar = (self.bar)(depth).filter(|_| arguments.has_bars());
            report(depth, &costs, bar, &mut table);
        }
        Ok(table)
    }

    fn round(&mut self, traffic: &Traffic, depth: usize, time: Duration) -> Result<(f64, f64)> {
        let cpu = |load: &mut Load| cpu_us(&self.server, load, traffic.clone(), depth, time);
        Ok((cpu(&mut self.first)?, cpu(&mut self.second)?))
    }
}

/// Server CPU per request of one turn.
fn cpu_us(
    server: &Server,
    load: &mut Load,
    mut traffic: Traffic,
    depth: usize,
    time: Duration,
) -> Result<f64> {
    let before = server.cpu_ns()?;
    let outcome = load.run(&mut traffic, depth, Some(time))?;
    Ok((server.cpu_ns()? - before) as f64 / outcome.requests as f64 / 1e3)
}

fn report(depth: usize, costs: &[(f64, f64)], bar: Option<Bar>, table: &mut Table) {
    let ratio = median(costs.iter().map(|(first, second)| second / first));
    let verdict = bar.zip(ratio).map(|(bar, ratio)| Cell::Verdict(bar.judge(ratio)));
    table.push([
        format!("depth {depth}").into(),
        Cell::number(median(costs.iter().map(|cost| cost.0)), 3),
        Cell::number(median(costs.iter().map(|cost| cost.1)), 3),
        Cell::number(ratio, 3),
        Cell::number(bar.map(|bar| bar.bar), 2),
        Cell::number(bar.map(|bar| bar.goal), 2),
        verdict.unwrap_or(Cell::Empty),
    ]);
}
