//! The outcomes that a caller expects. What nobody expects is an [`super::ErrorCode`].

use super::declare::choices;

choices! {
    /// The outcome of a request. Each operation names those that it answers with.
    Status {
        /// Done; the result follows.
        0 Ok "OK",
        /// There is no such entry.
        1 NotFound "NOT_FOUND",
        /// Not done: the entry is there (if-absent), is not there (if-present), or something is
        /// held by somebody else.
        2 NotStored "NOT_STORED",
        /// Not done: the version is another than the one expected.
        3 VersionMismatch "VERSION_MISMATCH",
        /// A conditional read: still what the caller has.
        4 Unchanged "UNCHANGED",
        /// Of many, some were not done: look at the items.
        5 Partial "PARTIAL",
        /// A stream came to its end.
        6 Ended "ENDED",
        /// Of one of many: surely not done, and nothing of it will show. Ask again for it.
        7 Failed "FAILED",
        /// Of one of many: nobody knows whether it was done.
        8 Unknown "UNKNOWN",
    }
}
