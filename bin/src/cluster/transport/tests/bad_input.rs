//! Whatever comes to a peer's port: it is refused by name, and the peers go on.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::handshake::{Answer, Hello, NO_PEER};
use super::super::{Bounds, Lane, frame};
use super::fixture::{PATIENCE, Peer, config, peers, proxy, run, say, small, start, until};

fn hello(cluster: &str) -> Hello {
    let address = "127.0.0.1:1".to_owned();
    Hello { versions: (1, 1), lane: 1, cluster: cluster.to_owned(), address }
}

/// The peers still hear each other.
async fn undisturbed(a: &Peer, b: &Peer) {
    let came = b.kept.of(Lane::Control).len();
    a.send(b, Lane::Control, b"still there");
    b.kept.come(Lane::Control, came + 1).await;
    assert_eq!(a.count(|s| &s.connects), 1, "over the connection that it always was");
}

#[test]
fn who_is_no_peer_is_told_so() {
    run(async {
        let (a, b) = peers(&small()).await;
        undisturbed(&a, &b).await;
        for (refused, bytes) in [
            (1, &b"get a\r\n"[..]),
            (2, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
            (3, b"\x80\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            (4, &[0xff; 50_000]),
            (5, b"quit\r\n"),
        ] {
            assert_eq!(say(b.address(), bytes).await, NO_PEER, "{refused}");
            assert_eq!(b.count(|s| &s.refused), refused);
        }
        for (refused, bytes) in
            [(6, &b"\x16\x03\x01\x02\x00\x01"[..]), (7, b"ISOPEER\n\xff\xff\xff\xff....")]
        {
            assert_eq!(say(b.address(), bytes).await, b"", "{refused}");
            assert_eq!(b.count(|s| &s.refused), refused);
        }
        undisturbed(&a, &b).await;
    });
}

#[test]
fn a_peer_that_does_not_fit_hears_why() {
    run(async {
        let (a, b) = peers(&small()).await;
        undisturbed(&a, &b).await;
        for (hello, why) in [
            (hello("d"), "this is cluster \"c\", and \"d\" is another one"),
            (
                Hello { versions: (3, 4), ..hello("c") },
                "versions 1 to 2 are spoken here, 3 to 4 there",
            ),
            (Hello { lane: 4, ..hello("c") }, "there is no lane 4 here"),
        ] {
            let answer = say(b.address(), &hello.encode()).await;
            let answer = Answer::read(&mut &answer[..]).await.unwrap();
            assert_eq!(answer, Answer::Refused(why.to_owned()));
        }
        assert_eq!(b.count(|s| &s.refused), 3);
        undisturbed(&a, &b).await;
    });
}

/// A whole process of another cluster: it is told that it reaches nobody, and nothing comes.
#[test]
fn clusters_do_not_mix() {
    run(async {
        let (a, b) = peers(&small()).await;
        let stranger = start(config("d", small())).await;
        for lane in Lane::ALL {
            stranger.send(&b, lane, b"frame of another cluster");
        }
        until("refusals", || b.count(|s| &s.refused) >= 6).await;
        until("its losses", || stranger.kept.unreachable.lock().len() == 3).await;
        undisturbed(&a, &b).await;
        assert!(b.kept.frames.lock().iter().all(|(_, from, _)| from == a.address()));
        assert_eq!(stranger.count(|s| &s.connects), 0);
    });
}

/// A peer's address is that of something else.
#[test]
fn whoever_answers_something_else_is_no_peer() {
    run(async {
        let a = start(config("c", small())).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        a.transport.send(&address, Lane::Data, b"x").unwrap();
        for _ in 0..3 {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"ERROR\r\n").await.unwrap();
        }
        assert_eq!(*a.kept.unreachable.lock(), [address]);
        assert_eq!(a.count(|s| &s.connects), 0);
    });
}

/// Whatever byte is changed on its way, no sink is given anything else than what was sent, and the
/// sender connects again.
#[test]
fn a_changed_byte_ends_the_connection_and_no_more() {
    run(async {
        let frames: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![n; usize::from(n) + 1]).collect();
        // The hello has 41 bytes or some more; what follows are headers, payloads, signs of life.
        for at in [3, 9, 20, 60, 77, 100, 200, 201, 202, 203, 204, 205, 206, 207, 208, 209, 210] {
            let (a, b) = peers(&small()).await;
            let way = proxy(b.address(), at, false).await;
            for frame in &frames {
                a.transport.send(&way, Lane::Data, frame).unwrap();
            }
            until("the loss", || !a.kept.unreachable.lock().is_empty()).await;
            let last = b"last".to_vec();
            a.transport.send(&way, Lane::Data, &last).unwrap();
            until("the last", || b.kept.of(Lane::Data).contains(&last)).await;
            let came = b.kept.of(Lane::Data);
            let mut sent = frames.iter().chain([&last]);
            assert!(came.iter().all(|f| sent.any(|s| s == f)), "byte {at}: {came:?}");
            let bad = b.count(|s| &s.damaged) + b.count(|s| &s.refused);
            assert_eq!(bad, 1, "byte {at}");
        }
    });
}

/// Frames from the future: a length that no frame has here.
#[test]
fn a_frame_that_is_too_long_ends_the_connection_before_it_comes() {
    run(async {
        let (_, b) = peers(&Bounds { frame_len_max: 1_000, ..small() }).await;
        let mut bytes = hello("c").encode();
        bytes.extend(frame::header(&[1; 1_000]));
        bytes.extend([1; 1_000]);
        bytes.extend(frame::header(&[2; 1_001]));
        say(b.address(), &bytes).await;
        assert_eq!(b.kept.of(Lane::Control), [vec![1; 1_000]]);
        assert_eq!(b.count(|s| &s.damaged), 1);
    });
}

/// Connections that say nothing make room for newer ones, and go by themselves.
#[test]
fn who_says_nothing_keeps_nobody_out() {
    run(async {
        let handshake_timeout = 10 * PATIENCE;
        let bounds = Bounds { handshakes_max: 3, handshake_timeout, ..small() };
        let (a, b) = peers(&bounds).await;
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(tokio::net::TcpStream::connect(b.address()).await.unwrap());
        }
        a.send(&b, Lane::Control, b"1");
        b.kept.come(Lane::Control, 1).await;
        let mut first = silent.swap_remove(0);
        let read = first.read(&mut [0; 1]).await;
        assert!(matches!(read, Ok(0) | Err(_)), "the oldest is closed");

        let bounds = Bounds { handshake_timeout: Duration::from_millis(10), ..small() };
        let b = start(config("c", bounds)).await;
        assert_eq!(say(b.address(), b"ISOPEER").await, b"");
        until("the count", || b.count(|s| &s.refused) == 1).await;
    });
}

/// A second connection of the same peer on the same lane takes the place of the first.
#[test]
fn a_peer_has_one_connection_a_lane() {
    run(async {
        let silence_max = 10 * PATIENCE;
        let bounds = Bounds { connections_max: 1, silence_max, ..small() };
        let b = start(config("c", bounds)).await;
        let kept = Arc::clone(&b.kept);
        let (mut answers, mut streams) = (Vec::new(), Vec::new());
        for hello in [hello("c"), hello("c"), Hello { lane: 2, ..hello("c") }] {
            let mut stream = tokio::net::TcpStream::connect(b.address()).await.unwrap();
            let mut bytes = hello.encode();
            bytes.extend([&frame::header(b"x")[..], b"x"].concat());
            stream.write_all(&bytes).await.unwrap();
            answers.push(Answer::read(&mut stream).await.unwrap());
            streams.push(stream);
            kept.come(Lane::Control, answers.len().min(2)).await;
        }
        let welcome = Answer::Welcome { version: 1, window: 4 << 20 };
        let refused = Answer::Refused("too many connections of peers".to_owned());
        assert_eq!(answers, [welcome.clone(), welcome, refused]);
        let read = streams[0].read(&mut [0; 1]).await;
        assert!(matches!(read, Ok(0) | Err(_)), "the first is closed");
    });
}

/// A connection that takes another's place is not answered while the sink still has the other's
/// frames: otherwise newer ones could come before them.
#[test]
fn the_newer_connection_waits_for_the_older_one() {
    run(async {
        let b = start(config("c", small())).await;
        b.kept.hold(Some(Lane::Control));
        let mut older = tokio::net::TcpStream::connect(b.address()).await.unwrap();
        older.write_all(&hello("c").encode()).await.unwrap();
        Answer::read(&mut older).await.unwrap();
        older.write_all(&[&frame::header(b"old")[..], b"old"].concat()).await.unwrap();
        until("the sink is busy", || b.kept.is_holding()).await;
        let mut newer = tokio::net::TcpStream::connect(b.address()).await.unwrap();
        newer.write_all(&hello("c").encode()).await.unwrap();
        let mut first = [0; 1];
        let early = tokio::time::timeout(Duration::from_millis(200), newer.read(&mut first)).await;
        assert!(early.is_err(), "answered: {early:?}");
        b.kept.hold(None);
        newer.read_exact(&mut first).await.unwrap();
        assert_eq!(b.kept.of(Lane::Control), [b"old"]);
    });
}
