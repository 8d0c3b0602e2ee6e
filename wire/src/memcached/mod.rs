//! memcached's three protocols over one vocabulary. [`Decoder::decode`] takes the bytes that are
//! there and yields a [`Request`] with the [`Framing`] that later encodes its [`Reply`].
//!
//! A command is written once: `text`, `meta` and `binary` only translate.

mod reply;
mod request;

mod decoder;
mod framing;

mod binary;
mod meta;
mod text;

mod size;

pub use binary::Binary;
pub use decoder::{Decoded, Decoder, Protocols, Step};
pub use framing::Framing;
pub use meta::Meta;
pub use reply::{Item, Reply, Value};
pub use request::{
    Arithmetic, Delete, DumpFormat, Exptime, Get, Key, Keys, Order, Refusal, Request, Store,
    StoreMode,
};
pub use size::value_len_max;
pub use text::{LOGIN_LEN_MAX, Login, PlainGet, PlainSet, Text};
