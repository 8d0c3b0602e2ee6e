//! What the client says of its requests while the server is killed and comes back: it is held
//! against what is there.

use std::time::Duration;

use isogrid_wire::client::cache::Written;
use isogrid_wire::client::counter::Added;
use isogrid_wire::client::lock::Taken;
use isogrid_wire::client::{Cause, Error};

use super::{Place, client, options};

const WRITERS: u64 = 8;
const ROUNDS: u64 = 400;
const KILLS: u64 = 4;

/// What a writer was told of a key or counter that is its own.
#[derive(Default)]
struct Told {
    /// Surely executed.
    done: u64,
    /// Perhaps executed.
    unknown: u64,
}

impl Told {
    fn note<T>(&mut self, result: Result<T, Error>) {
        match result {
            Ok(_) => self.done += 1,
            Err(error) if error.is_unknown() => self.unknown += 1,
            Err(error) => assert_ne!(error.cause, Cause::Closed, "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_are_true_while_the_server_is_killed_under_load() {
    let place = Place::new("kill");
    let mut server = place.start();
    let client = client(&place.native).await;
    // What is acknowledged is on the disk.
    let cache = client.cache("kept").option("persist", "sync").open().await.unwrap();
    let counters = client.counters("default").await.unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (cache, counters) = (cache.clone(), counters.clone());
            tokio::spawn(async move {
                let (key, name) = (writer.to_be_bytes(), format!("counter {writer}"));
                let (mut puts, mut adds) = ((0, 0), Told::default());
                for round in 1..=ROUNDS {
                    // Each put is of this writer alone, and a greater one than the last.
                    match cache.put(&key, &round.to_be_bytes()).await {
                        Ok(Written::Stored { .. }) => puts.0 = round,
                        Ok(other) => panic!("{other:?}"),
                        Err(error) if error.is_unknown() => puts.1 = round,
                        Err(error) => assert_ne!(error.cause, Cause::Closed, "{error}"),
                    }
                    adds.note(counters.add(&name, 1).await);
                }
                (puts, adds)
            })
        })
        .collect();
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(150)).await;
        place.kill(&mut server);
        server = place.start();
    }
    for (writer, told) in (0..WRITERS).zip(writers) {
        let ((stored, unknown), adds) = told.await.unwrap();
        let entry = cache.get(&writer.to_be_bytes()).await.unwrap().unwrap();
        let value = u64::from_be_bytes(entry.value.as_ref().try_into().unwrap());
        assert!(value >= stored, "writer {writer}: {stored} was stored, {value} is there");
        assert!(value == stored || value <= unknown.max(stored), "writer {writer}: {value}");
        let count = counters.get(&format!("counter {writer}")).await.unwrap().unwrap_or(0);
        let count = u64::try_from(count).unwrap();
        let most = adds.done + adds.unknown;
        assert!(
            (adds.done..=most).contains(&count),
            "writer {writer}: {} added, {} unknown, {count} is there",
            adds.done,
            adds.unknown
        );
    }
}

#[tokio::test]
async fn a_server_that_stays_away_costs_the_deadline() {
    let place = Place::new("away");
    let mut server = place.start();
    let client = client(&place.native).await;
    let cache = client.cache("kept").open().await.unwrap();
    let counters = client.counters("default").await.unwrap();
    counters.add("n", 1).await.unwrap();
    place.kill(&mut server);
    let soon = Duration::from_millis(300);
    let error = cache.put(b"k", b"v").timeout(soon).await.unwrap_err();
    assert_eq!(error.cause, Cause::Timeout);
    let waiting = counters.add("n", 1);
    let (added, _server) = tokio::join!(waiting, async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        place.start()
    });
    match added {
        Ok(added) => assert!(matches!(added, Added::Done(_)), "{added:?}"),
        Err(error) => assert!(error.is_unknown(), "{error}"),
    }
}

#[tokio::test]
async fn a_lock_is_lost_with_its_server_and_its_holder_is_told() {
    let place = Place::new("lost");
    let mut server = place.start();
    let client = client(&place.native).await;
    let locks = client.locks("default").await.unwrap();
    let cache = client.cache("guarded").open().await.unwrap();
    let ttl = Duration::from_secs(2);
    let guard = locks.lock(b"k").ttl(ttl).acquire().await.unwrap().guard().unwrap();
    assert!(tokio::time::timeout(ttl * 2, guard.lost()).await.is_err(), "it is kept alive");
    place.kill(&mut server);
    let _server = place.start();
    tokio::time::timeout(Duration::from_secs(20), guard.lost()).await.expect("it is told");
    assert!(guard.is_lost());
    let wait = Duration::from_secs(5);
    let next = locks.lock(b"k").wait(wait).acquire().await.unwrap().guard().unwrap();
    assert!(next.token() > guard.token(), "tokens go on behind a restart");
    let late = cache.put(b"x", b"late").fence(&guard).await.unwrap_err();
    assert!(late.is_failed(), "{late}");
    assert_eq!(guard.release().await.unwrap_err().cause, Cause::LeaseLost);
    assert!(cache.put(b"x", b"y").fence(&next).await.unwrap().is_stored());
}

#[tokio::test]
async fn a_lock_goes_on_when_its_holder_dies() {
    let (_server, address) = super::server();
    let waiter = client(&address).await.locks("default").await.unwrap();
    // A runtime of its own: when it is gone nothing of the client lives on.
    let doomed = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let guard = runtime.block_on(async {
            let client = isogrid_wire::client::Client::connect([address], options()).await;
            let locks = client.unwrap().locks("default").await.unwrap();
            locks.lock(b"k").ttl(Duration::from_secs(1)).acquire().await.unwrap().guard().unwrap()
        });
        runtime.shutdown_background();
        guard.token()
    });
    let token = doomed.await.unwrap();
    match waiter.lock(b"k").wait(Duration::from_secs(15)).acquire().await.unwrap() {
        Taken::Held(guard) => assert!(guard.token() > token),
        Taken::Busy { holder } => panic!("held by the dead: {holder}"),
    }
}
