//! Workloads and side-by-side comparisons.

pub mod compare;
pub mod hit_ratio;
