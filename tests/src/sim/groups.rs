//! The groups that all runs have: in memory with two owners, everywhere with local reads, in memory or
//! on disks, and on disks with two owners.

use isogrid_grid::control::Event;
use isogrid_grid::id::GroupId;
use isogrid_grid::metadata::{Acks, Command, CreateGroup, GroupSettings, Owners, first_epoch};
use isogrid_grid::segment::first_owners;

use super::options::Options;
use super::server::answers_at_once;
use super::world::World;

/// Whether the copies of a group are on disks.
#[must_use]
pub fn is_durable(options: &Options, group: GroupId) -> bool {
    group == GroupId(2) || group == GroupId(1) && options.durable_everywhere
}

impl World {
    /// Asks for them until they are there.
    pub fn create_groups(&mut self) {
        let memory = GroupSettings {
            owners: Owners::Count(2),
            durable: false,
            local_reads: false,
            min_insync: 1,
            acks: Acks::Sync,
        };
        let replicated = GroupSettings { owners: Owners::All, local_reads: true, ..memory.clone() };
        let all = [memory.clone(), replicated, memory];
        for (number, mut settings) in (0..).zip(all) {
            settings.durable = is_durable(&self.options, GroupId(number));
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
