//! What is done to the nodes: one after the other is killed or paused, the next one only when every
//! copy is there again, since two at once may take what both had.

use std::time::Duration;

use isogrid_engine::env::split_mix;
use rustix::process::Signal;
use tokio::time::sleep;

use super::nodes::Nodes;
use crate::cli::bench::clock::Clock;
use crate::cli::output::note;

/// Nothing begins that late: clients are to see its end.
const LAST: Duration = Duration::from_secs(5);

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and started again.
    Kill,
    /// SIGSTOP, and SIGCONT.
    Pause,
}

/// What was done, and what is done next.
pub struct Faults {
    rng: u64,
    /// Kills so far.
    pub kills: usize,
    /// Pauses so far.
    pub pauses: usize,
}

impl Faults {
    /// Those of a seed.
    pub fn new(seed: u64) -> Faults {
        Faults { rng: seed, kills: 0, pauses: 0 }
    }

    fn below(&mut self, end: u64) -> u64 {
        split_mix(&mut self.rng) % end
    }

    /// The next one, the node, how long it rests before, and how long the node is away, ms. A
    /// member that is away for longer than its lease is replaced meanwhile, one that is back sooner
    /// may not be.
    fn draw(&mut self, nodes: usize) -> (Fault, usize, u64, u64) {
        let fault = if self.below(5) < 3 { Fault::Kill } else { Fault::Pause };
        let node = usize::try_from(self.below(nodes as u64)).unwrap_or(0);
        (fault, node, 300 + self.below(1_200), 200 + self.below(3_300))
    }

    /// Plays for so long, and leaves all nodes running with every copy there.
    ///
    /// # Errors
    /// When the cluster does not heal.
    pub async fn play(&mut self, nodes: &mut Nodes, span: Duration) -> Result<(), String> {
        let clock = Clock::start();
        loop {
            let (fault, node, rest, away) = self.draw(nodes.len());
            sleep(Duration::from_millis(rest)).await;
            if clock.now() + LAST > span {
                sleep(span.saturating_sub(clock.now())).await;
                return nodes.whole().await;
            }
            let (at, number) = (clock.now().as_secs_f32(), node + 1);
            match fault {
                Fault::Kill => {
                    note(&format!(
                        "{at:5.1} s: node {number} is killed, and started {away} ms later"
                    ));
                    nodes.kill(node).await;
                    sleep(Duration::from_millis(away)).await;
                    nodes.run(node)?;
                    self.kills += 1;
                }
                Fault::Pause => {
                    note(&format!("{at:5.1} s: node {number} is paused for {away} ms"));
                    nodes.signal(node, Signal::STOP);
                    sleep(Duration::from_millis(away)).await;
                    nodes.signal(node, Signal::CONT);
                    self.pauses += 1;
                }
            }
            nodes.whole().await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_one_list_of_faults_and_others_are_others() {
        let drawn = |seed| {
            let mut faults = Faults::new(seed);
            (0..50).map(|_| faults.draw(3)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let all = drawn(7);
        for node in 0..3 {
            for fault in [Fault::Kill, Fault::Pause] {
                assert!(all.iter().any(|one| (one.0, one.1) == (fault, node)), "{fault:?} {node}");
            }
        }
    }
}
