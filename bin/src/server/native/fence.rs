//! Writes under a lock: whoever lost the lock without noticing is refused.
//!
//! A lock of the cluster is served by another member maybe, which is asked ahead of the write; what
//! the client sent after it waits meanwhile.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use isogrid_grid::catalog::{Kind, Object};
use isogrid_wire::native::{ErrorCode, Fence, Request};

use super::clustered::locks::held_until;
use super::failure::Failure;
use super::reply::Reply;
use super::request::{At, Flow, unsupported};
use super::session::Session;

/// A lock and a token.
type Claim = (Vec<u8>, u64);
/// Until when a lock is held, if it is.
type Held = Result<Option<u64>, Failure>;

/// What is known of the fence of the next request.
#[derive(Default)]
pub enum Fencing {
    /// Nothing.
    #[default]
    Free,
    /// It is asked for.
    Asking(Claim, Pin<Box<dyn Future<Output = Held> + Send>>),
    /// This was said.
    Told(Claim, Held),
}

impl Fencing {
    /// Whether the next request waits.
    pub fn waits(&self) -> bool {
        matches!(self, Fencing::Asking(..))
    }

    /// Waits until it is said.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Fencing::Asking(claim, asked) = self {
            let held = std::task::ready!(asked.as_mut().poll(cx));
            *self = Fencing::Told(std::mem::take(claim), held);
        }
        Poll::Ready(())
    }

    /// What was said of a claim, once.
    fn take(&mut self, claim: &Claim) -> Option<Held> {
        match std::mem::take(self) {
            Fencing::Told(of, held) if of == *claim => Some(held),
            _ => None,
        }
    }
}

impl Session {
    /// Executes a request under the lock that it names, if it names one.
    pub(super) fn fenced(
        &mut self,
        at: &At<'_>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        let Some(fence) = at.ext.fence else { return self.execute(at, request, reply) };
        if !matches!(request, Request::Cache(_) | Request::Counter(_)) {
            return Err(unsupported("fence"));
        }
        let node = Arc::clone(&self.node);
        let is_space = |object: Arc<Object>| object.kind == Kind::Locks;
        if !node.catalog.object(fence.object).is_some_and(is_space) {
            return Err(Failure::new(ErrorCode::NoSuchObject, "the fence names no space of locks"));
        }
        if self.structures_of_cluster().is_some() {
            return self.fenced_by_cluster(&fence, at, request, reply);
        }
        let done = node
            .structures
            .fenced(self.now, fence.key.0, fence.token, || self.execute(at, request, reply));
        done.unwrap_or_else(|error| Err(Failure::new(ErrorCode::Fenced, error.to_string())))
    }

    /// Executes a request while the lock is surely held; asks first, and then it has to come again.
    fn fenced_by_cluster(
        &mut self,
        fence: &Fence<'_>,
        at: &At<'_>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        let Some(way) = self.structures_of_cluster() else { return Ok(Flow::Stopped) };
        let claim = (fence.key.0.to_vec(), fence.token);
        let now = way.0.now().monotonic;
        match self.fencing.take(&claim) {
            Some(Err(failure)) => Err(failure),
            Some(Ok(None)) => Err(Failure::of(ErrorCode::Fenced)),
            Some(Ok(Some(until))) if now < until => self.execute(at, request, reply),
            _ => {
                let asked = held_until(Arc::clone(&self.node), way, claim.clone());
                self.fencing = Fencing::Asking(claim, Box::pin(asked));
                Ok(Flow::Stopped)
            }
        }
    }
}
