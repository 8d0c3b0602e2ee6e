//! TOPOLOGY_WATCH.

use std::collections::BTreeSet;

use isogrid_tests::harness::Native;
use serde_json::{Value, json};

use super::dev::Dev;

fn watch(client: &mut Native, known: u64, credit: u32) -> u64 {
    client.ask("catalog.TOPOLOGY_WATCH", 0, json!({"known": known, "credit": credit}))
}

/// The next table that is told.
fn told(client: &mut Native, stream: u64) -> Value {
    let frame = client.next_of(stream);
    assert_eq!(frame["type"], "ITEM", "{frame}");
    let items = frame["items"].as_array().unwrap();
    assert_eq!(items.len(), 1, "{frame}");
    serde_json::from_str(items[0]["table"].as_str().unwrap()).unwrap()
}

fn epoch(table: &Value) -> u64 {
    table["epoch"].as_str().unwrap().parse().unwrap()
}

fn primaries(table: &Value) -> BTreeSet<u64> {
    let runs = table["caches"][0]["primaries"].as_array().unwrap();
    runs.iter().map(|run| run[1].as_u64().unwrap()).collect()
}

#[test]
fn who_watches_is_told_of_each_new_table() {
    let dev = Dev::three(&["--no-restart"]);
    let mut client = dev.native(0);
    let stream = watch(&mut client, 0, 1_000);
    let first = told(&mut client, stream);
    assert_eq!(primaries(&first).len(), 3, "{first}");
    let (mut knows, mut later) = (dev.native(2), dev.native(2));
    let knowing = watch(&mut knows, epoch(&first) & u64::from(u32::MAX), 1_000);
    let resting = watch(&mut later, 0, 0);
    dev.kill(1);
    let known = epoch(&first);
    let (mut before, mut now) = (known, first);
    while primaries(&now).len() != 2 {
        now = told(&mut client, stream);
        assert!(epoch(&now) > before, "{before}: {now}");
        before = epoch(&now);
    }
    let second = told(&mut knows, knowing);
    assert!(epoch(&second) > known, "not what it knows: {second}");
    // What came while it had no credit is told once, as it is in the end.
    dev.settles(&[0, 2]);
    later.credit(resting, 1);
    let last = told(&mut later, resting);
    assert_eq!((primaries(&last).len(), epoch(&last) >= epoch(&now)), (2, true), "{last}");
    client.cancel(stream);
    loop {
        let frame = client.next_of(stream);
        if frame["type"] != "ITEM" {
            return assert_eq!(frame["type"], "ERR", "{frame}");
        }
    }
}
