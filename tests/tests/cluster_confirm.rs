//! Caches whose reads are confirmed by the other copies (`read_mode = confirm`, R25): real processes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

#[path = "cluster_cli/dev.rs"]
mod dev;

use dev::{Dev, until};
use isogrid_tests::cluster::{Cluster, Mode, Script, Setup, Step, play};
use isogrid_tests::harness::{opcode, request, send_signal};
use serde_json::json;

const CONFIRM: [&str; 2] = ["--set", "cache.default.read_mode=confirm"];
const KEYS: usize = 24;

/// Under load: a member that sleeps beyond its lease, one that does not, and one that is killed.
#[test]
fn what_is_read_is_true_while_members_sleep_and_are_killed() {
    let sleep = |node, ms| [Step::Stop(node), Step::Wait(ms), Step::Continue(node)];
    let kill = [Step::Wait(2_000), Step::Kill(1), Step::Wait(2_500), Step::Start(1), Step::Settle];
    let steps =
        [&[Step::Wait(500)][..], &sleep(0, 3_000), &[Step::Settle], &sleep(2, 400), &kill].concat();
    for mode in [Mode::Distributed, Mode::Replicated] {
        let mut cluster =
            Cluster::start_all(Setup { mode, confirm: true, ..Setup::PLAIN }).unwrap();
        let script = Script { before: Vec::new(), under_load: steps.clone() };
        let report = play(&mut cluster, &script, 1, 0).unwrap_or_else(|why| {
            cluster.keep_folder();
            panic!("{script}:\n{why}");
        });
        println!("{script}:\n  {report}");
        assert!(report.acknowledged > 100, "clients were answered: {report}");
    }
}

/// What a member does not get confirmed any more is read where the key is served by then.
#[test]
fn what_is_read_is_true_while_members_end_and_start_one_after_the_other() {
    let one = |node| [Step::End(node), Step::Start(node), Step::Settle];
    let under_load = [&[Step::Wait(500)][..], &one(0), &one(1), &one(2)].concat();
    let mut cluster = Cluster::start_all(Setup { confirm: true, ..Setup::PLAIN }).unwrap();
    let script = Script { before: Vec::new(), under_load };
    let report = play(&mut cluster, &script, 1, 0).unwrap_or_else(|why| panic!("{script}:\n{why}"));
    println!("{script}:\n  {report}");
    assert!(report.acknowledged > 100, "clients were answered: {report}");
}

/// What a key is, as a node says; `None`: it says that it does not know.
type Read = fn(&Dev, usize, &str) -> Option<String>;
/// Over each of the protocols.
const PROTOCOLS: [Read; 6] = [text, meta, binary, native, native_many, http];

fn text(dev: &Dev, node: usize, key: &str) -> Option<String> {
    let mut client = dev.client(node);
    client.send(format!("get {key} {key}-none\r\n"));
    let first = client.line();
    first.starts_with("VALUE").then(|| client.line())
}

fn meta(dev: &Dev, node: usize, key: &str) -> Option<String> {
    let mut client = dev.client(node);
    client.send(format!("mg {key} v\r\n"));
    client.line().starts_with("VA").then(|| client.line())
}

fn binary(dev: &Dev, node: usize, key: &str) -> Option<String> {
    let answer = dev.client(node).call(&request(opcode::GET, 0, 0, b"", key.as_bytes(), b""));
    (answer.status == 0).then(|| String::from_utf8(answer.value).unwrap())
}

fn native(dev: &Dev, node: usize, key: &str) -> Option<String> {
    let mut client = dev.native(node);
    let cache = client.cache("default");
    let body = json!({"key": key, "read": {"VALUE": true}});
    let answer = client.call("cache.GET", cache, body);
    answer[1]["entry"]["VALUE"].as_str().map(str::to_owned)
}

fn native_many(dev: &Dev, node: usize, key: &str) -> Option<String> {
    let mut client = dev.native(node);
    let cache = client.cache("default");
    let body = json!({"keys": [key, "none"], "read": {"VALUE": true}});
    let answer = client.call("cache.GET_MANY", cache, body);
    answer[1]["entries"][0]["entry"]["VALUE"].as_str().map(str::to_owned)
}

fn http(dev: &Dev, node: usize, key: &str) -> Option<String> {
    let answer = dev.http(node, &format!("/v1/caches/default/entries/{key}"));
    (answer.status == 200).then(|| answer.text())
}

/// Writes a value to all keys at a node; each is acknowledged in the end.
fn write(dev: &Dev, node: usize, value: &str) {
    let mut client = dev.client(node);
    for key in (0..KEYS).map(|key| format!("k{key}")) {
        until("it is stored", || {
            client.send(format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()));
            client.line() == "STORED"
        });
    }
}

/// Reads all keys at a node over all protocols: nothing but what was acknowledged last.
fn reads(dev: &Dev, node: usize, value: &str) {
    for (at, key) in (0..KEYS).map(|key| format!("k{key}")).enumerate() {
        let protocol = PROTOCOLS[at % PROTOCOLS.len()];
        until("it is read", || {
            let said = protocol(dev, node, &key);
            assert!(said.as_deref().is_none_or(|said| said == value), "{key} of {node}: {said:?}");
            said.is_some()
        });
    }
}

#[test]
fn each_protocol_reads_what_was_acknowledged_last() {
    let dev = Dev::three(&CONFIRM);
    write(&dev, 0, "1");
    (0..3).for_each(|node| reads(&dev, node, "1"));
    // It sleeps while others take over, and is asked as soon as it wakes.
    let pid = dev.pid(0);
    send_signal(pid, "STOP");
    write(&dev, 1, "2");
    send_signal(pid, "CONT");
    (0..3).for_each(|node| reads(&dev, node, "2"));
    let mut client = dev.native(0);
    let cache = client.cache("default");
    let size = client.call("cache.SIZE", cache, json!({"exact": true}));
    assert_eq!(size[1]["entries"], KEYS.to_string(), "{size}");
    dev.settles(&[0, 1, 2]);
    dev.kill(1);
    write(&dev, 2, "3");
    [0, 2].iter().for_each(|node| reads(&dev, *node, "3"));
}

/// What it costs: where the member that serves a key is asked, a read that comes alone takes a frame to
/// each member with a copy and one back, and reads that come together share them. By the lease it is
/// none.
#[test]
fn reads_that_come_together_are_confirmed_together() {
    let dev = Dev::three(&CONFIRM);
    write(&dev, 0, "1");
    let us = dev.metric(0, "isogrid_cluster_member");
    let ours = |key: &String| {
        let said = dev.said(0, &format!("cache locate {key} -o json")).json();
        said["primary"]["member"] == us
    };
    let keys: Vec<String> = (0..KEYS).map(|key| format!("k{key}")).filter(ours).collect();
    let sent = || dev.metric(0, "isogrid_cluster_frames_total{lane=\"data\",direction=\"sent\"}");
    let mut client = dev.client(0);
    let before = sent();
    let count = 1_000;
    for _ in 0..count {
        client.send(keys.iter().map(|key| format!("mg {key} v\r\n")).collect::<String>());
        keys.iter().for_each(|_| assert_eq!([client.line(), client.line()], ["VA 1", "1"]));
    }
    let frames = sent() - before;
    assert!(keys.len() > 3, "{keys:?}");
    assert!((count..5 * count / 2).contains(&frames), "{frames} frames");
    println!("{} reads at a time, {count} times: {frames} frames", keys.len());
}
