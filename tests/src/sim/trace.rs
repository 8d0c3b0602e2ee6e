//! What has happened: the last lines of it for who has to find out why a run failed, and a hash of
//! all of it, which tells two runs apart. Writing it down takes as long as the run itself, so a run
//! is traced when somebody asks for that, or when it is done again because it failed.

use std::collections::VecDeque;
use std::fmt::{self, Write};

/// Lines that a failure prints, unless `ISOGRID_SIM_TRACE` asks for more.
const LINES: usize = 200;

/// The trace of a run.
#[derive(Debug)]
pub(super) struct Trace {
    lines: VecDeque<String>,
    keep: usize,
    hash: u64,
}

impl Trace {
    pub(super) fn new() -> Self {
        let asked = std::env::var("ISOGRID_SIM_TRACE").ok().and_then(|lines| lines.parse().ok());
        Trace { lines: VecDeque::new(), keep: asked.unwrap_or(LINES), hash: 0xcbf2_9ce4_8422_2325 }
    }

    /// Something happens at this moment, true time, us.
    pub(super) fn add(&mut self, now: u64, what: fmt::Arguments<'_>) {
        let is_full = self.lines.len() >= self.keep;
        let oldest = if is_full { self.lines.pop_front() } else { None };
        let mut line = oldest.unwrap_or_default();
        line.clear();
        let (ms, us) = (now / 1_000, now % 1_000);
        write!(line, "{ms:>6}.{us:03} {what}").expect("a string takes all that is written");
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        self.lines.push_back(line);
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    /// The last lines.
    pub(super) fn text(&self) -> String {
        let lines: Vec<&str> = self.lines.iter().map(String::as_str).collect();
        lines.join("\n")
    }
}
