//! Nodes that find each other: by announcements over UDP multicast, on the loopback interface, by a
//! file that says where they are, and by the DNS.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and it waits for real processes on the real clock"
)]

#[path = "cluster_discover/dns.rs"]
mod dns;

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use dns::Zone;
use isogrid_tests::cluster::free_address;
use isogrid_tests::harness::{Server, temporary};
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
    let group = format!("cluster.multicast={GROUP}:{port}");
    begin_with(&["--cluster", cluster, "--discover", "multicast", "--set", &group], expect)
}

fn begin_with(how: &[&str], expect: u8) -> Server {
    begin_at("127.0.0.1:0", how, expect)
}

fn begin_at(peer: &str, how: &[&str], expect: u8) -> Server {
    let expect = expect.to_string();
    let fixed = ["--peer", peer, "--http", "127.0.0.1:0", "--mode", "distributed"];
    Server::begin_isogrid(&[&fixed[..], &["--bootstrap-expect", &expect], how].concat())
}

fn status(server: &Server) -> Value {
    let told = server.http("POST", "/v1/admin/cluster.status", &[], b"{}").text();
    serde_json::from_str(&told).unwrap()
}

/// How many members a node knows.
fn members(server: &Server) -> usize {
    let told = status(server);
    let is_member = told["member"].is_u64();
    told["members"].as_array().map_or(0, |all| if is_member { all.len() } else { 0 })
}

/// Where peers reach a node that is no member yet.
fn peer(server: &Server) -> String {
    status(server)["members"][0]["address"].as_str().unwrap().to_owned()
}

/// The value of a kind of announcements that a node has heard.
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

fn until_served(servers: &[Server]) {
    let is_ready = |one: &Server| one.http("GET", "/health/ready", &[], b"").status == 200;
    until("it serves", servers, || servers.iter().all(is_ready));
}

/// Nodes that know of nobody, and how they are told of each other: they become one cluster, and one
/// that comes later is let in.
fn they_find_each_other(join: &str, missing: &str, tell: impl Fn(&[String])) {
    let mut servers: Vec<Server> = (0..3).map(|_| begin_with(&["--join", join], 3)).collect();
    servers.iter_mut().for_each(|server| server.until_ready().unwrap());
    until("all say whom they miss", &servers, || {
        servers.iter().all(|server| server.log().contains(missing))
    });
    assert!(servers.iter().all(|server| members(server) == 0), "nobody has told them anything");
    let peers: Vec<String> = servers.iter().map(peer).collect();
    tell(&peers);
    until("they have found each other", &servers, || servers.iter().all(|one| members(one) == 3));
    servers.push(begin_with(&["--join", join], 0));
    servers.last_mut().unwrap().until_ready().unwrap();
    until("the fourth is let in", &servers, || servers.iter().all(|one| members(one) == 4));
    until_served(&servers);
    servers[0].connect().ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    servers[3].connect().ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
    // A bad line is said once by each that read it, and hurt nobody.
    for server in &servers {
        let log = server.log();
        let said: Vec<&str> =
            log.lines().filter(|line| line.contains("members_file_line")).collect();
        let is_file = join.starts_with("file:");
        assert_eq!(said.len(), usize::from(is_file), "{log}");
        assert!(
            said.iter().all(|line| line.contains("\"line\":3,\"text\":\"10.0.0.1 7401\"")),
            "{log}"
        );
    }
    // One by one they would wait for each other.
    servers.iter().for_each(|one| one.signal("KILL"));
}

#[test]
fn nodes_of_a_file_that_is_written_after_they_started_are_one_cluster() {
    let file = temporary("members");
    let join = format!("file:{}", file.display());
    they_find_each_other(&join, "\"event\":\"members_file_unread\"", |peers| {
        let [first, others @ ..] = peers else { panic!("{peers:?}") };
        let others = others.join("\n");
        fs::write(&file, format!("# the shop\n{first} # first\n10.0.0.1 7401\n\n{others}\n"))
            .unwrap();
    });
    fs::remove_file(file).unwrap();
}

#[test]
fn nodes_of_a_service_in_the_dns_are_one_cluster() {
    let zone = Zone::serve("_isogrid._tcp.grid.test");
    let join = format!("srv:_isogrid._tcp.grid.test@{}", zone.address());
    they_find_each_other(&join, "no SRV record: NXDOMAIN", |peers| zone.publish(peers));
}

/// All nodes stop, and come back where no other one knows them to be: first each at the address that
/// another one had, then at new ones, of which the file is told when they run.
#[test]
fn nodes_that_come_back_elsewhere_find_each_other_again() {
    let [file, data] = ["members", "elsewhere"].map(temporary);
    let join = format!("file:{}", file.display());
    let start = |addresses: &[String]| {
        let begin = |(node, address): (usize, &String)| {
            let data = data.join(node.to_string()).display().to_string();
            begin_at(address, &["--join", &join, "--data-dir", &data, "--persist", "sync"], 3)
        };
        let mut servers: Vec<Server> = addresses.iter().enumerate().map(begin).collect();
        servers.iter_mut().for_each(|server| server.until_ready().unwrap());
        servers
    };
    let addresses: Vec<String> = (0..6).map(|_| free_address().to_string()).collect();
    let rotated: Vec<String> = [1, 2, 0].map(|at| addresses[at].clone()).into();
    for (life, addresses) in [&addresses[..3], &rotated, &addresses[3..]].into_iter().enumerate() {
        let servers = start(addresses);
        fs::write(&file, addresses.join("\n")).unwrap();
        until("all are where they are now", &servers, || {
            let known = |one: &Server| {
                let told = status(one)["members"].clone();
                let known = told.as_array().unwrap().iter().map(|one| one["address"].clone());
                let known: Vec<Value> = known.collect();
                known.len() == 3 && addresses.iter().all(|one| known.contains(&one.as_str().into()))
            };
            servers.iter().all(known)
        });
        until_served(&servers);
        let mut client = servers[life].connect();
        if life == 0 {
            client.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
        }
        client.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
        servers.iter().for_each(|one| one.signal("KILL"));
    }
    fs::remove_dir_all(data).unwrap();
    fs::remove_file(file).unwrap();
}
