//! R63: of three copies two are damaged, and the third fell behind before. Nobody serves until an
//! operator says so; then all have what the third had, in a new epoch.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and it waits for real processes on the real clock"
)]

use std::ops::Range;
use std::time::{Duration, Instant};

use isogrid_tests::cluster::{Cluster, Mode, Setup};
use isogrid_tests::harness::Client;
use serde_json::{Value, json};

const SETUP: Setup = Setup { mode: Mode::Replicated, kept: true, ..Setup::PLAIN };
const SEGMENTS: usize = 256;
const ACCEPTED: &str = r#""accept_data_loss": "yes""#;

fn write(cluster: &Cluster, node: usize, keys: Range<u32>, value: u32) {
    let mut client = Client::tcp(cluster.clients()[node]);
    for key in keys {
        client.ask(format!("set k{key} 0 0 1\r\n{value}\r\n"), "STORED\r\n");
    }
}

/// The segments of the cache as a node sees them; none while it does not answer.
fn segments(cluster: &Cluster, node: usize) -> Vec<Value> {
    let (_, told) = cluster.admin_with(node, "cluster.topology", "{}");
    let told: Value = serde_json::from_str(&told).unwrap();
    told["caches"][0]["segments"].as_array().cloned().unwrap_or_default()
}

/// Node 2 falls behind, the others are damaged, and all run: nobody serves. The segments.
fn lose_all_in_sync(cluster: &mut Cluster) -> Vec<Value> {
    write(cluster, 0, 0..100, 1);
    cluster.kill(2);
    write(cluster, 0, 0..50, 2);
    [0, 1].into_iter().for_each(|node| cluster.kill(node));
    [0, 1].into_iter().for_each(|node| cluster.damage(node));
    (0..3).for_each(|node| cluster.start(node));
    cluster.wait_reached();
    let is_unserved = |one: &Value| {
        let [copy] = one["stale"].as_array().unwrap().as_slice() else { return false };
        one["primary"].is_null() && one["awaited"] == json!([]) && copy["seq"].is_u64()
    };
    let begin = Instant::now();
    loop {
        let all = segments(cluster, 0);
        if all.len() == SEGMENTS && all.iter().all(is_unserved) {
            return all;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", all.first());
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn force(cluster: &Cluster, params: &str) -> (u16, String) {
    cluster.admin_with(1, "cluster.force_promote", params)
}

/// What is not to be done is not, and it is said why.
fn refuses(cluster: &Cluster) {
    for (params, why) in [
        (r#""all_unserved": "yes""#.to_owned(), "256 segments of default (segment 0"),
        (r#""segment": "7""#.to_owned(), "acknowledged after these copies fell behind"),
        (format!(r#""segment": "256", {ACCEPTED}"#), "none of the 256 segments"),
        (ACCEPTED.to_owned(), "say one of"),
        (format!(r#""segment": "7", "to": "9", {ACCEPTED}"#), "no member `9`"),
        (
            format!(r#""segment": "7", "to": "{}", {ACCEPTED}"#, cluster.peer(0)),
            "has no stale copy",
        ),
    ] {
        let (status, said) = force(cluster, &format!(r#"{{"cache": "default", {params}}}"#));
        assert!((400..500).contains(&status) && said.contains(why), "{params}: {status} {said}");
    }
    let (status, said) = force(cluster, r#"{"cache": "none", "all_unserved": "yes"}"#);
    assert!((400..500).contains(&status), "{status} {said}");
}

#[test]
fn a_stale_copy_serves_when_an_operator_says_so() {
    let mut cluster = Cluster::start_all(SETUP).unwrap();
    let before = lose_all_in_sync(&mut cluster);
    let member = &before[0]["stale"][0]["member"];
    let told: Value = serde_json::from_str(&cluster.admin(2, "cluster.status")).unwrap();
    assert_eq!(&told["member"], member, "{told}");
    let trouble = format!("stale copies have {member}, the newest in sync ");
    assert!(told["troubles"].to_string().contains(&trouble), "{told}");
    refuses(&cluster);
    let seventh = format!(r#"{{"cache": "default", "segment": "7", {ACCEPTED}}}"#);
    let (status, said) = force(&cluster, &seventh);
    let said: Value = serde_json::from_str(&said).unwrap();
    let one = &said["promoted"][0];
    assert_eq!((status, &one["segment"], &one["member"]), (200, &json!(7), member), "{said}");
    assert!(one["copy_epoch"].as_u64() < one["epoch"].as_u64(), "{said}");
    for cache in ["default", "$structures", "$queues", "$sessions"] {
        let params = format!(r#"{{"cache": "{cache}", "all_unserved": "yes", {ACCEPTED}}}"#);
        assert_eq!(force(&cluster, &params).0, 200);
    }
    assert!(force(&cluster, &seventh).1.contains("nobody has to be promoted"));
    cluster.settle().unwrap();
    for (node, address) in cluster.clients().iter().enumerate() {
        let mut client = Client::tcp(*address);
        for key in 0..100 {
            let value = format!("VALUE k{key} 0 1\r\n1\r\nEND\r\n");
            client.ask(format!("get k{key}\r\n"), &value);
        }
        for (was, now) in before.iter().zip(segments(&cluster, node)) {
            assert!(now["epoch"].as_u64() > was["epoch"].as_u64(), "{was} {now}");
            assert_eq!(now["insync"].as_array().unwrap().len(), 3, "{now}");
            assert_eq!(now["stale"], json!([]), "{now}");
        }
    }
    write(&cluster, 2, 0..100, 3);
}
