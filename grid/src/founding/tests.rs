//! However many start, in whatever order, with messages that get lost and processes that end at
//! any moment: one cluster.

use std::collections::BTreeMap;

use super::*;
use crate::id::Boot;
use crate::metadata::Role;
use crate::random::{Random, assert_calm, assert_strict};

/// Rounds of 100 ms until all that can be founded is.
const ROUNDS: u64 = 400;

fn join(storage: u128, boot: u64) -> Join {
    join_as(Role::Data, storage, boot)
}

fn join_as(role: Role, storage: u128, boot: u64) -> Join {
    Join {
        cluster: "shop".to_owned(),
        storage: StorageId(storage),
        boot: Boot(boot),
        address: storage.to_string(),
        endpoint: String::new(),
        role,
        zone: String::new(),
        weight: 1,
    }
}

fn settings(cluster: u128) -> Settings {
    let (cluster, name) = (ClusterId(cluster), "shop".to_owned());
    Settings { cluster, name, segments: 2, lease_ms: 1_500 }
}

/// Processes that look for each other, and what their disks and their metadata are.
struct World {
    random: Random,
    all: BTreeMap<u128, Founding>,
    disks: BTreeMap<u128, Vec<u8>>,
    founded: BTreeMap<u128, (ClusterId, Vec<u8>)>,
    under_way: Vec<(u128, Vec<u8>)>,
    expect: u8,
    /// The first so many found nothing.
    waiting: u128,
    /// The first so many are witnesses.
    witnesses: u128,
    boots: u64,
}

impl World {
    fn new(seed: u64, processes: u128, (waiting, expect): (u128, u8)) -> Self {
        World::with(seed, processes, (waiting, expect), 0)
    }

    fn with(seed: u64, processes: u128, (waiting, expect): (u128, u8), witnesses: u128) -> Self {
        let mut world = World {
            random: Random(seed),
            all: BTreeMap::new(),
            disks: BTreeMap::new(),
            founded: BTreeMap::new(),
            under_way: Vec::new(),
            expect,
            waiting,
            witnesses,
            boots: 0,
        };
        (1..=processes).for_each(|storage| world.start(storage, processes));
        world
    }

    fn start(&mut self, storage: u128, processes: u128) {
        self.boots += 1;
        let others = (1..=processes).filter(|other| *other != storage);
        let role = if storage > self.witnesses { Role::Data } else { Role::Witness };
        let config = FoundingConfig {
            join: join_as(role, storage, self.boots),
            expect: if storage > self.waiting { self.expect } else { 0 },
            seeds: others.map(|other| other.to_string()).collect(),
            settings: settings(storage << 64 | u128::from(self.boots) << 32),
        };
        let saved = self.disks.get(&storage).map(Vec::as_slice);
        self.all.insert(storage, Founding::new(config, saved));
    }

    fn act(&mut self, storage: u128, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(address, hello) => {
                    let to = address.parse().expect("an address is a storage");
                    self.under_way.push((to, hello.encode()));
                }
                Action::Save(promise) => {
                    self.disks.insert(storage, promise);
                    let mut out = Vec::new();
                    self.all.get_mut(&storage).into_iter().for_each(|one| one.saved(&mut out));
                    self.act(storage, out);
                }
                Action::Member(_, settings, log) => {
                    let (log, _) = log.expect("nobody was let in here");
                    let state = log.snapshot().state.clone();
                    self.founded.insert(storage, (settings.cluster, state));
                    self.all.remove(&storage);
                }
            }
        }
    }

    fn round(&mut self, now: u64, processes: u128, has_faults: bool) {
        for storage in 1..=processes {
            let mut out = Vec::new();
            self.all.get_mut(&storage).into_iter().for_each(|one| one.tick(now, &mut out));
            self.act(storage, out);
        }
        for (to, bytes) in std::mem::take(&mut self.under_way) {
            if has_faults && self.random.below(4) == 0 {
                continue;
            }
            self.deliver(now, to, &bytes);
        }
        let storage = u128::from(self.random.below(8)) + 1;
        if has_faults && self.all.contains_key(&storage) && self.random.below(5) == 0 {
            self.start(storage, processes);
        }
    }

    fn deliver(&mut self, now: u64, to: u128, bytes: &[u8]) {
        let hello = Hello::decode(bytes).expect("what was encoded is read");
        if let Some((cluster, _)) = self.founded.get(&to) {
            // As a member answers those who helped to found its cluster.
            if let Hello::Stranger(join, _, Some(accepted)) = hello
                && accepted.cluster == *cluster
            {
                let to = join.storage.0;
                self.under_way.push((to, Hello::Begun(*cluster).encode()));
            }
            return;
        }
        let mut out = Vec::new();
        self.all.get_mut(&to).into_iter().for_each(|one| one.receive(now, hello.clone(), &mut out));
        self.act(to, out);
    }
}

/// Those that wait to be let in once counted as founders of anybody who met one, and there were two
/// clusters.
#[test]
fn one_cluster_however_many_start() {
    for (processes, waiting, expect) in
        [(1, 0, 1), (2, 0, 2), (3, 0, 3), (5, 0, 3), (5, 0, 5), (6, 3, 2)]
    {
        for seed in 0..100 {
            let mut world = World::new(seed, processes, (waiting, expect));
            for round in 0..ROUNDS {
                world.round(round * 100, processes, round < ROUNDS / 2);
            }
            let founded = world.founded.len();
            assert_eq!(founded, usize::from(expect), "seed {seed}: {expect} of {processes} found");
            assert!(world.founded.keys().all(|storage| *storage > waiting), "seed {seed}");
            let first = world.founded.values().next();
            assert!(
                world.founded.values().all(|one| Some(one) == first),
                "seed {seed}: {processes}"
            );
        }
    }
}

/// Witnesses found a cluster with somebody who has data, and never without; the lowest so many.
#[test]
fn witnesses_found_nothing_alone() {
    for (processes, witnesses, expect, founders) in [
        (3, 1, 3, vec![1, 2, 3]),
        (3, 2, 3, vec![1, 2, 3]),
        (5, 3, 3, vec![1, 2, 4]),
        (2, 1, 1, vec![2]),
        (3, 3, 3, vec![]),
        (4, 4, 3, vec![]),
        (1, 1, 1, vec![]),
    ] {
        for seed in 0..50 {
            let mut world = World::with(seed, processes, (0, expect), witnesses);
            (0..ROUNDS).for_each(|round| world.round(round * 100, processes, false));
            let founded: Vec<u128> = world.founded.keys().copied().collect();
            assert_eq!(
                founded, founders,
                "{witnesses} witnesses of {processes}, {expect} expected"
            );
            let lacks = world.all.values().filter(|one| one.lacks_data()).count();
            let all = if founders.is_empty() { world.all.len() } else { 0 };
            assert_eq!(lacks, all, "{witnesses} witnesses of {processes}");
        }
    }
}

#[test]
fn too_few_found_nothing_and_wait() {
    let mut world = World::new(1, 2, (0, 3));
    (0..ROUNDS).for_each(|round| world.round(round * 100, 2, false));
    assert!(world.founded.is_empty() && world.disks.is_empty());
}

#[test]
fn who_has_promised_is_let_in_nowhere_else() {
    let founded = Founded { settings: settings(7), founders: vec![join(1, 1), join(2, 1)] };
    let config =
        FoundingConfig { join: join(2, 2), expect: 2, seeds: Vec::new(), settings: settings(8) };
    let mut out = Vec::new();
    let mut promised = Founding::new(config.clone(), Some(&founded.encode()));
    promised.receive(0, Hello::Welcome(NodeId(9), settings(9)), &mut out);
    promised.receive(0, Hello::Begun(ClusterId(8)), &mut out);
    assert!(out.is_empty(), "{out:?}");
    promised.receive(0, Hello::Begun(ClusterId(7)), &mut out);
    assert!(matches!(out.as_slice(), [Action::Member(NodeId(2), ..)]), "{out:?}");
    out.clear();
    Founding::new(config, None).receive(0, Hello::Welcome(NodeId(9), settings(9)), &mut out);
    assert!(matches!(out.as_slice(), [Action::Member(NodeId(9), ..)]), "{out:?}");
}

#[test]
fn what_is_said_comes_as_it_was_said_or_not_at_all() {
    let founded = Founded { settings: settings(7), founders: vec![join(1, 1), join(2, 1)] };
    let promise = Promise { cluster: ClusterId(5), proposer: StorageId(6) };
    let all = [
        Hello::Withdrawn(ClusterId(5)),
        Hello::Stranger(join(3, 4), 2, None),
        Hello::Stranger(join(3, 4), 0, Some(promise)),
        Hello::Found(founded),
        Hello::Begun(ClusterId(5)),
        Hello::Wait,
        Hello::Welcome(NodeId(6), settings(7)),
    ];
    for hello in all {
        assert_strict(&hello, &hello.encode(), Hello::decode);
    }
    assert_calm(&[], Hello::decode);
}
