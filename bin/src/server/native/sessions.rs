//! Group 0x06: web sessions. A request is an [`Errand`]: it asks for units, each about one segment,
//! and is answered by what becomes of them. A node that stands alone executes them where it is; those
//! of a cluster go to whoever serves their segments (`clustered/sessions.rs`).
//!
//! | file | what |
//! |---|---|
//! | `errand.rs`, `renew.rs`, `list.rs` | what units a request asks for, and what is made of their answers |
//! | `execute.rs`, `answer.rs` | units executed, where their segment is served |

mod answer;
mod errand;
mod execute;
mod list;
mod renew;

use std::sync::Arc;

use isogrid_grid::catalog::{Kind, Object, is_name};
use isogrid_grid::structure::session::ID_LEN;
use isogrid_grid::structures::sessions::Sessions;
use isogrid_wire::native::catalog::{CreateMode, CreateReply, ObjectKind, Request as Catalog};
use isogrid_wire::native::session::Request;
use isogrid_wire::native::{ErrorCode, Json};

pub use self::errand::{Errand, Next};
pub use self::execute::{execute, is_in_steps, mask};
use super::clustered::spread::Fate;
use super::failure::Failure;
use super::reply::{Given, Reply};
use super::request::{At, Flow};
use super::session::Session;
use crate::cluster::object_number;
use crate::security::{OpClass, allow_some};
use crate::server::node::Node;

/// Spaces that a node knows at the most.
const SPACES_MAX: usize = 1_024;
/// Bytes of a reason at the most.
const REASON_MAX: usize = 255;

impl Session {
    /// Executes a request of this group.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn web_session(
        &mut self,
        at: &At<'_>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        let space = &*at.object(Kind::Sessions)?.name;
        check(request)?;
        let cluster = self.node.cluster.get().cloned();
        if let Some((cluster, sessions)) = cluster.zip(self.node.shared_sessions.get()) {
            let name = self.name_of(at)?;
            let errand = errand::of(sessions, (space, at), request, name);
            return self.clustered_session(cluster, at, errand);
        }
        self.window.wrote_to(self.node.structures_mode());
        let errand = errand::of(&self.node.sessions, (space, at), request, None);
        reply.give(&run(&self.node.sessions, self.now, errand));
        Ok(Flow::Said)
    }

    /// Answers a request for a space of sessions by name; `false` when it is none. Who may keep
    /// sessions in it may name it.
    ///
    /// # Errors
    /// Nobody can have it so, or this client may not.
    pub fn session_space(
        &self,
        at: &At<'_>,
        request: &Catalog<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<bool, Failure> {
        match *request {
            Catalog::Resolve(resolve) if resolve.kind == ObjectKind::Sessions => {
                let who = self.login.identity();
                let class = OpClass::Session;
                if !allow_some(who, class, resolve.name) {
                    self.permit_one(at.operation, resolve.name, class, None)?;
                }
                self.say_resolved(&*space(&self.node, resolve.name)?, reply);
            }
            Catalog::Create(create) if create.kind == ObjectKind::Sessions => {
                let created = self.node.catalog.find(Kind::Sessions, create.name).is_err();
                if !created && create.mode == CreateMode::CreateNew {
                    let why = format!("the space of sessions {:?} is there", create.name);
                    return Err(Failure::new(ErrorCode::ObjectExists, why));
                }
                if create.options.0.trim() != Json::EMPTY.0 {
                    return Err(Failure::invalid(
                        "a space of sessions has no options: each session has",
                    ));
                }
                let (id, props) = (space(&self.node, create.name)?.id, Json::EMPTY);
                reply.say(&CreateReply::Ok { id, created, props });
            }
            Catalog::Drop(drop) if drop.kind == ObjectKind::Sessions => {
                let why = "a space of sessions is there as long as somebody names it: its sessions end, \
                           or are destroyed";
                return Err(Failure::invalid(why));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Runs an errand where all segments are.
fn run(sessions: &Sessions, now: u64, mut errand: Box<dyn Errand>) -> Given {
    let mut units = errand.begin();
    loop {
        let fates = units.iter().map(|unit| Fate::Given(execute(sessions, now, unit)));
        match errand.next(fates.collect()) {
            Next::Ask(more) => units = more,
            Next::End(given) => return given,
        }
    }
}

/// What is not allowed, whatever is there.
fn check(request: &Request<'_>) -> Result<(), Failure> {
    let id = match request {
        Request::Create(create) => Some(create.id),
        Request::RenewId(renew) => Some(renew.new),
        _ => None,
    };
    if let Some(id) = id.filter(|id| !ID_LEN.contains(&id.0.len())) {
        let (len, least, most) = (id.0.len(), ID_LEN.start(), ID_LEN.end());
        let why = format!(
            "the id of a session has {len} bytes: it takes {least} to {most}, at least 128 random bits \
             or a hash of them"
        );
        return Err(Failure::invalid(why));
    }
    match request {
        Request::Destroy(destroy) if destroy.reason.len() > REASON_MAX => {
            Err(Failure::invalid(format!("`reason` takes at most {REASON_MAX} bytes")))
        }
        Request::RenewId(renew) if renew.old == renew.new => {
            Err(Failure::invalid("`old` and `new` are the same id"))
        }
        _ => Ok(()),
    }
}

/// The space of sessions of this name: it is there as soon as somebody names it, and can be found by
/// its number then. The number is the same on every node.
///
/// # Errors
/// Nothing can have this name, or there are too many.
pub fn space(node: &Node, name: &str) -> Result<Arc<Object>, Failure> {
    if let Ok(known) = node.catalog.find(Kind::Sessions, name) {
        return Ok(known);
    }
    if !is_name(name) {
        let why = format!(
            "{name:?} cannot name a space of sessions: 1 to 64 of a-z, A-Z, 0-9, `_`, `.`, `-`"
        );
        return Err(Failure::invalid(why));
    }
    let known = node.catalog.list(Some(Kind::Sessions)).len();
    if known >= SPACES_MAX {
        let why = format!("there are {known} spaces of sessions, as many as there may be");
        let failure = Failure::new(ErrorCode::QuotaExceeded, why);
        return Err(failure.with("limit", SPACES_MAX.to_string()));
    }
    if !node.catalog.note(Kind::Sessions, name, object_number(&format!("sessions {name}"))) {
        return Err(Failure::of(ErrorCode::Internal));
    }
    let object = node.catalog.find(Kind::Sessions, name);
    object.map_err(|_| Failure::of(ErrorCode::NoSuchObject))
}
