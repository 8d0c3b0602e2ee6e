//! Caches that are made, changed and dropped over HTTP.

use isogrid_tests::harness::{Answer, Server, temporary};
use serde_json::{Value, json};

use super::{json, server};

const ORDERS: &str = "/v1/caches/orders";
const NEW: &str = "/v1/caches/new";

fn ask(server: &Server, method: &str, path: &str, body: &Value) -> Answer {
    server.http(method, path, &[], body.to_string().as_bytes())
}

#[test]
fn a_cache_from_beginning_to_end() {
    let server = server(&[]);
    let options = json!({ "max_bytes": "16MiB", "ttl": 600_000, "eviction": "lru" });
    for (body, status) in [(&options, 201), (&options, 200), (&json!({}), 200)] {
        let answer = ask(&server, "PUT", ORDERS, body);
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        let told = json(&answer);
        let is = &told["options"];
        assert_eq!(
            (&is["memory"], &is["ttl"], &is["eviction"]),
            (&"16MiB".into(), &"10m".into(), &"lru".into())
        );
        // What GET tells of the options is what PUT takes.
        assert_eq!(json(&server.http("GET", ORDERS, &[], b""))["options"], *is);
        assert_eq!(ask(&server, "PUT", ORDERS, is).status, 200);
    }
    let entry = format!("{ORDERS}/entries/a");
    assert_eq!(server.http("PUT", &entry, &[], b"1").status, 201);
    assert!(
        server.http("GET", &entry, &[], b"").header("isogrid-ttl-ms").parse::<u64>().unwrap()
            > 590_000
    );
    let altered = ask(&server, "PATCH", ORDERS, &json!({ "ttl": null, "memory": "32MiB" }));
    assert_eq!(altered.status, 200);
    let told = json(&altered);
    assert_eq!(
        (&told["options"]["ttl"], &told["limit_bytes"]),
        (&"off".into(), &(32 << 20).into())
    );
    assert_eq!(server.http("GET", &entry, &[], b"").text(), "1", "entries stay");
    for confirm in ["", "?confirm=", "?confirm=order", "?confirm=default", "?yes=orders"] {
        let answer = server.http("DELETE", &format!("{ORDERS}{confirm}"), &[], b"");
        assert_eq!(answer.status, 400, "{confirm}: {}", answer.text());
        assert_eq!(server.http("GET", &entry, &[], b"").status, 200, "{confirm}");
    }
    let gone = format!("{ORDERS}?confirm=orders");
    for status in [204, 404] {
        assert_eq!(server.http("DELETE", &gone, &[], b"").status, status);
        assert_eq!(server.http("GET", &entry, &[], b"").status, 404);
    }
}

/// What is asked, and the status, a member and a part of the help of the problem.
const REFUSED: [(&str, &str, &str, u16, &str, &str, &str); 14] = [
    (
        "PUT",
        ORDERS,
        r#"{"ttl":"5m"}"#,
        409,
        "differences",
        r#"[{"option":"ttl","have":"10m","want":"5m"}]"#,
        "alter the cache",
    ),
    ("PUT", NEW, r#"{"tll":"5m"}"#, 400, "option", r#""tll""#, "did you mean \"ttl\"?"),
    ("PUT", NEW, r#"{"ttl":"soon"}"#, 400, "option", r#""ttl""#, "openapi"),
    ("PUT", NEW, r#"{"ttl":true}"#, 400, "code", "3001", "openapi"),
    ("PUT", NEW, "[]", 400, "code", "3001", "openapi"),
    ("PUT", "/v1/caches/n%20w", "{}", 400, "code", "3001", "\"nw\" would be one"),
    ("PUT", NEW, r#"{"persist":"sync"}"#, 400, "code", "3001", "--data-dir"),
    ("PUT", NEW, r#"{"mode":"invalidated"}"#, 400, "code", "3001", "--join"),
    ("PUT", NEW, r#"{"memory":"64TiB"}"#, 507, "code", "3011", "node.memory"),
    (
        "PATCH",
        ORDERS,
        r#"{"segments":4}"#,
        400,
        "differences",
        r#"[{"option":"segments","have":"off","want":"4"}]"#,
        "create it anew",
    ),
    ("PATCH", ORDERS, r#"{"ttl":"5m","tll":"5m"}"#, 400, "option", r#""tll""#, "ttl"),
    ("PATCH", NEW, r#"{"ttl":"5m"}"#, 404, "code", "3002", "GET /v1/caches"),
    ("DELETE", "/v1/caches/new?confirm=new", "", 404, "code", "3002", "GET /v1/caches"),
    (
        "DELETE",
        "/v1/caches/default?confirm=default",
        "",
        400,
        "code",
        "3001",
        "take the listener out",
    ),
];

/// Nothing is made or changed, and the problem says in which option and what to do.
#[test]
fn what_is_refused_says_why() {
    let server = server(&[]);
    let made = json!({ "memory": "16MiB", "ttl": "10m" });
    assert_eq!(ask(&server, "PUT", ORDERS, &made).status, 201);
    let before = json(&server.http("GET", ORDERS, &[], b""))["options"].clone();
    for (method, path, body, status, member, said, help) in REFUSED {
        let answer = server.http(method, path, &[], body.as_bytes());
        let what = format!("{method} {path} {body}: {}", answer.text());
        assert_eq!(answer.status, status, "{what}");
        let problem = json(&answer);
        assert_eq!(problem[member], serde_json::from_str::<Value>(said).unwrap(), "{what}");
        assert!(problem["help"].as_str().unwrap().contains(help), "{what}");
    }
    let long = vec![b' '; 70_000];
    assert_eq!(server.http("PUT", "/v1/caches/new", &[], &long).status, 413);
    assert_eq!(server.http("GET", "/v1/caches/new", &[], b"").status, 404);
    assert_eq!(json(&server.http("GET", ORDERS, &[], b""))["options"], before);
}

/// One catalog: what is made over HTTP is there for the others, and after a restart.
#[test]
fn others_see_it_and_it_stays() {
    let dir = temporary("http-caches");
    let dir = dir.to_str().unwrap();
    let mut first = server(&["--data-dir", dir]);
    let options = json!({ "persist": "async", "memory": "16MiB", "segments": 1 });
    assert_eq!(ask(&first, "PUT", ORDERS, &options).status, 201);
    assert_eq!(ask(&first, "PUT", "/v1/caches/gone", &options).status, 201);
    assert_eq!(ask(&first, "PATCH", ORDERS, &json!({ "ttl": "1h" })).status, 200);
    assert_eq!(first.http("DELETE", "/v1/caches/gone?confirm=gone", &[], b"").status, 204);
    assert_eq!(first.http("PUT", &format!("{ORDERS}/entries/a"), &[], b"1").status, 201);
    first.signal("KILL");
    first.wait();
    let again = server(&["--data-dir", dir]);
    let told = json(&again.http("GET", ORDERS, &[], b""));
    assert_eq!((&told["options"]["ttl"], &told["entries"]), (&"1h".into(), &1.into()), "{told}");
    assert_eq!(again.http("GET", "/v1/caches/gone", &[], b"").status, 404);
}
