//! The checkers behind `tests/tests/tidy.rs`. Each takes text and says what breaks its rule, so
//! that a test can show it a breach.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a checker that cannot read the sources has to stop the test"
)]

mod codes;
mod functions;
mod native;
mod source;
mod words;

pub use codes::{commands, duplicates, opcodes, without_line, without_packet};
pub use functions::{Function, functions};
pub use native::{native_opcodes, regiven, without_native_vector};
pub use source::{File, none, paths, root, rust_files};
pub use words::{dependencies, has_word, lines};
