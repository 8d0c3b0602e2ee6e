//! One port, every protocol: the first byte tells.

use std::time::Duration;

use isogrid_tests::harness::{Client, Server, opcode, request};

use super::{metric, server};

fn native(server: &Server) -> Client {
    Server::connect_to(&server.bound_for("native")[0])
}

fn rejected(server: &Server, reason: &str) -> u64 {
    metric(server, &format!("isogrid_connections_rejected_total{{reason=\"{reason}\"}}"))
}

#[test]
fn one_port_speaks_them_all() {
    let server = server(&[]);
    native(&server).ask("set a 0 0 1\r\nx\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    let noop = request(opcode::NOOP, 1, 0, &[], &[], &[]);
    assert_eq!(native(&server).call(&noop).opcode, opcode::NOOP);
    let mut http = native(&server);
    assert_eq!(http.http("GET", "/v1/caches/default/entries/a", &[], b"").text(), "x");
    assert_eq!(http.http("GET", "/livez", &[], b"").status, 200, "the connection stays");
    // A byte at a time, and what was read to see what it is is not lost.
    for bytes in ["get a\r\n", "GET /livez HTTP/1.0\r\n\r\n"] {
        let mut client = native(&server);
        for byte in bytes.bytes() {
            client.send([byte]);
            std::thread::sleep(Duration::from_millis(2));
        }
        client.finish();
        let answer = String::from_utf8(client.rest().unwrap()).unwrap();
        assert!(answer.ends_with("x\r\nEND\r\n") || answer.ends_with("ok\n"), "{answer}");
    }
}

#[test]
fn what_is_not_served_is_closed_and_counted() {
    let server = server(&["--set", "limits.handshake_timeout=300ms"]);
    for first in [&b"\x16\x03\x01\x02\0"[..], b"*1\r\n$4\r\nPING\r\n"] {
        let mut client = native(&server);
        client.send(first);
        assert!(client.rest().unwrap().is_empty(), "{first:?}");
    }
    assert_eq!(rejected(&server, "not_accepted"), 2);
    for first in [&b"\0"[..], b"\r\n", b" get a\r\n", b"\xff\xff", b"5"] {
        let mut client = native(&server);
        client.send(first);
        assert!(client.rest().unwrap().is_empty(), "{first:?}");
    }
    assert_eq!(rejected(&server, "unknown_protocol"), 5);
    let mut silent = native(&server);
    silent.closed();
    assert_eq!(rejected(&server, "handshake_timeout"), 1);
    assert!(server.log().contains("\"event\":\"not_served\""), "{}", server.log());
    // A client that goes away at once is no trouble.
    drop(native(&server));
    native(&server).ask("mn\r\n", "MN\r\n");
    assert_eq!(rejected(&server, "handshake_timeout"), 1);
}

/// The listener of the drop-in and the default one know memcached alone, as ever.
#[test]
fn a_memcached_listener_speaks_nothing_else() {
    let server = server(&[]);
    let mut client = server.connect();
    client.send("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n");
    client.closed();
    let dropin = Server::dropin(&[]);
    let mut client = dropin.connect();
    client.send("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n");
    client.closed();
}

#[test]
fn a_listener_accepts_what_its_configuration_says() {
    let file = isogrid_tests::harness::temporary("accept.toml");
    let text = "[[listener]]\naddress = \"127.0.0.1:0\"\naccept = [\"memcached\", \"http\"]\n";
    std::fs::write(&file, text).unwrap();
    let args = ["--config", file.to_str().unwrap(), "--threads", "1", "--http", "127.0.0.1:0"];
    let server = Server::isogrid(&args);
    server.connect().ask("mn\r\n", "MN\r\n");
    assert_eq!(server.connect().http("GET", "/livez", &[], b"").status, 200);
    let mut client = server.connect();
    client.send(b"\xf7GRD");
    client.closed();
    assert_eq!(rejected(&server, "not_accepted"), 1);
    std::fs::remove_file(file).unwrap();
}
