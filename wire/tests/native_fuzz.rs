//! Random frames, whole, mutated and cut: the decoders never panic, types and schema agree, what
//! is decoded is encoded to what it was, and fragments come to the same wherever they are cut.
//!
//! `ISOGRID_FUZZ_SECONDS=60 ISOGRID_FUZZ_SEED=7 cargo test -p isogrid-wire --test native_fuzz` looks
//! longer, `ISOGRID_FUZZ_ROUNDS` so often; a failure names the seed of its round.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

#[path = "common/by_types.rs"]
mod by_types;
#[path = "common/fuzzing.rs"]
mod fuzzing;

use std::fs;
use std::path::Path;

use by_types::by_types;
use fuzzing::{Random, rounds};
use isogrid_wire::native::dynamic::{decode_frame, from_hex, to_hex};
use isogrid_wire::native::frame::EXT;
use isogrid_wire::native::{
    Assembled, Frame, GROUPS, Header, Kind, Limits, Reassembly, Refused, handshake, put_fragments,
};
use isogrid_wire::scram::{Client, Hello, Verifier};

/// Small, so that every limit is met often.
fn limits() -> Limits {
    Limits {
        frame_len_max: 300,
        message_len_max: 400,
        key_len_max: 12,
        value_len_max: 20,
        streams_max: 3,
        ..Limits::default()
    }
}

/// The bytes that lengths, counts and choices are made of come often.
fn byte(random: &mut Random) -> u8 {
    let of = [0, 1, 2, 3, 4, 8, 0x7f, 0x80, 0xff];
    if random.below(2) == 0 { of[random.below(of.len())] } else { random.bytes(1)[0] }
}

/// The frames of all vectors, the refused ones too.
fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol/vectors");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let mut seeds = Vec::new();
    for path in files {
        let file: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let hexes = file["vectors"].as_array().unwrap().iter();
        seeds.extend(hexes.filter_map(|v| from_hex(v["hex"].as_str()?)));
    }
    assert!(seeds.len() > 300);
    seeds
}

#[test]
fn whatever_arrives_is_understood_or_refused() {
    let seeds = seeds();
    let (mut understood, mut count) = (0, 0);
    for round in rounds() {
        let mut random = Random::of_round(round);
        let input = frame(&mut random, &seeds);
        let story = format!("ISOGRID_FUZZ_SEED={round} ISOGRID_FUZZ_ROUNDS=1: {}", to_hex(&input));
        understood += u64::from(check(&input, &story));
        count += 1;
        cut(&input, &mut random, &story);
    }
    assert!(count < 1000 || understood > count / 20, "only {understood} of {count} understood");
}

/// A frame of a vector or of random bytes, with a few bytes changed behind its header.
fn frame(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    if random.below(4) == 0 {
        return invented(random);
    }
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes.insert(at, byte(random)),
            1 => drop(bytes.remove(at)),
            _ => bytes[at] = byte(random),
        }
        if bytes.len() < 16 {
            return bytes;
        }
    }
    // The length is mostly right: else hardly any payload would be looked at.
    if random.below(8) > 0 && bytes.len() >= 16 {
        let len = u32::try_from(bytes.len() - 4).unwrap();
        bytes[..4].copy_from_slice(&len.to_be_bytes());
    }
    bytes
}

fn invented(random: &mut Random) -> Vec<u8> {
    let groups = GROUPS[random.below(GROUPS.len())].operations;
    let op = groups[random.below(groups.len())].code;
    let kind = Kind::ALL[random.below(Kind::ALL.len())];
    let payload: Vec<_> = (0..random.below(60)).map(|_| byte(random)).collect();
    let flags = if random.below(4) == 0 { EXT } else { 0 };
    let header = Header { flags, ..Header::new(kind, op, 1, 0) };
    let mut bytes = Vec::new();
    Frame { header, payload: &payload }.encode(&mut bytes);
    bytes
}

/// Whether it is a frame with a good payload.
fn check(input: &[u8], story: &str) -> bool {
    let limits = limits();
    let Ok(Some(frame)) = Frame::decode(input, &limits) else { return false };
    let schema = decode_frame(&frame, &limits);
    let types = by_types(&frame, &limits);
    // An ITEM may have more behind it, which the types of this test do not take.
    if frame.header.kind != Kind::Item || types.is_ok() {
        let code = |refused: &Refused| refused.code();
        assert_eq!(schema.as_ref().err().map(code), types.as_ref().err().map(code), "{story}");
    }
    let _ = handshake::from_payload::<handshake::Hello>(frame.payload);
    let _ = handshake::from_payload::<handshake::Welcome>(frame.payload);
    let Ok(again) = types else { return false };
    // Not the same bytes where a varint was longer than it must be; but the same meaning.
    let large = Limits { frame_len_max: input.len(), ..limits };
    let frame = Frame::decode(&again, &large).unwrap().unwrap();
    assert_eq!(decode_frame(&frame, &limits), schema, "{story}");
    assert_eq!(by_types(&frame, &limits).as_ref(), Ok(&again), "{story}");
    true
}

/// Fragments of any size come to the same message.
fn cut(input: &[u8], random: &mut Random, story: &str) {
    let limits = limits();
    let Ok(Some(frame)) = Frame::decode(input, &limits) else { return };
    let whole = Header { flags: frame.header.flags & EXT, stream: 5, ..frame.header };
    let mut bytes = Vec::new();
    put_fragments(whole, frame.payload, 1 + random.below(40), &mut bytes);
    let mut all = Reassembly::new(&limits);
    let mut rest = bytes.as_slice();
    while let Some(piece) = Frame::decode(rest, &limits).unwrap() {
        rest = &rest[piece.encoded_len()..];
        match all.push(piece) {
            Assembled::Incomplete => assert!(!rest.is_empty(), "{story}"),
            Assembled::Frame(last) => assert_eq!(last.payload, frame.payload, "{story}"),
            Assembled::Message(header, payload) => {
                assert_eq!((header, payload.as_slice()), (whole, frame.payload), "{story}");
                assert!(rest.is_empty() && all.buffered_len() == 0, "{story}");
            }
            // Only messages may be cut.
            Assembled::Broken(_) => {
                let message = [Kind::Req, Kind::Res, Kind::Err, Kind::Item];
                assert!(!message.contains(&whole.kind), "{story}");
                return;
            }
            Assembled::Refused(..) => panic!("{story}"),
        }
    }
}

/// What a client may say in the course of a login, damaged: it is refused, or it is a proof, and none
/// fits a verifier that has no password.
#[test]
fn nobody_logs_in_by_chance() {
    let verifier = Verifier::decoy(b"secret", "app");
    for round in rounds() {
        let mut random = Random::of_round(round);
        let story = format!("ISOGRID_FUZZ_SEED={round} ISOGRID_FUZZ_ROUNDS=1");
        let exporter = (random.below(2) == 0).then_some(&[7_u8; 32][..]);
        let client = Client::new("a,=b", b"pencil", &[3; 18], exporter, random.below(2) == 0);
        let plus = exporter.is_some() != (random.below(8) == 0);
        let first = damaged(client.first().into_bytes(), &mut random);
        let Ok(hello) = Hello::read(&first, plus, exporter) else { continue };
        let challenge = hello.challenge(verifier.clone(), &[9; 18]);
        let nonce = challenge.message().split(',').next().unwrap().to_owned();
        let proof = random.of(&[KEY, "", "=", "AAAA", "x"]);
        let last = format!("{},{nonce},p={proof}", random.of(&["c=biws", "c=eSws", "c=", "biws"]));
        let answer = challenge.finish(&damaged(last.into_bytes(), &mut random));
        assert!(answer.is_err(), "{story}: {}", String::from_utf8_lossy(&first));
    }
}

/// A key of zeros, as base64.
const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

fn damaged(mut message: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..random.below(3) {
        let at = random.below(message.len());
        match random.below(4) {
            0 => message.truncate(at),
            1 => drop(message.splice(at..at, random.of(&[",", "=", "a=", "m=x", "é"]).bytes())),
            2 => message.insert(at, random.bytes(1)[0]),
            _ if message.is_empty() => {}
            _ => message[at] = random.bytes(1)[0],
        }
    }
    message
}
