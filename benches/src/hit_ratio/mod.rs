//! Hit ratios on traces, by simulation: no server, no overhead, only the order of evictions.
//!
//! The workload is look-aside: get, and on a miss set. Sizes are those of key and value alone and
//! the capacity is a share of the trace's [`footprint`](Trace::footprint), so that a live cache
//! under the same limit shows what its overhead costs.

mod ideal;
mod reference;
mod trace;

pub use ideal::{ideal, ideal_split};
pub use reference::{belady, lru};
pub use trace::{Object, Trace, value_size};
