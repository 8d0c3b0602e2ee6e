//! What the queues say.

use isogrid_grid::structure::queue::QueueStats;

use super::family::{Number, Sample, by};
use super::scrape::Scrape;
use crate::server::queues;

/// One number of each queue.
pub fn of_all(scrape: &Scrape, number: impl Fn(&QueueStats) -> u64) -> Vec<Sample> {
    by(queues::all(&scrape.node).into_iter().map(|(name, stats)| (name, number(&stats))))
}

/// Messages by how they are.
pub fn messages(scrape: &Scrape) -> Vec<Sample> {
    split(scrape, |stats| {
        let QueueStats { ready, delayed, in_flight, dead, .. } = *stats;
        vec![("ready", ready), ("delayed", delayed), ("in_flight", in_flight), ("dead", dead)]
    })
}

/// Messages that came.
pub fn published(scrape: &Scrape) -> Vec<Sample> {
    split(scrape, |QueueStats { went, .. }| {
        let (published, refused) = (("published", went.published), ("refused", went.refused));
        vec![published, ("duplicate", went.duplicates), refused]
    })
}

/// Deliveries.
pub fn delivered(scrape: &Scrape) -> Vec<Sample> {
    split(scrape, |QueueStats { went, .. }| {
        let first = went.delivered.saturating_sub(went.redelivered);
        vec![("first", first), ("again", went.redelivered)]
    })
}

/// How deliveries and messages ended.
pub fn settled(scrape: &Scrape) -> Vec<Sample> {
    split(scrape, |QueueStats { went, .. }| {
        let (acked, nacked) = (("acked", went.acked), ("nacked", went.nacked));
        let (late, expired) = (("timed_out", went.timed_out), ("expired", went.expired));
        let (died, redriven) = (("died", went.died), ("redriven", went.redriven));
        vec![acked, nacked, late, expired, died, redriven, ("lost", went.lost)]
    })
}

type Numbers = Vec<(&'static str, u64)>;

fn split(scrape: &Scrape, numbers: impl Fn(&QueueStats) -> Numbers) -> Vec<Sample> {
    let sample = |queue: &str, (label, value): (&str, u64)| Sample {
        labels: vec![queue.to_owned(), label.to_owned()],
        value: Number::Whole(value),
    };
    let queues = queues::all(&scrape.node);
    let of = |(name, stats): &(String, QueueStats)| {
        let all = numbers(stats).into_iter().map(|number| sample(name, number));
        all.collect::<Vec<_>>()
    };
    queues.iter().flat_map(of).collect()
}
