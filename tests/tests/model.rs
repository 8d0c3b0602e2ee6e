//! Random operations on the real thing and on its model: every answer must be the same.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests may panic")]

#[path = "model/cache.rs"]
mod cache;
#[path = "model/map.rs"]
mod map;
#[path = "model/table.rs"]
mod table;
