//! The groups that all runs have: in memory with two owners, everywhere with local reads, in memory or
//! on disks, and on disks with two owners. In some runs the last two are on disks that are written
//! behind, and in some there are queues, in memory or on disks.

use isogrid_grid::control::Event;
use isogrid_grid::id::GroupId;
use isogrid_grid::metadata::{
    Acks, Command, CreateGroup, GroupSettings, Owners, Persist, first_epoch,
};
use isogrid_grid::segment::first_owners;

use super::options::Options;
use super::server::answers_at_once;
use super::world::World;

/// The group of which every member has a copy and reads from it.
pub const REPLICATED: GroupId = GroupId(1);
/// The group of the queues, in runs that have some.
pub const QUEUES: GroupId = GroupId(3);

/// What is on the disks of a group.
#[must_use]
pub fn persist_of(options: &Options, group: GroupId) -> Persist {
    match group.0 {
        1 | 2 if options.behind => Persist::Async,
        1 if options.durable_everywhere => Persist::Sync,
        2 => Persist::Sync,
        3 if options.queues_on_disks => Persist::Sync,
        _ => Persist::None,
    }
}

impl World {
    /// Asks for them until they are there.
    pub fn create_groups(&mut self) {
        let memory = GroupSettings {
            owners: Owners::Count(2),
            persist: Persist::None,
            local_reads: false,
            min_insync: 1,
            acks: Acks::Sync,
        };
        let local_reads = !self.options.confirm;
        let replicated = GroupSettings { owners: Owners::All, local_reads, ..memory.clone() };
        let owners = u8::try_from(self.options.queue_owners).unwrap_or(0);
        let queues = GroupSettings { owners: Owners::Count(owners), ..memory.clone() };
        let queues = Some(queues).filter(|_| owners > 0);
        let all = [memory.clone(), replicated, memory].into_iter().chain(queues);
        for (number, mut settings) in (0..).zip(all) {
            settings.persist = persist_of(&self.options, GroupId(number));
            if answers_at_once(self.options.at_once, GroupId(number)) {
                settings.acks = Acks::Async;
            }
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
}
