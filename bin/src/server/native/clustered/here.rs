//! Units that this member executes: those of the segments that it serves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use isogrid_grid::catalog::{Kind, Object};
use isogrid_grid::structures::queues::Queues;
use isogrid_grid::structures::sessions::Sessions;
use isogrid_wire::native::cache::{Clear, PartSeq, Scan, Size};
use isogrid_wire::native::{Call, Reader, Request as Any};

use super::spread::{Begun, Fate, SAID_MAX, Unit, after, encode_fates, settled, wide};
use super::{phases, walk, whole};
use crate::cluster::{Cluster, Later, Shared};
use crate::server::native::reply::{Given, To};
use crate::server::native::request::At;
use crate::server::native::session::Session;

impl Session {
    /// Executes units of segments that this member serves, until it has said enough. After one of a
    /// segment that was not executed no other one of that segment is: they stay in their order.
    pub(super) fn execute_units(
        &mut self,
        way: &(Arc<Cluster>, Arc<Shared>),
        object: Option<&Arc<Object>>,
        units: &[Unit],
    ) -> BTreeMap<usize, Begun> {
        let (mut begun, mut left_out, mut said) = (BTreeMap::new(), BTreeSet::new(), 0);
        for (at, unit) in units.iter().enumerate() {
            if said >= SAID_MAX {
                break;
            }
            if left_out.contains(&unit.segment) {
                continue;
            }
            match self.execute_unit(way, object, unit) {
                Some((one, cost)) => {
                    said += cost;
                    // The other copies are asked at the end of the turn, for all segments at once.
                    if one.1.is_some_and(|ticket| ticket.is_to_be_confirmed()) {
                        self.unsent.wrote(&way.0, &way.1, unit.segment);
                    }
                    begun.insert(at, one);
                }
                None => drop(left_out.insert(unit.segment)),
            }
        }
        begun
    }

    /// Executes one, of a cache if there is an object; what that cost, in bytes.
    fn execute_unit(
        &mut self,
        way: &(Arc<Cluster>, Arc<Shared>),
        object: Option<&Arc<Object>>,
        unit: &Unit,
    ) -> Option<(Begun, usize)> {
        let (cluster, shared) = way;
        let Some(object) = object else {
            return match &*shared.name {
                Queues::TABLE => self.queue_here(way, unit),
                Sessions::TABLE => self.session_here(way, unit),
                _ => self.count_here(way, unit),
            };
        };
        match unit.op {
            Clear::CODE => whole::clear_segment(cluster, shared, unit.segment),
            Size::CODE => whole::count_segment(cluster, shared, object, unit),
            PartSeq::CODE => whole::number_segment(shared, object, unit.segment),
            op if phases::STEPS.contains(&op) => self.take_part(way, unit),
            Scan::CODE => walk::page((cluster, shared), object.cache.as_ref()?, unit),
            op => {
                let to = To { op, stream: 1, frame_max: self.frame_max, epoch: 0 };
                let at = At::passed(to, Some(object), &unit.body)?;
                let reader = Reader::new(&unit.body, &wide());
                let Ok(Any::Cache(request)) = Any::decode(op, reader) else { return None };
                let (_, writes) = self.key_of(&request).ok()?;
                let place = (unit.segment, writes);
                let done = self.execute_here((cluster, shared), &at, &request, place, unit.name);
                let (given, ticket) =
                    done.unwrap_or_else(|failure| Some((Given::failure(&failure), None)))?;
                let cost = given.payload.len();
                Some(((given, ticket), cost))
            }
        }
    }

    /// Executes units that another member passed on.
    pub fn execute_passed_units(&mut self, shared: &Arc<Shared>, bytes: &[u8]) -> Option<Later> {
        self.now = self.node.now();
        self.followings.expire(self.now);
        let index = self.node.catalog.index();
        // What is no cache are structures.
        let object = index.by_name(Kind::Cache, &shared.name);
        let way = (self.node.cluster.get().cloned()?, Arc::clone(shared));
        let ((patience, writer), units) = Unit::decode_all(bytes)?;
        self.origin = writer;
        let until = after(Duration::from_millis(patience.into()));
        let begun = self.execute_units(&way, object, &units);
        let mut fates = vec![Fate::Undone; units.len()];
        Some(Box::pin(async move {
            let (at, begun): (Vec<_>, Vec<_>) = begun.into_iter().unzip();
            let settled = settled(&way.0, &way.1, begun, until).await;
            for (at, fate) in at.into_iter().zip(settled) {
                if let Some(place) = fates.get_mut(at) {
                    *place = fate;
                }
            }
            (crate::cluster::Done::Executed, encode_fates(&fates))
        }))
    }
}
