use super::*;
use crate::native::frame::{Header, Kind};

#[test]
fn a_stream_is_used_once_at_a_time() {
    let mut streams = Streams::new(2);
    assert_eq!(streams.open(0, None), Err(ErrorCode::ProtocolError));
    assert_eq!(streams.open(1, None), Ok(()));
    assert_eq!(streams.open(1, None), Err(ErrorCode::StreamInUse));
    assert_eq!(streams.open(9, Some(3)), Ok(()));
    assert_eq!(streams.open(2, None), Err(ErrorCode::TooManyStreams));
    assert_eq!(streams.check(9), Err(ErrorCode::StreamInUse));
    assert!(streams.finish(1));
    assert_eq!(streams.open(1, None), Ok(()), "its id is free behind its terminal frame");
    assert_eq!(streams.finish_all().collect::<Vec<_>>(), [1, 9]);
    assert!(streams.is_empty());
}

#[test]
fn no_item_goes_without_credit() {
    let mut streams = Streams::new(9);
    streams.open(1, Some(3)).unwrap();
    streams.open(2, None).unwrap();
    assert_eq!((streams.take(1, 2), streams.take(1, 2), streams.take(1, 2)), (2, 1, 0));
    assert_eq!(streams.credit(1, 5), Ok(()));
    assert_eq!((streams.available(1), streams.take(2, 1), streams.take(7, 1)), (5, 0, 0));
    assert_eq!(streams.credit(1, u32::MAX), Err(ErrorCode::OutOfRange));
    assert_eq!(streams.available(1), 5, "what overflows adds nothing");
    assert_eq!(streams.credit(1, u32::MAX - 5), Ok(()));
    assert_eq!(streams.credit(7, 1), Ok(()), "it may have crossed the terminal frame");
    assert_eq!(streams.credit(2, 1), Ok(()));
    assert_eq!(streams.available(2), 0);
    assert_eq!(streams.credit(0, 1), Err(ErrorCode::ProtocolError));
}

#[test]
fn a_stream_ends_once_however_often_it_is_cancelled() {
    let mut streams = Streams::new(9);
    streams.open(1, None).unwrap();
    assert_eq!(streams.cancel(1), Cancel::Stop);
    assert_eq!(streams.cancel(1), Cancel::Ignore);
    assert!(streams.finish(1), "who comes first");
    assert!(!streams.finish(1), "who comes second");
    assert_eq!(streams.cancel(1), Cancel::Ignore);
    assert_eq!(streams.cancel(0), Cancel::Ignore);
}

#[test]
fn a_client_notices_what_a_server_may_not_do() {
    let mut streams = ClientStreams::new(2);
    let scan = streams.open(0x0120, 2, "scan").unwrap();
    let get = streams.open(0x0101, 0, "get").unwrap();
    assert_eq!(streams.open(0x0101, 0, "third"), None);
    let header = |kind, op, stream| Header::new(kind, op, stream, 0);
    let broken = Err(ErrorCode::ProtocolError);
    assert_eq!(streams.receive(&header(Kind::Item, 0x0101, get), 1), broken, "no credit");
    assert_eq!(streams.receive(&header(Kind::Res, 0x0102, get), 0), broken, "another operation");
    assert_eq!(streams.receive(&header(Kind::Res, 0x0101, 77), 0), broken, "not open");
    let mut kept = "scan";
    let items = Ok(Received::Items(&mut kept));
    assert_eq!(streams.receive(&header(Kind::Item, 0x0120, scan), 2), items);
    assert_eq!(streams.receive(&header(Kind::Item, 0x0120, scan), 1), broken, "credit is used up");
    assert!(streams.grant(scan, 1) && !streams.grant(scan, u32::MAX) && !streams.grant(77, 1));
    assert_eq!(streams.receive(&header(Kind::Err, 0x0101, get), 0), Ok(Received::Ended("get")));
    assert_eq!(streams.receive(&header(Kind::Err, 0x0101, get), 0), broken, "ended twice");
    assert!(streams.open(0x0101, 0, "next").unwrap() != get, "ids are taken in turn");
    assert_eq!(streams.end_all().collect::<Vec<_>>(), ["scan", "next"]);
}
