//! Who is connected: the count against the limit, the figures of `stats conns`, and the sweep
//! that ends connections which have been silent, half-way or unread for too long.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;

use super::addresses::Addresses;
use crate::config::LimitsConfig;

/// Places beyond the limit for listeners that speak HTTP alone: whoever looks after a server must
/// get in when its clients have taken every place.
const OPERATOR_PLACES: usize = 32;

/// What is received where no request is half read: nobody is too slow with that.
pub const WHOLE: u64 = u64::MAX;
/// How long a request may come slowly.
const SLOW_AFTER: Duration = Duration::from_secs(5);

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Waiting for a request.
    Idle,
    /// A request is half read.
    Reading,
    /// An answer waits for the client to read.
    Writing,
}

/// Who is at the other end of a connection.
pub struct Peer {
    /// The client's address, as `stats conns` shows it.
    pub name: String,
    /// What the client is counted by; `None` for a unix socket.
    pub address: Option<IpAddr>,
}

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Spoken {
    /// Not told yet.
    Unknown,
    /// One of memcached's protocols.
    Memcached,
    /// HTTP.
    Http,
    /// The native protocol.
    Native,
}

impl Spoken {
    /// All there are.
    pub const ALL: [Spoken; 4] = [Spoken::Unknown, Spoken::Memcached, Spoken::Http, Spoken::Native];

    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Spoken::Unknown => "unknown",
            Spoken::Memcached => "memcached",
            Spoken::Http => "http",
            Spoken::Native => "native",
        }
    }
}

/// Connections ended before they said anything that is served here.
#[derive(Default)]
pub struct Unserved {
    /// Their first byte begins no protocol that is known.
    pub unknown_protocol: AtomicU64,
    /// Their first byte begins a protocol that the listener does not accept.
    pub not_accepted: AtomicU64,
    /// They said nothing within `limits.handshake_timeout`.
    pub handshake_timeout: AtomicU64,
}

/// Why there is no place for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// `limits.max_connections` are open.
    Full,
    /// `limits.max_connections_per_address` are open from this address.
    Address,
}

/// One connection as others see it.
pub struct Info {
    /// Who connected.
    pub peer: Peer,
    /// The address that it connected to.
    pub local: String,
    spoken: AtomicU8,
    state: AtomicU8,
    /// When the state began, or the last answer made progress, ms.
    since: AtomicU64,
    /// Bytes that came since then; [`WHOLE`] when no request is half read.
    received: AtomicU64,
    /// Requests that wait to be answered.
    in_flight: AtomicU32,
    ended: OnceLock<&'static str>,
    waker: OnceLock<Waker>,
}

impl Info {
    fn new(peer: Peer, local: String, spoken: Spoken, now: u64) -> Self {
        Info {
            peer,
            local,
            spoken: AtomicU8::new(spoken as u8),
            state: AtomicU8::new(State::Idle as u8),
            since: AtomicU64::new(now),
            received: AtomicU64::new(WHOLE),
            in_flight: AtomicU32::new(0),
            ended: OnceLock::new(),
            waker: OnceLock::new(),
        }
    }

    /// A connection that is none.
    #[cfg(test)]
    pub fn of_test() -> Self {
        let peer = Peer { name: String::new(), address: None };
        Info::new(peer, String::new(), Spoken::Unknown, 0)
    }

    /// Remembers how to wake the connection's task.
    pub fn set_waker(&self, waker: &Waker) {
        self.waker.get_or_init(|| waker.clone());
    }

    /// Says what the connection speaks.
    pub fn set_spoken(&self, spoken: Spoken) {
        self.spoken.store(spoken as u8, Ordering::Relaxed);
    }

    /// What the connection speaks.
    pub fn spoken(&self) -> Spoken {
        let spoken = self.spoken.load(Ordering::Relaxed);
        Spoken::ALL.into_iter().find(|one| *one as u8 == spoken).unwrap_or(Spoken::Unknown)
    }

    /// Says what the connection is doing since when.
    #[inline]
    pub fn set_state(&self, state: State, since: u64) {
        self.state.store(state as u8, Ordering::Relaxed);
        self.since.store(since, Ordering::Relaxed);
    }

    /// What the connection is doing, and since when.
    pub fn state(&self) -> (State, u64) {
        let state = match self.state.load(Ordering::Relaxed) {
            0 => State::Idle,
            1 => State::Reading,
            _ => State::Writing,
        };
        (state, self.since.load(Ordering::Relaxed))
    }

    /// Says how many bytes have come since the state began, of a request that is half read.
    #[inline]
    pub fn set_received(&self, bytes: u64) {
        self.received.store(bytes, Ordering::Relaxed);
    }

    /// More has come of a request that is half read.
    pub fn add_received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether what came in this time is less than it should be.
    fn is_slower(&self, rate: Option<u64>, span: Duration) -> bool {
        let received = self.received.load(Ordering::Relaxed);
        let due = |rate| u128::from(received) * 1_000 < u128::from(rate) * span.as_millis();
        span >= SLOW_AFTER && rate.is_some_and(due)
    }

    /// Says how many requests wait to be answered.
    #[inline]
    pub fn set_in_flight(&self, requests: usize) {
        self.in_flight.store(u32::try_from(requests).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// Why the connection has to end, when it has.
    #[inline]
    pub fn ended(&self) -> Option<&'static str> {
        self.ended.get().copied()
    }

    /// Ends the connection.
    pub fn end(&self, why: &'static str) {
        self.ended.get_or_init(|| why);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }
}

/// All connections.
pub struct Connections {
    max: usize,
    open: AtomicUsize,
    /// Connections ever opened.
    pub total: AtomicU64,
    /// Connections refused because a limit was reached.
    pub rejected: AtomicU64,
    /// ... of those, because their address had as many as it may have.
    pub rejected_by_address: AtomicU64,
    /// Times that accepting stopped because the limit was reached.
    pub paused: AtomicU64,
    /// How long it did so, ms.
    pub paused_ms: AtomicU64,
    /// Connections ended for being silent.
    pub idle_kicks: AtomicU64,
    /// Connections ended since their request came too slowly.
    pub slow_kicks: AtomicU64,
    /// Connections ended before anything was served.
    pub unserved: Unserved,
    present: Mutex<Present>,
    freed: Notify,
}

/// Who is there.
struct Present {
    /// The number of the next connection: never reset, unlike what `stats` counts.
    next: u64,
    by_id: BTreeMap<u64, Arc<Info>>,
    addresses: Addresses,
}

/// A connection's place among the open ones; dropping it gives the place back.
pub struct Place {
    node: Arc<super::Node>,
    id: u64,
    /// What others see of it.
    pub info: Arc<Info>,
}

impl Connections {
    /// None yet, within `limits`.
    pub fn new(limits: &LimitsConfig) -> Self {
        let addresses = Addresses::new(limits.max_connections_per_address);
        Connections {
            max: limits.max_connections,
            open: AtomicUsize::new(0),
            total: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            rejected_by_address: AtomicU64::new(0),
            paused: AtomicU64::new(0),
            paused_ms: AtomicU64::new(0),
            idle_kicks: AtomicU64::new(0),
            slow_kicks: AtomicU64::new(0),
            unserved: Unserved::default(),
            present: Mutex::new(Present { next: 0, by_id: BTreeMap::new(), addresses }),
            freed: Notify::new(),
        }
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections open now that speak each protocol.
    pub fn by_spoken(&self) -> [(Spoken, u64); 4] {
        self.sums(|_| 1)
    }

    /// Requests that wait to be answered now, by protocol.
    pub fn in_flight(&self) -> [(Spoken, u64); 4] {
        self.sums(|info| info.in_flight.load(Ordering::Relaxed).into())
    }

    fn sums(&self, read: fn(&Info) -> u64) -> [(Spoken, u64); 4] {
        let mut sums = Spoken::ALL.map(|spoken| (spoken, 0));
        for info in self.lock().by_id.values() {
            let (spoken, value) = (info.spoken(), read(info));
            sums.iter_mut().filter(|(one, _)| *one == spoken).for_each(|(_, n)| *n += value);
        }
        sums
    }

    /// Takes a place for a connection that speaks `spoken`, as far as the listener tells.
    ///
    /// # Errors
    /// When all places are taken, or all that the peer's address may have.
    pub fn admit(
        node: &Arc<super::Node>,
        peer: Peer,
        local: String,
        spoken: Spoken,
    ) -> Result<Place, Refused> {
        let this = &node.connections;
        let mut present = this.lock();
        if let Err(refused) = this.enter(&mut present, &peer, this.places(spoken)) {
            this.count(refused);
            return Err(refused);
        }
        this.total.fetch_add(1, Ordering::Relaxed);
        let info = Arc::new(Info::new(peer, local, spoken, node.now()));
        let id = present.next;
        present.next += 1;
        present.by_id.insert(id, Arc::clone(&info));
        Ok(Place { node: Arc::clone(node), id, info })
    }

    /// Places that a connection of this kind may be the last of.
    fn places(&self, spoken: Spoken) -> usize {
        self.max + if spoken == Spoken::Http { OPERATOR_PLACES } else { 0 }
    }

    fn enter(&self, present: &mut Present, peer: &Peer, places: usize) -> Result<(), Refused> {
        if peer.address.is_some_and(|address| !present.addresses.enter(address)) {
            return Err(Refused::Address);
        }
        let place = self.open.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |open| {
            (open < places).then_some(open + 1)
        });
        if place.is_err() {
            peer.address.inspect(|address| present.addresses.leave(*address));
            return Err(Refused::Full);
        }
        Ok(())
    }

    fn count(&self, refused: Refused) {
        self.rejected.fetch_add(1, Ordering::Relaxed);
        if refused == Refused::Address {
            self.rejected_by_address.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a place is free.
    pub async fn place_freed(&self) {
        self.freed.notified().await;
    }

    /// Whether a place is free for a client.
    pub fn has_place(&self) -> bool {
        self.open() < self.max
    }

    /// Whether a place is free for a connection that speaks `spoken`.
    pub fn has_place_for(&self, spoken: Spoken) -> bool {
        self.open() < self.places(spoken)
    }

    /// All connections, oldest first.
    pub fn list(&self) -> Vec<(u64, Arc<Info>)> {
        self.lock().by_id.iter().map(|(id, info)| (*id, Arc::clone(info))).collect()
    }

    /// Has every connection look whether the node is stopping.
    pub fn wake_all(&self) {
        self.lock().by_id.values().for_each(|info| info.wake());
    }

    /// Ends connections that have been in one state for too long.
    pub fn sweep(&self, limits: &LimitsConfig, now: u64) {
        for info in self.lock().by_id.values() {
            let (state, since) = info.state();
            let (limit, why) = match state {
                State::Idle => (limits.idle_timeout, "silent for longer than idle_timeout"),
                State::Reading => (limits.request_timeout, "half a request for request_timeout"),
                State::Writing => (limits.write_timeout, "answers unread for write_timeout"),
            };
            let silent = Duration::from_millis(now.saturating_sub(since));
            if limit.is_some_and(|limit| silent >= limit) && info.ended().is_none() {
                if state == State::Idle {
                    self.idle_kicks.fetch_add(1, Ordering::Relaxed);
                }
                info.end(why);
            }
            let is_slow = state == State::Reading && info.is_slower(limits.request_rate, silent);
            if is_slow && info.ended().is_none() {
                self.slow_kicks.fetch_add(1, Ordering::Relaxed);
                info.end("a request slower than request_rate");
            }
        }
    }
}

impl Place {
    /// The connection's number, from 1 on; no other connection ever has it.
    pub fn number(&self) -> u64 {
        self.id + 1
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let this = &self.node.connections;
        let mut present = this.lock();
        present.by_id.remove(&self.id);
        self.info.peer.address.inspect(|address| present.addresses.leave(*address));
        drop(present);
        this.open.fetch_sub(1, Ordering::AcqRel);
        this.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_too_slow_when_less_came_than_is_due() {
        for (rate, ms, received, is_slower) in [
            (Some(1_024), 4_999, 0, false),
            (Some(1_024), 5_000, 5 * 1_024, false),
            (Some(1_024), 5_000, 5 * 1_024 - 1, true),
            (Some(1_024), 60_000, 60 * 1_024, false),
            (Some(1_024), 60_001, 60 * 1_024, true),
            (Some(1), 6_000, 6, false),
            (Some(1), 7_000, 6, true),
            (None, 60_000, 0, false),
            (Some(1 << 20), 60_000, WHOLE, false),
        ] {
            let info = Info::of_test();
            info.set_received(received);
            let slower = info.is_slower(rate, Duration::from_millis(ms));
            assert_eq!(slower, is_slower, "{rate:?} {ms} ms {received} bytes");
        }
    }
}
