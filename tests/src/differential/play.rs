//! Plays a stream to two servers at once.

use std::fmt;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::command::{Command, Dialect};
use super::compare::{Pairs, compare};
use super::escape::escape;
use super::random::Random;
use super::round::{Round, Segment};
use super::token::packet_len;

/// Where two servers part.
#[derive(Debug)]
pub struct Mismatch {
    seed: u64,
    command: Option<Command>,
    why: String,
    left: Vec<u8>,
    right: Vec<u8>,
}

/// Plays `round` to two servers whose caches are emptied first.
pub fn play(round: &Round, left: SocketAddr, right: SocketAddr) -> Result<(), Mismatch> {
    let mut pairs = Pairs::default();
    for server in [left, right] {
        let answer = say(server, b"flush_all\r\n".to_vec(), 0);
        assert_eq!(answer, b"OK\r\n", "{server} flushes");
    }
    for segment in &round.segments {
        let input = |seen: &[u64]| -> Vec<u8> {
            let render = |(index, command)| render(segment.dialect, index, command, seen);
            segment.commands.iter().enumerate().flat_map(render).collect()
        };
        let (input_left, input_right) = (input(pairs.left()), input(pairs.right()));
        let (answer_left, answer_right) = std::thread::scope(|scope| {
            let other = scope.spawn(|| say(right, input_right, segment.splits));
            (say(left, input_left, segment.splits), other.join().unwrap())
        });
        check(segment, &answer_left, &answer_right, &mut pairs).map_err(|mut mismatch| {
            mismatch.seed = round.seed;
            mismatch
        })?;
    }
    Ok(())
}

/// A command, and behind a text command a question whose answer is known by its number.
fn render(dialect: Dialect, index: usize, command: &Command, seen: &[u64]) -> Vec<u8> {
    let mut bytes = command.render(seen);
    if dialect == Dialect::Text {
        bytes.extend_from_slice(format!("mg ~ k O{index}\r\n").as_bytes());
    }
    bytes
}

/// Compares command by command, so that the one with another answer is known.
fn check(segment: &Segment, left: &[u8], right: &[u8], pairs: &mut Pairs) -> Result<(), Mismatch> {
    let (mut left, mut right) = (parts(segment, left), parts(segment, right));
    let count = left.len().max(right.len());
    left.resize(count, (None, Vec::new()));
    right.resize(count, (None, Vec::new()));
    for ((left_of, left), (right_of, right)) in left.into_iter().zip(right) {
        let compared = match left_of == right_of {
            true => compare(&left, &right, pairs),
            false => Err(format!("the answer to {left_of:?} here, to {right_of:?} there")),
        };
        compared.map_err(|why| {
            let first = [left_of, right_of].into_iter().flatten().min();
            let command = first.and_then(|index| segment.commands.get(index).cloned());
            Mismatch { seed: 0, command, why, left: left.clone(), right: right.clone() }
        })?;
    }
    Ok(())
}

/// Answers by the command they belong to, as far as that can be told.
fn parts(segment: &Segment, answer: &[u8]) -> Vec<(Option<usize>, Vec<u8>)> {
    match segment.dialect {
        Dialect::Text => text_parts(segment.commands.len(), answer),
        Dialect::Binary => binary_parts(answer),
    }
}

fn text_parts(commands: usize, mut answer: &[u8]) -> Vec<(Option<usize>, Vec<u8>)> {
    let mut parts = Vec::new();
    for index in 0..commands {
        let mark = format!("EN k~ O{index}\r\n");
        let found = answer.windows(mark.len()).position(|bytes| bytes == mark.as_bytes());
        if let Some(at) = found {
            parts.push((Some(index), answer[..at].to_vec()));
            answer = &answer[at + mark.len()..];
        }
    }
    parts.push((None, answer.to_vec()));
    parts
}

fn binary_parts(mut answer: &[u8]) -> Vec<(Option<usize>, Vec<u8>)> {
    let mut parts = Vec::new();
    while !answer.is_empty() {
        let (packet, rest) = answer.split_at(packet_len(answer));
        let opaque =
            packet.get(12..16).map(|opaque| u32::from_be_bytes(opaque.try_into().unwrap()));
        parts.push((opaque.map(|opaque| opaque as usize), packet.to_vec()));
        answer = rest;
    }
    parts
}

/// Says everything on a new connection, then that this is all, and reads to the end.
fn say(server: SocketAddr, input: Vec<u8>, splits: u64) -> Vec<u8> {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        let mut random = Random::new(splits);
        let mut rest = input.as_slice();
        while !rest.is_empty() {
            let most = random.pick(&[1, 10, 100, 2_000, 100_000]);
            let (piece, behind) = rest.split_at(rest.len().min(1 + random.below(most)));
            // A server that has closed does not want the rest.
            if writer.write_all(piece).is_err() {
                break;
            }
            rest = behind;
        }
        let _ = writer.shutdown(Shutdown::Write);
    });
    let answer = read_all(stream);
    writing.join().unwrap();
    answer
}

fn read_all(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut piece = [0; 64 << 10];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return answer,
            Ok(len) => answer.extend_from_slice(&piece[..len]),
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return answer,
            Err(e) => {
                answer.extend_from_slice(format!("[never closed: {e}]").as_bytes());
                return answer;
            }
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {}", self.seed, self.why)?;
        match &self.command {
            Some(command) => writeln!(f, "  asked     {command}")?,
            None => writeln!(f, "  asked     behind the last answer that can be told")?,
        }
        writeln!(f, "  memcached {}", escape(&self.left))?;
        write!(f, "  isogrid   {}", escape(&self.right))
    }
}
