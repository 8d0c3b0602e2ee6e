//! What the sessions say: those of the cluster that this member served, or the node's own.

use isogrid_grid::structures::sessions::{SessionCounts, Sessions};

use super::family::{Number, Sample};
use super::scrape::Scrape;

fn sessions(scrape: &Scrape) -> &Sessions {
    scrape.node.shared_sessions.get().unwrap_or(&scrape.node.sessions)
}

/// What was done to sessions.
pub fn done(scrape: &Scrape) -> Vec<Sample> {
    let SessionCounts { created, saved, touched, destroyed, renewed, .. } =
        sessions(scrape).counts();
    let all = [
        ("created", created),
        ("saved", saved),
        ("touched", touched),
        ("destroyed", destroyed),
        ("renewed", renewed),
    ];
    labelled(all)
}

/// Attributes that two had changed at once.
pub fn conflicts(scrape: &Scrape) -> Vec<Sample> {
    let counts = sessions(scrape).counts();
    labelled([("overwritten", counts.conflicts), ("refused", counts.refused)])
}

/// Bytes that sessions take here.
pub fn bytes(scrape: &Scrape) -> u64 {
    sessions(scrape).table().usage().bytes
}

/// Bytes that they may take here.
pub fn limit(scrape: &Scrape) -> u64 {
    sessions(scrape).table().usage().max_bytes
}

/// Entries that were removed because their time was over.
pub fn expired(scrape: &Scrape) -> u64 {
    sessions(scrape).table().metrics().expired
}

fn labelled<const N: usize>(all: [(&str, u64); N]) -> Vec<Sample> {
    let sample = |(label, value): (&str, u64)| Sample {
        labels: vec![label.to_owned()],
        value: Number::Whole(value),
    };
    all.into_iter().map(sample).collect()
}
