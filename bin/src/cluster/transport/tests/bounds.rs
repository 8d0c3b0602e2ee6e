//! Credit, queues, and peers that are there without living.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::frame::{HEADER_LEN, KEEP_ALIVE};
use super::super::handshake::{Answer, Hello};
use super::super::{Bounds, Lane, NotSent};
use super::fixture::{config, peers, run, small, start, until};

const WINDOW: u32 = 40_000;
/// A frame of this many bytes takes 1,000.
const LEN: usize = 988;

/// A sink that is held up gets as much as its window, whatever the sockets would take, and every
/// other lane goes on.
#[test]
fn credit_stops_data_and_control_passes() {
    run(async {
        let (a, b) = peers(&Bounds { window: WINDOW, ..small() }).await;
        b.kept.hold(Some(Lane::Data));
        for n in 0..200_u8 {
            a.send(&b, Lane::Data, &[n; LEN]);
        }
        until("the window", || a.count(|s| &s.lane(Lane::Data).bytes_sent) >= 40_000).await;
        for n in 0..40_u8 {
            a.send(&b, Lane::Control, &[n]);
            b.kept.come(Lane::Control, usize::from(n) + 1).await;
        }
        assert_eq!(a.count(|s| &s.lane(Lane::Data).bytes_sent), 40_000);
        assert_eq!(b.kept.of(Lane::Data).len(), 0);
        b.kept.hold(None);
        let came = b.kept.come(Lane::Data, 200).await;
        assert!((0..200_u8).zip(&came).all(|(n, frame)| *frame == [n; LEN]));
    });
}

/// One that is longer than the window goes when nearly nothing else is under way.
#[test]
fn frames_that_are_longer_than_the_window_go_too() {
    run(async {
        for window in [0, 1, 100, WINDOW] {
            let (a, b) = peers(&Bounds { window, ..small() }).await;
            let frames: Vec<Vec<u8>> =
                (0..12).map(|n| vec![n; [30, 100_000][usize::from(n % 2)]]).collect();
            for frame in &frames {
                a.send(&b, Lane::Requests, frame);
            }
            assert!(b.kept.come(Lane::Requests, 12).await == frames, "window {window}");
        }
    });
}

#[test]
fn what_waits_is_bounded_and_the_newest_of_control_is_kept() {
    run(async {
        let bounds = Bounds {
            queue_len_max: 10_000,
            control_waiting_max: 5_000,
            frame_len_max: 20_000,
            ..small()
        };
        let (a, b) = peers(&bounds).await;
        let gone = b.address().to_owned();
        b.transport.close();
        let send = |lane, n: u8| a.transport.send(&gone, lane, &[n; LEN]);
        for lane in [Lane::Data, Lane::Requests] {
            let sent: Vec<_> = (0..12).map(|n| send(lane, n)).collect();
            assert_eq!(sent[..10], [Ok(()); 10], "{lane:?}");
            assert_eq!(sent[10..], [Err(NotSent::Full); 2], "{lane:?}");
            assert_eq!(a.transport.send(&gone, lane, &[0; 20_001]), Err(NotSent::TooLong));
        }
        for n in 0..12 {
            assert_eq!(send(Lane::Control, n), Ok(()));
        }
        assert_eq!(a.count(|s| &s.dropped), 7);
        let address = gone.clone();
        let again = super::super::TransportConfig { address, ..config("c", bounds) };
        let again = super::fixture::start_at(&gone, again).await;
        let firsts = |frames: Vec<Vec<u8>>| frames.iter().map(|f| f[0]).collect::<Vec<_>>();
        assert_eq!(firsts(again.kept.come(Lane::Control, 5).await), [7, 8, 9, 10, 11]);
        assert_eq!(firsts(again.kept.come(Lane::Data, 10).await), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    });
}

/// A peer that was greeted and then says nothing: its connection is given up on.
#[test]
fn a_sender_that_is_not_heard_is_let_go() {
    run(async {
        let silence_max = Duration::from_millis(50);
        let b = start(config("c", Bounds { silence_max, ..small() })).await;
        let mut stream = tokio::net::TcpStream::connect(b.address()).await.unwrap();
        let address = "127.0.0.1:1".to_owned();
        let hello = Hello { versions: (1, 1), lane: 1, cluster: "c".to_owned(), address };
        stream.write_all(&hello.encode()).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        assert!(matches!(Answer::read(&mut &rest[..]).await, Ok(Answer::Welcome { .. })));
    });
}

/// A peer that takes what comes and never answers, whether there is something to send or not.
#[test]
fn a_receiver_that_does_not_answer_is_given_up() {
    run(async {
        let silence_max = Duration::from_millis(50);
        let a = start(config("c", Bounds { silence_max, ..small() })).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        a.transport.send(&address, Lane::Data, b"x").unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        Hello::read(&mut stream).await.unwrap();
        stream.write_all(&Answer::welcome(1, 1_000)).await.unwrap();
        until("the loss", || a.kept.unreachable.lock().len() == 1).await;
        assert_eq!(a.count(|s| &s.lane(Lane::Data).frames_sent), 1);
    });
}

/// A link that has nothing to send says so again and again, and is answered.
#[test]
fn an_idle_connection_shows_that_it_lives() {
    run(async {
        let a = start(config("c", small())).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        a.transport.send(&address, Lane::Data, b"x").unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let hello = Hello::read(&mut stream).await.unwrap();
        stream.write_all(&Answer::welcome(1, 1_000)).await.unwrap();
        let mut came = [0; 5 * HEADER_LEN + 1];
        stream.read_exact(&mut came).await.unwrap();
        assert_eq!(came[13..], KEEP_ALIVE.repeat(4));

        let mut stream = tokio::net::TcpStream::connect(a.address()).await.unwrap();
        stream.write_all(&hello.encode()).await.unwrap();
        Answer::read(&mut stream).await.unwrap();
        for _ in 0..3 {
            let mut grant = [1; 4];
            stream.write_all(&KEEP_ALIVE).await.unwrap();
            stream.read_exact(&mut grant).await.unwrap();
            assert_eq!(grant, [0; 4]);
        }
    });
}
