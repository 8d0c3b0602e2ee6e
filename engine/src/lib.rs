//! The storage engine (under construction in this commit): eviction policies over slots.

pub mod eviction;
