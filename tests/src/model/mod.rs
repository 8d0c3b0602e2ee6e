//! Naive models: what a structure promises, written in the plainest way that keeps the promise.
//! Random operations go to the model and to the real thing, and every answer must be the same.

pub mod cache;
pub mod table;
