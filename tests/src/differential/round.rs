//! A random stream of commands over several connections, one after the other.

use super::command::{Command, Dialect};
use super::random::Random;
use super::{binary, meta, skip, text};

/// What one connection says.
#[derive(Debug, Clone)]
pub struct Segment {
    /// In which protocol.
    pub dialect: Dialect,
    /// The commands in order.
    pub commands: Vec<Command>,
    /// Where the writes are split.
    pub splits: u64,
    /// Whether commands were spoiled, so that lines may be taken apart where nobody meant it.
    pub spoiled: bool,
}

/// What one seed says.
#[derive(Debug, Clone)]
pub struct Round {
    /// The seed.
    pub seed: u64,
    /// The connections in order.
    pub segments: Vec<Segment>,
}

impl Round {
    /// The stream of a seed.
    pub fn random(seed: u64) -> Round {
        let mut random = Random::new(seed);
        let segments = (0..2 + random.below(5)).map(|_| segment(&mut random)).collect();
        Round { seed, segments }
    }

    /// The stream with as few commands as can be while `fails` holds.
    pub fn shrink(mut self, fails: impl Fn(&Round) -> bool) -> Round {
        let mut pieces = 2;
        while pieces <= self.len() * 2 {
            let size = self.len().div_ceil(pieces).max(1);
            let starts = (0..self.len()).step_by(size);
            match starts.map(|start| self.without(start, size)).find(|round| fails(round)) {
                Some(smaller) => self = smaller,
                None if size == 1 => break,
                None => pieces *= 2,
            }
        }
        self
    }

    fn len(&self) -> usize {
        self.segments.iter().map(|segment| segment.commands.len()).sum()
    }

    /// Without the commands `start..start + size`, counted over all segments.
    fn without(&self, start: usize, size: usize) -> Round {
        let mut round = self.clone();
        let mut at = 0;
        for segment in &mut round.segments {
            segment.commands.retain(|_| {
                at += 1;
                !(start..start + size).contains(&(at - 1))
            });
        }
        round.segments.retain(|segment| !segment.commands.is_empty());
        round
    }
}

fn segment(random: &mut Random) -> Segment {
    let dialect = random.pick(&[Dialect::Text, Dialect::Text, Dialect::Binary]);
    let count = 1 + random.below(40);
    let spoiled = random.once_in(2);
    let commands = (0..count).map(|index| command(random, dialect, index, spoiled)).collect();
    Segment { dialect, commands, splits: random.bits(), spoiled }
}

fn command(random: &mut Random, dialect: Dialect, index: usize, spoiled: bool) -> Command {
    loop {
        let mut command = match dialect {
            Dialect::Text if random.once_in(2) => text::command(random),
            Dialect::Text => meta::command(random),
            Dialect::Binary => binary::command(random, index as u32),
        };
        if spoiled && random.once_in(6) {
            command.break_bytes(|bytes| spoil(random, dialect, bytes));
        }
        // A connection's first byte says which protocol it speaks.
        let first_is_right = dialect == Dialect::Text || command.bytes().first() == Some(&0x80);
        // The question behind each command is part of a line that has lost its end.
        let line = [command.render(&[]), b"mg ~ k O0\r\n".to_vec()].concat();
        // Data that is taken for a line may be as long as a line, or 1.6.18 closes now and then.
        // A request of HTTP that has lost its front is closed by newer versions alone.
        let whole_http = !spoiled || !line.windows(5).any(|bytes| bytes == b"HTTP/");
        let short = whole_http && (!spoiled || line.len() < 1_900);
        if first_is_right && short && skip::skipped(&line).is_none() {
            return command;
        }
    }
}

/// Makes a good command a bad one, as likely as not.
fn spoil(random: &mut Random, dialect: Dialect, bytes: &mut Vec<u8>) {
    let len = bytes.len().min(if dialect == Dialect::Text { 40 } else { 24 });
    let at = random.below(len.max(1));
    match random.below(6) {
        0 => drop(bytes.remove(at)),
        1 => bytes.insert(at, random.pick(b" \r\n0-9k\x00\x80")),
        2 => bytes[at] = random.pick(b" \r\n0-9k\x00\x80"),
        3 => bytes.truncate(at + 1),
        4 => drop(bytes.splice(at..at, std::iter::repeat_n(b'k', 250))),
        _ => drop(bytes.splice(at..at, b" x".iter().copied())),
    }
}
