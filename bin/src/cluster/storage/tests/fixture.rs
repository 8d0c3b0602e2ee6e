//! Disks, and saves as a real Raft makes them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use isogrid_engine::disk::{Disk, DiskFile, MemoryDisk};
use isogrid_engine::env::split_mix;
use isogrid_grid::founding::Founded;
use isogrid_grid::id::{ClusterId, NodeId, StorageId};
use isogrid_grid::metadata::{Join, Role, Settings};
use isogrid_grid::raft::{Apply, Log, Raft, RaftConfig, RaftMessage, Ready, Save};

use super::super::kept::Folder;

pub const CLUSTER: &str = "prod";

/// The folder of the Raft log on the same disk: a power cut meets both.
#[derive(Debug, Clone)]
struct Inner(MemoryDisk);

fn inner(name: &str) -> String {
    format!("raft/{name}")
}

impl Disk for Inner {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = self.0.list()?.into_iter();
        Ok(names.filter_map(|name| name.strip_prefix("raft/").map(str::to_owned)).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.create(&inner(name))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(&inner(name))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(&inner(from), &inner(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(&inner(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.0.sync_folder()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }

    fn place(&self, name: &str) -> String {
        self.0.place(&inner(name))
    }
}

/// The folder of a member on this disk.
pub fn folder(disk: &MemoryDisk) -> Folder {
    Folder { disk: Arc::new(disk.clone()), raft: Arc::new(Inner(disk.clone())), _lock: None }
}

pub fn settings(name: &str) -> Settings {
    Settings { cluster: ClusterId(77), name: name.to_owned(), segments: 256, lease_ms: 4_000 }
}

/// A founding of a cluster of this name.
pub fn promise(name: &str, founders: u128) -> Vec<u8> {
    let join = |storage| Join {
        cluster: name.to_owned(),
        storage: StorageId(storage),
        boot: isogrid_grid::id::Boot(1),
        address: format!("10.0.0.{storage}:7400"),
        endpoint: String::new(),
        role: Role::Data,
        zone: String::new(),
        weight: 1,
    };
    let founders = (1..=founders).map(join).collect();
    Founded { settings: settings(name), founders }.encode()
}

/// The state of a log of these records, as a start finds it.
pub fn state(records: &[Save]) -> String {
    let mut log = Log::default();
    records.iter().for_each(|save| log.replay(&save.encode()).unwrap());
    format!("{log:?}")
}

/// Three members, of which the first one's saves are what it is about. The others' disks do all
/// at once.
struct World {
    members: BTreeMap<u64, Member>,
    net: Vec<RaftMessage>,
    chance: u64,
    saves: Vec<Save>,
}

struct Member {
    raft: Raft,
    applied: u64,
}

/// The first record of a founder, and so many saves of a member as its cluster goes on: entries
/// that are replaced, snapshots of leaders, compactions.
pub fn saves(seed: u64, count: usize) -> Vec<Save> {
    let founders: Vec<NodeId> = (1..=3).map(NodeId).collect();
    let (log, first) = Log::found(b"0".to_vec(), founders.clone());
    let begin = |node: &NodeId| {
        let config = RaftConfig { election_ticks: 5, heartbeat_ticks: 1, keep_entries: 2, seed };
        (node.0, Member { raft: Raft::new(*node, config, log.clone()), applied: 1 })
    };
    let members = founders.iter().map(begin).collect();
    let mut world = World { members, net: Vec::new(), chance: seed, saves: vec![first] };
    while world.saves.len() < count {
        world.step();
    }
    world.saves
}

impl World {
    fn one_in(&mut self, of: u64) -> bool {
        split_mix(&mut self.chance).is_multiple_of(of)
    }

    /// Everybody ticks, some propose; some messages get lost, and at times all of one member.
    fn step(&mut self) {
        let away = split_mix(&mut self.chance) % 6;
        for _ in 0..8 {
            for node in 1..=3 {
                let (proposes, compacts) = (self.one_in(2), self.one_in(24));
                let Some(member) = self.members.get_mut(&node) else { continue };
                member.raft.tick();
                if proposes {
                    let _ = member.raft.propose(b"entry".to_vec());
                }
                let mut ready = Ready::default();
                member.raft.take(&mut ready);
                if compacts {
                    ready.save.extend(member.raft.compact(member.applied, b"state"));
                }
                self.take_in(node, ready);
            }
            for message in std::mem::take(&mut self.net) {
                let (from, to) = (message.from().0, message.to().0);
                if from != away && to != away && !self.one_in(10) {
                    self.members.get_mut(&to).unwrap().raft.receive(message);
                }
            }
        }
    }

    fn take_in(&mut self, node: u64, mut ready: Ready) {
        let member = self.members.get_mut(&node).unwrap();
        while let Some(save) = (!ready.save.is_empty()).then(|| ready.save.remove(0)) {
            if save.number() != 0 {
                member.raft.saved(save.number(), &mut ready);
            }
            self.saves.extend((node == 1).then_some(save));
        }
        for apply in ready.apply {
            member.applied = match apply {
                Apply::Restore(snapshot) => snapshot.index,
                Apply::Entry(index, _) | Apply::Members(index) => index,
            };
        }
        self.net.extend(ready.messages);
    }
}

#[test]
fn the_saves_have_everything_in_them() {
    let saves: Vec<Save> = (0..8).flat_map(|seed| saves(seed, 120)).collect();
    let text = format!("{saves:?}");
    assert!(saves.iter().any(Save::begins_anew), "compacted");
    assert!(saves.iter().any(|save| !save.must_sync() && !save.is_empty()), "not to be synced");
    assert!(saves.iter().any(Save::is_empty), "nothing to be saved");
    let restored = saves.iter().filter(|save| !save.begins_anew() && save.number() != 0);
    let restored: Vec<_> =
        restored.filter(|s| format!("{s:?}").contains("snapshot: Some")).collect();
    assert!(!restored.is_empty(), "a snapshot came from a leader: {}", text.len());
}
