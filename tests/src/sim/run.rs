//! One run: faults, healing, liveness, audit.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::panic::{self, AssertUnwindSafe};

use isogrid_grid::id::{NodeId, SegmentId};
use isogrid_grid::metadata::{Metadata, Role};

use super::network::{SHAPES, Shape};
use super::queue::What;
use super::world::{REPLAY, World};
use crate::invariant::copies;
use crate::invariant::linear::{Place, Told};

/// How long after the last fault everything works again, ms (G28).
const HEALED_MS: u64 = 10_000;
/// How long a planned hand-over of a segment takes, ms (R33).
const HANDED_OVER_MS: u64 = 100;
/// How long after that all copies are there again, ms.
const FILLED_MS: u64 = 60_000;

/// Between two operations of clients, us.
const CLIENT_US: u64 = 20_000;

/// What a run was like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Equal for equal seeds; `None` where nothing was written down.
    pub hash: Option<u64>,
    /// Events.
    pub steps: u64,
    /// Simulated time, ms.
    pub simulated_ms: u64,
    /// Terms that had a leader.
    pub leaders: usize,
    /// Entries that were applied.
    pub entries: usize,
    /// What clients were told, and how often.
    pub told: BTreeMap<Told, u64>,
    /// Segments that an operator had a stale copy serve.
    pub forced: u64,
    /// What became of transactions, and how often.
    pub transactions: BTreeMap<&'static str, u64>,
    /// Reads of the invalidated cache that found something, and writes that were acknowledged.
    pub fresh: (u64, u64),
    /// What became of messages, and how often.
    pub queues: BTreeMap<&'static str, u64>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { hash, steps, simulated_ms, leaders, entries, told, .. } = self;
        let Report { forced, transactions, fresh, queues, .. } = self;
        write!(f, "{} s simulated, {steps} events, {leaders} leaders, ", simulated_ms / 1_000)?;
        let (hits, writes) = fresh;
        write!(
            f,
            "{entries} entries, clients were told {told:?}, {hits} hits and {writes} writes "
        )?;
        write!(f, "of the invalidated cache, transactions {transactions:?}, ")?;
        write!(f, "queues {queues:?}, ")?;
        write!(f, "{forced} segments forced")?;
        hash.iter().try_for_each(|hash| write!(f, ", trace {hash:016x}"))
    }
}

/// Runs a seed. One that fails is run once more, as [`traced`] does.
///
/// # Panics
/// When an invariant is broken, or a core panics: with the trace, and the command that replays it.
#[must_use]
pub fn run(seed: u64) -> Report {
    let ended = panic::catch_unwind(|| phases(&mut World::new(seed)));
    ended.unwrap_or_else(|broken| {
        let _ = traced(seed);
        panic!("seed {seed} failed once and then not: more than it decides. {}", text_of(&broken))
    })
}

/// Runs a seed, and writes down what happens. That makes it twice as long, and changes nothing else.
///
/// # Panics
/// As [`run`].
#[must_use]
pub fn traced(seed: u64) -> Report {
    let mut world = World::new(seed).traced();
    let ended = panic::catch_unwind(AssertUnwindSafe(|| phases(&mut world)));
    ended.unwrap_or_else(|broken| panicked(&world, broken))
}

/// A run in which something panicked ends like one that broke an invariant.
fn panicked(world: &World, broken: Box<dyn Any + Send>) -> ! {
    let text = text_of(&broken);
    if text.contains(REPLAY) {
        panic::resume_unwind(broken);
    }
    world.fail(&format!("panicked: {text}"))
}

fn text_of(broken: &Box<dyn Any + Send>) -> &str {
    let text = broken.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| broken.downcast_ref::<&str>().copied()).unwrap_or_default()
}

fn phases(world: &mut World) -> Report {
    let faults_end = world.options.faults_ms * 1_000;
    let mut next_fault = 3_000_000;
    let mut next_joiner = 5_000_000;
    while world.now < faults_end {
        run_for(world, 50);
        world.create_groups();
        if world.options.joiners > 0 && world.now >= next_joiner {
            world.options.joiners -= 1;
            next_joiner = world.now + 5_000_000;
            let at = world.add_machine();
            world.start(at);
        }
        if world.now >= next_fault {
            next_fault =
                world.now + world.chance.between(1, 2 * world.options.pause_between_ms) * 1_000;
            fault(world);
        }
    }
    heal(world);
    audit(world);
    Report {
        hash: world.hash(),
        steps: world.steps(),
        simulated_ms: world.now / 1_000,
        leaders: world.invariants.leaders(),
        entries: world.invariants.entries(),
        told: world.clients.linear.told().clone(),
        forced: world.invariants.forced(),
        transactions: world.invariants.bank.told().clone(),
        fresh: world.invariants.fresh.told(),
        queues: world.invariants.total_queue.told().clone(),
    }
}

/// Lets time pass, with clients at work.
fn run_for(world: &mut World, ms: u64) {
    let until = world.now + ms * 1_000;
    while world.now < until {
        world.run_until((world.now + CLIENT_US).min(until));
        for _ in 0..world.chance.between(1, world.options.burst) {
            world.client();
            // What an invalidated cache promises, it promises by leases.
            if !world.options.confirm {
                world.fresh_client();
            }
        }
        world.bank_client();
        world.worker();
    }
}

/// One fault, or the end of one.
fn fault(world: &mut World) {
    let all: Vec<usize> = (0..world.machines.len()).collect();
    let Some(at) = world.chance.pick(&all).copied() else { return };
    let options = world.options.clone();
    if options.force && world.chance.below(3) == 0 {
        world.force_for_a_while(at);
    }
    if options.confirm && world.chance.below(2) == 0 {
        wrong_clock(world, at);
    }
    match world.chance.below(11) {
        0 if options.crash => world.stop(at, false),
        1 if options.power => world.stop(at, true),
        2 if options.stall => {
            let us = world.chance.between(10_000, 20_000_000);
            world.stall(at, us);
        }
        3 if options.partition => partition(world, at),
        4 => world.network.heal(),
        5 if options.leave => world.leave(at),
        6 if options.stall && options.partition => sleeping_leader(world),
        7 if options.planned && world.chance.below(4) == 0 => world.shut_down(at),
        7 if options.planned => world.plan_stop(at),
        8 if options.expel => give_up_on(world, at),
        9 if options.power => all.into_iter().for_each(|at| world.stop(at, true)),
        _ => all.into_iter().for_each(|at| world.start(at)),
    }
}

/// A clock runs at any pace; or it stands still, and its machine hears nothing of what the others do
/// meanwhile; or it hardly runs, so that what got lost is said again, and its machine hears only from
/// one of them that is cut off with it.
fn wrong_clock(world: &mut World, at: usize) {
    let shape = [None, Some(Shape::Isolate), Some(Shape::Pair)];
    let shape = world.chance.pick(&shape).copied().flatten();
    let Some(shape) = shape.filter(|_| world.options.partition) else {
        let pace = world.chance.pick(&[0, 10, 100, 1_000]).copied().unwrap_or(0);
        return world.run_clock(at, pace);
    };
    world.run_clock(at, if shape == Shape::Pair { 10 } else { 0 });
    // The others are to go on, and one of them to judge by a clock that is right.
    world.network.heal();
    (0..world.machines.len())
        .filter(|other| *other != at)
        .for_each(|other| world.run_clock(other, 100));
    cut(world, at, shape);
}

fn partition(world: &mut World, at: usize) {
    if let Some(shape) = world.chance.pick(&SHAPES).copied() {
        cut(world, at, shape);
    }
}

fn cut(world: &mut World, at: usize, shape: Shape) {
    let nodes: Vec<NodeId> =
        world.machines.iter().filter_map(|m| m.known_as.as_ref().map(|(node, _)| *node)).collect();
    let node = world.machines.get(at).and_then(|m| m.known_as.as_ref().map(|(node, _)| *node));
    if let Some(node) = node {
        world.network.partition(shape, node, &nodes);
        world.note(format_args!("partition {shape:?} around {node}"));
    }
}

/// A member does not answer, and an operator has it removed: he asks again as the command does, until
/// its lease is over.
fn give_up_on(world: &mut World, at: usize) {
    let node = world.machines.get(at).and_then(|m| m.known_as.as_ref().map(|(node, _)| *node));
    let nodes: Vec<NodeId> =
        world.machines.iter().filter_map(|m| m.known_as.as_ref().map(|(node, _)| *node)).collect();
    let Some(node) = node.filter(|_| world.options.partition) else { return world.expel(at) };
    world.network.partition(Shape::Isolate, node, &nodes);
    (0..5).for_each(|times| world.schedule(times * 500_000, What::Expel(at)));
}

/// The leader sleeps, and hears nobody when it wakes: it believes that it still leads.
fn sleeping_leader(world: &mut World) {
    let Some(at) = leader(world) else { return };
    let node = world.control(at).map_or(NodeId(0), |control| control.identity().node);
    let nodes: Vec<NodeId> =
        world.machines.iter().filter_map(|m| m.known_as.as_ref().map(|(node, _)| *node)).collect();
    world.network.partition(Shape::Isolate, node, &nodes);
    let us = world.chance.between(1_000_000, 6_000_000);
    world.stall(at, us);
}

/// Faults end, and within [`HEALED_MS`] every segment that has a copy to serve from is served.
fn heal(world: &mut World) {
    world.options = world.options.healed();
    world.network.heal();
    for at in 0..world.machines.len() {
        world.stall(at, 0);
        world.spare(at);
        world.run_clock(at, 100);
        world.start(at);
    }
    run_for(world, HEALED_MS);
    world.create_groups();
    if all_served(world).is_err() {
        // One may be on its way from a member to another at just this moment.
        run_for(world, HANDED_OVER_MS);
    }
    if let Err(why) = all_served(world).and_then(|()| all_fresh(world)) {
        world.fail(&format!("liveness, {HEALED_MS} ms after the last fault: {why}"));
    }
}

/// The member that leads, and is followed.
fn leader(world: &World) -> Option<usize> {
    let leads = |at: &usize| world.control(*at).is_some_and(|control| control.leads());
    world.running().into_iter().find(leads)
}

fn all_served(world: &World) -> Result<(), String> {
    let leader = leader(world).ok_or("nobody leads")?;
    let control = world.control(leader).ok_or("no leader")?;
    for (group, segments) in control.metadata().groups() {
        for (at, segment) in (0..).map(SegmentId).zip(&segments.segments) {
            let is_lost = segment.insync.iter().all(|copy| !control.metadata().is_current(*copy));
            let serves = |machine: &super::process::Machine| {
                let now = machine.clock.now(world.now);
                machine.process.as_ref().is_some_and(|process| {
                    let epoch = process.control.serves(now, *group, at);
                    epoch.is_some() && process.server.is_active((*group, at))
                })
            };
            if !is_lost && !world.machines.iter().any(serves) {
                return Err(format!("{group} {at} is served by nobody: {segment:?}"));
            }
        }
    }
    Ok(())
}

/// Every member serves the invalidated cache. One that has left may not know it yet.
fn all_fresh(world: &World) -> Result<(), String> {
    let control = leader(world).and_then(|leader| world.control(leader)).ok_or("nobody leads")?;
    for machine in &world.machines {
        let Some(process) = &machine.process else { continue };
        let node = process.control.identity().node;
        let holds = process.control.lease().holds(machine.clock.now(world.now).monotonic);
        let is_member = control.metadata().members().contains_key(&node);
        if is_member && !(holds && process.fresh.core.serves().is_some()) {
            return Err(format!("{node} does not serve the invalidated cache"));
        }
    }
    Ok(())
}

/// After a while all copies are there, and are the same.
fn audit(world: &mut World) {
    run_for(world, FILLED_MS);
    // What is under way comes to its end though some of it gets lost, and so does what clients ask
    // for again.
    world.options.drop_per_million = 100_000;
    world.run_until(world.now + 2_000_000);
    world.options.drop_per_million = 0;
    world.run_until(world.now + 8_000_000);
    let settled = all_served(world).and_then(|()| all_settled(world));
    let same = settled.and_then(|metadata| copies::check(metadata, &world.machines));
    let same = same.and_then(|()| all_counted(world)).and_then(|()| world.all_ended());
    if let Err(why) = same.and_then(|()| world.all_accounted()) {
        world.fail(&format!("audit, {FILLED_MS} ms after that: {why}"));
    }
}

/// What may come again was done once.
fn all_counted(world: &World) -> Result<(), String> {
    let value = |(group, segment, key): Place| {
        let machine = world.machines.get(world.server_of((group, segment))?)?;
        let mut copies = machine.process.as_ref()?.server.copies();
        let copy = copies.find(|(of, at, ..)| (*of, *at) == (group, segment))?;
        Some(copy.3.get(key).0.unwrap_or(0))
    };
    let lost_before = |(group, segment, _): Place| world.invariants.lost(group, segment).any;
    world.clients.counted.check(value, lost_before)
}

/// All members know the same, which is this, those that left are gone, and all copies are there.
fn all_settled(world: &World) -> Result<&Metadata, String> {
    let leader = leader(world).ok_or("nobody leads")?;
    let control = world.control(leader).ok_or("no leader")?;
    let metadata = control.metadata();
    for machine in world.machines.iter().filter_map(|m| Some(&m.process.as_ref()?.control)) {
        let is_member = metadata.members().contains_key(&machine.identity().node);
        if is_member && machine.metadata() != metadata {
            return Err(format!("{} knows something else", machine.identity().node));
        }
    }
    if let Some((node, _)) = metadata.members().iter().find(|(_, member)| member.leaving) {
        return Err(format!("{node} has not left"));
    }
    if let Some((node, _)) = metadata.members().iter().find(|(_, member)| member.stopping) {
        return Err(format!("{node} runs again and counts as one that is about to end"));
    }
    let with_data = metadata.members().values().filter(|one| one.role == Role::Data).count();
    for (group, segments) in metadata.groups() {
        let copies = segments.settings.copies(with_data);
        for (at, segment) in segments.segments.iter().enumerate() {
            let insync: Vec<NodeId> = segment.insync.iter().map(|copy| copy.node).collect();
            let is_placed = segment.target.iter().all(|node| insync.contains(node));
            if segment.insync.len() != copies || !is_placed || segment.primary.is_none() {
                let members: Vec<_> = metadata.members().iter().collect();
                return Err(format!("{group} s{at} lacks copies: {segment:?} of {members:?}"));
            }
        }
    }
    Ok(metadata)
}
