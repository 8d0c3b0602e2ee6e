//! What Raft has to be done, and what follows from that.

use super::leading::Leading;
use super::{Action, Control, find};
use crate::id::{Epoch, GroupId, SegmentId};
use crate::membership::Now;
use crate::message::Message;
use crate::metadata::{Metadata, Proposal};
use crate::raft::{Apply, Ready};

impl Control {
    /// Does all that Raft has for us, and what follows from that, until there is nothing more.
    pub(super) fn settle(&mut self, now: Now, mut ready: Ready, out: &mut Vec<Action>) {
        loop {
            self.raft.take(&mut ready);
            let was = self.metadata.index();
            self.carry_out(now, &mut ready, out);
            if self.metadata.index() != was {
                let heard_at = self.shut_down_at.unwrap_or(now.monotonic);
                self.shut_down_at = self.metadata.shut_down().map(|_| heard_at);
                self.changed(out);
            }
            if !self.lead(now, out) {
                return;
            }
        }
    }

    fn carry_out(&mut self, now: Now, ready: &mut Ready, out: &mut Vec<Action>) {
        for message in ready.messages.drain(..) {
            let (to, is_snapshot) = (message.to(), message.is_snapshot());
            self.send(to, Message::Raft(message), out);
            if is_snapshot {
                // It goes the way of all messages: if it gets lost, the member's answers to
                // what follows say that it lacks it.
                self.raft.snapshot_sent(to, true);
            }
        }
        out.extend(ready.save.drain(..).map(Action::Save));
        let mut compacts = false;
        for apply in ready.apply.drain(..) {
            // A member takes a snapshot only if that names it among those who follow or vote.
            compacts |= matches!(apply, Apply::Members(_));
            self.apply(apply);
        }
        if let Some(leading) = &mut self.leading {
            ready.confirmed.drain(..).for_each(|(round, at)| leading.grants.confirmed(round, at));
        }
        ready.confirmed.clear();
        self.follow_leadership(now);
        let uncompacted = self.raft.uncompacted(self.metadata.index());
        if compacts || uncompacted >= self.config.compact_entries {
            let state = self.metadata.encode();
            out.extend(self.raft.compact(self.metadata.index(), &state).map(Action::Save));
        }
    }

    fn apply(&mut self, apply: Apply) {
        match apply {
            Apply::Restore(snapshot) => {
                if let Some(metadata) = Metadata::decode(&snapshot.state) {
                    self.metadata = metadata;
                }
                // Entries without a command may stand behind the last that changed anything.
                if snapshot.index > self.metadata.index() {
                    self.metadata.advance(snapshot.index);
                }
            }
            Apply::Members(index) => self.metadata.advance(index),
            Apply::Entry(index, data) => match Proposal::decode(&data) {
                Some(Proposal { ticket, command }) => {
                    self.metadata.apply(index, &command);
                    if let Some(leading) = &mut self.leading {
                        leading.applied(ticket);
                    }
                }
                None => self.metadata.advance(index),
            },
        }
    }

    fn changed(&mut self, out: &mut Vec<Action>) {
        self.lease.applied(self.metadata.index());
        let metadata = &self.metadata;
        let is_current = |group: GroupId, segment: SegmentId, epoch: Epoch| {
            find(metadata, group, segment).is_some_and(|now| now.epoch == epoch)
        };
        self.given_up.retain(|(group, segment, epoch)| is_current(*group, *segment, *epoch));
        self.wishes.retain(|wish| is_current(wish.group, wish.segment, wish.epoch));
        if let Some(leading) = &mut self.leading {
            leading.changed(|wish| is_current(wish.group, wish.segment, wish.epoch));
        }
        out.push(Action::Changed);
    }

    fn follow_leadership(&mut self, now: Now) {
        let term = self.raft.term();
        if !self.raft.leads() {
            self.leading = None;
        } else if self.leading.as_ref().is_none_or(|leading| leading.term != term) {
            let length = u64::from(self.metadata.settings().lease_ms);
            self.leading = Some(Leading::new(term, length, now.monotonic));
        }
    }
}
