//! Sessions of the cluster: a request is executed where the segments that it is about are served, and
//! its answer waits for the copies (DATA_PATH R13-R19). What is passed on has a name, the client's own
//! if it gave one, so that it is done once however often it is asked again (R34, R35).

use std::sync::Arc;

use isogrid_grid::structures::sessions::Sessions;
use isogrid_wire::native::ErrorCode;

use super::many::does;
use super::spread::{Begun, Spread, Unit};
use super::{nowhere, once};
use crate::cluster::{Cluster, Shared};
use crate::server::native::failure::Failure;
use crate::server::native::reply::Given;
use crate::server::native::request::{At, Flow};
use crate::server::native::session::Session;
use crate::server::native::sessions::{Errand, Next, execute, is_in_steps};

impl Session {
    /// Has an errand run by who serves the segments that it is about.
    ///
    /// # Errors
    /// It cannot be answered later.
    pub fn clustered_session(
        &mut self,
        cluster: Arc<Cluster>,
        at: &At<'_>,
        mut errand: Box<dyn Errand>,
    ) -> Result<Flow, Failure> {
        self.check_wait(at)?;
        let shared = cluster.cache(Sessions::TABLE).cloned().ok_or_else(nowhere)?;
        let (way, units) = ((cluster, shared), errand.begin());
        let does = does(&units);
        let spread = Spread::new(way.clone(), units, at.patience);
        let until = spread.deadline();
        let first = self.begin_spread(&way, None, spread, &does);
        Ok(Flow::Later(Box::pin(async move {
            let (mut fates, _places) = match first.await {
                Ok(fates) => fates,
                Err(failure) => return Given::failure(&failure),
            };
            loop {
                let units = match errand.next(fates) {
                    Next::End(given) => return given,
                    Next::Ask(units) => units,
                };
                fates = match Spread::until(way.clone(), units, until).go_all().await {
                    Ok(fates) => fates,
                    Err(failure) => return Given::failure(&failure),
                };
            }
        })))
    }

    /// Executes a unit here, if this member serves its segment.
    pub(super) fn session_here(
        &mut self,
        (cluster, shared): &(Arc<Cluster>, Arc<Shared>),
        unit: &Unit,
    ) -> Option<(Begun, usize)> {
        if !cluster.serves(shared, unit.segment) {
            return None;
        }
        let node = Arc::clone(&self.node);
        let (sessions, now) = (node.shared_sessions.get()?, cluster.now().wall);
        let execute = || execute(sessions, now, unit);
        let id = unit.name.filter(|_| !is_in_steps(unit.op));
        let given = match id.zip(shared.copies()) {
            Some((id, copies)) => once((copies, now, unit.segment, id), execute)?,
            None => execute(),
        };
        // What was read may not be committed either.
        let ticket = shared.copies().and_then(|copies| copies.ticket(unit.segment));
        let is_elsewhere =
            given.is_undone && Failure::of_given(&given).code == ErrorCode::SegmentUnavailable;
        if is_elsewhere || ticket.is_none() && !cluster.serves(shared, unit.segment) {
            return None;
        }
        self.unsent.wrote(cluster, shared, unit.segment);
        let cost = given.payload.len();
        Some(((given, ticket), cost))
    }
}
