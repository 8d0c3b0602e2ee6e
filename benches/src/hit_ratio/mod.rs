//! Hit ratios on traces, without a server: those of the policies alone (only the order of
//! evictions, no overhead) and those of the engine's tables.
//!
//! The workload is look-aside: get, and on a miss set. Sizes are those of key and value alone and
//! the capacity is a share of the trace's [`footprint`](Trace::footprint), so that a live cache
//! under the same limit shows what its overhead costs.

mod ideal;
mod reference;
mod table;
mod trace;

pub use ideal::{ideal, ideal_split};
pub use reference::{belady, lru};
pub use table::{Played, charged, in_table};
pub use trace::{Object, Trace, value_size};
