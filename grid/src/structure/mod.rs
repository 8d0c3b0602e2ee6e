//! Data structures of the grid, one file each.

pub mod cache;
mod number;
