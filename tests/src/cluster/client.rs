//! A client of the memcached text protocol that always knows what it was told: done, not done, or
//! nobody knows.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::checker::{Ask, Told};

/// A connection to one node, made when it is needed.
pub struct Client {
    address: SocketAddr,
    patience: Duration,
    stream: Option<BufReader<TcpStream>>,
}

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reply {
    Line(String),
    /// A value and its version.
    Value(u64, u64),
}

impl Client {
    /// One that waits so long for an answer.
    pub fn new(address: SocketAddr, patience: Duration) -> Client {
        Client { address, patience, stream: None }
    }

    /// Asks, and says what was told. Values are written with `ms`, which tells their version, if
    /// `meta`, and with `set` otherwise.
    ///
    /// # Panics
    /// When the server answers what is no answer to that.
    pub fn perform(&mut self, key: &str, ask: Ask, meta: bool) -> Told {
        if self.stream.is_none() && !self.connect() {
            return Told::Failed;
        }
        let Some(reply) = self.call(&request(key, ask, meta)) else {
            self.stream = None;
            return Told::Unknown;
        };
        told(ask, &reply).unwrap_or_else(|| panic!("{ask:?} of {key}: the answer is {reply:?}"))
    }

    fn connect(&mut self) -> bool {
        let Ok(stream) = TcpStream::connect_timeout(&self.address, self.patience) else {
            return false;
        };
        let ready = stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(self.patience)))
            .and_then(|()| stream.set_write_timeout(Some(self.patience)));
        self.stream = ready.ok().map(|()| BufReader::new(stream));
        self.stream.is_some()
    }

    /// `None` when there is no whole answer in time.
    fn call(&mut self, request: &str) -> Option<Reply> {
        let stream = self.stream.as_mut()?;
        stream.get_mut().write_all(request.as_bytes()).ok()?;
        let line = read_line(stream)?;
        let Some(value) = line.strip_prefix("VALUE ") else { return Some(Reply::Line(line)) };
        let mut words = value.split(' ').skip(2);
        let (len, version) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        let mut data = vec![0; len];
        stream.read_exact(&mut data).ok()?;
        let (nothing, end) = (read_line(stream)?, read_line(stream)?);
        assert!(nothing.is_empty() && end == "END", "after a value: {nothing:?}, {end:?}");
        // A number that was counted down keeps its length; ours are only counted up.
        Some(Reply::Value(String::from_utf8(data).ok()?.parse().ok()?, version))
    }
}

fn read_line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    line.strip_suffix("\r\n").map(str::to_owned)
}

fn request(key: &str, ask: Ask, meta: bool) -> String {
    match ask {
        Ask::Get => format!("gets {key}\r\n"),
        Ask::Put(value) | Ask::Cas { value, .. } => {
            let (value, version) = (value.to_string(), version(ask));
            let len = value.len();
            match (meta, version) {
                (true, None) => format!("ms {key} {len} c\r\n{value}\r\n"),
                (true, Some(version)) => format!("ms {key} {len} c C{version}\r\n{value}\r\n"),
                (false, None) => format!("set {key} 0 0 {len}\r\n{value}\r\n"),
                (false, Some(version)) => format!("cas {key} 0 0 {len} {version}\r\n{value}\r\n"),
            }
        }
        Ask::Delete => format!("delete {key}\r\n"),
        Ask::Increment => format!("incr {key} 1\r\n"),
    }
}

fn version(ask: Ask) -> Option<u64> {
    match ask {
        Ask::Cas { version, .. } => Some(version),
        _ => None,
    }
}

/// What an answer means; `None` when it is no answer to that.
fn told(ask: Ask, reply: &Reply) -> Option<Told> {
    let line = match reply {
        Reply::Value(value, version) => {
            return (ask == Ask::Get).then_some(Told::Read(Some((*value, *version))));
        }
        Reply::Line(line) => line.as_str(),
    };
    let word = line.split(' ').next().unwrap_or_default();
    match (ask, word) {
        // The server says which of the two it is (R36).
        (_, "SERVER_ERROR") if line.ends_with("try again") => Some(Told::Failed),
        (_, "SERVER_ERROR") if line.contains("out of storage") => Some(Told::Failed),
        (_, "SERVER_ERROR") if line.contains("outcome unknown") => Some(Told::Unknown),
        (Ask::Get, "END") => Some(Told::Read(None)),
        (Ask::Put(_) | Ask::Cas { .. }, "STORED") => Some(Told::Done(None)),
        (Ask::Put(_) | Ask::Cas { .. }, "HD") => {
            Some(Told::Done(Some(line.strip_prefix("HD c")?.parse().ok()?)))
        }
        (Ask::Cas { .. }, "EXISTS" | "EX") => Some(Told::Changed),
        (Ask::Cas { .. }, "NOT_FOUND" | "NF") => Some(Told::Missing),
        (Ask::Delete, "DELETED") => Some(Told::Done(None)),
        (Ask::Delete | Ask::Increment, "NOT_FOUND") => Some(Told::Missing),
        (Ask::Increment, _) => Some(Told::Counted(line.parse().ok()?)),
        _ => None,
    }
}
