//! Isolation levels, and what the names of other systems come to.

/// What a transaction is spared of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Everything is read as it was at one moment, and of two transactions that write one key the
    /// first to commit wins. Two that each read what the other one writes may both commit (write
    /// skew).
    #[default]
    Snapshot,
    /// The outcome is one that the transactions could have had one after the other, in the order
    /// of their commits: what was read must still be so at the commit.
    Serializable,
}

/// What the name of a level comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IsolationChoice {
    /// The level; `None` = single operations, each for itself, and no transactions.
    pub isolation: Option<Isolation>,
    /// Whether that is more than the name asks for, which deserves a warning.
    pub raised: bool,
}

impl IsolationChoice {
    /// What to tell an operator whose configuration asks for the level of this name and gets more.
    #[must_use]
    pub fn warning(&self, name: &str) -> Option<String> {
        let given = match self.isolation {
            None => "READ_COMMITTED: single operations, which only see what is committed",
            Some(Isolation::Snapshot) => "SNAPSHOT",
            Some(Isolation::Serializable) => "SERIALIZABLE",
        };
        self.raised.then(|| format!("isolation level {name:?} is raised to {given}"))
    }
}

/// Names, as they are once their case and their blanks are put aside.
const NAMES: [(&str, Option<Isolation>, bool); 5] = [
    // Nobody here ever reads what is not committed.
    ("READ_UNCOMMITTED", None, true),
    ("READ_COMMITTED", None, false),
    ("REPEATABLE_READ", Some(Isolation::Snapshot), false),
    ("SNAPSHOT", Some(Isolation::Snapshot), false),
    ("SERIALIZABLE", Some(Isolation::Serializable), false),
];

impl Isolation {
    /// What to use where a configuration asks for the level of this name, in whatever case, its
    /// words joined by `_`, `-` or a blank. `None` when there is no such level.
    #[must_use]
    pub fn parse(name: &str) -> Option<IsolationChoice> {
        let name = name.trim().to_ascii_uppercase().replace(['-', ' '], "_");
        let (_, isolation, raised) = NAMES.into_iter().find(|(known, ..)| *known == name)?;
        Some(IsolationChoice { isolation, raised })
    }
}
