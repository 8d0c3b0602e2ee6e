//! Requests that are answered later: they wait for a lock or for the disk, beside the connection.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use isogrid_wire::native::lease::{Lock, SemAcquire};
use isogrid_wire::native::queue::Pull;
use isogrid_wire::native::{Call, ErrorCode};
use tokio::task::{AbortHandle, Id, JoinSet};

use super::failure::Failure;
use super::reply::{Given, To};

/// What answers a request in time. Dropping it gives the request up.
pub type Later = Pin<Box<dyn Future<Output = Given> + Send>>;

/// The lock or the permits that a request waits for.
pub struct Awaited {
    /// The space that they are in.
    pub object: u32,
    /// Their key.
    pub key: Vec<u8>,
}

struct One {
    to: To,
    task: AbortHandle,
    awaited: Option<Awaited>,
}

/// The requests of a connection that are under way.
#[derive(Default)]
pub struct UnderWay {
    tasks: JoinSet<Given>,
    open: BTreeMap<Id, One>,
    /// Fences, and what each still waits for.
    fences: Vec<(To, Vec<Id>)>,
}

impl UnderWay {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.open.len() + self.fences.len()
    }

    /// Whether there is none, nor any task of one that was given up.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty() && self.fences.is_empty()
    }

    /// Begins one. It is given up after `patience`, if it has not.
    pub fn begin(
        &mut self,
        to: To,
        later: Later,
        awaited: Option<Awaited>,
        patience: Option<Duration>,
    ) {
        let task = self.tasks.spawn(async move {
            let Some(patience) = patience else { return later.await };
            let answered = tokio::time::timeout(patience, later).await;
            answered.unwrap_or_else(|_| Given::failure(&too_late(to)))
        });
        self.open.insert(task.id(), One { to, task, awaited });
    }

    /// Answers this when all that is under way now is finished.
    pub fn fence(&mut self, to: To) {
        self.fences.push((to, self.open.keys().copied().collect()));
    }

    /// Gives up the request of a stream; whom its answer was for.
    pub fn cancel(&mut self, stream: u32) -> Option<To> {
        if let Some(at) = self.fences.iter().position(|(to, _)| to.stream == stream) {
            return Some(self.fences.remove(at).0);
        }
        let found = self.open.iter().find(|(_, one)| one.to.stream == stream);
        let id = found.map(|(id, _)| *id)?;
        let one = self.open.remove(&id)?;
        one.task.abort();
        self.ended(id);
        Some(one.to)
    }

    /// The streams of those that wait for a lock or for permits, and for which.
    pub fn waiting(&self) -> impl Iterator<Item = (u32, &Awaited)> {
        self.open.values().filter_map(|one| Some((one.to.stream, one.awaited.as_ref()?)))
    }

    fn ended(&mut self, id: Id) {
        self.fences.iter_mut().for_each(|(_, left)| left.retain(|one| *one != id));
    }

    /// A fence that nothing stands before any more.
    pub fn free_fence(&mut self) -> Option<To> {
        let at = self.fences.iter().position(|(_, left)| left.is_empty())?;
        Some(self.fences.remove(at).0)
    }

    /// The next answer.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<(To, Given)>> {
        loop {
            let (id, given) = match std::task::ready!(self.tasks.poll_join_next_with_id(cx)) {
                None => return Poll::Ready(None),
                Some(Ok((id, given))) => (id, given),
                // It was cancelled and has its answer, or it panicked.
                Some(Err(error)) => (error.id(), Given::failure(&Failure::of(ErrorCode::Internal))),
            };
            self.ended(id);
            if let Some(one) = self.open.remove(&id) {
                return Poll::Ready(Some((one.to, given)));
            }
        }
    }
}

/// The time of a request is over. One for a lock or for messages gives back what it may have got meanwhile; what
/// others have begun goes on.
fn too_late(to: To) -> Failure {
    let gives_back = matches!(to.op, Lock::CODE | SemAcquire::CODE | Pull::CODE);
    Failure::of(if gives_back { ErrorCode::DeadlineExceeded } else { ErrorCode::OutcomeUnknown })
}
