//! Who may connect: limits for all, limits for one address, and the warning of a server that
//! other machines reach.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a failing test may panic")]

use std::net::IpAddr;
use std::process::Command;

use isogrid_tests::harness::{Client, Server, isogrid, temporary, wait_until};

const OF_ADDRESS: &str = "ERROR Too many open connections from your address\r\n";
const OF_ALL: &str = "ERROR Too many open connections\r\n";

/// A connection from `source` that the server has answered.
fn served(server: &Server, source: &str) -> Client {
    let mut client = Client::tcp_from(source.parse::<IpAddr>().unwrap(), server.address());
    client.ask("mn\r\n", "MN\r\n");
    client
}

/// A connection from `source` is told `why` and closed.
fn refused(server: &Server, source: &str, why: &str) {
    let mut client = Client::tcp_from(source.parse().unwrap(), server.address());
    let answer = client.rest().expect("the server closes");
    assert_eq!(String::from_utf8_lossy(&answer), why, "from {source}");
}

/// The value of a line of `stats settings`.
fn setting(server: &Server, name: &str) -> String {
    let rows = server.connect().stats("stats settings");
    rows.into_iter().find(|(key, _)| key == name).unwrap().1
}

#[test]
fn one_address_too_often_is_refused_and_others_are_not() {
    let server = Server::isogrid(&["--set", "limits.max_connections_per_address=3"]);
    let sources = ["127.0.0.1", "127.0.0.2", "127.0.3.4"];
    let mut clients = Vec::new();
    for source in sources {
        clients.extend((0..3).map(|_| served(&server, source)));
        refused(&server, source, OF_ADDRESS);
    }
    let good = &mut clients[0];
    assert_eq!(good.stat("rejected_connections"), 3);
    assert_eq!(good.stat("rejected_connections_per_address"), 3);
    assert_eq!(good.stat("curr_connections"), 9);
    wait_until("the refusal is told", || server.log().contains("connection_refused"));
    let lines: Vec<String> = server.log().lines().map(str::to_owned).collect();
    let told: Vec<_> = lines.iter().filter(|line| line.contains("connection_refused")).collect();
    assert_eq!(told.len(), 1, "one line for a flood: {told:?}");
    for word in ["\"peer\":\"127.0.0.1\"", "limits.max_connections_per_address"] {
        assert!(told[0].contains(word), "{told:?}");
    }
    // The last client, of the last address, gives its place back to that address alone.
    clients.pop();
    wait_until("it is gone", || clients[0].stat("curr_connections") == 8);
    clients.push(served(&server, sources[2]));
    refused(&server, sources[0], OF_ADDRESS);
}

#[test]
fn refused_addresses_take_no_place_of_others() {
    let limit = "limits.max_connections_per_address=2";
    let server = Server::isogrid(&["--max-connections", "3", "--set", limit]);
    let mut clients = vec![served(&server, "127.0.0.2"), served(&server, "127.0.0.2")];
    for _ in 0..10 {
        refused(&server, "127.0.0.2", OF_ADDRESS);
    }
    clients.push(served(&server, "127.0.0.3"));
    // Full for all: the address of who was refused for that is counted down again.
    for _ in 0..10 {
        refused(&server, "127.0.0.4", OF_ALL);
    }
    assert_eq!(clients[0].stat("rejected_connections"), 20);
    assert_eq!(clients[0].stat("rejected_connections_per_address"), 10);
    drop(clients.split_off(1));
    wait_until("they are gone", || clients[0].stat("curr_connections") == 1);
    let _again = [served(&server, "127.0.0.4"), served(&server, "127.0.0.4")];
}

#[test]
fn unix_sockets_do_not_count() {
    let socket = temporary("socket");
    let unix = format!("unix:{}", socket.display());
    let limit = "limits.max_connections_per_address=1";
    let server =
        Server::isogrid(&["--memcached", "127.0.0.1:0", "--memcached", &unix, "--set", limit]);
    let mut clients: Vec<Client> = (0..20).map(|_| Server::connect_to(&unix)).collect();
    clients.iter_mut().for_each(|client| client.ask("mn\r\n", "MN\r\n"));
    let _first = served(&server, "127.0.0.1");
    refused(&server, "127.0.0.1", OF_ADDRESS);
}

#[test]
fn the_limit_of_an_address_can_be_left_out_and_memcached_has_none() {
    assert_eq!(setting(&Server::isogrid(&[]), "maxconns_per_address"), "1000");
    for server in [
        Server::isogrid(&["--set", "limits.max_connections_per_address=0"]),
        Server::dropin(&["-c", "1100"]),
    ] {
        assert_eq!(setting(&server, "maxconns_per_address"), "0");
        let clients: Vec<Client> = (0..1_001).map(|_| served(&server, "127.0.0.1")).collect();
        drop(clients);
    }
}

/// The number of a connection was once what `stats` counts, and a reset gave numbers out twice:
/// the second connection of a number hid the first from `stats conns` and from all timeouts.
#[test]
fn a_reset_of_the_counters_hides_no_connection() {
    let server = Server::isogrid(&[]);
    let mut first = served(&server, "127.0.0.1");
    first.ask("stats reset\r\n", "RESET\r\n");
    let _second = served(&server, "127.0.0.1");
    let rows = first.stats("stats conns");
    assert_eq!(rows.iter().filter(|(key, _)| key.ends_with(":secs_since_last_cmd")).count(), 2);
}

#[test]
fn the_limit_of_open_files_is_raised_and_then_respected() {
    // 256 now, 600 at the most: half of that remains for connections.
    let mut command = Command::new("prlimit");
    command.arg("--nofile=256:600").arg(isogrid()).arg("memcached");
    let server = Server::memcached_like(command, &[]).unwrap();
    let mut clients: Vec<Client> = (0..300).map(|_| served(&server, "127.0.0.1")).collect();
    refused(&server, "127.0.0.1", OF_ALL);
    assert_eq!(clients[0].stat("max_connections"), 300);
    assert!(server.log().contains("few_open_files"), "{}", server.log());
}

#[test]
fn a_server_that_other_machines_reach_warns() {
    let mut command = Command::new(isogrid());
    command.arg("memcached").env("ISOGRID_INSECURE", "1");
    let server = Server::memcached_like(command, &["-l", "0.0.0.0"]).unwrap();
    assert_eq!(served(&server, "127.0.0.1").stat("insecure_listeners"), 1);
    wait_until("the log warns", || server.log().contains("without a login"));
    let server = Server::isogrid(&[]);
    assert_eq!(served(&server, "127.0.0.1").stat("insecure_listeners"), 0);
}

/// The value of a series of `/metrics` without labels.
fn metric(server: &Server, series: &str) -> u64 {
    let text = server.http("GET", "/metrics", &[], b"").text();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {series} in {text}")).parse().unwrap()
}

#[test]
fn who_comes_too_fast_waits_and_is_served() {
    const DELAYED: &str = "isogrid_connections_delayed_total";
    let server = Server::isogrid(&["--http", "127.0.0.1:0", "--set", "limits.accept_rate=1"]);
    // Two may come at once.
    let mut clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
    wait_until("one has to wait", || metric(&server, DELAYED) >= 1);
    clients.iter_mut().for_each(|client| client.ask("mn\r\n", "MN\r\n"));
    assert!(metric(&server, DELAYED) <= 4);
    assert_eq!(clients[0].stat("rejected_connections"), 0);
}

/// Not one that says nothing, nor one whose request is long.
#[test]
fn whose_request_comes_too_slowly_is_closed() {
    const CLOSED: &str = "isogrid_connections_slow_closed_total";
    let server = Server::isogrid(&["--http", "127.0.0.1:0", "--native", "127.0.0.1:0"]);
    let (mut silent, mut long) = (server.connect(), server.connect());
    silent.ask("mn\r\n", "MN\r\n");
    let mut native = server.native();
    native.raw.send([0, 0, 1, 0, 1, 0, 0, 1]);
    let mut slow = [native.raw, server.connect(), server.connect(), server.connect_http()];
    slow[1].send("get a");
    slow[2].send("get a\r\nset a 0 0 100\r\nhalf");
    assert_eq!(slow[2].line(), "END");
    slow[3].send("GET /metrics HTTP/1.1\r\nhost: ");
    let value = "v".repeat(900_000);
    long.send(format!("set long 0 0 900001\r\n{value}"));
    let slow_ones = slow.len() as u64;
    wait_until("they are closed", || metric(&server, CLOSED) == slow_ones);
    slow.iter_mut().for_each(Client::closed);
    assert!(server.log().contains("a request slower than request_rate"), "{}", server.log());
    long.ask("v\r\n", "STORED\r\n");
    silent.ask("get a\r\n", "END\r\n");
    assert_eq!(metric(&server, CLOSED), slow_ones);
}
