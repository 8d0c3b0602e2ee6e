//! One door to the atomics, so that loom can stand in for them in its models.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

#[cfg(all(loom, test))]
pub(crate) use loom::sync::Arc;
#[cfg(all(not(loom), test))]
pub(crate) use std::sync::Arc;
