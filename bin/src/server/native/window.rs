//! Answers in the output that must not be sent before what they say is kept.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use isogrid_engine::persist::PersistMode;
use isogrid_wire::Output;
use isogrid_wire::native::control::{Ping, put_control};
use isogrid_wire::native::tx::TxState;
use isogrid_wire::native::{ErrorCode, Header, Kind};

use super::failure::Failure;
use super::once::Once;
use super::reply::{Given, To};
use crate::server::keeper::Keeper;
use crate::server::node::Node;

/// What stands in the output.
enum Said {
    Answer(To),
    Pong(u64),
}

/// What is true when all is kept, and not before.
enum Then {
    /// A transaction is committed.
    Committed(u64),
    /// A request that may come twice was answered so.
    Answered(Once, Given),
}

/// The answers of a connection that wait to be sent.
pub struct Window {
    node: Arc<Node>,
    keeper: Option<Keeper>,
    said: Vec<Said>,
    then: Vec<Then>,
}

impl Window {
    /// No answer waits.
    pub fn new(node: &Arc<Node>) -> Self {
        let keeper = Keeper::of_any(node.data.get().map(|data| &data.persistence));
        Window { node: Arc::clone(node), keeper, said: Vec::new(), then: Vec::new() }
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

    /// Answers that wait.
    pub fn len(&self) -> usize {
        self.said.len()
    }

    /// Whether no answer waits, and nothing for one.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.said.is_empty() && self.then.is_empty() && !self.waits()
    }

    fn waits(&self) -> bool {
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

    /// A transaction was committed.
    pub fn committed(&mut self, number: u64) {
        self.then(Then::Committed(number));
    }

    /// A request that may come twice was answered.
    pub fn answered_once(&mut self, once: Once, given: Given) {
        self.then(Then::Answered(once, given));
    }

    fn then(&mut self, then: Then) {
        if self.waits() {
            self.then.push(then);
        } else {
            then.come_true(&self.node, true);
        }
    }

    /// Waits until all is kept. When nobody knows whether it is, the answers become errors that
    /// say so.
    pub fn poll_kept(&mut self, cx: &mut Context<'_>, out: &mut Output) -> Poll<()> {
        let mut kept = true;
        if let Some(keeper) = self.keeper.as_mut().filter(|keeper| keeper.waits())
            && let Err(error) = ready!(keeper.poll_kept(cx))
        {
            kept = false;
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
        self.then.drain(..).for_each(|then| then.come_true(&self.node, kept));
        Poll::Ready(())
    }
}

impl Then {
    fn come_true(self, node: &Node, kept: bool) {
        match self {
            Then::Committed(number) => {
                node.transactions.end(number, kept.then_some(TxState::Committed));
            }
            Then::Answered(once, given) if kept => once.settle(&given),
            Then::Answered(once, _) => drop(once),
        }
    }
}

impl Drop for Window {
    /// A connection that breaks while its writes are on their way: who asks again shall hear what
    /// became of them.
    fn drop(&mut self) {
        let (then, keeper) = (std::mem::take(&mut self.then), self.keeper.take());
        let Some(mut keeper) = keeper.filter(|_| !then.is_empty()) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let node = Arc::clone(&self.node);
        runtime.spawn(async move {
            let kept = std::future::poll_fn(|cx| keeper.poll_kept(cx)).await.is_ok();
            then.into_iter().for_each(|then| then.come_true(&node, kept));
        });
    }
}

/// Echoes a `PING`.
pub fn pong(opaque: u64, out: &mut Output) {
    put_control(Header::control(Kind::Pong, 0, 0), &Ping { opaque }, out);
}
