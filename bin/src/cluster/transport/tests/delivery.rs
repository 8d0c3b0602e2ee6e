//! What is sent comes, in order, at most once, and again after a restart.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use super::super::handshake::{Answer, Hello, VERSIONS};
use super::super::{Lane, NotSent};
use super::fixture::{config, peers, proxy, run, small, start, start_at, until};

fn numbered(range: std::ops::Range<u32>) -> Vec<Vec<u8>> {
    range.map(|n| n.to_le_bytes().to_vec()).collect()
}

#[test]
fn every_lane_keeps_its_order_and_says_who_sent() {
    run(async {
        let (a, b) = peers(&small()).await;
        let frames = numbered(0..5_000);
        for frame in &frames {
            for lane in Lane::ALL {
                a.send(&b, lane, frame);
                b.send(&a, lane, frame);
            }
        }
        for (to, from) in [(&a, &b), (&b, &a)] {
            for lane in Lane::ALL {
                assert_eq!(to.kept.come(lane, frames.len()).await, frames, "{lane:?}");
            }
            assert!(to.kept.frames.lock().iter().all(|(_, who, _)| who == from.address()));
            until("sent", || from.count(|s| &s.lane(Lane::Data).frames_sent) == 5_000).await;
            assert_eq!(to.count(|s| &s.lane(Lane::Data).bytes_received), 5_000 * 16);
            assert_eq!(from.count(|s| &s.connects), 3);
        }
    });
}

#[test]
fn frames_of_every_size_come_whole() {
    run(async {
        let (a, b) = peers(&small()).await;
        let frames: Vec<Vec<u8>> = [1, 4_095, 65_524, 65_525, 5 << 20, 1, 20 << 20, 3]
            .into_iter()
            .zip(0..)
            .map(|(len, n)| vec![n; len])
            .collect();
        let mut came = 0;
        for frame in &frames {
            a.send(&b, Lane::Data, frame);
            came += 1;
            assert!(b.kept.come(Lane::Data, came).await == frames[..came], "frame {came}");
        }
    });
}

/// A peer that is started again on its port gets what is sent from then on, and what waited.
#[test]
fn a_peer_that_comes_back_is_found() {
    run(async {
        let (a, b) = peers(&small()).await;
        let to = b.address().to_owned();
        a.send(&b, Lane::Control, b"before");
        b.kept.come(Lane::Control, 1).await;
        b.transport.close();
        until("the loss", || a.kept.unreachable.lock().len() == 1).await;
        for frame in [b"waits 1", b"waits 2"] {
            a.transport.send(&to, Lane::Control, frame).unwrap();
        }
        until("some tries", || a.count(|s| &s.losses) == 1).await;
        let again = start_at(
            &to,
            super::super::TransportConfig { address: to.clone(), ..config("c", small()) },
        );
        let again = again.await;
        let came = again.kept.come(Lane::Control, 2).await;
        assert_eq!(came, [b"waits 1", b"waits 2"]);
        assert_eq!(*a.kept.unreachable.lock(), [to], "told once, not for each try");
        assert_eq!(a.count(|s| &s.connects), 2);
    });
}

/// Cut off after any number of bytes: what was not written goes with the next connection, nothing
/// comes twice, and the order stays.
#[test]
fn a_connection_that_is_cut_loses_at_most_what_was_under_way() {
    run(async {
        for at in [100, 1_000, 20_011, 70_003] {
            let (a, b) = peers(&small()).await;
            let way = proxy(b.address(), at, true).await;
            let mut sent = 0_u32;
            let last = u32::MAX.to_le_bytes();
            while a.kept.unreachable.lock().is_empty() {
                let _ = a.transport.send(&way, Lane::Data, &sent.to_le_bytes());
                sent += 1;
                tokio::task::yield_now().await;
            }
            until("room", || a.transport.send(&way, Lane::Data, &last).is_ok()).await;
            until("the last", || b.kept.of(Lane::Data).contains(&last.to_vec())).await;
            let came = b.kept.of(Lane::Data);
            let came: Vec<u32> =
                came.iter().map(|f| u32::from_le_bytes(f[..].try_into().unwrap())).collect();
            assert!(came.is_sorted_by(|a, b| a < b), "cut at {at}: {came:?}");
        }
    });
}

#[test]
fn whoever_is_forgotten_is_let_go_on_both_ways() {
    run(async {
        let (a, b) = peers(&small()).await;
        a.send(&b, Lane::Requests, b"1");
        b.send(&a, Lane::Requests, b"2");
        a.kept.come(Lane::Requests, 1).await;
        b.kept.come(Lane::Requests, 1).await;
        a.transport.forget(b.address());
        until("b's loss", || b.kept.unreachable.lock().len() == 1).await;
        // The way there is closed too: whoever listened there sees the connection end.
        until("b's seats", || b.transport.inner.shared.seats.is_empty()).await;
        assert!(a.kept.unreachable.lock().is_empty(), "it was our own wish");
        a.send(&b, Lane::Requests, b"3");
        b.kept.come(Lane::Requests, 2).await;
    });
}

#[test]
fn the_version_is_known_while_there_is_a_connection() {
    run(async {
        let (a, b) = peers(&small()).await;
        let version = |of: &str| a.transport.version(of, Lane::Data);
        assert_eq!(version(b.address()), 0);
        a.send(&b, Lane::Data, b"x");
        until("the newest version", || version(b.address()) == VERSIONS.1).await;
        assert_eq!(a.transport.version(b.address(), Lane::Control), 0);
        b.transport.close();
        b.transport.forget(a.address());
        until("no version", || version(b.address()) == 0).await;
        // An older one answers.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let older = listener.local_addr().unwrap().to_string();
        a.transport.send(&older, Lane::Data, b"x").unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(Hello::read(&mut stream).await.unwrap().versions, VERSIONS);
        stream.write_all(&Answer::welcome(1, 1 << 20)).await.unwrap();
        until("the older version", || version(&older) == 1).await;
    });
}

#[test]
fn a_closed_transport_takes_nothing() {
    run(async {
        let (a, b) = peers(&small()).await;
        a.transport.close();
        assert_eq!(a.transport.send(b.address(), Lane::Data, b"x"), Err(NotSent::Closed));
        let alone = start(config("c", small())).await;
        let address = alone.address().to_owned();
        drop(alone);
        start_at(&address, config("c", small())).await;
    });
}
