//! Entries over HTTP.

use isogrid_tests::harness::Answer;

use super::dev::Dev;

/// A request; `TAG` stands for the version that the last answer with one told. What it is answered
/// with: the status, and the body if there is one.
type Row = (&'static str, &'static str, &'static [&'static str], &'static str, u16, &'static str);

/// Each row is asked of another node than the one before it.
const ENTRIES: [Row; 30] = [
    ("GET", "k", &[], "", 404, ""),
    ("PUT", "k", &[], "one", 201, ""),
    ("GET", "k", &[], "", 200, "one"),
    ("PUT", "k", &[], "two", 204, ""),
    ("GET", "k", &["if-none-match: TAG"], "", 304, ""),
    ("HEAD", "k", &[], "", 200, ""),
    ("PUT", "k", &["if-none-match: *"], "x", 412, ""),
    ("PUT", "new", &["if-none-match: *"], "x", 201, ""),
    ("PUT", "k", &["if-match: \"1\""], "x", 412, ""),
    ("PUT", "none", &["if-match: *"], "x", 412, ""),
    ("PUT", "k", &["if-match: *"], "three", 204, ""),
    ("PUT", "k", &["if-match: \"1\", TAG"], "four", 204, ""),
    ("GET", "k", &[], "", 200, "four"),
    ("PUT", "k", &["if-none-match: \"1\""], "x", 400, ""),
    ("POST", "k/incr", &[], "", 409, ""),
    ("DELETE", "k", &["if-match: \"1\""], "", 412, ""),
    ("DELETE", "none", &["if-match: *"], "", 412, ""),
    ("DELETE", "k", &["if-match: TAG"], "", 204, ""),
    ("DELETE", "k", &[], "", 404, ""),
    ("POST", "n/incr", &[], "", 404, ""),
    ("POST", "n/incr?initial=5", &[], "", 200, "{\"value\":5}\n"),
    ("POST", "n/incr?by=2&initial=9", &[], "", 200, "{\"value\":7}\n"),
    ("POST", "n/incr?by=-10", &[], "", 200, "{\"value\":0}\n"),
    ("POST", "n/incr?by=9223372036854775808", &[], "", 400, ""),
    ("POST", "n/incr?by=-9223372036854775808", &[], "", 200, "{\"value\":0}\n"),
    ("POST", "m/incr?initial=3&ttl=1m", &[], "", 200, "{\"value\":3}\n"),
    ("POST", "m/incr?initial=3&ttl=1h", &[], "", 200, "{\"value\":4}\n"),
    ("PUT", "t?ttl=60s&idle=5m&flags=7", &[], "", 201, ""),
    ("PUT", "a%00%2F/b", &[], "bytes", 201, ""),
    ("GET", "a%00%2F/b", &[], "", 200, "bytes"),
];

fn ask(dev: &Dev, node: usize, method: &str, key: &str, headers: &[&str], body: &str) -> Answer {
    dev.asks(node, method, &format!("/v1/caches/default/entries/{key}"), headers, body.as_bytes())
}

#[test]
fn entries_are_reached_over_http_on_any_node() {
    let dev = Dev::three(&[]);
    let mut tag = String::new();
    for (at, (method, key, headers, body, status, said)) in ENTRIES.into_iter().enumerate() {
        let headers: Vec<_> = headers.iter().map(|header| header.replace("TAG", &tag)).collect();
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        let answer = ask(&dev, at % 3, method, key, &headers, body);
        assert_eq!(answer.status, status, "{method} {key} {headers:?}: {}", answer.text());
        assert!(said.is_empty() || answer.text() == said, "{method} {key}: {}", answer.text());
        let told = answer.header("etag");
        if !told.is_empty() {
            told.clone_into(&mut tag);
        }
    }
    for node in 0..3 {
        let times = |key: &str| {
            let answer = ask(&dev, node, "GET", key, &[], "");
            let number = |name: &str| answer.header(name).parse().unwrap_or(0_u64);
            ["isogrid-ttl-ms", "isogrid-idle-ms", "isogrid-flags"].map(number)
        };
        let [ttl, idle, flags] = times("t");
        assert!((1..=60_000).contains(&ttl) && (idle, flags) == (300_000, 7), "{ttl} {idle}");
        // Who counts an entry that is there leaves it its time.
        assert!((1..=60_000).contains(&times("m")[0]));
        dev.client(node).ask("get n\r\n", "VALUE n 0 1\r\n0\r\nEND\r\n");
    }
    let long = "k".repeat(2_000);
    assert_eq!(ask(&dev, 0, "PUT", &long, &[], "x").status, 201);
    for node in 0..3 {
        assert_eq!(ask(&dev, node, "GET", &long, &[], "").text(), "x");
    }
}
