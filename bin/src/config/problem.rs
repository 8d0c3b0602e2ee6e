//! What is wrong with a configuration, where, and what to do about it.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of a file.
    File(PathBuf, usize),
    /// An environment variable.
    Env(String),
    /// A command line flag.
    Flag(String),
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, with the limit that was passed.
    pub what: String,
    /// Where it was said.
    pub origin: Origin,
    /// What to do.
    pub help: String,
}

impl Problem {
    /// A problem with something said at `origin`.
    pub fn new(what: impl Into<String>, origin: &Origin, help: impl Into<String>) -> Self {
        Self { what: what.into(), origin: origin.clone(), help: help.into() }
    }
}

impl Display for Problem {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        if self.origin != Origin::Default {
            write!(f, "\n  at {}", self.origin)?;
        }
        write!(f, "\n  help: {}", self.help)
    }
}

/// Everything that is wrong, so that one run shows it all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl Display for Problems {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Problem::to_string).collect();
        write!(f, "{}", lines.join("\n"))
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
