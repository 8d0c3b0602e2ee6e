//! Random commands, whole, mutated and cut anywhere: the decoder neither panics nor hangs, and
//! understands the same however the bytes arrive.
//!
//! `ISOGRID_FUZZ_SECONDS=60 ISOGRID_FUZZ_SEED=7 cargo test -p isogrid-wire --test fuzz` looks longer,
//! `ISOGRID_FUZZ_ROUNDS` so often; a failure names the seed of its round.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

mod common;

use common::escape::escape;
use common::fuzzing::{Random, rounds};
use common::{Reader, decode_all};
use isogrid_wire::Limits;

/// Small, so that every limit is met often.
const LIMITS: Limits =
    Limits { key_len_max: 12, item_size_max: 120, line_len_max: 90, get_line_len_max: 150 };

#[test]
fn text_is_understood_the_same_in_all_pieces() {
    understood_in_all_pieces(line);
}

#[test]
fn binary_is_understood_the_same_in_all_pieces() {
    understood_in_all_pieces(packet);
}

fn understood_in_all_pieces(command: fn(&mut Random) -> Vec<u8>) {
    for round in rounds() {
        let mut random = Random::of_round(round);
        let input = conversation(&mut random, command);
        let story =
            || format!("ISOGRID_FUZZ_SEED={round} ISOGRID_FUZZ_ROUNDS=1: {}", escape(&input));
        let whole = decode_all(Reader::new(LIMITS), [input.as_slice()]);
        let bytes = decode_all(Reader::eager(LIMITS), input.chunks(1));
        assert_eq!(whole, bytes, "byte by byte, {}", story());
        let pieces = decode_all(Reader::new(LIMITS), pieces(&input, &mut random));
        assert_eq!(whole, pieces, "in pieces, {}", story());
    }
}

fn pieces<'a>(mut input: &'a [u8], random: &mut Random) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while !input.is_empty() {
        let (piece, rest) = input.split_at(1 + random.below(input.len()));
        pieces.push(piece);
        input = rest;
    }
    pieces
}

fn conversation(random: &mut Random, command: fn(&mut Random) -> Vec<u8>) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..1 + random.below(4) {
        input.extend(command(random));
    }
    for _ in 0..random.below(3) {
        mutate(&mut input, random);
    }
    input
}

fn mutate(input: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(input.len().max(1));
    match random.below(4) {
        0 if at < input.len() => input[at] = random.bytes(1)[0],
        1 if at < input.len() => drop(input.remove(at)),
        2 => {
            let inserted = random.of(&["\n", "\r\n", " ", "\0", "-", "9", " noreply", "\u{80}"]);
            input.splice(at..at, inserted.bytes());
        }
        _ => input.truncate(at),
    }
}

fn line(random: &mut Random) -> Vec<u8> {
    let verb = random.of(&[
        "get",
        "gets",
        "gat",
        "gats",
        "set",
        "add",
        "replace",
        "append",
        "prepend",
        "cas",
        "incr",
        "decr",
        "delete",
        "touch",
        "mg",
        "ms",
        "md",
        "ma",
        "mn",
        "me",
        "flush_all",
        "version",
        "verbosity",
        "stats",
        "cache_memlimit",
        "shutdown",
        "watch",
        "lru",
        "lru_crawler",
        "slabs",
        "refresh_certs",
        "GET",
        "quit",
        "",
    ]);
    let mut line = verb.to_owned();
    let data_len = random.below(30);
    let store = matches!(verb, "set" | "add" | "replace" | "append" | "prepend" | "cas" | "ms");
    let right = random.below(3) > 0;
    match verb {
        "ms" if right => line.push_str(&format!(" {} {data_len}", word(random))),
        _ if store && right => line.push_str(&format!(" {} 0 0 {data_len}", word(random))),
        _ => {}
    }
    for _ in 0..random.below(5) {
        line.push_str(random.of(&[" ", " ", "  "]));
        line.push_str(&word(random));
    }
    let mut bytes = line.into_bytes();
    bytes.extend_from_slice(random.of(&[&b"\r\n"[..], b"\r\n", b"\n"]));
    if store {
        let len = if right { data_len } else { random.below(150) };
        bytes.extend(random.bytes(len));
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn word(random: &mut Random) -> String {
    match random.below(8) {
        0 => random.below(200).to_string(),
        1 => format!(
            "{}{}",
            random.of(&["T", "N", "R", "C", "E", "F", "D", "J", "y"]),
            random.below(99)
        ),
        2 => "k".repeat(1 + random.below(14)),
        _ => random
            .of(&[
                "a",
                "foo",
                "Zm9v",
                "noreply",
                "0",
                "-1",
                "2147483648",
                "9223372036854775808",
                "1234567890123456789012345",
                "v",
                "k",
                "q",
                "b",
                "c",
                "s",
                "t",
                "f",
                "h",
                "l",
                "u",
                "I",
                "x",
                "MA",
                "ME",
                "MP",
                "MX",
                "M",
                "Oabc",
                "P",
                "L",
                "S2",
                "all",
                "metadump",
                "automove",
                "mode",
                "flat",
                "tune",
                "HTTP/1.1",
                "\r",
                "\u{1}",
                "\u{e9}",
            ])
            .to_owned(),
    }
}

fn packet(random: &mut Random) -> Vec<u8> {
    let opcode = u8::try_from(random.below(0x28)).unwrap();
    let extras_len = random.of(&[&0usize, &0, &4, &8, &20]);
    let key_len = random.below(14);
    let body_len = extras_len + key_len + random.of(&[&0usize, &0, &5, &60, &120]);
    let lie = random.of(&[&0u32, &0, &0, &0, &0, &0, &3, &0xffff_ff00]);
    let said = u32::try_from(body_len).unwrap().wrapping_add(*lie);
    let mut packet = vec![0x80, opcode, 0, u8::try_from(key_len).unwrap()];
    packet.extend([u8::try_from(*extras_len).unwrap(), 0, 0, 0]);
    packet.extend(said.to_be_bytes());
    packet.extend(random.bytes(12));
    packet.extend(random.bytes(body_len));
    packet
}
