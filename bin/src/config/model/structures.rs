//! Counters, locks, queues and sessions.

use isogrid_engine::persist::PersistMode;

/// Counters, locks, queues and sessions.
#[derive(Debug, Clone, PartialEq)]
pub struct StructuresConfig {
    /// When a change of them counts as kept: a name of [`PersistMode`] but `behind`, or `auto`.
    /// Default: auto.
    pub persist: String,
}

impl StructuresConfig {
    /// What is not said.
    const AUTO: &str = "auto";

    /// What is said of it; `None`: nothing is.
    #[must_use]
    pub fn said(&self) -> Option<PersistMode> {
        PersistMode::parse(&self.persist)
    }
}

impl Default for StructuresConfig {
    fn default() -> Self {
        Self { persist: Self::AUTO.to_owned() }
    }
}
