//! W-TinyLFU likes small entries. A cache of 128 MiB that had been filled with values of all sizes
//! took 165 MiB of memory after a while: slabs that held large entries were half empty.

use isogrid_tests::harness::{Server, wait_until};

use super::{metric, server};

const ENTRIES: usize = 10_000;
const MIB: u64 = 1 << 20;

/// Bytes of the allocator's pages that are nobody's.
fn wasted(server: &Server) -> u64 {
    let bytes = |what: &str| metric(server, &format!("isogrid_heap_{what}_bytes"));
    bytes("active") - bytes("allocated")
}

#[test]
fn slabs_that_are_half_empty_are_given_back() {
    let server = server(&["--memory", "128MiB"]);
    if metric(&server, "isogrid_heap_active_bytes") == 0 {
        eprintln!("skipped: the allocator of this build says nothing of its memory");
        return;
    }
    let mut client = server.connect();
    let value = "x".repeat(5_000);
    for n in 0..ENTRIES {
        client.send(format!("set k{n} 0 0 5000 noreply\r\n{value}\r\n"));
    }
    for n in (0..ENTRIES).filter(|n| n % 4 != 0) {
        client.send(format!("delete k{n} noreply\r\n"));
    }
    wait_until("entries are gone", || wasted(&server) > 8 * MIB);
    wait_until("the others have moved together", || wasted(&server) < 4 * MIB);
    for n in (0..ENTRIES).step_by(4) {
        client.ask(format!("get k{n}\r\n"), &format!("VALUE k{n} 0 5000\r\n{value}\r\nEND\r\n"));
    }
}
