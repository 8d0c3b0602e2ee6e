//! Which member has which segment: where copies should be, and what the Raft leader proposes to
//! get there.

mod assign;
mod plan;

pub use self::assign::{Candidate, assign};
pub use self::plan::{GiveUp, Health, Plan, Request, WALL_SKEW_MAX, Wish, first_owners, plan};
