//! Requests that other members pass on: executed as those of a client, and never passed on again.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use isogrid_grid::catalog::Kind;
use isogrid_wire::Limits;
use isogrid_wire::Output;
use isogrid_wire::memcached::{Decoder, Protocols};

use super::Part;
use crate::cluster::{self, Executed, Executor, Shared};
use crate::server::connection::{Done, Turn};
use crate::server::connections::{Connections, Peer, Spoken};
use crate::server::login::Client;
use crate::server::native;
use crate::server::native::clustered::follow::FOLLOW;
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
    fn execute(&self, shared: &Arc<Shared>, request: &[u8]) -> Executed {
        if self.node.upgrade().is_none_or(|node| node.is_stopping()) {
            return Executed::Elsewhere;
        }
        match request.first() {
            Some(&PASSED) => return self.execute_native(shared, request),
            Some(&(UNITS | FOLLOW)) => return self.execute_of_many(shared, request),
            _ => {}
        }
        let Some((mut session, mut out)) = self.session(&shared.name) else {
            return Executed::Elsewhere;
        };
        session.now = session.node.now();
        let item_size_max = session.node.config.limits.max_item_size;
        let limits = Limits { item_size_max, ..Limits::default() };
        let mut decoder = Decoder::new(limits, Protocols::Auto);
        let mut done = Done { consumed: 0, needed: 1, close: None, turn: Turn::Go };
        let cache = Arc::clone(&session.cache);
        session.clustered_turn(
            &cache.batch(session.now),
            &mut decoder,
            request,
            &mut out,
            &mut done,
        );
        session.counters.add(&std::mem::take(&mut session.counts));
        session.stream = None;
        let Some(clustered) = &mut session.clustered else { return Executed::Elsewhere };
        let is_elsewhere = std::mem::take(&mut clustered.is_elsewhere);
        let parts = std::mem::take(&mut clustered.parts);
        let bytes = out.to_vec();
        self.put_back(session, out);
        if is_elsewhere || done.consumed != request.len() {
            return Executed::Elsewhere;
        }
        let waits = parts.iter().filter_map(Part::ticket).collect();
        Executed::Now { bytes, waits }
    }
}

impl Passed {
    fn execute_native(&self, shared: &Shared, request: &[u8]) -> Executed {
        let mut native = self.native.lock().unwrap_or_else(PoisonError::into_inner);
        if native.is_none() {
            *native = self.node.upgrade().and_then(|node| native_session(&node));
        }
        let Some(session) = native.as_mut() else { return Executed::Elsewhere };
        match session.execute_passed(&shared.name, request) {
            Outcome::Given(given) => Executed::Now { bytes: pack(&given), waits: Vec::new() },
            Outcome::Later(later) => Executed::Later(Box::pin(async move {
                let given = later.await;
                (cluster::Done::Executed, pack(&given))
            })),
            Outcome::Elsewhere => Executed::Elsewhere,
        }
    }

    fn execute_of_many(&self, shared: &Arc<Shared>, request: &[u8]) -> Executed {
        let mut native = self.native.lock().unwrap_or_else(PoisonError::into_inner);
        if native.is_none() {
            *native = self.node.upgrade().and_then(|node| native_session(&node));
        }
        let Some(session) = native.as_mut() else { return Executed::Elsewhere };
        if request.first() == Some(&FOLLOW) {
            session.execute_follow(shared, request)
        } else {
            session.execute_passed_units(shared, request)
        }
    }

    /// Lets go of the node: nothing is executed any more.
    pub fn close(&self) {
        self.native.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn native_session(node: &Arc<Node>) -> Option<native::Session> {
    let peer = Peer { name: "peers".to_owned(), address: None };
    let place = Connections::admit(node, peer, "peers".to_owned(), Spoken::Native).ok()?;
    let mut session = native::Session::new(Arc::clone(node), &place, Client::default());
    session.is_passed = true;
    Some(session)
}
