//! The end of the process, as its operator plans it: what it serves is handed over first (R33, R64).

use isogrid_grid::control::Event;
use isogrid_grid::id::SegmentId;
use isogrid_grid::metadata::Command;
use isogrid_grid::segment::GiveUp;
use tokio::sync::oneshot;

use super::{Core, DRAIN_MS, Driver, Ending};

impl Driver {
    pub(super) fn stop(&mut self, done: oneshot::Sender<()>) {
        self.stopping = Some(done);
        self.go_on_stopping();
    }

    /// Says again that the process is about to end, until the cluster knows it: there may be no
    /// leader at a moment.
    pub(super) fn go_on_stopping(&mut self) {
        self.finish_stopping();
        let Core::Member(control) = &self.core else { return };
        let identity = *control.identity();
        let us = control.metadata().members().get(&identity.node);
        let is_shut_down = control.metadata().shut_down().is_some();
        if self.stopping.is_some() && us.is_some_and(|us| !us.stopping) && !is_shut_down {
            self.step(Event::Propose(Command::Stop(identity.node, identity.boot)));
        }
    }

    /// When an operator has shut the cluster down nothing is taken any more, and what was is committed
    /// while the others are there.
    pub(super) fn close_when_shut_down(&mut self) {
        let until = self.cluster.now().monotonic + DRAIN_MS;
        let Core::Member(control) = &self.core else { return };
        if !control.was_shut_down() || self.ending != Ending::No {
            return;
        }
        self.ending = Ending::Draining;
        let node = self.opened.node;
        for shared in &self.cluster.caches {
            let group = control.metadata().groups().get(&shared.group);
            let (Some(copies), Some(group)) = (shared.copies(), group) else { continue };
            let all = (0..).map(SegmentId).zip(&group.segments);
            for (segment, view) in all.filter(|(_, view)| view.primary == Some(node)) {
                copies.close(segment);
                let (group, epoch) = (shared.group, view.epoch);
                self.leaving.push((GiveUp { node, group, segment, epoch }, until));
            }
        }
    }

    /// Ends the process then, once all know it.
    pub(super) fn end_when_shut_down(&mut self) {
        let Core::Member(control) = &self.core else { return };
        let is_drained = self.ending == Ending::Draining && self.leaving.is_empty();
        if is_drained && control.is_shut_down(self.cluster.now()) {
            self.ending = Ending::Ended;
            (self.on_end)("the cluster was shut down");
        }
    }

    /// Says that nobody misses this process, if that is so.
    pub(super) fn finish_stopping(&mut self) {
        let is_relieved = match &self.core {
            Core::Member(control) => {
                control.is_relieved() || control.is_shut_down(self.cluster.now())
            }
            Core::Stranger(_) | Core::Becoming => true,
        };
        if let Some(done) = self.stopping.take_if(|_| is_relieved) {
            // Who waits may have given up.
            let _ = done.send(());
        }
    }
}
