//! Counters, locks, queues, topics and sessions of a cluster on disks, of which all processes end at
//! once (R61, R62).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failing test may panic, and it waits for real processes on the real clock"
)]

#[path = "cluster_cli/dev.rs"]
mod dev;
#[path = "cluster_kept/load.rs"]
mod load;
#[path = "cluster_kept/members.rs"]
mod members;
#[path = "cluster_kept/state.rs"]
mod state;

use std::path::PathBuf;
use std::time::Duration;

use dev::Dev;
use isogrid_tests::harness::temporary;
use isogrid_wire::client::{Client, Options};
use load::Load;
use state::State;

/// A cluster that comes again, with its disks and its ports.
struct Kept {
    dev: Option<Dev>,
    folder: PathBuf,
    settings: &'static [&'static str],
}

impl Kept {
    /// Three nodes. One that is killed stays away.
    fn three(settings: &'static [&'static str]) -> Kept {
        let mut kept = Kept { dev: None, folder: temporary("kept"), settings };
        kept.begin(&[]);
        kept
    }

    fn begin(&mut self, more: &[&str]) {
        let folder = self.folder.to_str().unwrap().to_owned();
        let own = ["--no-restart", "--data-dir", &folder];
        self.dev = Some(Dev::three(&[&own[..], self.settings, more].concat()));
    }

    fn dev(&self) -> &Dev {
        self.dev.as_ref().unwrap()
    }

    /// All processes are killed at once.
    fn kill_all(&self) {
        (0..3).for_each(|node| self.dev().kill(node));
    }

    /// All that run are told to end, and all begin again.
    fn begin_again(&mut self) {
        let offset = self.dev().offset();
        let mut dev = self.dev.take().unwrap();
        dev.signal("TERM");
        dev.wait();
        assert_eq!(dev.alive(), 0, "{}", dev.log());
        drop(dev);
        self.begin(&["--port-offset", &offset]);
    }

    /// A client of one node alone.
    async fn client(&self, node: usize, timeout: Duration) -> Client {
        let options = Options::default()
            .timeout(timeout)
            .backoff(Duration::from_millis(5), Duration::from_millis(100))
            .routing(false);
        Client::connect([self.dev().native_address(node)], options).await.unwrap()
    }

    /// With what the cluster has its structures, as the log of a node says.
    fn persist(&self) -> String {
        let said = self.dev().said(0, "cluster status -o json").json();
        let caches = said["caches"].as_array().unwrap().iter();
        let of = |name: &str| caches.clone().find(|one| one["cache"] == name).unwrap();
        let [a, b, c] = ["$structures", "$queues", "$sessions"].map(|name| &of(name)["persist"]);
        assert!(a == b && b == c, "{said}");
        a.as_str().unwrap().to_owned()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.dev = None;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// With `sync` all are killed at once, under load, twice: what was acknowledged is there, what was done
/// is not done again, and tokens rise.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_all_loses_nothing_that_was_acknowledged() {
    let mut kept = Kept::three(&["--set", "structures.persist=sync"]);
    assert_eq!(kept.persist(), "sync");
    let mut state = State::begin(&kept).await;
    for _ in 0..2 {
        let load = Load::begin(&kept).await;
        load.is_under_way().await;
        kept.kill_all();
        let known = load.end().await;
        kept.begin_again();
        known.check(&kept).await;
        state.goes_on(&kept).await;
    }
}

/// What is not said is `async`, where there are data directories: an end as it should be loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_of_all_loses_nothing_that_is_written_behind() {
    let mut kept = Kept::three(&[]);
    assert_eq!(kept.persist(), "async");
    let mut state = State::begin(&kept).await;
    let load = Load::begin(&kept).await;
    load.is_under_way().await;
    let known = load.stop().await;
    kept.begin_again();
    known.check(&kept).await;
    state.goes_on(&kept).await;
}

/// With `none` it is as it was before there was a choice: the tests above see something.
#[tokio::test(flavor = "multi_thread")]
async fn in_memory_alone_everything_is_forgotten() {
    let mut kept = Kept::three(&["--set", "structures.persist=none"]);
    assert_eq!(kept.persist(), "none");
    let patience = Duration::from_secs(30);
    kept.client(0, patience).await.counters("default").await.unwrap().add("n", 1).await.unwrap();
    kept.begin_again();
    let found = kept.client(0, patience).await.counters("default").await.unwrap().get("n").await;
    assert_eq!(found.unwrap(), None);
}
