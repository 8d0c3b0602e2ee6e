//! Transactions that may come again (R34): their answers are remembered by their *home*, the segment
//! of the first key that the request may write. That is the same whichever member is asked, so all
//! transactions that are made of one request ask for their decision there, and the first one is it.
//!
//! An answer of what is done is recorded with its COMMIT (`phases.rs`). One that says that nothing was
//! done is recorded too, before it is given: else a member that was asked before could do it after all.

use std::sync::Arc;
use std::time::Duration;

use isogrid_grid::replica::OpId;
use isogrid_grid::replica::answers::Answer;
use isogrid_grid::tx::{Part, Ruling};
use isogrid_wire::native::tx::{CommitReply, Request, TxState};
use isogrid_wire::native::{ErrorCode, Limits, Reader, Request as Any, SubRequest};

use super::phases::{look, record};
use super::{Partner, forgotten, pack, unknown, unpack};
use crate::cluster::Cluster;
use crate::server::native::failure::Failure;
use crate::server::native::reply::Given;
use crate::server::native::request::{At, Flow};
use crate::server::native::session::Session;
use crate::server::native::tx::{RETRY_MS, Sub};

/// A request that may come again, and who remembers its answer.
#[derive(Debug, Clone, Copy)]
pub struct Named {
    /// Its name.
    pub id: OpId,
    /// The segment.
    pub home: Part,
}

/// An answer.
pub enum Said {
    /// It is recorded if it is to be.
    Recorded(Given),
    /// It says that nothing was done, and is not.
    Refused(Given),
}

impl Said {
    /// The answer.
    pub fn given(self) -> Given {
        match self {
            Said::Recorded(given) | Said::Refused(given) => given,
        }
    }

    /// Has it remembered, unless it is; what is answered then: the first that was.
    ///
    /// # Errors
    /// Nobody knows which one that is.
    pub async fn remembered(
        self,
        cluster: &Arc<Cluster>,
        named: Option<Named>,
        patience: Duration,
    ) -> Result<Given, Failure> {
        let (Said::Refused(given), Some(named)) = (&self, named) else { return Ok(self.given()) };
        match record(cluster, named, &pack(given), patience).await {
            Some(Ruling::Decided(_)) => Ok(self.given()),
            Some(Ruling::Before(answer)) => Ok(before(answer)),
            None => Err(unknown()),
        }
    }
}

/// What was answered before.
pub fn before(answer: Answer) -> Given {
    let given = answer.and_then(|bytes| unpack(&bytes));
    given.unwrap_or_else(|| Given::failure(&forgotten()))
}

impl Session {
    /// The name of a transaction over these caches that may come again, if its client gives it one.
    ///
    /// # Errors
    /// The client has not said who it is, or nobody can read the request.
    pub(super) fn named(&self, at: &At<'_>, caches: &[Partner]) -> Result<Option<Named>, Failure> {
        let Some(id) = self.name_of(at)? else { return Ok(None) };
        let Any::Tx(request) = Any::decode(at.to.op, Reader::new(at.body, &self.limits))? else {
            return Ok(None);
        };
        let home = first_written(&request, &self.limits).and_then(|(object, key)| {
            let partner = caches.iter().find(|partner| partner.object == object);
            partner.map(|partner| partner.part(key))
        });
        Ok(home.map(|home| Named { id, home }))
    }

    /// Whether the segments of the cluster know what was answered to a request of this group.
    pub(super) fn is_kept_by_home(&self, request: &Request<'_>) -> bool {
        if let Request::Commit(commit) = request {
            return self.is_elsewhere(commit.tx);
        }
        let index = self.node.catalog.index();
        let written = first_written(request, &self.limits);
        written.is_some_and(|(object, _)| self.clustered(index.by_id(object)).is_some())
    }

    /// Answers a COMMIT of a transaction that another connection had, of another node: as the first
    /// time, if its segments have it committed.
    pub(in crate::server::native) fn commit_again(
        &self,
        cluster: Arc<Cluster>,
        number: u64,
        patience: Duration,
    ) -> Flow {
        Flow::Later(Box::pin(async move {
            match look(cluster, number, patience).await {
                TxState::Committed => Given::answer(&CommitReply::Ok {}),
                TxState::Active => {
                    Given::failure(&Failure::of(ErrorCode::Overloaded).after(RETRY_MS))
                }
                TxState::Aborted | TxState::Unknown => {
                    Given::failure(&Failure::of(ErrorCode::TxNotFound))
                }
            }
        }))
    }
}

/// The first key that a transaction may write, and its cache.
fn first_written<'a>(request: &Request<'a>, limits: &Limits) -> Option<(u32, &'a [u8])> {
    let place = |sub: SubRequest<'a>| match Any::decode(sub.op, Reader::new(sub.body, limits)) {
        Ok(Any::Cache(request)) => Sub { object: sub.object, request }.written(),
        _ => None,
    };
    match request {
        Request::Exec(exec) => exec.then.iter().chain(exec.otherwise).find_map(place),
        Request::CommitOcc(commit) => {
            commit.writes.iter().next().map(|write| (write.object, write.key.0))
        }
        _ => None,
    }
}
