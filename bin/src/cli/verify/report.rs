//! What is said at the end of a round in which all was as promised.

use isogrid_wire::client::Routing;
use serde_json::{Value, json};

use super::Round;
use super::faults::Faults;
use crate::checker::verdict::Verdict;
use crate::cli::table::table;

/// What a round was like.
pub struct Report {
    round: Round,
    kills: usize,
    pauses: usize,
    verdict: Verdict,
    /// Writes that were acknowledged, of all kinds.
    acknowledged: usize,
    /// The longest time in which no write was acknowledged, ms.
    gap_ms: u64,
    routing: Routing,
}

impl Report {
    /// Of a round in which writes were acknowledged at these times, ns.
    pub fn new(
        round: Round,
        faults: &Faults,
        verdict: &Verdict,
        acknowledged: &[u64],
        routing: Routing,
    ) -> Report {
        let Faults { kills, pauses, .. } = *faults;
        let gap_ms = longest_gap(acknowledged) / 1_000_000;
        let acknowledged = acknowledged.len();
        Report { round, kills, pauses, verdict: *verdict, acknowledged, gap_ms, routing }
    }

    /// In thousandths.
    fn direct(&self) -> u64 {
        let Routing { direct, passed_on, .. } = self.routing;
        direct * 1_000 / (direct + passed_on).max(1)
    }

    /// For people.
    pub fn table(&self) -> String {
        let Verdict { operations, failed, unknown, searched, undecided, .. } = self.verdict;
        let direct = self.direct();
        let rows = [
            ("nodes killed (SIGKILL)", self.kills.to_string()),
            ("nodes paused (SIGSTOP)", self.pauses.to_string()),
            ("operations", operations.to_string()),
            ("changes acknowledged", self.acknowledged.to_string()),
            ("changes that failed", failed.to_string()),
            ("changes of unknown outcome", unknown.to_string()),
            ("longest time without an acknowledged change", format!("{} ms", self.gap_ms)),
            ("requests sent to who serves the key", format!("{}.{} %", direct / 10, direct % 10)),
            ("acknowledged changes lost", "0".to_owned()),
            ("keys whose operations have an order", (searched - undecided).to_string()),
            ("keys of which the search was given up", undecided.to_string()),
        ];
        let rows: Vec<[String; 2]> =
            rows.into_iter().map(|(what, is)| [what.to_owned(), is]).collect();
        format!("\n{}\nall is as promised; the same again: {}\n", table(&rows), self.round.replay())
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let Verdict { operations, failed, unknown, searched, undecided, .. } = self.verdict;
        json!({
            "seed": self.round.seed,
            "seconds": self.round.seconds,
            "kills": self.kills,
            "pauses": self.pauses,
            "operations": operations,
            "acknowledged": self.acknowledged,
            "failed": failed,
            "unknown": unknown,
            "lost": 0,
            "longest_gap_ms": self.gap_ms,
            "direct_permille": self.direct(),
            "searched": searched,
            "undecided": undecided,
            "replay": self.round.replay(),
        })
    }
}

/// The longest time between two of these times.
fn longest_gap(times: &[u64]) -> u64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    let gaps = times.iter().zip(times.iter().skip(1)).map(|(one, next)| next - one);
    gaps.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_between_two_neighbours_in_time() {
        let cases: [(&[u64], u64); 4] =
            [(&[], 0), (&[5], 0), (&[9, 1, 4], 5), (&[1, 2, 1_000, 3], 997)];
        for (times, gap) in cases {
            assert_eq!(longest_gap(times), gap, "{times:?}");
        }
    }
}
