//! Histories that nobody would write down.

use isogrid_engine::disk::{Fault, MemoryDisk};
use isogrid_tests::seeds;
use proptest::collection::vec;
use proptest::prelude::*;

use super::promise::{Op, Promise};

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![Just(Fault::Space), Just(Fault::Io), Just(Fault::Short)]
}

/// Everything but faults and full disks.
fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..700_usize).prop_map(Op::Append),
        6 => Just(Op::Write),
        3 => Just(Op::Sync),
        1 => Just(Op::Roll),
        1 => any::<u8>().prop_map(Op::Truncate),
        1 => Just(Op::Kill),
        2 => any::<u64>().prop_map(Op::Crash),
        1 => Just(Op::Close),
    ]
}

fn trouble() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => op(),
        1 => (0..20_u64, fault()).prop_map(|(away, fault)| Op::Fail(away, fault)),
        1 => (0..3_000_u64).prop_map(Op::Fill),
        1 => Just(Op::Room),
    ]
}

fn holds(ops: &[Op]) -> Result<(), TestCaseError> {
    let played = std::panic::catch_unwind(|| {
        let mut log = Promise::new(MemoryDisk::new());
        ops.iter().for_each(|op| log.play(op));
        log.play(&Op::Crash(1));
        log.reopen();
    });
    played.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        TestCaseError::fail(text.unwrap_or("panicked").to_owned())
    })
}

#[test]
fn a_log_keeps_its_promises_when_power_goes() {
    seeds::check("wal::a_log_keeps_its_promises_when_power_goes", &vec(op(), 1..60), |ops| {
        holds(ops)
    });
}

#[test]
fn a_log_keeps_its_promises_in_any_trouble() {
    seeds::check("wal::a_log_keeps_its_promises_in_any_trouble", &vec(trouble(), 1..80), |ops| {
        holds(ops)
    });
}
