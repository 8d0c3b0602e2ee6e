//! Random frames, whole, mutated and cut: the decoders never panic, types and schema agree, what
//! is decoded is encoded to what it was, and fragments come to the same wherever they are cut.
//!
//! `ISOGRID_FUZZ_ROUNDS=1000000 ISOGRID_FUZZ_SEED=7 cargo test -p isogrid-wire --test native_fuzz`
//! looks longer; a failure names the seed of its round.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

#[path = "common/by_types.rs"]
mod by_types;

use std::fs;
use std::path::Path;

use by_types::by_types;
use isogrid_wire::native::dynamic::{decode_frame, from_hex, to_hex};
use isogrid_wire::native::frame::EXT;
use isogrid_wire::native::{
    Assembled, Frame, GROUPS, Header, Kind, Limits, Reassembly, Refused, handshake, put_fragments,
};

const ROUNDS: u64 = 20_000;

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

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % n.max(1)
    }

    fn byte(&mut self) -> u8 {
        // The bytes that lengths, counts and choices are made of come often.
        let of = [0, 1, 2, 3, 4, 8, 0x7f, 0x80, 0xff];
        if self.below(2) == 0 { of[self.below(of.len())] } else { self.below(256).to_le_bytes()[0] }
    }
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
    let from_env =
        |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let rounds: u64 = from_env("ISOGRID_FUZZ_ROUNDS", ROUNDS);
    let seed: u64 = from_env("ISOGRID_FUZZ_SEED", 1);
    let seeds = seeds();
    let mut understood = 0;
    for round in seed..seed + rounds {
        let mut random = Random(round.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let input = frame(&mut random, &seeds);
        let story = format!("ISOGRID_FUZZ_SEED={round} ISOGRID_FUZZ_ROUNDS=1: {}", to_hex(&input));
        understood += u64::from(check(&input, &story));
        cut(&input, &mut random, &story);
    }
    assert!(rounds < 1000 || understood > rounds / 20, "only {understood} of {rounds} understood");
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
            0 => bytes.insert(at, random.byte()),
            1 => drop(bytes.remove(at)),
            _ => bytes[at] = random.byte(),
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
    let payload: Vec<_> = (0..random.below(60)).map(|_| random.byte()).collect();
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
