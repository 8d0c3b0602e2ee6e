//! Invalidated caches on three real servers: what is written on one is served old by none (R38-R40, I17).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]
#![allow(clippy::disallowed_methods, reason = "it waits for real processes on the real clock")]

#[path = "cluster_cli/dev.rs"]
mod dev;
#[path = "cluster_invalidated/native.rs"]
mod native;
#[path = "cluster_invalidated/race.rs"]
mod race;

use std::time::{Duration, Instant};

use isogrid_tests::cluster::{Cluster, Mode, Setup};
use isogrid_tests::harness::Client;

const SETUP: Setup = Setup { mode: Mode::Invalidated, ..Setup::PLAIN };

fn three() -> Cluster {
    Cluster::start_all(SETUP).unwrap()
}

fn clients(cluster: &Cluster) -> [Client; 3] {
    [0, 1, 2].map(|node| Client::tcp(cluster.clients()[node]))
}

/// A client that waits for who waits for a lease.
fn patient(cluster: &Cluster, node: usize) -> Client {
    let mut client = Client::tcp(cluster.clients()[node]);
    client.set_patience(Duration::from_secs(20));
    client
}

/// Each node loads a key that it has missed.
fn load(clients: &mut [Client; 3], key: &str, value: &str) {
    for client in clients {
        client.ask(format!("get {key}\r\n"), "END\r\n");
        client.ask(format!("add {key} 0 0 {}\r\n{value}\r\n", value.len()), "STORED\r\n");
    }
}

fn has(client: &mut Client, key: &str, value: &str) {
    let said = format!("VALUE {key} 0 {}\r\n{value}\r\nEND\r\n", value.len());
    client.ask(format!("get {key}\r\n"), &said);
}

fn misses(client: &mut Client, key: &str) {
    client.ask(format!("get {key}\r\n"), "END\r\n");
}

/// A line that writes `k` on node 2 and its answer, and whether the others lose what they have of it.
const WRITES: [(&str, &str, bool); 14] = [
    ("set k 0 0 3\r\nnew\r\n", "STORED\r\n", true),
    ("set k 0 0 3 noreply\r\nnew\r\nmn\r\n", "MN\r\n", true),
    ("replace k 0 0 3\r\nnew\r\n", "STORED\r\n", true),
    ("append k 0 0 1\r\n7\r\n", "STORED\r\n", true),
    ("incr k 5\r\n", "6\r\n", true),
    ("delete k\r\n", "DELETED\r\n", true),
    ("touch k 60\r\n", "TOUCHED\r\n", true),
    ("ms k 3\r\nnew\r\n", "HD\r\n", true),
    ("md k I\r\n", "HD\r\n", true),
    ("ma k\r\n", "HD\r\n", true),
    ("flush_all\r\n", "OK\r\n", true),
    ("gat 60 k\r\n", "VALUE k 0 1\r\n1\r\nEND\r\n", false),
    ("add k 0 0 3\r\nnew\r\n", "NOT_STORED\r\n", false),
    ("mg k s v\r\n", "VA 1 s1\r\n1\r\n", false),
];

#[test]
fn what_is_written_on_one_is_dropped_on_the_others() {
    let cluster = three();
    let mut all = clients(&cluster);
    for (line, said, is_write) in WRITES {
        all[0].ask("flush_all\r\n", "OK\r\n");
        load(&mut all, "k", "1");
        load(&mut all, "other", "x");
        all[2].ask(line, said);
        for client in &mut all[..2] {
            match is_write {
                true => misses(client, "k"),
                false => has(client, "k", "1"),
            }
            match line {
                "flush_all\r\n" => misses(client, "other"),
                _ => has(client, "other", "x"),
            }
        }
    }
}

/// The others may have what the writer has not.
#[test]
fn what_the_writer_does_not_have_is_dropped_on_the_others() {
    let cluster = three();
    let mut all = clients(&cluster);
    let large = format!("set k 0 0 {}\r\n{}\r\n", 2 << 20, "x".repeat(2 << 20));
    let lines = [
        ("delete k\r\n", "NOT_FOUND\r\n"),
        ("touch k 0\r\n", "NOT_FOUND\r\n"),
        ("md k\r\n", "NF\r\n"),
        (&large, "SERVER_ERROR object too large for cache\r\n"),
    ];
    for (line, said) in lines {
        load(&mut all, "k", "1");
        all[2].ask("flush_all\r\n", "OK\r\n");
        all[0].ask("get k\r\nadd k 0 0 1\r\n1\r\n", "END\r\nSTORED\r\n");
        all[2].ask(line, said);
        misses(&mut all[0], "k");
    }
}

#[test]
fn a_load_that_is_older_than_a_write_is_not_stored() {
    let cluster = three();
    let mut all = clients(&cluster);
    // An `add` behind the miss of its own connection.
    misses(&mut all[0], "k");
    all[2].ask("set k 0 0 3\r\nnew\r\n", "STORED\r\n");
    all[0].ask("add k 0 0 3\r\nold\r\n", "NOT_STORED\r\n");
    misses(&mut all[0], "k");
    // That miss was a new one.
    all[0].ask("add k 0 0 3\r\nnew\r\n", "STORED\r\n");
    has(&mut all[2], "k", "new");
    // The same of memcached's lease, also over another connection.
    let mut other = Client::tcp(cluster.clients()[1]);
    all[1].send("mg m c v N30\r\n");
    let won = all[1].line();
    let cas = won.split_whitespace().find_map(|flag| flag.strip_prefix('c')).unwrap().to_owned();
    assert!(won.contains(" W"), "{won}");
    assert!(all[1].line().is_empty());
    all[2].ask("set m 0 0 3\r\nnew\r\n", "STORED\r\n");
    other.ask(format!("ms m 3 C{cas}\r\nold\r\n"), "NF\r\n");
    misses(&mut all[1], "m");
}

/// A fill costs the others nothing; a store in place of what was there does.
#[test]
fn a_fill_of_a_placeholder_is_no_write() {
    let cluster = three();
    let mut all = clients(&cluster);
    for node in [0, 1] {
        all[node].send("mg k c v N30\r\n");
        let won = all[node].line();
        assert!(all[node].line().is_empty() && won.contains(" W"), "{won}");
        let cas = won.split_whitespace().find_map(|flag| flag.strip_prefix('c')).unwrap();
        all[node].ask(format!("ms k 1 C{cas}\r\n1\r\n"), "HD\r\n");
    }
    has(&mut all[0], "k", "1");
    has(&mut all[1], "k", "1");
    all[1].send("gets k\r\n");
    let cas = all[1].line().split_whitespace().last().unwrap().to_owned();
    assert_eq!([all[1].line(), all[1].line()], ["1", "END"]);
    all[1].ask(format!("cas k 0 0 1 {cas}\r\n2\r\n"), "STORED\r\n");
    misses(&mut all[0], "k");
}

#[test]
fn a_killed_member_holds_writes_up_until_its_lease_is_over() {
    let mut cluster = three();
    let mut all = clients(&cluster);
    load(&mut all, "k", "old");
    cluster.kill(0);
    let mut writer = patient(&cluster, 1);
    let begin = Instant::now();
    writer.ask("set k 0 0 3\r\nnew\r\n", "STORED\r\n");
    println!("a write beside a killed member took {:?}", begin.elapsed());
    misses(&mut all[2], "k");
    let begin = Instant::now();
    writer.ask("set k 0 0 3\r\nnew\r\n", "STORED\r\n");
    println!("the next one {:?}", begin.elapsed());
    // It begins anew with an empty cache, and is told again.
    cluster.start(0);
    cluster.wait_served().unwrap();
    let mut back = patient(&cluster, 0);
    misses(&mut back, "k");
    back.ask("add k 0 0 3\r\nnew\r\n", "STORED\r\n");
    writer.ask("delete k\r\n", "DELETED\r\n");
    misses(&mut back, "k");
}

/// What clients wait is not measured: it is a tenth of what a killed member costs, or less.
#[test]
fn a_member_that_is_stopped_holds_nobody_up() {
    let mut cluster = three();
    let mut all = clients(&cluster);
    load(&mut all, "k", "old");
    cluster.stop(0).unwrap();
    let begin = Instant::now();
    all[1].ask("set k 0 0 3\r\nnew\r\n", "STORED\r\n");
    println!("a write beside a stopped member took {:?}", begin.elapsed());
    misses(&mut all[2], "k");
}

#[test]
fn a_member_that_stood_still_serves_nothing_of_before() {
    let cluster = three();
    let mut writer = patient(&cluster, 1);
    for round in 0..4 {
        let (key, mut sleeper) = (format!("k{round}"), patient(&cluster, 0));
        sleeper.ask(format!("get {key}\r\nadd {key} 0 0 3\r\nold\r\n"), "END\r\nSTORED\r\n");
        cluster.signal(0, "STOP");
        std::thread::sleep(Duration::from_millis(200));
        // It gets the request when it goes on, before it knows that time has passed.
        sleeper.send(format!("get {key}\r\n"));
        writer.ask(format!("set {key} 0 0 3\r\nnew\r\n"), "STORED\r\n");
        cluster.signal(0, "CONT");
        assert_eq!(sleeper.line(), "END", "round {round}");
    }
}

#[test]
fn a_minority_refuses_instead_of_serving_what_may_be_old() {
    let cluster = three();
    let mut all = clients(&cluster);
    load(&mut all, "k", "old");
    let (mut alone, mut writer) = (patient(&cluster, 0), patient(&cluster, 1));
    cluster.network().isolate(0, isogrid_tests::cluster::Link::Swallowed);
    writer.ask("set k 0 0 3\r\nnew\r\n", "STORED\r\n");
    alone.ask("get k\r\n", "SERVER_ERROR nobody serves this key now: try again\r\n");
    alone.ask("set x 0 0 1\r\n1\r\n", "SERVER_ERROR nobody serves this key now: try again\r\n");
    cluster.network().heal();
    misses(&mut alone, "k");
}
