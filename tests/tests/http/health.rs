//! Probes: what they say, when, and that a stop is told before it is done.

use isogrid_tests::harness::{Server, wait_until};

use super::{json, metric, server};

#[test]
fn probes_answer_by_every_method_that_probes_use() {
    let server = server(&[]);
    for path in ["/health/live", "/health/ready", "/health/startup", "/livez", "/readyz"] {
        for method in ["GET", "HEAD", "OPTIONS"] {
            let answer = server.http(method, path, &[], b"");
            assert_eq!(answer.status, 200, "{method} {path}");
            let body = if method == "HEAD" { "" } else { "ok\n" };
            assert_eq!(answer.text(), body, "{method} {path}");
        }
        assert_eq!(server.http("POST", path, &[], b"").status, 405, "{path}");
    }
    let list = server.http("GET", "/health/ready?verbose", &[], b"").text();
    assert!(list.contains("[+]started ok\n") && list.ends_with("ok\n"), "{list}");
    let answer = server.http("GET", "/health/ready", &["accept: application/json"], b"");
    assert_eq!(json(&answer)["status"], "ok");
    assert_eq!(json(&answer)["checks"][0]["state"], "ok");
}

#[test]
fn an_operator_drains_and_takes_it_back() {
    let server = server(&[]);
    let ask = |method: &str| server.http("POST", &format!("/v1/admin/{method}"), &[], b"").status;
    assert_eq!(ask("node.drain"), 200);
    let ready = server.http("GET", "/health/ready", &[], b"");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("[-]taking_clients failed: an operator"), "{}", ready.text());
    assert_eq!(server.http("GET", "/health/live", &[], b"").status, 200);
    assert_eq!(metric(&server, "isogrid_node_state{state=\"draining\"}"), 1);
    server.connect().ask("get a\r\n", "END\r\n");
    assert_eq!(ask("node.undrain"), 200);
    assert_eq!(server.http("GET", "/health/ready", &[], b"").status, 200);
}

/// A client that has not read its answers keeps the server from ending; meanwhile probes hear that
/// it stops.
#[test]
fn a_stop_is_told_while_connections_are_drained() {
    let mut server = server(&["--set", "node.drain_timeout=20s"]);
    let mut slow = server.connect();
    let value = "v".repeat(1_000_000);
    slow.ask(format!("set big 0 0 1000000\r\n{value}\r\n"), "STORED\r\n");
    slow.send("get big\r\n".repeat(20));
    let mut kept = server.connect_http();
    assert_eq!(kept.http("GET", "/health/ready", &[], b"").status, 200);
    // The answers are in the way once the first of them has come.
    assert_eq!(slow.line(), "VALUE big 0 1000000");
    server.signal("TERM");
    wait_until("ready says no", || server.http("GET", "/health/ready", &[], b"").status == 503);
    let answer = server.http("GET", "/health/ready", &[], b"");
    assert!(answer.text().contains("the server is stopping"), "{}", answer.text());
    assert_eq!(server.http("GET", "/health/live", &[], b"").status, 200);
    kept.closed();
    assert!(server.is_running());
    let rest = slow.rest().expect("the server closes");
    assert_eq!(rest.len(), 20 * ("VALUE big 0 1000000\r\n".len() + 1_000_007) - 21);
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn several_addresses_and_none() {
    let args = ["--http", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let server = Server::isogrid(&args);
    let bound = server.bound_for("http");
    assert_eq!(bound.len(), 2);
    for address in &bound {
        let answer = Server::connect_to(address).http("GET", "/livez", &[], b"");
        assert_eq!(answer.status, 200);
    }
    assert_eq!(Server::isogrid(&[]).bound_for("http"), Vec::<String>::new());
}

/// Whoever looks after the server gets in when clients have taken every place.
#[test]
fn operators_have_places_of_their_own() {
    let server = server(&["--max-connections", "3"]);
    let client = |_| {
        let mut client = server.connect();
        client.ask("mn\r\n", "MN\r\n");
        client
    };
    let clients: Vec<_> = (0..3).map(client).collect();
    assert_eq!(metric(&server, "isogrid_connections{protocol=\"memcached\"}"), 3);
    let refused = server.connect().rest().unwrap();
    assert!(refused.starts_with(b"ERROR Too many open connections"));
    assert_eq!(metric(&server, "isogrid_connections_rejected_total{reason=\"full\"}"), 1);
    let operators: Vec<_> = (0..32).map(|_| server.connect_http()).collect();
    wait_until("nobody else gets in", || {
        server.connect_http().rest().is_some_and(|rest| rest.starts_with(b"HTTP/1.1 503 "))
    });
    drop((clients, operators));
}
