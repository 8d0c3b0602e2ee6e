//! Plays a stream to two servers at once.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use super::command::{Command, Dialect};
use super::compare::{Pairs, compare};
use super::escape::escape;
use super::random::Random;
use super::round::{Round, Segment};
use super::skip::minus_behind_number;
use crate::harness::{magic, opcode, request};

/// Where two servers part.
#[derive(Debug)]
pub struct Mismatch {
    seed: u64,
    command: Option<Command>,
    why: String,
    left: Vec<u8>,
    right: Vec<u8>,
}

/// A server that takes so long hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the reference is waited for; it is silent where a command lacks its data.
const SILENCE: Duration = Duration::from_millis(20);
/// After so many silent commands in a row nothing is expected any more.
const SILENT_MAX: usize = 4;

/// Plays `round` to two servers whose caches are emptied first: to `left`, the reference, one
/// command after the other; to `right` all at once, in random pieces.
///
/// memcached 1.6.18 answers a pipeline otherwise than single commands: `incr` does not pad a value
/// whose `get` is not sent yet, and a `get` of a key that is too long drops the answers before it.
///
/// With `in_turn` the right one gets one command after the other too.
pub fn play(
    round: &Round,
    left: SocketAddr,
    right: SocketAddr,
    in_turn: bool,
) -> Result<(), Box<Mismatch>> {
    let mut pairs = Pairs::default();
    for server in [left, right] {
        let answer = say(server, &[b"flush_all\r\n".to_vec()], 0);
        assert_eq!(answer, b"OK\r\n", "{server} flushes");
    }
    for segment in &round.segments {
        let input = |side: fn(&(u64, u64)) -> u64| -> Vec<Vec<u8>> {
            let render = |(index, command): (usize, &Command)| {
                let seen: Vec<u64> = pairs.seen(command.key()).iter().map(side).collect();
                render(segment.dialect, index, command, &seen)
            };
            segment.commands.iter().enumerate().map(render).collect()
        };
        let (input_left, input_right) = (input(|pair| pair.0), input(|pair| pair.1));
        let (answer_left, answer_right) = std::thread::scope(|scope| {
            let other = scope.spawn(|| match in_turn {
                true => say_in_turn(right, segment.dialect, &input_right),
                false => say(right, &input_right, segment.splits),
            });
            (say_in_turn(left, segment.dialect, &input_left), other.join().unwrap())
        });
        let played = check(segment, &answer_left, &answer_right, &mut pairs);
        let played = played.map_err(|mut mismatch| {
            mismatch.seed = round.seed;
            mismatch
        })?;
        if matches!(played, Played::Parted) {
            break;
        }
    }
    Ok(())
}

/// A command, and behind it a question whose answer is known by its number.
fn render(dialect: Dialect, index: usize, command: &Command, seen: &[u64]) -> Vec<u8> {
    let mut bytes = command.render(seen);
    match dialect {
        Dialect::Text => bytes.extend_from_slice(format!("mg ~ k O{index}\r\n").as_bytes()),
        Dialect::Binary => {
            let noop = request(opcode::NOOP, MARK | index as u32, 0, &[], &[], &[]);
            bytes.extend(noop);
        }
    }
    bytes
}

/// In the opaque of the packets that are behind commands.
const MARK: u32 = 1 << 31;

/// The answer to the question behind a command.
fn mark(dialect: Dialect, index: usize) -> Vec<u8> {
    match dialect {
        Dialect::Text => format!("EN k~ O{index}\r\n").into_bytes(),
        Dialect::Binary => {
            let mut noop = request(opcode::NOOP, MARK | index as u32, 0, &[], &[], &[]);
            noop[0] = magic::RESPONSE;
            noop
        }
    }
}

/// Compares command by command, so that the one with another answer is known.
fn check(
    segment: &Segment,
    left: &[u8],
    right: &[u8],
    pairs: &mut Pairs,
) -> Result<Played, Box<Mismatch>> {
    let (mut left, mut right) = (parts(segment, left), parts(segment, right));
    let count = left.len().max(right.len());
    left.resize(count, (None, Vec::new()));
    right.resize(count, (None, Vec::new()));
    for ((left_of, left), (right_of, right)) in left.into_iter().zip(right) {
        // When it closes, 1.6.18 drops answers to packets that it has not sent yet, and it answers a
        // bad line only when the data behind it, which never comes, is swallowed.
        if segment.spoiled && left_of.is_none() && right.starts_with(&left) {
            break;
        }
        let compared = match left_of == right_of {
            true => {
                let command = left_of.and_then(|index| segment.commands.get(index));
                let key = command.map_or(&[][..], Command::key);
                compare(&left, &right, key, segment.spoiled, pairs)
            }
            false => Err(format!("the answer to {left_of:?} here, to {right_of:?} there")),
        };
        let Err(why) = compared else { continue };
        let first = [left_of, right_of].into_iter().flatten().min();
        let command = first.and_then(|index| segment.commands.get(index).cloned());
        let asked = command.as_ref().map_or(&[][..], Command::bytes);
        if minus_behind_number(asked, &left, &right) {
            return Ok(Played::Parted);
        }
        return Err(Box::new(Mismatch { seed: 0, command, why, left, right }));
    }
    Ok(Played::Alike)
}

/// How a segment ended.
enum Played {
    /// The caches hold the same.
    Alike,
    /// The reference went wrong in a known way: nothing behind that can be compared.
    Parted,
}

/// Answers by the command they belong to, as far as that can be told.
fn parts(segment: &Segment, mut answer: &[u8]) -> Vec<(Option<usize>, Vec<u8>)> {
    let mut parts = Vec::new();
    for index in 0..segment.commands.len() {
        let mark = mark(segment.dialect, index);
        if let Some(at) = answer.windows(mark.len()).position(|bytes| bytes == mark) {
            parts.push((Some(index), answer[..at].to_vec()));
            answer = &answer[at + mark.len()..];
        }
    }
    parts.push((None, answer.to_vec()));
    parts
}

fn connect(server: SocketAddr, patience: Duration) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(patience)).unwrap();
    stream
}

/// Says one command after the other, each when the one before it is answered.
fn say_in_turn(server: SocketAddr, dialect: Dialect, commands: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = connect(server, SILENCE);
    let mut answer = Vec::new();
    let mut silent = 0;
    for (index, command) in commands.iter().enumerate() {
        // A server that has closed does not want the rest.
        if stream.write_all(command).is_err() {
            break;
        }
        let mark = mark(dialect, index);
        while silent < SILENT_MAX && !answer.ends_with(&mark) {
            let mut piece = [0; 16 << 10];
            match stream.read(&mut piece) {
                Ok(0) => return answer,
                Ok(len) => answer.extend_from_slice(&piece[..len]),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return answer,
                Err(_) => {
                    silent += 1;
                    break;
                }
            }
        }
        if answer.ends_with(&mark) {
            silent = 0;
        }
    }
    let _ = stream.shutdown(Shutdown::Write);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    read_all(stream, answer)
}

/// Says everything in random pieces, then that this is all, and reads to the end.
fn say(server: SocketAddr, commands: &[Vec<u8>], splits: u64) -> Vec<u8> {
    let stream = connect(server, PATIENCE);
    let mut writer = stream.try_clone().unwrap();
    let input = commands.concat();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut random = Random::new(splits);
            let mut rest = input.as_slice();
            while !rest.is_empty() {
                let most = random.pick(&[1, 10, 100, 2_000, 100_000]);
                let (piece, behind) = rest.split_at(rest.len().min(1 + random.below(most)));
                if writer.write_all(piece).is_err() {
                    break;
                }
                rest = behind;
            }
            let _ = writer.shutdown(Shutdown::Write);
        });
        read_all(stream, Vec::new())
    })
}

/// Reads to the end, behind what is there.
fn read_all(mut stream: TcpStream, mut answer: Vec<u8>) -> Vec<u8> {
    let mut piece = [0; 64 << 10];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => return answer,
            Ok(len) => answer.extend_from_slice(&piece[..len]),
            Err(e) if e.kind() == ErrorKind::ConnectionReset => return answer,
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
