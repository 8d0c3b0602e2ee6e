//! A backup that may be read from (R24) hears nothing of its primary any more, and the leader still
//! hears it: it reads on until its lease is over, so nothing may be committed without it before.

use isogrid_grid::id::{GroupId, NodeId};
use isogrid_grid::replica::Peer;

use super::chance::Chance;
use super::groups::REPLICATED;
use super::queue::What;
use super::world::World;

/// How long it hears nothing, us: longer than a primary waits for a backup, and than any lease.
const DEAF: u64 = 4_000_000;

/// When that happens in a run, and how.
#[derive(Debug)]
pub(super) struct DeafBackup {
    /// How many messages with writes go to backups that may be read from before; 0: it does not.
    ahead: u64,
}

impl DeafBackup {
    /// That of a seed.
    pub(super) fn draw(seed: u64) -> DeafBackup {
        DeafBackup { ahead: Chance::ahead(seed, 4, (10, 300)) }
    }
}

impl World {
    /// A primary is about to send this to a copy.
    pub(super) fn deafen(&mut self, at: usize, to: NodeId, group: GroupId, message: &Peer) {
        let is_write = matches!(message, Peer::Repl { ops, .. } if !ops.is_empty());
        let (true, true) = (self.options.ambush && group == REPLICATED, is_write) else { return };
        let Some(control) = self.control(at) else { return };
        let (us, (_, leader)) = (control.identity().node, control.leader());
        if self.deaf.ahead == 0 || leader == Some(to) {
            return;
        }
        self.deaf.ahead -= 1;
        if self.deaf.ahead == 0 {
            self.note(format_args!("ambush m{at}: {to} hears nothing of it"));
            self.schedule(0, What::Way(us, to, false));
            self.schedule(DEAF, What::Way(us, to, true));
        }
    }
}
