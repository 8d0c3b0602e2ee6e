//! Who may ask what over HTTP: every route by every identity.

use isogrid_tests::harness::{Client, Server, Users, wait_until};
use isogrid_wire::base64;

use super::{PASSWORD, guarded};

const ENTRY: &str = "/v1/caches/default/entries/own";
const ALIEN: &str = "/v1/caches/default/entries/alien";

/// With what each user of the tables asks: nobody; a reader, a writer and a deleter of keys that
/// begin with `own`, a monitor, the administrator of one cache, and that of everything.
const ROLES: [(&str, &[&str]); 6] = [
    ("reader", &["read@default/own"]),
    ("writer", &["read@default/own", "write@default/own"]),
    ("deleter", &["delete@default/own"]),
    ("monitor", &["monitor@*"]),
    ("keeper", &["admin@own"]),
    ("boss", &["all@*"]),
];

/// What is asked, and what nobody and each of [`ROLES`] is answered.
const TABLE: [(&str, &str, [u16; 7]); 21] = [
    ("GET", "/health/live", [200, 200, 200, 200, 200, 200, 200]),
    ("GET", "/health/ready", [200, 200, 200, 200, 200, 200, 200]),
    ("GET", "/v1/openapi.json", [200, 200, 200, 200, 200, 200, 200]),
    ("GET", "/metrics", [401, 403, 403, 403, 200, 403, 200]),
    ("GET", "/v1/caches", [401, 403, 403, 403, 200, 403, 200]),
    ("GET", "/v1/caches/default", [401, 403, 403, 403, 200, 403, 200]),
    ("PUT", "/v1/caches/own", [401, 403, 403, 403, 403, 201, 201]),
    ("PATCH", "/v1/caches/own", [401, 403, 403, 403, 403, 200, 200]),
    ("DELETE", "/v1/caches/own?confirm=own", [401, 403, 403, 403, 403, 204, 204]),
    ("PUT", ENTRY, [401, 403, 204, 403, 403, 403, 204]),
    ("PUT", ALIEN, [401, 403, 403, 403, 403, 403, 204]),
    ("GET", ENTRY, [401, 200, 200, 403, 403, 403, 200]),
    ("GET", ALIEN, [401, 403, 403, 403, 403, 403, 200]),
    ("POST", "/v1/caches/default/entries/own/incr", [401, 403, 200, 403, 403, 403, 200]),
    ("POST", "/v1/admin/node.info", [401, 403, 403, 403, 200, 403, 200]),
    ("POST", "/v1/admin/caches.list", [401, 403, 403, 403, 200, 403, 200]),
    // Who may is told what is missing.
    ("POST", "/v1/admin/snapshot.save", [401, 403, 403, 403, 403, 403, 400]),
    ("POST", "/v1/admin/snapshot.load", [401, 403, 403, 403, 403, 403, 400]),
    ("PUT", "/v1/caches/other", [401, 403, 403, 403, 403, 403, 201]),
    ("PATCH", "/v1/caches/other", [401, 403, 403, 403, 403, 403, 200]),
    ("DELETE", "/v1/caches/other?confirm=other", [401, 403, 403, 403, 403, 403, 204]),
];

fn basic(user: &str, password: &str) -> String {
    format!("authorization: Basic {}", base64::text(format!("{user}:{password}").as_bytes()))
}

fn serve(users: &Users) -> Server {
    ROLES.iter().for_each(|(user, roles)| users.add(user, PASSWORD, roles));
    guarded(users, &["--http", "127.0.0.1:0"])
}

fn status(client: &mut Client, verb: &str, path: &str, header: Option<&str>) -> u16 {
    let headers: Vec<&str> = header.into_iter().collect();
    let body: &[u8] = if verb == "PUT" && path.contains("/entries/") { b"1" } else { b"" };
    client.http(verb, path, &headers, body).status
}

#[test]
fn every_route_by_every_identity() {
    let users = Users::new();
    let server = serve(&users);
    let boss = basic("boss", PASSWORD);
    for path in [ENTRY, ALIEN] {
        assert_eq!(server.http("PUT", path, &[&boss], b"1").status, 201);
    }
    let who = ROLES.iter().map(|(user, _)| Some(basic(user, PASSWORD)));
    for (column, header) in std::iter::once(None).chain(who).enumerate() {
        let mut client = server.connect_http();
        for (verb, path, answers) in TABLE {
            let answer = status(&mut client, verb, path, header.as_deref());
            assert_eq!(answer, answers[column], "{verb} {path} by {header:?}");
        }
        // A header of before counts for the requests that have it alone.
        assert_eq!(status(&mut client, "GET", ENTRY, None), 401);
    }
    for (column, (user, _)) in ROLES.iter().enumerate() {
        let deletes = ["deleter", "boss"].contains(user);
        let answer = server.http("DELETE", ENTRY, &[&basic(user, PASSWORD)], b"").status;
        assert_eq!(answer, if deletes { 204 } else { 403 }, "DELETE by {user} ({column})");
        server.http("PUT", ENTRY, &[&boss], b"1");
    }
}

#[test]
fn what_is_wrong_is_refused_and_says_how_to_log_in() {
    let users = Users::new();
    let server = serve(&users);
    for header in [
        basic("boss", "wrong"),
        basic("nobody", PASSWORD),
        "authorization: Basic !!".to_owned(),
        "authorization: Basic Ym9zcw==".to_owned(),
        "authorization: Bearer boss.0000".to_owned(),
        "authorization: Digest x".to_owned(),
        "authorization: ".to_owned(),
    ] {
        let answer = server.http("GET", ENTRY, &[&header], b"");
        assert_eq!(answer.status, 401, "{header}");
        assert!(answer.header("www-authenticate").starts_with("Basic realm="), "{header}");
        assert!(answer.text().contains("AuthFailed"), "{header}: {}", answer.text());
    }
    let answer = server.http("GET", ENTRY, &[], b"");
    assert!(answer.text().contains("AuthRequired"), "{}", answer.text());
}

#[test]
fn tokens_and_changes_of_users_count_at_once() {
    let users = Users::new();
    let server = serve(&users);
    let header = format!("authorization: Bearer {}", users.token("ci", &["read,write@*"]));
    let mut client = server.connect_http();
    wait_until("the user is known", || server.log().contains("users_loaded"));
    assert_eq!(status(&mut client, "PUT", ENTRY, Some(&header)), 201);
    assert_eq!(status(&mut client, "GET", ENTRY, Some(&header)), 200);
    assert!(users.user(&["rm", "ci"], "").status.success());
    wait_until("the user is gone", || server.log().matches("users_loaded").count() == 2);
    assert_eq!(status(&mut client, "GET", ENTRY, Some(&header)), 401);
    let boss = basic("boss", PASSWORD);
    assert_eq!(status(&mut client, "GET", ENTRY, Some(&boss)), 200);
}

#[test]
fn denials_and_what_administrators_do_are_recorded() {
    let users = Users::new();
    let mut server = serve(&users);
    server.http("PUT", "/v1/caches/default/entries/alien-key", &[&basic("writer", PASSWORD)], b"1");
    server.http(
        "POST",
        "/v1/admin/caches.clear",
        &[&basic("boss", PASSWORD)],
        b"{\"cache\":\"default\"}",
    );
    server.http("PUT", "/v1/caches/orders", &[&basic("boss", PASSWORD)], b"{\"ttl\":\"77s\"}");
    server.http("DELETE", "/v1/caches/orders?confirm=orders", &[&basic("writer", PASSWORD)], b"");
    server.signal("TERM");
    assert!(server.wait().success());
    let text = std::fs::read_to_string(users.path("audit.jsonl")).unwrap();
    for said in [
        "\"event\":\"denied\",\"user\":\"writer\",\"peer\":\"127.0.0.1\",\"command\":\"PUT /v1/caches/{name}/entries/{key}\",\"cache\":\"default\",\"key_sha256\":\"",
        "\"event\":\"admin\",\"user\":\"boss\",\"peer\":\"127.0.0.1\",\"command\":\"POST /v1/admin/caches.clear\"",
        "\"event\":\"admin\",\"user\":\"boss\",\"peer\":\"127.0.0.1\",\"command\":\"PUT /v1/caches/orders\",\"cache\":\"orders\"",
        "\"event\":\"denied\",\"user\":\"writer\",\"peer\":\"127.0.0.1\",\"command\":\"DELETE /v1/caches/orders\",\"cache\":\"orders\"",
    ] {
        assert!(text.contains(said), "{said}\n{text}");
    }
    assert!(!text.contains("alien-key") && !text.contains("77s"), "{text}");
}
