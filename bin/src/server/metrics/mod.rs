//! Metrics for Prometheus. Nothing is counted for them: each family of [`FAMILIES`] reads at the
//! time of asking what the server counts anyway, so requests pay nothing.

mod cluster;
mod families;
mod family;
mod process;
mod queue;
mod render;
mod scrape;
mod session;

pub use families::FAMILIES;
pub use family::{Family, Kind};
pub use render::{classic, render};
