//! Why a change to the catalog is refused.

use std::io;

use isogrid_engine::disk::is_out_of_space;
use isogrid_engine::persist::PersistError;
use thiserror::Error;

use super::options::{Difference, OptionError};

/// Why something could not be made, changed or dropped. Unless it says otherwise, everything is
/// as it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CatalogError {
    /// The name may not be one.
    #[error("{name:?} is no name: 1 to 64 of A-Z, a-z, 0-9, _, . and -")]
    Name {
        /// What was given.
        name: String,
    },
    /// Nothing has that name.
    #[error("there is no {kind} {name:?}")]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// By this name.
        name: String,
    },
    /// It is there, and it is not as it was asked for.
    #[error("{name:?} is there with other options: {}", list(.differences))]
    Exists {
        /// Its name.
        name: String,
        /// Each option that differs.
        differences: Vec<Difference>,
    },
    /// An option is not known, or its value is not.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// An option that only a new cache can have.
    #[error("{name:?} cannot change while the cache runs: {}", list(.differences))]
    NotLive {
        /// The cache.
        name: String,
        /// Each option that cannot change.
        differences: Vec<Difference>,
    },
    /// There is no room for more.
    #[error("{what}: {want} is more than the limit of {limit}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// What it would be.
        want: u64,
        /// The limit.
        limit: u64,
    },
    /// Data is to be kept, but this node keeps none.
    #[error("persist = {mode}: this node has no data directory")]
    NothingIsKept {
        /// The mode that was asked for.
        mode: &'static str,
    },
    /// It was made by the server itself and stays.
    #[error("{name:?} belongs to the server")]
    BuiltIn {
        /// Its name.
        name: String,
    },
    /// The disk has no room, or failed. What was asked for is not so now; whether it is after a
    /// restart is unknown until another change succeeds.
    #[error("{place}: cannot {action} ({why})")]
    Storage {
        /// The file.
        place: String,
        /// What was tried.
        action: &'static str,
        /// What the disk said.
        why: String,
        /// Whether it may go better later.
        full: bool,
    },
    /// The file of the catalog is not one of ours, or not whole.
    #[error("{place}: {found}; restore it from a copy of the data directory")]
    File {
        /// The file.
        place: String,
        /// What is wrong.
        found: String,
    },
}

impl CatalogError {
    pub(super) fn disk(place: String, action: &'static str, source: &io::Error) -> Self {
        let (why, full) = (source.to_string(), is_out_of_space(source));
        CatalogError::Storage { place, action, why, full }
    }

    pub(super) fn kept(source: &PersistError) -> Self {
        let place = "the data directory".to_owned();
        let (action, why) = ("keep the cache", source.to_string());
        CatalogError::Storage { place, action, why, full: false }
    }
}

fn list(differences: &[Difference]) -> String {
    let all: Vec<_> = differences.iter().map(ToString::to_string).collect();
    all.join("; ")
}
