//! Caches that are made while a server runs, and those that the configuration declares no more:
//! what is there after `kill -9`, on a real disk.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use isogrid::config::ServerConfig;
use isogrid::server::{Node, caches};
use isogrid_engine::NewEntry;
use isogrid_grid::catalog::Kind;
use isogrid_grid::structure::counter::{CounterOp, CounterReply};
use isogrid_tests::harness::{Server, temporary};

/// Names the data directory of the process that is to be killed.
const CHILD: &str = "ISOGRID_TEST_CATALOG_DIR";
const OPTIONS: [(&str, &str); 4] =
    [("ttl", "10m"), ("max_bytes", "64MiB"), ("eviction", "s3-fifo"), ("persist", "async")];

fn node(dir: &Path) -> Arc<Node> {
    let mut config = ServerConfig::default();
    config.node.data_dir = Some(dir.to_str().unwrap().to_owned());
    let node = Node::new(config).unwrap();
    node.open_data().unwrap();
    node
}

fn put(node: &Node, cache: &str, key: &[u8], value: &[u8]) {
    let cache = node.catalog.cache(cache).unwrap();
    let pinned = cache.table().pin();
    let mut entry = pinned.entry(cache.hash(key), key, node.now()).unwrap();
    entry.put(&NewEntry { value: [value, b""], ..NewEntry::default() }).unwrap();
}

fn value(node: &Node, cache: &str, key: &[u8]) -> Option<Vec<u8>> {
    let cache = node.catalog.cache(cache).unwrap();
    let batch = cache.batch(node.now());
    batch.peek(cache.hash(key), key).map(|entry| entry.value().to_vec())
}

/// What the process does that is killed: only in a process of its own.
#[test]
fn child() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let node = node(Path::new(&dir));
    let persistence = &node.data.get().unwrap().persistence;
    let since = persistence.moment();
    for cache in ["orders", "again", "gone"] {
        caches::resolve(&node, Kind::Cache, cache, Some(&OPTIONS)).unwrap();
        put(&node, cache, b"old", b"1");
    }
    for cache in ["again", "gone"] {
        caches::drop_object(&node, Kind::Cache, cache).unwrap();
    }
    caches::resolve(&node, Kind::Cache, "again", Some(&OPTIONS)).unwrap();
    put(&node, "again", b"new", b"2");
    caches::alter(&node, "orders", &[("ttl", "5m")]).unwrap();
    node.structures.counters(node.now(), CounterOp::Add { name: "n", delta: 5 }).unwrap();
    persistence.flush(since, persistence.last()).unwrap();
    println!("acknowledged");
    loop {
        std::thread::park();
    }
}

#[test]
fn what_was_made_and_dropped_is_so_after_a_kill() {
    let dir = temporary("catalog-kill");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, &dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines.map_while(Result::ok).any(|line| line.contains("acknowledged"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(said, "the process ended before it had done everything");

    let node = node(&dir);
    let caches: Vec<_> = node.catalog.list(Some(Kind::Cache)).into_iter().map(|c| c.name).collect();
    assert_eq!(caches, ["again", "default", "orders"]);
    let orders = node.catalog.find(Kind::Cache, "orders").unwrap();
    let wanted = orders.options.with(&[("ttl", "5m")]).unwrap();
    assert_eq!((&orders.options, orders.options.memory), (&wanted, 64 << 20));
    assert_eq!(value(&node, "orders", b"old").as_deref(), Some(&b"1"[..]));
    assert_eq!(value(&node, "again", b"old"), None, "data of the dropped cache came back");
    assert_eq!(value(&node, "again", b"new").as_deref(), Some(&b"2"[..]));
    let counter = node.structures.counters(node.now(), CounterOp::Get { name: "n" });
    assert_eq!(counter, Ok(CounterReply::Value(5)));
    // Numbers that were given out are not given again.
    let ids = node.catalog.index().caches().map(|cache| cache.id).max().unwrap();
    let new = caches::resolve(&node, Kind::Cache, "gone", Some(&OPTIONS)).unwrap().object;
    assert!(new.id > ids && value(&node, "gone", b"old").is_none());
    drop(node);
    std::fs::remove_dir_all(&dir).unwrap();
}

/// Until there was a catalog, a cache was gone with the first checkpoint after its lines had gone
/// from the configuration.
#[test]
fn a_cache_that_is_declared_no_more_is_kept_and_served_again_when_it_is() {
    let dir = temporary("catalog-declared");
    let data = dir.join("data");
    std::fs::create_dir_all(&dir).unwrap();
    let config = |name: &str, text: &str| {
        let path = dir.join(name);
        let head = "[node]\nthreads = 1\n[[cache]]\nname = \"default\"\nmemory = \"64MiB\"\n";
        std::fs::write(&path, format!("{head}{text}")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let with = config(
        "with.toml",
        "[[cache]]\nname = \"orders\"\nmemory = \"64MiB\"\n[[listener]]\naddress = \
         \"127.0.0.1:0\"\ncache = \"orders\"\n",
    );
    let without = config("without.toml", "[[listener]]\naddress = \"127.0.0.1:0\"\n");
    let args = |config: &str| {
        ["--config", config, "--data-dir", data.to_str().unwrap()].map(str::to_owned)
    };
    let start = |config: &str| {
        let args = args(config);
        Server::isogrid(&args.each_ref().map(String::as_str))
    };
    let server = start(&with);
    server.connect().ask("set a 0 0 1\r\n1\r\n", "STORED\r\n");
    drop(server);
    for _ in 0..2 {
        let server = start(&without);
        server.connect().ask("get a\r\n", "END\r\n");
        drop(server);
    }
    let server = start(&with);
    server.connect().ask("get a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n");
    drop(server);
    std::fs::remove_dir_all(&dir).unwrap();
}
