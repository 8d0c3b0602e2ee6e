//! Writes are answered when they are kept.

use isogrid_tests::harness::native::COUNTERS;
use isogrid_tests::harness::{Native, Server, fail_syncs, temporary, wait_until};
use serde_json::{Value, json};

fn server(data: &str, persist: &str) -> Server {
    Server::isogrid(&["--native", "127.0.0.1:0", "--data-dir", data, "--persist", persist])
}

fn put(key: &str, value: &str) -> Value {
    json!({"key": key, "value": value, "write": {}})
}

fn get(key: &str) -> Value {
    json!({"key": key, "read": {"VALUE": true, "VERSION": true}})
}

/// What structures of a node are kept as is said by itself: with caches in memory, and in memory beside
/// caches that are kept. What is kept no more goes.
#[test]
fn structures_are_kept_as_it_is_said() {
    let data = temporary("native-structures");
    let path = data.to_str().unwrap();
    let said = [("sync", "none"), ("async", "sync"), ("none", "sync"), ("auto", "sync")];
    let (mut counted, mut found) = (Vec::new(), Vec::new());
    for (structures, caches) in said {
        let set = format!("structures.persist={structures}");
        let native = ["--native", "127.0.0.1:0", "--data-dir", path];
        let more = ["--persist", caches, "--set", &set];
        let mut server = Server::isogrid(&[&native[..], &more].concat());
        let mut client = server.native();
        let add = json!({"name": "c", "delta": "1"});
        counted.push(client.call("counter.ADD", COUNTERS, add)[1]["value"].clone());
        let cache = client.cache("default");
        found.push(client.call("cache.GET", cache, get("k"))[0].clone());
        assert_eq!(client.call("cache.PUT", cache, put("k", "v"))[0], "OK");
        server.signal("KILL");
        server.wait();
    }
    assert_eq!(counted, ["1", "2", "1", "1"]);
    assert_eq!(found, ["NOT_FOUND", "NOT_FOUND", "OK", "OK"]);
    std::fs::remove_dir_all(data).unwrap();
}

#[test]
fn what_was_answered_survives_a_kill() {
    for persist in ["sync", "async"] {
        let data = temporary("native-data");
        let path = data.to_str().unwrap();
        let mut first = server(path, persist);
        let mut client = first.native();
        let cache = client.cache("default");
        // Many at once: those that are answered are kept, whoever was killed meanwhile.
        let asked: Vec<_> = (0..200)
            .map(|n| client.ask("cache.PUT", cache, put(&format!("k{n}"), &n.to_string())))
            .collect();
        let versions: Vec<_> =
            asked.into_iter().map(|stream| client.answer(stream)[1]["version"].clone()).collect();
        let create = json!({
            "kind": "CACHE", "name": "made", "mode": "CREATE_NEW",
            "options": format!("{{\"persist\":\"{persist}\"}}"),
        });
        let made = client.call("catalog.CREATE", 0, create)[1]["id"].as_u64().unwrap();
        assert_eq!(client.call("cache.PUT", made, put("m", "1"))[0], "OK");
        let add = json!({"name": "c", "delta": "5"});
        assert_eq!(client.call("counter.ADD", COUNTERS, add)[0], "OK");
        first.signal("KILL");
        first.wait();
        let second = server(path, persist);
        let mut client = second.native();
        for (n, version) in versions.iter().enumerate() {
            let answer = client.call("cache.GET", cache, get(&format!("k{n}")));
            let expected = json!(["OK", {"entry": {"VALUE": n.to_string(), "VERSION": version}}]);
            assert_eq!(answer, expected, "{persist} {n}");
        }
        assert_eq!(client.cache("made"), made, "{persist}: the number stays");
        assert_eq!(client.call("cache.GET", made, get("m"))[0], "OK", "{persist}");
        let counted = client.call("counter.GET", COUNTERS, json!({"name": "c"}));
        assert_eq!(counted, json!(["OK", {"value": "5"}]), "{persist}");
        drop(second);
        std::fs::remove_dir_all(data).unwrap();
    }
}

/// Where a write is seen only when it is durable, what follows it in the same input waits for it.
#[test]
fn a_connection_reads_its_own_writes() {
    let data = temporary("native-own");
    let server = server(data.to_str().unwrap(), "sync");
    let mut client = server.native();
    let cache = client.cache("default");
    let mut asked = Vec::new();
    for n in 0..40 {
        let write = client.ask("cache.PUT", cache, put("k", &n.to_string()));
        let read = client.ask("cache.GET", cache, get("k"));
        let add = json!({"key": "k", "delta": "1000", "initial": null, "write": {}});
        asked.push((n, write, read, client.ask("cache.INCR", cache, add)));
    }
    for (n, write, read, add) in asked {
        assert_eq!(client.answer(write)[0], "OK");
        assert_eq!(client.answer(read)[1]["entry"]["VALUE"], n.to_string());
        assert_eq!(client.answer(add)[1]["value"], (n + 1000).to_string());
    }
    drop(server);
    std::fs::remove_dir_all(data).unwrap();
}

/// The answer to a request with a number is remembered, whichever connection asks again.
#[test]
fn a_request_that_comes_twice_is_answered_as_the_first_time() {
    let data = temporary("native-once");
    let server = server(data.to_str().unwrap(), "sync");
    let hello = json!({"client": {"instance": "8f3c2b52-6d1c-4d0a-9a53-0d6f3a2e7b11"}});
    let other = json!({"client": {"instance": "8f3c2b52-6d1c-4d0a-9a53-0d6f3a2e7b12"}});
    let begin = |hello: &Value| Native::begin(server.native_raw(), hello);
    let cache = begin(&hello).cache("default");
    let add = || json!({"key": "n", "delta": "1", "initial": "1", "write": {}});
    for number in 1..=15 {
        let idem = json!({"ext": {"idem": number.to_string()}});
        // Nobody hears the first answer.
        begin(&hello).ask_with("cache.INCR", cache, add(), &idem);
        let mut again = begin(&hello);
        let mut answer = again.call_with("cache.INCR", cache, add(), &idem);
        while answer == json!(["ERR", "OVERLOADED"]) {
            answer = again.call_with("cache.INCR", cache, add(), &idem);
        }
        assert_eq!(answer[1]["value"], number.to_string());
    }
    let idem = json!({"ext": {"idem": "1"}});
    let answer = begin(&other).call_with("cache.INCR", cache, add(), &idem);
    assert_eq!(answer[1]["value"], "16", "a number of somebody else");
    let mut nobody = server.native();
    let answer = nobody.call_with("cache.INCR", cache, add(), &idem);
    assert_eq!(answer, json!(["ERR", "INVALID_ARGUMENT"]));
    drop(server);
    std::fs::remove_dir_all(data).unwrap();
}

/// Transactions end with their connection, or when they are idle for too long; what was committed
/// is known to others.
#[test]
fn transactions_belong_to_their_connection() {
    let data = temporary("native-tx");
    let server = server(data.to_str().unwrap(), "sync");
    let (mut one, mut two) = (server.native(), server.native());
    let cache = one.cache("default");
    let begin = |client: &mut Native, idle: u32| {
        let begun = client.call("tx.BEGIN", 0, json!({"isolation": "SNAPSHOT", "idle_ms": idle}));
        begun[1]["tx"].clone()
    };
    let state = |client: &mut Native, tx: &Value| {
        client.call("tx.STATUS", 0, json!({"tx": tx}))[1]["state"].as_str().unwrap().to_owned()
    };
    let (kept, late, lost) = (begin(&mut one, 0), begin(&mut one, 30), begin(&mut one, 0));
    for (key, tx) in [("kept", &kept), ("lost", &lost)] {
        let joined = one.call_with("cache.PUT", cache, put(key, "1"), &json!({"ext": {"tx": tx}}));
        assert_eq!(joined[0], "OK");
    }
    let foreign = two.call("tx.COMMIT", 0, json!({"tx": kept}));
    assert_eq!(foreign, json!(["ERR", "TX_NOT_FOUND"]));
    assert_eq!(one.call("tx.COMMIT", 0, json!({"tx": kept})), json!(["OK", {}]));
    assert_eq!(state(&mut two, &kept), "COMMITTED");
    wait_until("the idle one is rolled back", || state(&mut two, &late) == "ABORTED");
    let answer = one.call("tx.COMMIT", 0, json!({"tx": late}));
    assert_eq!(answer, json!(["ERR", "TX_TIMED_OUT"]));
    assert_eq!(state(&mut two, &lost), "ACTIVE");
    drop(one);
    wait_until("that of the connection is rolled back", || state(&mut two, &lost) == "ABORTED");
    assert_eq!(two.call("cache.GET", cache, get("kept"))[0], "OK");
    assert_eq!(two.call("cache.GET", cache, get("lost"))[0], "NOT_FOUND");
    drop(server);
    std::fs::remove_dir_all(data).unwrap();
}

/// A write whose sync failed is of unknown outcome, and is told so; from then on writes are
/// refused, and the connection goes on.
#[test]
fn a_failed_log_is_told() {
    let data = temporary("native-failed");
    let server = server(data.to_str().unwrap(), "sync");
    let mut client = server.native();
    let cache = client.cache("default");
    assert_eq!(client.call("cache.PUT", cache, put("known", "x"))[0], "OK");
    let (refused, strace) = std::thread::scope(|scope| {
        // A write is always under way, so one of them is when syncs begin to fail.
        let writer = scope.spawn(|| {
            let mut refused = Vec::new();
            wait_until("writes are refused", || {
                let answer = client.call("cache.PUT", cache, put("other", "x"));
                if answer[0] == "ERR" {
                    refused.push(answer[1].as_str().unwrap().to_owned());
                }
                refused.iter().any(|code| code == "STORAGE")
            });
            refused
        });
        let strace = fail_syncs(&server);
        (writer.join(), strace)
    });
    let (refused, Some(mut strace)) = (refused, strace) else { return };
    assert_eq!(refused.unwrap(), ["OUTCOME_UNKNOWN", "STORAGE"]);
    assert_eq!(client.call("cache.GET", cache, get("known"))[0], "OK");
    let _ = strace.kill();
    let _ = strace.wait();
    drop(server);
    let _ = std::fs::remove_dir_all(data);
}
