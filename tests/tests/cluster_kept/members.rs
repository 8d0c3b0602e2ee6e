//! Members whose configuration says something else than the cluster has.

use std::process::Command;
use std::time::Duration;

use isogrid_tests::harness::{isogrid, run};

use super::Kept;
use super::dev::until;

/// Whose configuration says otherwise is told so, with both values, and keeps what the cluster keeps.
#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_s_word_counts() {
    let mut kept = Kept::three(&["--set", "structures.persist=sync"]);
    let patience = Duration::from_secs(30);
    kept.client(0, patience).await.counters("default").await.unwrap().add("n", 7).await.unwrap();
    kept.settings = &["--set", "structures.persist=none"];
    kept.begin_again();
    assert_eq!(kept.persist(), "sync");
    let log = kept.dev().log();
    let told = log.lines().find(|line| line.contains("other_persist")).unwrap_or_default();
    for word in ["cluster=\"sync\"", "configured=\"none\"", "$queues"] {
        assert!(log.contains(word), "{word}: {told}");
    }
    kept.kill_all();
    kept.begin_again();
    let found = kept.client(2, patience).await.counters("default").await.unwrap().get("n").await;
    assert_eq!(found.unwrap(), Some(7));
}

/// Who has no disk cannot be trusted to keep anything: it says so, leaves and ends, and the others go on.
#[tokio::test(flavor = "multi_thread")]
async fn one_without_a_disk_leaves_and_says_what_it_lacks() {
    let kept = Kept::three(&[]);
    let mut command = Command::new(isogrid());
    command.args(["serve", "--config", "/dev/null", "--ephemeral", "--memcached", "off"]);
    command.args(["--native", "off", "--http", "off", "--peer", "127.0.0.1:0", "--mode"]);
    command.args(["distributed", "--log-format", "json", "--join", &kept.dev().peer(0)]);
    let ended = tokio::task::block_in_place(|| run(command.env_clear()));
    let log = String::from_utf8(ended.stderr).unwrap();
    for words in ["\"event\":\"no_member\"", "structures.persist = async", "give --data-dir"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    let members = || kept.dev().said(1, "cluster status -o json").json()["members"].clone();
    until("it is forgotten", || members().as_array().unwrap().len() == 3);
    kept.dev().settles(&[0, 1, 2]);
    let counters = kept.client(2, Duration::from_secs(30)).await.counters("default").await.unwrap();
    for n in 0..64 {
        counters.add(&format!("c{n}"), 1).await.unwrap();
    }
}
