//! The binary protocol: a header of 24 bytes, then extras, key and value.

mod decode;
mod encode;
mod opcode;

pub(super) use decode::{HEADER_LEN, MAGIC, beyond_login, parse};
pub use encode::Binary;
