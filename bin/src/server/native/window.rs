//! Answers in the output that must not be sent before what they say is kept.

use std::task::{Context, Poll, ready};

use isogrid_engine::persist::PersistMode;
use isogrid_wire::Output;
use isogrid_wire::native::control::{Ping, put_control};
use isogrid_wire::native::{ErrorCode, Header, Kind};

use super::failure::Failure;
use super::reply::To;
use crate::server::keeper::Keeper;
use crate::server::node::Node;

/// What stands in the output.
enum Said {
    Answer(To),
    Pong(u64),
}

/// The answers of a connection that wait to be sent.
pub struct Window {
    keeper: Option<Keeper>,
    said: Vec<Said>,
}

impl Window {
    /// No answer waits.
    pub fn new(node: &Node) -> Self {
        let keeper = Keeper::of_any(node.data.get().map(|data| &data.persistence));
        Window { keeper, said: Vec::new() }
    }

    /// Whether anything is ever kept here.
    pub fn keeps(&self) -> bool {
        self.keeper.is_some()
    }

    /// The connection is about to write where changes are kept in this mode, or to learn of a
    /// write that may not be kept yet.
    pub fn wrote_to(&mut self, mode: PersistMode) {
        if let Some(keeper) = &mut self.keeper {
            keeper.wrote_to(mode);
        }
    }

    /// Whether answers wait.
    pub fn waits(&self) -> bool {
        self.keeper.as_ref().is_some_and(Keeper::waits)
    }

    /// Whether what follows must not be executed yet, but for writes: it could not see what was
    /// written.
    pub fn holds_reads(&self) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| keeper.is_sync() && keeper.waits())
    }

    /// An answer was put into the output.
    pub fn answered(&mut self, to: To) {
        if self.keeper.is_some() && to.stream != 0 {
            self.said.push(Said::Answer(to));
        }
    }

    /// A `PONG` was.
    pub fn ponged(&mut self, opaque: u64) {
        if self.keeper.is_some() {
            self.said.push(Said::Pong(opaque));
        }
    }

    /// Waits until all is kept. When nobody knows whether it is, the answers become errors that
    /// say so.
    pub fn poll_kept(&mut self, cx: &mut Context<'_>, out: &mut Output) -> Poll<()> {
        if let Some(keeper) = self.keeper.as_mut().filter(|keeper| keeper.waits())
            && let Err(error) = ready!(keeper.poll_kept(cx))
        {
            let why = format!("it is unknown whether the write is kept: {error}");
            let failure = Failure::new(ErrorCode::OutcomeUnknown, why);
            out.clear();
            for said in &self.said {
                match said {
                    Said::Answer(to) => to.fail(&failure, out),
                    Said::Pong(opaque) => pong(*opaque, out),
                }
            }
        }
        self.said.clear();
        Poll::Ready(())
    }
}

/// Echoes a `PING`.
pub fn pong(opaque: u64, out: &mut Output) {
    put_control(Header::control(Kind::Pong, 0, 0), &Ping { opaque }, out);
}
