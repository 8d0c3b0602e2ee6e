//! Bad input, cut input, and clients that say nothing.

use isogrid_tests::harness::native::{bytes_of, error_name, hello_frame, last_error, request};
use isogrid_tests::harness::{raise_open_files, wait_until};
use isogrid_wire::native::ErrorCode::{self, *};
use isogrid_wire::native::dynamic::from_hex;
use isogrid_wire::native::preface::ClientPreface;
use serde_json::json;

use super::server;

/// Sends bytes on a new connection; all that comes back until the server closes.
fn closes(server: &isogrid_tests::harness::Server, bytes: &[u8]) -> Vec<u8> {
    let mut client = server.native_raw();
    let _ = client.try_send(bytes);
    client.rest().expect("the server closes")
}

fn hex(text: &str) -> Vec<u8> {
    from_hex(text).unwrap()
}

fn begun(more: &[u8]) -> Vec<u8> {
    [&ClientPreface::OURS.encode()[..], more].concat()
}

fn open(more: &[u8]) -> Vec<u8> {
    [&begun(&hello_frame(&json!({})))[..], more].concat()
}

#[test]
fn a_bad_preface_is_not_answered_and_a_strange_version_is() {
    let server = server(&[]);
    for bad in ["f7475258 01010000", "f7f7f7f7f7f7f7f7"] {
        assert_eq!(closes(&server, &hex(bad)), b"", "{bad}");
    }
    assert_eq!(closes(&server, &hex("f747524402090000")), hex("f747524400010100"));
}

#[test]
fn what_cannot_be_understood_ends_the_connection() {
    let server = server(&[]);
    let auth = |mech: &str| hello_frame(&json!({"auth": {"mech": mech, "data": ""}}));
    let before: [(Vec<u8>, ErrorCode); 11] = [
        (hex("0000000b 0a00 0000 00000000 00000000"), ProtocolError),
        (hex("00004011 0a00 0000 00000000 00000000"), FrameTooLarge),
        (hex("0000000c 0d00 0000 00000000 00000000"), ProtocolError),
        (hex("0000000c 0a10 0000 00000000 00000000"), ProtocolError),
        (hex("0000000c 0a01 0000 00000000 00000000"), ProtocolError),
        (hex("0000000c 0c00 0000 00000000 00000000"), ProtocolError),
        (hex("0000000e 0a00 0000 00000000 00000000 017b"), BadEncoding),
        (hex("0000000d 0700 0000 00000000 00000000 01"), BadEncoding),
        (hello_frame(&json!({"cluster": "another"})), WrongCluster),
        (auth("PLAIN"), MechUnsupported),
        (hello_frame(&json!({"client": {"instance": "me"}})), InvalidArgument),
    ];
    for (bytes, code) in before {
        let rest = closes(&server, &begun(&bytes));
        assert_eq!(last_error(&rest[8..]), Some(code), "{bytes:02x?}");
    }
    let after = [
        ("00000400 0100 0001 00000001", None),
        ("0000000c 0500 0000 00000001 00000000", Some(BadEncoding)),
        ("0000000d 0600 0000 00000001 00000000 00", Some(BadEncoding)),
        ("0010000d 0100 0001 00000001 00000000", Some(FrameTooLarge)),
    ];
    for (bytes, code) in after {
        ends(&server, &hex(bytes), code);
    }
    // It goes on for others.
    assert_eq!(server.native().call("conn.PING", 0, json!({})), json!(["OK", {}]));
}

/// Sends bytes behind the HELLO; the server closes with this code, or without when the client ends in
/// the middle of a frame.
fn ends(server: &isogrid_tests::harness::Server, bytes: &[u8], code: Option<ErrorCode>) {
    let mut client = server.native_raw();
    let _ = client.try_send(open(bytes));
    if code.is_none() {
        client.finish();
    }
    let rest = client.rest().expect("the server closes");
    assert_eq!(last_error(&rest[8..]), code, "{bytes:02x?}");
}

/// All of `misuse.json`.
#[test]
fn misuse_ends_the_connection() {
    let server = server(&[]);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol/vectors/misuse.json");
    let file = std::fs::read_to_string(file).unwrap();
    let file: serde_json::Value = serde_json::from_str(&file).unwrap();
    for vector in file["vectors"].as_array().unwrap() {
        let frames = vector["hex"].as_array().unwrap();
        let bytes: Vec<u8> = frames.iter().flat_map(|one| hex(one.as_str().unwrap())).collect();
        println!("{}", vector["name"]);
        ends(&server, &bytes, ErrorCode::find(vector["expect"]["error"].as_str().unwrap()));
    }
    assert_eq!(server.native().call("conn.PING", 0, json!({})), json!(["OK", {}]));
}

#[test]
fn a_request_before_the_hello_is_answered_and_nothing_else_suffers() {
    let server = server(&[]);
    let mut raw = server.native_raw();
    let early = bytes_of(&request("conn.PING", 0, 9, json!({}), &json!({})));
    raw.send(begun(&early));
    raw.bytes(8);
    let header = raw.bytes(16);
    assert_eq!((header[4], header[11]), (3, 9), "an ERR on stream 9");
    let len = u32::from_be_bytes(header[..4].try_into().unwrap()) as usize;
    let payload = raw.bytes(len - 12);
    assert_eq!(payload[..2], (AuthRequired as u16).to_be_bytes());
    raw.send(hello_frame(&json!({})));
    assert_eq!(raw.bytes(16)[4], 11, "a WELCOME");
}

#[test]
fn a_bad_request_is_answered_and_nothing_else_suffers() {
    let server = server(&[]);
    let mut client = server.native();
    let ping = "00000000 00000000";
    for (head, body, code) in [
        ("0100 0301", "00000000 00000001 01", "BAD_ENCODING"),
        ("0100 0009", ping, "UNSUPPORTED_OP"),
        ("0100 0701", ping, "UNSUPPORTED_OP"),
        ("0100 010b", ping, "UNSUPPORTED_OP"),
        ("0102 0001", "02 ff00 00000000 00000000", "UNSUPPORTED_EXT"),
        ("0102 0001", "0c 0300 0300 00000000 00000000", "BAD_ENCODING"),
        ("0100 0001", "00000000 00000000 00", "BAD_ENCODING"),
        ("0100 0101", "00000000 00000010 00 0000", "INVALID_ARGUMENT"),
        ("0100 0101", "00000000 00000010 8108 0000", "KEY_TOO_LARGE"),
        ("0100 0102", "00000000 00000010 016b 81808004 0000", "VALUE_TOO_LARGE"),
    ] {
        let (head, body) = (hex(head), hex(body));
        let len = u32::try_from(12 + body.len()).unwrap().to_be_bytes();
        let stream = [0, 0, 0, 7, 0, 0, 0, 0];
        client.raw.send([&len[..], &head, &stream, &body].concat());
        let frame = client.receive_any();
        assert_eq!(frame, (7, code.to_owned()), "{head:02x?} {body:02x?}");
    }
    assert_eq!(client.call("conn.PING", 0, json!({})), json!(["OK", {}]));
}

/// What cannot be read counts, on a stream and within another request as on the connection; what
/// is refused for what it asks does not.
#[test]
fn what_cannot_be_read_is_counted() {
    let server = server(&[]);
    let (mut stats, mut client) = (server.connect(), server.native());
    let cache = client.cache("default");
    let frame = |head: &str, body: &[u8]| {
        let len = u32::try_from(12 + body.len()).unwrap().to_be_bytes();
        [&len[..], &hex(head), &hex("00000007 00000000"), body].concat()
    };
    let too_large = vec![frame("0101 0102", &vec![0; 1 << 19]); 33].concat();
    let of_batch = json!({"requests": [{"op": 0x0101, "object": cache, "body": {"hex": "ff"}}]});
    let mut counted = 0;
    for (bytes, code, counts) in [
        (frame("0100 0001", &hex("00000000 00000000 00")), "BAD_ENCODING", 1),
        (frame("0102 0001", &hex("0c 0300 0300 00000000 00000000")), "BAD_ENCODING", 1),
        (too_large, "FRAME_TOO_LARGE", 1),
        (frame("0100 0009", &hex("00000000 00000000")), "UNSUPPORTED_OP", 0),
        (frame("0100 0101", &hex("00000000 00000010 00 0000")), "INVALID_ARGUMENT", 0),
    ] {
        client.raw.send(bytes);
        assert_eq!(client.receive_any(), (7, code.to_owned()));
        // The message that was refused comes to its end.
        if code == "FRAME_TOO_LARGE" {
            client.raw.send(frame("0100 0102", b""));
        }
        counted += counts;
        wait_until(code, || stats.stat("protocol_errors") == counted);
    }
    let events = json!({"CREATE": true});
    let listen =
        json!({"events": events, "read": {}, "glob": null, "flags": {}, "credit": u32::MAX});
    let stream = client.ask("cache.LISTEN", cache, listen);
    client.credit(stream, 1);
    assert_eq!(client.answer(stream), json!(["ERR", "OUT_OF_RANGE"]));
    wait_until("too much credit", || stats.stat("protocol_errors") == counted + 1);
    let _ = client.call("batch.BATCH", 0, of_batch);
    wait_until("one in a batch", || stats.stat("protocol_errors") == counted + 2);
}

#[test]
fn a_stream_that_is_open_cannot_be_opened() {
    let server = server(&[]);
    let mut client = server.native();
    let cache = client.cache("default");
    let listen =
        json!({"events": {"CREATE": true}, "read": {}, "glob": null, "flags": {}, "credit": 1});
    let stream = client.ask("cache.LISTEN", cache, listen);
    let again = request("conn.PING", 0, stream, json!({}), &json!({}));
    client.send(&again);
    let frame = client.receive();
    assert_eq!((error_name(&frame), &frame["stream"]), ("STREAM_IN_USE", &json!(0)));
    client.raw.closed();
}

#[test]
fn input_may_be_cut_anywhere() {
    let server = server(&[]);
    let mut client = server.native();
    let cache = client.cache("default");
    let put = json!({"key": "k", "value": "some value", "write": {}});
    let get = json!({"key": "k", "read": {"VALUE": true}});
    let all = [
        open(&[]),
        bytes_of(&request("cache.PUT", cache, 1, put, &json!({}))),
        bytes_of(&request("cache.GET", cache, 2, get, &json!({}))),
        bytes_of(&json!({"type": "PING", "stream": 0, "epoch": 0, "payload": {"opaque": "77"}})),
    ]
    .concat();
    for cut in 1..all.len() {
        let mut raw = server.native_raw();
        raw.send(&all[..cut]);
        // Two writes that are two reads: the answer to what was sent is awaited in between.
        if cut >= 8 {
            raw.bytes(8);
        }
        raw.send(&all[cut..]);
        raw.finish();
        let rest = raw.rest().expect("the server closes");
        assert_eq!(rest.last(), Some(&77), "cut at {cut}");
        assert!(rest.windows(10).any(|bytes| bytes == b"some value"), "cut at {cut}");
    }
}

#[test]
fn a_client_that_does_not_shake_hands_is_closed() {
    let server = server(&["--set", "limits.handshake_timeout=100ms"]);
    for (said, code) in [(vec![], None), (hex("f747"), None), (begun(&[]), Some(HandshakeTimeout))]
    {
        let rest = closes(&server, &said);
        assert_eq!(last_error(rest.get(8..).unwrap_or_default()), code, "{said:02x?}");
    }
}

/// SECURITY S7.9: a thousand clients announce frames as long as may be, and send 24 bytes of each.
#[test]
fn lengths_that_are_announced_and_never_sent_take_no_memory() {
    raise_open_files();
    let server = server(&["--set", "limits.max_connections_per_address=2000"]);
    let begun = open(&hex("00100000 0100 0102 00000001 00000000 00000000 00000010"));
    let before = server.resident_kib();
    let clients: Vec<_> = (0..1_000)
        .map(|_| {
            let mut client = server.native_raw();
            client.send(&begun);
            client
        })
        .collect();
    assert_eq!(server.native().call("conn.PING", 0, json!({})), json!(["OK", {}]));
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown <= 64 << 10, "{grown} KiB for 1,000 connections that announced 1 MiB each");
    drop(clients);
}

#[test]
fn noise_breaks_nothing() {
    let server = server(&[]);
    let mut state = 7u64;
    for _ in 0..200 {
        let mut noise = Vec::new();
        for _ in 0..64 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            noise.push(u8::try_from(state >> 56).unwrap());
        }
        let mut client = server.native_raw();
        let _ = client.try_send(open(&noise));
        client.finish();
        client.rest().expect("the server closes");
    }
    let mut client = server.native();
    assert_eq!(client.call("conn.PING", 0, json!({})), json!(["OK", {}]));
}
