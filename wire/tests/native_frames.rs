//! Frames against the bytes of the draft: written out by hand, so that the codec is not its own
//! judge.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

use isogrid_wire::native::cache::{Get, GetReply, Put, PutReply};
use isogrid_wire::native::{
    Answer, Call, Entry, ErrorCode, Frame, FrameError, Header, Key, Kind, Limits, Malformed, Ms,
    Prelude, ReadOptions, ReplyExt, Request, RequestFrame, Value, WriteOptions, cache, put_reply,
    reply_ext,
};

fn bytes(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn frame(input: &[u8]) -> Frame<'_> {
    Frame::decode(input, &Limits::default()).unwrap().unwrap()
}

fn refused(hex: &str) -> ErrorCode {
    let input = bytes(hex);
    match Frame::decode(&input, &Limits::default()) {
        Err(error) => error.code(),
        Ok(frame) => {
            let frame = frame.unwrap();
            let request = RequestFrame::decode(&frame, &Limits::default());
            match request {
                Err(malformed) => malformed.code(),
                Ok(request) => Request::decode(frame.header.op, request.body).unwrap_err().code(),
            }
        }
    }
}

#[test]
fn a_get_is_what_the_draft_says() {
    let hex = "00000019 01 00 0101 00000001 00000007 00000000 0000002a 026b31 0003";
    let read = ReadOptions {
        switches: ReadOptions::VALUE | ReadOptions::VERSION,
        ..ReadOptions::default()
    };
    let get = Get { key: Key(b"k1"), read };
    let prelude = Prelude { object: 42, ..Prelude::default() };
    let mut out = Vec::new();
    prelude.put_request(Header::new(Kind::Req, Get::CODE, 1, 7), &get, &mut out);
    assert_eq!(out, bytes(hex));
    let frame = frame(&out);
    let request = RequestFrame::decode(&frame, &Limits::default()).unwrap();
    assert_eq!((request.object, request.timeout_ms), (42, 0));
    let decoded = Request::decode(frame.header.op, request.body).unwrap();
    assert_eq!(decoded, Request::Cache(cache::Request::Get(get)));
}

#[test]
fn a_hit_and_a_mismatch_are_what_the_draft_says() {
    let hit = "0000001c 02 00 0101 00000001 00000007 00 03 05 68656c6c6f 0000000000000011";
    let entry =
        Entry { value: Some(Value::Inline(b"hello")), version: Some(17), ..Entry::default() };
    let mut out = Vec::new();
    let header = Header::new(Kind::Res, Get::CODE, 1, 7);
    put_reply(header, &ReplyExt::default(), &GetReply::Ok { entry }, &mut out);
    assert_eq!(out, bytes(hit));
    let frame = frame(&out);
    let (_, body) = reply_ext(&frame, &Limits::default()).unwrap();
    assert_eq!(GetReply::decode_all(body), Ok(GetReply::Ok { entry }));
    let mismatch = "00000016 02 00 0102 00000002 00000008 03 0000000000000013 00";
    let mut out = Vec::new();
    let header = Header::new(Kind::Res, Put::CODE, 2, 8);
    let reply = PutReply::VersionMismatch { version: 19, prev: None };
    put_reply(header, &ReplyExt::default(), &reply, &mut out);
    assert_eq!(out, bytes(mismatch));
}

#[test]
fn a_put_is_what_the_draft_says() {
    let hex = "00000027 01 00 0102 00000002 00000007 000000fa 0000002a 026b31 027632 0009 e0d403
        0000000000000011";
    let write = WriteOptions { ttl: Some(Ms(60_000)), expect: Some(17), ..WriteOptions::default() };
    let put = Put { key: Key(b"k1"), value: Value::Inline(b"v2"), write };
    let prelude = Prelude { timeout_ms: 250, object: 42, ..Prelude::default() };
    let mut out = Vec::new();
    prelude.put_request(Header::new(Kind::Req, Put::CODE, 2, 7), &put, &mut out);
    assert_eq!(out, bytes(hex));
}

#[test]
fn extensions_are_what_the_draft_says() {
    let hex = "00000040 01 02 0102 00000003 00000008 26
        01 1a 00 000102030405060708090a0b0c0d0e0f 0001020304050607 01
        02 08 0000000000000063 00000000 0000002a 016b 00 0000";
    let input = bytes(hex);
    let request = RequestFrame::decode(&frame(&input), &Limits::default()).unwrap();
    assert_eq!(request.ext.idem, Some(99));
    let prelude = Prelude { ext: request.ext, timeout_ms: 0, object: 42 };
    let put = Put { key: Key(b"k"), value: Value::Inline(b""), write: WriteOptions::default() };
    let mut out = Vec::new();
    prelude.put_request(Header::new(Kind::Req, Put::CODE, 3, 8), &put, &mut out);
    assert_eq!(out, input);
    let unknown = "0000001d 01 02 0101 00000007 00000000 04 6e 02 7a7a 00000000 0000002a 016b 0001";
    let input = bytes(unknown);
    let request = RequestFrame::decode(&frame(&input), &Limits::default()).unwrap();
    assert!(request.ext.is_empty(), "a tag below 0x80 that is not known is ignored");
}

#[test]
fn what_must_be_refused_is() {
    for (hex, code) in [
        ("0000000b 01 01010101010101010101 00000000 00", ErrorCode::ProtocolError),
        ("00000018 01 80 0101 00000001 00000000", ErrorCode::ProtocolError),
        ("00000018 0d 00 0101 00000001 00000000", ErrorCode::ProtocolError),
        ("00000018 00 00 0101 00000001 00000000", ErrorCode::ProtocolError),
        ("0010000d 01 00 0101 00000001 00000000", ErrorCode::FrameTooLarge),
        (
            "0000001b 01 02 0101 00000006 00000000 02 ee00 00000000 0000002a 016b 0001",
            ErrorCode::UnsupportedExt,
        ),
        ("00000017 01 00 0110 0000000c 00000000 00000000 0000002a c0843d", ErrorCode::BadEncoding),
        (
            "00000017 01 00 0101 00000001 00000000 00000000 0000002a 00 0000",
            ErrorCode::InvalidArgument,
        ),
        ("00000014 01 00 010b 00000001 00000000 00000000 0000002a", ErrorCode::UnsupportedOp),
        (
            "00000019 01 00 0101 00000001 00000000 00000000 0000002a 016b 0001 ff",
            ErrorCode::BadEncoding,
        ),
    ] {
        assert_eq!(refused(hex), code, "{hex}");
    }
    let huge = bytes("ffffffff 01 00 0101 00000001 00000000");
    assert_eq!(Frame::decode(&huge, &Limits::default()), Err(FrameError::TooLarge));
    assert_eq!(Malformed::KeyTooLarge.code(), ErrorCode::KeyTooLarge);
}
