//! What is computed is computed once, and by somebody else when whoever did it dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use isogrid_wire::client::memo::MemoError;
use isogrid_wire::client::{Client, Memo};

use super::{client, options, server};

async fn memo(client: &Client) -> Memo {
    let cache = client.cache("results").open().await.unwrap();
    client
        .memo(&cache)
        .ttl(Duration::from_secs(600))
        .lease(Duration::from_secs(1))
        .open()
        .await
        .unwrap()
}

/// A function that takes a while, and counts its runs.
fn slow(runs: &Arc<AtomicU64>) -> impl Future<Output = Result<Vec<u8>, String>> + Send + use<> {
    let runs = Arc::clone(runs);
    async move {
        let run = runs.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(200)).await;
        Ok(format!("run {run}").into_bytes())
    }
}

#[tokio::test]
async fn a_thousand_callers_over_three_connections_compute_once() {
    let (_server, address) = server();
    let runs = Arc::new(AtomicU64::new(0));
    let mut callers = Vec::new();
    for _ in 0..3 {
        let memo = memo(&client(&address).await).await;
        for _ in 0..334 {
            let (memo, runs) = (memo.clone(), Arc::clone(&runs));
            callers.push(tokio::spawn(async move {
                let compute = move || slow(&runs);
                memo.get(b"key", compute).await.unwrap()
            }));
        }
    }
    for caller in callers {
        assert_eq!(&*caller.await.unwrap(), b"run 0");
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn when_the_first_caller_dies_the_next_one_computes() {
    let (_server, address) = server();
    let waiter = client(&address).await;
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let doomed = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.spawn(async move {
            let client = Client::connect([address], options()).await.unwrap();
            let memo = memo(&client).await;
            let never = move || async move {
                begun.send(()).unwrap();
                std::future::pending::<Result<Vec<u8>, String>>().await
            };
            drop(memo.get(b"key", never).await);
        });
        runtime.block_on(async { tokio::time::sleep(Duration::from_secs(1)).await });
        runtime.shutdown_background();
    });
    has_begun.await.unwrap();
    let runs = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&runs);
    let value = memo(&waiter).await.get(b"key", move || slow(&counted)).await.unwrap();
    assert_eq!((&*value, runs.load(Ordering::SeqCst)), (&b"run 0"[..], 1));
    doomed.join().unwrap();
}

#[tokio::test]
async fn a_failure_is_for_its_caller_alone() {
    let (_server, address) = server();
    let memo = memo(&client(&address).await).await;
    let failed = memo.get(b"key", || async { Err("no".to_owned()) }).await;
    assert_eq!(failed, Err(MemoError::Compute("no".to_owned())));
    let runs = Arc::new(AtomicU64::new(5));
    let counted = Arc::clone(&runs);
    assert_eq!(&*memo.get(b"key", move || slow(&counted)).await.unwrap(), b"run 5");
}

#[tokio::test]
async fn a_stale_result_is_given_out_while_one_caller_computes_the_next() {
    let (_server, address) = server();
    let client = client(&address).await;
    let cache = client.cache("results").open().await.unwrap();
    let memo = client
        .memo(&cache)
        .ttl(Duration::from_millis(300))
        .stale_while_revalidate(Duration::from_secs(600))
        .open()
        .await
        .unwrap();
    let runs = Arc::new(AtomicU64::new(0));
    let get = async || {
        let runs = Arc::clone(&runs);
        memo.get(b"key", move || slow(&runs)).await.unwrap().to_vec()
    };
    assert_eq!((get().await, get().await), (b"run 0".to_vec(), b"run 0".to_vec()));
    tokio::time::sleep(Duration::from_millis(400)).await;
    let (one, two, three) = tokio::join!(get(), get(), get());
    assert!([one, two, three].iter().all(|value| value == b"run 0"), "nobody waits");
    while get().await == b"run 0" {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(runs.load(Ordering::SeqCst), 2, "one refresh, however many saw that it was stale");
}
