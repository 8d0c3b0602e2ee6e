//! The shell of processes that are no members yet: they look for a cluster, or found one.

use isogrid_grid::control::Event;
use isogrid_grid::founding::{Action, Founding, Hello};
use isogrid_grid::id::NodeId;
use isogrid_grid::membership::Now;
use isogrid_grid::metadata::Settings;
use isogrid_grid::raft::{Log, Save};

use super::queue::What;
use super::world::{TICK_US, World};

impl World {
    /// A process that is no member yet looks around.
    pub(super) fn look(&mut self, at: usize, boot: u64) {
        let Some(machine) = self.machines.get(at) else { return };
        if machine.boots == boot && machine.stranger.is_some() {
            self.schedule(TICK_US, What::Look(at, boot));
            self.strange(at, |stranger, now, out| stranger.tick(now.monotonic, out));
        }
    }

    pub(super) fn promised(&mut self, at: usize, boot: u64, promise: Vec<u8>) {
        let Some(machine) = self.machines.get_mut(at).filter(|machine| machine.boots == boot)
        else {
            return;
        };
        machine.promise = Some(promise);
        self.strange(at, |stranger, _, out| stranger.saved(out));
    }

    pub(super) fn hello(&mut self, at: usize, bytes: &[u8]) {
        let Some(hello) = Hello::decode(bytes) else { return };
        if self.machines.get(at).is_some_and(|machine| machine.process.is_some()) {
            self.step(at, Event::Hello(hello));
        } else {
            self.strange(at, |stranger, now, out| stranger.receive(now.monotonic, hello, out));
        }
    }

    /// Lets a process that is no member do something.
    fn strange(&mut self, at: usize, act: impl FnOnce(&mut Founding, Now, &mut Vec<Action>)) {
        let Some(machine) = self.machines.get_mut(at) else { return };
        let (now, boot) = (machine.clock.now(self.now), machine.boots);
        let Some(stranger) = &mut machine.stranger else { return };
        let mut out = Vec::new();
        act(stranger, now, &mut out);
        for action in out {
            match action {
                Action::Send(address, hello) => self.send_hello(&address, &hello),
                Action::Save(promise) => {
                    let takes = self.chance.between(50, self.options.sync_us_max);
                    self.schedule(takes, What::Promised(at, boot, promise));
                }
                Action::Member(node, settings, log) => {
                    self.become_member(at, (node, settings), *log);
                }
            }
        }
    }

    pub(super) fn send_hello(&mut self, address: &str, hello: &Hello) {
        let Some(to) = self.machines.iter().position(|machine| machine.address() == address) else {
            return;
        };
        self.note(format_args!("m{to} gets {hello:?}"));
        let nobody = NodeId(0);
        let arrivals = self.network.send(nobody, nobody, &self.options, &mut self.chance);
        arrivals.for_each(|delay| {
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
        self.leave_soon(at);
    }
}
