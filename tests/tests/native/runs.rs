//! Requests of one key that come together are answered in a shorter way than one that says something
//! beside: both ways must come to the same, in the same order, and count the same.

use isogrid_tests::harness::{Server, temporary};
use serde_json::{Value, json};

use super::server;

/// An operation and its body.
type Asked = (&'static str, Value);

/// Every operation of one key, on entries that are there and that are not, and between them what
/// ends a run and what is refused.
fn requests() -> Vec<Asked> {
    let put = |key: &str, value: &str, write: Value| {
        ("cache.PUT", json!({"key": key, "value": value, "write": write}))
    };
    let get = |key: &str, read: Value| ("cache.GET", json!({"key": key, "read": read}));
    let of = |op: &'static str, key: &str, write: Value| (op, json!({"key": key, "write": write}));
    let large = "x".repeat(70_000);
    let mut all = vec![
        get("k", json!({"VALUE": true})),
        put("k", "1", json!({})),
        get("k", json!({"VALUE": true, "VERSION": true})),
        put("k", "2", json!({"FLAGS": 7})),
        get("k", json!({"VALUE": true, "FLAGS": true, "KEY": true, "TTL": true, "IDLE": true})),
        put("k", "3", json!({"IF_ABSENT": true})),
        put("new", "3", json!({"IF_PRESENT": true})),
        put("k", "4", json!({"RETURN_PREV": true})),
        put("k", "5", json!({"EXPECT": "1"})),
        ("cache.INCR", json!({"key": "k", "delta": "3", "initial": null, "write": {}})),
        ("cache.INCR", json!({"key": "none", "delta": "3", "initial": null, "write": {}})),
        ("cache.APPEND", json!({"key": "k", "value": "z", "write": {}})),
        ("cache.PREPEND", json!({"key": "k", "value": "a", "write": {}})),
        ("cache.INCR", json!({"key": "k", "delta": "3", "initial": null, "write": {}})),
        get("k", json!({"VALUE": true, "NO_TOUCH": true})),
        get("k", json!({"VALUE": true, "IF_CHANGED": "1"})),
        get("k", json!({"TRACK": true})),
        of("cache.TOUCH", "k", json!({"IDLE": 60_000})),
        of("cache.TOUCH", "none", json!({})),
        put("k", "6", json!({"NO_NOTIFY": true})),
        ("conn.PING", json!({})),
        ("cache.SIZE", json!({"exact": false})),
        of("cache.REMOVE", "k", json!({"RETURN_PREV": true})),
        of("cache.REMOVE", "k", json!({})),
        get("k", json!({"VALUE": true})),
        put("large", &large, json!({})),
        get("large", json!({"VALUE": true})),
        get("large", json!({"VERSION": true})),
    ];
    for n in 0..100 {
        all.push(put(&format!("key-{n}"), &n.to_string(), json!({})));
        all.push(get(&format!("key-{}", n / 2), json!({"VALUE": true, "VERSION": true})));
    }
    all
}

/// What a new server answers, and what it has counted then.
fn answers(persist: &str, fields: &Value, together: usize) -> (Vec<Value>, Vec<String>) {
    let data = temporary("native-runs");
    let kept = ["--data-dir", data.to_str().unwrap(), "--persist", persist];
    let server = server(&[&["--http", "127.0.0.1:0"][..], &kept].concat());
    let mut client = server.native();
    let cache = client.cache("default");
    let of = |op: &str| if op.starts_with("cache.") { cache } else { 0 };
    let mut answers = Vec::new();
    for some in requests().chunks(together) {
        let asked: Vec<_> =
            some.iter().map(|(op, body)| (*op, of(op), body.clone(), fields.clone())).collect();
        let streams = client.ask_together(&asked);
        answers.extend(streams.into_iter().map(|stream| unversioned(client.answer(stream))));
    }
    (answers, counted(&server))
}

/// The answer without its versions, which no two servers have in common; 0 is none.
fn unversioned(mut answer: Value) -> Value {
    match &mut answer {
        Value::Array(all) => all.iter_mut().for_each(|one| *one = unversioned(one.take())),
        Value::Object(all) => all.iter_mut().for_each(|(name, one)| {
            let is_version = name.eq_ignore_ascii_case("version");
            *one = if is_version { json!(*one != json!("0")) } else { unversioned(one.take()) };
        }),
        _ => {}
    }
    answer
}

fn counted(server: &Server) -> Vec<String> {
    let text = server.http("GET", "/metrics", &[], b"").text();
    let is_ours = |line: &&str| line.starts_with("isogrid_ops_total{") && !line.ends_with(" 0");
    text.lines().filter(is_ours).map(str::to_owned).collect()
}

#[test]
fn together_or_alone_the_answers_are_the_same() {
    let alone = json!({"ext": {"origin": "alone"}});
    for persist in ["none", "async", "sync"] {
        let expected = answers(persist, &alone, 1);
        assert!(expected.1.len() > 5, "{:?}", expected.1);
        for together in [1, 2, 33, 1_000] {
            let is = answers(persist, &json!({}), together);
            for (at, (is, expected)) in is.0.iter().zip(&expected.0).enumerate() {
                let asked = &requests()[at];
                assert_eq!(is, expected, "{persist}, {together} together, request {at}: {asked:?}");
            }
            assert_eq!(is.1, expected.1, "{persist}, {together} together");
        }
    }
}
