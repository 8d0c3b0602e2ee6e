//! Copies that are written behind (`persist = async`), in clusters of real processes: what a crash
//! of one loses, what one of all does, and an end as it should be (R62, R64).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and some of it is about time that passes"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use isogrid_engine::hash::stable_segment;
use isogrid_tests::cluster::{Cluster, Mode, Script, Setup, Step, play};
use isogrid_tests::harness::Client;

const SEGMENTS: usize = 256;
const PIPELINED: usize = 20;
const BEHIND: Setup = Setup { behind: true, ..Setup::PLAIN };
const TAKEN_UP: &str = "isogrid_cluster_copies_taken_up_total{cache=\"default\"}";

/// Stores these together; each is acknowledged.
fn store(client: &mut Client, keys: &[String]) {
    client.send(keys.iter().map(|key| format!("set {key} 0 0 1\r\n1\r\n")).collect::<String>());
    keys.iter().for_each(|key| assert_eq!(client.line(), "STORED", "{key}"));
}

/// Stores these until nobody answers any more: how many were acknowledged.
fn write_until_killed(node: SocketAddr, keys: &[String]) -> usize {
    let stream = TcpStream::connect(node).unwrap();
    let (mut lines, mut writer) = (BufReader::new(stream.try_clone().unwrap()).lines(), stream);
    let mut is_stored = |keys: &[String]| {
        let sent: String = keys.iter().map(|key| format!("set {key} 0 0 1\r\n1\r\n")).collect();
        writer.write_all(sent.as_bytes()).is_ok()
            && keys.iter().all(|_| matches!(lines.next(), Some(Ok(line)) if line == "STORED"))
    };
    PIPELINED * keys.chunks(PIPELINED).take_while(|keys| is_stored(keys)).count()
}

/// Which of these a node has.
fn found(cluster: &Cluster, node: usize, keys: &[String]) -> Vec<bool> {
    let mut client = Client::tcp(cluster.clients()[node]);
    let mut has = |key: &String| {
        client.send(format!("get {key}\r\n"));
        client.lines_to("END").len() > 1
    };
    keys.iter().map(&mut has).collect()
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

#[expect(clippy::disallowed_methods, reason = "what is promised is a time")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

fn taken_up(cluster: &Cluster) -> u64 {
    (0..cluster.len()).map(|node| cluster.metric(node, TAKEN_UP)).sum()
}

/// One is killed after the other, under load, and comes back with a disk that lacks the last of what it
/// had acknowledged: nothing is lost, as clients see it.
#[test]
fn a_crash_of_one_loses_nothing() {
    for mode in [Mode::Distributed, Mode::Replicated] {
        let one = |node, ms| [Step::Kill(node), Step::Wait(ms), Step::Start(node), Step::Settle];
        let steps = [&one(0, 2_500)[..], &one(1, 50), &one(2, 700), &one(0, 50)].concat();
        let under_load = [&[Step::Wait(500)][..], &steps].concat();
        let mut cluster = Cluster::start_all(Setup { mode, ..BEHIND }).unwrap();
        let script = Script { before: Vec::new(), under_load };
        let report = play(&mut cluster, &script, 1, 0).unwrap_or_else(|why| {
            cluster.keep_folder();
            panic!("{script}:\n{why}");
        });
        println!("{report}");
        assert!(report.acknowledged > 100, "clients were answered: {report}");
        assert_eq!(taken_up(&cluster), 0, "others had more than the disks");
    }
}

/// All are killed under writes: what was acknowledged a second before is there, of what came later a
/// front part of each segment, and all members say the same. That it may lack something is said.
#[test]
fn a_crash_of_all_loses_the_last_of_it() {
    for mode in [Mode::Distributed, Mode::Replicated] {
        let mut cluster = Cluster::start_all(Setup { mode, ..BEHIND }).unwrap();
        let (before, late) = (names("b", 2_000), names("l", 200_000));
        let mut client = Client::tcp(cluster.clients()[0]);
        store(&mut client, &before);
        wait(Duration::from_secs(1));
        let written = std::thread::scope(|scope| {
            let writer = scope.spawn(|| write_until_killed(cluster.clients()[0], &late));
            wait(Duration::from_millis(700));
            (0..3).for_each(|node| cluster.signal(node, "KILL"));
            writer.join().unwrap()
        });
        (0..3).for_each(|node| cluster.kill(node));
        assert!(written > 0 && written < late.len(), "{written} were acknowledged");
        [2, 0, 1].into_iter().for_each(|node| cluster.start(node));
        cluster.settle().unwrap();
        let late = &late[..written];
        assert!(found(&cluster, 0, &before).into_iter().all(|is_there| is_there));
        let first = found(&cluster, 0, late);
        for node in 1..3 {
            assert_eq!(found(&cluster, node, late), first, "node {node}");
        }
        let mut over = BTreeMap::new();
        for (key, is_there) in late.iter().zip(&first) {
            let segment = stable_segment(key.as_bytes(), SEGMENTS);
            let is_over = over.entry(segment).or_insert(false);
            assert!(!(*is_there && *is_over), "{key} is there, and one before it is lost");
            *is_over |= !is_there;
        }
        let lost = first.iter().filter(|is_there| !**is_there).count();
        println!("{mode:?}: {lost} of {written} are lost");
        assert!(taken_up(&cluster) > 0);
        let logs = (0..3).map(|node| cluster.folder().join(format!("n{node}.log")));
        let mut logs = logs.map(|path| std::fs::read_to_string(path).unwrap());
        assert!(logs.any(|log| log.contains(r#""event":"copies_taken_up""#)));
    }
}

/// Nodes that are stopped one after the other, and a cluster that is shut down, lose nothing at all, and
/// know that.
#[test]
fn an_end_as_it_should_be_loses_nothing() {
    let mut cluster = Cluster::start_all(BEHIND).unwrap();
    let ends: [fn(&mut Cluster); 2] = [
        |cluster| (0..3).for_each(|node| cluster.stop(node).unwrap()),
        |cluster| {
            cluster.admin(1, "cluster.shutdown");
            cluster.wait_ended().unwrap();
        },
    ];
    let mut known = Vec::new();
    for (at, end) in ends.into_iter().enumerate() {
        let keys = names(&format!("k{at}-"), 3_000);
        let mut client = Client::tcp(cluster.clients()[0]);
        keys.chunks(500).for_each(|keys| store(&mut client, keys));
        drop(client);
        known.extend(keys);
        end(&mut cluster);
        (0..3).for_each(|node| cluster.start(node));
        cluster.settle().unwrap();
        assert!(found(&cluster, 2, &known).into_iter().all(|is_there| is_there), "end {at}");
        assert_eq!(taken_up(&cluster), 0, "end {at}");
    }
}
