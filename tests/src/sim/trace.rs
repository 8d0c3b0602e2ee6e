//! What has happened: the last lines of it for who has to find out why a run failed, and a hash of
//! all of it, which tells two runs apart.

use std::collections::VecDeque;

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

    pub(super) fn add(&mut self, line: String) {
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        if self.lines.len() >= self.keep {
            self.lines.pop_front();
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
