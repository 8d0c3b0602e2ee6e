//! What is done to a cluster, step by step, drawn from a seed.

use std::fmt;
use std::time::Duration;

use isogrid_engine::env::split_mix;

use super::network::Link;
use super::nodes::{Cluster, Setup};

/// One thing that is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing for so many ms.
    Wait(u64),
    /// `kill -9`.
    Kill(usize),
    /// SIGTERM, and wait for its end: it hands over what it serves.
    End(usize),
    /// Start it again, with its folder.
    Start(usize),
    /// Something of what it has on its disk of caches is not what was written, while it does not run.
    Damage(usize),
    /// Its disk is full; it refuses what it cannot keep, or ends. On a [`super::Setup::small_disks`].
    FillDisk(usize),
    /// There is room again.
    FreeDisk(usize),
    /// SIGSTOP: it is there, and does nothing.
    Stop(usize),
    /// SIGCONT.
    Continue(usize),
    /// All its links, both ways, become this.
    Isolate(usize, Link),
    /// The link from one to another, in this direction alone.
    OneWay(usize, usize, Link),
    /// All links are good again.
    Heal,
    /// Wait until all nodes serve and all copies are filled.
    Settle,
}

/// What is done to a cluster in one round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Before clients come: what is kept in memory may be lost by it.
    pub before: Vec<Step>,
    /// While clients write. It leaves one copy in sync of everything.
    pub under_load: Vec<Step>,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.before.is_empty() {
            write!(f, "{:?}, then ", self.before)?;
        }
        write!(f, "{:?}", self.under_load)
    }
}

/// The script of a round of this seed. Where entries are kept all nodes may be killed under load.
#[must_use]
pub fn script(seed: u64, setup: Setup) -> Script {
    let Setup { nodes, kept, small_disks, .. } = setup;
    let mut rng = seed;
    let mut below = |end: usize| (split_mix(&mut rng) % end as u64) as usize;
    let node = below(nodes);
    let other = (node + 1 + below(nodes - 1)) % nodes;
    let span = Step::Wait(500 + 100 * below(35) as u64);
    let cut = [Link::Stalled, Link::Swallowed, Link::Dropped][below(3)];
    let lag = Link::Slow(Duration::from_millis(5 + below(100) as u64));
    let mut before = Vec::new();
    let mut under_load = vec![Step::Wait(1_000)];
    under_load.extend(match below(if small_disks { 12 } else { 9 }) {
        9.. => vec![
            Step::FillDisk(node),
            span,
            Step::Kill(node),
            Step::FreeDisk(node),
            Step::Start(node),
            Step::Settle,
        ],
        0 | 1 => vec![Step::Kill(node), span, Step::Start(node), Step::Settle],
        2 => vec![
            Step::Kill(node),
            span,
            Step::Start(node),
            Step::Settle,
            Step::Kill(other),
            span,
            Step::Start(other),
        ],
        3 => vec![Step::Stop(node), span, Step::Continue(node)],
        4 => vec![Step::Isolate(node, cut), span, Step::Heal],
        5 => vec![Step::OneWay(node, other, cut), span, Step::Heal],
        6 => vec![Step::Isolate(node, lag), span, Step::Heal],
        7 => {
            let one = |node| [Step::End(node), Step::Start(node), Step::Settle];
            [one(node), one(other)].concat()
        }
        _ if kept => {
            let all = |step: fn(usize) -> Step| (0..nodes).map(step);
            all(Step::Kill).chain([span]).chain(all(Step::Start)).chain([Step::Settle]).collect()
        }
        _ => {
            before.extend((0..nodes).map(Step::Kill));
            before.extend((0..nodes).map(Step::Start));
            before.push(Step::Settle);
            vec![Step::Stop(node), Step::Wait(200), Step::Continue(node), span]
        }
    });
    under_load.push(Step::Wait(1_500));
    Script { before, under_load }
}

impl Step {
    /// Does it.
    ///
    /// # Errors
    /// When the cluster does not serve as it should.
    pub(super) fn run(self, cluster: &mut Cluster) -> Result<(), String> {
        match self {
            Step::Wait(ms) => std::thread::sleep(Duration::from_millis(ms)),
            Step::Kill(node) => cluster.kill(node),
            Step::End(node) => cluster.stop(node)?,
            Step::Start(node) => cluster.start(node),
            Step::Damage(node) => cluster.damage(node),
            Step::FillDisk(node) => cluster.fill_disk(node),
            Step::FreeDisk(node) => cluster.free_disk(node),
            Step::Stop(node) => cluster.signal(node, "STOP"),
            Step::Continue(node) => cluster.signal(node, "CONT"),
            Step::Isolate(node, link) => cluster.network().isolate(node, link),
            Step::OneWay(from, to, link) => cluster.network().set(from, to, link),
            Step::Heal => cluster.network().heal(),
            Step::Settle => cluster.settle()?,
        }
        cluster.check()
    }
}
