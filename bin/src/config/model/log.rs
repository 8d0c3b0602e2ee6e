//! Logs.

use std::io::IsTerminal;

/// Logs.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// Default: pretty on a terminal, else json.
    pub format: LogFormat,
    /// A `tracing` filter, e.g. `info` or `isogrid=debug`. Default: `info`.
    pub level: String,
}

impl Default for LogConfig {
    fn default() -> Self {
        let pretty = std::io::stderr().is_terminal();
        let format = if pretty { LogFormat::Pretty } else { LogFormat::Json };
        Self { format, level: "info".to_owned() }
    }
}

/// The forms of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Pretty,
    /// One JSON document a line.
    Json,
}
