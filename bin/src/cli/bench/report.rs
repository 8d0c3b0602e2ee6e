//! What is said of a run.

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use super::connection::Protocol;
use super::picture::{picture, span};
use super::run::{Outcome, Plan};
use super::tally::Tally;
use crate::cli::table::table as columns;

/// The quantiles that are told, and their keys in JSON.
const QUANTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p999")];
/// A generator whose thread is busier than this measures itself.
const BUSY_MAX: f64 = 0.9;

impl Outcome {
    /// Whether all that was to be sent was sent, and answered without errors.
    pub fn is_clean(&self) -> bool {
        [&self.fill, &self.warmup, &self.measured].iter().all(|tally| tally.is_clean())
    }
}

/// For people.
pub fn table(plan: &Plan, outcome: &Outcome) -> String {
    let tally = &outcome.measured;
    let Plan { connections, depth, seed, .. } = plan;
    let load = plan.rate.map_or("closed loop".to_owned(), |rate| format!("{rate} a second"));
    let mut text = format!(
        "{} at {}: {load}, {connections} connections, depth {depth}, seed {seed}\n\n",
        protocol(plan),
        plan.target.server
    );
    let seconds = tally.elapsed.as_secs_f64();
    text += &format!("requests  {} in {seconds:.2} s: ", tally.done());
    text += &format!("{:.0} a second\n", per_second(tally));
    text += &format!("gets      {}: {} hits, {} misses\n", tally.gets, tally.hits, tally.misses);
    text += &format!("sets      {}: {} stored\n", tally.sets, tally.stored);
    for (kind, whys) in
        [("FAILED", &tally.failed), ("UNKNOWN", &tally.unknown), ("lost", &tally.lost)]
    {
        whys.iter().for_each(|(why, count)| text += &format!("{kind:<9} {count}: {why}\n"));
    }
    if plan.rate.is_some() {
        let late = |quantile| span(tally.late.value_at_quantile(quantile));
        let (p50, p99, max) = (late(0.5), late(0.99), span(tally.late.max()));
        text += &format!("generator late by {p50} (p50), {p99} (p99), {max} (max); ");
        text += &format!("{} waited for answers, {} never sent\n", tally.held, tally.unsent);
    }
    text += &format!("generator {:.0}% of a core in its busiest thread\n\n", outcome.busy * 100.0);
    let mut rows = vec![["latency", "p50", "p90", "p99", "p99.9", "max"].map(str::to_owned)];
    let all = tally.latency();
    for (name, latency) in [("all", &all), ("get", &tally.get_latency), ("set", &tally.set_latency)]
    {
        if !latency.is_empty() {
            let [a, b, c, d] = QUANTILES.map(|(q, _)| span(latency.value_at_quantile(q)));
            rows.push([name.to_owned(), a, b, c, d, span(latency.max())]);
        }
    }
    text + &columns(&rows) + "\n" + &picture(&all)
}

/// One document, with keys that stay. Latencies are in microseconds.
pub fn json(plan: &Plan, outcome: &Outcome) -> Value {
    let tally = &outcome.measured;
    let sent = |tally: &Tally| json!({ "gets": tally.gets, "sets": tally.sets });
    let Tally { gets, sets, unsent, .. } = &outcome.warmup;
    let warmup = json!({ "gets": gets, "sets": sets, "unsent": unsent });
    json!({
        "protocol": protocol(plan),
        "server": plan.target.server,
        "loop": if plan.rate.is_some() { "open" } else { "closed" },
        "rate": plan.rate,
        "connections": plan.connections,
        "depth": plan.depth,
        "threads": plan.threads,
        "keys": plan.traffic.keys,
        "zipf": plan.traffic.zipf,
        "ratio": [plan.traffic.ratio.0, plan.traffic.ratio.1],
        "key_size": plan.shape.key_len,
        "value_size": [plan.traffic.value_len.0, plan.traffic.value_len.1],
        "seed": plan.seed,
        "fill": sent(&outcome.fill),
        "warmup": warmup,
        "seconds": tally.elapsed.as_secs_f64(),
        "requests_per_second": per_second(tally),
        "gets": tally.gets,
        "sets": tally.sets,
        "hits": tally.hits,
        "misses": tally.misses,
        "stored": tally.stored,
        "failed": tally.failed,
        "unknown": tally.unknown,
        "lost_connections": tally.lost,
        "latency_us": {
            "all": quantiles(&tally.latency()),
            "get": quantiles(&tally.get_latency),
            "set": quantiles(&tally.set_latency),
        },
        "generator": {
            "busy": outcome.busy,
            "rate_kept": plan.rate.map(|_| tally.unsent == 0),
            "unsent": tally.unsent,
            "held": tally.held,
            "late_us": plan.rate.map(|_| quantiles(&tally.late)),
        },
        "clean": outcome.is_clean(),
    })
}

/// What a reader of the figures should know.
pub fn warnings(plan: &Plan, outcome: &Outcome) -> Vec<String> {
    let Outcome { fill, warmup, measured, busy } = outcome;
    let mut all = Vec::new();
    if let (Some(rate), 1..) = (plan.rate, measured.unsent) {
        all.push(format!(
            "the rate of {rate} a second was not kept: {} requests were due and never sent, and \
             the latencies leave them out. Where the generator is late it wants more --threads, \
             else the server cannot do more",
            measured.unsent
        ));
    }
    if *busy > BUSY_MAX {
        all.push(
            "the generator was as busy as it can be: part of what is measured is its own; try \
             more --threads"
                .to_owned(),
        );
    }
    for (phase, tally) in [("filling", fill), ("warming up", warmup)] {
        let whys = [&tally.failed, &tally.unknown, &tally.lost];
        let mut whys: Vec<_> = whys.into_iter().flat_map(|whys| whys.keys()).cloned().collect();
        if tally.unsent > 0 {
            whys.push(format!("{} requests were due and never sent", tally.unsent));
        }
        if !whys.is_empty() {
            all.push(format!("errors while {phase}: {}", whys.join(", ")));
        }
    }
    all
}

fn protocol(plan: &Plan) -> &'static str {
    match plan.target.protocol {
        Protocol::Native => "native",
        Protocol::Memcached => "memcached",
        Protocol::MemcachedMeta => "memcached-meta",
        Protocol::MemcachedBinary => "memcached-binary",
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn per_second(tally: &Tally) -> f64 {
    tally.done() as f64 / tally.elapsed.as_secs_f64().max(1e-9)
}

#[expect(clippy::cast_precision_loss, reason = "ten minutes in nanoseconds are exact")]
fn quantiles(histogram: &Histogram<u64>) -> Value {
    let micros = |nanos: u64| nanos as f64 / 1e3;
    let quantile = |(quantile, name): (f64, &str)| {
        (name.to_owned(), micros(histogram.value_at_quantile(quantile)).into())
    };
    let mut all: Map<String, Value> = QUANTILES.into_iter().map(quantile).collect();
    all.insert("max".to_owned(), micros(histogram.max()).into());
    all.insert("count".to_owned(), histogram.len().into());
    all.into()
}
