//! Group 0x0B: many requests in one, each on its own.

use isogrid_grid::catalog::Index;
use isogrid_wire::native::batch::{BatchReply, Request};
use isogrid_wire::native::{
    ErrorCode, List, Reader, Request as Any, RequestExt, SubReply, SubRequest,
};

use super::clustered::batch::Together;
use super::failure::Failure;
use super::reply::{Given, Reply, To};
use super::request::{At, Flow, is_unreadable};
use super::session::Session;

impl Session {
    /// Executes a request of this group: what is for caches and counters of the cluster together, all
    /// else in its order.
    ///
    /// # Errors
    /// There are too many in it.
    pub fn batch(
        &mut self,
        at: &At<'_>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        let Request::Batch(batch) = request;
        self.check_keys(batch.requests.len())?;
        let index = self.node.catalog.index();
        let mut all = Vec::with_capacity(batch.requests.len());
        let mut together = Together::default();
        for sub in batch.requests {
            if let Err(failure) = self.sub(&index, at, &sub, (&mut all, &mut together)) {
                if is_unreadable(&failure) {
                    self.count_malformed();
                }
                all.push(Given::failure(&failure));
            }
        }
        if together.is_empty() {
            say(&all, |answer| reply.say(answer));
            return Ok(Flow::Said);
        }
        let mut parts = self.begin_together(at, together);
        Ok(Flow::Later(Box::pin(async move {
            while let Some(answers) = parts.join_next().await {
                for (place, given) in answers.unwrap_or_default() {
                    all.get_mut(place).into_iter().for_each(|all| *all = given.clone());
                }
            }
            say(&all, |answer| Given::answer(answer))
        })))
    }

    /// Executes one, or puts it to those that are executed together.
    fn sub(
        &mut self,
        index: &Index,
        at: &At<'_>,
        sub: &SubRequest<'_>,
        (all, together): (&mut Vec<Given>, &mut Together),
    ) -> Result<(), Failure> {
        let object = index.by_id(sub.object);
        let request = Any::decode(sub.op, Reader::new(sub.body, &self.limits))?;
        if !matches!(request, Any::Cache(_) | Any::Counter(_) | Any::Lease(_) | Any::Catalog(_)) {
            return Err(Failure::invalid("requests of this group cannot be within another one"));
        }
        self.permit(index, sub.object, &request)?;
        let to = To { op: sub.op, ..at.to };
        // The lease is said once for all.
        let lease = at.ext.lease.filter(|_| matches!(request, Any::Lease(_)));
        let ext = RequestExt { lease, ..RequestExt::default() };
        let at = At { to, object, id: sub.object, ext, body: sub.body, may_wait: false, ..*at };
        if let Some(way) = self.way_together(object, &request) {
            self.put_together(way, &at, &request, (all.len(), together))?;
            // Its place, until its own answer is there.
            all.push(Given::failure(&Failure::of(ErrorCode::Internal)));
            return Ok(());
        }
        match self.execute(&at, &request, &mut Reply::kept(to, all))? {
            Flow::Said => Ok(()),
            _ => Err(Failure::invalid("a request within another one cannot wait")),
        }
    }
}

/// Says the answers to all.
fn say<R>(all: &[Given], say: impl FnOnce(&BatchReply<'_>) -> R) -> R {
    let is_ok = all.iter().all(|given| given.is_ok);
    let replies = sub_replies(all);
    let replies = List::of(&replies);
    say(&if is_ok { BatchReply::Ok { replies } } else { BatchReply::Partial { replies } })
}

/// Answers as they stand within another one.
pub fn sub_replies(all: &[Given]) -> Vec<SubReply<'_>> {
    all.iter().map(|given| SubReply { kind: given.kind, payload: &given.payload }).collect()
}
