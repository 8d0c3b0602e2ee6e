//! The client over real sockets, against a server made of the server's half of the codec that can
//! be told to misbehave. What the real server does with it is in `tests/tests/client.rs`.
#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

#[path = "client/mock.rs"]
mod mock;

use std::time::Duration;

use isogrid_wire::client::cache::Written;
use isogrid_wire::client::counter::Added;
use isogrid_wire::client::{Cause, Client, Options, Outcome};
use isogrid_wire::native::{Call, ErrorCode, cache, counter};
use mock::{Fate, Mock};

fn options() -> Options {
    Options::default()
        .timeout(Duration::from_secs(20))
        .backoff(Duration::from_millis(2), Duration::from_millis(20))
}

async fn client(mock: &Mock) -> Client {
    Client::connect([mock.address()], options()).await.unwrap()
}

#[tokio::test]
async fn what_is_asked_at_once_goes_over_one_connection_in_few_pieces() {
    let mock = Mock::start().await;
    let client = client(&mock).await;
    let cache = client.cache("orders").open().await.unwrap();
    let before = mock.reads();
    let writers = (0..1_000u32).map(|number| {
        let cache = cache.clone();
        tokio::spawn(async move {
            let key = number.to_be_bytes();
            assert!(cache.put(&key, b"value").await.unwrap().is_stored());
            cache.get(&key).await.unwrap().unwrap().value
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        assert_eq!(&*writer.await.unwrap(), b"value");
    }
    assert_eq!(mock.connections(), 1);
    let reads = mock.reads() - before;
    assert!(reads < 600, "2,000 requests came in {reads} pieces");
}

#[tokio::test]
async fn a_large_value_comes_and_goes_in_fragments() {
    let mock = Mock::start().await;
    let cache = client(&mock).await.cache("orders").open().await.unwrap();
    let value: Vec<u8> = (0..3_000_000u32).map(|n| n.to_be_bytes()[3]).collect();
    cache.put(b"large", &value).await.unwrap();
    assert_eq!(*cache.get(b"large").await.unwrap().unwrap().value, *value);
}

#[tokio::test]
async fn a_request_that_may_have_been_done_is_repeated_only_if_that_is_harmless() {
    let mock = Mock::start().await;
    let client = client(&mock).await;
    let cache = client.cache("orders").open().await.unwrap();
    let counters = client.counters("hits").await.unwrap();
    for fate in [Fate::Cut, Fate::DoAndCut] {
        mock.next(cache::Put::CODE, fate);
        let stored = cache.put(b"k", b"plain").await.unwrap();
        assert!(stored.is_stored(), "harmless twice");
        mock.next(counter::Add::CODE, fate);
        let added = counters.add("n", 1).await.unwrap();
        assert!(matches!(added, Added::Done(_)), "once by its tag");
    }
    assert_eq!(counters.get("n").await.unwrap(), Some(2));
    for (fate, done) in [(Fate::CutAndRestart, 0), (Fate::DoCutAndRestart, 1)] {
        let before = counters.get("n").await.unwrap().unwrap();
        mock.next(counter::Add::CODE, fate);
        let error = counters.add("n", 1).await.unwrap_err();
        assert_eq!(error.outcome, Outcome::Unknown, "the tag is forgotten with the life");
        assert_eq!(counters.get("n").await.unwrap().unwrap() - before, done);
        mock.next(cache::Put::CODE, fate);
        assert!(cache.put(b"k", b"v").await.unwrap().is_stored());
        mock.next(cache::Put::CODE, fate);
        let error = cache.put_if_absent(b"new", b"v").await.unwrap_err();
        assert!(error.is_unknown(), "what depends on what is there must not be done twice");
    }
}

#[tokio::test]
async fn a_server_that_is_silent_costs_the_deadline_and_no_more() {
    let mock = Mock::start().await;
    let cache = client(&mock).await.cache("orders").open().await.unwrap();
    let soon = Duration::from_millis(50);
    for (code, outcome) in
        [(cache::Put::CODE, Outcome::Unknown), (cache::Get::CODE, Outcome::Failed)]
    {
        mock.next(code, Fate::Silent);
        let error = match outcome {
            Outcome::Unknown => cache.put(b"k", b"v").timeout(soon).await.unwrap_err(),
            Outcome::Failed => cache.get(b"k").timeout(soon).await.unwrap_err(),
        };
        assert_eq!((error.outcome, error.cause), (outcome, Cause::Timeout));
    }
    assert!(cache.put(b"k", b"v").await.unwrap().is_stored(), "others go on");
    assert_eq!(mock.cancelled(), 2, "the server was told that nobody waits");
    assert_eq!(mock.connections(), 1);
}

#[tokio::test]
async fn a_caller_that_goes_cancels() {
    let mock = Mock::start().await;
    let cache = client(&mock).await.cache("orders").open().await.unwrap();
    mock.next(cache::Get::CODE, Fate::Silent);
    let waiting = tokio::time::timeout(Duration::from_millis(20), async { cache.get(b"k").await });
    assert!(waiting.await.is_err());
    assert!(cache.get(b"k").await.unwrap().is_none());
    assert_eq!(mock.cancelled(), 1);
}

#[tokio::test]
async fn numbers_are_asked_for_again_when_the_server_has_begun_anew() {
    let mock = Mock::start().await;
    let cache = client(&mock).await.cache("orders").open().await.unwrap();
    cache.put(b"k", b"v").await.unwrap();
    mock.restart_empty();
    let Written::Stored { .. } = cache.put(b"k", b"v").await.unwrap() else { panic!() };
    assert_eq!(mock.wrong_numbers(), 0, "a number of the life before may mean another cache");
    let strict = client(&mock).await;
    let missing = strict.cache("nothing").must_exist().open().await.unwrap_err();
    assert_eq!(missing.cause, Cause::NoSuchObject("nothing".to_owned()));
}

#[tokio::test]
async fn who_may_not_connect_hears_why_at_once() {
    let mock = Mock::start().await;
    mock.refuse_connections(ErrorCode::AuthFailed);
    let error = Client::connect([mock.address()], options()).await.unwrap_err();
    assert_eq!((error.code(), error.outcome), (Some(ErrorCode::AuthFailed), Outcome::Failed));
}

#[tokio::test]
async fn a_copy_is_used_until_the_word_of_a_change_comes() {
    let mock = Mock::start().await;
    let near = client(&mock).await.cache("orders").near(100).open().await.unwrap();
    let other = client(&mock).await.cache("orders").open().await.unwrap();
    mock.tracked().await;
    other.put(b"k", b"one").await.unwrap();
    let read = async || near.get(b"k").await.unwrap().map(|entry| entry.value.to_vec());
    assert_eq!(read().await.unwrap(), b"one");
    let asked = mock.count(cache::Get::CODE);
    for _ in 0..100 {
        assert_eq!(read().await.unwrap(), b"one");
    }
    assert_eq!(mock.count(cache::Get::CODE), asked, "a copy asks nobody");
    other.put(b"k", b"two").await.unwrap();
    near.put(b"another", b"x").await.unwrap();
    // The answer came over the same connection, behind the invalidation.
    assert_eq!(read().await.unwrap(), b"two");
    assert_eq!(near.near_stats().unwrap().invalidated, 1);
}

#[tokio::test]
async fn an_answer_that_an_invalidation_overtook_is_not_kept() {
    let mock = Mock::start().await;
    let near = client(&mock).await.cache("orders").near(100).open().await.unwrap();
    let other = client(&mock).await.cache("orders").open().await.unwrap();
    mock.tracked().await;
    other.put(b"k", b"one").await.unwrap();
    // The server reads `one`, the entry changes and the word of it goes out, then the answer.
    mock.next(cache::Get::CODE, Fate::ChangeBehind(b"two"));
    let read = async || near.get(b"k").await.unwrap().map(|entry| entry.value.to_vec());
    assert_eq!(read().await.unwrap(), b"one");
    assert_eq!(read().await.unwrap(), b"two");
}

#[tokio::test]
async fn a_near_cache_is_empty_behind_a_lost_connection() {
    let mock = Mock::start().await;
    let near = client(&mock).await.cache("orders").near(100).open().await.unwrap();
    mock.tracked().await;
    near.put(b"k", b"one").await.unwrap();
    near.get(b"k").await.unwrap();
    assert_eq!(near.near_stats().unwrap().entries, 1);
    mock.cut_all();
    near.put(b"x", b"y").await.unwrap();
    assert_eq!(near.near_stats().unwrap().entries, 0);
}
