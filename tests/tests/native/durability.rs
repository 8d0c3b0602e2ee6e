//! Writes are answered when they are kept.

use isogrid_tests::harness::native::COUNTERS;
use isogrid_tests::harness::{Server, temporary};
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
    for n in 0..200 {
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
