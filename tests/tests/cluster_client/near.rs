//! Near caches of the Rust client on caches of the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use isogrid_tests::harness::send_signal;
use isogrid_wire::client::cache::NearStats;
use isogrid_wire::client::{Cache, Client, Options};
use tokio::time::Instant;

use super::dev::Dev;

const KEYS: usize = 60;
/// Silence after which a client looks whether its connection lives; it is dead after three times that.
const KEEPALIVE: Duration = Duration::from_millis(500);
/// A copy is not used for longer than this when a change of it was acknowledged: what docs/CLIENT.md
/// promises, a failover, and as much again for a busy machine.
const HORIZON: Duration = Duration::from_secs(20);

async fn connect(dev: &Dev, node: usize) -> Client {
    let options = Options::default()
        .timeout(Duration::from_secs(20))
        .keepalive(KEEPALIVE)
        .backoff(Duration::from_millis(5), Duration::from_millis(100));
    Client::connect([dev.native_address(node)], options).await.unwrap()
}

fn key(at: usize) -> String {
    format!("near{at}")
}

/// What is stored under each key: numbers that only grow. Each was acknowledged before it is here.
struct Acknowledged([AtomicU64; KEYS]);

impl Acknowledged {
    async fn write(&self, cache: &Cache, at: usize, number: u64) {
        // What nobody knows of may be done, and is written over.
        while cache.put(key(at).as_bytes(), number.to_string().as_bytes()).await.is_err() {}
        self.0[at].store(number, Ordering::SeqCst);
    }

    fn of(&self, at: usize) -> u64 {
        self.0[at].load(Ordering::SeqCst)
    }
}

/// Reads all keys again and again; what it has seen never goes back.
struct Reader {
    cache: Cache,
    seen: [u64; KEYS],
}

impl Reader {
    async fn read(&mut self, at: usize) -> u64 {
        let entry = self.cache.get(key(at).as_bytes()).await.unwrap().unwrap();
        let number = String::from_utf8_lossy(&entry.value).parse().unwrap();
        assert!(number >= self.seen[at], "{}: {number} after {}", key(at), self.seen[at]);
        self.seen[at] = number;
        number
    }

    /// Reads until it has seen what was acknowledged by now.
    async fn catches_up(&mut self, acknowledged: &Acknowledged) {
        let (expected, begin) =
            (std::array::from_fn::<_, KEYS, _>(|at| acknowledged.of(at)), Instant::now());
        for (at, expected) in expected.into_iter().enumerate() {
            while self.read(at).await < expected {
                let stats = self.cache.near_stats();
                assert!(
                    begin.elapsed() < HORIZON,
                    "{} is older than {expected}: {stats:?}",
                    key(at)
                );
                tokio::task::yield_now().await;
            }
        }
    }

    fn stats(&self) -> NearStats {
        self.cache.near_stats().unwrap()
    }
}

/// It hits, sees what is acknowledged, and is emptied when a member that serves is killed or paused:
/// another one, and the one that it asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_near_cache_is_never_older_than_its_horizon() {
    let (killed, paused, asked) = ((1, "KILL"), (1, "STOP"), (0, "STOP"));
    for (mode, faults) in [("distributed", &[killed, paused, asked][..]), ("replicated", &[killed])]
    {
        let dev = Dev::three(&["--mode", mode]);
        let (reading, writing) = (connect(&dev, 0).await, connect(&dev, 2).await);
        let cache = reading.cache("default").must_exist().near(1_000).open().await.unwrap();
        let mut reader = Reader { cache, seen: [0; KEYS] };
        let acknowledged = Arc::new(Acknowledged([const { AtomicU64::new(0) }; KEYS]));
        let writes = writing.cache("default").must_exist().open().await.unwrap();
        for at in 0..KEYS {
            acknowledged.write(&writes, at, 1).await;
        }
        for _ in 0..100 {
            reader.catches_up(&acknowledged).await;
        }
        let stats = reader.stats();
        assert!(stats.hits > 10 * stats.misses, "{mode}: {stats:?}");
        assert!(reading.routing().await.epoch != 0, "it routes");

        let (told, wrote) = (Arc::clone(&acknowledged), writes.clone());
        let writer = tokio::spawn(async move {
            for number in 2.. {
                for at in 0..KEYS {
                    told.write(&wrote, at, number).await;
                }
            }
        });
        for (node, signal) in faults.iter().copied() {
            survives(&dev, &mut reader, &acknowledged, (node, signal)).await;
        }
        writer.abort();
        drop(writer.await);
        // Nothing is written any more: each copy is what there is, and answers.
        let hits = reader.stats().hits;
        for _ in 0..10 {
            reader.catches_up(&acknowledged).await;
        }
        assert!(reader.stats().hits > hits, "{mode}: {:?}", reader.stats());
        is_current(&mut reader).await;
    }
}

/// The others serve all keys, and write each of them once more; what was kept is dropped.
async fn survives(
    dev: &Dev,
    reader: &mut Reader,
    acknowledged: &Acknowledged,
    (node, signal): (usize, &str),
) {
    let (before, pid) = (reader.stats(), dev.pid(node));
    send_signal(pid, signal);
    for _ in 0..2 {
        let (round, begin) = (acknowledged.of(KEYS - 1), Instant::now());
        while acknowledged.of(KEYS - 1) == round {
            assert!(begin.elapsed() < 3 * HORIZON, "nothing is written: {signal} {node}");
            reader.catches_up(acknowledged).await;
        }
        reader.catches_up(acknowledged).await;
    }
    let after = reader.stats();
    assert!(after.emptied > before.emptied, "{signal} {node}: {before:?} {after:?}");
    if signal == "STOP" {
        send_signal(pid, "CONT");
    }
    tokio::task::block_in_place(|| dev.settles(&[2]));
}

/// While nothing is written each copy becomes what there is.
async fn is_current(reader: &mut Reader) {
    for at in 0..KEYS {
        let fresh = reader.cache.get(key(at).as_bytes()).fresh().await.unwrap().unwrap();
        let expected: u64 = String::from_utf8_lossy(&fresh.value).parse().unwrap();
        let begin = Instant::now();
        while reader.read(at).await != expected {
            assert!(begin.elapsed() < HORIZON, "{}: {expected}", key(at));
            tokio::task::yield_now().await;
        }
    }
}
