//! Named caches and structures on the engine. Today they live on one node; the cluster grows in
//! this crate.
//!
//! A structure is what data *does*; [`structure::cache`] is the first. The [`Catalog`] knows which
//! objects there are. Nothing here knows a protocol: operations come in as plain arguments with
//! the time, and answers go out as enums.
#![forbid(unsafe_code)]

mod bytes;
pub mod catalog;
pub mod control;
pub mod copies;
pub mod dedup;
pub mod events;
pub mod founding;
pub mod id;
pub mod invalidation;
pub mod membership;
pub mod message;
pub mod metadata;
pub mod mutant;
pub mod raft;
#[cfg(test)]
mod random;
pub mod replica;
pub mod segment;
pub mod structure;
pub mod structures;
pub mod tx;
pub mod unit;

pub use catalog::Catalog;
pub use dedup::Dedup;
pub use isogrid_engine as engine;
pub use structure::cache::{Batch, Cache, CacheConfig};
pub use structures::Structures;
