//! Requests that lie, stall, flood or come from where they should not. Each meets a live server
//! with a well-behaved client beside it.

use std::time::Duration;

use isogrid_tests::harness::{Client, Server, wait_until};

use super::{ENTRIES, metric, server};

/// How much memory an attack may take.
const GROWTH_MAX_KIB: u64 = 32 << 10;

/// The statuses of all answers to raw bytes, until the server closes.
fn raw(server: &Server, bytes: &[u8]) -> Vec<u16> {
    let mut client = server.connect_http();
    // The server may close before it has taken all of it.
    let _ = client.try_send(bytes);
    client.finish();
    let rest = client.rest().expect("the server closes");
    let text = String::from_utf8_lossy(&rest).into_owned();
    let statuses = text.split("HTTP/1.1 ").skip(1);
    statuses.map(|answer| answer[..3].parse().unwrap()).collect()
}

fn undisturbed(good: &mut Client) {
    let answer = good.http("GET", &format!("{ENTRIES}good"), &[], b"");
    assert_eq!((answer.status, answer.text().as_str()), (200, "value"));
}

#[test]
fn requests_that_lie() {
    let server = server(&[]);
    let mut good = server.connect_http();
    good.http("PUT", &format!("{ENTRIES}good"), &[], b"value");
    let before = server.resident_kib();
    let put = format!("PUT {ENTRIES}x HTTP/1.1\r\nhost: localhost\r\n");
    let big = "x".repeat(1 << 20);
    let chunks = format!("10000\r\n{}\r\n", "c".repeat(0x10000)).repeat(64);
    for (what, request, statuses) in [
        ("more announced than may be", format!("{put}content-length: 1048577\r\n\r\n"), vec![413]),
        ("2^64 announced", format!("{put}content-length: 18446744073709551616\r\n\r\n"), vec![400]),
        (
            "2^64-1 announced",
            format!("{put}content-length: 18446744073709551615\r\n\r\n"),
            vec![400, 413, 431],
        ),
        ("a negative length", format!("{put}content-length: -1\r\n\r\n"), vec![400]),
        (
            "two lengths",
            format!("{put}content-length: 1\r\ncontent-length: 2\r\n\r\nab"),
            vec![400],
        ),
        ("less than announced", format!("{put}content-length: 1000000\r\n\r\nabc"), vec![400]),
        (
            "chunks over the limit",
            format!("{put}transfer-encoding: chunked\r\n\r\n{chunks}"),
            vec![413],
        ),
        (
            "a chunk of 2^64",
            format!("{put}transfer-encoding: chunked\r\n\r\n10000000000000000\r\nx"),
            vec![400],
        ),
        (
            "a chunk that is none",
            format!("{put}transfer-encoding: chunked\r\n\r\nzz\r\n"),
            vec![400],
        ),
        ("a header of 1 MiB", format!("{put}x: {big}\r\n\r\n"), vec![431]),
        ("100,000 headers", format!("{put}{}\r\n", "a: b\r\n".repeat(100_000)), vec![431]),
        (
            "a path of 1 MiB",
            format!("GET /{big} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
            vec![414, 431],
        ),
        ("no version", "GET /livez\r\n\r\n".to_owned(), vec![400]),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), vec![]),
        ("memcached", "get a\r\n".to_owned(), vec![400]),
        ("a NUL", format!("{put}x: a\0b\r\n\r\n"), vec![400]),
    ] {
        let answers = raw(&server, request.as_bytes());
        // A client that is cut off while it sends may lose the answer with the reset.
        let told = answers.first().is_none_or(|status| statuses.contains(status));
        let may_be_lost = request.len() > 100_000 || statuses.is_empty();
        assert!(told && (may_be_lost || answers.len() == 1), "{what}: {answers:?}");
        undisturbed(&mut good);
    }
    let answer = good.http("GET", &format!("{ENTRIES}x"), &[], b"");
    assert_eq!(answer.status, 404, "none of them stored anything");
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_MAX_KIB, "{grown} KiB more");
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn announced_bodies_that_never_come_take_no_memory() {
    let server = server(&[]);
    let before = server.resident_kib();
    let head =
        format!("PUT {ENTRIES}x HTTP/1.1\r\nhost: a.localhost\r\ncontent-length: 1000000\r\n\r\nx");
    let clients: Vec<Client> = (0..300)
        .map(|_| {
            let mut client = server.connect_http();
            client.send(&head);
            client
        })
        .collect();
    assert_eq!(server.http("GET", "/livez", &[], b"").status, 200);
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < 300 * 128, "{grown} KiB for 300 connections");
    drop(clients);
}

#[test]
fn half_requests_and_silence_are_ended() {
    let server = server(&["--set", "limits.request_timeout=1s", "--set", "limits.idle_timeout=3s"]);
    let head = format!("PUT {ENTRIES}x HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n");
    for half in ["G", "GET /livez HTTP/1.1\r\nhost: loc", &head, &format!("{head}abc")] {
        let mut client = server.connect_http();
        client.send(half);
        assert_eq!(client.rest().expect("the server closes"), b"", "{half:?}");
    }
    // A byte now and then buys no time.
    let mut client = server.connect_http();
    let mut sent = 0;
    wait_until("the trickle is ended", || {
        std::thread::sleep(Duration::from_millis(100));
        sent += 1;
        client.try_send(b"G").is_err()
    });
    assert!(sent >= 8, "ended after {sent} bytes, before its time");
    let mut idle = server.connect_http();
    assert_eq!(idle.http("GET", "/livez", &[], b"").status, 200);
    idle.closed();
    assert!(metric(&server, "isogrid_connections_idle_closed_total") >= 1);
}

#[test]
fn a_client_that_does_not_read_is_ended() {
    let server = server(&["--set", "limits.write_timeout=1s"]);
    let value = vec![b'v'; 1_000_000];
    assert_eq!(server.http("PUT", &format!("{ENTRIES}big"), &[], &value).status, 201);
    let before = server.resident_kib();
    let mut clients: Vec<Client> = (0..10).map(|_| server.connect_http()).collect();
    let request = format!("GET {ENTRIES}big HTTP/1.1\r\nhost: localhost\r\n\r\n").repeat(50);
    clients.iter_mut().for_each(|client| client.send(&request));
    wait_until("they are gone", || metric(&server, "isogrid_connections{protocol=\"http\"}") == 1);
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < GROWTH_MAX_KIB, "{grown} KiB more");
}

/// Pages in a browser can send requests to any address; what they say they are gives them away.
#[test]
fn pages_and_foreign_names_are_refused() {
    let server = server(&[]);
    let address = server.bound_for("http")[0].clone();
    for (host, origin, status) in [
        (address.as_str(), "", 200),
        ("localhost", "", 200),
        ("localhost", "origin: http://localhost", 200),
        ("localhost", "origin: http://evil.example", 403),
        ("localhost", "origin: http://localhost:81", 403),
        ("localhost", "origin: null", 403),
        ("evil.example", "", 403),
        ("evil.example", "origin: http://evil.example", 403),
    ] {
        let mut client = server.connect_http();
        let origin = if origin.is_empty() { String::new() } else { format!("{origin}\r\n") };
        let path = "/v1/admin/caches.list";
        client.send(format!("POST {path} HTTP/1.1\r\nhost: {host}\r\n{origin}\r\n"));
        assert_eq!(client.http_answer(false).status, status, "{host} {origin}");
    }
}

#[test]
fn random_bytes_and_random_requests() {
    let server = server(&[]);
    let mut good = server.connect_http();
    good.http("PUT", &format!("{ENTRIES}good"), &[], b"value");
    let mut random = isogrid_tests::differential::Random::new(11);
    let words: [&[u8]; 20] = [
        b"GET ",
        b"PUT ",
        b"POST ",
        b"OPTIONS ",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
        b"\r\n",
        b"host: localhost\r\n",
        b"content-length: 5\r\n",
        b"content-length: 0\r\n",
        b"transfer-encoding: chunked\r\n",
        b"\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"hello",
        b"/v1/caches/default/entries/",
        b"/v1/admin/",
        b"caches.clear",
        b"%2f",
        b"\0",
        b"?ttl=1s",
    ];
    for round in 0..300 {
        let mut bytes = Vec::new();
        for _ in 0..random.below(24) {
            if random.below(8) == 0 {
                bytes.extend(random.bits().to_le_bytes());
            } else {
                bytes.extend_from_slice(words[random.below(words.len())]);
            }
        }
        raw(&server, &bytes);
        if round % 50 == 0 {
            undisturbed(&mut good);
        }
    }
    undisturbed(&mut good);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
