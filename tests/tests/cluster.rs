//! Clusters of real processes: what is done to them, and that their clients are told the truth.
//! The long form is `cargo run --release -p isogrid-tests --bin chaos`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

use std::time::Duration;

use isogrid_tests::cluster::{
    Cluster, End, Link, Mode, Script, Setup, Step, failovers, may_make_namespaces, may_mount, play,
    starts,
};
use isogrid_tests::harness::Client;

const DISTRIBUTED: Setup = Setup::PLAIN;
const REPLICATED: Setup = Setup { mode: Mode::Replicated, ..DISTRIBUTED };

/// Plays what is done to a cluster under load, and checks what clients were told. The same steps
/// come at the same times in each run; what the machine does between them is its own choice.
fn holds(setup: Setup, under_load: &[Step]) -> Cluster {
    let mut cluster = Cluster::start_all(setup).unwrap();
    let script = Script { before: Vec::new(), under_load: under_load.to_vec() };
    let report = play(&mut cluster, &script, 1, 0).unwrap_or_else(|why| {
        cluster.keep_folder();
        panic!("{script}:\n{why}");
    });
    println!("{script}:\n  {report}");
    assert!(report.acknowledged > 100, "clients were answered: {report}");
    assert!(report.searched > report.undecided, "orders were found: {report}");
    cluster
}

#[test]
fn each_node_is_killed_in_turn_and_filled_again() {
    let one = |node| [Step::Kill(node), Step::Wait(2_500), Step::Start(node), Step::Settle];
    holds(DISTRIBUTED, &[&[Step::Wait(500)][..], &one(0), &one(1), &one(2)].concat());
}

/// Two nodes with data and a witness: each is killed under writes, and what was acknowledged is there,
/// in memory and on disks. The witness answers clients as the others do, and has nothing.
#[test]
fn two_nodes_and_a_witness_survive_the_loss_of_any() {
    let one = |node| [Step::Kill(node), Step::Wait(2_500), Step::Start(node), Step::Settle];
    let steps = [&[Step::Wait(500)][..], &one(0), &one(1), &one(2)].concat();
    for kept in [false, true] {
        let mut cluster = holds(Setup { kept, witnesses: 1, ..DISTRIBUTED }, &steps);
        let told: serde_json::Value =
            serde_json::from_str(&cluster.admin(2, "cluster.status")).unwrap();
        let members = told["members"].as_array().unwrap();
        for member in members {
            let is_us = member["member"] == told["member"];
            assert_eq!(member["role"], if is_us { "witness" } else { "data" }, "{told}");
            assert_eq!(member["raft"], "voter", "{told}");
            let copies = ["primaries", "backups", "filling"].map(|name| member[name].as_u64());
            assert_eq!(copies == [Some(0); 3], is_us, "{told}");
        }
        assert_eq!(members.len(), 3, "{told}");
        // What it is to be it cannot become.
        cluster.kill(2);
        let why = cluster.refuses_to_start(2, &["--set", "cluster.role=data"]);
        assert!(why.contains("there for witness, and cluster.role = data"), "{why}");
    }
}

#[test]
fn a_rolling_restart_is_seen_by_nobody_who_checks() {
    let one = |node| [Step::End(node), Step::Start(node), Step::Settle];
    let at_once = Setup { at_once: true, ..DISTRIBUTED };
    for setup in [DISTRIBUTED, REPLICATED, at_once] {
        holds(setup, &[&[Step::Wait(500)][..], &one(0), &one(1), &one(2)].concat());
    }
}

#[test]
fn a_primary_that_stops_beyond_its_lease_comes_back_as_none() {
    let steps =
        [Step::Wait(500), Step::Stop(0), Step::Wait(3_000), Step::Continue(0), Step::Wait(2_000)];
    holds(REPLICATED, &steps);
}

#[test]
fn a_minority_refuses_and_the_majority_goes_on() {
    let cut = Step::Isolate(1, Link::Swallowed);
    holds(DISTRIBUTED, &[Step::Wait(500), cut, Step::Wait(5_000), Step::Heal, Step::Wait(1_000)]);
}

/// The same with packets, TLS and the kernel's own TCP: a cable that is pulled, packets that are lost
/// in one direction only, a network that says at once that there is no way, and one with long queues.
#[test]
fn packets_may_be_lost_and_nothing_that_was_acknowledged() {
    if !may_make_namespaces() {
        return println!("left out: this user may not make network namespaces");
    }
    let cut = |step, ms| [step, Step::Wait(ms), Step::Heal, Step::Settle];
    let slow = Link::Slow(Duration::from_millis(50));
    let steps = [
        &[Step::Wait(500)][..],
        &cut(Step::Isolate(1, Link::Stalled), 4_500),
        &cut(Step::OneWay(0, 2, Link::Swallowed), 2_500),
        &cut(Step::Isolate(0, Link::Dropped), 4_500),
        &cut(Step::Isolate(2, slow), 1_500),
    ];
    holds(Setup { namespaces: true, ..DISTRIBUTED }, &steps.concat());
}

/// R64: all end, whoever is asked, and all copies are in sync when they are back: none is filled, and
/// nobody waits for who was the last to go. Nodes that are stopped one by one leave one copy in sync.
#[test]
fn a_cluster_that_was_shut_down_comes_back_whole() {
    for mode in [Mode::Distributed, Mode::Replicated] {
        let setup = Setup { mode, kept: true, ..DISTRIBUTED };
        let mut cluster = Cluster::start_all(setup).unwrap();
        let mut client = Client::tcp(cluster.clients()[0]);
        (0..300).for_each(|n| client.ask(format!("set k{n} 0 0 1\r\n1\r\n"), "STORED\r\n"));
        let copies = |cluster: &Cluster| -> Vec<serde_json::Value> {
            let told: serde_json::Value =
                serde_json::from_str(&cluster.admin(2, "cluster.topology")).unwrap();
            let segments = told["caches"][0]["segments"].as_array().unwrap().clone();
            let sorted = |segment: &serde_json::Value| {
                let mut insync: Vec<_> =
                    segment["insync"].as_array().unwrap().iter().map(|m| m.as_u64()).collect();
                insync.sort_unstable();
                serde_json::json!([insync, segment["syncing"]])
            };
            segments.iter().map(sorted).collect()
        };
        let before = copies(&cluster);
        for asked in [0, 1] {
            cluster.admin(asked, "cluster.shutdown");
            cluster.wait_ended().unwrap();
            (0..3).rev().for_each(|node| cluster.start(node));
            cluster.wait_served().unwrap();
            assert_eq!(copies(&cluster), before, "{mode:?}, asked {asked}");
            let mut client = Client::tcp(cluster.clients()[2]);
            for n in 0..300 {
                client.ask(format!("get k{n}\r\n"), &format!("VALUE k{n} 0 1\r\n1\r\nEND\r\n"));
            }
        }
    }
}

/// R33, R64: how long clients wait is printed, and depends on the machine; that nobody is told of a
/// failure does not.
#[test]
fn a_node_that_is_stopped_hands_over_first() {
    for setup in [DISTRIBUTED, REPLICATED] {
        let mut cluster = Cluster::start_all(setup).unwrap();
        let gaps = failovers(&mut cluster, End::Stop, 3, |node, seen| {
            println!("{:?}, node {node}: {seen:?} ms and failures", setup.mode);
        });
        let gaps = gaps.inspect_err(|_| cluster.keep_folder()).unwrap();
        if gaps.failed > 0 {
            cluster.keep_folder();
        }
        assert_eq!((gaps.failed, gaps.count()), (0, 12), "{setup:?}, see {:?}", cluster.folder());
        for node in 0..setup.nodes {
            let log = std::fs::read_to_string(cluster.folder().join(format!("n{node}.log")));
            assert!(log.unwrap().contains(r#""event":"handed_over""#), "{setup:?}, node {node}");
        }
    }
}

/// `ms` and `mg` of one key in one packet: `mg` answered `EN` while the value was on its way to its
/// backup, because it counts as a write (it may win the right to fill a key), and only reads
/// waited for what the connection had written before them.
#[test]
fn a_connection_reads_what_it_has_written() {
    let cluster = Cluster::start_all(DISTRIBUTED).unwrap();
    for (node, address) in cluster.clients().iter().enumerate() {
        let mut client = Client::tcp(*address);
        for key in (0..20).map(|number| format!("own{node}-{number}")) {
            client.ask(format!("ms {key} 1\r\n1\r\nmg {key} v\r\n"), "HD\r\nVA 1\r\n1\r\n");
            let line = format!("set {key} 0 0 1\r\n2\r\nget {key}\r\ngat 0 {key}\r\n");
            let value = format!("VALUE {key} 0 1\r\n2\r\nEND\r\n");
            client.ask(line, &format!("STORED\r\n{value}{value}"));
        }
    }
}

#[test]
fn nodes_that_start_at_once_found_one_cluster() {
    let took = starts(DISTRIBUTED, 3).unwrap();
    assert_eq!(took.len(), 3);
}

/// R62: all copies are on disks alone, and no two nodes come back at the same time.
fn all_are_killed_and_started(mode: Mode) {
    let kill = [0, 1, 2].map(Step::Kill);
    let start = [Step::Start(2), Step::Wait(300), Step::Start(0), Step::Start(1), Step::Settle];
    let restart = [&[Step::Wait(1_500)][..], &kill, &start].concat();
    holds(Setup { mode, kept: true, ..DISTRIBUTED }, &[restart.clone(), restart].concat());
}

#[test]
fn what_was_acknowledged_is_there_after_all_were_killed() {
    all_are_killed_and_started(Mode::Distributed);
}

#[test]
fn what_was_acknowledged_is_there_after_all_were_killed_replicated() {
    all_are_killed_and_started(Mode::Replicated);
}

/// A node that comes back alone, while the others serve, is filled again.
#[test]
fn a_kept_node_is_killed_and_filled_again() {
    let one = |node| [Step::Kill(node), Step::Wait(700), Step::Start(node), Step::Settle];
    let steps = [&[Step::Wait(500)][..], &one(0), &one(1)].concat();
    holds(Setup { kept: true, ..DISTRIBUTED }, &steps);
}

/// R63: copies that are damaged are not there, and are filled again from others: then these may go.
#[test]
fn damaged_copies_are_filled_again() {
    // The one whose disk is damaged goes first. When it was the second, it had a moment on a busy
    // machine to go on without the first, and then the only copies in sync were those damaged.
    let (kill, start) = ([1, 0, 2].map(Step::Kill), [0, 1, 2].map(Step::Start));
    let again = [&kill[..], &[Step::Damage(1)], &start, &[Step::Settle, Step::Wait(500)]].concat();
    let next = [Step::Kill(0), Step::Wait(2_500), Step::Start(0), Step::Settle];
    let steps = [&[Step::Wait(1_000)][..], &again, &next].concat();
    let cluster = holds(Setup { kept: true, ..DISTRIBUTED }, &steps);
    let log = std::fs::read_to_string(cluster.folder().join("n1.log")).unwrap();
    assert!(log.contains("copies_put_aside"), "{log}");
}

/// A node whose disk is full refuses what it would have to keep, or ends; with room it is filled
/// again.
#[test]
fn a_full_disk_costs_nothing_that_was_acknowledged() {
    if !may_mount() {
        return println!("left out: this user may not mount a small disk");
    }
    let steps = [
        Step::Wait(500),
        Step::FillDisk(1),
        Step::Wait(3_000),
        Step::Kill(1),
        Step::FreeDisk(1),
        Step::Start(1),
        Step::Settle,
    ];
    for mode in [Mode::Distributed, Mode::Replicated] {
        holds(Setup { mode, kept: true, small_disks: true, ..DISTRIBUTED }, &steps);
    }
}

#[test]
fn the_others_have_all_that_a_lost_disk_had() {
    let mut cluster = Cluster::start_all(Setup { kept: true, ..DISTRIBUTED }).unwrap();
    let keys: Vec<String> = (0..300).map(|number| format!("kept{number}")).collect();
    let mut client = Client::tcp(cluster.clients()[0]);
    for key in &keys {
        client.ask(format!("set {key} 0 0 1\r\n1\r\n"), "STORED\r\n");
    }
    (0..3).for_each(|node| cluster.kill(node));
    cluster.wipe(2);
    [0, 1].into_iter().for_each(|node| cluster.start(node));
    cluster.wait_served().unwrap();
    for node in [0, 1] {
        let mut client = Client::tcp(cluster.clients()[node]);
        for key in &keys {
            client.ask(format!("get {key}\r\n"), &format!("VALUE {key} 0 1\r\n1\r\nEND\r\n"));
        }
    }
}
