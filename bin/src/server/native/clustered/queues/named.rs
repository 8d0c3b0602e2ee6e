//! Queues of the cluster by name. The member that serves a queue knows it; a node learns of it when
//! somebody asks it for the name, and a client that says a number which a node does not know asks for
//! the name once more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use isogrid_grid::catalog::Kind;
use isogrid_grid::structures::queues::names::Name;
use isogrid_wire::native::catalog::{
    Create, CreateMode, CreateReply, Describe, DescribeReply, DropReply, ListObjects, ListReply,
    ObjectKind, Request, Resolve, ResolveReply,
};
use isogrid_wire::native::{Answer, Call, Codec, ErrorCode, Json, Limits, Reader, SubKind};
use serde_json::{Value, json};

use super::super::nowhere;
use super::super::spread::{Fate, Spread, Unit};
use super::{answer_of, only, unit, with_name};
use crate::cluster::SEGMENTS;
use crate::security::OpClass;
use crate::server::caches::pairs;
use crate::server::native::catalog;
use crate::server::native::failure::Failure;
use crate::server::native::permit::permissions;
use crate::server::native::queue::named::{self, forget, noted};
use crate::server::native::reply::{Given, Reply};
use crate::server::native::request::{At, Flow};
use crate::server::native::session::Session;
use crate::server::node::Node;
use crate::server::queues::{Here, Place, Way, of_cluster};

impl Session {
    /// Answers a request for queues by name; `None` when it is none, or the node stands alone.
    ///
    /// # Errors
    /// The request cannot be answered later.
    pub fn clustered_catalog(
        &mut self,
        at: &At<'_>,
        request: &Request<'_>,
    ) -> Result<Option<Flow>, Failure> {
        let Some(way) = self.queues_of_cluster() else { return Ok(None) };
        if let Request::ListObjects(list) = request {
            return self.list_queues(way, at, list).map(Some);
        }
        match request {
            Request::Resolve(asked) => match address(asked.kind, asked.name) {
                Some(name) => self.resolve_queue(way, at, (name, asked)).map(Some),
                None => Ok(None),
            },
            Request::Create(asked) => self.by_name(way, at, (asked.kind, asked.name), asked),
            Request::Drop(asked) => self.by_name(way, at, (asked.kind, asked.name), asked),
            Request::Describe(asked) => self.by_name(way, at, (asked.kind, asked.name), asked),
            _ => Ok(None),
        }
    }

    /// Has a request executed where the queue of this name is, or would be; `None`: it is of none.
    fn by_name<'a, R: Call + Codec<'a>>(
        &mut self,
        way: Way,
        at: &At<'_>,
        (kind, name): (ObjectKind, &str),
        request: &R,
    ) -> Result<Option<Flow>, Failure> {
        let Some(name) = address(kind, name) else { return Ok(None) };
        let unit = Unit { name: self.name_of(at)?, ..unit(&way, &name, request) };
        let node = Arc::clone(&self.node);
        let flow = self.spread_out(&way, at, (None, vec![unit]), move |fates| {
            let given = only(fates);
            note(&node, R::CODE, &name, &given).unwrap_or(given)
        });
        flow.map(Some)
    }

    fn resolve_queue(
        &mut self,
        way: Way,
        at: &At<'_>,
        (served, asked): (String, &Resolve<'_>),
    ) -> Result<Flow, Failure> {
        self.check_wait(at)?;
        let (kind, name) = (asked.kind, asked.name);
        let describe = unit(&way, &served, &Describe { kind, name });
        // What there is to be made is known later, and whether it may be is known now.
        let create = match asked.create && !is_known(&self.node, &served) {
            true => self.permit_one(at.operation, name, OpClass::Configure, None),
            false => Ok(()),
        };
        let options = Json("{}");
        let make = Create { kind, name, mode: CreateMode::OpenOrCreate, options };
        let make = asked.create.then(|| unit(&way, &served, &make));
        let (node, name) = (Arc::clone(&self.node), served);
        let (who, patience) = (self.login.identity().cloned(), at.patience);
        Ok(Flow::Later(Box::pin(async move {
            let ask = |unit| Spread::new(way.clone(), vec![unit], patience).go_all();
            let mut props = props_of(&answer_of(&ask(describe).await));
            if let (Ok(None), Some(make)) = (&props, make) {
                let made = match create {
                    Ok(()) => answer_of(&ask(make).await),
                    Err(denied) => Given::failure(&denied),
                };
                props = made_props(&made);
            }
            let answer = || -> Result<Given, Failure> {
                let Some(props) = props? else {
                    forget(&node, &name);
                    return Ok(Given::answer(&ResolveReply::NotFound {}));
                };
                let object = noted(&node, &name)?;
                let (id, permissions) = (object.id, permissions(&node, who.as_ref(), &object));
                Ok(Given::answer(&ResolveReply::Ok { id, props: Json(&props), permissions }))
            };
            answer().unwrap_or_else(|failure| Given::failure(&failure))
        })))
    }

    /// Finds out what queues there are, if it is asked for them, and lists what there is.
    fn list_queues(
        &mut self,
        way: Way,
        at: &At<'_>,
        asked: &ListObjects<'_>,
    ) -> Result<Flow, Failure> {
        self.check_wait(at)?;
        let (node, who) = (Arc::clone(&self.node), self.login.identity().cloned());
        let (kind, glob, patience) = (asked.kind, asked.glob.to_owned(), at.patience);
        Ok(Flow::Later(Box::pin(async move {
            let is_of = |kind| matches!(kind, ObjectKind::Queue | ObjectKind::Topic);
            let seen = match kind == ObjectKind::Any || is_of(kind) {
                true => look_around(&node, way, patience).await,
                false => Ok(()),
            };
            // Of all objects those are listed that the node knows.
            if let Err(failure) = seen
                && is_of(kind)
            {
                return Given::failure(&failure);
            }
            match catalog::list(&node, who.as_ref(), kind, &glob) {
                Ok(text) => Given::answer(&ListReply::Ok { objects: Json(&text) }),
                Err(failure) => Given::failure(&failure),
            }
        })))
    }
}

/// The name under which something is served, if it is a queue, a group or a topic.
fn address(kind: ObjectKind, name: &str) -> Option<String> {
    let served = named::served(Kind::of(kind as u8)?, name)?;
    Name::of(&served).is_good().then_some(served)
}

fn is_known(node: &Node, served: &str) -> bool {
    let (kind, name) = named::object_of(served);
    node.catalog.find(kind, name).is_ok()
}

/// Learns what queues and topics there are, of all who serve any.
async fn look_around(node: &Node, way: Way, patience: Duration) -> Result<(), Failure> {
    let mut body = with_name("", &[]);
    ListObjects { kind: ObjectKind::Queue, glob: "" }.encode(&mut body);
    let op = ListObjects::CODE;
    let unit = |segment| Unit { segment, op, body: body.clone(), name: None };
    let units = (0..SEGMENTS).map(unit).collect();
    let fates = Spread::new(way, units, patience).go_all().await?;
    let mut all = BTreeSet::new();
    for fate in &fates {
        all.extend(names_of(fate).ok_or_else(nowhere)?);
    }
    let known = node.catalog.list(None);
    let known = known.iter().filter_map(|known| named::served(known.kind, &known.name));
    known.filter(|known| !all.contains(known)).for_each(|gone| forget(node, &gone));
    all.iter().try_for_each(|name| noted(node, name).map(drop))
}

fn names_of(fate: &Fate) -> Option<Vec<String>> {
    let Fate::Given(given) = fate else { return None };
    let ListReply::Ok { objects } = decoded(given)?;
    let mut said: BTreeMap<String, Vec<String>> = serde_json::from_str(objects.0).ok()?;
    said.remove("names")
}

fn decoded<'a, A: Answer<'a>>(given: &'a Given) -> Option<A> {
    let limits = Limits { value_len_max: usize::MAX, ..Limits::default() };
    let is_answer = given.kind == SubKind::Res;
    is_answer.then(|| A::decode_all(Reader::new(&given.payload, &limits)).ok())?
}

/// The options of a queue that is described; `None`: there is none.
fn props_of(given: &Given) -> Result<Option<String>, Failure> {
    match decoded(given) {
        Some(DescribeReply::Ok { object }) => {
            let object: Value = serde_json::from_str(object.0).unwrap_or_default();
            Ok(Some(object.get("props").cloned().unwrap_or_else(|| json!({})).to_string()))
        }
        Some(DescribeReply::NotFound {}) => Ok(None),
        None => Err(Failure::of_given(given)),
    }
}

/// The options of a queue that was made.
fn made_props(given: &Given) -> Result<Option<String>, Failure> {
    let made = decoded(given).ok_or_else(|| Failure::of_given(given))?;
    let CreateReply::Ok { props, .. } = made;
    Ok(Some(props.0.to_owned()))
}

/// Learns of a queue what the answer to the operation `op` says of it; what there is to answer instead.
fn note(node: &Node, op: u16, name: &str, given: &Given) -> Option<Given> {
    let is_there = match op {
        Create::CODE => decoded::<CreateReply<'_>>(given).map(|_| true),
        Describe::CODE => decoded(given).map(|told| matches!(told, DescribeReply::Ok { .. })),
        _ => decoded::<DropReply>(given).map(|_| false),
    };
    if is_there? {
        return noted(node, name).err().map(|failure| Given::failure(&failure));
    }
    forget(node, name);
    None
}

/// Executes a request for the queue of this name where it is served; a list is of those of a segment.
///
/// # Errors
/// Why it was not done.
pub(super) fn execute(
    node: &Node,
    here: Here<'_>,
    name: &str,
    request: &Request<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Failure> {
    match request {
        Request::Create(create) => {
            let options = catalog::options(&create.options)?;
            let known = of_cluster(node).map_or(0, |way| node.hosted_queues.all(&way).len());
            let (created, options) = named::create(&here, known, name, &pairs(&options))?;
            if !created && create.mode == CreateMode::CreateNew {
                return Err(Failure::new(ErrorCode::ObjectExists, format!("{name:?} is there")));
            }
            let (id, props) = (named::number_of(name), named::props(&options).to_string());
            reply.say(&CreateReply::Ok { id, created, props: Json(&props) });
        }
        Request::Describe(_) => match named::look(&here, name)? {
            Some(found) => {
                let text = named::document(name, &found).to_string();
                reply.say(&DescribeReply::Ok { object: Json(&text) });
            }
            None => reply.say(&DescribeReply::NotFound {}),
        },
        Request::Drop(_) => match named::remove(&here, name)? {
            true => reply.say(&DropReply::Ok {}),
            false => reply.say(&DropReply::NotFound {}),
        },
        Request::ListObjects(_) => {
            let names = here.with(|turn| Ok(turn.queues.names().collect::<Vec<_>>()))?;
            let text = json!({ "names": names }).to_string();
            reply.say(&ListReply::Ok { objects: Json(&text) });
        }
        _ => return Err(Failure::of(ErrorCode::Internal)),
    }
    Ok(())
}
