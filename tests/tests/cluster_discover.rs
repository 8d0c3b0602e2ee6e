//! Nodes that find each other by announcements over UDP multicast, on the loopback interface.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and it waits for real processes on the real clock"
)]

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use isogrid_tests::harness::Server;
use serde_json::Value;

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 74, 1);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who says what he likes to the group of this port; `None` where the machine has no
/// multicast on its loopback interface.
fn stranger() -> Option<(UdpSocket, u16)> {
    let socket = UdpSocket::bind((GROUP, 0)).ok()?;
    let port = socket.local_addr().ok()?.port();
    let is_there = socket.join_multicast_v4(&GROUP, &Ipv4Addr::LOCALHOST).is_ok()
        && socket.set_read_timeout(Some(Duration::from_secs(2))).is_ok();
    let said = sender();
    said.send_to(b"?", (GROUP, port)).ok()?;
    let heard = is_there && socket.recv(&mut [0; 8]).is_ok();
    heard.then_some((said, port))
}

/// Multicast goes out where its sender is bound, unless it says otherwise.
fn sender() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

fn begin(port: u16, cluster: &str, expect: u8) -> Server {
    let (expect, group) = (expect.to_string(), format!("cluster.multicast={GROUP}:{port}"));
    let fixed = ["--discover", "multicast", "--peer", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let given = ["--cluster", cluster, "--bootstrap-expect", &expect, "--set", &group];
    Server::begin_isogrid(&[&fixed[..], &given, &["--mode", "distributed"]].concat())
}

/// How many members a node knows, and the value of a kind of announcements that it has heard.
fn members(server: &Server) -> usize {
    let told = server.http("POST", "/v1/admin/cluster.status", &[], b"{}").text();
    let told: Value = serde_json::from_str(&told).unwrap();
    let is_member = told["member"].is_u64();
    told["members"].as_array().map_or(0, |all| if is_member { all.len() } else { 0 })
}

fn announcements(server: &Server, kind: &str) -> u64 {
    let text = server.http("GET", "/metrics", &[], b"").text();
    let series = format!("isogrid_cluster_announcements_total{{kind=\"{kind}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok()).unwrap_or(0)
}

fn until(what: &str, servers: &[Server], mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        if begin.elapsed() > PATIENCE {
            let logs: Vec<String> = servers.iter().map(Server::log).collect();
            panic!("waited {PATIENCE:?} until {what}:\n{}", logs.join("\n---\n"));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn nodes_that_announce_themselves_are_one_cluster() {
    let Some((anybody, port)) = stranger() else {
        return println!("left out: no multicast on this machine's loopback interface");
    };
    // Of two clusters, all at once, with somebody who talks nonsense.
    let mut servers: Vec<Server> = (0..3).map(|_| begin(port, "shop", 3)).collect();
    let mut other = [begin(port, "other", 1)];
    for server in servers.iter_mut().chain(&mut other) {
        server.until_ready().unwrap();
    }
    let nonsense: [&[u8]; 4] =
        [b"", b"IGA1", b"IGA1\0\0\0\0\0\0\0\0\x04shop\x03a:b", &[0xff; 1_400]];
    for bytes in nonsense {
        anybody.send_to(bytes, (GROUP, port)).unwrap();
    }
    until("three have found each other", &servers, || servers.iter().all(|one| members(one) == 3));
    until("one is alone", &other, || members(&other[0]) == 1);
    // One that founds nothing hears those that run.
    servers.push(begin(port, "shop", 0));
    servers.last_mut().unwrap().until_ready().unwrap();
    until("the fourth is let in", &servers, || servers.iter().all(|one| members(one) == 4));
    assert_eq!(members(&other[0]), 1, "{}", other[0].log());
    until("all is heard", &servers, || {
        servers.iter().all(|one| announcements(one, "other_cluster") > 0)
    });
    assert!(servers.iter().all(|one| announcements(one, "taken") > 0));
    let malformed = announcements(&servers[0], "malformed");
    assert!((3..=4).contains(&malformed), "{malformed} of {} are none", nonsense.len());
    until("it serves", &servers, || {
        let ready = |one: &Server| one.http("GET", "/health/ready", &[], b"").status == 200;
        servers.iter().all(ready)
    });
    servers[0].connect().ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    servers[3].connect().ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
    // One by one they would wait for each other.
    servers.iter().for_each(|one| one.signal("KILL"));
}
