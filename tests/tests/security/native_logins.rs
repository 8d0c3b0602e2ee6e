//! Logins of the native protocol: each mechanism right and wrong, what is bounded before one, what
//! becomes of a connection whose user changes, and what the audit log says.

use std::process::Command;
use std::time::Instant;

use isogrid_tests::harness::native::{LOCKS, error_name, last_error};
use isogrid_tests::harness::tls::{self, Authority};
use isogrid_tests::harness::{Client, Native, Server, Users, isogrid, wait_until};
use isogrid_wire::native::ErrorCode;
use isogrid_wire::scram::{EXPORTER_LABEL, EXPORTER_LEN};
use serde_json::{Value, json};

use super::PASSWORD;

/// No limit but those that a test is about.
const PATIENT: [&str; 4] = ["--set", "limits.login_tries=off", "--set", "limits.login_timeout=off"];

fn users() -> Users {
    let users = Users::new();
    users.add("app", PASSWORD, &["read,write@*"]);
    users
}

fn serve(users: &Users, more: &[&str]) -> Server {
    let native = ["--native", "127.0.0.1:0", "--memcached", "off"];
    super::guarded(users, &[&native, more].concat())
}

fn err(code: &str) -> Value {
    json!(["ERR", code])
}

fn plain(user: &str, password: &str) -> String {
    format!("\0{user}\0{password}")
}

/// Whether the server says who it is, and carries requests out.
fn is_in(client: &mut Native, answer: &Value, user: &str) -> bool {
    let auth = &answer[1]["auth"];
    let auth = if answer[0] == "AUTH" { &answer[1] } else { auth };
    auth["state"] == "ok"
        && auth["user"] == user
        && client.call("conn.ECHO", 0, json!({"data": "x"}))[0] == "OK"
}

#[test]
fn each_mechanism_right_and_wrong() {
    let users = users();
    let token = users.token("ci", &["read@*"]);
    let server = serve(&users, &PATIENT);
    for (mech, data, user) in
        [("PLAIN", plain("app", PASSWORD), "app"), ("TOKEN", token.clone(), "ci")]
    {
        let mut client = server.native_newcomer();
        let answer = client.log_in(mech, &data);
        assert!(is_in(&mut client, &answer, user), "{mech}: {answer}");
    }
    let mut client = server.native_newcomer();
    let answer = client.scram("app", PASSWORD, None);
    assert!(is_in(&mut client, &answer, "app"), "{answer}");
    for (mech, data) in [
        ("PLAIN", plain("app", "wrong")),
        ("PLAIN", plain("nobody", PASSWORD)),
        ("PLAIN", format!("other\0app\0{PASSWORD}")),
        ("PLAIN", plain("ci", "")),
        ("PLAIN", String::new()),
        ("TOKEN", "ci.0000".to_owned()),
        ("TOKEN", token.replace("ci.", "app.")),
        ("TOKEN", String::new()),
        ("SCRAM-SHA-256", "n,,n=app".to_owned()),
        ("SCRAM-SHA-256", "p=tls-exporter,,n=app,r=0123456789".to_owned()),
        ("SCRAM-SHA-256", "n,a=other,n=app,r=0123456789".to_owned()),
    ] {
        let mut client = server.native_newcomer();
        assert_eq!(client.log_in(mech, &data), err("AUTH_FAILED"), "{mech} {data:?}");
        // Another try may be right, after a wrong one too.
        let answer = client.scram("app", PASSWORD, None);
        assert!(is_in(&mut client, &answer, "app"), "{answer}");
    }
}

#[test]
fn scram_refuses_without_saying_who_there_is() {
    let users = users();
    users.token("ci", &["read@*"]);
    let server = serve(&users, &PATIENT);
    for (user, password) in [("app", "wrong"), ("nobody", PASSWORD), ("ci", "")] {
        let mut client = server.native_newcomer();
        assert_eq!(client.scram(user, password, None), err("AUTH_FAILED"), "{user}");
        // The proof of before is worth nothing without a challenge.
        assert_eq!(client.go_on("c=biws,r=x,p=AAAA"), err("PROTOCOL_ERROR"));
        client.raw.closed();
    }
    // What was right once is no answer to another challenge.
    let first = "n,,n=app,r=0123456789";
    let mut client = server.native_newcomer();
    let one = client.log_in("SCRAM-SHA-256", first);
    let two = client.log_in("SCRAM-SHA-256", first);
    assert_ne!(one[1]["auth"]["data"], two[1]["auth"]["data"], "each challenge is its own");
}

#[test]
fn what_cannot_be_used_here_is_refused_with_what_can() {
    let server = serve(&users(), &[]);
    for (hello, code) in [
        (json!({}), "AUTH_REQUIRED"),
        (json!({"auth": {"mech": "ANONYMOUS"}}), "MECH_UNSUPPORTED"),
        (json!({"auth": {"mech": "GSSAPI"}}), "MECH_UNSUPPORTED"),
        (json!({"auth": {"mech": "SCRAM-SHA-256-PLUS", "data": "n,,n=a,r=b"}}), "MECH_UNSUPPORTED"),
        (json!({"auth": {"mech": "EXTERNAL"}}), "TLS_REQUIRED"),
    ] {
        let mut client = server.native_newcomer();
        assert_eq!(client.hello(&hello), err(code), "{hello}");
        client.raw.closed();
    }
    let client = server.native_as("app", PASSWORD);
    let mechanisms = &client.welcome["auth"]["mechanisms"];
    assert_eq!(mechanisms, &json!(["SCRAM-SHA-256", "TOKEN", "PLAIN"]), "{}", client.welcome);
    // Where nobody has to log in there is nobody to be.
    let open = Server::isogrid(&["--native", "127.0.0.1:0"]);
    let mut client = open.native_newcomer();
    assert_eq!(client.log_in("PLAIN", &plain("app", PASSWORD)), err("MECH_UNSUPPORTED"));
    assert_eq!(open.native().welcome["auth"]["mechanisms"], json!(["ANONYMOUS"]));
}

/// A client at the other end of TLS, with the keying material of the connection.
fn over_tls(
    server: &Server,
    authority: &Authority,
    shown: Option<&str>,
) -> (Native, [u8; EXPORTER_LEN]) {
    let address = server.bound_for("native")[0].parse().unwrap();
    let stream = tls::connect(address, &authority.client(shown)).unwrap();
    let binding = [0; EXPORTER_LEN];
    let binding = stream.conn.export_keying_material(binding, EXPORTER_LABEL, Some(&[])).unwrap();
    (Native::greet(Client::over(stream), &json!({})), binding)
}

#[test]
fn over_tls_certificates_and_bound_logins_count() {
    let authority = Authority::new();
    for (file, name) in [("server", "server"), ("app", "app"), ("stranger", "stranger")] {
        authority.sign(file, name, 2100);
    }
    let path = |key: &str, file: &str| format!("tls.{key}={}", authority.path(file));
    let (cert, key, ca) =
        (path("cert", "server.pem"), path("key", "server.key"), path("ca", "ca.pem"));
    let files = ["--set", &cert, "--set", &key, "--set", &ca, "--set", "tls.mode=on"];
    let users = users();
    let server = serve(&users, &[&files[..], &["--set", "tls.client=optional"], &PATIENT].concat());
    // A certificate alone, with EXTERNAL and without a word.
    for hello in [json!({}), json!({"auth": {"mech": "EXTERNAL"}})] {
        let (mut client, _) = over_tls(&server, &authority, Some("app"));
        let answer = client.hello(&hello);
        assert!(is_in(&mut client, &answer, "app"), "{answer}");
        let all = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "TOKEN", "PLAIN", "EXTERNAL"];
        assert_eq!(answer[1]["auth"]["mechanisms"], json!(all));
    }
    for (shown, data) in [(Some("stranger"), ""), (Some("app"), "boss"), (None, "")] {
        let (mut client, _) = over_tls(&server, &authority, shown);
        assert_eq!(client.log_in("EXTERNAL", data), err("AUTH_FAILED"), "{shown:?} {data}");
    }
    let (mut client, _) = over_tls(&server, &authority, None);
    let answer = client.log_in("PLAIN", &plain("app", PASSWORD));
    assert!(is_in(&mut client, &answer, "app"), "{answer}");
    let (mut client, binding) = over_tls(&server, &authority, None);
    let answer = client.scram("app", PASSWORD, Some(&binding));
    assert!(is_in(&mut client, &answer, "app"), "{answer}");
    // The binding of another connection: somebody is between the two ends.
    let (mut client, own) = over_tls(&server, &authority, None);
    assert_ne!(own, binding);
    assert_eq!(client.scram("app", PASSWORD, Some(&binding)), err("AUTH_FAILED"));
    // Who says that it would have bound itself was lied to: the server offers that.
    assert_eq!(client.log_in("SCRAM-SHA-256", "y,,n=app,r=0123456789"), err("AUTH_FAILED"));
}

/// The settings of a server with a certificate, which `authority` has signed.
fn tls_of(authority: &Authority, mode: &str) -> [String; 6] {
    authority.sign("server", "server", 2100);
    let path = |key: &str, file: &str| format!("tls.{key}={}", authority.path(file));
    let set = || "--set".to_owned();
    let (cert, key) = (path("cert", "server.pem"), path("key", "server.key"));
    [set(), cert, set(), key, set(), format!("tls.mode={mode}")]
}

#[test]
fn who_speaks_in_the_clear_where_tls_is_on_hears_that() {
    let authority = Authority::new();
    let tls = tls_of(&authority, "on");
    let server = serve(&users(), &tls.each_ref().map(String::as_str));
    for hello in [json!({}), json!({"auth": {"mech": "PLAIN", "data": plain("app", PASSWORD)}})] {
        let mut client = server.native_newcomer();
        assert_eq!(client.hello(&hello), err("TLS_REQUIRED"));
        client.raw.closed();
    }
    // What is no preface hears nothing.
    let mut other = server.native_raw();
    other.send([0xf7, b'x', b'x', b'x', 1, 1, 0, 0]);
    other.closed();
    let (mut client, _) = over_tls(&server, &authority, None);
    let answer = client.log_in("PLAIN", &plain("app", PASSWORD));
    assert!(is_in(&mut client, &answer, "app"), "{answer}");
}

#[test]
fn logins_may_want_tls_where_connections_do_not() {
    let authority = Authority::new();
    let tls = tls_of(&authority, "optional");
    let tls = tls.each_ref().map(String::as_str);
    let users = users();
    let token = users.token("ci", &["read@*"]);
    let required = ["--set", "auth.require_tls=on"];
    let server = serve(&users, &[&tls[..], &required, &PATIENT].concat());
    let first = "n,,n=app,r=0123456789";
    for (mech, data) in [
        ("SCRAM-SHA-256", first.to_owned()),
        ("PLAIN", plain("app", PASSWORD)),
        ("TOKEN", token),
        ("EXTERNAL", String::new()),
    ] {
        let mut client = server.native_newcomer();
        assert_eq!(client.log_in(mech, &data), err("TLS_REQUIRED"), "{mech}");
        client.raw.closed();
    }
    assert_eq!(server.native_newcomer().hello(&json!({})), err("TLS_REQUIRED"));
    let (mut client, binding) = over_tls(&server, &authority, None);
    let answer = client.scram("app", PASSWORD, Some(&binding));
    assert!(is_in(&mut client, &answer, "app"), "{answer}");
    // Without the setting a login on this machine needs none.
    let server = serve(&users, &[&tls[..], &PATIENT].concat());
    let mut client = server.native_newcomer();
    let answer = client.log_in("PLAIN", &plain("app", PASSWORD));
    assert!(is_in(&mut client, &answer, "app"), "{answer}");
}

#[test]
fn three_failed_logins_end_a_connection() {
    let server = serve(&users(), &["--set", "limits.login_timeout=off"]);
    let mut client = server.native_newcomer();
    for _ in 0..2 {
        assert_eq!(client.log_in("PLAIN", &plain("app", "wrong")), err("AUTH_FAILED"));
    }
    let answer = client.log_in("PLAIN", &plain("app", PASSWORD));
    assert!(is_in(&mut client, &answer, "app"), "the third may be right: {answer}");
    let mut client = server.native_newcomer();
    assert_eq!(client.log_in("PLAIN", &plain("app", "wrong")), err("AUTH_FAILED"));
    assert_eq!(client.log_in("TOKEN", "app.0"), err("AUTH_FAILED"));
    assert_eq!(client.scram("app", "wrong", None), err("AUTH_FAILED"));
    client.raw.closed();
}

#[test]
fn four_kib_and_no_more_before_a_login() {
    let server = serve(&users(), &["--set", "limits.login_timeout=off"]);
    let too_much = |mut client: Native| {
        assert_eq!(last_error(&client.raw.rest().unwrap()), Some(ErrorCode::AuthRequired));
    };
    let mut client = server.native_newcomer();
    for at in 0..4_000 / 24 {
        client.control("PING", 0, json!({"opaque": at.to_string()}));
        assert_eq!(client.receive()["type"], "PONG");
    }
    for _ in 0..10 {
        client.control("PING", 0, json!({"opaque": "0"}));
    }
    too_much(client);
    // A frame that is announced is as good as sent.
    let mut client = server.native_newcomer();
    client.raw.send(5_000u32.to_be_bytes());
    client.raw.send([10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    too_much(client);
}

#[test]
fn who_does_not_log_in_in_time_goes() {
    let server = serve(&users(), &["--set", "limits.login_timeout=1s"]);
    let mut known = server.native_as("app", PASSWORD);
    let begin = Instant::now();
    server.native_newcomer().raw.closed();
    assert!(begin.elapsed().as_millis() >= 900, "{:?}", begin.elapsed());
    assert_eq!(known.call("conn.PING", 0, json!({}))[0], "OK");
}

/// Whoever typed a password for longer than `handshake_timeout` was cut off.
#[test]
fn a_login_that_has_begun_has_the_time_of_logins() {
    let server =
        serve(&users(), &[&["--set", "limits.handshake_timeout=1s"], &PATIENT[..]].concat());
    let (mut begun, mut silent) = (server.native_newcomer(), server.native_newcomer());
    assert_eq!(begun.log_in("PLAIN", &plain("app", "wrong")), err("AUTH_FAILED"));
    // The one without a HELLO is closed when its time is over; that of the other one is by then.
    assert_eq!(error_name(&silent.receive()), "HANDSHAKE_TIMEOUT");
    let answer = begun.scram("app", PASSWORD, None);
    assert!(is_in(&mut begun, &answer, "app"), "{answer}");
}

/// Ten failures are free; then tries take a second each, by every mechanism.
#[test]
fn guessing_gets_slow() {
    let server = serve(&users(), &PATIENT);
    let mut client = server.native_newcomer();
    for _ in 0..10 {
        assert_eq!(client.scram("app", "wrong", None), err("AUTH_FAILED"));
    }
    let begin = Instant::now();
    client.scram("app", "wrong", None);
    client.scram("app", "wrong", None);
    client.log_in("PLAIN", &plain("app", "wrong"));
    assert!(begin.elapsed().as_millis() >= 1_900, "{:?}", begin.elapsed());
    let answer = server.native_newcomer().scram("app", PASSWORD, None);
    assert_eq!(answer[0], "AUTH", "nobody is locked out: {answer}");
}

fn cache(client: &mut Native) -> u64 {
    client.cache("default")
}

#[test]
fn a_user_who_is_gone_is_told_and_goes() {
    let users = users();
    users.add("other", PASSWORD, &["read@*"]);
    let server = serve(&users, &[]);
    let (mut app, mut other) =
        (server.native_as("app", PASSWORD), server.native_as("other", PASSWORD));
    assert!(users.user(&["rm", "app"], "").status.success());
    let away = app.receive();
    assert_eq!(
        (&away["type"], &away["payload"]["reason"]),
        (&json!("GOAWAY"), &json!(3)),
        "{away}"
    );
    app.raw.closed();
    assert_eq!(other.call("conn.PING", 0, json!({}))[0], "OK");
}

/// Who waits for a lock that is no longer theirs to take would have got it all the same.
#[test]
fn who_waits_for_a_lock_waits_under_the_roles_of_now() {
    let users = users();
    let server = serve(&users, &[]);
    let mut app = server.native_as("app", PASSWORD);
    let mut lease = || {
        let lease = app.call("lease.LEASE_GRANT", LOCKS, json!({"ttl": 60_000, "info": "{}"}));
        json!({"ext": {"lease": lease[1]["lease"]}})
    };
    let (holder, waiter) = (lease(), lease());
    let lock = |key: &str| json!({"key": key, "mode": "EXCLUSIVE", "wait": 60_000});
    let permits = |key: &str| json!({"key": key, "permits": 1, "of": 1, "wait": 60_000});
    let both = [("lease.LOCK", "l", lock("l")), ("lease.SEM_ACQUIRE", "s", permits("s"))];
    let own = lock("own:l");
    for (op, key, body) in &both {
        assert_eq!(app.call_with(op, LOCKS, body.clone(), &holder)[0], "OK", "{key}");
    }
    let fence = app.call_with("lease.LOCK", LOCKS, own.clone(), &holder)[1]["fence"].clone();
    let lost = both.map(|(op, _, body)| app.ask_with(op, LOCKS, body, &waiter));
    let kept = app.ask_with("lease.LOCK", LOCKS, own, &waiter);
    assert!(users.user(&["role", "app", "write@*/own:"], "").status.success());
    for stream in lost {
        assert_eq!(app.answer(stream), err("FORBIDDEN"));
    }
    let unlock = json!({"key": "own:l", "fence": fence});
    assert_eq!(app.call("lease.UNLOCK", LOCKS, unlock)[0], "OK");
    assert_eq!(app.answer(kept)[0], "OK");
}

/// A user takes no more of the places for those who wait than a share, however many connections it
/// has; and gives each back when its wait is over.
#[test]
fn as_many_requests_of_a_user_wait_as_may() {
    let users = users();
    users.add("other", PASSWORD, &["read,write@*"]);
    users.add("boss", PASSWORD, &["all@*"]);
    let server = serve(&users, &["--set", "limits.waiting_per_user=2"]);
    let mut boss = server.native_as("boss", PASSWORD);
    let mut made = |kind: &str| {
        let body = json!({"kind": kind, "name": "jobs", "create": true});
        boss.call("catalog.RESOLVE", 0, body)[1]["id"].as_u64().unwrap()
    };
    let (queue, topic) = (made("QUEUE"), made("TOPIC"));
    let mut clients = ["app", "app", "app", "other"].map(|user| server.native_as(user, PASSWORD));
    let leases = clients.each_mut().map(|client| {
        let lease = client.call("lease.LEASE_GRANT", LOCKS, json!({"ttl": 60_000, "info": "{}"}));
        json!({"ext": {"lease": lease[1]["lease"]}})
    });
    let lock = |wait: u32| json!({"key": "l", "mode": "EXCLUSIVE", "wait": wait});
    let wait = |client: &mut Native, at: usize| {
        let stream = client.ask_with("lease.LOCK", LOCKS, lock(60_000), &leases[at]);
        assert_eq!(client.call("conn.PING", 0, json!({}))[0], "OK");
        stream
    };
    let held = clients[0].call_with("lease.LOCK", LOCKS, lock(0), &leases[0]);
    let mut waiting = vec![(1, wait(&mut clients[1], 1)), (2, wait(&mut clients[2], 2))];
    let permits = json!({"key": "s", "permits": 1, "of": 1, "wait": 60_000});
    let read = json!({"from": "NEW", "at": "0", "n": 1, "wait": 60_000});
    for (op, object, body, ext) in [
        ("lease.LOCK", LOCKS, lock(60_000), &leases[0]),
        ("lease.SEM_ACQUIRE", LOCKS, permits, &leases[0]),
        ("queue.PULL", queue, json!({"group": "", "n": 1, "wait": 60_000}), &json!({})),
        ("queue.READ", topic, read, &json!({})),
    ] {
        let refused = clients[0].call_with(op, object, body, ext);
        assert_eq!(refused, err("QUOTA_EXCEEDED"), "{op}");
    }
    let at_once = clients[2].call_with("lease.LOCK", LOCKS, lock(0), &leases[2]);
    assert_ne!(at_once, err("QUOTA_EXCEEDED"), "who does not wait needs no place");
    waiting.push((3, wait(&mut clients[3], 3)));
    let unlock = |client: &mut Native, held: &Value| {
        let unlock = json!({"key": "l", "fence": held[1]["fence"]});
        assert_eq!(client.call("lease.UNLOCK", LOCKS, unlock)[0], "OK");
    };
    unlock(&mut clients[0], &held);
    for (at, stream) in waiting {
        let held = clients[at].answer(stream);
        assert_eq!(held[0], "OK", "{at}");
        if at == 1 {
            wait(&mut clients[0], 0);
        }
        unlock(&mut clients[at], &held);
    }
}

/// New roles hold for what comes, for streams that are open, and for what was begun.
#[test]
fn other_roles_hold_at_once() {
    let users = users();
    let server = serve(&users, &[]);
    let mut app = server.native_as("app", PASSWORD);
    let cache = cache(&mut app);
    let listen =
        json!({"events": {"CREATE": true}, "read": {}, "glob": null, "flags": {}, "credit": 9});
    let stream = app.ask("cache.LISTEN", cache, listen);
    let begun = app.call("tx.BEGIN", 0, json!({"isolation": "SNAPSHOT", "idle_ms": 0}));
    let put = json!({"key": "k", "value": "1", "write": {}});
    let joined = json!({"ext": {"tx": begun[1]["tx"]}});
    assert_eq!(app.call_with("cache.PUT", cache, put.clone(), &joined)[0], "OK");
    assert!(users.user(&["role", "app", "write@*/own:"], "").status.success());
    let end = app.next_of(stream);
    assert_eq!((&end["type"], error_name(&end)), (&json!("ERR"), "FORBIDDEN"));
    assert_eq!(app.call("tx.COMMIT", 0, json!({"tx": begun[1]["tx"]})), err("TX_NOT_FOUND"));
    assert_eq!(app.call("cache.PUT", cache, put), err("FORBIDDEN"));
    let own = json!({"key": "own:k", "value": "1", "write": {}});
    assert_eq!(app.call("cache.PUT", cache, own)[0], "OK");
}

#[test]
fn the_first_user_closes_the_door() {
    let users = Users::new();
    let file = format!("auth.users={}", users.file());
    let server = Server::isogrid(&["--native", "127.0.0.1:0", "--set", &file]);
    let mut client = server.native();
    assert_eq!(client.call("conn.PING", 0, json!({}))[0], "OK");
    users.add("app", PASSWORD, &["all@*"]);
    client.raw.closed();
    assert_eq!(server.native_newcomer().hello(&json!({})), err("AUTH_REQUIRED"));
    assert_eq!(server.native_as("app", PASSWORD).welcome["auth"]["user"], "app");
}

/// What one user's process was answered is nothing to another user who says the same `instance`.
#[test]
fn answers_to_be_given_again_are_of_one_user() {
    let users = users();
    users.add("other", PASSWORD, &["read,write@*"]);
    let server = serve(&users, &[]);
    let log_in = |user: &str| {
        let auth = json!({"mech": "PLAIN", "data": plain(user, PASSWORD)});
        let instance = "8f3c2b52-6d1c-4d0a-9a53-0d6f3a2e7b11";
        let hello = json!({"client": {"instance": instance}, "auth": auth});
        Native::begin(server.native_raw(), &hello)
    };
    let mut count = |user: &str| {
        let mut client = log_in(user);
        let body = json!({"key": "n", "delta": "1", "initial": "1", "write": {}});
        let cache = cache(&mut client);
        client.call_with("cache.INCR", cache, body, &json!({"ext": {"idem": "7"}}))[1]["value"]
            .clone()
    };
    let values: Vec<Value> = ["app", "app", "other", "other", "app"].map(&mut count).to_vec();
    assert_eq!(values, ["1", "1", "2", "2", "1"]);
}

#[test]
fn the_audit_log_has_logins_denials_and_administration_and_no_secret() {
    let users = users();
    users.add("boss", PASSWORD, &["all@*"]);
    let mut server = serve(&users, &["--log-level", "trace"]);
    assert_eq!(server.native_newcomer().scram("app", "canary-wrong-x7", None), err("AUTH_FAILED"));
    let mut app = server.native_newcomer();
    assert_eq!(app.scram("app", PASSWORD, None)[0], "AUTH");
    let cache = cache(&mut app);
    let body = json!({"key": "canary-key-x7", "write": {}});
    assert_eq!(app.call("cache.REMOVE", cache, body), err("FORBIDDEN"));
    let mut boss = server.native_as("boss", PASSWORD);
    let clear = json!({"delay_ms": 0, "notify": false});
    assert_eq!(boss.call("cache.CLEAR", cache, clear)[0], "OK");
    for method in ["node.info", "log.level"] {
        let call = json!({"method": method, "arguments": "{}"});
        assert_eq!(boss.call("admin.CALL", 0, call)[0], "OK");
    }
    let stats = boss.call("catalog.NODE_STATS", 0, json!({}));
    assert_eq!(stats[0], "OK");
    assert!(users.user(&["rm", "app"], "").status.success());
    wait_until("the user is gone", || server.log().contains("users_loaded"));
    app.raw.rest();
    server.signal("TERM");
    assert!(server.wait().success());
    let file = users.path("audit.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    for said in [
        "\"event\":\"login_failed\",\"user\":\"app\",\"peer\":\"127.0.0.1\",\"way\":\"scram\",\"why\":\"wrong name or password\"",
        "\"event\":\"login\",\"user\":\"app\",\"peer\":\"127.0.0.1\",\"way\":\"scram\"",
        "\"event\":\"denied\",\"user\":\"app\",\"peer\":\"127.0.0.1\",\"command\":\"cache.REMOVE\",\"cache\":\"default\",\"key_sha256\":\"",
        "\"event\":\"admin\",\"user\":\"boss\",\"peer\":\"127.0.0.1\",\"command\":\"cache.CLEAR\",\"cache\":\"default\"",
        "\"event\":\"admin\",\"user\":\"boss\",\"peer\":\"127.0.0.1\",\"command\":\"admin.CALL log.level\"",
        "\"event\":\"revoked\",\"user\":\"app\"",
    ] {
        assert!(text.contains(said), "{said}\n{text}");
    }
    for (place, text) in [("the audit log", text), ("the log", server.log())] {
        for secret in [PASSWORD, "canary-wrong-x7", "canary-key-x7"] {
            assert!(!text.contains(secret), "{secret} in {place}");
        }
    }
    let verified = Command::new(isogrid()).args(["audit", "verify", &file]).output().unwrap();
    assert!(verified.status.success(), "{verified:?}");
}
