//! Members whose configuration says something else than the cluster has.

use std::time::Duration;

use super::Kept;

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
