//! Garbage on its way out: what a writer took out of a segment while readers may still look at
//! it. Collected in a bag and handed to the epoch collector a bag at a time; the account knows of
//! every byte until it is really freed.
#![expect(unsafe_code, reason = "freeing what the epoch collector says nobody reads any more")]

use std::sync::Arc;

use super::Shared;
use super::account::Account;
use super::index::Retired;
use super::version::VersionPtr;

/// Pieces in a bag at the most.
const PIECES_MAX: usize = 32;
/// Rounds of helping the collector when there is too much garbage.
const HELP_ROUNDS: usize = 4;

enum Piece {
    Version(VersionPtr),
    Lines(Retired),
}

/// Retired memory of one segment, not yet given to the collector.
#[derive(Default)]
pub(crate) struct Bag {
    pieces: Vec<Piece>,
    bytes: usize,
}

impl Bag {
    /// Adds a version; `charge` is what it was charged.
    pub fn version(&mut self, version: Option<VersionPtr>, charge: usize, shared: &Shared) {
        if let Some(version) = version {
            self.add(Piece::Version(version), charge, shared);
        }
    }

    /// Adds memory of the index.
    pub fn lines(&mut self, lines: Retired, size: usize, shared: &Shared) {
        self.add(Piece::Lines(lines), size, shared);
    }

    fn add(&mut self, piece: Piece, bytes: usize, shared: &Shared) {
        shared.account.charge_retired(signed(bytes));
        self.bytes += bytes;
        self.pieces.push(piece);
        if self.pieces.len() >= PIECES_MAX || self.bytes >= shared.bag_bytes_max {
            self.flush(shared);
        }
    }

    /// Hands everything to the collector. When more is retired than the table allows itself, the
    /// writer helps the collector on instead of leaving it to others.
    pub fn flush(&mut self, shared: &Shared) {
        if self.pieces.is_empty() {
            return;
        }
        let load = Load {
            pieces: std::mem::replace(&mut self.pieces, Vec::with_capacity(PIECES_MAX)),
            bytes: std::mem::take(&mut self.bytes),
            account: Arc::clone(&shared.account),
        };
        let guard = crossbeam_epoch::pin();
        // SAFETY: the load owns all that it frees, and everything in it was made unreachable for
        // new readers before; `defer_unchecked` runs it when the present readers are gone.
        unsafe { guard.defer_unchecked(move || load.free()) };
        guard.flush();
        drop(guard);
        let mut rounds = HELP_ROUNDS;
        while rounds > 0 && shared.account.retired() > shared.retired_bytes_max {
            crossbeam_epoch::pin().flush();
            rounds -= 1;
        }
    }
}

/// A full bag in the collector's hands.
struct Load {
    pieces: Vec<Piece>,
    bytes: usize,
    account: Arc<Account>,
}

impl Load {
    fn free(self) {
        for piece in self.pieces {
            // SAFETY: the collector runs this once, after a grace period.
            unsafe {
                match piece {
                    Piece::Version(version) => version.free(),
                    Piece::Lines(lines) => lines.free(),
                }
            }
        }
        self.account.discharge_retired(signed(self.bytes));
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
