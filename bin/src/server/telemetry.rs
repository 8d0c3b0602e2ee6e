//! Logs: `tracing` events with a stable `event` name and fields, on stderr.

use std::io::IsTerminal;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;

use crate::colour;
use crate::config::{LogConfig, LogFormat};

/// Puts another filter in the place of the one in force.
type Change = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// There is one log in a process, whoever started it.
static CHANGE: OnceLock<Change> = OnceLock::new();

/// Starts logging; does nothing when a subscriber is there already.
pub fn start(config: &LogConfig) {
    let filter = EnvFilter::try_new(&config.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal() && colour::is_wanted())
        .with_writer(std::io::stderr);
    let change: Change = match config.format {
        LogFormat::Pretty => {
            let builder = builder.with_target(false).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            Box::new(move |filter| handle.reload(filter).map_err(|error| error.to_string()))
        }
    };
    let _ = CHANGE.set(change);
}

/// The filter that was set while the server ran, if any.
#[derive(Default)]
pub struct LogLevel(Mutex<Option<String>>);

impl LogLevel {
    /// The filter in force, when it is no longer the configured one.
    pub fn changed(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts `filter` in force.
    ///
    /// # Errors
    /// What is wrong with the filter; the one before stays.
    pub fn set(&self, filter: &str) -> Result<(), String> {
        let parsed = EnvFilter::builder().parse(filter).map_err(|error| error.to_string())?;
        let change = CHANGE.get().ok_or("logs were started by somebody else")?;
        change(parsed)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(filter.to_owned());
        Ok(())
    }
}
