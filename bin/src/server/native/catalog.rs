//! Group 0x09: what objects there are, and the node. What changes the catalog waits for the disk,
//! and so is answered later.

use std::sync::Arc;

use isogrid_grid::catalog::{Description, Kind, Object};
use isogrid_grid::events::Glob;
use isogrid_wire::native::catalog::{
    AlterReply, CreateMode, CreateReply, DescribeReply, DropReply, HealthReply, InfoReply,
    ListReply, NodeStatsReply, ObjectKind, Request, ResolveReply,
};
use isogrid_wire::native::{ErrorCode, Json};
use serde_json::{Value, json};

use super::failure::Failure;
use super::handshake::{cluster, epoch, server};
use super::live::Live;
use super::permit::permissions;
use super::queue::named;
use super::reply::{Given, Reply};
use super::request::{At, Flow};
use super::session::Session;
use super::topology::Watching;
use crate::security::{Identity, OpClass};
use crate::server::caches::{self, pairs};
use crate::server::health::{State, live, ready};
use crate::server::node::Node;

impl Session {
    /// Executes a request of this group.
    ///
    /// # Errors
    /// Why it was not done.
    pub fn catalog(
        &mut self,
        at: &At<'_>,
        request: &Request<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, Failure> {
        if self.session_space(at, request, reply)? {
            return Ok(Flow::Said);
        }
        if let Some(flow) = self.clustered_catalog(at, request)? {
            return Ok(flow);
        }
        if let Some(change) = self.change(request)? {
            if !at.may_wait {
                return Err(Failure::invalid("a request within another one cannot wait"));
            }
            let node = Arc::clone(&self.node);
            return Ok(Flow::Later(Box::pin(async move {
                let done = tokio::task::spawn_blocking(move || change(&node));
                done.await.unwrap_or_else(|_| Given::failure(&Failure::of(ErrorCode::Internal)))
            })));
        }
        match request {
            Request::Resolve(resolve) => {
                let found = kind(resolve.kind)
                    .and_then(|kind| self.node.catalog.find(kind, resolve.name).ok());
                match found {
                    Some(object) => self.say_resolved(&object, reply),
                    None => reply.say(&ResolveReply::NotFound {}),
                }
            }
            Request::ListObjects(list) => {
                let text = self::list(&self.node, self.login.identity(), list.kind, list.glob)?;
                reply.say(&ListReply::Ok { objects: Json(&text) });
            }
            Request::Describe(describe) => {
                match kind(describe.kind).and_then(|kind| self.describe(kind, describe.name)) {
                    Some(found) => {
                        let text = found.to_string();
                        reply.say(&DescribeReply::Ok { object: Json(&text) });
                    }
                    None => reply.say(&DescribeReply::NotFound {}),
                }
            }
            Request::GetTopology(known) => self.topology(*known, reply),
            Request::WatchTopology(watch) => {
                let watching = Watching::open(&self.node, watch);
                return Ok(Flow::Live(Box::new(Live::Topology(watching)), watch.credit));
            }
            Request::Info(_) => {
                let text = info(&self.node).to_string();
                reply.say(&InfoReply::Ok { info: Json(&text) });
            }
            Request::NodeStats(_) => {
                let text = crate::server::admin::node::stats(&self.node).to_string();
                reply.say(&NodeStatsReply::Ok { stats: Json(&text) });
            }
            Request::Health(_) => {
                let text = health(&self.node).to_string();
                reply.say(&HealthReply::Ok { health: Json(&text) });
            }
            Request::Create(_) | Request::Alter(_) | Request::Drop(_) => {}
        }
        Ok(Flow::Said)
    }

    /// What changes the catalog, if the request does so.
    fn change(&self, request: &Request<'_>) -> Result<Option<Change>, Failure> {
        let name = |name: &str| name.to_owned();
        Ok(Some(match request {
            Request::Resolve(resolve) if resolve.create => {
                let (kind, name) = (known(resolve.kind)?, name(resolve.name));
                if self.node.catalog.find(kind, &name).is_ok() {
                    return Ok(None);
                }
                self.permit_one(request.operation(), &name, OpClass::Configure, None)?;
                let who = self.login.identity().cloned();
                Box::new(move |node| resolve_new(node, kind, &name, who.as_ref()))
            }
            Request::Create(create) => {
                let (kind, name, mode) = (known(create.kind)?, name(create.name), create.mode);
                let options = options(&create.options)?;
                Box::new(move |node| create_new(node, kind, &name, mode, &options))
            }
            Request::Alter(alter) => {
                let (kind, name) = (known(alter.kind)?, name(alter.name));
                let options = options(&alter.options)?;
                Box::new(move |node| alter_it(node, kind, &name, &options))
            }
            Request::Drop(drop) => {
                let (kind, name) = (known(drop.kind)?, name(drop.name));
                Box::new(move |node| drop_it(node, kind, &name))
            }
            _ => return Ok(None),
        }))
    }

    fn describe(&self, kind: Kind, name: &str) -> Option<Value> {
        if let Some(name) = named::served(kind, name) {
            return self.node.queues.look(&name).map(|found| named::document(&name, &found));
        }
        caches::describe(&self.node, kind, name).ok().map(|found| document(&found))
    }

    pub(super) fn say_resolved(&self, object: &Object, reply: &mut Reply<'_>) {
        let text = props(&self.node, object);
        let permissions = permissions(&self.node, self.login.identity(), object);
        reply.say(&ResolveReply::Ok { id: object.id, props: Json(&text), permissions });
    }
}

/// The objects that somebody may know of.
///
/// # Errors
/// It is unclear of which names.
pub fn list(
    node: &Node,
    who: Option<&Identity>,
    of: ObjectKind,
    glob: &str,
) -> Result<String, Failure> {
    let wrong = |error| Failure::invalid(format!("`glob`: {error}"));
    let glob =
        if glob.is_empty() { None } else { Some(Glob::parse(glob.as_bytes()).map_err(wrong)?) };
    let wanted = kind(of);
    let index = node.catalog.index();
    let mut objects: Vec<_> = index
        .objects()
        .iter()
        .filter(|object| of == ObjectKind::Any || wanted == Some(object.kind))
        .filter(|object| glob.as_ref().is_none_or(|glob| glob.matches(object.name.as_bytes())))
        .filter(|object| permissions(node, who, object) != 0)
        .collect();
    objects.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    let row = |object: &Arc<Object>| json!({ "kind": object.kind.name(), "name": object.name, "id": object.id });
    let objects: Vec<_> = objects.into_iter().map(row).collect();
    Ok(json!({ "objects": objects }).to_string())
}

/// A change of the catalog, done where it may wait.
type Change = Box<dyn FnOnce(&Arc<Node>) -> Given + Send>;

fn kind(kind: ObjectKind) -> Option<Kind> {
    Kind::of(kind as u8)
}

fn known(of: ObjectKind) -> Result<Kind, Failure> {
    kind(of).ok_or_else(|| Failure::invalid(format!("nothing here is of the kind {}", of.word())))
}

/// Options as texts.
///
/// # Errors
/// They are none.
pub fn options(options: &Json<'_>) -> Result<Vec<(String, String)>, Failure> {
    Ok(caches::from_json(&options.parse::<Value>()?)?)
}

fn props(node: &Node, object: &Object) -> String {
    if let Some(name) = named::served(object.kind, &object.name) {
        let found = node.queues.look(&name);
        return found.map_or_else(|| "{}".to_owned(), |(of, _)| named::props(&of).to_string());
    }
    let all = caches::to_json(&caches::told(node, object.describe()));
    all.get("options").cloned().unwrap_or_else(|| json!({})).to_string()
}

fn failed(refused: caches::Refused) -> Given {
    Given::failure(&refused.into())
}

/// The object, and whether it was made.
fn open(
    node: &Arc<Node>,
    kind: Kind,
    name: &str,
    options: &[(&str, &str)],
) -> Result<(Arc<Object>, bool), Failure> {
    if let Some(name) = named::served(kind, name) {
        return named::open(node, &name, options);
    }
    let made = caches::resolve(node, kind, name, Some(options))?;
    Ok((made.object, made.created))
}

fn resolve_new(node: &Arc<Node>, kind: Kind, name: &str, who: Option<&Identity>) -> Given {
    match open(node, kind, name, &[]) {
        Ok((object, _)) => {
            let (text, permissions) = (props(node, &object), permissions(node, who, &object));
            let props = Json(&text);
            Given::answer(&ResolveReply::Ok { id: object.id, props, permissions })
        }
        Err(failure) => Given::failure(&failure),
    }
}

fn create_new(
    node: &Arc<Node>,
    kind: Kind,
    name: &str,
    mode: CreateMode,
    options: &[(String, String)],
) -> Given {
    match open(node, kind, name, &pairs(options)) {
        Ok((_, false)) if mode == CreateMode::CreateNew => {
            Given::failure(&Failure::new(ErrorCode::ObjectExists, format!("{name:?} is there")))
        }
        Ok((object, created)) => {
            let text = props(node, &object);
            Given::answer(&CreateReply::Ok { id: object.id, created, props: Json(&text) })
        }
        Err(failure) => Given::failure(&failure),
    }
}

fn alter_it(node: &Node, kind: Kind, name: &str, options: &[(String, String)]) -> Given {
    if node.catalog.find(kind, name).is_err() {
        return Given::answer(&AlterReply::NotFound {});
    }
    if kind != Kind::Cache {
        return Given::failure(&Failure::invalid("only options of caches change"));
    }
    match caches::alter(node, name, &pairs(options)) {
        Ok(object) => Given::answer(&AlterReply::Ok { props: Json(&props(node, &object)) }),
        Err(refused) => failed(refused),
    }
}

fn drop_it(node: &Arc<Node>, kind: Kind, name: &str) -> Given {
    if node.catalog.find(kind, name).is_err() {
        return Given::answer(&DropReply::NotFound {});
    }
    if let Some(name) = named::served(kind, name) {
        let removed = named::remove(node, &name);
        named::forget(node, &name);
        return match removed {
            Ok(true) => Given::answer(&DropReply::Ok {}),
            Ok(false) => Given::answer(&DropReply::NotFound {}),
            Err(failure) => Given::failure(&failure),
        };
    }
    match caches::drop_object(node, kind, name) {
        Ok(()) => Given::answer(&DropReply::Ok {}),
        Err(refused) => failed(refused),
    }
}

/// `id`, `name`, `kind`, `props` and `stats`.
fn document(found: &Description) -> Value {
    let all = caches::to_json(found);
    let field = |name: &str| all.get(name).cloned().unwrap_or(Value::Null);
    let stats = json!({
        "entries": field("entries"),
        "bytes": field("bytes"),
        "max_bytes": field("max_bytes"),
        "segments": field("segments"),
    });
    json!({
        "id": found.id,
        "name": found.name,
        "kind": found.kind.name(),
        "origin": found.origin.name(),
        "props": all.get("options").cloned().unwrap_or_else(|| json!({})),
        "stats": if found.usage.is_some() { stats } else { json!({}) },
    })
}

fn info(node: &Node) -> Value {
    let listeners = node.config.listeners();
    let listeners: Vec<_> = listeners.iter().map(|listener| listener.address.to_string()).collect();
    json!({
        "server": server(node),
        "cluster": cluster(node),
        "epoch": epoch(node).to_string(),
        "uptime_ms": node.now().saturating_sub(node.started),
        "listeners": listeners,
    })
}

fn health(node: &Node) -> Value {
    let is_good = |checks: &[crate::server::health::Check]| {
        checks.iter().all(|check| check.state != State::Bad)
    };
    let checks = ready(node);
    let reasons: Vec<_> =
        checks.iter().filter(|check| check.state != State::Good).map(|check| check.why).collect();
    json!({ "live": is_good(&live(node)), "ready": is_good(&checks), "reasons": reasons })
}
