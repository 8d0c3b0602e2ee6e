//! An invalidated cache on every process, in front of a database that all of them load from.

use std::collections::BTreeMap;

use isogrid_grid::control::{Control, Event};
use isogrid_grid::id::{Boot, GroupId, NodeId};
use isogrid_grid::invalidation::{Action, Fills, Invalidation, Item, Peer, Ticket, Token};
use isogrid_grid::membership::Monotonic;
use isogrid_grid::message::{Envelope, Message};

use super::process::Process;
use super::queue::What;
use super::world::World;
use crate::invariant::fresh::Key;

/// Keys: few, so that operations meet.
const KEYS: u64 = 4;
/// How long a load takes, us at the most.
const LOAD_US: u64 = 200_000;

/// The cache of one process.
pub struct FreshCache {
    /// Who is told what.
    pub core: Invalidation,
    entries: BTreeMap<Key, u64>,
    fills: Fills,
    /// Writes that are not answered yet.
    open: Vec<(Key, u64, Ticket)>,
}

/// A value that was loaded because a key was missed.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    key: Key,
    value: u64,
    token: Token,
}

impl FreshCache {
    /// An empty one.
    #[must_use]
    pub fn new(us: NodeId, boot: Boot) -> Self {
        let core = Invalidation::new(us, boot);
        FreshCache { core, entries: BTreeMap::new(), fills: Fills::default(), open: Vec::new() }
    }

    fn drop(&mut self, item: &Item) {
        let Some(&[key]) = item.key.as_deref() else { return };
        self.fills.kill(&[key], || self.entries.remove(&key));
    }
}

fn registered(control: &Control) -> impl Iterator<Item = NodeId> {
    let members = control.metadata().members().iter();
    members.filter(|(_, member)| member.incarnation.is_some()).map(|(node, _)| *node)
}

impl World {
    /// The cache of a process does something, and what follows from it.
    fn with_fresh(
        &mut self,
        at: usize,
        act: impl FnOnce(&mut FreshCache, &Control, Monotonic, &mut Vec<Action>),
    ) {
        let Some(machine) = self.machines.get_mut(at) else { return };
        let now = machine.clock.now(self.now).monotonic;
        let Some(Process { control, fresh, .. }) = &mut machine.process else { return };
        let mut out = Vec::new();
        act(fresh, control, now, &mut out);
        let (mut letters, mut asks) = (Vec::new(), Vec::new());
        for action in out {
            match action {
                Action::Send(to, peer) => letters.push((to, peer)),
                Action::Drop(items) => items.iter().for_each(|item| fresh.drop(item)),
                Action::Clear => fresh.fills.kill_all(|| fresh.entries.clear()),
                Action::Ask(silence) => asks.push(silence),
            }
        }
        let (holds, mut answers) = (control.lease().holds(now), Vec::new());
        let open = std::mem::take(&mut fresh.open);
        for (key, value, ticket) in open {
            match fresh.core.outcome(ticket) {
                None => fresh.open.push((key, value, ticket)),
                Some(Ok(())) if holds => answers.push((key, value)),
                Some(_) => {}
            }
        }
        let identity = *control.identity();
        for (key, value) in answers {
            self.note(format_args!("m{at} has written {key} = {value}"));
            self.invariants.fresh.acknowledged(key, value);
        }
        for (to, peer) in letters {
            let message = Message::Invalidation(peer);
            let (cluster, from, boot) = (identity.cluster, identity.node, identity.boot);
            self.send(&Envelope { cluster, from, boot, to, message }, 0);
        }
        asks.into_iter().for_each(|silence| self.step(at, Event::Silent(silence)));
    }

    /// The metadata of a process have changed.
    pub(super) fn fresh_view(&mut self, at: usize) {
        self.with_fresh(at, |fresh, control, _, _| fresh.core.view(registered(control)));
    }

    /// The lease of a process begins after there was none.
    pub(super) fn fresh_begin(&mut self, at: usize) {
        self.fresh_view(at);
        self.with_fresh(at, |fresh, _, now, out| fresh.core.begin(now, out));
    }

    pub(super) fn fresh_tick(&mut self, at: usize) {
        self.with_fresh(at, |fresh, _, now, out| fresh.core.tick(now, out));
    }

    pub(super) fn fresh_over(&mut self, at: usize, silence: isogrid_grid::invalidation::Silence) {
        self.with_fresh(at, |fresh, _, _, _| fresh.core.over(silence));
    }

    pub(super) fn fresh_hears(&mut self, at: usize, from: (NodeId, Boot), peer: Peer) {
        self.note(format_args!("m{at} got {} {peer:?}", from.0));
        self.with_fresh(at, |fresh, _, now, out| fresh.core.receive(now, from, peer, out));
    }

    /// Clients of the caches: one reads, loads what it misses and stores that, or writes.
    pub fn fresh_client(&mut self) {
        let running = self.running();
        let Some(at) = self.chance.pick(&running).copied().filter(|at| self.is_awake(*at)) else {
            return;
        };
        let key = Key::try_from(self.chance.below(KEYS)).unwrap_or(0);
        let writes = self.chance.hits(self.options.writes_per_million / 4);
        let Some(machine) = self.machines.get(at) else { return };
        let now = machine.clock.now(self.now).monotonic;
        let Some(Process { control, fresh, .. }) = &machine.process else { return };
        if !control.lease().holds(now) || fresh.core.serves().is_none() {
            return;
        }
        match fresh.entries.get(&key).copied() {
            _ if writes => self.fresh_write(at, key),
            Some(value) => {
                if let Err(broken) = self.invariants.fresh.read(key, value) {
                    self.fail(&format!("m{at}: {broken}"));
                }
            }
            None => {
                let token = fresh.fills.token(&[key]);
                let load = Load { key, value: self.invariants.fresh.load(key), token };
                let (takes, boot) = (self.chance.below(LOAD_US), self.boots(at));
                self.schedule(takes, What::Loaded(at, boot, load));
            }
        }
    }

    fn fresh_write(&mut self, at: usize, key: Key) {
        let value = self.invariants.fresh.write(key);
        self.note(format_args!("m{at} writes {key} = {value}"));
        self.with_fresh(at, |fresh, _, now, out| {
            let FreshCache { core, entries, fills, open } = fresh;
            fills.kill(&[key], || entries.insert(key, value));
            let item = Item { cache: GroupId(0), key: Some([key].into()) };
            let ticket = core.write(now, core.tenure(), &[item], out);
            open.push((key, value, ticket));
        });
    }

    /// What was loaded is stored, unless it may be old.
    pub(super) fn loaded(&mut self, at: usize, load: Load) {
        if !self.is_awake(at) {
            let boot = self.boots(at);
            return self.wait_for(at, What::Loaded(at, boot, load));
        }
        let Load { key, value, token } = load;
        self.with_fresh(at, |fresh, _, _, _| {
            let FreshCache { entries, fills, .. } = fresh;
            fills.fill(&[key], token, || *entries.entry(key).or_insert(value));
        });
    }
}
