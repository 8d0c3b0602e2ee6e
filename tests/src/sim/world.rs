//! All machines, and what happens to them: processes start, stop and stand still, and time passes.

use std::{fmt, panic};

use isogrid_grid::control::{Control, Event};
use isogrid_grid::id::{GroupId, NodeId, SegmentId, StorageId};
use isogrid_grid::membership::tick_ms;
use isogrid_grid::metadata::{Command, Role};

use super::bank::Bank;
use super::chance::Chance;
use super::clients::Clients;
use super::clock::SimClock;
use super::deaf_backup::DeafBackup;
use super::late_grant::LateGrant;
use super::long_tail::LongTail;
use super::network::Network;
use super::options::Options;
use super::process::Machine;
use super::queue::{Queue, What};
use super::server::Answer;
use super::trace::Trace;
use super::workers::Workers;
use crate::invariant::Invariants;

/// Segments of each group: few, so that each is touched often.
pub const SEGMENTS: u16 = 4;
/// How a run is done again: this, and its seed.
pub(super) const REPLAY: &str = "replay: cargo run --release -p isogrid-tests --bin sim -- --seed ";
/// Between two ticks of a process that is no member, us of its own clock.
pub(super) const TICK_US: u64 = 50_000;

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
    /// Those who move money between accounts.
    pub bank: Bank,
    /// Those who publish and consume messages.
    pub workers: Workers,
    pub(super) seed: u64,
    queue: Queue,
    pub(super) trace: Option<Trace>,
    steps: u64,
    pub(super) late: LateGrant,
    pub(super) deaf: DeafBackup,
    pub(super) tail: LongTail,
}

impl World {
    /// A cluster that was just founded.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let options = Options::draw(&mut Chance::new(seed, 1));
        World::with(seed, options.with_queues(seed).with_transfers_again(seed))
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
            bank: Bank::new(seed),
            workers: Workers::new(seed),
            seed,
            queue: Queue::default(),
            trace: None,
            steps: 0,
            late: LateGrant::draw(seed),
            deaf: DeafBackup::draw(seed),
            tail: LongTail::draw(seed),
        };
        for _ in 0..world.options.founders {
            let at = world.add_machine();
            let later = world.chance.below(3_000_000);
            world.schedule(later, What::Start(at));
        }
        world
    }

    /// The same, and what happens in it is written down.
    #[must_use]
    pub fn traced(self) -> Self {
        World { trace: Some(Trace::new()), ..self }
    }

    /// A machine without a process.
    pub fn add_machine(&mut self) -> usize {
        let at = self.machines.len();
        let clock = SimClock::new(&mut self.chance, self.options.drift, self.options.skew);
        let role = if self.options.witness && at == 1 { Role::Witness } else { Role::Data };
        self.machines.push(Machine::new(StorageId(100 + at as u128), role, clock));
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
            let (us, lease_ms) = (machine.address(), self.options.lease_ms);
            let others = seeds.into_iter().filter(|seed| *seed != us).collect();
            machine.look_for(u8::try_from(expect).unwrap_or(0), others, lease_ms);
            What::Look(at, boot)
        };
        self.note(format_args!("start m{at}"));
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
        if power || self.options.behind {
            machine.copies.lose_power(&mut self.chance);
        }
        let control = machine.process.as_ref().map(|process| &process.control);
        if let Some((control, process)) = control.and_then(|it| Some((it, it.incarnation()?))) {
            self.invariants.behind.ended((control.identity().node, process), self.now);
        }
        machine.stop();
        let later = self.chance.between(20_000, 500_000);
        if self.options.restart {
            self.schedule(later, What::Start(at));
        }
        self.note(format_args!("stop m{at} power={power}"));
    }

    /// A process says that it is about to end, and ends within a second.
    pub fn plan_stop(&mut self, at: usize) {
        let Some(control) = self.control(at) else { return };
        let identity = *control.identity();
        let (later, boots) = (self.chance.below(1_000_000), self.boots(at));
        self.note(format_args!("m{at} is about to stop"));
        self.step(at, Event::Propose(Command::Stop(identity.node, identity.boot)));
        self.schedule(later, What::End(at, boots));
    }

    /// An operator asks a member to have all end.
    pub fn shut_down(&mut self, at: usize) {
        self.note(format_args!("m{at} is asked to shut the cluster down"));
        self.step(at, Event::Propose(Command::ShutDown));
    }

    /// Lets a process stand still.
    pub fn stall(&mut self, at: usize, us: u64) {
        let until = self.now + us;
        self.settle(at);
        self.machines.get_mut(at).into_iter().for_each(|machine| machine.stalled_until = until);
        self.note(format_args!("stall m{at} for {} ms", us / 1_000));
    }

    /// What copies have written behind gets to the disk.
    pub(super) fn settle(&mut self, at: usize) {
        self.machines.get_mut(at).into_iter().for_each(|machine| machine.copies.settle());
    }

    /// A machine's monotonic clock runs at this pace, in hundredths, where that may be.
    pub fn run_clock(&mut self, at: usize, percent: u64) {
        let now = self.now;
        if let Some(machine) = self.machines.get_mut(at).filter(|_| self.options.confirm) {
            machine.clock.run_at(percent, now);
            self.note(format_args!("the clock of m{at} runs at {percent} %"));
        }
    }

    /// A process that was about to be killed is not, and what it says comes in time.
    pub fn spare(&mut self, at: usize) {
        self.machines.get_mut(at).into_iter().for_each(|machine| machine.is_doomed = false);
    }

    /// Which machine a member is.
    #[must_use]
    pub fn machine_of(&self, node: NodeId) -> Option<usize> {
        self.machines.iter().position(|m| m.known_as.as_ref().is_some_and(|(n, _)| *n == node))
    }

    pub(super) fn schedule(&mut self, in_us: u64, what: What) {
        self.queue.push(self.now + in_us, what);
    }

    /// Lets time pass until `until`.
    pub fn run_until(&mut self, until: u64) {
        while let Some((at, what)) = self.queue.pop(until) {
            self.now = at.max(self.now);
            self.happen(what);
        }
        self.now = until.max(self.now);
    }

    fn happen(&mut self, what: What) {
        self.steps += 1;
        match what {
            What::Tick(at, boot) if self.runs(at, boot) => {
                let tick_us = tick_ms(self.options.lease_ms) * 1_000;
                let span = self.machines.get(at).map_or(tick_us, |m| m.clock.really(tick_us));
                self.schedule(span, What::Tick(at, boot));
                self.step(at, Event::Tick);
            }
            What::Deliver(to, bytes) => self.deliver(to, &bytes),
            What::Start(at) => self.start(at),
            What::Stop(at, boot) if self.runs(at, boot) && self.options.ambush => {
                self.stop(at, false);
            }
            What::End(at, boot) if self.runs(at, boot) => {
                self.settle(at);
                self.stop(at, false);
                self.schedule(500_000, What::Start(at));
            }
            What::Way(from, to, is_open) => {
                self.network.set(from, to, is_open || !self.options.ambush);
            }
            What::Leave(at) if self.options.hasty => self.leave(at),
            What::Expel(at) if self.options.expel => self.expel(at),
            What::Force(at) if self.options.force => self.force(at),
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
            What::Kept(at, boot, upto) if self.runs(at, boot) => self.kept(at, upto),
            What::Ask(at, boot, request) if self.runs(at, boot) => {
                self.step(at, Event::Ask(request));
            }
            What::Flush(at, boot) if self.runs(at, boot) && self.is_awake(at) => {
                self.serve(at, |server, moment, out| server.flush(moment, out));
            }
            What::Flush(at, boot) if self.runs(at, boot) => {
                self.wait_for(at, What::Flush(at, boot));
            }
            What::Loaded(at, boot, load) if self.runs(at, boot) => self.loaded(at, load),
            What::Operation(at, number) => self.operate(at, number),
            What::Call(at, number) => self.call_arrives(at, number),
            What::Said(number, said) => self.heard(number, said),
            What::CallAgain(number) => self.call_again(number),
            What::Work(event) => self.work(event),
            What::Answer(number, answer) => self.answer(number, answer),
            What::Again(number) => self.ask_again(number),
            What::Tired(number) => self.end(number, Answer::Unknown),
            What::Tick(..)
            | What::Saved(..)
            | What::Kept(..)
            | What::Ask(..)
            | What::Flush(..)
            | What::Stop(..)
            | What::End(..)
            | What::Leave(..)
            | What::Expel(..)
            | What::Force(..)
            | What::Loaded(..) => {}
        }
    }

    pub(super) fn boots(&self, at: usize) -> u64 {
        self.machines.get(at).map_or(0, |machine| machine.boots)
    }

    pub(super) fn runs(&self, at: usize, boot: u64) -> bool {
        self.machines.get(at).is_some_and(|m| m.boots == boot && m.process.is_some())
    }

    /// The control core of a machine.
    #[must_use]
    pub fn control(&self, at: usize) -> Option<&Control> {
        Some(&self.machines.get(at)?.process.as_ref()?.control)
    }

    /// The machine that serves a segment now, if any does.
    #[must_use]
    pub fn server_of(&self, place: (GroupId, SegmentId)) -> Option<usize> {
        self.machines.iter().position(|machine| {
            let now = machine.clock.now(self.now);
            machine.process.as_ref().is_some_and(|process| {
                process.control.serves(now, place.0, place.1).is_some()
                    && process.server.is_active(place)
            })
        })
    }

    /// The machines on which a process runs.
    #[must_use]
    pub fn running(&self) -> Vec<usize> {
        let is_up = |at: &usize| self.machines.get(*at).is_some_and(|m| m.process.is_some());
        (0..self.machines.len()).filter(is_up).collect()
    }

    /// Adds a line to the trace, if there is one.
    pub fn note(&mut self, what: fmt::Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            trace.add(self.now, what);
        }
    }

    /// What tells two runs apart that are traced.
    #[must_use]
    pub fn hash(&self) -> Option<u64> {
        self.trace.as_ref().map(Trace::hash)
    }

    /// How many events there were.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Ends the run with everything that one needs to find out why. One that is not traced is done
    /// again, so it says little, and that to its caller alone.
    ///
    /// # Panics
    /// Always.
    pub fn fail(&self, broken: &str) -> ! {
        let Some(trace) = &self.trace else { panic::resume_unwind(Box::new(broken.to_owned())) };
        panic!(
            "{}\n\nseed {}: {broken}\nat {} ms, options {:#?}\n{REPLAY}{}",
            trace.text(),
            self.seed,
            self.now / 1_000,
            self.options,
            self.seed
        )
    }
}
