//! Instructions that an operation takes under each policy, counted by valgrind, so that they do
//! not depend on what else runs: `cargo bench -p isogrid-benches --bench instructions`.
#![expect(clippy::unwrap_used, reason = "a bench may panic")]

use std::hint::black_box;
use std::process::Command;

use isogrid_engine::env::split_mix;
use isogrid_engine::{NewEntry, PolicyKind, Table, TableConfig};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const VALUE: [u8; 64] = [7; 64];
const MAX_BYTES: u64 = 4 << 20;
/// Entries that fill the table by more than half, so that policies hear of reads.
const ROOMY: u64 = 20_000;
/// Entries that come to more than it may hold.
const TOO_MANY: u64 = 60_000;
const OPERATIONS: u64 = 40_000;
const POLICIES: [PolicyKind; 4] =
    [PolicyKind::TinyLfu, PolicyKind::S3Fifo, PolicyKind::Lru, PolicyKind::None];

/// A name, how many entries are put before, and what is done with the table and a count.
type Operation = (&'static str, u64, fn(&Table, u64));

const TABLE: [Operation; 3] = [
    ("get, hit", ROOMY, |table, draw| get(table, draw % ROOMY)),
    ("put, replaces", ROOMY, |table, draw| put(table, draw % ROOMY)),
    ("put, evicts", TOO_MANY, |table, draw| put(table, draw)),
];

fn get(table: &Table, key: u64) {
    let (key, pinned) = (key.to_le_bytes(), table.pin());
    black_box(pinned.get(table.hash(&key), &key, 0).unwrap().value());
}

fn put(table: &Table, key: u64) {
    let new = NewEntry { value: [&VALUE, b""], ..NewEntry::default() };
    let (key, pinned) = (key.to_le_bytes(), table.pin());
    pinned.entry(table.hash(&key), &key, 0).unwrap().put(&new).unwrap();
}

fn run(policy: PolicyKind, (_, entries, operation): Operation, count: u64) {
    let config =
        TableConfig { eviction: policy, max_bytes: MAX_BYTES, seed: 1, ..TableConfig::default() };
    let table = Table::new(&config, 0).unwrap();
    (0..entries).for_each(|key| put(&table, key));
    let mut rng = 1;
    (0..count).for_each(|_| operation(&table, split_mix(&mut rng)));
}

/// All instructions of a run in a process of its own.
fn counted(policy: PolicyKind, operation: usize, count: u64) -> f64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.arg(std::env::current_exe().unwrap()).args(["run", policy.name()]);
    valgrind.args([operation.to_string(), count.to_string()]);
    let output = valgrind.output().expect("valgrind is installed");
    let log = String::from_utf8_lossy(&output.stderr);
    let collected = log.lines().find_map(|line| line.split_once("Collected : "));
    collected.unwrap_or_else(|| panic!("{log}")).1.trim().parse().unwrap()
}

fn main() {
    let args: Vec<_> = std::env::args().collect();
    if let [_, run_it, policy, operation, count] = args.as_slice()
        && run_it == "run"
    {
        let operation = TABLE.into_iter().nth(operation.parse().unwrap()).unwrap();
        return run(policy.parse().unwrap(), operation, count.parse().unwrap());
    }
    println!("{:<14} {}", "instructions", POLICIES.map(|policy| format!("{policy:>10}")).concat());
    for (at, (name, entries, _)) in TABLE.into_iter().enumerate() {
        print!("{name:<14} ");
        for policy in POLICIES {
            if policy == PolicyKind::None && entries == TOO_MANY {
                print!("{:>10}", "refuses");
                continue;
            }
            let all = counted(policy, at, OPERATIONS) - counted(policy, at, 0);
            print!("{:>10.0}", all / OPERATIONS as f64);
        }
        println!();
    }
}
