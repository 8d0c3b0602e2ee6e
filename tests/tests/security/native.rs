//! Every operation of the native protocol, by nobody and each of seven identities, on an own
//! object, on another one, and on keys with another prefix; alone, within a batch, and within a
//! transaction. The table of what each needs is in `tests/vectors/security/native.txt`; an
//! operation without a row fails.

use isogrid_tests::harness::native::{COUNTERS, LOCKS, sub_answer, sub_request};
use isogrid_tests::harness::{Native, Server, Users};
use isogrid_wire::native::GROUPS;
use isogrid_wire::native::schema::{Operation, Repeat};
use serde_json::{Value, json};

use super::PASSWORD;

const TABLE: &str = include_str!("../../vectors/security/native.txt");

/// Nobody; one who may read what is own; one who may write there and not read; one who may read,
/// write and delete keys of one prefix there; one who may keep sessions there; one who may look at
/// the node; one who may change what is own; one who may do everything. Those who may make something come last.
const ROLES: [(&str, &[&str]); 8] = [
    ("", &[]),
    ("reader", &["read@default*"]),
    ("filler", &["write@default*"]),
    ("writer", &["read,write,delete@default*/app:"]),
    ("keeper", &["session@default*"]),
    ("watcher", &["monitor@*"]),
    ("owner", &["admin@default*"]),
    ("boss", &["all@*"]),
];

struct Row {
    op: String,
    body: String,
    /// `open`, or permissions with commas.
    needs: String,
    /// `key`, `cache` or `node`.
    scope: String,
}

fn rows() -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(row).collect()
}

fn row(line: &str) -> Row {
    let columns = line.split('|').map(|column| column.trim().to_owned()).collect::<Vec<_>>();
    let [op, body, needs, scope] = <[String; 4]>::try_from(columns)
        .unwrap_or_else(|_| panic!("{line:?} has not four columns"));
    Row { op, body, needs, scope }
}

fn operations() -> impl Iterator<Item = (String, &'static Operation)> {
    let all = GROUPS.iter().flat_map(|group| group.operations);
    all.map(|operation| (format!("{}.{}", operation.group, operation.name), *operation))
}

fn operation(name: &str) -> &'static Operation {
    operations().find(|(known, _)| known == name).unwrap_or_else(|| panic!("no operation {name}")).1
}

/// Where a request goes: the object's name, and the beginning of its keys.
type Place = (&'static str, &'static str);

impl Row {
    fn body(&self, (object, prefix): Place) -> Value {
        let body = self.body.replace("app:", prefix).replace("\"own", &format!("\"{object}"));
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{}: {body}: {error}", self.op))
    }

    /// What the table and the roles say, worked out without the server's own code.
    fn permitted(&self, who: &str, (object, prefix): Place) -> bool {
        let has = match who {
            "reader" => "read",
            "filler" => "write",
            "writer" => "read,write,delete",
            "keeper" => "session",
            "owner" => "admin",
            _ => "",
        };
        let may = |one: &str| has.split(',').any(|own| own == one);
        self.needs == "open"
            || who == "boss"
            || (who == "watcher" && self.needs == "monitor")
            || (object == "default"
                && self.needs.split(',').all(may)
                && match self.scope.as_str() {
                    "key" => who != "writer" || prefix == "app:",
                    "cache" => who != "writer",
                    _ => false,
                })
    }

    fn is_stream(&self) -> bool {
        operation(&self.op).repeat == Repeat::Stream
    }
}

/// The caches, the queues and the spaces of sessions `default` and `other`; of counters and of locks there is one space,
/// `default`.
struct Objects {
    other: u64,
    default: u64,
    queues: [u64; 2],
    sessions: [u64; 2],
}

impl Objects {
    fn make(boss: &mut Native) -> Objects {
        let mut made = |kind: &str, name: &str| {
            let body = json!({"kind": kind, "name": name, "create": true});
            boss.call("catalog.RESOLVE", 0, body)[1]["id"].as_u64().unwrap()
        };
        let other = made("CACHE", "other");
        let queues = [made("QUEUE", "default"), made("QUEUE", "other")];
        let sessions = [made("SESSIONS", "default"), made("SESSIONS", "other")];
        Objects { other, default: boss.cache("default"), queues, sessions }
    }

    /// Where a request of that name goes; `None` if there is nothing of its kind.
    fn of(&self, op: &str, name: &str) -> Option<u64> {
        match (op.split('.').next().unwrap(), name) {
            ("cache", "default") => Some(self.default),
            ("cache", _) => Some(self.other),
            ("queue", "default") => Some(self.queues[0]),
            ("queue", _) => Some(self.queues[1]),
            ("session", "default") => Some(self.sessions[0]),
            ("session", _) => Some(self.sessions[1]),
            ("counter", "default") => Some(COUNTERS),
            ("lease", "default") => Some(LOCKS),
            ("counter" | "lease", _) => None,
            _ => Some(0),
        }
    }
}

fn serve(users: &Users) -> Server {
    ROLES[1..].iter().for_each(|(user, roles)| users.add(user, PASSWORD, roles));
    super::guarded(users, &["--native", "127.0.0.1:0", "--memcached", "off"])
}

/// The answer to a request; a stream that is open is given up first.
fn answer(client: &mut Native, row: &Row, place: Place, object: u64) -> Value {
    let stream = client.ask(&row.op, object, row.body(place));
    if row.is_stream() {
        client.cancel(stream);
    }
    client.answer(stream)
}

const PLACES: [Place; 3] = [("default", "app:"), ("other", "app:"), ("default", "zzz:")];
const FORBIDDEN: [&str; 2] = ["ERR", "FORBIDDEN"];

/// Asks every row by every identity, and says where the answer is not the one of the table.
fn check(ask: impl Fn(&mut Native, &Row, Place, u64) -> Option<Value>) {
    let users = Users::new();
    let server = serve(&users);
    let objects = Objects::make(&mut server.native_as("boss", PASSWORD));
    let (mut wrong, mut denied) = (Vec::new(), 0);
    for (who, _) in &ROLES[1..] {
        let mut client = server.native_as(who, PASSWORD);
        for place in PLACES {
            for row in rows() {
                let Some(object) = objects.of(&row.op, place.0) else { continue };
                let Some(answer) = ask(&mut client, &row, place, object) else { continue };
                denied += u64::from(answer == json!(FORBIDDEN));
                if (answer == json!(FORBIDDEN)) == row.permitted(who, place) {
                    wrong.push(format!("{} by {who} on {place:?}: {answer}", row.op));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "denied or permitted against the table:\n{}", wrong.join("\n"));
    assert!(denied > 0, "nobody was denied anything");
}

#[test]
fn every_operation_by_every_identity() {
    check(|client, row, place, object| Some(answer(client, row, place, object)));
}

#[test]
fn every_operation_within_a_batch() {
    check(|client, row, place, object| {
        let group = row.op.split('.').next().unwrap();
        if !["cache", "counter", "lease", "catalog"].contains(&group) {
            return None;
        }
        let request = sub_request(&row.op, object, row.body(place));
        let answer = client.call("batch.BATCH", 0, json!({ "requests": [request] }));
        Some(sub_answer(&row.op, &answer[1]["replies"][0]))
    });
}

/// Requests of one key alone, each in the list that is executed and in the one that is not.
#[test]
fn every_operation_within_a_transaction() {
    for chosen in [true, false] {
        check(|client, row, place, object| {
            let names = ["GET", "PUT", "REMOVE", "TOUCH", "GET_TOUCH", "INCR", "APPEND", "PREPEND"];
            if !names.iter().any(|name| row.op == format!("cache.{name}")) {
                return None;
            }
            let request = sub_request(&row.op, object, row.body(place));
            let (then, otherwise) =
                if chosen { (vec![request], vec![]) } else { (vec![], vec![request]) };
            let body = json!({"compare": [], "then": then, "otherwise": otherwise});
            Some(client.call("tx.EXEC", 0, body))
        });
    }
}

#[test]
fn every_request_joins_a_transaction_as_it_is_permitted() {
    check(|client, row, place, object| {
        if !["cache.GET", "cache.PUT", "cache.REMOVE"].contains(&row.op.as_str()) {
            return None;
        }
        let begun = client.call("tx.BEGIN", 0, json!({"isolation": "SNAPSHOT", "idle_ms": 0}));
        let tx = &begun[1]["tx"];
        let with = json!({"ext": {"tx": tx}});
        let answer = client.call_with(&row.op, object, row.body(place), &with);
        client.call("tx.ROLLBACK", 0, json!({ "tx": tx }));
        Some(answer)
    });
}

/// What is read and compared, and each kind of write, as the table has it for the requests.
#[test]
fn what_a_transaction_compares_reads_and_writes() {
    check(|client, row, place, object| {
        let key = format!("{}x", place.1);
        let write =
            |op: &str| json!({"object": object, "key": key, "op": op, "value": "", "write": {}});
        let mut commit = |reads: Value, writes: Value| {
            client.call("tx.COMMIT_OCC", 0, json!({"reads": reads, "writes": writes}))
        };
        match row.op.as_str() {
            "cache.PUT" if row.needs == "write" => Some(commit(json!([]), json!([write("PUT")]))),
            "cache.TOUCH" => Some(commit(json!([]), json!([write("TOUCH")]))),
            "cache.REMOVE" if row.needs == "delete" => {
                Some(commit(json!([]), json!([write("REMOVE")])))
            }
            "cache.MAP_GET" => {
                let read = json!({"object": object, "key": key, "version": "0"});
                Some(commit(json!([read]), json!([])))
            }
            "cache.GET" => {
                let compare = json!({
                    "object": object, "key": key, "what": "EXISTS", "version": "0", "value": "",
                });
                let body = json!({"compare": [compare], "then": [], "otherwise": []});
                Some(client.call("tx.EXEC", 0, body))
            }
            _ => None,
        }
    });
}

/// One key that is not permitted denies them all, wherever it stands; and a lock of a fence is
/// looked at only by who may.
#[test]
fn every_key_counts_and_so_does_a_fence() {
    let users = Users::new();
    let server = serve(&users);
    let mut boss = server.native_as("boss", PASSWORD);
    let objects = Objects::make(&mut boss);
    let mut writer = server.native_as("writer", PASSWORD);
    let own = objects.default;
    for keys in [["app:a", "alien"], ["alien", "app:a"]] {
        let entries = keys.map(|key| json!({"key": key, "value": "1"}));
        let body = json!({"write": {}, "entries": entries});
        assert_eq!(writer.call("cache.PUT_MANY", own, body), json!(FORBIDDEN), "{keys:?}");
        let body = json!({"keys": keys, "read": {}});
        assert_eq!(writer.call("cache.GET_MANY", own, body), json!(FORBIDDEN), "{keys:?}");
    }
    assert_eq!(boss.call("cache.SIZE", own, json!({"exact": true}))[1]["entries"], "0");
    let body = json!({"key": "app:k", "value": "1", "write": {}});
    for (key, answer) in [("app:l", "FENCED"), ("alien", "FORBIDDEN")] {
        let with = json!({"ext": {"fence": {"object": LOCKS, "key": key, "token": "1"}}});
        let said = writer.call_with("cache.PUT", own, body.clone(), &with);
        assert_eq!(said, json!(["ERR", answer]), "{key}");
    }
}

#[test]
fn nobody_may_ask_anything() {
    let users = Users::new();
    let server = super::guarded(
        &users,
        &[
            &["--native", "127.0.0.1:0", "--memcached", "off"][..],
            &["--set", "limits.login_tries=off"],
        ]
        .concat(),
    );
    let mut client = server.native_newcomer();
    for row in rows() {
        let stream = client.ask(&row.op, 1, row.body(PLACES[0]));
        assert_eq!(client.answer(stream), json!(["ERR", "AUTH_REQUIRED"]), "{}", row.op);
    }
    client.control("PING", 0, json!({"opaque": "7"}));
    assert_eq!(client.receive()["type"], "PONG");
}

#[test]
fn every_operation_has_a_row() {
    let rows = rows();
    let missing: Vec<String> = operations()
        .map(|(name, _)| name)
        .filter(|name| !rows.iter().any(|row| row.op == *name))
        .collect();
    assert!(missing.is_empty(), "no row in tests/vectors/security/native.txt: {missing:?}");
}

/// RESOLVE says what the caller may do with an object or with something in it, LIST has what they
/// may do anything with.
#[test]
fn the_bits_of_resolve_are_true() {
    let users = Users::new();
    let server = serve(&users);
    let mut boss = server.native_as("boss", PASSWORD);
    Objects::make(&mut boss);
    for (who, own, other) in
        [("reader", 17, 0), ("filler", 2, 0), ("writer", 3, 0), ("owner", 4, 0), ("boss", 31, 31)]
    {
        let mut client = server.native_as(who, PASSWORD);
        for (name, bits) in [("default", own), ("other", other)] {
            let body = json!({"kind": "CACHE", "name": name, "create": false});
            let answer = client.call("catalog.RESOLVE", 0, body);
            assert_eq!(answer[1]["permissions"], bits, "{name} for {who}: {answer}");
            let list = client.call("catalog.LIST", 0, json!({"kind": "CACHE", "glob": name}));
            let listed = list[1]["objects"].to_string().contains(name);
            assert_eq!(listed, bits != 0, "{name} for {who}: {list}");
        }
    }
}
