//! One machine, and the process that runs on it or not.

use std::collections::BTreeMap;

use isogrid_grid::control::{Control, ControlConfig, Identity};
use isogrid_grid::founding::{Founding, FoundingConfig};
use isogrid_grid::id::{Boot, ClusterId, NodeId, StorageId};
use isogrid_grid::metadata::{Join, Role, Settings};
use isogrid_grid::raft::{Log, RaftConfig};

use super::clock::SimClock;
use super::disk::{CopyLog, SimDisk};
use super::fresh::FreshCache;
use super::options::Options;
use super::server::Server;
use super::world::SEGMENTS;

/// A process: its cores.
pub struct Process {
    /// What it knows of the cluster.
    pub control: Control,
    /// Its copies.
    pub server: Server,
    /// Its invalidated cache.
    pub fresh: FreshCache,
}

/// A machine: what outlives a process, and the process.
pub struct Machine {
    /// Its disk's number.
    pub storage: StorageId,
    /// What its member is there for.
    pub role: Role,
    /// Its clocks.
    pub clock: SimClock,
    /// Its disk.
    pub disk: SimDisk,
    /// What copies have on it.
    pub copies: CopyLog,
    /// Which member it is, and of which cluster, once it knows.
    pub known_as: Option<(NodeId, Settings)>,
    /// How many processes there were; the last one's number.
    pub boots: u64,
    /// What it has promised to found, as its disk has it.
    pub promise: Option<Vec<u8>>,
    /// The process, when one runs that is a member.
    pub process: Option<Process>,
    /// The process, when one runs that is none yet.
    pub stranger: Option<Founding>,
    /// The process ends soon, and what it still says comes late.
    pub is_doomed: bool,
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
    pub fn new(storage: StorageId, role: Role, clock: SimClock) -> Self {
        Machine {
            storage,
            role,
            clock,
            disk: SimDisk::default(),
            copies: CopyLog::default(),
            known_as: None,
            promise: None,
            stranger: None,
            boots: 0,
            process: None,
            is_doomed: false,
            stalled_until: 0,
            disk_busy_until: 0,
            saves: BTreeMap::new(),
        }
    }

    /// The process that runs, or ran last.
    #[must_use]
    pub fn boot(&self) -> Boot {
        Boot(self.boots)
    }

    /// Where the machine is reached.
    #[must_use]
    pub fn address(&self) -> String {
        self.storage.0.to_string()
    }

    /// Starts a process that is no member: it looks for a cluster, or founds one with others.
    pub fn look_for(&mut self, expect: u8, seeds: Vec<String>, lease_ms: u32) {
        let (storage, boot, address) = (self.storage, self.boot(), self.address());
        let (cluster, endpoint, zone) = ("sim".to_owned(), String::new(), String::new());
        let (role, weight) = (self.role, 1);
        let join = Join { cluster, storage, boot, address, endpoint, role, zone, weight };
        let settings = Settings {
            cluster: ClusterId(storage.0 << 64 | u128::from(self.boots) << 32),
            name: "sim".into(),
            segments: SEGMENTS,
            lease_ms,
        };
        let config = FoundingConfig { join, expect, seeds, settings };
        self.stranger = Some(Founding::new(config, self.promise.as_deref()));
    }

    /// Whether any process runs.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.process.is_some() || self.stranger.is_some()
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
        let (rejoin_ms, reset_ms) = (options.rejoin_ms, Some(options.reset_ms));
        let config = ControlConfig {
            raft,
            compact_entries,
            rejoin_ms,
            reset_ms,
            ..ControlConfig::default()
        };
        let control = Control::new(config, identity, settings, log);
        let (server, checkpoint) = Server::restore(node, options, self.copies.take());
        self.copies.begin_with(checkpoint);
        self.process = Some(Process { control, server, fresh: FreshCache::new(node, boot) });
    }

    /// Ends the process.
    pub fn stop(&mut self) {
        self.process = None;
        self.stranger = None;
        self.saves.clear();
        self.disk_busy_until = 0;
        self.stalled_until = 0;
        self.is_doomed = false;
        self.disk.end_of_process();
    }
}
