//! Copies never go back, and never stay behind.

use std::time::Duration;

use super::{Place, client, server};

#[tokio::test]
async fn what_a_near_cache_shows_never_goes_back_and_comes_to_the_end() {
    let (_server, address) = server();
    let writer = client(&address).await.cache("near").open().await.unwrap();
    let readers = (0..3).map(|_| {
        let address = address.clone();
        tokio::spawn(async move {
            let near = client(&address).await.cache("near").near(8).open().await.unwrap();
            let mut last = [0u64; 16];
            loop {
                for key in 0..16u8 {
                    let entry = near.get(&[key]).await.unwrap();
                    let value = entry.map_or(0, |entry| {
                        u64::from_be_bytes(entry.value.as_ref().try_into().unwrap())
                    });
                    let seen = &mut last[usize::from(key)];
                    assert!(value >= *seen, "key {key} went from {seen} back to {value}");
                    *seen = value;
                }
                if last.iter().all(|value| *value == 2_000) {
                    return near.near_stats().unwrap();
                }
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for round in 1..=2_000u64 {
        for key in (0..16u8).filter(|key| round == 2_000 || round % 16 == u64::from(*key)) {
            writer.put(&[key], &round.to_be_bytes()).await.unwrap();
        }
    }
    for reader in readers {
        let stats = tokio::time::timeout(Duration::from_secs(20), reader).await;
        let stats = stats.expect("the last write is seen by everybody").unwrap();
        assert!(stats.hits > 0 && stats.invalidated > 0 && stats.entries <= 8, "{stats:?}");
    }
}

#[tokio::test]
async fn a_near_cache_sees_its_own_writes_at_once() {
    let (_server, address) = server();
    let near = client(&address).await.cache("near").near(100).open().await.unwrap();
    for round in 0..500u32 {
        near.put(b"k", &round.to_be_bytes()).await.unwrap();
        for _ in 0..3 {
            assert_eq!(*near.get(b"k").await.unwrap().unwrap().value, round.to_be_bytes());
        }
    }
}

#[tokio::test]
async fn a_killed_server_leaves_no_copy_behind() {
    let place = Place::new("near");
    let mut server = place.start();
    let near = client(&place.native).await.cache("near").near(100).open().await.unwrap();
    let other = client(&place.native).await.cache("near").open().await.unwrap();
    for round in 0..3u8 {
        near.put(b"k", &[round]).await.unwrap();
        assert_eq!(*near.get(b"k").await.unwrap().unwrap().value, [round]);
        place.kill(&mut server);
        server = place.start();
        other.put(b"k", &[round + 100]).await.unwrap();
        near.put(b"behind", b"").await.unwrap();
        assert_eq!(*near.get(b"k").await.unwrap().unwrap().value, [round + 100]);
    }
}
