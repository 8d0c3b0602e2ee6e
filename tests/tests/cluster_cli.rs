//! `isogrid dev`, and what commands and health checks say of the cluster that it makes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and it waits for real processes on the real clock"
)]

#[path = "cluster_cli/certificates.rs"]
mod certificates;
#[path = "cluster_cli/dev.rs"]
mod dev;

use dev::{Dev, Said, asked, until};
use isogrid_tests::harness::{Server, temporary};
use serde_json::{Value, json};

/// `/health/cluster` of a node, with what is behind the question mark.
fn health(dev: &Dev, node: usize, query: &str) -> (u16, Value) {
    let answer = dev.http(node, &format!("/health/cluster{query}"));
    (answer.status, serde_json::from_slice(&answer.body).unwrap())
}

fn is_whole(dev: &Dev, nodes: &[usize]) -> bool {
    nodes.iter().all(|node| health(dev, *node, "").0 == 200 && dev.is_ready(*node))
}

fn numbers(members: &Value, field: &str) -> Vec<u64> {
    members.as_array().unwrap().iter().map(|member| member[field].as_u64().unwrap()).collect()
}

#[test]
fn one_command_makes_a_cluster_that_is_seen_and_heals() {
    let mut dev = Dev::start(&["--nodes", "3"]);
    until("every copy is there", || is_whole(&dev, &[0, 1, 2]));
    dev.client(0).ask("set greeting 0 0 5\r\nhello\r\n", "STORED\r\n");
    let reads = |dev: &Dev, nodes: &[usize]| {
        for node in nodes {
            dev.client(*node).ask("get greeting\r\n", "VALUE greeting 0 5\r\nhello\r\nEND\r\n");
        }
    };
    reads(&dev, &[1, 2]);
    for hint in dev.hints() {
        let said = asked(&hint.split(' ').collect::<Vec<_>>(), &[]);
        assert_eq!(said.code, Some(0), "{hint}: {said:?}");
        assert_eq!(said.out == "hello", hint.contains(" get "), "{hint}: {said:?}");
    }
    agrees(&dev);
    loses_one_and_heals(&mut dev);
    reads(&dev, &[0, 1, 2]);
    leaves(&dev);
    reads(&dev, &[0, 1]);
    let folder = dev.folder();
    assert!(folder.is_dir(), "{folder:?}");
    dev.signal("TERM");
    assert_eq!(dev.wait().code(), Some(0), "{}", dev.log());
    assert!(!folder.exists(), "{folder:?} is left");
    assert_eq!(dev.alive(), 0, "{}", dev.log());
}

/// Status, members, topology and locate say the same of one cluster, on every node.
fn agrees(dev: &Dev) {
    let status = dev.said(0, "cluster status -o json").json();
    let cache = &status["caches"][0];
    for field in ["segments", "served", "complete"] {
        assert_eq!(cache[field], 256, "{field} of {status}");
    }
    assert_eq!((&status["has_lease"], &status["troubles"]), (&json!(true), &json!([])), "{status}");
    let members = &dev.said(1, "cluster members -o json").json()["members"];
    assert_eq!(numbers(members, "member"), [1, 2, 3]);
    // Of the cache, which has two copies, and of the counters and locks, the queues, and the
    // sessions, which have three each.
    assert_eq!(numbers(members, "primaries").iter().sum::<u64>(), 4 * 256, "{members}");
    assert_eq!(numbers(members, "backups").iter().sum::<u64>(), 7 * 256, "{members}");
    assert!(members.as_array().unwrap().iter().all(|m| m["state"] == "up"), "{members}");
    let topology = dev.said(2, "cluster topology --cache default -o json").json();
    let segments = topology["caches"][0]["segments"].as_array().unwrap().clone();
    assert_eq!(segments.len(), 256);
    for words in ["cache locate greeting -o json", "cache locate greeting --cache default -o json"]
    {
        let found = dev.said(0, words).json();
        let segment = &segments[usize::try_from(found["segment"].as_u64().unwrap()).unwrap()];
        assert_eq!(found["segment"], segment["segment"]);
        assert_eq!(found["primary"]["member"], segment["primary"], "{found} {segment}");
        let insync: Vec<&Value> = std::iter::once(&found["primary"])
            .chain(found["backups"].as_array().unwrap())
            .map(|place| &place["member"])
            .collect();
        assert_eq!(insync, segment["insync"].as_array().unwrap().iter().collect::<Vec<_>>());
        let address = found["primary"]["address"].as_str().unwrap();
        assert!((0..3).any(|node| dev.peer(node) == address), "{found}");
    }
    let metric = |name: &str| dev.metric(0, name);
    assert_eq!(metric("isogrid_cluster_members{state=\"up\"}"), 3);
    assert_eq!(metric("isogrid_cluster_has_lease"), 1);
    assert_eq!(metric("isogrid_cluster_segments{cache=\"default\",state=\"complete\"}"), 256);
    assert!(metric("isogrid_cluster_frames_total{lane=\"data\",direction=\"sent\"}") > 0);
    let tables = [
        ("cluster status", "COMPLETE"),
        ("cluster members", "leads"),
        ("cluster topology", "IN SYNC"),
        ("cluster rebalance --wait", "every copy is where it should be"),
        ("cache locate greeting", "primary"),
    ];
    for (words, part) in tables {
        assert!(dev.said(0, words).out.contains(part), "{words}");
    }
    dev.refuses(0, "cache locate greeting --cache none", 3, "there is no cache `none`");
    dev.refuses(0, "cluster topology --cache none", 3, "there is no cache `none`");
    let forced = dev.said(1, &format!("cluster {FORCE}"));
    assert_eq!(forced.out, "somebody serves every segment of default\n", "{forced:?}");
    let words = "cluster force-promote --cache default --segment 9 --accept-data-loss";
    dev.refuses(1, words, 2, "nobody has to be promoted");
    dev.refuses(1, "cluster force-promote --cache default", 2, "--segment");
}

/// One process is killed: the others say so, it is started again, and is a whole member again.
fn loses_one_and_heals(dev: &mut Dev) {
    for member in 1..=3 {
        let (status, said) = health(dev, 0, &format!("?safe-to-stop={member}"));
        assert_eq!((status, &said["reasons"]), (200, &json!([])), "{said}");
    }
    assert_eq!(health(dev, 0, "?safe-to-stop=9").0, 404);
    let killed = dev.said(1, "cluster status -o json").json()["member"].as_u64().unwrap();
    let other = dev.said(2, "cluster status -o json").json()["member"].as_u64().unwrap();
    let pid = dev.pid(1);
    dev.kill(1);
    until("the others have noticed", || health(dev, 0, "").0 == 503);
    let (status, said) = health(dev, 0, &format!("?safe-to-stop={other}"));
    assert_eq!(status, 503, "{said}");
    let (_, said) = health(dev, 0, "");
    let reason = format!("the connection to the member {killed} is lost");
    assert!(said["reasons"].as_array().unwrap().contains(&json!(reason)), "{said}");
    // Nobody has to go elsewhere because a copy is missing.
    assert!(dev.is_ready(0), "{}", dev.log());
    until("it was started again", || dev.pid(1) != pid);
    assert!(dev.log().contains("dev2 | died: signal: 9 (SIGKILL)"), "{}", dev.log());
    until("every copy is there again", || is_whole(dev, &[0, 1, 2]));
    assert_eq!(dev.said(1, "cluster status -o json").json()["member"], json!(killed));
}

/// A member leaves: others have what it had, and its process ends.
fn leaves(dev: &Dev) {
    let member = dev.said(2, "cluster status -o json").json()["member"].clone();
    let left = dev.said(2, "cluster leave -o json --timeout 60s");
    assert_eq!(left.code, Some(0), "{left:?}");
    assert_eq!(left.json(), json!({ "member": member, "left": true }));
    assert!(left.error.contains("segments left to hand over"), "{left:?}");
    until("its process has ended", || dev.log().contains("dev3 | has ended"));
    let members = &dev.said(0, "cluster members -o json").json()["members"];
    assert!(!numbers(members, "member").contains(&member.as_u64().unwrap()), "{members}");
    until("every copy is there without it", || is_whole(dev, &[0, 1]));
    // Of two that vote neither can go without the other.
    let (status, said) = health(dev, 0, "?safe-to-stop=127.0.0.1:1");
    assert_eq!(status, 404, "{said}");
    let (status, said) = health(dev, 0, &format!("?safe-to-stop={}", dev.peer(1)));
    assert_eq!(status, 503, "{said}");
    assert!(said["reasons"].to_string().contains("no majority"), "{said}");
}

/// The segments of which nobody but these members has a copy in sync.
fn segments_on(dev: &Dev, members: &[u64]) -> Vec<u64> {
    let topology = dev.said(0, "cluster topology -o json").json();
    let is_on = |segment: &&Value| {
        let insync = segment["insync"].as_array().unwrap();
        insync.iter().all(|member| members.contains(&member.as_u64().unwrap()))
    };
    let segments = topology["caches"][0]["segments"].as_array().unwrap().iter().filter(is_on);
    let numbers: Vec<u64> = segments.map(|one| one["segment"].as_u64().unwrap()).collect();
    assert!(!numbers.is_empty(), "{topology}");
    numbers
}

/// Waits until every copy is where it should be: two of each segment of the cache, three of the others.
fn is_rebalanced(dev: &Dev) {
    let said = dev.said(2, "cluster rebalance --wait -o json --timeout 60s");
    assert!(said.error.contains(" copies to fill ("), "{said:?}");
    let done = said.json();
    assert_eq!((&done["balanced"], &done["copies_to_fill"]), (&json!(true), &json!(0)), "{done}");
    assert_eq!(numbers(&done["members"], "copies").iter().sum::<u64>(), 11 * 256, "{done}");
    for kind in ["copies", "primaries"] {
        let wanted = numbers(&done["members"], &format!("{kind}_wanted"));
        assert_eq!(numbers(&done["members"], kind), wanted, "{kind} of {done}");
    }
}

/// Two of five are killed at once. The first is removed without loss: the other may come back with
/// what they had together. With that one it is lost, which somebody has to accept.
#[test]
fn members_that_do_not_come_back_are_removed() {
    let mut dev = Dev::start(&["--nodes", "5", "--no-restart"]);
    let all = [0, 1, 2, 3, 4];
    until("every copy is there", || is_whole(&dev, &all));
    let number =
        |node: usize| dev.said(node, "cluster status -o json").json()["member"].as_u64().unwrap();
    let (us, first, second) = (number(0), number(3), number(4));
    for (member, why) in [
        (second, format!("the member {second} ({}) is alive", dev.peer(4))),
        (us, format!("the member {us} ({}) is the one that", dev.peer(0))),
        (9, "there is no member `9`; there are 1, 2, 3, 4, 5".to_owned()),
    ] {
        dev.refuses(0, &format!("cluster remove {member}"), 2, &why);
    }
    let both = segments_on(&dev, &[first, second]);
    dev.kill(3);
    dev.kill(4);
    let said = dev.said(0, &format!("cluster remove {} -o json --timeout 60s", dev.peer(3)));
    assert_eq!(said.json(), json!({ "member": first, "removed": true, "lost": [] }), "{said:?}");
    let missing = |dev: &Dev| {
        dev.said(1, "cluster status -o json").json()["caches"][0]["served"] != json!(256)
    };
    assert!(missing(&dev));
    let words = format!("cluster remove {second}");
    let why = format!("the only copies in sync of {} segments of default", both.len());
    dev.refuses(1, &words, 2, &why);
    assert!(missing(&dev));
    let left = dev.said(1, "cluster rebalance -o json").json();
    assert!(left["balanced"] == false && left["segments_left"].as_u64() > Some(0), "{left}");
    assert!(dev.said(2, "cluster rebalance").out.contains(" segments left: "));
    let said = dev.said(1, &format!("{words} --accept-data-loss -o json --timeout 60s"));
    assert_eq!(said.json()["lost"], json!([{ "cache": "default", "segments": both }]), "{said:?}");
    is_rebalanced(&dev);
    until("every copy is there without them", || is_whole(&dev, &[0, 1, 2]));
    let members = &dev.said(2, "cluster members -o json").json()["members"];
    assert_eq!(numbers(members, "member").len(), 3, "{members}");
    assert!(members.as_array().unwrap().iter().all(|one| one["raft"] == "voter"), "{members}");
    dev.client(2).ask("set a 0 0 1\r\nx\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    dev.signal("TERM");
    assert_eq!(dev.wait().code(), Some(0), "{}", dev.log());
}

#[test]
fn nodes_end_with_the_process_that_started_them_and_are_the_same_again() {
    let folder = temporary("dev");
    let path = folder.to_str().unwrap();
    let args = ["--nodes", "1", "--mode", "replicated", "--data-dir", path];
    let mut dev = Dev::start(&args);
    let id = |dev: &Dev| dev.said(0, "cluster status -o json").json()["id"].clone();
    let first = id(&dev);
    dev.client(0).ask("set a 0 0 1\r\nx\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    dev.refuses(0, "cluster leave", 2, "the last member cannot leave");
    let (status, said) = health(&dev, 0, "?safe-to-stop=1");
    assert_eq!(status, 503, "{said}");
    dev.signal("KILL");
    dev.wait();
    until("its nodes have ended", || dev.alive() == 0);
    let mut again = Dev::start(&[&args[..], &["--port-offset", &dev.offset()]].concat());
    assert_eq!(id(&again), first);
    again.signal("INT");
    assert_eq!(again.wait().code(), Some(0), "{}", again.log());
    assert!(folder.join("dev1").is_dir());
    std::fs::remove_dir_all(folder).unwrap();
}

/// A witness among them: it says so everywhere, and takes and answers what the others do.
#[test]
fn a_witness_is_seen_and_has_nothing() {
    let mut dev = Dev::start(&["--nodes", "3", "--witness", "1", "--mode", "replicated"]);
    until("every copy is there", || is_whole(&dev, &[0, 1, 2]));
    let witness = dev.said(2, "cluster status -o json").json()["member"].as_u64().unwrap();
    for node in 0..3 {
        let members = &dev.said(node, "cluster members -o json").json()["members"];
        for one in members.as_array().unwrap() {
            let is_it = one["member"] == json!(witness);
            assert_eq!(one["role"], if is_it { "witness" } else { "data" }, "{members}");
            assert_eq!((&one["primaries"] == 0) && (&one["backups"] == 0), is_it, "{members}");
        }
        assert!(dev.said(node, "cluster status").out.contains("3, 1 of them witnesses"));
        assert!(dev.said(node, "cluster members").out.contains(" witness "));
        assert_eq!(dev.metric(node, "isogrid_cluster_roles{role=\"witness\"}"), 1);
        assert_eq!(dev.metric(node, "isogrid_cluster_roles{role=\"data\"}"), 2);
    }
    dev.client(2).ask("set a 0 0 1\r\nx\r\nincr n 1\r\n", "STORED\r\nNOT_FOUND\r\n");
    let value = "VALUE a 0 1\r\nx\r\nEND\r\n";
    (0..3).for_each(|node| dev.client(node).ask("get a\r\n", value));
    for (node, words) in ["counter add hits 2", "counter get hits"].into_iter().enumerate() {
        let said = dev.said(2 - node, words);
        assert_eq!((said.code, said.out.contains('2')), (Some(0), true), "{words}: {said:?}");
    }
    // Of the two with data one leaves, and the other one cannot.
    assert_eq!(dev.said(1, "cluster leave --timeout 60s").code, Some(0), "{}", dev.log());
    dev.refuses(0, "cluster leave", 2, "nor the last that has data");
    dev.client(2).ask("get a\r\n", value);
    dev.signal("TERM");
    assert_eq!(dev.wait().code(), Some(0), "{}", dev.log());
}

#[test]
fn a_cluster_that_cannot_start_says_why_and_leaves_nothing_behind() {
    let taken = Dev::start(&["--nodes", "1"]);
    let offset = taken.offset();
    for (args, code, why) in [
        (&["--port-offset", &*offset][..], 1, "cannot listen on"),
        (&["--mode", "everywhere"], 78, "one of local, distributed, replicated"),
        (&["--nodes", "2", "--witness", "2"], 1, "all nodes would be witnesses"),
        (&["--nodes", "8"], 2, "8 is not in 1..=7"),
        (&["--port-offset", "60000"], 1, "lower --port-offset"),
    ] {
        let Said { code: ended, error, .. } = asked(&[&["dev"], args].concat(), &[]);
        assert_eq!(ended, Some(code), "{args:?}: {error}");
        assert!(error.contains(why), "{args:?}: {error}");
    }
    assert_eq!(taken.alive(), 1);
}

const FORCE: &str = "force-promote --cache default --all-unserved";

#[test]
fn who_belongs_to_no_cluster_says_so() {
    let server = Server::isogrid(&["--native", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    let native = server.bound_for("native").remove(0);
    for words in ["status", "members", "topology", "rebalance", "leave", "remove 2", FORCE] {
        let given: Vec<&str> = "cluster".split(' ').chain(words.split(' ')).collect();
        let said = asked(&given, &[("ISOGRID_SERVER", &native)]);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{words}: {said:?}");
        assert!(said.error.contains("this node belongs to no cluster\n  help: "), "{said:?}");
    }
    let said = asked(&["cache", "locate", "x"], &[("ISOGRID_SERVER", &native)]);
    assert_eq!(said.code, Some(2), "{said:?}");
    for method in ["GET", "OPTIONS"] {
        assert_eq!(server.http(method, "/health/cluster", &[], b"").status, 404, "{method}");
    }
    assert_eq!(server.http("GET", "/health/ready", &[], b"").status, 200);
    let metrics = server.http("GET", "/metrics", &[], b"").text();
    assert!(!metrics.contains("isogrid_cluster"), "{metrics}");
}

/// Each line at another node than the one before it; what it prints, or why it is refused.
const ON_ANY_NODE: [(&str, Result<&str, &str>); 19] = [
    ("cache put default k one", Ok("stored, version ")),
    ("cache get default k", Ok("one")),
    ("cache get default nothing", Err("there is no entry")),
    ("cache incr default n 5 --initial 1", Ok("1")),
    ("cache incr default n 5", Ok("6")),
    ("cache incr default n -- -2", Ok("4")),
    ("cache get default n", Ok("4")),
    ("cache touch default k --ttl 1h", Ok("touched")),
    ("cache map set default m a=1 b=2", Ok("stored, version ")),
    ("cache map get default m b", Ok("b  2")),
    ("cache map del default m b", Ok("stored, version ")),
    ("cache map get default m", Ok("a  1\n")),
    ("cache rm default k", Ok("removed")),
    ("cache get default k", Err("there is no entry")),
    ("cache keys default --glob n", Ok("n\n")),
    ("cache put default k two", Ok("stored, version ")),
    ("cache clear default --yes", Ok("cleared default\n")),
    ("cache keys default", Ok("")),
    ("cache incr default n 1 --initial 4", Ok("4")),
];

#[test]
fn the_native_protocol_reaches_every_key_on_any_node() {
    let dev = Dev::start(&["--nodes", "3"]);
    for (at, (words, expected)) in ON_ANY_NODE.iter().enumerate() {
        let said = dev.said(at % 3, words);
        match expected {
            Ok(out) => {
                assert_eq!(said.code, Some(0), "{words}: {said:?}");
                assert!(said.out.starts_with(out), "{words}: {said:?}");
            }
            Err(why) => {
                assert_ne!(said.code, Some(0), "{words}: {said:?}");
                assert!(said.error.contains(why), "{words}: {said:?}");
            }
        }
    }
    for node in 0..3 {
        dev.client(node).ask("get n\r\n", "VALUE n 0 1\r\n4\r\nEND\r\n");
        let entry = dev.http(node, "/v1/caches/default/entries/n");
        assert_eq!((entry.status, entry.text().as_str()), (200, "4"));
    }
    dev.client(0).ask("flush_all\r\n", "OK\r\n");
    dev.client(1).ask("get n m\r\n", "END\r\n");
}
