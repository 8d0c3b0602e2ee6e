//! All machines, and one queue of events in the order of true time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use isogrid_grid::control::{Action, Control, Event, Identity};
use isogrid_grid::founding::{self, Founding, Hello};
use isogrid_grid::id::{GroupId, NodeId, SegmentId, StorageId};
use isogrid_grid::membership::Now;
use isogrid_grid::message::{Envelope, Message};
use isogrid_grid::metadata::{Command, CreateGroup, GroupSettings, Owners, Settings, first_epoch};
use isogrid_grid::raft::{Log, Save};
use isogrid_grid::replica::{Peer, Replica};
use isogrid_grid::segment::{GiveUp, Request, Wish, first_owners};

use super::chance::Chance;
use super::clients::Clients;
use super::clock::SimClock;
use super::kv::Kv;
use super::network::Network;
use super::options::Options;
use super::process::{Machine, Process};
use super::server::{Answer, Out, Server};
use crate::invariant::{Invariants, View};

/// Segments of each group: few, so that each is touched often.
pub const SEGMENTS: u16 = 4;
/// How long a lease lasts, ms.
pub const LEASE_MS: u32 = 1_500;
/// Between two ticks of a core, us of its own clock.
const TICK_US: u64 = 50_000;
/// How long a client waits for an answer, us.
const PATIENCE_US: u64 = 5_000_000;
/// Lines of the trace that a failure prints, unless `ISOGRID_SIM_TRACE` asks for more.
const TRACE_MAX: usize = 200;

/// What happens next.
#[derive(Debug, Clone)]
enum What {
    Start(usize),
    Tick(usize, u64),
    Deliver(NodeId, Vec<u8>),
    Look(usize, u64),
    Promised(usize, u64, Vec<u8>),
    Hello(usize, Vec<u8>),
    Saved(usize, u64, u64),
    Ask(usize, u64, Request),
    Operation(usize, u64),
    Answer(u64, Answer),
}

/// A cluster, and everything around it.
pub struct World {
    /// True time, us.
    pub now: u64,
    /// Chance of the world itself.
    pub chance: Chance,
    /// What the run is like.
    pub options: Options,
    /// The network.
    pub network: Network,
    /// The machines.
    pub machines: Vec<Machine>,
    /// What must hold.
    pub invariants: Invariants,
    /// Those who use the cluster.
    pub clients: Clients,
    seed: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, What>,
    next_event: u64,
    trace: VecDeque<String>,
    trace_max: usize,
    hash: u64,
    steps: u64,
}

impl World {
    /// A cluster that was just founded.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        World::with(seed, Options::draw(&mut Chance::new(seed, 1)))
    }

    /// One of this seed that is like this.
    #[must_use]
    pub fn with(seed: u64, options: Options) -> Self {
        let mut world = World {
            now: 0,
            chance: Chance::new(seed, 2),
            options,
            network: Network::default(),
            machines: Vec::new(),
            invariants: Invariants::default(),
            clients: Clients::default(),
            seed,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            trace: VecDeque::new(),
            trace_max: lines(),
            hash: 0xcbf2_9ce4_8422_2325,
            steps: 0,
        };
        for _ in 0..world.options.founders {
            let at = world.add_machine();
            let later = world.chance.below(3_000_000);
            world.schedule(later, What::Start(at));
        }
        world
    }

    /// A machine without a process.
    pub fn add_machine(&mut self) -> usize {
        let at = self.machines.len();
        let clock = SimClock::new(&mut self.chance, self.options.drift, self.options.skew);
        self.machines.push(Machine::new(StorageId(100 + at as u128), clock));
        at
    }

    /// Starts a process.
    pub fn start(&mut self, at: usize) {
        let seeds: Vec<String> = self.machines.iter().map(Machine::address).collect();
        let Some(machine) = self.machines.get_mut(at).filter(|machine| !machine.is_up()) else {
            return;
        };
        machine.boots += 1;
        let boot = machine.boots;
        let what = if machine.known_as.is_some() {
            machine.start(self.seed, &self.options);
            What::Tick(at, boot)
        } else {
            let is_founder = at < usize::try_from(self.options.founders).unwrap_or(0);
            let expect = if is_founder { self.options.founders } else { 0 };
            let us = machine.address();
            let others = seeds.into_iter().filter(|seed| *seed != us).collect();
            machine.look_for(usize::try_from(expect).unwrap_or(0), others);
            What::Look(at, boot)
        };
        self.note(format!("start m{at}"));
        let offset = self.chance.below(TICK_US);
        self.schedule(offset, what);
    }

    /// Ends a process, and maybe the power with it.
    pub fn stop(&mut self, at: usize, power: bool) {
        let Some(machine) = self.machines.get_mut(at).filter(|machine| machine.is_up()) else {
            return;
        };
        if power {
            machine.disk.lose_power(&mut self.chance);
        }
        machine.stop();
        self.note(format!("stop m{at} power={power}"));
    }

    /// Lets a process stand still.
    pub fn stall(&mut self, at: usize, us: u64) {
        let until = self.now + us;
        self.machines.get_mut(at).into_iter().for_each(|machine| machine.stalled_until = until);
        self.note(format!("stall m{at} for {} ms", us / 1_000));
    }

    /// Which machine a member is.
    #[must_use]
    pub fn machine_of(&self, node: NodeId) -> Option<usize> {
        self.machines.iter().position(|m| m.known_as.as_ref().is_some_and(|(n, _)| *n == node))
    }

    fn schedule(&mut self, in_us: u64, what: What) {
        self.next_event += 1;
        self.queue.push(Reverse((self.now + in_us, self.next_event)));
        self.events.insert(self.next_event, what);
    }

    /// Lets time pass until `until`.
    pub fn run_until(&mut self, until: u64) {
        while let Some(Reverse((at, number))) = self.queue.peek().copied() {
            if at > until {
                break;
            }
            self.queue.pop();
            self.now = at.max(self.now);
            if let Some(what) = self.events.remove(&number) {
                self.happen(what);
            }
        }
        self.now = until.max(self.now);
    }

    fn happen(&mut self, what: What) {
        self.steps += 1;
        match what {
            What::Tick(at, boot) if self.runs(at, boot) => {
                let span = self.machines.get(at).map_or(TICK_US, |m| m.clock.really(TICK_US));
                self.schedule(span, What::Tick(at, boot));
                self.step(at, Event::Tick);
            }
            What::Deliver(to, bytes) => self.deliver(to, &bytes),
            What::Start(at) => self.start(at),
            What::Look(at, boot) => self.look(at, boot),
            What::Promised(at, boot, promise) => self.promised(at, boot, promise),
            What::Hello(at, bytes) => self.hello(at, &bytes),
            What::Saved(at, boot, number) if self.runs(at, boot) => {
                let machine = self.machines.get_mut(at);
                machine.into_iter().for_each(|machine| {
                    let count = machine.saves.remove(&number).unwrap_or(0);
                    machine.disk.sync(count);
                });
                self.step(at, Event::Saved(number));
            }
            What::Ask(at, boot, request) if self.runs(at, boot) => {
                self.step(at, Event::Ask(request));
            }
            What::Operation(at, number) => self.operate(at, number),
            What::Answer(number, answer) => self.answer(number, answer),
            What::Tick(..) | What::Saved(..) | What::Ask(..) => {}
        }
    }

    fn runs(&self, at: usize, boot: u64) -> bool {
        self.machines.get(at).is_some_and(|m| m.boots == boot && m.process.is_some())
    }

    fn deliver(&mut self, to: NodeId, bytes: &[u8]) {
        let Some(at) = self.machine_of(to) else { return };
        // What a peer encoded is what we read: the same bytes as on a wire.
        let Some(envelope) = Envelope::decode(bytes) else { return };
        match envelope.message {
            Message::Copy(group, segment, peer) if self.is_awake(at) => {
                self.note(format!("m{at} got {} {group} {segment} {peer:?}", envelope.from));
                let place = (envelope.from, group, segment);
                self.serve(at, |server, now, control, out| {
                    server.receive(now, control, place, peer, out);
                });
            }
            Message::Copy(..) => self.wait_for(at, What::Deliver(to, bytes.to_vec())),
            _ => self.step(at, Event::Received(envelope)),
        }
    }

    fn is_awake(&self, at: usize) -> bool {
        self.machines.get(at).is_some_and(|machine| machine.stalled_until <= self.now)
    }

    /// What comes to a process that stands still waits for it.
    fn wait_for(&mut self, at: usize, what: What) {
        let until = self.machines.get(at).map_or(0, |machine| machine.stalled_until);
        self.schedule(until.saturating_sub(self.now), what);
    }

    /// Lets the data plane of a process do something.
    fn serve(&mut self, at: usize, act: impl FnOnce(&mut Server, Now, &Control, &mut Vec<Out>)) {
        let Some(machine) = self.machines.get_mut(at) else { return };
        let now = machine.clock.now(self.now);
        let Some(Process { control, server }) = &mut machine.process else { return };
        let mut out = Vec::new();
        act(server, now, control, &mut out);
        for one in out {
            match one {
                Out::Send(to, group, segment, peer) => self.send_copy(at, to, group, segment, peer),
                Out::Ask(request) => self.step(at, Event::Ask(request)),
                Out::Answer(number, answer) => {
                    let delay = self.chance.between(100, 3_000);
                    self.schedule(delay, What::Answer(number, answer));
                }
            }
        }
    }

    fn send_copy(&mut self, at: usize, to: NodeId, group: GroupId, segment: SegmentId, peer: Peer) {
        let Some(control) = self.control(at) else { return };
        let Identity { cluster, node, boot, .. } = *control.identity();
        let message = Message::Copy(group, segment, peer);
        self.send(&Envelope { cluster, from: node, boot, to, message });
    }

    /// The control core of a machine.
    #[must_use]
    pub fn control(&self, at: usize) -> Option<&Control> {
        Some(&self.machines.get(at)?.process.as_ref()?.control)
    }

    /// A client asks for something.
    pub fn client(&mut self) {
        let running = self.running();
        let Some(at) = self.chance.pick(&running).copied() else { return };
        let (place, ask) = self.clients.draw(&mut self.chance);
        let Some(control) = self.control(at) else { return };
        let view = control.metadata().groups().get(&place.0);
        let view = view.and_then(|group| group.segments.get(usize::from(place.1.0)));
        let primary = view.and_then(|view| view.primary);
        // Most ask the member that they believe to serve the key, some ask anybody.
        let primary = primary.filter(|_| self.chance.hits(800_000));
        let to = primary.and_then(|primary| self.machine_of(primary)).unwrap_or(at);
        let number = self.clients.begin(place, ask);
        self.note(format!("client {number}: {ask:?} of {place:?} to m{to}"));
        let delay = self.chance.between(100, 3_000);
        self.schedule(delay, What::Operation(to, number));
        self.schedule(PATIENCE_US, What::Answer(number, Answer::Unknown));
    }

    fn operate(&mut self, at: usize, number: u64) {
        if !self.is_awake(at) {
            return self.wait_for(at, What::Operation(at, number));
        }
        let Some((group, segment, key)) = self.clients.place(number) else { return };
        let Some(ask) = self.clients.ask(number) else { return };
        self.serve(at, |server, now, control, out| {
            server.ask(now, control, (group, segment), (number, key, ask), out);
        });
    }

    fn answer(&mut self, number: u64, answer: Answer) {
        let Some((group, segment, _)) = self.clients.place(number) else { return };
        self.note(format!("client {number}: {answer:x?}"));
        let lost_before = self.invariants.lost_before(group, segment);
        if let Err(broken) = self.clients.end(number, answer, lost_before) {
            self.fail(&broken);
        }
    }

    /// A process that is no member yet looks around.
    fn look(&mut self, at: usize, boot: u64) {
        let Some(machine) = self.machines.get(at) else { return };
        if machine.boots == boot && machine.stranger.is_some() {
            self.schedule(TICK_US, What::Look(at, boot));
            self.strange(at, |stranger, now, out| stranger.tick(now.monotonic, out));
        }
    }

    fn promised(&mut self, at: usize, boot: u64, promise: Vec<u8>) {
        let Some(machine) = self.machines.get_mut(at).filter(|machine| machine.boots == boot)
        else {
            return;
        };
        machine.promise = Some(promise);
        self.strange(at, |stranger, _, out| stranger.saved(out));
    }

    fn hello(&mut self, at: usize, bytes: &[u8]) {
        let Some(hello) = Hello::decode(bytes) else { return };
        if self.machines.get(at).is_some_and(|machine| machine.process.is_some()) {
            self.step(at, Event::Hello(hello));
        } else {
            self.strange(at, |stranger, now, out| stranger.receive(now.monotonic, hello, out));
        }
    }

    /// Lets a process that is no member do something.
    fn strange(
        &mut self,
        at: usize,
        act: impl FnOnce(&mut Founding, Now, &mut Vec<founding::Action>),
    ) {
        let Some(machine) = self.machines.get_mut(at) else { return };
        let (now, boot) = (machine.clock.now(self.now), machine.boots);
        let Some(stranger) = &mut machine.stranger else { return };
        let mut out = Vec::new();
        act(stranger, now, &mut out);
        for action in out {
            match action {
                founding::Action::Send(address, hello) => self.send_hello(&address, &hello),
                founding::Action::Save(promise) => {
                    let takes = self.chance.between(50, self.options.sync_us_max);
                    self.schedule(takes, What::Promised(at, boot, promise));
                }
                founding::Action::Member(node, settings, log) => {
                    self.become_member(at, (node, settings), *log);
                }
            }
        }
    }

    fn send_hello(&mut self, address: &str, hello: &Hello) {
        let Some(to) = self.machines.iter().position(|machine| machine.address() == address) else {
            return;
        };
        self.note(format!("m{to} gets {hello:?}"));
        let nobody = NodeId(0);
        let arrivals = self.network.send(nobody, nobody, &self.options, &mut self.chance);
        arrivals.into_iter().for_each(|delay| {
            self.schedule(delay, What::Hello(to, hello.encode()));
        });
    }

    fn become_member(&mut self, at: usize, known_as: (NodeId, Settings), log: Option<(Log, Save)>) {
        let (seed, options) = (self.seed, self.options.clone());
        let Some(machine) = self.machines.get_mut(at) else { return };
        if machine.stranger.take().is_none() {
            return;
        }
        if let Some((_, save)) = log {
            machine.disk.write(save.encode(), false);
            machine.disk.sync(1);
        }
        machine.known_as = Some(known_as);
        machine.start(seed, &options);
        let boot = machine.boots;
        self.schedule(0, What::Tick(at, boot));
    }

    /// One step of one core, and what follows from it. What comes to a process that stands still
    /// waits for it.
    pub fn step(&mut self, at: usize, event: Event) {
        let Some(machine) = self.machines.get_mut(at) else { return };
        if machine.stalled_until > self.now {
            let wait = machine.stalled_until - self.now;
            let boot = machine.boots;
            let what = match event {
                // The ticks of that time are over when it goes on.
                Event::Tick | Event::Propose(_) | Event::Unreachable(_) | Event::Hello(_) => return,
                Event::Received(envelope) => What::Deliver(envelope.to, envelope.encode()),
                Event::Saved(number) => What::Saved(at, boot, number),
                Event::Ask(request) => What::Ask(at, boot, request),
            };
            self.schedule(wait, what);
            return;
        }
        let now = machine.clock.now(self.now);
        let Some(process) = &mut machine.process else { return };
        let mut out = Vec::new();
        process.control.step(now, event.clone(), &mut out);
        self.record(at, &event, &out);
        out.into_iter().for_each(|action| self.act(at, action));
        if event == Event::Tick {
            self.serve(at, |server, now, control, out| server.tick(now, control, out));
        }
        let view = View { now: self.now, at, machines: &self.machines };
        if let Err(broken) = self.invariants.check(&view) {
            self.fail(&broken);
        }
    }

    fn act(&mut self, at: usize, action: Action) {
        match action {
            Action::Send(envelope) => self.send(&envelope),
            Action::Save(save) => self.save(at, &save),
            Action::Changed => self.changed(at),
            Action::Removed => self.stop(at, false),
            Action::Hello(address, hello) => self.send_hello(&address, &hello),
            Action::GiveUp(GiveUp { node, group, segment, epoch }) => {
                if self.is_durable(at, group) {
                    let wish = Wish::GaveUp(node);
                    return self.ask_later(at, Request { group, segment, epoch, wish });
                }
                self.serve(at, |server, _, _, out| {
                    server.give_up(node, group, segment, epoch, out);
                });
            }
        }
    }

    /// The data plane knows no disks yet: what stands for it there is only a delay.
    fn is_durable(&self, at: usize, group: GroupId) -> bool {
        let group = self.control(at).and_then(|control| control.metadata().groups().get(&group));
        group.is_some_and(|group| group.settings.durable)
    }

    fn send(&mut self, envelope: &Envelope) {
        let arrivals =
            self.network.send(envelope.from, envelope.to, &self.options, &mut self.chance);
        for delay in arrivals {
            self.schedule(delay, What::Deliver(envelope.to, envelope.encode()));
        }
    }

    fn save(&mut self, at: usize, save: &Save) {
        let Some(machine) = self.machines.get_mut(at) else { return };
        if !save.is_empty() {
            machine.disk.write(save.encode(), save.begins_anew());
        }
        let takes =
            if save.must_sync() { self.chance.between(50, self.options.sync_us_max) } else { 0 };
        machine.disk_busy_until = machine.disk_busy_until.max(self.now) + takes;
        let (done, boot) = (machine.disk_busy_until - self.now, machine.boots);
        if save.number() != 0 {
            let durable = if save.must_sync() { machine.disk.written() } else { 0 };
            machine.saves.insert(save.number(), durable);
            self.schedule(done, What::Saved(at, boot, save.number()));
        }
    }

    fn changed(&mut self, at: usize) {
        self.serve(at, |server, now, control, out| server.view(now, control, out));
        let mut asks = Vec::new();
        if let Some(control) = self.control(at) {
            let us = control.identity().node;
            let durable = control.metadata().groups().iter().filter(|(_, g)| g.settings.durable);
            for (group, segments) in durable {
                for (segment, state) in (0..).map(SegmentId).zip(&segments.segments) {
                    let fills = state.syncing.iter().filter(|_| state.primary == Some(us));
                    asks.extend(fills.map(|filling| Request {
                        group: *group,
                        segment,
                        epoch: state.epoch,
                        wish: Wish::Expand(filling.copy, filling.since),
                    }));
                }
            }
        }
        asks.into_iter().for_each(|request| self.ask_later(at, request));
    }

    fn ask_later(&mut self, at: usize, request: Request) {
        let delay = self.chance.between(1_000, 50_000);
        let boot = self.machines.get(at).map_or(0, |machine| machine.boots);
        self.schedule(delay, What::Ask(at, boot, request));
    }

    /// Asks for the groups that all runs have, until they are there.
    pub fn create_groups(&mut self) {
        let memory = GroupSettings {
            owners: Owners::Count(2),
            durable: false,
            local_reads: false,
            min_insync: 1,
        };
        let replicated = GroupSettings { owners: Owners::All, local_reads: true, ..memory.clone() };
        let durable = GroupSettings { durable: true, ..memory.clone() };
        for (number, settings) in (0..).zip([memory, replicated, durable]) {
            let running: Vec<usize> = self.running();
            let Some(at) = self.chance.pick(&running).copied() else { return };
            let Some(control) = self.control(at) else { return };
            if control.metadata().groups().contains_key(&GroupId(number)) {
                continue;
            }
            let owners = first_owners(control.metadata(), &settings);
            let now = self.machines.get(at).map_or(0, |m| m.clock.now(self.now).wall);
            let (group, epoch) = (GroupId(number), first_epoch(now));
            let create = CreateGroup { group, settings, epoch, now, owners };
            self.step(at, Event::Propose(Command::CreateGroup(create)));
        }
    }

    /// The machine that serves a segment now, if any does.
    #[must_use]
    pub fn server_of(&self, place: (GroupId, SegmentId)) -> Option<usize> {
        self.machines.iter().position(|machine| {
            let now = machine.clock.now(self.now);
            machine.process.as_ref().is_some_and(|process| {
                let is_active = |(group, at, replica, _): (GroupId, SegmentId, &Replica, &Kv)| {
                    (group, at) == place && replica.is_active()
                };
                process.control.serves(now, place.0, place.1).is_some()
                    && process.server.copies().any(is_active)
            })
        })
    }

    /// The machines on which a process runs.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        let is_up = |at: &usize| self.machines.get(*at).is_some_and(|m| m.process.is_some());
        (0..self.machines.len()).filter(is_up).collect()
    }

    fn record(&mut self, at: usize, event: &Event, out: &[Action]) {
        let summary = match event {
            Event::Tick => "tick".to_owned(),
            Event::Received(envelope) => format!("got {} {:?}", envelope.from, envelope.message),
            other => format!("{other:?}"),
        };
        self.note(format!("m{at} {summary} -> {}", out.len()));
    }

    /// Adds a line to the trace.
    pub fn note(&mut self, line: String) {
        let line = format!("{:>10.3} {line}", self.now as f64 / 1_000.0);
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
        if self.trace.len() >= self.trace_max {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    /// What tells two runs apart.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events there were.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Ends the run with everything that one needs to find out why.
    ///
    /// # Panics
    /// Always.
    pub fn fail(&self, broken: &str) -> ! {
        let trace: Vec<&str> = self.trace.iter().map(String::as_str).collect();
        panic!(
            "{}\n\nseed {}: {broken}\nat {} ms, options {:#?}\nreplay: cargo run --release -p isogrid-tests --bin sim -- --seed {}",
            trace.join("\n"),
            self.seed,
            self.now / 1_000,
            self.options,
            self.seed
        )
    }
}

fn lines() -> usize {
    let asked = std::env::var("ISOGRID_SIM_TRACE").ok().and_then(|lines| lines.parse().ok());
    asked.unwrap_or(TRACE_MAX)
}
