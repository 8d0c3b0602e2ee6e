//! Whether who asks may have it: the question of [`crate::security::allow`] for each route.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};

use super::admin;
use super::login::Caller;
use super::problem::{Code, Problem};
use super::route::{Access, Route};
use super::target;
use crate::security::audit::Event;
use crate::security::{Identity, OpClass, allow};
use crate::server::node::Node;

/// What is asked, and by whom.
#[derive(Clone, Copy)]
pub struct Asked<'r> {
    verb: &'r Method,
    path: &'r str,
    headers: &'r HeaderMap,
    caller: Option<&'r Arc<Caller>>,
}

impl<'r> Asked<'r> {
    /// What a request asks.
    pub fn of(request: &'r Request<Body>) -> Self {
        Asked {
            verb: request.method(),
            path: request.uri().path(),
            headers: request.headers(),
            caller: request.extensions().get(),
        }
    }
}

/// Passes what is permitted; where nobody has to log in, that is everything.
///
/// # Errors
/// The problem to answer with instead. A denial is counted and recorded.
pub async fn check(node: &Arc<Node>, route: &Route, asked: Asked<'_>) -> Result<(), Problem> {
    if !node.security.is_required() || route.access == Access::Open {
        return Ok(());
    }
    let nobody = || Problem::new(Code::AuthRequired, "users log in here");
    let caller = asked.caller.ok_or_else(nobody)?;
    let identity = caller.identity(node, asked.headers).await?.ok_or_else(nobody)?;
    let (class, cache, key) = what(route, asked.path)?;
    let event = match allow(Some(&identity), class, &cache, key.as_deref()) {
        false => "denied",
        true if matches!(class, OpClass::Admin | OpClass::Configure) => "admin",
        true => return Ok(()),
    };
    record(node, caller, &identity, event, (asked, &cache, key.as_deref()));
    if event == "admin" {
        return Ok(());
    }
    node.security.denied.fetch_add(1, Ordering::Relaxed);
    let why = format!("`{}` may not do this", identity.user);
    Err(Problem::new(Code::Forbidden, why))
}

/// What is asked, and of which cache and key.
fn what(route: &Route, path: &str) -> Result<(OpClass, String, Option<Vec<u8>>), Problem> {
    match route.access {
        Access::Open => Ok((OpClass::Open, String::new(), None)),
        Access::Node(class) => Ok((class, String::new(), None)),
        Access::Cache(class) => Ok((class, target::cache_name(path)?, None)),
        Access::Entry(class, suffix) => {
            Ok((class, target::cache_name(path)?, Some(target::key(path, suffix)?)))
        }
        Access::Method => Ok((admin::method(path)?.permission.class(), String::new(), None)),
    }
}

fn record(
    node: &Node,
    caller: &Caller,
    identity: &Identity,
    event: &'static str,
    (asked, cache, key): (Asked<'_>, &str, Option<&[u8]>),
) {
    // The path of an entry has the key in it, which is recorded as its hash.
    let place = if key.is_some() { "/v1/caches/{name}/entries/{key}" } else { asked.path };
    let command = format!("{} {place}", asked.verb);
    node.security.record(&Event {
        time: node.now(),
        event,
        user: &identity.user,
        peer: caller.client.address,
        command: &command,
        cache,
        key,
        ..Event::default()
    });
}
