//! Connections that write as fast as they are answered until the server is gone.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use isogrid_engine::env::split_mix;

use super::{History, Value};

/// Operations sent at once, at most.
const PIPELINE_MAX: u64 = 48;
/// How often a connection looks whether the server was stopped.
const LOOK: Duration = Duration::from_millis(20);

/// A connection that may break off at any byte.
struct Line {
    stream: TcpStream,
    received: Vec<u8>,
    taken: usize,
}

impl Line {
    fn open(address: SocketAddr) -> Option<Line> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(LOOK)).ok()?;
        stream.set_write_timeout(Some(LOOK)).ok()?;
        Some(Line { stream, received: Vec::new(), taken: 0 })
    }

    /// Sends all; `None` when the server is gone or was stopped.
    fn send(&mut self, mut bytes: &[u8], stop: &AtomicBool) -> Option<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) => waits(&error, stop)?,
            }
        }
        Some(())
    }

    /// The next line; `None` as above.
    fn line(&mut self, stop: &AtomicBool) -> Option<String> {
        loop {
            let rest = &self.received[self.taken..];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&rest[..end]).trim_end().to_owned();
                self.taken += end + 1;
                return Some(line);
            }
            self.receive(stop)?;
        }
    }

    fn bytes(&mut self, len: usize, stop: &AtomicBool) -> Option<Vec<u8>> {
        while self.received.len() < self.taken + len {
            self.receive(stop)?;
        }
        let bytes = self.received[self.taken..self.taken + len].to_vec();
        self.taken += len;
        Some(bytes)
    }

    fn receive(&mut self, stop: &AtomicBool) -> Option<()> {
        self.received.drain(..self.taken);
        self.taken = 0;
        let mut piece = [0; 16 << 10];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(len) => {
                    self.received.extend(&piece[..len]);
                    return Some(());
                }
                Err(error) => waits(&error, stop)?,
            }
        }
    }
}

/// Goes on after a timeout, unless the test has stopped the server.
fn waits(error: &std::io::Error, stop: &AtomicBool) -> Option<()> {
    let again = matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    );
    (again && !stop.load(Ordering::Relaxed)).then_some(())
}

/// Writes as `owner` until the server is gone, was stopped, or answers wrongly.
pub fn drive(owner: &mut History, address: SocketAddr, stop: &AtomicBool) {
    let Some(mut line) = Line::open(address) else { return };
    let mut chance = owner.next_number();
    while owner.wrong.is_none() && !stop.load(Ordering::Relaxed) {
        let count = 1 + split_mix(&mut chance) % PIPELINE_MAX;
        let batch: Vec<u8> = (0..count).flat_map(|_| owner.draw()).collect();
        if line.send(&batch, stop).is_none() {
            return;
        }
        while owner.acked() < owner.sent() {
            let Some(answer) = line.line(stop) else { return };
            if !owner.answered(&answer, Instant::now()) {
                return;
            }
        }
        // Some pauses, in which the log comes to rest.
        if split_mix(&mut chance).is_multiple_of(64) {
            std::thread::sleep(Duration::from_millis(split_mix(&mut chance) % 30));
        }
    }
}

/// Reads keys of an owner until the server is gone. Puts the newest operation that was seen into
/// `seen`; gives the first value that nobody can have written.
pub fn watch(
    keys: &[String],
    address: SocketAddr,
    seen: &AtomicU64,
    stop: &AtomicBool,
) -> Option<String> {
    let mut line = Line::open(address)?;
    let mut chance = keys.len() as u64;
    while !stop.load(Ordering::Relaxed) {
        let key = &keys[(split_mix(&mut chance) % keys.len() as u64) as usize];
        line.send(format!("mg {key} v\r\n").as_bytes(), stop)?;
        let head = line.line(stop)?;
        if head == "EN" {
            continue;
        }
        let Some(len) = head.strip_prefix("VA ").and_then(|len| len.parse::<usize>().ok()) else {
            return Some(format!("a reader of {key} was answered {head}"));
        };
        let bytes = line.bytes(len + 2, stop)?;
        let Some(value) = Value::parse(key, &bytes[..len]) else {
            return Some(format!("a reader of {key} got {:?}", String::from_utf8_lossy(&bytes)));
        };
        seen.fetch_max(value.last().unwrap_or(0), Ordering::Relaxed);
    }
    None
}
