//! The codec of GNP allocates nothing for a get and a put, and for whatever else is sent never
//! more than a scrap: a frame cannot make the server set memory aside by what it says.

use std::fs;

use isogrid_tests::tidy::root;
use isogrid_wire::Output;
use isogrid_wire::native::cache::{Get, GetReply, Put, PutReply};
use isogrid_wire::native::dynamic::from_hex;
use isogrid_wire::native::{
    Answer, Call, Entry, Frame, Header, Key, Kind, Limits, Ms, Prelude, ReadOptions, ReplyExt,
    Request, RequestFrame, Value, WriteOptions, put_reply, reply_ext,
};

use super::allocations;

/// What checking a JSON document may need, in calls of the allocator.
const JSON_ALLOCATIONS_MAX: u64 = 8;

fn request<T: for<'a> Fn(&Prelude<'a>, Header, &mut Output)>(op: u16, put: T, out: &mut Output) {
    let prelude = Prelude { timeout_ms: 250, object: 42, ..Prelude::default() };
    put(&prelude, Header::new(Kind::Req, op, 1, 7), out);
}

fn decode(bytes: &[u8], limits: &Limits) -> bool {
    let Ok(Some(frame)) = Frame::decode(bytes, limits) else { return false };
    match frame.header.kind {
        Kind::Req => RequestFrame::decode(&frame, limits)
            .is_ok_and(|request| Request::decode(frame.header.op, request.body).is_ok()),
        _ => reply_ext(&frame, limits).is_ok(),
    }
}

#[test]
fn a_get_and_a_put_allocate_nothing() {
    let limits = Limits::default();
    let value = Value::Inline(b"hello");
    let read = ReadOptions { switches: ReadOptions::VALUE, ..ReadOptions::default() };
    let write = WriteOptions { ttl: Some(Ms(60_000)), expect: Some(17), ..WriteOptions::default() };
    let get = Get { key: Key(b"user:1234"), read };
    let put = Put { key: Key(b"user:1234"), value, write };
    // Room for all of it is made beforehand, as in a connection's output.
    let mut out = Output::new();
    out.put(b"x");
    out.clear();
    let before = allocations();
    request(Get::CODE, |prelude, header, out| prelude.put_request(header, &get, out), &mut out);
    assert!(decode(out.contiguous().unwrap(), &limits), "a get");
    out.clear();
    request(Put::CODE, |prelude, header, out| prelude.put_request(header, &put, out), &mut out);
    assert!(decode(out.contiguous().unwrap(), &limits), "a put");
    out.clear();
    let entry = Entry { value: Some(value), version: Some(17), ..Entry::default() };
    let header = Header::new(Kind::Res, Get::CODE, 1, 7);
    put_reply(header, &ReplyExt::default(), &GetReply::Ok { entry }, &mut out);
    let frame = Frame::decode(out.contiguous().unwrap(), &limits).unwrap().unwrap();
    let (_, body) = reply_ext(&frame, &limits).unwrap();
    assert_eq!(GetReply::decode_all(body), Ok(GetReply::Ok { entry }));
    out.clear();
    let stored = PutReply::Ok { version: 18, prev: None };
    put_reply(header, &ReplyExt::default(), &stored, &mut out);
    assert_eq!(allocations(), before, "allocations of gets and puts");
}

#[test]
fn no_frame_makes_the_decoder_allocate() {
    let limits = Limits::default();
    let folder = root().join("docs/protocol/vectors");
    let mut looked_at = 0;
    for file in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        let file: serde_json::Value = serde_json::from_str(&text).unwrap();
        for vector in file["vectors"].as_array().unwrap() {
            let Some(bytes) = vector["hex"].as_str().and_then(from_hex) else { continue };
            let may = if bytes.contains(&b'{') { JSON_ALLOCATIONS_MAX } else { 0 };
            let before = allocations();
            decode(&bytes, &limits);
            let made = allocations() - before;
            assert!(made <= may, "{made} allocations for {vector}");
            looked_at += 1;
        }
    }
    assert!(looked_at > 300);
}
