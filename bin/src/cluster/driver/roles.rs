//! What the metadata say of this member's copies: it is shown to them, given up when the leader
//! wants it back, and asked for when caches have no owners yet.

use std::sync::Arc;

use isogrid_grid::control::{Control, Event};
use isogrid_grid::copies::{Copies, Out};
use isogrid_grid::id::{Epoch, SegmentId};
use isogrid_grid::membership::Now;
use isogrid_grid::metadata::{Command, CreateGroup, GroupSettings, Persist, Role, first_epoch};
use isogrid_grid::segment::{GiveUp, Request, Wish, first_owners};

use super::{Core, Driver};
use crate::cluster::{ClusterError, Shared, View};

/// How long a cluster that is not complete waits before its caches get owners, ms.
const GATHER_MS: u64 = 3_000;
/// How often a group that is not there is asked for, ms.
const ASK_MS: u64 = 500;

impl Driver {
    pub(super) fn copies_of(&self, give_up: &GiveUp) -> Option<Arc<Copies>> {
        let shared = self.cluster.caches.iter().find(|shared| shared.group == give_up.group)?;
        shared.copies().cloned()
    }

    /// Says what was given up, once its writes are committed or time is up.
    pub(super) fn finish_giving_up(&mut self, now: Now) {
        for (give_up, until) in std::mem::take(&mut self.leaving) {
            let copies = self.copies_of(&give_up);
            let is_open = copies.as_ref().is_some_and(|copies| !copies.is_settled(give_up.segment));
            if is_open && now.monotonic < until {
                self.leaving.push((give_up, until));
                continue;
            }
            copies.into_iter().for_each(|copies| copies.allow(give_up.segment, None, None));
            let GiveUp { node, group, segment, epoch } = give_up;
            self.step(Event::Ask(Request { group, segment, epoch, wish: Wish::GaveUp(node) }));
        }
    }

    /// The metadata have changed: requests are routed anew, and copies hear what they are now.
    pub(super) fn changed(&mut self) {
        self.close_when_shut_down();
        let Core::Member(control) = &self.core else { return };
        // Where the log at the start did not know this member yet.
        if let Err(error) = self.check_role(control) {
            return self.cannot_be_member(&error);
        }
        let view = Arc::new(View::of(control));
        let before = self.cluster.set_view(&view);
        for gone in before.addresses().filter(|address| !view.addresses().any(|a| a == *address)) {
            self.cluster.transport.get().into_iter().for_each(|peers| peers.forget(gone));
        }
        self.cluster.view_invalidation(control);
        let now = self.cluster.now();
        let mut out = Vec::new();
        for shared in &self.cluster.caches {
            if let Some(copies) = shared.copies() {
                show(control, now, shared, copies, &self.leaving, &mut out);
            }
        }
        self.cluster.carry_out(out);
        self.finish_stopping();
        self.tell();
    }

    /// Says which segments go on from disks that may lack the last of what was acknowledged (R62).
    pub(super) fn tell_of_torn(&self) {
        for shared in &self.cluster.caches {
            let segments = shared.copies().map_or(0, |copies| copies.stats().take_untold_torn());
            if segments > 0 {
                let cache = &shared.name;
                tracing::warn!(
                    event = "copies_taken_up",
                    cache,
                    segments,
                    "all processes that had them in sync had ended: what was acknowledged in the last \
                     100 ms before may be lost"
                );
            }
        }
    }

    /// Asks for the groups of the caches, once the cluster is complete or has waited for it.
    pub(super) fn create_groups(&mut self, now: Now) {
        let Core::Member(control) = &self.core else { return };
        let metadata = control.metadata();
        let running = metadata.members().values().filter(|m| m.incarnation.is_some()).count();
        let expected = usize::try_from(self.config.cluster.bootstrap_expect).unwrap_or(0);
        let is_complete = running >= expected || now.monotonic >= self.since + GATHER_MS;
        if control.incarnation().is_none() || now.monotonic < self.asked_at + ASK_MS {
            return;
        }
        self.asked_at = now.monotonic;
        let (mut asks, mut others) = (Vec::new(), Vec::new());
        for shared in &self.cluster.caches {
            match metadata.groups().get(&shared.group) {
                None if is_complete && running > 0 => {
                    let settings = shared.settings.clone();
                    let owners = first_owners(metadata, &settings);
                    let (group, epoch) = (shared.group, first_epoch(now.wall));
                    let create = CreateGroup { group, settings, epoch, now: now.wall, owners };
                    asks.push(Command::CreateGroup(create));
                }
                Some(there) if there.settings != shared.settings => {
                    others.push((Arc::clone(shared), there.settings.clone()));
                }
                None | Some(_) => {}
            }
        }
        asks.into_iter().for_each(|command| self.step(Event::Propose(command)));
        self.tell_of_others(&others);
    }

    /// The cluster has these groups otherwise than the configuration: that is said once. A member
    /// without a disk cannot have copies that others take for kept.
    fn tell_of_others(&mut self, others: &[(Arc<Shared>, GroupSettings)]) {
        for (shared, theirs) in others {
            let is_first = self.told.insert(shared.name.clone());
            if shared.is_of_structures() {
                let has_place = self.config.node.data_dir.is_some();
                if theirs.persist.is_kept() && !has_place && !self.has_no_copies() {
                    return self.goes_without_disk(is_first, theirs.persist);
                }
                if is_first && self.config.structures.said().is_some() {
                    tell_of_structures(shared, theirs.persist);
                }
            } else if is_first {
                let (cache, ours) = (&shared.name, &shared.settings);
                tracing::error!(
                    event = "other_settings",
                    cache,
                    ?theirs,
                    ?ours,
                    "the cluster's hold"
                );
            }
        }
    }

    fn has_no_copies(&self) -> bool {
        self.config.cluster.role == Role::Witness
    }

    /// It leaves, so that nobody waits for it to come back, and ends. A primary that serves nothing
    /// would be in the way of those who take over, so it does not wait for them.
    fn goes_without_disk(&mut self, is_first: bool, persist: Persist) {
        if is_first {
            self.step(Event::Propose(Command::Leave(self.opened.node)));
        } else {
            self.cannot_be_member(&ClusterError::NoDisk(persist));
        }
    }
}

fn tell_of_structures(shared: &Shared, theirs: Persist) {
    let (structures, cluster) = (&shared.name, theirs.name());
    let configured = shared.settings.persist.name();
    tracing::warn!(
        event = "other_persist",
        structures,
        cluster,
        configured,
        "structures.persist is what it was when the cluster was made, and the cluster's holds"
    );
}

/// Tells the copies of a cache what the metadata say of them.
fn show(
    control: &Control,
    now: Now,
    shared: &Shared,
    copies: &Copies,
    leaving: &[(GiveUp, u64)],
    out: &mut Vec<Out>,
) {
    let Some(group) = control.metadata().groups().get(&shared.group) else { return };
    if !shared.agrees(&group.settings) {
        return;
    }
    let (us, persist) = (control.identity().node, group.settings.persist);
    let ours = control.incarnation().and_then(|_| control.metadata().copy_of(us, persist));
    if persist.is_kept() && ours.is_none() {
        // The process before this one may have known more than is known here until its end is.
        return;
    }
    for (at, view) in (0..).map(SegmentId).zip(&group.segments) {
        let drains = leaving.iter().any(|(give_up, _)| {
            (give_up.group, give_up.segment, give_up.epoch) == (shared.group, at, view.epoch)
        });
        let allowed: Option<Epoch> =
            control.serves(Now::default(), shared.group, at).or(drains.then_some(view.epoch));
        let readable = control.may_read(Now::default(), shared.group, at);
        copies.view(now, at, view, ours, (allowed, readable), out);
    }
}
