//! A world of one client, two servers and the network between them, run from a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::backoff::Random;
use super::super::{
    Action, CallId, Channel, Core, Credentials, Event, LinkId, Moment, Reply, Request, Settings,
};
use super::server::{Ledger, Peer, Server, Trouble, Verdict};
use crate::client::error::Error;
use crate::native::handshake::Hello;

/// What is going to happen.
#[derive(Debug)]
pub enum Happening {
    Ask(CallId, Box<Request>),
    Cancel(CallId),
    Connected(LinkId, usize),
    Refused(LinkId),
    ToServer(LinkId, Vec<u8>),
    ToClient(LinkId, Vec<u8>),
    Broken(LinkId),
    Crash(usize),
    Start(usize),
    Heal,
    Tick,
}

/// How a request ended, and when.
pub type End = (Moment, Result<Reply, Error>);

pub struct World {
    pub now: Moment,
    pub random: Random,
    pub core: Core,
    pub servers: [Server; 2],
    pub ledger: Ledger,
    pub ends: BTreeMap<CallId, Vec<End>>,
    pub items: BTreeMap<CallId, usize>,
    pub connects: u64,
    queue: BTreeMap<(Moment, u64), Happening>,
    next: u64,
    peers: BTreeMap<LinkId, Peer>,
    /// Connections that the client has not closed nor heard to be broken.
    pub open: BTreeMap<LinkId, (Moment, Moment)>,
    /// Longest delay of a packet, ms.
    delay: u64,
}

pub fn ms(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

impl World {
    pub fn new(seed: u64, trouble: Trouble) -> Self {
        let settings = Settings {
            addresses: vec!["a:1".to_owned(), "b:1".to_owned()],
            hello: Hello::default(),
            credentials: Credentials::default(),
            connect_timeout: ms(300),
            keepalive: ms(500),
            backoff: (ms(5), ms(200)),
            routing: true,
            seed,
        };
        let mut servers = [Server::new("a"), Server::new("b")];
        for server in &mut servers {
            server.start();
            server.trouble = trouble;
        }
        World {
            now: Moment::ZERO,
            random: Random::new(seed),
            core: Core::new(settings),
            servers,
            ledger: Ledger::default(),
            ends: BTreeMap::new(),
            items: BTreeMap::new(),
            connects: 0,
            queue: BTreeMap::new(),
            next: 0,
            peers: BTreeMap::new(),
            open: BTreeMap::new(),
            delay: 40,
        }
    }

    pub fn plan(&mut self, at: Moment, happening: Happening) {
        self.next += 1;
        self.queue.insert((at, self.next), happening);
    }

    pub fn draw(&mut self, below: u64) -> u64 {
        self.random.number() % below.max(1)
    }

    /// Lets everything happen that is to happen until then.
    pub fn run(&mut self, until: Moment) {
        loop {
            let tick = self.core.next_tick().map(|at| at.max(self.now));
            let first = self.queue.first_key_value().map(|(key, _)| *key);
            let next = first.map(|(at, _)| at).into_iter().chain(tick).min();
            let Some(at) = next.filter(|at| *at <= until) else { break };
            self.now = at;
            let happening = match first {
                Some(key) if key.0 == at => self.queue.remove(&key).unwrap(),
                _ => Happening::Tick,
            };
            self.happen(happening);
        }
        self.now = until;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Ask(call, request) => self.step(Event::Call(call, request)),
            Happening::Cancel(call) => self.step(Event::Cancel(call)),
            Happening::Connected(link, server) => {
                self.peers.insert(link, Peer::new(server, self.servers[server].life));
                self.step(Event::Connected(link, Channel::default()));
            }
            Happening::Refused(link) => self.broken(link),
            Happening::ToServer(link, bytes) => self.arrive(link, &bytes),
            Happening::ToClient(link, bytes) => {
                // A socket gives bytes in pieces of any size.
                let cut = usize::try_from(self.random.number()).unwrap() % (bytes.len() + 1);
                for piece in [&bytes[..cut], &bytes[cut..]] {
                    if self.open.contains_key(&link) && !piece.is_empty() {
                        self.step(Event::Received(link, piece));
                    }
                }
            }
            Happening::Broken(link) => self.broken(link),
            Happening::Crash(server) => self.crash(server),
            Happening::Start(server) => self.servers[server].start(),
            Happening::Heal => {
                self.servers.iter_mut().for_each(|server| server.trouble = Trouble::default());
            }
            Happening::Tick => self.step(Event::Tick),
        }
    }

    /// Every loss is told twice: once would do.
    fn broken(&mut self, link: LinkId) {
        if self.open.remove(&link).is_some() {
            self.step(Event::Lost(link));
            self.step(Event::Lost(link));
        }
    }

    fn crash(&mut self, server: usize) {
        self.servers[server].up = false;
        self.servers.iter_mut().for_each(|server| server.epoch += 1);
        let hit = |peer: &&LinkId| self.peers[*peer].server == server;
        let links: Vec<LinkId> = self.peers.keys().filter(hit).copied().collect();
        for link in links {
            let at = self.now + ms(self.random.number() % 20);
            self.plan(at, Happening::Broken(link));
        }
        let back = self.now + ms(20 + self.random.number() % 800);
        self.plan(back, Happening::Start(server));
    }

    /// What was sent arrives, even if the client has closed the connection meanwhile.
    fn arrive(&mut self, link: LinkId, bytes: &[u8]) {
        let Some(peer) = self.peers.get_mut(&link) else { return };
        let server = &mut self.servers[peer.server];
        if !server.up || server.life != peer.life {
            return;
        }
        let mut out = Vec::new();
        let verdict = server.receive(peer, bytes, &mut self.ledger, &mut self.random, &mut out);
        if verdict == Verdict::Cut {
            self.peers.remove(&link);
        }
        if let Some((_, last)) = self.open.get_mut(&link) {
            *last = (*last).max(self.now + ms(self.random.number() % self.delay));
            let at = *last;
            if !out.is_empty() {
                self.plan(at, Happening::ToClient(link, out));
            }
            if verdict == Verdict::Cut {
                self.plan(at, Happening::Broken(link));
            }
        }
    }

    fn step(&mut self, event: Event<'_>) {
        let mut actions = Vec::new();
        self.core.step(self.now, event, &mut actions);
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect(link, address) => self.connect(link, &address),
            Action::Send(link, bytes) => {
                let (sent, _) = self.open.get_mut(&link).expect("it sends over what is open");
                *sent = (*sent).max(self.now + ms(self.random.number() % self.delay));
                let at = *sent;
                self.plan(at, Happening::ToServer(link, bytes));
            }
            Action::Close(link) => {
                self.open.remove(&link).expect("it closes once what is open");
            }
            Action::Opened(..) => {}
            Action::Items(call, _) => *self.items.entry(call).or_default() += 1,
            Action::Done(call, result) => {
                self.ends.entry(call).or_default().push((self.now, result));
            }
        }
    }

    fn connect(&mut self, link: LinkId, address: &str) {
        self.connects += 1;
        self.open.insert(link, (self.now, self.now));
        let server = usize::from(address == "b:1");
        let at = self.now + ms(self.random.number() % self.delay);
        let what = match (self.servers[server].up, self.draw(20)) {
            // A packet that nobody answers: only the client's own time ends it.
            (_, 0) => return,
            _ if address == "nobody:1" => return,
            (true, _) => Happening::Connected(link, server),
            (false, _) => Happening::Refused(link),
        };
        self.plan(at, what);
    }
}

/// The seeds of a run: `ISOGRID_SEED` alone, or the first ones.
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("ISOGRID_SEED").ok().and_then(|text| text.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    }
}

/// A span of time, in ms, drawn from the world's chance.
pub fn within(world: &mut World, below: u64) -> Duration {
    ms(world.draw(below))
}
