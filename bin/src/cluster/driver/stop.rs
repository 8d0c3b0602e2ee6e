//! The end of the process, as its operator plans it: what it serves is handed over first (R33, R64).

use isogrid_grid::control::Event;
use isogrid_grid::metadata::Command;
use tokio::sync::oneshot;

use super::{Core, Driver};

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
        if self.stopping.is_some() && us.is_some_and(|us| !us.stopping) {
            self.step(Event::Propose(Command::Stop(identity.node, identity.boot)));
        }
    }

    /// Says that nobody misses this process, if that is so.
    pub(super) fn finish_stopping(&mut self) {
        let is_relieved = match &self.core {
            Core::Member(control) => control.is_relieved(),
            Core::Stranger(_) | Core::Becoming => true,
        };
        if let Some(done) = self.stopping.take_if(|_| is_relieved) {
            // Who waits may have given up.
            let _ = done.send(());
        }
    }
}
