//! `hit-ratio`: look-aside hit ratios of live servers on traces under the same memory limit,
//! beside what the same policies reach without overhead, a plain LRU, and Belady's MIN.
//!
//! Sizes belong to keys for ever ([`crate::hit_ratio::value_size`]: 256..4095 B, log-uniform)
//! times a scale. The limit is a share of the footprint in whole MiB, the same for all; what a
//! server adds to an item is its own loss. `grown_over_limit` tells who took more than was given:
//! nobody is judged against a rival that did.

use std::path::Path;

use isogrid_engine::eviction::PolicyKind;

use super::Result;
use super::bars::Verdict;
use super::cli::HitRatioArgs;
use super::lab::{Lab, progress};
use super::look_aside::{LookAside, value_bytes};
use super::product::{MIB, Product};
use super::table::{Cell, Table};
use super::values::VALUE_BYTES_MAX;
use crate::hit_ratio::{Trace, belady, ideal, lru};

const COLUMNS: [&str; 13] = [
    "trace",
    "scale",
    "share",
    "limit_mib",
    "server",
    "policy",
    "live",
    "ideal",
    "lru",
    "belady",
    "over_memcached",
    "grown_over_limit",
    "verdict",
];
/// Isogrid must hit so much more often than memcached.
const OVER_MEMCACHED_BAR: f64 = 0.01;
/// A rival that grew beyond so much of its limit played another game.
const GROWN_OVER_LIMIT_MAX: f64 = 1.25;
/// Values are scaled at most so far: 4095 B become less than [`VALUE_BYTES_MAX`].
const SCALE_MAX: u32 = 64;

/// A live run.
struct Run {
    product: Product,
    policy: Option<PolicyKind>,
    hit_ratio: f64,
    grown_bytes: u64,
}

/// A trace under a limit.
struct Case<'a> {
    trace: &'a Trace,
    scale: u32,
    share: u64,
    limit_mib: u64,
}

/// Plays every trace under every limit.
pub fn run(lab: &Lab, arguments: &HitRatioArgs) -> Result<Table> {
    let title = format!(
        "hit-ratio: look-aside, gets together {}, the first policy is judged",
        arguments.batch
    );
    let mut table = Table::new(title, &COLUMNS);
    for path in &arguments.traces {
        for trace in read(path)? {
            let mut trace = cut(trace, arguments.requests);
            let scale = arguments.scale.unwrap_or_else(|| scale_for(&trace, arguments));
            enlarge(&mut trace, scale)?;
            for &share in &arguments.shares {
                let limit_mib = (trace.footprint() / share.max(1) + MIB / 2) / MIB;
                let case = Case { trace: &trace, scale, share, limit_mib };
                compare(lab, &case, arguments, &mut table)?;
            }
        }
    }
    Ok(table)
}

fn read(path: &Path) -> Result<Vec<Trace>> {
    let named = |error| format!("{}: {error}", path.display());
    match path.is_dir() {
        true => Ok(Trace::read_dir(path).map_err(named)?),
        false => Ok(vec![Trace::read(path).map_err(named)?]),
    }
}

/// The first accesses of a trace, and only the objects in them.
fn cut(trace: Trace, requests: usize) -> Trace {
    if trace.accesses.len() <= requests {
        return trace;
    }
    let first = trace.accesses.iter().take(requests);
    let keys = first.filter_map(|&id| trace.objects.get(id as usize).map(|object| object.key));
    Trace::new(&trace.name, keys)
}

/// The power of two that brings the smallest limit of a trace to the smallest worth comparing.
fn scale_for(trace: &Trace, arguments: &HitRatioArgs) -> u32 {
    let share_max = arguments.shares.iter().copied().max().unwrap_or(1).max(1);
    let limit_mib = |scale: u32| trace.footprint() * u64::from(scale) / share_max / MIB;
    let scales = std::iter::successors(Some(1), |scale| Some(scale * 2));
    let mut scales = scales.take_while(|&scale| scale <= SCALE_MAX);
    scales.find(|&scale| limit_mib(scale) >= arguments.limit_min_mib).unwrap_or(SCALE_MAX)
}

/// Multiplies the size of every object.
fn enlarge(trace: &mut Trace, scale: u32) -> Result<()> {
    for object in &mut trace.objects {
        object.size = object.size.saturating_mul(scale);
    }
    let ids = 0..u32::try_from(trace.objects.len())?;
    match ids.map(|id| value_bytes(trace, id)).max() {
        Some(size) if size > VALUE_BYTES_MAX => {
            Err(format!("--scale makes values of {size} B; at most {VALUE_BYTES_MAX}").into())
        }
        _ => Ok(()),
    }
}

/// One trace under one limit on every server.
fn compare(lab: &Lab, case: &Case<'_>, arguments: &HitRatioArgs, table: &mut Table) -> Result<()> {
    if case.limit_mib < arguments.limit_min_mib {
        case.push_not_applicable(table);
        return Ok(());
    }
    let mut runs = Vec::new();
    for product in lab.products() {
        let policies: Vec<_> = match product {
            Product::Isogrid => arguments.policies.iter().copied().map(Some).collect(),
            Product::Memcached | Product::Redis => vec![None],
        };
        for policy in policies {
            runs.push(case.play(lab, product, policy, arguments.batch)?);
        }
    }
    case.push(&runs, arguments.policies.first().copied(), table);
    Ok(())
}

impl Case<'_> {
    fn play(
        &self,
        lab: &Lab,
        product: Product,
        policy: Option<PolicyKind>,
        batch: usize,
    ) -> Result<Run> {
        let name = policy.map(|policy| policy.to_string());
        let shown = name.as_deref().unwrap_or_default();
        progress(&format!("hit-ratio: {} 1/{} on {product} {shown}", self.trace.name, self.share));
        let server = lab.start_with(product, self.limit_mib, name.as_deref())?;
        let before = server.rss_bytes()?;
        let mut client = LookAside::new(server.greet()?, product.protocol())?;
        let hits = client.play(self.trace, batch)?;
        let hit_ratio = hits as f64 / self.trace.accesses.len().max(1) as f64;
        let grown_bytes = server.rss_bytes()?.saturating_sub(before);
        Ok(Run { product, policy, hit_ratio, grown_bytes })
    }

    fn push(&self, runs: &[Run], judged: Option<PolicyKind>, table: &mut Table) {
        let capacity = self.limit_mib * MIB;
        let (lru, belady) = (lru(self.trace, capacity), belady(self.trace, capacity));
        let memcached = runs.iter().find(|run| run.product == Product::Memcached);
        let grown = |run: &Run| run.grown_bytes as f64 / capacity as f64;
        let fair = memcached.is_some_and(|run| grown(run) <= GROWN_OVER_LIMIT_MAX);
        for run in runs {
            let ours = run.policy.is_some();
            let over = memcached.filter(|_| ours).map(|other| run.hit_ratio - other.hit_ratio);
            let ideal = run.policy.map(|policy| ideal(policy, self.trace, capacity));
            let verdict = over.filter(|_| fair && run.policy == judged).map(judge);
            table.push([
                self.trace.name.as_str().into(),
                Cell::Number(self.scale.into(), 0),
                format!("1/{}", self.share).into(),
                Cell::Number(self.limit_mib as f64, 0),
                run.product.to_string().into(),
                run.policy.map_or(Cell::Empty, |policy| policy.to_string().into()),
                Cell::Number(run.hit_ratio, 4),
                Cell::number(ideal, 4),
                Cell::Number(lru, 4),
                Cell::Number(belady, 4),
                Cell::number(over, 4),
                Cell::Number(grown(run), 2),
                verdict.map_or(Cell::Empty, Cell::Verdict),
            ]);
        }
    }

    /// The limit is too small to compare under, however large the values.
    fn push_not_applicable(&self, table: &mut Table) {
        let mut row = [const { Cell::Empty }; COLUMNS.len()];
        let known: [Cell; 5] = [
            self.trace.name.as_str().into(),
            Cell::Number(self.scale.into(), 0),
            format!("1/{}", self.share).into(),
            Cell::Number(self.limit_mib as f64, 0),
            "n/a: limit too small".into(),
        ];
        for (cell, known) in row.iter_mut().zip(known) {
            *cell = known;
        }
        table.push(row);
    }
}

fn judge(over_memcached: f64) -> Verdict {
    if over_memcached >= OVER_MEMCACHED_BAR { Verdict::Holds } else { Verdict::Missed }
}
