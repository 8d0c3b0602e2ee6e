//! Whether a client may have done what it asks for: the question of [`crate::security::allow`],
//! asked before anything is done. What is not permitted is denied, counted and recorded.

use std::sync::atomic::Ordering;

use isogrid_grid::catalog::{Index, Kind, Object};
use isogrid_wire::native::admin::Request as Admin;
use isogrid_wire::native::schema::Operation;
use isogrid_wire::native::{ErrorCode, Request};

use super::asked::{self, Asked};
use super::failure::Failure;
use super::live::Live;
use super::session::Session;
use super::under_way::Awaited;
use crate::security::audit::Event;
use crate::security::{Identity, OpClass, allow, allow_some};
use crate::server::admin::find;
use crate::server::node::Node;

/// What a client may do with an object, or with something in it, in the words of
/// `catalog.RESOLVE`.
const BITS: [(OpClass, u32); 5] = [
    (OpClass::Read, 1),
    (OpClass::Write, 2),
    (OpClass::Configure, 4),
    (OpClass::Clear, 8),
    (OpClass::Keys, 16),
];

/// The same of who may keep sessions.
const SESSION_BITS: u32 = 1 | 2;

/// All that somebody may do with an object, as `catalog.RESOLVE` tells it.
pub fn permissions(node: &Node, who: Option<&Identity>, object: &Object) -> u32 {
    if object.kind == Kind::Sessions {
        // One permission is for all that is done to them.
        return if may_some(node, who, OpClass::Session, object) { SESSION_BITS } else { 0 };
    }
    let may = |(class, _): &&(OpClass, u32)| may_some(node, who, *class, object);
    BITS.iter().filter(may).map(|(_, bit)| bit).sum()
}

/// Whether somebody may do a thing to something in an object.
pub fn may_some(node: &Node, who: Option<&Identity>, class: OpClass, object: &Object) -> bool {
    !node.security.is_required() || allow_some(who, class, &object.name)
}

impl Session {
    /// Passes a request all of which is permitted; where nobody has to log in, that is every one.
    ///
    /// # Errors
    /// The failure to answer with.
    pub fn permit(&self, index: &Index, object: u32, request: &Request<'_>) -> Result<(), Failure> {
        if !self.node.security.is_required() {
            return Ok(());
        }
        self.check_login()?;
        let command = || command(request);
        asked::all(request, &mut |asked| self.permit_in(index, object, asked, &command))
    }

    /// Whether all of a request for an object is permitted: `None` if it is not, or nobody knows who
    /// asks. That is neither counted nor recorded.
    #[cold]
    pub fn may(&self, object: &Object, request: &Request<'_>) -> Option<()> {
        let who = self.login.identity();
        let denied = || Failure::of(ErrorCode::Forbidden);
        let may = |asked: &Asked<'_>| allow(who, asked.class, &object.name, asked.key);
        asked::all(request, &mut |asked| may(&asked).then_some(()).ok_or_else(denied)).ok()
    }

    /// The same for one thing that `operation` does to an object.
    ///
    /// # Errors
    /// The failure to answer with.
    pub fn permit_one(
        &self,
        operation: &Operation,
        object: &str,
        class: OpClass,
        key: Option<&[u8]>,
    ) -> Result<(), Failure> {
        if !self.node.security.is_required() {
            return Ok(());
        }
        self.check_login()?;
        self.permit_to(&Asked { class, name: Some(object), key }, object, &|| full_name(operation))
    }

    /// The lock that a request names in its extension `fence` may be looked at.
    ///
    /// # Errors
    /// The failure to answer with.
    pub fn permit_fence(
        &self,
        index: &Index,
        object: u32,
        key: &[u8],
        operation: &Operation,
    ) -> Result<(), Failure> {
        match index.by_id(object) {
            Some(space) => self.permit_one(operation, &space.name, OpClass::Read, Some(key)),
            None => Ok(()),
        }
    }

    /// Whether the client may do anything with the entry of a key.
    pub fn may_use(&self, object: &str, key: &[u8]) -> bool {
        let may = |class| allow(self.login.identity(), class, object, Some(key));
        !self.node.security.is_required()
            || [OpClass::Read, OpClass::Write, OpClass::Delete].into_iter().any(may)
    }

    /// Whether a stream may go on now that its user may do other things than before.
    pub fn may_go_on(&self, live: &Live) -> bool {
        let who = self.login.identity();
        let Some((class, object)) = live.asked() else { return true };
        match object.map(|id| self.node.catalog.object(id)) {
            None => allow(who, class, "", None),
            // It ends with its object.
            Some(None) => true,
            Some(Some(object)) => allow(who, class, &object.name, None),
        }
    }

    /// The same for a request that waits for a lock or for permits.
    pub fn may_wait(&self, awaited: &Awaited) -> bool {
        let (who, object) = (self.login.identity(), self.node.catalog.object(awaited.object));
        object.is_none_or(|space| allow(who, OpClass::Write, &space.name, Some(&awaited.key)))
    }

    fn check_login(&self) -> Result<(), Failure> {
        let nobody = || Failure::of(ErrorCode::AuthRequired);
        self.login.identity().map(drop).ok_or_else(nobody)
    }

    fn permit_in(
        &self,
        index: &Index,
        object: u32,
        asked: Asked<'_>,
        command: &dyn Fn() -> String,
    ) -> Result<(), Failure> {
        let is_of_node = matches!(asked.class, OpClass::Monitor | OpClass::Admin);
        match (asked.name, index.by_id(object)) {
            (Some(name), _) => self.permit_to(&asked, name, command),
            (None, _) if is_of_node => self.permit_to(&asked, "", command),
            (None, Some(object)) => self.permit_to(&asked, &object.name, command),
            (None, None) => {
                let why = format!("there is no object {object}");
                Err(Failure::new(ErrorCode::NoSuchObject, why))
            }
        }
    }

    fn permit_to(
        &self,
        asked: &Asked<'_>,
        name: &str,
        command: &dyn Fn() -> String,
    ) -> Result<(), Failure> {
        let Asked { class, key, .. } = *asked;
        let Some(who) = self.login.identity() else {
            return Err(Failure::of(ErrorCode::AuthRequired));
        };
        if !allow(Some(who), class, name, key) {
            self.node.security.denied.fetch_add(1, Ordering::Relaxed);
            self.record("denied", (who, name, key), &command());
            let needed = class.permissions().to_string();
            let why = format!("`{}` may not do this: it takes `{needed}`", who.user);
            return Err(Failure::new(ErrorCode::Forbidden, why).with("permission", needed));
        }
        use OpClass::{Admin, Clear, Cluster, Configure};
        if matches!(class, Clear | Configure | Admin | Cluster) {
            self.record("admin", (who, name, None), &command());
        }
        Ok(())
    }

    fn record(
        &self,
        event: &'static str,
        (who, cache, key): (&Identity, &str, Option<&[u8]>),
        command: &str,
    ) {
        self.node.security.record(&Event {
            time: self.node.now(),
            event,
            user: &who.user,
            peer: self.login.client.address,
            command,
            cache,
            key,
            ..Event::default()
        });
    }
}

/// The words for a request in the audit log; of administration, with the method if there is one.
fn command(request: &Request<'_>) -> String {
    let name = full_name(request.operation());
    let method = match request {
        Request::Admin(Admin::Call(call)) => call.method,
        Request::Admin(Admin::Stream(stream)) => stream.method,
        _ => return name,
    };
    match find(method) {
        Some(known) => format!("{name} {}", known.name),
        None => name,
    }
}

fn full_name(operation: &Operation) -> String {
    format!("{}.{}", operation.group, operation.name)
}
