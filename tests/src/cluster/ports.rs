//! Ports that stay a node's own while it does not run: no outgoing connection takes them, as they
//! are below those that the kernel gives out, and no other run of these tests does.

use std::net::{SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

const FIRST: u16 = 10_000;
const BLOCKS: u16 = 200;
/// Ports of a block. A process has a block for as long as it listens on the block's first port.
const BLOCK: u16 = 100;

struct Ours {
    guards: Vec<TcpListener>,
    left: Range<u16>,
}

static OURS: Mutex<Ours> = Mutex::new(Ours { guards: Vec::new(), left: 0..0 });

/// An address of loopback that nobody else uses.
pub fn free_address() -> SocketAddr {
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let Some(port) = ours.left.next() else {
            let (guard, left) = block();
            ours.guards.push(guard);
            ours.left = left;
            continue;
        };
        if bind(port).is_some() {
            return SocketAddr::from(([127, 0, 0, 1], port));
        }
    }
}

fn bind(port: u16) -> Option<TcpListener> {
    TcpListener::bind(("127.0.0.1", port)).ok()
}

/// A block that no process has.
fn block() -> (TcpListener, Range<u16>) {
    let begin = (std::process::id() % u32::from(BLOCKS)) as u16;
    let blocks = (0..BLOCKS).map(|number| FIRST + (begin + number) % BLOCKS * BLOCK);
    let mut free = blocks.filter_map(|first| Some((bind(first)?, first + 1..first + BLOCK)));
    free.next().expect("a block of free ports")
}
