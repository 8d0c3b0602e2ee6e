//! The vectors in `docs/protocol/vectors`, both ways, by the types and by the schema, and cut at
//! every byte. `cargo run -p isogrid-tests --bin protocol` writes them; that they are what the
//! declarations say is checked in `tests/tests/generated.rs`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

#[path = "common/by_types.rs"]
mod by_types;

use std::fs;
use std::path::Path;

use by_types::by_types;
use isogrid_wire::native::dynamic::{decode, decode_frame, encode, encode_frame, from_hex, to_hex};
use isogrid_wire::native::preface::{ClientPreface, NotGnp, ServerPreface};
use isogrid_wire::native::schema::Type;
use isogrid_wire::native::{
    Assembled, ErrorCode, Frame, Header, Limits, Reader, Reassembly, handshake,
};
use serde_json::{Value, json};

fn read(name: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol/vectors");
    let text = fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let vectors = file["vectors"].as_array().unwrap().clone();
    assert!(!vectors.is_empty(), "{name}");
    vectors
}

/// All files of whole frames, as (file and vector, vector).
fn whole_frames() -> Vec<(String, Value)> {
    let groups = ["conn", "cache", "tx", "counter", "lease", "catalog", "admin", "batch"];
    let files = groups.map(|group| format!("group-{group}"));
    let files = files.iter().map(String::as_str).chain(["errors", "control", "ext"]);
    files
        .flat_map(|file| read(file).into_iter().map(move |v| (format!("{file}: {}", v["name"]), v)))
        .collect()
}

fn hex(vector: &Value) -> Vec<u8> {
    from_hex(vector["hex"].as_str().unwrap()).unwrap()
}

#[test]
fn frames_are_what_they_say_both_ways() {
    let limits = Limits::default();
    for (name, vector) in whole_frames() {
        let bytes = hex(&vector);
        let frame = Frame::decode(&bytes, &limits).unwrap().unwrap();
        assert_eq!(frame.encoded_len(), bytes.len(), "{name}");
        assert_eq!(decode_frame(&frame, &limits).unwrap(), vector["decoded"], "{name}");
        assert_eq!(by_types(&frame, &limits).as_ref(), Ok(&bytes), "{name}: by the types");
        let mut encoded = Vec::new();
        encode_frame(&vector["decoded"], &mut encoded).unwrap();
        assert_eq!(encoded, bytes, "{name}: from JSON");
    }
}

#[test]
fn a_part_of_a_frame_is_no_frame() {
    let limits = Limits::default();
    for (name, vector) in whole_frames() {
        let bytes = hex(&vector);
        for len in 0..bytes.len() {
            let part = &bytes[..len];
            assert_eq!(Frame::decode(part, &limits), Ok(None), "{name}: {len} bytes");
            let needed = Frame::needed(part);
            assert!(len < needed && needed <= bytes.len(), "{name}: {len} bytes");
        }
        let longer = [bytes.as_slice(), b"\xff\xff"].concat();
        let frame = Frame::decode(&longer, &limits).unwrap().unwrap();
        assert_eq!(frame.encoded_len(), bytes.len(), "{name}");
    }
}

/// A body that is cut short is refused, wherever the cut is; so is one with a byte too many.
#[test]
fn a_part_of_a_payload_is_no_payload() {
    let limits = Limits::default();
    for (name, vector) in whole_frames() {
        let bytes = hex(&vector);
        let frame = Frame::decode(&bytes, &limits).unwrap().unwrap();
        for len in 0..frame.payload.len() {
            let cut = Frame { payload: &frame.payload[..len], ..frame };
            assert!(by_types(&cut, &limits).is_err(), "{name}: {len} bytes, by the types");
            assert!(decode_frame(&cut, &limits).is_err(), "{name}: {len} bytes");
        }
        let longer = [frame.payload, b"\0"].concat();
        let longer = Frame { payload: &longer, ..frame };
        assert!(by_types(&longer, &limits).is_err(), "{name}: a byte too many");
    }
}

#[test]
fn primitives_are_what_they_say_both_ways() {
    for vector in read("primitives") {
        let kind = match vector["type"].as_str().unwrap() {
            "u8" => Type::U8,
            "u16" => Type::U16,
            "u32" => Type::U32,
            "u64" => Type::U64,
            "i64" => Type::I64,
            "bool" => Type::Bool,
            "varint" => Type::Varint,
            "ms" => Type::Ms,
            "bytes" => Type::Bytes,
            "str" => Type::Str,
            "json" => Type::Json,
            "list<u16>" => Type::List(&Type::U16),
            "opt<u16>" => Type::Opt(&Type::U16),
            other => panic!("{other}"),
        };
        let bytes = hex(&vector);
        let mut input = Reader::new(&bytes, &Limits::default());
        assert_eq!(decode(&kind, &mut input).unwrap(), vector["decoded"], "{vector}");
        assert!(input.rest().is_empty(), "{vector}");
        let mut encoded = Vec::new();
        encode(&kind, &vector["decoded"], &mut encoded).unwrap();
        assert_eq!(encoded, bytes, "{vector}");
    }
    let long = [0x81, 0x80, 0x80, 0x00];
    let mut input = Reader::new(&long, &Limits::default());
    assert_eq!(input.varint(), Ok(1), "a varint need not be in its shortest form");
}

#[test]
fn prefaces_are_what_they_say() {
    for vector in read("preface") {
        let bytes = hex(&vector);
        let told = if vector["dir"] == "c2s" {
            let preface = ClientPreface::decode(&bytes).unwrap().unwrap();
            assert_eq!(preface.encode().as_slice(), bytes);
            json!({ "version_min": preface.version_min, "version_max": preface.version_max })
        } else {
            let ServerPreface { chosen, version_min, version_max } =
                ServerPreface::decode(&bytes).unwrap().unwrap();
            json!({ "chosen": chosen, "version_min": version_min, "version_max": version_max })
        };
        assert_eq!(told, vector["decoded"], "{vector}");
    }
}

#[test]
fn fragments_come_together() {
    let limits = Limits::default();
    for vector in read("fragments") {
        let pieces = vector["hex"].as_array().unwrap();
        assert!(pieces.len() > 1, "{vector}");
        let mut all = Reassembly::new(&limits);
        for (at, piece) in pieces.iter().enumerate() {
            let bytes = from_hex(piece.as_str().unwrap()).unwrap();
            let frame = Frame::decode(&bytes, &limits).unwrap().unwrap();
            match all.push(frame) {
                Assembled::Incomplete => assert!(at + 1 < pieces.len(), "{vector}"),
                Assembled::Message(header, payload) => {
                    assert_eq!(at + 1, pieces.len(), "{vector}");
                    told(&vector, header, &payload);
                }
                other => panic!("{vector}: {other:?}"),
            }
        }
    }
}

fn told(vector: &Value, header: Header, payload: &[u8]) {
    let whole = Frame { header, payload };
    assert_eq!(decode_frame(&whole, &Limits::default()).unwrap(), vector["decoded"]);
}

#[test]
fn what_must_be_refused_is() {
    let limits = Limits::default();
    for vector in read("refused") {
        let bytes = hex(&vector);
        let expect = &vector["expect"];
        if expect["scope"] == "preface" {
            assert_eq!(ClientPreface::decode(&bytes), Err(NotGnp), "{vector}");
            assert_eq!(ServerPreface::decode(&bytes), Err(NotGnp), "{vector}");
            continue;
        }
        let code = match Frame::decode(&bytes, &limits) {
            Err(error) => error.code(),
            Ok(frame) => {
                let frame = frame.unwrap_or_else(|| panic!("{vector} is not whole"));
                assert_eq!(frame.encoded_len(), bytes.len(), "{vector}");
                let by_schema = decode_frame(&frame, &limits).unwrap_err().code();
                let by_types = by_types(&frame, &limits).unwrap_err().code();
                assert_eq!(by_schema, by_types, "{vector}");
                by_types
            }
        };
        assert_eq!(Some(code), ErrorCode::find(expect["error"].as_str().unwrap()), "{vector}");
        assert_eq!(expect["code"], code as u16);
    }
}

#[test]
fn handshakes_become_documents() {
    for vector in read("control") {
        let bytes = hex(&vector);
        let frame = Frame::decode(&bytes, &Limits::default()).unwrap().unwrap();
        let again = match vector["decoded"]["type"].as_str().unwrap() {
            "HELLO" => again::<handshake::Hello>(frame.payload),
            "WELCOME" => again::<handshake::Welcome>(frame.payload),
            "AUTH" => again::<handshake::Auth>(frame.payload),
            _ => continue,
        };
        if vector["name"] != "HELLO least" {
            assert_eq!(to_hex(&again), to_hex(frame.payload), "{vector}");
        }
    }
    let unknown = handshake::to_payload(&json!({ "to": "come", "cluster": "prod" }));
    let hello: handshake::Hello = handshake::from_payload(&unknown).unwrap();
    assert_eq!(hello.cluster.as_deref(), Some("prod"), "keys that are not known are ignored");
    assert!(handshake::from_payload::<handshake::Hello>(b"\x02[]").is_err());
}

fn again<T: serde::Serialize + serde::de::DeserializeOwned>(payload: &[u8]) -> Vec<u8> {
    handshake::to_payload(&handshake::from_payload::<T>(payload).unwrap())
}

/// The page's own examples, which people write by hand.
#[test]
fn the_worked_example_of_the_page_is_right() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROTOCOL.md");
    let page = fs::read_to_string(page).unwrap();
    let example = page.split("## 6. Worked example").nth(1).unwrap();
    let example = example.split("## 7.").next().unwrap();
    let is_hex = |line: &&str| line.bytes().all(|b| b"0123456789ABCDEF |".contains(&b));
    let mut frames = 0;
    for line in example.lines().filter(|line| !line.is_empty()).filter(is_hex) {
        let bytes = from_hex(&line.replace('|', "")).unwrap();
        if bytes.starts_with(&[0xf7]) {
            assert!(ClientPreface::decode(&bytes).unwrap().is_some(), "{line}");
            continue;
        }
        let frame = Frame::decode(&bytes, &Limits::default()).unwrap();
        let frame = frame.unwrap_or_else(|| panic!("not whole: {line}"));
        assert_eq!(by_types(&frame, &Limits::default()), Ok(bytes.clone()), "{line}");
        frames += 1;
    }
    assert_eq!(frames, 9, "all frames of the example are looked at");
}

/// The bytes of the first draft, which were made by another program: two frames of the groups that
/// are not there yet are left out.
#[test]
fn the_draft_is_kept() {
    for (op, hex) in [
        ("cache.GET", "00000019010001010000000100000007000000000000002a026b310003"),
        (
            "cache.PUT",
            "00000027010001020000000200000007000000fa0000002a026b310276320009e0d4030000000000000011",
        ),
        (
            "cache.PUT",
            "0000004001020102000000030000000826011a00000102030405060708090a0b0c0d0e0f00010203040506070102080000000000000063000000000000002a016b000000",
        ),
        ("cache.GET", "0000001c02000101000000010000000700030568656c6c6f0000000000000011"),
    ] {
        let bytes = from_hex(hex).unwrap();
        let frame = Frame::decode(&bytes, &Limits::default()).unwrap().unwrap();
        assert_eq!(decode_frame(&frame, &Limits::default()).unwrap()["op"], op);
        assert_eq!(by_types(&frame, &Limits::default()), Ok(bytes.clone()));
    }
}
