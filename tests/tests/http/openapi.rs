//! The server's description of itself is true: every route of it answers, each answer as declared,
//! and administration does what its registry says.

use isogrid_tests::harness::{Answer, Server, temporary};
use serde_json::{Map, Value, json};

use super::{json, metric, server};

/// An answer is one that the description declares, with a media type that it declares.
fn check(what: &str, declared: &Value, answer: &Answer) {
    let response = &declared["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{what}: {} is not declared", answer.status);
    let media: Vec<&String> =
        response["content"].as_object().into_iter().flat_map(Map::keys).collect();
    let is = answer.header("content-type");
    assert_eq!(media.is_empty(), is.is_empty(), "{what}: {is} or none of {media:?}");
    assert!(media.is_empty() || media.iter().any(|media| *media == is), "{what}: {is}, {media:?}");
    if is == "application/problem+json" {
        let problem = json(answer);
        for field in ["type", "title", "status", "detail", "code", "retry", "help"] {
            assert!(!problem[field].is_null(), "{what}: {problem} has no {field}");
        }
    }
}

/// The path with its examples in it, and the query and headers with theirs.
fn example(path: &str, declared: &Value, with_options: bool) -> (String, Vec<String>) {
    let (mut path, mut query, mut headers) = (path.to_owned(), Vec::new(), Vec::new());
    for parameter in declared["parameters"].as_array().into_iter().flatten() {
        let text = |field: &str| parameter[field].as_str().unwrap().to_owned();
        let (name, example) = (text("name"), text("example"));
        match text("in").as_str() {
            "path" => path = path.replace(&format!("{{{name}}}"), &example),
            "query" if with_options || parameter["required"] == true => {
                query.push(format!("{name}={example}"))
            }
            // Conditions exclude each other, and are tested elsewhere.
            _ => headers.push(format!("{name}: {example}")),
        }
    }
    let headers = headers.into_iter().take(usize::from(with_options)).collect();
    if query.is_empty() {
        (path, headers)
    } else {
        (format!("{path}?{}", query.join("&")), headers)
    }
}

fn call(server: &Server, method: &str, path: &str, headers: &[String], body: &[u8]) -> Answer {
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    server.http(method, path, &headers, body)
}

#[test]
fn every_route_answers_as_it_is_described() {
    let backups = format!("node.backup_dir={}", temporary("http-backups").display());
    let server = server(&["--set", &backups]);
    let saved = server.http("POST", "/v1/admin/snapshot.save", &[], br#"{"name":"all.snapshot"}"#);
    assert_eq!(saved.status, 200, "{}", saved.text());
    let document = json(&server.http("GET", "/v1/openapi.json", &[], b""));
    assert_eq!(document["openapi"], "3.1.0");
    let mut asked = 0;
    for (path, verbs) in document["paths"].as_object().unwrap() {
        for (verb, declared) in verbs.as_object().unwrap() {
            let method = verb.to_ascii_uppercase();
            let body = &declared["requestBody"]["content"];
            let schema = &body["application/json"]["schema"];
            let params = schema["examples"][0].to_string();
            let body = if schema.is_object() { params.as_bytes() } else { b"7" };
            let body = if matches!(&*method, "PUT" | "PATCH" | "POST") { body } else { b"" };
            for with_options in [true, false] {
                // What was stored before is there for the reads and removals to come.
                let key = "/v1/caches/default/entries/some%2Fkey";
                server.http("PUT", key, &[], b"7");
                let options = br#"{"memory":"16MiB","ttl":"10m"}"#;
                server.http("PUT", "/v1/caches/orders", &[], options);
                let (path, headers) = example(path, declared, with_options);
                let answer = call(&server, &method, &path, &headers, body);
                let what = format!("{method} {path} {headers:?}");
                check(&what, declared, &answer);
                // This server belongs to no cluster and has no users; `cluster_cli.rs` and
                // `cli_remote/users.rs` ask those that do.
                let is_refused = path.contains("cluster") || path.contains("users.");
                let status = answer.status;
                assert_eq!(status >= 400, is_refused, "{what}: {status} {}", answer.text());
                asked += 1;
            }
            // Wrong uses are declared as well.
            let (path, _) = example(path, declared, false);
            let (wrong, pages) = (format!("{path}?no=such"), ["origin: http://x".to_owned()]);
            check(&wrong, declared, &call(&server, &method, &wrong, &[], b"{\"no\":1}"));
            check(&path, declared, &call(&server, &method, &path, &pages, b""));
            let missing = path.replace("/default", "/missing").replace("/orders", "/missing");
            let missing = missing.replace("some", "missing");
            // A cache that is missing is made.
            if missing != path && (method != "PUT" || path.contains("entries")) {
                let answer = call(&server, &method, &missing, &[], b"");
                assert_eq!(answer.status, 404, "{missing}");
                check(&missing, declared, &answer);
            }
        }
    }
    assert!(asked >= 50, "only {asked} requests");
}

fn admin(server: &Server, method: &str, params: &Value) -> Answer {
    server.http("POST", &format!("/v1/admin/{method}"), &[], params.to_string().as_bytes())
}

#[test]
fn administration() {
    let server = server(&["--max-connections", "77"]);
    server.connect().ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    assert_eq!(json(&admin(&server, "caches.list", &json!({})))["caches"][0]["entries"], 1);
    let described = json(&admin(&server, "caches.describe", &json!({ "cache": "default" })));
    assert_eq!(described["stats"]["sets"], 1);
    let shown = json(&admin(&server, "config.show", &json!({})));
    let values = shown["values"].as_array().unwrap();
    let value = |key: &str| values.iter().find(|value| value["key"] == key).unwrap().clone();
    let limit = value("limits.max_connections");
    assert_eq!(
        (&limit["value"], &limit["origin"]),
        (&"77".into(), &"flag --max-connections".into())
    );
    assert_eq!(value("log.level")["origin"], "default");
    assert_eq!(value("cache.default.memory")["value"], "64MiB");
    let stats = json(&admin(&server, "node.stats", &json!({})));
    assert_eq!(stats["connections"]["max"], 77);
    assert_eq!(json(&admin(&server, "caches.clear", &json!({ "cache": "default" })))["entries"], 1);
    server.connect().ask("get a\r\n", "END\r\n");
    for (method, params, status) in [
        ("caches.clear", json!({}), 400),
        ("caches.clear", json!({ "cache": "no" }), 404),
        ("caches.clear", json!({ "cash": "default" }), 400),
        ("caches.clear", json!([]), 400),
        ("log.level", json!({ "level": "no such=level=at all" }), 400),
        ("no.such", json!({}), 404),
    ] {
        assert_eq!(admin(&server, method, &params).status, status, "{method} {params}");
    }
    assert_eq!(server.http("POST", "/v1/admin/node.info", &[], b"{").status, 400);
    let long = vec![b' '; 70_000];
    assert_eq!(server.http("POST", "/v1/admin/node.info", &[], &long).status, 413);
    let stream =
        server.http("POST", "/v1/admin/caches.list", &["accept: application/x-ndjson"], b"");
    assert_eq!(stream.header("content-type"), "application/x-ndjson");
    assert_eq!(json(&stream)["result"]["caches"][0]["name"], "default");
}

#[test]
fn the_level_of_the_log_changes_while_the_server_runs() {
    let server = server(&[]);
    server.connect().ask("mn\r\n", "MN\r\n");
    assert!(!server.log().contains("\"event\":\"disconnected\""), "{}", server.log());
    assert_eq!(admin(&server, "log.level", &json!({ "level": "debug" })).status, 200);
    assert_eq!(json(&admin(&server, "log.level", &json!({})))["level"], "debug");
    server.connect().ask("mn\r\n", "MN\r\n");
    isogrid_tests::harness::wait_until("debug lines come", || {
        server.log().contains("\"event\":\"disconnected\"")
    });
}

#[test]
fn metrics_in_both_texts() {
    let server = server(&[]);
    let classic = server.http("GET", "/metrics", &[], b"");
    assert_eq!(classic.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(classic.text().contains("# TYPE isogrid_connections_opened_total counter\n"));
    let open = server.http("GET", "/metrics", &["accept: application/openmetrics-text;q=0.9"], b"");
    assert!(open.header("content-type").starts_with("application/openmetrics-text"));
    assert!(open.text().ends_with("# EOF\n"));
    assert!(metric(&server, "process_resident_memory_bytes") > 1 << 20);
    let page = std::fs::read_to_string(isogrid_tests::tidy::root().join("docs/HTTP.md")).unwrap();
    for line in classic.text().lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not documented");
    }
}
