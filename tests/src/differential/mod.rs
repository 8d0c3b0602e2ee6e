//! The same commands to memcached and to isogrid, and a comparison of every byte of the answers.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a failing test may panic"
)]

mod binary;
mod command;
mod compare;
#[path = "../../../wire/tests/common/escape.rs"]
#[allow(missing_docs, reason = "the tests of the codec have it too, and say what it is")]
mod escape;
mod meta;
mod play;
mod random;
mod round;
mod skip;
mod text;
mod token;

pub use command::{Command, Dialect};
pub use compare::{Pairs, compare};
pub use escape::{escape, unescape};
pub use play::{Mismatch, play};
pub use random::Random;
pub use round::{Round, Segment};
