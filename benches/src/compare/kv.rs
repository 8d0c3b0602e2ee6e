//! `kv`: gets and sets. The servers take turns, round by round, under the same requests.

use std::time::Duration;

use super::Result;
use super::bars::{Bar, cpu_ratio};
use super::cli::{KvArgs, LoadArgs};
use super::lab::{Lab, progress};
use super::load::{Load, Outcome, empty_histogram};
use super::product::Product;
use super::server::Server;
use super::statistics::{median, minimum};
use super::table::{Cell, Table};
use super::traffic::Traffic;
use super::values::Sizes;

const COLUMNS: [&str; 13] = [
    "load",
    "server",
    "req_per_s",
    "server_busy",
    "p50_us",
    "p99_us",
    "p999_us",
    "cpu_us",
    "cpu_us_min",
    "isogrid_ratio",
    "bar",
    "goal",
    "verdict",
];
/// Requests a batch while loading; large, because nothing is measured then.
const PRELOAD_DEPTH: usize = 64;

/// One kind of load.
#[derive(Debug, Clone, Copy)]
struct Shape {
    depth: usize,
    keys_per_get: usize,
}

/// A server, its connections and its rounds.
struct Lane {
    server: Server,
    load: Load,
    rounds: Vec<Round>,
}

/// One turn of one server.
struct Round {
    cpu_us: f64,
    outcome: Outcome,
}

/// Runs every shape on every server.
pub fn run(lab: &Lab, arguments: &KvArgs) -> Result<Table> {
    let mut lanes = Vec::new();
    for product in lab.products() {
        progress(&format!("kv: loading {} keys into {product}", arguments.load.keys));
        lanes.push(Lane::open(lab, product, arguments)?);
    }
    let mut table = Table::new(title(arguments), &COLUMNS);
    for shape in shapes(arguments) {
        let traffic = shape.traffic(arguments);
        for round in 1..=arguments.load.rounds {
            progress(&format!("kv: {}, round {round} of {}", shape.name(), arguments.load.rounds));
            for lane in &mut lanes {
                lane.round(traffic.clone(), shape.depth, arguments.load.seconds)?;
            }
        }
        report(shape, &lanes, arguments.has_bars() && lab.is_plain(), &mut table);
        lanes.iter_mut().for_each(|lane| lane.rounds.clear());
    }
    Ok(table)
}

fn title(arguments: &KvArgs) -> String {
    let KvArgs { connections, sets, load, .. } = arguments;
    let LoadArgs { keys, value_size, zipf, rounds, seconds, .. } = load;
    format!(
        "kv: {connections} connections, {keys} keys, {value_size} B values, zipf {zipf}, \
         {sets}% sets, {rounds} rounds of {seconds} s"
    )
}

/// Multigets are gets alone: where only sets are asked for there are none.
fn shapes(arguments: &KvArgs) -> Vec<Shape> {
    let single = arguments.depths.iter().map(|&depth| Shape { depth, keys_per_get: 1 });
    let multi = arguments.multiget.iter().map(|&keys| Shape { depth: 1, keys_per_get: keys });
    single.chain(multi.filter(|_| arguments.sets < 100)).collect()
}

impl Shape {
    fn name(self) -> String {
        match self.keys_per_get {
            1 => format!("depth {}", self.depth),
            keys => format!("get of {keys}"),
        }
    }

    fn traffic(self, arguments: &KvArgs) -> Traffic {
        let sets = if self.keys_per_get == 1 { arguments.sets } else { 0 };
        let LoadArgs { keys, zipf, value_size, .. } = arguments.load;
        Traffic::mix(keys, zipf, sets, self.keys_per_get, value_size)
    }
}

impl Lane {
    fn open(lab: &Lab, product: Product, arguments: &KvArgs) -> Result<Self> {
        let server = lab.start(product, arguments.load.limit_mib)?;
        let mut load = Load::connect(server.address, product.protocol(), arguments.connections)?;
        let mut preload =
            Traffic::preload(arguments.load.keys, Sizes::Fixed(arguments.load.value_size));
        let outcome = load.run(&mut preload, PRELOAD_DEPTH, None)?;
        match outcome.refused {
            0 => Ok(Self { server, load, rounds: Vec::new() }),
            _ => Err(format!("{product} refused {} keys", outcome.refused).into()),
        }
    }

    fn round(&mut self, mut traffic: Traffic, depth: usize, seconds: f64) -> Result<()> {
        let time = Duration::from_secs_f64(seconds);
        let before = self.server.cpu_ns()?;
        let outcome = self.load.run(&mut traffic, depth, Some(time))?;
        let cpu_ns = self.server.cpu_ns()? - before;
        if outcome.refused > 0 {
            return Err(format!("{} refused {} sets", self.server.product, outcome.refused).into());
        }
        if outcome.hits != traffic.keys_asked() {
            let (hits, asked) = (outcome.hits, traffic.keys_asked());
            return Err(format!("{} found {hits} of {asked} keys", self.server.product).into());
        }
        let cpu_us = cpu_ns as f64 / outcome.requests as f64 / 1e3;
        self.rounds.push(Round { cpu_us, outcome });
        Ok(())
    }

    fn cpu(&self) -> impl Iterator<Item = f64> + '_ {
        self.rounds.iter().map(|round| round.cpu_us)
    }

    fn throughput(&self) -> Option<f64> {
        let rate = |o: &Outcome| o.requests as f64 / o.elapsed.as_secs_f64();
        median(self.rounds.iter().map(|round| rate(&round.outcome)))
    }

    /// The share of its core that the server used; near 1 it was the bottleneck, else the load.
    fn busy(&self) -> Option<f64> {
        let cpu_s = |round: &Round| round.cpu_us * round.outcome.requests as f64 / 1e6;
        median(self.rounds.iter().map(|r| cpu_s(r) / r.outcome.elapsed.as_secs_f64()))
    }

    /// The latencies of all rounds together.
    fn quantile_us(&self, quantile: f64) -> Option<f64> {
        let mut all = empty_histogram().ok()?;
        for round in &self.rounds {
            all.add(&round.outcome.latency).ok()?;
        }
        Some(all.value_at_quantile(quantile) as f64 / 1e3)
    }
}

fn report(shape: Shape, lanes: &[Lane], has_bars: bool, table: &mut Table) {
    for lane in lanes {
        let product = lane.server.product;
        let ratio = ratio(lanes, lane);
        let bar = ratio.and(cpu_ratio(product, shape.depth, shape.keys_per_get));
        let bar = bar.filter(|_| has_bars);
        let judge = |bar: Bar| ratio.map(|ratio| Cell::Verdict(bar.judge(ratio)));
        table.push([
            shape.name().into(),
            product.to_string().into(),
            Cell::number(lane.throughput(), 0),
            Cell::number(lane.busy(), 2),
            Cell::number(lane.quantile_us(0.5), 1),
            Cell::number(lane.quantile_us(0.99), 1),
            Cell::number(lane.quantile_us(0.999), 1),
            Cell::number(median(lane.cpu()), 3),
            Cell::number(minimum(lane.cpu()), 3),
            Cell::number(ratio, 3),
            Cell::number(bar.map(|bar| bar.bar), 2),
            Cell::number(bar.map(|bar| bar.goal), 2),
            bar.and_then(judge).unwrap_or(Cell::Empty),
        ]);
    }
}

/// Isogrid's CPU over a rival's in the same round, and of those the median.
fn ratio(lanes: &[Lane], rival: &Lane) -> Option<f64> {
    let ours = lanes.iter().find(|lane| lane.server.product == Product::Isogrid)?;
    if rival.server.product == Product::Isogrid {
        return None;
    }
    median(ours.cpu().zip(rival.cpu()).map(|(ours, theirs)| ours / theirs))
}
