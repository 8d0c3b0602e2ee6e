//! One connection of the load: writes a batch of requests at once, reads until all are answered.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use mio::{Registry, Token};
use rustls::ClientConfig;

use super::protocol::{Protocol, Reply};
use super::stream::Stream;
use super::traffic::{Request, Traffic};
use super::values::Values;
use super::{Result, resp};

/// Room for replies to begin with; doubled when a reply does not fit.
const INPUT_BYTES: usize = 32 * 1024;

/// A connection and what it still waits for.
pub struct Connection {
    stream: Stream,
    protocol: Protocol,
    output: Vec<u8>,
    written: usize,
    input: Vec<u8>,
    filled: usize,
    pending: VecDeque<Request>,
    sent_at: Option<Instant>,
}

impl Connection {
    /// Connects, over TLS where there is a configuration for it, and registers for edge-triggered
    /// events.
    pub fn open(
        address: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
        protocol: Protocol,
        registry: &Registry,
        token: Token,
    ) -> Result<Self> {
        let stream = Stream::open(address, tls, protocol, registry, token)?;
        let (output, input) = (Vec::new(), vec![0; INPUT_BYTES]);
        let pending = VecDeque::new();
        Ok(Self { stream, protocol, output, written: 0, input, filled: 0, pending, sent_at: None })
    }

    /// Whether every request is answered.
    pub fn idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// When the batch under way was sent.
    pub fn sent_at(&self) -> Option<Instant> {
        self.sent_at
    }

    /// Encodes up to `depth` requests and sends them with one write.
    pub fn send(
        &mut self,
        traffic: &mut Traffic,
        depth: usize,
        values: &Values,
        now: Instant,
    ) -> Result<()> {
        self.output.clear();
        self.written = 0;
        for request in traffic.take(depth) {
            self.pending.push_back(request);
        }
        if self.protocol == Protocol::RespWait && !self.pending.is_empty() {
            self.pending.push_back(Request::Wait);
        }
        for request in &self.pending {
            match request {
                Request::Get(at) => self.protocol.encode_get(traffic.ids(at), &mut self.output),
                Request::Set { id, size } => {
                    self.protocol.encode_set(*id, values.of(*size), &mut self.output);
                }
                Request::Wait => resp::encode_wait(&mut self.output),
            }
        }
        self.sent_at = Some(now);
        self.flush()
    }

    /// Writes what is left of the batch.
    pub fn flush(&mut self) -> Result<()> {
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        match self.stream.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Reads what has arrived and hands each complete reply to `on_reply`.
    pub fn receive(&mut self, traffic: &Traffic, mut on_reply: impl FnMut(Reply)) -> Result<()> {
        while self.read_once()? {
            self.decode(traffic, &mut on_reply)?;
        }
        self.decode(traffic, &mut on_reply)
    }

    /// One read; true when there may be more. A read that does not fill the buffer has emptied
    /// the socket, and an edge will tell of what comes later.
    fn read_once(&mut self) -> Result<bool> {
        if self.filled == self.input.len() {
            self.input.resize(self.filled * 2, 0);
        }
        let room = self.input.get_mut(self.filled..).unwrap_or_default();
        let size = room.len();
        match self.stream.read(room) {
            Ok(0) => Err("the server closed a connection".into()),
            Ok(count) => {
                self.filled += count;
                Ok(count == size || !self.stream.is_emptied_by_short_reads())
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes complete replies off the front of the input and keeps the incomplete rest.
    fn decode(&mut self, traffic: &Traffic, on_reply: &mut impl FnMut(Reply)) -> Result<()> {
        let mut rest = self.input.get(..self.filled).unwrap_or_default();
        while let Some(request) = self.pending.front() {
            let Some(reply) = decode_one(self.protocol, request, traffic, rest)? else { break };
            rest = rest.get(reply.length..).unwrap_or_default();
            if !matches!(self.pending.pop_front(), Some(Request::Wait)) {
                on_reply(reply);
            }
        }
        if self.pending.is_empty() && !rest.is_empty() {
            return Err("the server answered more than it was asked".into());
        }
        let (start, end) = (self.filled - rest.len(), self.filled);
        self.filled = rest.len();
        self.input.copy_within(start..end, 0);
        Ok(())
    }
}

/// Reads one reply and checks the lengths of its values.
fn decode_one(
    protocol: Protocol,
    request: &Request,
    traffic: &Traffic,
    input: &[u8],
) -> Result<Option<Reply>> {
    let places = match request {
        Request::Get(places) => places,
        Request::Set { .. } => return protocol.decode_set(input),
        Request::Wait => return resp::decode_wait(input),
    };
    let reply = protocol.decode_get(traffic.ids(places), input)?;
    match (reply, traffic.size_of_values()) {
        (Some(reply), Some(size)) if reply.value_bytes != reply.hits * size => {
            Err(format!("{} values have {} bytes", reply.hits, reply.value_bytes).into())
        }
        _ => Ok(reply),
    }
}
