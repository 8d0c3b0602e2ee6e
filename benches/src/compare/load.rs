//! The closed-loop load: each connection sends a batch, waits for all its replies, and sends the
//! next. One thread and one epoll, so that on a core of its own it outruns the server.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};
use rustls::ClientConfig;

use super::Result;
use super::clock::now;
use super::connection::Connection;
use super::protocol::{Protocol, Reply};
use super::traffic::Traffic;
use super::values::Values;

/// A server that says nothing for so long is stuck.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Events that one wait may bring.
const EVENTS_MAX: usize = 1024;

/// Connections to one server.
pub struct Load {
    poll: Poll,
    connections: Vec<Connection>,
    values: Values,
}

/// What a run of the load brought.
pub struct Outcome {
    /// Requests sent and answered.
    pub requests: u64,
    /// Keys that were found by gets.
    pub hits: u64,
    /// Sets refused for want of memory.
    pub refused: u64,
    /// From the first request to the last reply.
    pub elapsed: Duration,
    /// Nanoseconds from the sending of a batch to each of its replies.
    pub latency: Histogram<u64>,
}

impl Load {
    /// Opens the connections; they last until the load is dropped.
    pub fn connect(address: SocketAddr, protocol: Protocol, connections: usize) -> Result<Self> {
        Load::connect_over(None, address, protocol, connections)
    }

    /// As [`Load::connect`], over TLS where there is a configuration for it.
    pub fn connect_over(
        tls: Option<&Arc<ClientConfig>>,
        address: SocketAddr,
        protocol: Protocol,
        connections: usize,
    ) -> Result<Self> {
        Self::open(tls, &[address], protocol, connections)
    }

    /// As [`Load::connect`], to several servers in turns.
    pub fn connect_to_each(
        addresses: &[SocketAddr],
        protocol: Protocol,
        connections: usize,
    ) -> Result<Self> {
        Self::open(None, addresses, protocol, connections)
    }

    fn open(
        tls: Option<&Arc<ClientConfig>>,
        addresses: &[SocketAddr],
        protocol: Protocol,
        connections: usize,
    ) -> Result<Self> {
        let poll = Poll::new()?;
        let open = |(number, address): (usize, &SocketAddr)| {
            Connection::open(*address, tls, protocol, poll.registry(), Token(number))
        };
        let turns = addresses.iter().cycle().take(connections).enumerate();
        let connections = turns.map(open).collect::<Result<_>>()?;
        Ok(Self { poll, connections, values: Values::new() })
    }

    /// Sends `traffic` until it ends or `time` is over, `depth` requests a batch. All that was
    /// sent is answered when this returns, so server CPU over the call belongs to it alone.
    pub fn run(
        &mut self,
        traffic: &mut Traffic,
        depth: usize,
        time: Option<Duration>,
    ) -> Result<Outcome> {
        let started = now();
        let until = time.map(|time| started + time);
        let mut outcome = Outcome::new()?;
        for connection in &mut self.connections {
            connection.send(traffic, depth, &self.values, started)?;
        }
        let mut events = Events::with_capacity(EVENTS_MAX);
        while self.connections.iter().any(|connection| !connection.idle()) {
            self.turn(&mut events, traffic, depth, until, &mut outcome)?;
        }
        outcome.elapsed = now() - started;
        Ok(outcome)
    }

    /// Waits once and serves the connections that are ready.
    fn turn(
        &mut self,
        events: &mut Events,
        traffic: &mut Traffic,
        depth: usize,
        until: Option<Instant>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        match self.poll.poll(events, Some(SILENCE_MAX)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            waited => waited?,
        }
        if events.is_empty() {
            return Err(format!("the server did not answer for {SILENCE_MAX:?}").into());
        }
        for event in events.iter() {
            let Some(connection) = self.connections.get_mut(event.token().0) else { continue };
            connection.flush()?;
            if connection.idle() {
                continue;
            }
            let arrived = now();
            let waited = connection.sent_at().map(|sent| arrived - sent).unwrap_or_default();
            connection.receive(traffic, |reply| outcome.record(reply, waited))?;
            if connection.idle() && until.is_none_or(|until| arrived < until) {
                connection.send(traffic, depth, &self.values, now())?;
            }
        }
        Ok(())
    }
}

impl Outcome {
    fn new() -> Result<Self> {
        let (latency, elapsed) = (empty_histogram()?, Duration::ZERO);
        Ok(Self { requests: 0, hits: 0, refused: 0, elapsed, latency })
    }

    fn record(&mut self, reply: Reply, waited: Duration) {
        self.requests += 1;
        self.hits += reply.hits as u64;
        self.refused += u64::from(reply.refused);
        self.latency.saturating_record(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// Nanoseconds up to [`SILENCE_MAX`] with three digits.
pub fn empty_histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_max(u64::try_from(SILENCE_MAX.as_nanos())?, 3)?)
}
