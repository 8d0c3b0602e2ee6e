//! A user with a role asks for entries that are on disk alone: each request is looked at, waits
//! for its entry and is answered in its turn, over both of memcached's protocols.

use isogrid_tests::harness::native::sub_request;
use isogrid_tests::harness::{Client, Server, Users, opcode, request, temporary};
use serde_json::{Value, json};

use super::{PASSWORD, guarded};

/// Of about 1.1 KiB: three times as much as there is memory.
const KEYS: usize = 6_000;
const WHO: &str = "writer";
/// Who may not do anything with what is there.
const STRANGER: &str = "stranger";
/// Who may ask for statistics.
const ADMIN: &str = "admin";

fn value(n: usize) -> String {
    format!("{n}:").repeat(200)
}

fn filled(users: &Users, data: &str) -> Server {
    users.add(WHO, PASSWORD, &["read,write,delete@default/app:"]);
    users.add(STRANGER, PASSWORD, &["read@default/other:"]);
    users.add(ADMIN, PASSWORD, &["all@*"]);
    let set = ["--set", "cache.default.memory=2MiB", "--set", "cache.default.eviction=fifo"];
    let args = ["--data-dir", data, "--native", "127.0.0.1:0"];
    let server = guarded(users, &[&args[..], &set[..]].concat());
    let mut client = text(&server, WHO);
    for from in (0..KEYS).step_by(100) {
        for n in from..from + 100 {
            let value = value(n);
            client.send(format!("set app:{n} {n} 0 {}\r\n{value}\r\n", value.len()));
        }
        (from..from + 100).for_each(|n| assert_eq!(client.line(), "STORED", "{n}"));
    }
    server
}

fn text(server: &Server, who: &str) -> Client {
    let mut client = server.connect();
    assert_eq!(client.log_in(who, PASSWORD), "STORED");
    client
}

fn binary(server: &Server) -> Client {
    let mut client = server.connect();
    let token = format!("\0{WHO}\0{PASSWORD}");
    let auth = request(opcode::SASL_AUTH, 1, 0, &[], b"PLAIN", token.as_bytes());
    assert_eq!(client.call(&auth).value, b"Authenticated");
    client
}

fn hit(n: usize) -> String {
    let value = value(n);
    format!("VALUE app:{n} {n} {}\r\n{value}\r\n", value.len())
}

#[test]
fn a_role_reads_and_writes_what_is_on_disk() {
    let (users, data) = (Users::new(), temporary("guarded-overflow"));
    let server = filled(&users, data.to_str().unwrap());
    let mut client = text(&server, WHO);
    // In one piece: hits on disk, a miss, a denial, and writes whose condition is on disk.
    let away: Vec<usize> = (0..KEYS / 2).step_by(29).collect();
    let gets: String = away.iter().map(|n| format!("get app:{n}\r\n")).collect();
    let answers: String = away.iter().map(|n| hit(*n) + "END\r\n").collect();
    client.ask(gets, &answers);
    client.ask(
        "get app:1\r\nget other:1\r\nadd app:2 0 0 1\r\nx\r\nappend app:3 0 0 1\r\n+\r\n\
         get app:none\r\nset other:2 0 0 1\r\ny\r\ndelete app:4\r\nget app:4\r\nmg app:5 k\r\nmn\r\n",
        &format!(
            "{}END\r\nCLIENT_ERROR permission denied\r\nNOT_STORED\r\nSTORED\r\nEND\r\n\
             CLIENT_ERROR permission denied\r\nDELETED\r\nEND\r\nHD kapp:5\r\nMN\r\n",
            hit(1)
        ),
    );
    let appended = value(3) + "+";
    client.ask(
        "get app:3\r\n",
        &format!("VALUE app:3 3 {}\r\n{appended}\r\nEND\r\n", appended.len()),
    );
    let line: String = (100..140).map(|n| format!(" app:{n}")).collect();
    client.ask(format!("get{line}\r\n"), &((100..140).map(hit).collect::<String>() + "END\r\n"));
    assert!(text(&server, ADMIN).stat("storage_loaded") > 100, "nothing was on disk");
}

#[test]
fn a_role_of_a_binary_client_finds_what_is_on_disk() {
    let (users, data) = (Users::new(), temporary("guarded-overflow-binary"));
    let server = filled(&users, data.to_str().unwrap());
    let mut client = binary(&server);
    let get = |key: String, opaque| request(opcode::GET, opaque, 0, &[], key.as_bytes(), &[]);
    let asked: Vec<u32> = (0..200).collect();
    for opaque in &asked {
        let key =
            if opaque % 10 == 7 { format!("other:{opaque}") } else { format!("app:{opaque}") };
        client.send(get(key, *opaque));
    }
    for opaque in asked {
        let answer = client.packet();
        assert_eq!(answer.opaque, opaque);
        if opaque % 10 == 7 {
            assert_eq!(answer.status, 0x20, "{opaque}");
        } else {
            assert_eq!(answer.value, value(opaque as usize).into_bytes(), "{opaque}");
        }
    }
}

#[test]
fn nothing_is_loaded_for_who_may_not_have_it() {
    let (users, data) = (Users::new(), temporary("guarded-overflow-native"));
    let server = filled(&users, data.to_str().unwrap());
    let mut client = server.native_as(STRANGER, PASSWORD);
    let cache = client.cache("default");
    let loaded = || text(&server, ADMIN).stat("storage_loaded");
    let before = loaded();
    let keys = || (0..60).map(|n| format!("app:{n}"));
    let sub = |op: &str, body: &dyn Fn(&str) -> Value| -> Vec<Value> {
        keys().map(|key| sub_request(op, cache, body(&key))).collect()
    };
    let get = sub("cache.GET", &|key| json!({"key": key, "read": {"VALUE": true}}));
    let remove = sub("cache.REMOVE", &|key| json!({"key": key, "write": {}}));
    let reads = |key| json!({"object": cache, "key": key, "version": "1"});
    let absent =
        |key| json!({"object": cache, "key": key, "what": "ABSENT", "version": "0", "value": ""});
    let exec = |compare: Vec<Value>, then: &[Value]| json!({"compare": compare, "then": then, "otherwise": []});
    for (op, body) in [
        ("batch.BATCH", json!({ "requests": &get })),
        ("batch.BATCH", json!({ "requests": &remove })),
        ("tx.EXEC", exec(keys().map(absent).collect(), &[])),
        ("tx.EXEC", exec(vec![], &remove)),
        ("tx.COMMIT_OCC", json!({"reads": keys().map(reads).collect::<Vec<_>>(), "writes": []})),
    ] {
        let answer = client.call(op, 0, body);
        let replies = answer[1]["replies"].as_array().cloned().unwrap_or_default();
        assert!(answer == json!(["ERR", "FORBIDDEN"]) || replies.len() == 60, "{op}: {answer}");
        assert_eq!(loaded(), before, "{op}: {answer}");
    }
    // What they would have got is on disk.
    let mut writer = server.native_as(WHO, PASSWORD);
    writer.call("batch.BATCH", 0, json!({ "requests": get }));
    assert!(loaded() >= before + 60, "nothing was on disk");
}

#[test]
fn nothing_is_loaded_for_a_request_of_too_many_keys() {
    let (users, data) = (Users::new(), temporary("guarded-overflow-keys"));
    let server = filled(&users, data.to_str().unwrap());
    let mut client = server.native_as(WHO, PASSWORD);
    let cache = client.cache("default");
    let before = text(&server, ADMIN).stat("storage_loaded");
    let max = client.welcome["limits"]["max_keys"].as_u64().unwrap();
    let keys: Vec<String> = (0..=max).map(|n| format!("app:{n}")).collect();
    let answer = client.call("cache.GET_MANY", cache, json!({"keys": keys, "read": {}}));
    assert_eq!(answer, json!(["ERR", "INVALID_ARGUMENT"]));
    assert_eq!(text(&server, ADMIN).stat("storage_loaded"), before);
}
