//! Which core runs what: the servers on one, the load on another, so that neither disturbs the
//! other and the servers are compared on the same core.

use std::process::{Command, Stdio};

use super::{Result, procfs};

/// Cores for the servers and for the load.
#[derive(Debug, Clone, Copy)]
pub struct Cores {
    /// All servers, of which one works at a time.
    pub server: usize,
    /// The load.
    pub load: usize,
}

impl Cores {
    /// The last and the first of the allowed cores; `None` where there is only one.
    pub fn choose(server: Option<usize>, load: Option<usize>) -> Result<Option<Self>> {
        let allowed = procfs::allowed_cores()?;
        let server = server.or(allowed.last().copied()).unwrap_or_default();
        let load = load.or(allowed.first().copied()).unwrap_or_default();
        Ok((server != load).then_some(Self { server, load }))
    }

    /// Moves this process to the load's core.
    pub fn pin_self(self) -> Result<()> {
        let mut taskset = Command::new("taskset");
        taskset.args(["-a", "-p", "-c", &self.load.to_string(), &std::process::id().to_string()]);
        let status = taskset.stdout(Stdio::null()).status();
        match status.map_err(|error| format!("taskset (util-linux): {error}"))?.success() {
            true => Ok(()),
            false => Err(format!("taskset could not move the load to core {}", self.load).into()),
        }
    }
}
