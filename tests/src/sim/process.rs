//! One machine, and the process that runs on it or not.

use std::collections::BTreeMap;

use isogrid_grid::control::{Control, ControlConfig, Identity};
use isogrid_grid::id::{Boot, NodeId, StorageId};
use isogrid_grid::metadata::{Join, Role, Settings};
use isogrid_grid::raft::{Log, RaftConfig};

use super::clock::SimClock;
use super::disk::SimDisk;
use super::options::Options;
use super::server::Server;

/// A process: its cores.
pub struct Process {
    /// What it knows of the cluster.
    pub control: Control,
    /// Its copies.
    pub server: Server,
}

/// A machine: what outlives a process, and the process.
pub struct Machine {
    /// Its disk's number.
    pub storage: StorageId,
    /// Its clocks.
    pub clock: SimClock,
    /// Its disk.
    pub disk: SimDisk,
    /// Which member it is, and of which cluster, once it knows.
    pub known_as: Option<(NodeId, Settings)>,
    /// How many processes there were; the last one's number.
    pub boots: u64,
    /// The process, when one runs.
    pub process: Option<Process>,
    /// Until when the process stands still, true time, us.
    pub stalled_until: u64,
    /// Saves whose end was not told yet: when it is over, true time, us.
    pub disk_busy_until: u64,
    /// How many records have to be durable for a save to be done, by its number.
    pub saves: BTreeMap<u64, usize>,
}

impl Machine {
    /// A machine on which nothing runs.
    #[must_use]
    pub fn new(storage: StorageId, clock: SimClock) -> Self {
        Machine {
            storage,
            clock,
            disk: SimDisk::default(),
            known_as: None,
            boots: 0,
            process: None,
            stalled_until: 0,
            disk_busy_until: 0,
            saves: BTreeMap::new(),
        }
    }

    /// The process that runs, or ran last.
    #[must_use]
    pub fn boot(&self) -> Boot {
        Boot((u64::try_from(self.storage.0 & 0xffff).unwrap_or(0) << 32) | self.boots)
    }

    /// What a process says that wants to be let in.
    #[must_use]
    pub fn join(&self, cluster: &str) -> Join {
        let (storage, boot) = (self.storage, self.boot());
        let (cluster, address, zone) = (cluster.to_owned(), format!("m{storage}"), String::new());
        Join { cluster, storage, boot, address, role: Role::Data, zone, weight: 1 }
    }

    /// Starts a process of a machine that knows which member it is.
    ///
    /// # Panics
    /// When its own disk has something that is no log.
    pub fn start(&mut self, seed: u64, options: &Options) {
        let Some((node, settings)) = self.known_as.clone() else { return };
        let mut log = Log::default();
        for record in self.disk.records() {
            log.replay(record).expect("a record that was written is one");
        }
        let (cluster, storage, boot) = (settings.cluster, self.storage, self.boot());
        let identity = Identity { cluster, node, storage, boot };
        let keep_entries = if options.short_log { 5 } else { 10_000 };
        let raft = RaftConfig { seed: seed ^ self.boots, keep_entries, ..RaftConfig::default() };
        let compact_entries = if options.short_log { 10 } else { 1_000 };
        let config = ControlConfig { raft, compact_entries, ..ControlConfig::default() };
        let control = Control::new(config, identity, settings, log);
        self.process = Some(Process { control, server: Server::default() });
    }

    /// Ends the process.
    pub fn stop(&mut self) {
        self.process = None;
        self.saves.clear();
        self.disk_busy_until = 0;
        self.stalled_until = 0;
        self.disk.end_of_process();
    }
}
