//! Entries: versions as entity tags, conditions, lifespans, keys of any bytes.

use isogrid_tests::harness::Server;

use super::{ENTRIES, json, metric, server};

fn path(key: &str) -> String {
    format!("{ENTRIES}{key}")
}

#[test]
fn conditions_hold_or_nothing_is_done() {
    let server = server(&[]);
    let mut client = server.connect_http();
    let created = client.http("PUT", &path("a"), &["if-none-match: *"], b"one");
    assert_eq!(created.status, 201);
    let first = created.header("etag").to_owned();
    assert!(first.starts_with('"') && first.len() > 2, "{first}");
    let replaced = client.http("PUT", &path("a"), &[&format!("if-match: {first}")], b"two");
    assert_eq!(replaced.status, 204);
    let second = replaced.header("etag").to_owned();
    assert_ne!(first, second);
    let (is_first, is_second) =
        (format!("if-match: {first}"), format!("if-match: \"1\", {second}"));
    let not_second = format!("if-none-match: {second}");
    for (method, key, condition, status) in [
        ("PUT", "a", "if-none-match: *", 412),
        ("PUT", "a", is_first.as_str(), 412),
        ("PUT", "b", is_first.as_str(), 412),
        ("PUT", "b", "if-match: *", 412),
        ("PUT", "a", "if-match: W/\"1\"", 412),
        ("PUT", "a", "if-match: 1", 400),
        ("PUT", "a", "if-none-match: \"1\"", 400),
        ("DELETE", "a", is_first.as_str(), 412),
        ("DELETE", "b", "if-match: *", 412),
        ("DELETE", "b", "x: y", 404),
        ("GET", "b", "x: y", 404),
        ("GET", "a", not_second.as_str(), 304),
        ("HEAD", "a", not_second.as_str(), 304),
        ("GET", "a", "if-none-match: \"1\"", 200),
    ] {
        let answer = client.http(method, &path(key), &[condition], b"");
        assert_eq!(answer.status, status, "{method} {key} {condition}: {}", answer.text());
        if status >= 400 && method != "HEAD" {
            let problem = json(&answer);
            let code = if status == 412 {
                3
            } else if status == 404 {
                1
            } else {
                3001
            };
            assert_eq!((&problem["status"], &problem["code"]), (&status.into(), &code.into()));
            assert!(problem["type"].as_str().unwrap().starts_with("urn:isogrid:"), "{problem}");
            assert!(!problem["help"].as_str().unwrap().is_empty(), "{problem}");
            assert_eq!(answer.header("content-type"), "application/problem+json");
        }
    }
    let got = client.http("GET", &path("a"), &[], b"");
    assert_eq!((got.body.as_slice(), got.header("etag")), (&b"two"[..], second.as_str()));
    assert_eq!(client.http("PUT", &path("a"), &["if-match: *"], b"3").status, 204);
    assert_eq!(client.http("DELETE", &path("a"), &[&is_second], b"").status, 412);
    assert_eq!(client.http("DELETE", &path("a"), &["if-match: *"], b"").status, 204);
    assert_eq!(client.http("GET", &path("a"), &[], b"").status, 404);
}

/// Of many that create one entry, one does.
#[test]
fn one_of_many_creates() {
    let server = server(&["--threads", "2"]);
    let address = server.bound_for("http")[0].clone();
    let create =
        || Server::connect_to(&address).http("PUT", &path("one"), &["if-none-match: *"], b"x");
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..16).map(|_| scope.spawn(|| create().status)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [201, 412].contains(status)), "{statuses:?}");
}

#[test]
fn keys_are_bytes_and_paths_mean_nothing_else() {
    let server = server(&[]);
    let mut client = server.connect_http();
    let long = "k".repeat(4_000);
    let keys = [
        "../../../etc/passwd",
        "..%2f..%2fx",
        "a//b",
        ".",
        "a%00b",
        "%ff%fe",
        "%F0%9F%98%80",
        "a/incr",
        "?",
        long.as_str(),
    ];
    let keys = keys.map(|key| if key == "?" { "%3f" } else { key });
    for (n, key) in keys.iter().enumerate() {
        let value = format!("value {n}");
        assert_eq!(client.http("PUT", &path(key), &[], value.as_bytes()).status, 201, "{key}");
        assert_eq!(client.http("GET", &path(key), &[], b"").text(), value, "{key}");
    }
    // The same key by another spelling, and by another protocol.
    assert_eq!(client.http("GET", &path("a%2F%2fb"), &[], b"").text(), "value 2");
    server.connect().ask("get a//b\r\n", "VALUE a//b 0 7\r\nvalue 2\r\nEND\r\n");
    for (key, status) in [("%", 400), ("%4", 400), ("a%zz", 400), ("%+1", 400), ("", 404)] {
        assert_eq!(client.http("GET", &path(key), &[], b"").status, status, "{key}");
    }
    for cache in ["nothing", "..", "%ff", "%zz"] {
        let answer = client.http("GET", &format!("/v1/caches/{cache}/entries/a"), &[], b"");
        assert!([400, 404].contains(&answer.status), "{cache}: {}", answer.status);
    }
}

#[test]
fn lifespans_and_flags_are_given_and_told() {
    let server = server(&["--set", "cache.default.ttl=1h"]);
    let mut client = server.connect_http();
    let mut ttl = |query: &str| {
        assert!(client.http("PUT", &path(&format!("t{query}")), &[], b"5").status < 300);
        let got = client.http("HEAD", &path("t"), &[], b"");
        let header = |name: &str| got.header(name).parse::<u64>().unwrap_or(0);
        assert_eq!(got.header("content-length"), "1");
        (header("isogrid-ttl-ms"), header("isogrid-idle-ms"), header("isogrid-flags"))
    };
    let (left, idle, flags) = ttl("?ttl=60s&idle=5m&flags=7");
    assert!((1..=60_000).contains(&left), "{left}");
    assert_eq!((idle, flags), (300_000, 7));
    assert!((60_001..=3_600_000).contains(&ttl("").0), "the cache's default");
    server.connect().ask("get t\r\n", "VALUE t 0 1\r\n5\r\nEND\r\n");
    for query in
        ["ttl=0", "ttl=soon", "ttl=-1s", "ttl=37000d", "tll=1s", "ttl=1s&ttl=2s", "flags=x"]
    {
        let answer = server.http("PUT", &path(&format!("t?{query}")), &[], b"6");
        assert_eq!((answer.status, json(&answer)["code"].as_u64()), (400, Some(3001)), "{query}");
    }
    let brief = server.http("PUT", &path("brief?ttl=1ms"), &[], b"6");
    assert_eq!(brief.status, 201);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(server.http("GET", &path("brief"), &[], b"").status, 404);
    assert_eq!(server.http("GET", &path("t"), &[], b"").text(), "5", "refused puts change nothing");
}

#[test]
fn counters_count() {
    let server = server(&[]);
    let mut client = server.connect_http();
    for (query, status, value) in [
        ("", 404, 0),
        ("?initial=5", 200, 5),
        ("", 200, 6),
        ("?by=10", 200, 16),
        ("?by=-20", 200, 0),
        ("?by=x", 400, 0),
        ("?by=--1", 400, 0),
        ("?by=18446744073709551616", 400, 0),
    ] {
        let answer = client.http("POST", &path(&format!("n/incr{query}")), &[], b"");
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
        if status == 200 {
            assert_eq!(json(&answer)["value"], value, "{query}");
        }
    }
    client.http("PUT", &path("n"), &[], b"words");
    let answer = client.http("POST", &path("n/incr"), &[], b"");
    assert_eq!((answer.status, json(&answer)["code"].as_u64()), (409, Some(3007)));
    assert_eq!(client.http("POST", &path("n"), &[], b"").status, 404, "incr alone is posted");
}

/// An item is as large as memcached's, to the byte.
#[test]
fn the_largest_value_is_that_of_every_protocol() {
    let server = server(&[]);
    let mut client = server.connect_http();
    let largest = vec![b'v'; 1_048_516];
    assert_eq!(client.http("PUT", &path("k"), &[], &largest).status, 201);
    assert!(client.http("GET", &path("k"), &[], b"").body == largest);
    let more = [&largest[..], b"v"].concat();
    let refused = server.http("PUT", &path("k"), &[], &more);
    assert_eq!((refused.status, json(&refused)["code"].as_u64()), (413, Some(3006)));
    assert!(client.http("GET", &path("k"), &[], b"").body == largest, "nothing was done");
}

#[test]
fn what_is_done_is_counted() {
    let server = server(&[]);
    let mut client = server.connect_http();
    client.http("PUT", &path("a"), &[], b"1");
    client.http("PUT", &path("a"), &["if-none-match: *"], b"1");
    client.http("PUT", &path("a"), &["if-match: \"1\""], b"1");
    client.http("GET", &path("a"), &[], b"");
    client.http("HEAD", &path("a"), &[], b"");
    client.http("GET", &path("b"), &[], b"");
    client.http("DELETE", &path("a"), &[], b"");
    server.connect().ask("set m 0 0 1\r\nx\r\nget m\r\n", "STORED\r\nVALUE m 0 1\r\nx\r\nEND\r\n");
    for (op, result, protocol, count) in [
        ("get", "hit", "http", 1),
        ("get", "miss", "http", 1),
        ("set", "stored", "http", 1),
        ("set", "not_stored", "http", 1),
        ("delete", "hit", "http", 1),
        ("set", "stored", "memcached", 1),
        ("get", "hit", "memcached", 1),
    ] {
        let labels =
            format!("cache=\"default\",op=\"{op}\",result=\"{result}\",protocol=\"{protocol}\"");
        let counted = metric(&server, &format!("isogrid_ops_total{{{labels}}}"));
        assert_eq!(counted, count, "{labels}");
    }
    assert_eq!(metric(&server, "isogrid_cache_hits_total{cache=\"default\"}"), 2);
    assert_eq!(metric(&server, "isogrid_cache_entries{cache=\"default\"}"), 1);
    assert_eq!(server.connect().stat("get_hits"), 2, "`stats` sums all protocols");
}
