//! What a run is like: drawn from the seed, and printed when it fails.

use super::chance::Chance;

/// Which faults there are, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many members the cluster is founded with.
    pub founders: u64,
    /// How many join later.
    pub joiners: u64,
    /// How long faults go on, ms.
    pub faults_ms: u64,
    /// Between two faults, ms on average.
    pub pause_between_ms: u64,
    /// Messages that are lost, in a million.
    pub drop_per_million: u64,
    /// Messages that come twice.
    pub repeat_per_million: u64,
    /// Messages that come late.
    pub late_per_million: u64,
    /// How late, ms.
    pub late_ms_max: u64,
    /// How much monotonic clocks drift, parts in a million.
    pub drift: u64,
    /// How far wall clocks are off, ms.
    pub skew: u64,
    /// How long a sync of a disk takes, us.
    pub sync_us_max: u64,
    /// Faults that happen.
    pub crash: bool,
    /// As a crash, and what was not durable is gone.
    pub power: bool,
    /// A process stands still.
    pub stall: bool,
    /// The network is cut.
    pub partition: bool,
    /// Members leave.
    pub leave: bool,
    /// Members leave as soon as they have come.
    pub hasty: bool,
    /// A process that was killed is started again within half a second.
    pub restart: bool,
    /// Faults come at the worst moments, as `ambush.rs` has them.
    pub ambush: bool,
    /// How long a chunk of a copy that is filled may take, ms.
    pub chunk_ms_max: u64,
    /// Operations that clients ask for at a time, at most.
    pub burst: u64,
    /// How many of them write, in a million.
    pub writes_per_million: u64,
    /// How long a member keeps its place, ms.
    pub rejoin_ms: u64,
    /// When segments that are lost begin anew, ms.
    pub reset_ms: u64,
    /// A leader keeps so few entries that members which were away need its snapshot.
    pub short_log: bool,
    /// Processes say that they are about to end, and do so when others had time to take over, or not.
    pub planned: bool,
    /// Members are removed that have no lease, and nothing that nobody else has.
    pub expel: bool,
    /// The second machine is a witness.
    pub witness: bool,
    /// An operator has stale copies serve where no other can.
    pub force: bool,
    /// Writes are answered before the copies have them (R37).
    pub at_once: bool,
    /// How long leases are, ms.
    pub lease_ms: u32,
    /// The copies that every member has are on disks.
    pub durable_everywhere: bool,
    /// Copies on disks are written behind, and those that backups read from are on disks as well.
    pub behind: bool,
    /// Reads trust no clock (R25), and clocks stand still or run at any pace.
    pub confirm: bool,
    /// Copies of each queue; 0: there are no queues.
    pub queue_owners: u64,
    /// Those copies are on disks.
    pub queues_on_disks: bool,
    /// Transfers are asked for under numbers, and again.
    pub transfers_again: bool,
}

/// Messages that come late where members leave soon, in a million, and how late, ms.
const LATE_WISHES: u64 = 50_000;
const LATE_WISHES_MS: u64 = 8_000;
/// How many operations write when faults are over, in a million.
const HEALED_WRITES: u64 = 10_000;

impl Options {
    /// Those of a seed.
    #[must_use]
    pub fn draw(chance: &mut Chance) -> Self {
        let mut often = |of: &[u64]| chance.pick(of).copied().unwrap_or(0);
        let drawn = Options {
            founders: often(&[1, 2, 3, 3, 3, 3, 5]),
            joiners: often(&[0, 0, 1, 2, 3]),
            faults_ms: often(&[20_000, 40_000, 60_000]),
            pause_between_ms: often(&[500, 2_000, 5_000]),
            drop_per_million: often(&[0, 0, 1_000, 20_000, 100_000]),
            repeat_per_million: often(&[0, 0, 10_000, 50_000]),
            late_per_million: often(&[0, 1_000, 20_000, 100_000]),
            late_ms_max: often(&[50, 500, 3_000]),
            drift: often(&[0, 1_000, 9_900]),
            skew: often(&[0, 50, 240]),
            sync_us_max: often(&[200, 5_000, 200_000]),
            crash: often(&[0, 1, 1]) == 1,
            power: often(&[0, 1]) == 1,
            stall: often(&[0, 1]) == 1,
            partition: often(&[0, 1, 1]) == 1,
            leave: often(&[0, 0, 1]) == 1,
            hasty: often(&[0, 1]) == 1,
            restart: often(&[0, 1]) == 1,
            ambush: often(&[0, 1]) == 1,
            chunk_ms_max: often(&[0, 0, 50, 300]),
            burst: often(&[1, 1, 4, 8]),
            writes_per_million: 600_000,
            rejoin_ms: often(&[1_000, 10_000]),
            reset_ms: often(&[500, 5_000, 30_000]),
            short_log: often(&[0, 1]) == 1,
            planned: often(&[0, 1]) == 1,
            expel: often(&[0, 0, 1]) == 1,
            witness: often(&[0, 0, 1]) == 1,
            force: often(&[0, 1]) == 1,
            at_once: often(&[0, 0, 1]) == 1,
            lease_ms: if often(&[0, 0, 0, 1]) == 1 { 600 } else { 1_500 },
            durable_everywhere: often(&[0, 1]) == 1,
            behind: often(&[0, 0, 1]) == 1,
            confirm: false,
            queue_owners: 0,
            queues_on_disks: false,
            transfers_again: false,
        };
        let confirm = often(&[0, 0, 1, 2]);
        // What a failover may lose is another thing than what disks may.
        let drawn = Options { at_once: drawn.at_once && !drawn.behind, ..drawn };
        let drawn = match confirm {
            _ if drawn.at_once || drawn.behind => drawn,
            0 => drawn,
            1 => drawn.without_clocks(),
            // So many that two can be cut off together.
            _ => Options { founders: 5, ..drawn.without_clocks() },
        };
        if !drawn.hasty {
            return drawn;
        }
        // What a member said comes when it has left.
        let late_per_million = drawn.late_per_million.max(LATE_WISHES);
        Options { late_per_million, late_ms_max: LATE_WISHES_MS, ..drawn }
    }

    /// The same with queues, in some runs. They are drawn by a chance of their own, so a run without
    /// them is what it would be if there were none. What they promise, they promise by leases.
    #[must_use]
    pub fn with_queues(self, seed: u64) -> Self {
        let owners = Chance::new(seed, 6).pick(&[0, 0, 0, 2, 3]).copied().unwrap_or(0);
        let queues_on_disks = owners > 0 && Chance::new(seed, 26).hits(500_000);
        Options { queue_owners: if self.confirm { 0 } else { owners }, queues_on_disks, ..self }
    }

    /// The same with transfers that come again, in some runs without queues, drawn as those are.
    #[must_use]
    pub fn with_transfers_again(self, seed: u64) -> Self {
        let is_drawn = Chance::new(seed, 16).hits(333_333);
        Options { transfers_again: is_drawn && self.queue_owners == 0, ..self }
    }

    /// A cluster to which nothing happens.
    #[must_use]
    pub fn calm(founders: u64) -> Self {
        Options {
            founders,
            joiners: 0,
            faults_ms: 0,
            pause_between_ms: 0,
            drop_per_million: 0,
            repeat_per_million: 0,
            late_per_million: 0,
            late_ms_max: 0,
            drift: 0,
            skew: 0,
            sync_us_max: 1_000,
            crash: false,
            power: false,
            stall: false,
            partition: false,
            leave: false,
            hasty: false,
            restart: false,
            ambush: false,
            chunk_ms_max: 0,
            burst: 1,
            writes_per_million: 600_000,
            rejoin_ms: 10_000,
            reset_ms: 30_000,
            short_log: false,
            planned: false,
            expel: false,
            witness: false,
            force: false,
            at_once: false,
            lease_ms: 1_500,
            durable_everywhere: false,
            behind: false,
            confirm: false,
            queue_owners: 0,
            queues_on_disks: false,
            transfers_again: false,
        }
    }

    /// What is promised without clocks, of runs in which it is not spans of time how much may be lost:
    /// how long an operator waits who gives data up is one. Others take over while somebody is cut off, and what was
    /// said before that comes when they have.
    fn without_clocks(self) -> Self {
        let pause_between_ms = self.pause_between_ms.max(4_000);
        let late_per_million = self.late_per_million.max(50_000);
        Options {
            confirm: true,
            force: false,
            partition: true,
            pause_between_ms,
            late_per_million,
            late_ms_max: 6_000,
            ..self
        }
    }

    /// The same run without faults from here on.
    #[must_use]
    pub fn healed(&self) -> Self {
        Options {
            drop_per_million: 0,
            repeat_per_million: 0,
            late_per_million: 0,
            sync_us_max: 1_000,
            ambush: false,
            hasty: false,
            expel: false,
            force: false,
            planned: false,
            chunk_ms_max: 0,
            burst: 1,
            // What went wrong is not written over before it is seen.
            writes_per_million: HEALED_WRITES,
            ..self.clone()
        }
    }

    /// Whether faults are over.
    #[must_use]
    pub fn is_healed(&self) -> bool {
        self.writes_per_million == HEALED_WRITES
    }
}
