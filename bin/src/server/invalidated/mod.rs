//! Requests for invalidated caches: each is executed here, if this member may serve, and a write is
//! answered when no other member serves what it has written over (DATA_PATH R38-R40).
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | what a request is to such a cache |
//! | `turn.rs` | turns of a memcached connection |
//! | `gate.rs` | requests that can wait for themselves: HTTP and administration |
//!
//! What a request is decides what it costs the others. A **read** costs nothing, with all that reads
//! leave behind (`gat`, `mg` with `N`, `R` and `T`). A **fill** stores what was loaded because a key was
//! missed: `add`, `ms` in mode `E`, a store with the cas of a placeholder that `mg N` has made,
//! GNP's PUT with IF_ABSENT, a PUT of HTTP with `If-None-Match: *`. It is kept here and nobody hears of
//! it; it is refused if the key was invalidated since it was missed (R39). All else is a **write**: the
//! others drop the key, whether it did something here or not, since they may have what this member
//! has not.

mod gate;
mod turn;

use std::collections::VecDeque;

use isogrid_grid::invalidation::Token;

use crate::cluster::Invalidated;
pub use gate::{Closed, Gate};
pub use turn::Turns;

/// Keys that a connection has missed and may be loading.
const MISSES_MAX: usize = 128;

/// What a connection has missed last, and the tokens of the loads that may follow: so an `add`, which
/// has no field for a token, has one if it comes over the connection that missed.
#[derive(Default)]
pub struct Misses(VecDeque<(u16, Box<[u8]>, Token)>);

impl Misses {
    /// A key was missed.
    pub fn note(&mut self, cache: &Invalidated, key: &[u8]) {
        let _ = self.take(cache, key);
        if self.0.len() >= MISSES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((cache.group.0, key.into(), cache.fills.token(key)));
    }

    /// The token of the load of a key, if it was missed here.
    pub fn take(&mut self, cache: &Invalidated, key: &[u8]) -> Option<Token> {
        let is_it =
            |(group, of, _): &(u16, Box<[u8]>, Token)| *group == cache.group.0 && **of == *key;
        let at = self.0.iter().position(is_it)?;
        self.0.remove(at).map(|(_, _, token)| token)
    }
}
