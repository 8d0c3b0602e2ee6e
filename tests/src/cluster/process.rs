//! One server, which may be killed, stopped and started again in its place.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::harness::send_signal;

/// How long a server may take to stop: to hand over, and to drain its connections.
const STOPS_WITHIN: Duration = Duration::from_secs(60);

/// A server's place: its arguments, and the process if it runs.
pub struct Process {
    command: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    /// It may end by itself.
    may_end: bool,
}

impl Process {
    /// One that does not run yet, and writes to `log`.
    pub fn new(command: Vec<String>, log: PathBuf) -> Process {
        Process { command, log, child: None, may_end: false }
    }

    /// Starts it.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{:?} runs", self.log);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).env_clear();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.may_end = false;
        self.child = Some(command.spawn().unwrap_or_else(|e| panic!("{:?}: {e}", self.command)));
    }

    /// From now to its next start it may end by itself.
    pub fn may_end(&mut self) {
        self.may_end = true;
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it as its operator does, and waits for its end.
    ///
    /// # Errors
    /// When it does not end in time, or not well.
    pub fn stop(&mut self) -> Result<(), String> {
        self.signal("TERM");
        self.wait_ended()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it does not end in time, or not well.
    pub fn wait_ended(&mut self) -> Result<(), String> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let begin = Instant::now();
        while begin.elapsed() < STOPS_WITHIN {
            match child.try_wait().unwrap() {
                Some(status) => {
                    self.child = None;
                    let how =
                        format!("a server that was stopped ended: {status}, see {:?}", self.log);
                    return if status.success() { Ok(()) } else { Err(how) };
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        Err(format!("a server does not stop within {STOPS_WITHIN:?}, see {:?}", self.log))
    }

    /// Sends it a signal, e.g. `STOP`.
    pub fn signal(&self, name: &str) {
        let Some(child) = &self.child else { return };
        send_signal(child.id(), name);
    }

    /// Whether it runs, as it should.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// That it has not ended by itself.
    ///
    /// # Errors
    /// How it ended, and where its log is.
    pub fn check(&mut self) -> Result<(), String> {
        let Some(child) = &mut self.child else { return Ok(()) };
        match child.try_wait().unwrap() {
            None => Ok(()),
            Some(_) if self.may_end => {
                self.child = None;
                Ok(())
            }
            Some(status) => Err(format!("a server ended by itself: {status}, see {:?}", self.log)),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
