//! Web sessions of a cluster: one session behind every node, also while its primary is killed.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and it waits for real processes on the real clock"
)]

#[path = "cluster_cli/dev.rs"]
mod dev;
#[path = "cluster_session/moved.rs"]
mod moved;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dev::Dev;
use isogrid_engine::hash::stable_segment;
use isogrid_tests::sessions::{are_found, goes_its_way, id, loaded, set, start};
use isogrid_wire::client::session::{Change, Saved, Sessions};
use isogrid_wire::client::{Client, Options};
use isogrid_wire::native::ErrorCode;

const SPACE: &str = "web";

/// Three nodes. One that is killed stays away.
fn three() -> Dev {
    Dev::three(&["--no-restart"])
}

/// The sessions behind one node alone.
async fn sessions(dev: &Dev, node: usize, space: &str) -> Sessions {
    within(dev, node, Duration::from_secs(30)).await.sessions(space).await.unwrap()
}

async fn within(dev: &Dev, node: usize, timeout: Duration) -> Client {
    let options = Options::default()
        .timeout(timeout)
        .backoff(Duration::from_millis(5), Duration::from_millis(100))
        .routing(false);
    Client::connect([dev.native_address(node)], options).await.unwrap()
}

async fn behind_all(dev: &Dev, space: &str) -> [Sessions; 3] {
    let at = |node| sessions(dev, node, space);
    [at(0).await, at(1).await, at(2).await]
}

/// The node that serves a session.
fn node_of(dev: &Dev, number: usize) -> usize {
    let topology = dev.said(0, "cluster topology --cache $sessions -o json").json();
    let space = [&[b's', u8::try_from(SPACE.len()).unwrap()], SPACE.as_bytes()].concat();
    let segment = stable_segment(&[space, id(number)].concat(), 256);
    let member = &topology["caches"][0]["segments"][segment]["primary"];
    let is_it =
        |node: &usize| dev.said(*node, "cluster status -o json").json()["member"] == *member;
    (0..3).find(is_it).unwrap_or_else(|| panic!("{topology}"))
}

#[tokio::test]
async fn one_space_answers_behind_every_node() {
    let dev = three();
    goes_its_way(&behind_all(&dev, SPACE).await).await;
    are_found(&behind_all(&dev, "shop").await).await;
}

/// Requests at three nodes change attributes of one session at the same time, each its own, and one
/// that all of them count up: none of it is lost.
#[tokio::test]
async fn edits_of_different_attributes_at_once_lose_nothing() {
    const ROUNDS: usize = 40;
    let dev = three();
    let all = behind_all(&dev, SPACE).await;
    all[0].create(&id(1), &start()).await.unwrap().unwrap();
    let mut writers = Vec::new();
    for (node, web) in all.iter().enumerate() {
        let web = web.clone();
        writers.push(tokio::spawn(async move {
            let base = loaded(&web, 1).await.version;
            for round in 1..=ROUNDS {
                let own = format!("of node {node}");
                let change = Change::since(base).set(&own, round.to_string()).add("all", 1);
                let saved = web.save(&id(1), &change).await.unwrap();
                assert!(matches!(saved, Saved::Done { .. }), "{saved:?}");
                // What it has saved it reads, whatever others do.
                assert_eq!(
                    loaded(&web, 1).await.attributes[&own].value,
                    round.to_string().as_bytes()
                );
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for web in &all {
        let session = loaded(web, 1).await;
        let sum = i64::try_from(3 * ROUNDS).unwrap().to_be_bytes();
        assert_eq!(session.attributes["all"].value, sum);
        for node in 0..3 {
            let own = &session.attributes[&format!("of node {node}")];
            assert_eq!(own.value, ROUNDS.to_string().as_bytes());
        }
    }
}

/// Counts up as a web page does, and sees that it goes on strictly, until told to stop.
async fn count(web: Sessions, number: usize, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>) -> i64 {
    let mut seen = 0;
    while !stop.load(Ordering::Relaxed) {
        let saved = web.save(&id(number), &Change::default().add("count", 1)).await.unwrap();
        assert!(matches!(saved, Saved::Done { .. }), "{saved:?}");
        let value = &loaded(&web, number).await.attributes["count"].value;
        let now = i64::from_be_bytes(value[..].try_into().unwrap());
        assert_eq!(now, seen + 1, "session {number}: nothing is lost, and nothing done twice");
        seen = now;
        done.fetch_add(1, Ordering::Relaxed);
    }
    seen
}

/// While the node is killed that serves a session, requests at another one go on where they were; what
/// was destroyed before stays so, and so does what can be found.
#[tokio::test]
async fn a_session_goes_on_when_its_primary_is_killed() {
    let dev = three();
    let all = behind_all(&dev, SPACE).await;
    for number in 0..12 {
        all[number % 3].create(&id(number), &start().found_by("user:1")).await.unwrap().unwrap();
    }
    for number in 8..12 {
        assert!(all[number % 3].destroy(&id(number), "logout").await.unwrap());
    }
    let victim = node_of(&dev, 0);
    let others = [(victim + 1) % 3, (victim + 2) % 3];
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let counts: Vec<_> = (0..8)
        .map(|number| {
            let web = all[others[number % 2]].clone();
            tokio::spawn(count(web, number, Arc::clone(&stop), Arc::clone(&done)))
        })
        .collect();
    let reach = async |least: usize| {
        while done.load(Ordering::Relaxed) < least {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    reach(80).await;
    let killed_at = Instant::now();
    dev.kill(victim);
    reach(done.load(Ordering::Relaxed) + 160).await;
    println!("160 more saves and loads {:?} after the kill", killed_at.elapsed());
    stop.store(true, Ordering::Relaxed);
    let mut ends = Vec::new();
    for counted in counts {
        ends.push(counted.await.unwrap());
    }
    assert!(ends.iter().all(|end| *end > 0), "each went on: {ends:?}");
    let web = &all[others[0]];
    for number in 8..12 {
        let late = web.save(&id(number), &Change::default().set("cart", "1")).await.unwrap_err();
        assert_eq!(late.code(), Some(ErrorCode::SessionGone), "{late}");
        assert_eq!(web.load(&id(number)).await.unwrap(), None);
    }
    assert_eq!(web.find("user:1").await.unwrap().len(), 8);
    assert_eq!(web.count().await.unwrap(), 8);
    refused_without_a_majority(&dev, others).await;
}

/// One of three says nothing of sessions: what it has is not what the others might have.
async fn refused_without_a_majority(dev: &Dev, [last, other]: [usize; 2]) {
    let web = sessions(dev, last, SPACE).await;
    let hasty = within(dev, last, Duration::from_millis(700)).await.sessions(SPACE).await.unwrap();
    set(&web, 0, "before", "1").await;
    dev.kill(other);
    let began = Instant::now();
    while hasty.load(&id(0)).await.is_ok() {
        assert!(began.elapsed() < Duration::from_secs(20), "its lease ends");
    }
    for number in 0..4 {
        hasty.load(&id(number)).await.unwrap_err();
        hasty.save(&id(number), &Change::default().set("a", "1")).await.unwrap_err();
        hasty.create(&id(number + 50), &start()).await.unwrap_err();
    }
    hasty.find("user:1").await.unwrap_err();
}

/// A slow request saves after a fast one has logged out, at other nodes, again and again: it never
/// brings the session back, and never says that it was saved.
#[tokio::test]
async fn a_logout_is_never_undone() {
    let dev = three();
    let all = behind_all(&dev, SPACE).await;
    for number in 0..30 {
        all[0].create(&id(number), &start().found_by("user:1")).await.unwrap().unwrap();
        let (slow, fast, late) = (&all[number % 3], &all[(number + 1) % 3], &all[(number + 2) % 3]);
        let session = id(number);
        let destroy = async {
            match number % 2 {
                0 => assert!(fast.destroy(&session, "logout").await.unwrap()),
                _ => assert_eq!(fast.destroy_by("user:1", None).await.unwrap(), 1),
            }
        };
        let save = async {
            for round in 0..8 {
                let change = Change::default().set("cart", round.to_string());
                match slow.save(&session, &change).await {
                    Ok(saved) => assert!(matches!(saved, Saved::Done { .. }), "{saved:?}"),
                    Err(gone) => assert_eq!(gone.code(), Some(ErrorCode::SessionGone), "{gone}"),
                }
            }
        };
        tokio::join!(destroy, save);
        let after = late.save(&session, &Change::default().set("cart", "x")).await.unwrap_err();
        assert_eq!(after.code(), Some(ErrorCode::SessionGone), "{after}");
        for web in &all {
            assert_eq!(web.load(&session).await.unwrap(), None);
        }
    }
    assert_eq!(all[1].count().await.unwrap(), 0);
}
