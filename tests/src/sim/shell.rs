//! What stands for the shell of a process: it hands events to the cores, and carries out what they
//! ask for.

use isogrid_grid::control::{Action, Event, Identity};
use isogrid_grid::id::{GroupId, NodeId, SegmentId};
use isogrid_grid::message::{Envelope, Message};
use isogrid_grid::mutant::is_planted;
use isogrid_grid::raft::Save;
use isogrid_grid::replica::Kept;

use super::process::Process;
use super::queue::What;
use super::server::{Moment, Out, Server};
use super::world::{TICK_US, World};
use crate::invariant::View;

/// How long a write may wait before it is on its way to a disk that is written behind, us.
pub(super) const BEHIND_US: u64 = 50_000;

impl World {
    /// One step of one core, and what follows from it. What comes to a process that stands still
    /// waits for it.
    pub fn step(&mut self, at: usize, event: Event) {
        let Some(machine) = self.machines.get_mut(at) else { return };
        if machine.stalled_until > self.now {
            let until_it_goes_on = machine.stalled_until - self.now;
            let boot = machine.boots;
            // What is its own it finds at once, and it may go on sooner than it was to.
            let wait = match event {
                Event::Saved(_) | Event::Ask(_) => until_it_goes_on.min(TICK_US),
                _ => until_it_goes_on,
            };
            let what = match event {
                // The ticks of that time are over when it goes on.
                Event::Tick | Event::Propose(_) | Event::Unreachable(_) | Event::Hello(_) => return,
                Event::Received(envelope) => What::Deliver(envelope.to, envelope.encode()),
                Event::Saved(number) => What::Saved(at, boot, number),
                Event::Ask(request) => What::Ask(at, boot, request),
                Event::Silent(_) => return,
            };
            self.schedule(wait, what);
            return;
        }
        let now = machine.clock.now(self.now);
        let Some(process) = &mut machine.process else { return };
        let (mut out, until) = (Vec::new(), process.control.lease().until());
        let (is_tick, copy) = (event == Event::Tick, self.trace.is_some().then(|| event.clone()));
        process.control.step(now, event, &mut out);
        let begins = until <= now.monotonic && process.control.lease().until() > until;
        copy.into_iter().for_each(|event| self.record(at, &event, &out));
        if begins {
            self.fresh_begin(at);
            self.serve(at, |server, moment, out| server.begin(moment, out));
        }
        out.into_iter().for_each(|action| self.act(at, action));
        if is_tick {
            self.serve(at, |server, moment, out| server.tick(moment, out));
            self.fresh_tick(at);
            if self.control(at).is_some_and(|control| control.is_shut_down(now)) {
                self.settle(at);
                self.stop(at, false);
                if !self.options.planned {
                    // It was the last that was done: from here on all run.
                    self.schedule(500_000, What::Start(at));
                }
            }
        }
        let clocks_hold = !self.options.confirm;
        let view = View { now: self.now, at, machines: &self.machines, clocks_hold };
        if let Err(broken) = self.invariants.check(&view) {
            self.fail(&broken);
        }
    }

    fn act(&mut self, at: usize, action: Action) {
        match action {
            Action::Send(envelope) => self.send(&envelope, 0),
            Action::Save(save) => self.save(at, &save),
            Action::Changed => self.changed(at),
            Action::Over(silence) => self.fresh_over(at, silence),
            Action::Removed => self.stop(at, false),
            Action::Hello(address, hello) => self.send_hello(&address, &hello),
            Action::GiveUp(give_up) => {
                self.serve(at, |server, moment, out| server.give_up(moment, give_up, out));
            }
        }
    }

    fn save(&mut self, at: usize, save: &Save) {
        // One that has just heard that it is no member has ended.
        let running = self.machines.get_mut(at).filter(|machine| machine.process.is_some());
        let Some(machine) = running else { return };
        if save.number() != 0 && machine.saves.range(save.number()..).next().is_some() {
            self.fail(&format!("R68: m{at} saves {} after what follows it", save.number()));
        }
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
        self.serve(at, |server, moment, out| server.view(moment, out));
        self.fresh_view(at);
    }

    /// A copy wants something to be on the disk.
    fn keep(
        &mut self,
        at: usize,
        place: (GroupId, SegmentId),
        (count, kept): (u64, &Kept),
        waits: bool,
    ) {
        let Some(machine) = self.machines.get_mut(at) else { return };
        let upto = machine.copies.write(place, count, kept);
        let late = if is_planted("written-late") { 1_000_000 } else { BEHIND_US };
        let later = if waits || upto.is_none() { 0 } else { self.chance.below(late) };
        self.sync_copies(at, upto, later);
    }

    /// It is there, and what has come meanwhile is next. A process that stands still hears of it
    /// when it goes on.
    pub(super) fn kept(&mut self, at: usize, upto: usize) {
        let boot = self.machines.get(at).map_or(0, |machine| machine.boots);
        if !self.is_awake(at) {
            // It may go on sooner than it was to.
            return self.schedule(TICK_US, What::Kept(at, boot, upto));
        }
        let Some(machine) = self.machines.get_mut(at) else { return };
        let (counts, next) = machine.copies.sync(upto);
        self.serve(at, |server, moment, out| server.durable(moment, &counts, out));
        self.sync_copies(at, next, 0);
    }

    fn sync_copies(&mut self, at: usize, upto: Option<usize>, later: u64) {
        let Some(upto) = upto else { return };
        let boot = self.machines.get(at).map_or(0, |machine| machine.boots);
        let takes = self.chance.between(50, self.options.sync_us_max);
        self.schedule(later + takes, What::Kept(at, boot, upto));
    }

    /// Operations that arrive in the meantime are one batch with those that have.
    pub(super) fn flush_later(&mut self, at: usize) {
        let delay = self.chance.between(10, 1_000);
        let boot = self.machines.get(at).map_or(0, |machine| machine.boots);
        self.schedule(delay, What::Flush(at, boot));
    }

    /// Lets the data plane of a process do something.
    pub(super) fn serve(
        &mut self,
        at: usize,
        act: impl FnOnce(&mut Server, Moment<'_>, &mut Vec<Out>),
    ) {
        let Some(machine) = self.machines.get_mut(at) else { return };
        let now = machine.clock.now(self.now);
        let Some(Process { control, server, .. }) = &mut machine.process else { return };
        let mut out = Vec::new();
        act(server, Moment { now, control }, &mut out);
        for one in out {
            match one {
                Out::Send(to, group, segment, peer) => {
                    self.deafen(at, to, group, &peer);
                    let later = self.ambush_message(at, to, (group, segment), &peer);
                    self.send_copy(at, to, later, Message::Copies(vec![(group, segment, peer)]));
                }
                Out::Ask(request) => {
                    self.ambush_wish(at, request.wish);
                    // The process is not in the middle of a step when it hears of it.
                    let boot = self.machines.get(at).map_or(0, |machine| machine.boots);
                    self.schedule(0, What::Ask(at, boot, request));
                }
                Out::Keep(place, count, kept, waits) => self.keep(at, place, (count, &kept), waits),
                Out::Tail(place, event) => self.tail(place, &event),
                Out::Said(number, said) => self.said(at, number, said),
                Out::Job(number, said, stamp) => self.job_is_answered(number, said, stamp),
                Out::Resolve(place, open) => self.resolve(at, place, open),
                Out::Answer(number, answer) => {
                    self.acknowledged(number, answer);
                    self.lengthen_tail(at, number);
                    let delay = self.chance.between(100, 3_000);
                    self.schedule(delay, What::Answer(number, answer));
                }
            }
        }
    }

    fn send_copy(&mut self, at: usize, to: NodeId, later: u64, message: Message) {
        let Some(control) = self.control(at) else { return };
        let Identity { cluster, node, boot, .. } = *control.identity();
        self.send(&Envelope { cluster, from: node, boot, to, message }, later);
    }

    /// Sends a message, so much later than others, us.
    pub(super) fn send(&mut self, envelope: &Envelope, later: u64) {
        if self.holds_back(envelope) {
            return;
        }
        let arrivals =
            self.network.send(envelope.from, envelope.to, &self.options, &mut self.chance);
        let later = later + self.delay_of(envelope);
        for delay in arrivals {
            let mut bytes = Vec::new();
            envelope.encode_short_to(&mut bytes);
            self.schedule(later + delay, What::Deliver(envelope.to, bytes));
        }
    }

    pub(super) fn deliver(&mut self, to: NodeId, bytes: &[u8]) {
        let Some(at) = self.machine_of(to) else { return };
        // What a peer encoded is what we read: the same bytes as on a wire.
        let Some(envelope) = Envelope::decode(bytes) else { return };
        match envelope.message {
            Message::Copies(all) if self.is_awake(at) => {
                for (group, segment, peer) in all {
                    self.note(format_args!(
                        "m{at} got {} {group} {segment} {peer:?}",
                        envelope.from
                    ));
                    let (place, said) = ((group, segment), (envelope.from, peer));
                    self.serve(at, |server, moment, out| server.receive(moment, place, said, out));
                }
            }
            Message::Invalidation(peer) if self.is_awake(at) => {
                self.fresh_hears(at, (envelope.from, envelope.boot), peer);
            }
            Message::Copies(_) | Message::Invalidation(_) => {
                self.wait_for(at, What::Deliver(to, bytes.to_vec()))
            }
            _ => self.step(at, Event::Received(envelope)),
        }
    }

    pub(super) fn is_awake(&self, at: usize) -> bool {
        self.machines.get(at).is_some_and(|machine| machine.stalled_until <= self.now)
    }

    /// What comes to a process that stands still waits for it.
    pub(super) fn wait_for(&mut self, at: usize, what: What) {
        let until = self.machines.get(at).map_or(0, |machine| machine.stalled_until);
        self.schedule(until.saturating_sub(self.now), what);
    }

    fn record(&mut self, at: usize, event: &Event, out: &[Action]) {
        let out = out.len();
        match event {
            Event::Tick => self.note(format_args!("m{at} tick -> {out}")),
            Event::Received(Envelope { from, message, .. }) => {
                self.note(format_args!("m{at} got {from} {message:?} -> {out}"));
            }
            other => self.note(format_args!("m{at} {other:?} -> {out}")),
        }
    }
}
