//! `durability`: what it costs to keep sets on disk, beside Redis, and beside a bare loop that
//! writes and syncs. All take turns, round by round, under the same sets.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::Result;
use super::bars::{
    ASYNC_CPU_OVER_NONE, ASYNC_CPU_OVER_REDIS, Bar, SYNC_TIME_OVER_BARE, SYNC_TIME_OVER_REDIS,
};
use super::cli::{DurabilityArgs, LoadArgs};
use super::clock::now;
use super::folder::Folder;
use super::lab::{Lab, progress};
use super::load::Load;
use super::product::Product;
use super::server::Server;
use super::statistics::median;
use super::table::{Cell, Table};
use super::traffic::Traffic;
use super::values::Sizes;

const COLUMNS: [&str; 9] =
    ["load", "keeps", "req_per_s", "cpu_us", "ratio_of", "ratio", "bar", "goal", "verdict"];
/// Requests a batch while loading.
const PRELOAD_DEPTH: usize = 64;
/// Bytes of a set in the bare log beside its value: about what a record of ours has for key,
/// version and frame.
const RECORD_OVERHEAD: usize = 64;

/// A server and how it keeps what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    None,
    Async,
    Sync,
    RedisEverySecond,
    RedisAlways,
    Bare,
}

/// What is compared with a rival's.
#[derive(Debug, Clone, Copy)]
enum Measure {
    Cpu,
    Time,
}

/// A way, and its turns.
struct Lane {
    way: Way,
    turns: Box<dyn Turns>,
    rounds: Vec<Round>,
}

/// One turn.
#[derive(Debug, Clone, Copy)]
struct Round {
    requests: u64,
    elapsed: Duration,
    cpu_ns: u64,
}

/// Something that takes turns: `depth` requests a batch for so long.
trait Turns {
    fn turn(&mut self, traffic: Traffic, depth: usize, time: Duration) -> Result<Round>;
}

/// Runs every depth on every way.
pub fn run(lab: &Lab, arguments: &DurabilityArgs) -> Result<Table> {
    let mut lanes = Vec::new();
    for way in Way::ALL.into_iter().filter(|way| way.takes_part(lab)) {
        progress(&format!("durability: preparing {}", way.name()));
        lanes.push(Lane { way, turns: way.open(lab, arguments)?, rounds: Vec::new() });
    }
    let (connections, load) = (arguments.connections, &arguments.load);
    let LoadArgs { keys, value_size, zipf, rounds, seconds, .. } = *load;
    let mut table = Table::new(
        format!("durability: {connections} connections, {keys} keys, sets of {value_size} B"),
        &COLUMNS,
    );
    table.note("ratio_of: CPU a set, or time a set, of that mode over this one's; < 1 is less");
    for &depth in &arguments.depths {
        let traffic = Traffic::mix(keys, zipf, 100, 1, value_size);
        for round in 1..=rounds {
            progress(&format!("durability: depth {depth}, round {round} of {rounds}"));
            for lane in &mut lanes {
                let time = Duration::from_secs_f64(seconds);
                lane.rounds.push(lane.turns.turn(traffic.clone(), depth, time)?);
            }
        }
        lanes.iter().for_each(|lane| lane.report(depth, &lanes, arguments, &mut table));
        lanes.iter_mut().for_each(|lane| lane.rounds.clear());
    }
    Ok(table)
}

impl Way {
    const ALL: [Self; 6] = [
        Self::None,
        Self::Async,
        Self::RedisEverySecond,
        Self::Sync,
        Self::RedisAlways,
        Self::Bare,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::None => "isogrid none",
            Self::Async => "isogrid async",
            Self::Sync => "isogrid sync",
            Self::RedisEverySecond => "redis everysec",
            Self::RedisAlways => "redis always",
            Self::Bare => "bare log",
        }
    }

    fn server(self) -> Option<(Product, &'static str)> {
        match self {
            Self::None => Some((Product::Isogrid, "")),
            Self::Async => Some((Product::Isogrid, "--data-dir data --persist async")),
            Self::Sync => Some((Product::Isogrid, "--data-dir data --persist sync")),
            Self::RedisEverySecond => {
                Some((Product::Redis, "--appendonly yes --appendfsync everysec"))
            }
            Self::RedisAlways => Some((Product::Redis, "--appendonly yes --appendfsync always")),
            Self::Bare => None,
        }
    }

    fn takes_part(self, lab: &Lab) -> bool {
        self.server().is_none_or(|(product, _)| lab.products().any(|there| there == product))
    }

    fn open(self, lab: &Lab, arguments: &DurabilityArgs) -> Result<Box<dyn Turns>> {
        Ok(match self.server() {
            Some((product, added)) => Box::new(Live::open(lab, product, added, arguments)?),
            None => Box::new(BareLog::open(arguments)?),
        })
    }

    /// Whose measure is held against this one, and the limit where one is promised.
    fn judged(
        self,
        depth: usize,
        arguments: &DurabilityArgs,
    ) -> Option<(Self, Measure, Option<Bar>)> {
        let deep = depth == 32;
        let waiting = depth == 1 && arguments.connections == 64;
        let (ours, measure, bar) = match self {
            Self::None => (Self::Async, Measure::Cpu, Some(ASYNC_CPU_OVER_NONE)),
            Self::RedisEverySecond => {
                (Self::Async, Measure::Cpu, deep.then_some(ASYNC_CPU_OVER_REDIS))
            }
            Self::RedisAlways => {
                (Self::Sync, Measure::Time, waiting.then_some(SYNC_TIME_OVER_REDIS))
            }
            Self::Bare => (Self::Sync, Measure::Time, waiting.then_some(SYNC_TIME_OVER_BARE)),
            Self::Async | Self::Sync => return None,
        };
        Some((ours, measure, bar.filter(|_| arguments.load.value_size == 100)))
    }
}

impl Measure {
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Time => "time",
        }
    }

    /// Nanoseconds a request.
    fn of(self, round: Round) -> f64 {
        let total = match self {
            Self::Cpu => round.cpu_ns as f64,
            Self::Time => round.elapsed.as_nanos() as f64,
        };
        total / round.requests as f64
    }
}

impl Lane {
    fn report(&self, depth: usize, lanes: &[Self], arguments: &DurabilityArgs, table: &mut Table) {
        let judged = self.way.judged(depth, arguments).and_then(|(ours, measure, bar)| {
            let ours = lanes.iter().find(|lane| lane.way == ours)?;
            let pairs = ours.rounds.iter().zip(&self.rounds);
            let ratio = median(pairs.map(|(a, b)| measure.of(*a) / measure.of(*b)))?;
            Some((format!("{} {}", ours.way.name(), measure.name()), ratio, bar))
        });
        let bar = judged.as_ref().and_then(|(_, _, bar)| *bar);
        let ratio = judged.as_ref().map(|(_, ratio, _)| *ratio);
        let rates = self.rounds.iter().map(|r| r.requests as f64 / r.elapsed.as_secs_f64());
        let cpu = self.rounds.iter().map(|round| Measure::Cpu.of(*round) / 1e3);
        table.push([
            format!("depth {depth}").into(),
            self.way.name().into(),
            Cell::number(median(rates), 0),
            Cell::number(median(cpu).filter(|cpu| *cpu > 0.0), 3),
            judged.map_or(Cell::Empty, |(whose, _, _)| whose.into()),
            Cell::number(ratio, 3),
            Cell::number(bar.map(|bar| bar.bar), 2),
            Cell::number(bar.map(|bar| bar.goal), 2),
            bar.zip(ratio).map_or(Cell::Empty, |(bar, r)| Cell::Verdict(bar.judge(r))),
        ]);
    }
}

/// A server and its connections.
struct Live {
    server: Server,
    load: Load,
}

impl Live {
    fn open(lab: &Lab, product: Product, added: &str, arguments: &DurabilityArgs) -> Result<Self> {
        let server = lab.start_adding(product, arguments.load.limit_mib, added)?;
        let mut load = Load::connect(server.address, product.protocol(), arguments.connections)?;
        let mut preload =
            Traffic::preload(arguments.load.keys, Sizes::Fixed(arguments.load.value_size));
        load.run(&mut preload, PRELOAD_DEPTH, None)?;
        Ok(Self { server, load })
    }
}

impl Turns for Live {
    fn turn(&mut self, mut traffic: Traffic, depth: usize, time: Duration) -> Result<Round> {
        let before = self.server.cpu_ns()?;
        let outcome = self.load.run(&mut traffic, depth, Some(time))?;
        let cpu_ns = self.server.cpu_ns()? - before;
        if outcome.refused > 0 {
            return Err(format!("{} refused {} sets", self.server.product, outcome.refused).into());
        }
        Ok(Round { requests: outcome.requests, elapsed: outcome.elapsed, cpu_ns })
    }
}

/// What no server can beat: a file that gets the records of all connections in one write and one
/// sync, again and again.
struct BareLog {
    folder: Folder,
    record: usize,
    connections: usize,
}

impl BareLog {
    fn open(arguments: &DurabilityArgs) -> Result<Self> {
        let record = arguments.load.value_size + RECORD_OVERHEAD;
        Ok(Self { folder: Folder::new()?, record, connections: arguments.connections })
    }
}

impl Turns for BareLog {
    fn turn(&mut self, _: Traffic, depth: usize, time: Duration) -> Result<Round> {
        let file = File::create(self.folder.path().join("bare"))?;
        let records = self.connections * depth;
        let bytes = vec![7; self.record * records];
        let (begin, mut offset, mut requests) = (now(), 0, 0);
        while now() - begin < time {
            file.write_all_at(&bytes, offset)?;
            file.sync_data()?;
            offset += bytes.len() as u64;
            requests += records as u64;
        }
        Ok(Round { requests, elapsed: now() - begin, cpu_ns: 0 })
    }
}
