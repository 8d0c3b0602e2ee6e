//! Requests that other members pass on: executed as those of a client, and never passed on again.

use std::mem::take;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use isogrid_grid::Batch;
use isogrid_grid::catalog::Kind;
use isogrid_grid::id::SegmentId;
use isogrid_grid::replica::OpId;
use isogrid_grid::tx::Open;
use isogrid_wire::Limits;
use isogrid_wire::Output;
use isogrid_wire::memcached::{Decoder, Protocols};

use crate::cluster::{self, Executed, Executor, Items, Shared, unnamed};
use crate::server::connection::{Done, Turn};
use crate::server::connections::{Connections, Peer, Spoken};
use crate::server::login::Client;
use crate::server::native;
use crate::server::native::clustered::follow::FOLLOW;
use crate::server::native::clustered::locks::{self, LOCKS};
use crate::server::native::clustered::phases;
use crate::server::native::clustered::queues::errand::QUEUES;
use crate::server::native::clustered::queues::pull;
use crate::server::native::clustered::spread::UNITS;
use crate::server::native::clustered::{Outcome, PASSED, pack};
use crate::server::node::Node;
use crate::server::session::{Rights, Session};

/// Sessions that wait for requests, at the most.
const SESSIONS_MAX: usize = 16;
/// What the output of one that waits may hold, bytes.
const OUTPUT_MEMORY_MAX: usize = 64 << 10;

/// Executes what other members pass on.
pub struct Passed {
    node: Weak<Node>,
    native: Mutex<Option<native::Session>>,
    sessions: Mutex<Vec<(Session, Output)>>,
}

impl Passed {
    /// For a node.
    pub fn new(node: &Arc<Node>) -> Passed {
        Passed { node: Arc::downgrade(node), native: Mutex::default(), sessions: Mutex::default() }
    }

    fn session(&self, cache: &str) -> Option<(Session, Output)> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = sessions.iter().position(|(session, _)| session.cache.name() == cache) {
            return Some(sessions.swap_remove(at));
        }
        drop(sessions);
        let node = self.node.upgrade()?;
        let found = node.catalog.find(Kind::Cache, cache).ok()?;
        let cache = Arc::clone(found.cache.as_ref()?);
        let mut session = Session::new(node, cache, Rights { flush: true });
        session.clustered.as_mut()?.passed = true;
        Some((session, Output::new()))
    }

    fn put_back(&self, session: Session, mut out: Output) {
        out.clear();
        let spare = if out.memory() > OUTPUT_MEMORY_MAX { Output::new() } else { out };
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() < SESSIONS_MAX {
            sessions.push((session, spare));
        }
    }
}

impl Executor for Passed {
    fn execute(
        &self,
        shared: &Arc<Shared>,
        requests: Items<'_>,
        executed: &mut Executed,
    ) -> Vec<u32> {
        if self.node.upgrade().is_none_or(|node| node.is_stopping()) {
            requests.for_each(|_| executed.elsewhere());
            return Vec::new();
        }
        // All of a frame are of one connection.
        match requests.clone().next().and_then(|first| unnamed(first).1.first()) {
            Some(&(PASSED | UNITS | FOLLOW | LOCKS | QUEUES)) => {
                self.execute_native(shared, requests, executed)
            }
            _ => self.execute_memcached(shared, requests, executed),
        }
    }

    fn resolve(&self, shared: &Arc<Shared>, segment: SegmentId, open: Open) {
        let cluster = self.node.upgrade().and_then(|node| node.cluster.get().cloned());
        if let Some(cluster) = cluster {
            tokio::spawn(phases::resolve(cluster, (shared.group, segment), open));
        }
    }
}

impl Passed {
    fn execute_memcached(
        &self,
        shared: &Shared,
        requests: Items<'_>,
        executed: &mut Executed,
    ) -> Vec<u32> {
        let Some((mut session, mut out)) = self.session(&shared.name) else {
            requests.for_each(|_| executed.elsewhere());
            return Vec::new();
        };
        session.now = session.node.now();
        let cache = Arc::clone(&session.cache);
        let batch = cache.batch(session.now);
        for request in requests {
            session.execute_passed(&batch, unnamed(request), &mut out, executed);
            out.clear();
        }
        drop(batch);
        session.counters.take(&mut session.counts);
        let touched = session.clustered.as_mut().map(|clustered| take(&mut clustered.touched));
        self.put_back(session, out);
        touched.unwrap_or_default()
    }

    fn execute_native(
        &self,
        shared: &Arc<Shared>,
        requests: Items<'_>,
        executed: &mut Executed,
    ) -> Vec<u32> {
        let mut native = self.native.lock().unwrap_or_else(PoisonError::into_inner);
        if native.is_none() {
            *native = self.node.upgrade().and_then(|node| native_session(&node));
        }
        let Some(session) = native.as_mut() else {
            requests.for_each(|_| executed.elsewhere());
            return Vec::new();
        };
        for (id, request) in requests.map(unnamed) {
            let way = || Some((session.node.cluster.get()?.clone(), Arc::clone(shared)));
            let later = match request.first() {
                Some(&FOLLOW) => session.execute_follow(shared, request),
                Some(&UNITS) => session.execute_passed_units(shared, request),
                Some(&LOCKS) => way().and_then(|way| locks::execute(&session.node, &way, request)),
                Some(&QUEUES) => way().and_then(|way| pull::execute(&session.node, &way, request)),
                _ => {
                    execute_one(session, shared, (id, request), executed);
                    continue;
                }
            };
            match later {
                Some(later) => executed.later(later),
                None => executed.elsewhere(),
            }
        }
        session.take_touched()
    }

    /// Lets go of the node: nothing is executed any more.
    pub fn close(&self) {
        self.native.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Session {
    /// Executes a request of another member's client.
    fn execute_passed(
        &mut self,
        batch: &Batch<'_>,
        (name, request): (Option<OpId>, &[u8]),
        out: &mut Output,
        executed: &mut Executed,
    ) {
        self.clustered.iter_mut().for_each(|clustered| clustered.name = name);
        let item_size_max = self.node.config.limits.max_item_size;
        let limits = Limits { item_size_max, ..Limits::default() };
        let mut decoder = Decoder::new(limits, Protocols::Auto);
        let mut done = Done { consumed: 0, needed: 1, close: None, turn: Turn::Go };
        self.clustered_turn(batch, &mut decoder, request, out, &mut done);
        self.stream = None;
        let Some(clustered) = &mut self.clustered else { return executed.elsewhere() };
        let (parts, is_elsewhere) = (take(&mut clustered.parts), take(&mut clustered.is_elsewhere));
        if is_elsewhere || done.consumed != request.len() {
            return executed.elsewhere();
        }
        let waits = parts.iter().filter_map(|part| part.own().1);
        executed.answer(cluster::Done::Executed, &out.to_vec(), waits);
    }
}

fn execute_one(
    session: &mut native::Session,
    shared: &Shared,
    (id, request): (Option<OpId>, &[u8]),
    executed: &mut Executed,
) {
    match session.execute_passed(&shared.name, id, request) {
        Outcome::Given(given, waits) => {
            executed.answer(cluster::Done::Executed, &pack(&given), waits.into_iter());
        }
        Outcome::Elsewhere => executed.elsewhere(),
    }
}

fn native_session(node: &Arc<Node>) -> Option<native::Session> {
    let peer = Peer { name: "peers".to_owned(), address: None };
    let place = Connections::admit(node, peer, "peers".to_owned(), Spoken::Native).ok()?;
    let mut session = native::Session::new(Arc::clone(node), &place, Client::default());
    session.is_passed = true;
    Some(session)
}
