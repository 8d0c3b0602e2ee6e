//! Counters of the cluster: each is counted where its segment is served, and its answer waits for
//! the copies (DATA_PATH R13-R19). What is passed on has a name, the client's own if it gave one, so
//! that it is counted once however often it is asked again (R34, R35).

use std::collections::BTreeMap;
use std::sync::Arc;

use isogrid_grid::structure::counter::CounterOp;
use isogrid_grid::structures::counted::{count, segment_of};
use isogrid_wire::native::counter::{Add, AddManyReply, AddReply, CounterValue, Request};
use isogrid_wire::native::{
    Answer, ErrorCode, Limits, List, Reader, Request as Any, Status, SubKind,
};

use super::many::{Join, one as only};
use super::spread::{Begun, Fate, Unit, wide};
use super::{nowhere, once};
use crate::cluster::{Cluster, Shared};
use crate::server::native::counter::{answer, sequence};
use crate::server::native::failure::Failure;
use crate::server::native::reply::{Given, Reply, To};
use crate::server::native::request::{At, Flow};
use crate::server::native::session::Session;

impl Session {
    /// The structures of the cluster, if the node is of one: those of its own are not used then.
    pub fn structures_of_cluster(&self) -> Option<(Arc<Cluster>, Arc<Shared>)> {
        let cluster = self.node.cluster.get()?;
        Some((Arc::clone(cluster), Arc::clone(cluster.structures()?)))
    }

    /// Has a request for counters executed where they are.
    ///
    /// # Errors
    /// It was not done.
    pub fn clustered_counter(
        &mut self,
        way: &(Arc<Cluster>, Arc<Shared>),
        at: &At<'_>,
        request: &Request<'_>,
    ) -> Result<Flow, Failure> {
        let (units, join) = self.counter_units(way, at, request)?;
        self.spread_out(way, at, (None, units), join)
    }

    /// What a request for counters is cut into, one unit a counter, and how they make one answer.
    ///
    /// # Errors
    /// There are too many in it, or it may come again and its client does not say who it is.
    pub(super) fn counter_units(
        &self,
        way: &(Arc<Cluster>, Arc<Shared>),
        at: &At<'_>,
        request: &Request<'_>,
    ) -> Result<(Vec<Unit>, Join), Failure> {
        let table = way.1.table();
        let id = self.name_of(at)?;
        let one = |name| {
            let (segment, body) = (segment_of(table, name), at.body.to_vec());
            Unit { segment, op: at.to.op, body, name: id }
        };
        let units = match *request {
            // Of a segment there may be several: the client's name would be the same for all.
            Request::AddMany(many) => {
                self.check_keys(many.deltas.len())?;
                let add = |name, delta| Unit::of(segment_of(table, name), &Add { name, delta });
                many.deltas.iter().map(|one| add(one.name, one.delta)).collect()
            }
            Request::Get(get) => vec![one(get.name)],
            Request::Add(add) => vec![one(add.name)],
            Request::Set(set) => vec![one(set.name)],
            Request::Cas(cas) => vec![one(cas.name)],
            Request::Reset(reset) => vec![one(reset.name)],
            Request::IdBlock(block) => vec![one(&sequence(block.name))],
        };
        let (is_many, limits) = (matches!(request, Request::AddMany(_)), self.limits);
        let many = move |fates: &[Fate]| added(fates, &limits);
        Ok((units, if is_many { Box::new(many) } else { Box::new(only) }))
    }

    /// Counts here, if this member serves the counter's segment.
    pub(super) fn count_here(
        &mut self,
        (cluster, shared): &(Arc<Cluster>, Arc<Shared>),
        unit: &Unit,
    ) -> Option<(Begun, usize)> {
        let reader = Reader::new(&unit.body, &wide());
        let Ok(Any::Counter(request)) = Any::decode(unit.op, reader) else { return None };
        if !cluster.serves(shared, unit.segment) {
            return None;
        }
        let (now, frame_max) = (cluster.now().wall, self.frame_max);
        let to = To { op: unit.op, stream: 1, frame_max, epoch: 0 };
        let execute = || counted(shared, now, &request, to);
        let given = match unit.name.zip(shared.copies()) {
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

/// Counts, in the cluster's table.
fn counted(shared: &Shared, now: u64, request: &Request<'_>, to: To) -> Given {
    let mut all = Vec::new();
    let counts = |op: CounterOp<'_>| count(shared.table(), now, op).map_err(Failure::from);
    if let Err(failure) = answer(request, counts, &mut Reply::kept(to, &mut all)) {
        all.push(Given::failure(&failure));
    }
    all.pop().unwrap_or_else(|| Given::failure(&Failure::of(ErrorCode::Internal)))
}

/// The answer to an addition to many counters. What cannot be said of each is said of all.
fn added(fates: &[Fate], limits: &Limits) -> Given {
    let mut values = Vec::with_capacity(fates.len());
    let mut others: BTreeMap<&str, usize> = BTreeMap::new();
    for fate in fates {
        match value(fate, limits) {
            Ok(value) => values.push(value),
            Err(why) => *others.entry(why).or_default() += 1,
        }
    }
    let is_done = values.iter().all(|value| value.status == Status::Ok);
    let count = values.len();
    let values = List::of(&values);
    match (is_done, count) {
        (true, count) if count == fates.len() => Given::answer(&AddManyReply::Ok { values }),
        (false, count) if count == fates.len() => Given::answer(&AddManyReply::Partial { values }),
        (_, 0) if !others.contains_key(UNKNOWN) => Given::failure(&nowhere()),
        _ => {
            let others: Vec<_> =
                others.iter().map(|(why, count)| format!("{count} {why}")).collect();
            let (all, others) = (fates.len(), others.join(", "));
            let why = format!("of {all} additions {count} were answered, {others}");
            Given::failure(&Failure::new(ErrorCode::OutcomeUnknown, why))
        }
    }
}

const UNDONE: &str = "were not done";
const UNKNOWN: &str = "may have been done";

fn value(fate: &Fate, limits: &Limits) -> Result<CounterValue, &'static str> {
    match fate {
        Fate::Given(given) if given.kind == SubKind::Res => {
            match AddReply::decode_all(Reader::new(&given.payload, limits)) {
                Ok(AddReply::Ok { value }) => Ok(CounterValue { status: Status::Ok, value }),
                Ok(AddReply::NotStored { value, .. }) => {
                    Ok(CounterValue { status: Status::NotStored, value })
                }
                Err(_) => Err(UNKNOWN),
            }
        }
        // A name that cannot be one: the others are added all the same.
        Fate::Given(given) if Failure::of_given(given).code == ErrorCode::InvalidArgument => {
            Ok(CounterValue { status: Status::NotStored, value: 0 })
        }
        Fate::Given(_) | Fate::Undone => Err(UNDONE),
        Fate::Unknown => Err(UNKNOWN),
    }
}
