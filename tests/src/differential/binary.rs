//! Random packets of the binary protocol.

use super::command::Command;
use super::random::Random;
use super::text::{KEYS, value};
use crate::harness::request;

const EXPTIMES: [u32; 5] = [0, 0, 2_000, 2_592_001, 2_000_000_000];
/// Quiet forms of set, add, replace and the loud ones.
const STORES: [u8; 6] = [0x01, 0x01, 0x02, 0x03, 0x11, 0x12];
const JOINS: [u8; 4] = [0x0e, 0x0f, 0x19, 0x1a];
const GETS: [u8; 4] = [0x00, 0x09, 0x0c, 0x0d];
const GATS: [u8; 4] = [0x1d, 0x1e, 0x23, 0x24];
const COUNTS: [u8; 4] = [0x05, 0x06, 0x15, 0x16];

/// A packet with `opaque` in it, by which its answer is known.
pub fn command(random: &mut Random, opaque: u32) -> Command {
    let key = random.pick(&KEYS).as_bytes();
    let exptime = random.pick(&EXPTIMES).to_be_bytes();
    let packet = |opcode, extras: &[u8], key: &[u8], value: &[u8]| {
        Command::new(request(opcode, opaque, 0, extras, key, value))
    };
    let command = match random.below(20) {
        0..=5 => {
            let extras = [random.pick(&[[0; 4], [0, 0, 0, 5], [255; 4]]), exptime].concat();
            packet(random.pick(&STORES), &extras, key, &value(random))
        }
        6 => packet(random.pick(&JOINS), &[], key, &value(random)),
        7..=10 => packet(random.pick(&GETS), &[], key, &[]),
        11 | 12 => packet(random.pick(&GATS), &exptime, key, &[]),
        13 => packet(0x1c, &exptime, key, &[]),
        14 | 15 => count(random, opaque, key),
        16 => packet(random.pick(&[0x04, 0x14]), &[], key, &[]),
        17 => packet(random.pick(&[0x08, 0x18]), random.pick(&[&[][..], &[0; 4]]), &[], &[]),
        _ => return other(random, opaque),
    };
    if random.once_in(6) { command.with_header_cas(random.below(4)) } else { command }
}

fn count(random: &mut Random, opaque: u32, key: &[u8]) -> Command {
    let delta = random.pick(&[1, 9, 100, u64::MAX]).to_be_bytes();
    let initial = random.pick(&[0, 13, u64::MAX]).to_be_bytes();
    let exptime = random.pick(&[0, 2_000, u32::MAX]).to_be_bytes();
    let extras = [&delta[..], &initial, &exptime].concat();
    Command::new(request(random.pick(&COUNTS), opaque, 0, &extras, key, &[]))
}

fn other(random: &mut Random, opaque: u32) -> Command {
    let packet = |opcode, extras: &[u8], key: &[u8], value: &[u8]| {
        Command::new(request(opcode, opaque, 0, extras, key, value))
    };
    match random.below(12) {
        0..=3 => packet(0x0a, &[], &[], &[]),
        4 => packet(0x0b, &[], &[], &[]),
        5 => packet(0x10, &[], random.pick(&[&b"nope"[..], b"reset", b"detail"]), &[]),
        6 => packet(random.pick(&[0x7f, 0x20, 0x21, 0x22, 0x30, 0x3d, 0xff]), &[], &[], &[]),
        7 => packet(0x01, &[], b"a", b"v"),
        8 => packet(0x00, &[], &[], &[]),
        9 => packet(0x00, &[], &[b'k'; 251], &[]),
        10 => packet(random.pick(&[0x07, 0x17]), &[], &[], &[]),
        _ => packet(0x0a, &[], b"k", &[]),
    }
}
