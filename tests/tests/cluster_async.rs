//! Writes that are acknowledged before the copies have them, and copies that come back: real
//! processes (R37, R43).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

use std::collections::BTreeMap;

use isogrid_engine::hash::stable_segment;
use isogrid_tests::cluster::{Cluster, Link, Setup};
use isogrid_tests::harness::{Client, wait_until};
use serde_json::Value;

const SEGMENTS: usize = 256;
const ASYNC: Setup = Setup { at_once: true, ..Setup::PLAIN };

fn segment(key: &str) -> usize {
    stable_segment(key.as_bytes(), SEGMENTS)
}

/// Who serves each segment, by its number, as a node sees it.
fn primaries(cluster: &Cluster, node: usize) -> Vec<Option<u64>> {
    let told: Value = serde_json::from_str(&cluster.admin(node, "cluster.topology")).unwrap();
    let segments = told["caches"][0]["segments"].as_array().unwrap().clone();
    segments.iter().map(|segment| segment["primary"].as_u64()).collect()
}

/// Stores these together; each is acknowledged.
fn store(client: &mut Client, keys: &[String], value: &str) {
    let len = value.len();
    let lines = keys.iter().map(|key| format!("set {key} 0 0 {len}\r\n{value}\r\n"));
    client.send(lines.collect::<String>());
    keys.iter().for_each(|key| assert_eq!(client.line(), "STORED", "{key}"));
}

fn has(client: &mut Client, key: &str) -> bool {
    client.send(format!("get {key}\r\n"));
    let lines = client.lines_to("END");
    lines.len() > 1
}

/// What the lines of a node's files of lost writes say: each write's key, value and place.
fn lines(cluster: &Cluster, node: usize) -> Vec<(String, String, [u64; 3])> {
    let Ok(folder) = cluster.folder().join(format!("d{node}/discarded")).read_dir() else {
        return Vec::new();
    };
    let files = folder.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let text: String = files.collect();
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!([&line["op"], &line["cache"]], ["put", "default"], "{line}");
        let word = |what: &str| line[what].as_str().unwrap().to_owned();
        let place = ["segment", "epoch", "seq"].map(|what| line[what].as_u64().unwrap());
        (word("key"), word("value_base64"), place)
    };
    text.lines().map(line).collect()
}

/// A member goes on for a moment without the others, and acknowledges what no copy gets. Whether it
/// is killed or comes back: of each segment a front part of its writes is left, that is all of those
/// before, and the member counts what is lost. Kept copies tell the next process what there was. Where
/// the member keeps what is lost its files have exactly that, in order.
#[test]
fn what_a_failover_loses_is_an_end_and_is_counted() {
    for (kept, keeps_lost) in [(false, false), (false, true), (true, true)] {
        let mut cluster = Cluster::start_all(Setup { kept, keeps_lost, ..ASYNC }).unwrap();
        let us = cluster.metric(0, "isogrid_cluster_member");
        let served = primaries(&cluster, 0);
        let mut client = Client::tcp(cluster.clients()[0]);
        let is_ours = |key: &String| served[segment(key)] == Some(us);
        let keys: Vec<String> = (0..3_000).map(|n| format!("k{n}")).filter(is_ours).collect();
        assert!(keys.len() > 300, "{} of {served:?}", keys.len());
        let (before, behind) = keys.split_at(keys.len() / 2);
        store(&mut client, before, "1");
        wait_until("all copies have it", || {
            cluster.metric(0, "isogrid_cluster_async_tail_bytes{cache=\"default\"}") == 0
        });
        cluster.network().isolate(0, Link::Swallowed);
        store(&mut client, behind, "2");
        if kept {
            cluster.kill(0);
        }
        wait_until("others serve all", || {
            primaries(&cluster, 1).iter().all(|node| node.is_some_and(|node| node != us))
        });
        cluster.network().heal();
        if kept {
            cluster.start(0);
        }
        cluster.settle().unwrap();
        let mut client = Client::tcp(cluster.clients()[1]);
        let mut lost = Vec::new();
        let mut over = BTreeMap::new();
        for (at, key) in keys.iter().enumerate() {
            let is_there = has(&mut client, key);
            assert!(is_there || at >= before.len(), "{key} was on all copies");
            let is_over = over.entry(segment(key)).or_insert(false);
            assert!(!(is_there && *is_over), "{key} is there, and one before it is lost");
            *is_over |= !is_there;
            lost.extend((!is_there).then(|| key.clone()));
        }
        let count = |what: &str| {
            cluster.metric(0, &format!("isogrid_cluster_async_{what}_total{{cache=\"default\"}}"))
        };
        let counted = count("discarded");
        println!("kept {kept}: {} of {} are lost, {counted} counted", lost.len(), keys.len());
        assert!(!lost.is_empty() && counted >= lost.len() as u64, "{lost:?}, {counted} counted");
        assert!(counted <= behind.len() as u64, "{counted} of {}", behind.len());
        let mut told = lines(&cluster, 0);
        assert_eq!(told.len() as u64, if keeps_lost { counted } else { 0 });
        assert_eq!(told.len() as u64, count("discarded_kept"));
        if keeps_lost {
            assert!(told.iter().all(|(_, value, _)| value == "Mg=="), "each is a 2: {told:?}");
            assert!(told.iter().all(|(key, _, [at, ..])| segment(key) as u64 == *at));
            let places: Vec<[u64; 2]> = told.iter().map(|(.., [at, _, seq])| [*at, *seq]).collect();
            for at in 0..SEGMENTS as u64 {
                let of = places.iter().filter(|place| place[0] == at);
                assert!(of.is_sorted(), "{places:?}");
            }
            told.sort();
            lost.sort();
            assert!(told.iter().map(|(key, ..)| key).eq(&lost), "{told:?}, and lost are {lost:?}");
        }
        let log = std::fs::read_to_string(cluster.folder().join("n0.log")).unwrap();
        assert!(log.contains(r#""event":"async_discarded""#), "{log}");
    }
}

/// A node that was away for some writes gets those, and not all entries again: what it took the other
/// way is what the same node gets when its disk is damaged.
#[test]
fn a_node_that_was_away_gets_what_it_lacks() {
    gets_what_it_lacks(Setup { kept: true, ..Setup::PLAIN });
}

/// The same of a disk that lacks the last of what the node had acknowledged.
#[test]
fn a_node_that_is_written_behind_gets_what_it_lacks() {
    gets_what_it_lacks(Setup { behind: true, ..Setup::PLAIN });
}

fn gets_what_it_lacks(setup: Setup) {
    let mut cluster = Cluster::start_all(setup).unwrap();
    let sent = |cluster: &Cluster, kind: &str| -> [u64; 2] {
        ["fills", "fill_bytes"].map(|what| {
            let series =
                format!("isogrid_cluster_{what}_total{{cache=\"default\",kind=\"{kind}\"}}");
            [0, 1].iter().map(|node| cluster.metric(*node, &series)).sum()
        })
    };
    let value = "v".repeat(1_000);
    let keys = |from: usize, to: usize| (from..to).map(|n| format!("k{n}")).collect::<Vec<_>>();
    let mut client = Client::tcp(cluster.clients()[0]);
    keys(0, 5_000).chunks(500).for_each(|keys| store(&mut client, keys, &value));
    let away = |cluster: &mut Cluster, client: &mut Client, from: usize, damaged: bool| {
        wait_until("its disk has what it has", || {
            cluster.metric(2, "isogrid_cluster_unwritten_bytes") == 0
        });
        cluster.kill(2);
        if damaged {
            cluster.damage(2);
        }
        keys(from, from + 500).chunks(100).for_each(|keys| store(client, keys, &value));
        cluster.start(2);
        cluster.settle().unwrap();
    };
    let begin = ["lacking", "whole"].map(|kind| sent(&cluster, kind));
    away(&mut cluster, &mut client, 10_000, false);
    let after = ["lacking", "whole"].map(|kind| sent(&cluster, kind));
    away(&mut cluster, &mut client, 11_000, true);
    let end = sent(&cluster, "whole");
    let [fills, bytes] = [0, 1].map(|at| after[0][at] - begin[0][at]);
    let [whole_fills, whole_bytes] = [0, 1].map(|at| end[at] - after[1][at]);
    println!("what it lacked: {fills} fills, {bytes} bytes; all: {whole_fills}, {whole_bytes}");
    assert_eq!(after[1], begin[1], "nothing was sent whole");
    // On a busy machine one is given up and begun anew, and counts twice.
    assert!(fills.min(whole_fills) > 100, "{fills} and {whole_fills}");
    assert!(bytes * 8 < whole_bytes, "{bytes} and {whole_bytes}");
}
