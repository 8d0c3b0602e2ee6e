//! The proxy does to bytes what its links say, scripts are what their seeds say, and a client tells
//! what surely was not done from what nobody knows.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::Client;
use super::namespaces::Namespaces;
use super::network::{Link, Network};
use super::nodes::Setup;
use super::script::script;
use crate::checker::{Ask, Told};
use crate::harness::run;

/// Two nodes, of which the second one listens; a connection from the first one to it, and its end.
fn connection() -> (Arc<Network>, TcpStream, TcpStream) {
    let nodes =
        [TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap()];
    let network = Network::new(&[&nodes[0], &nodes[1]].map(|node| node.local_addr().unwrap()));
    let mut here = TcpStream::connect(network.address(1)).unwrap();
    let sender = network.address(0).as_bytes();
    let len = u32::try_from(sender.len()).unwrap().to_le_bytes();
    let hello = [b"ISOPEER\n", &len[..], &[0; 4], sender].concat();
    here.write_all(&hello).unwrap();
    let mut there = nodes[1].accept().unwrap().0;
    let mut came = vec![0; hello.len()];
    there.read_exact(&mut came).unwrap();
    assert_eq!(came, hello, "the first bytes are passed on");
    (network, here, there)
}

/// What comes within a moment: `None` when nothing does, and nothing at all when it is closed.
fn comes(stream: &mut TcpStream) -> Option<Vec<u8>> {
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut piece = [0; 64];
    match stream.read(&mut piece) {
        Ok(len) => Some(piece[..len].to_vec()),
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => Some(Vec::new()),
        Err(_) => None,
    }
}

#[test]
fn links_do_what_they_say_in_their_direction() {
    let closed = Some(Vec::new());
    for (link, before, after) in [
        (Link::Good, Some(b"a".to_vec()), None),
        (Link::Slow(Duration::from_millis(50)), Some(b"a".to_vec()), None),
        (Link::Stalled, None, Some(b"a".to_vec())),
        (Link::Swallowed, None, closed.clone()),
        (Link::Dropped, closed.clone(), closed),
    ] {
        let (network, mut here, mut there) = connection();
        network.set(0, 1, link);
        if link != Link::Dropped {
            there.write_all(b"back").unwrap();
            assert_eq!(comes(&mut here), Some(b"back".to_vec()), "the other direction of {link:?}");
        }
        let _ = here.write_all(b"a");
        assert_eq!(comes(&mut there), before, "{link:?}");
        network.heal();
        assert_eq!(comes(&mut there), after, "{link:?}, healed");
    }
}

/// Datagrams that came to a node in a namespace at a port where nobody listens.
fn came(namespaces: &Namespaces, node: usize) -> u64 {
    let [enter, place, ..] = namespaces.enter(node);
    let told = run(Command::new(enter).args([&place, "cat", "/proc/net/snmp"])).stdout;
    let told = String::from_utf8(told).unwrap();
    let line = told.lines().filter(|line| line.starts_with("Udp:")).nth(1).unwrap();
    line.split(' ').nth(2).unwrap().parse().unwrap()
}

/// Whether a datagram from one node to another one arrives: within a moment if it is not to, and
/// in the time that it takes to find each other again if it is.
fn arrives(namespaces: &Namespaces, (from, to): (usize, usize), expected: bool) -> bool {
    let [enter, place, ..] = namespaces.enter(from);
    let send = format!("echo >/dev/udp/{}/9", namespaces.places(to)[2].ip());
    let before = came(namespaces, to);
    run(Command::new(enter).args([&place, "bash", "-c", &send]));
    let until = Instant::now() + Duration::from_millis(if expected { 5_000 } else { 300 });
    while came(namespaces, to) == before && Instant::now() < until {}
    came(namespaces, to) > before
}

#[test]
fn packets_go_the_ways_that_links_say() {
    let Some(network) = Network::of_namespaces(3) else {
        return println!("left out: no network namespaces here");
    };
    let namespaces = network.namespaces().unwrap();
    let ways = [(0, 1), (1, 0), (1, 2), (2, 1)];
    let slow = Link::Slow(Duration::from_millis(50));
    let cut = [Link::Stalled, Link::Swallowed, Link::Dropped];
    let check = |link: Link, what: &str, expected: [bool; 4]| {
        for (way, expected) in ways.into_iter().zip(expected) {
            let arrives = arrives(namespaces, way, expected);
            assert_eq!(arrives, expected, "{what}: {link:?}, {way:?}");
        }
        network.heal();
    };
    for link in [Link::Good, slow].into_iter().chain(cut) {
        let passes = !cut.contains(&link);
        network.set(0, 1, link);
        check(link, "0 to 1", [passes, true, true, true]);
        network.isolate(2, link);
        check(link, "2 alone", [true, true, passes, passes]);
        check(link, "healed", [true; 4]);
    }
}

const THREE: Setup = Setup::PLAIN;

#[test]
fn a_seed_is_a_script() {
    for seed in 0..200 {
        assert_eq!(script(seed, THREE), script(seed, THREE), "seed {seed}");
    }
    let kinds: std::collections::BTreeSet<_> = (0..200)
        .map(|seed| std::mem::discriminant(&script(seed, THREE).under_load[1]))
        .map(|kind| format!("{kind:?}"))
        .collect();
    assert!(kinds.len() >= 4, "kills, stops, cuts and one-way cuts: {kinds:?}");
}

/// A server that reads a request and answers this, then closes.
fn told(ask: Ask, answer: &'static str) -> Told {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1_024]);
        let _ = stream.write_all(answer.as_bytes());
    });
    let told = Client::new(address, Duration::from_secs(5)).perform("k", ask, false);
    server.join().unwrap();
    told
}

#[test]
fn clients_know_what_they_were_told() {
    let (put, cas) = (Ask::Put(1), Ask::Cas { expected: 1, version: 2, value: 3 });
    for (ask, answer, expected) in [
        (put, "STORED\r\n", Told::Done(None)),
        (put, "HD c7\r\n", Told::Done(Some(7))),
        (put, "", Told::Unknown),
        (put, "STOR", Told::Unknown),
        (put, "SERVER_ERROR outcome unknown: the member that took it is gone\r\n", Told::Unknown),
        (put, "SERVER_ERROR nobody serves this key now: try again\r\n", Told::Failed),
        (cas, "EXISTS\r\n", Told::Changed),
        (cas, "NOT_FOUND\r\n", Told::Missing),
        (Ask::Get, "END\r\n", Told::Read(None)),
        (Ask::Get, "VALUE k 0 2 9\r\n17\r\nEND\r\n", Told::Read(Some((17, 9)))),
        (Ask::Get, "VALUE k 0 2 9\r\n1", Told::Unknown),
        (Ask::Delete, "DELETED\r\n", Told::Done(None)),
        (Ask::Increment, "8\r\n", Told::Counted(8)),
    ] {
        assert_eq!(told(ask, answer), expected, "{ask:?}: {answer:?}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut client = Client::new(nobody, Duration::from_secs(1));
    assert_eq!(client.perform("k", put, false), Told::Failed, "nobody listens");
}
