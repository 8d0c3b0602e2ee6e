//! Queues of the cluster by name. The member that serves a queue knows it; a node learns of it when
//! somebody asks it for the name, and a client that says a number which a node does not know asks for
//! the name once more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use isogrid_grid::catalog::{Kind, is_name};
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
use crate::server::native::queue::named::{self, noted};
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
        let of_queue = |kind: ObjectKind, name: &str| kind == ObjectKind::Queue && is_name(name);
        match request {
            Request::Resolve(asked) if of_queue(asked.kind, asked.name) => {
                self.resolve_queue(way, at, asked).map(Some)
            }
            Request::Create(asked) if of_queue(asked.kind, asked.name) => {
                self.by_name(way, at, asked.name, asked).map(Some)
            }
            Request::Drop(asked) if of_queue(asked.kind, asked.name) => {
                self.by_name(way, at, asked.name, asked).map(Some)
            }
            Request::Describe(asked) if of_queue(asked.kind, asked.name) => {
                self.by_name(way, at, asked.name, asked).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Has a request executed where the queue of this name is, or would be.
    fn by_name<'a, R: Call + Codec<'a>>(
        &mut self,
        way: Way,
        at: &At<'_>,
        name: &str,
        request: &R,
    ) -> Result<Flow, Failure> {
        let unit = Unit { name: self.name_of(at)?, ..unit(&way, name, request) };
        let (node, name) = (Arc::clone(&self.node), name.to_owned());
        self.spread_out(&way, at, (None, vec![unit]), move |fates| {
            let given = only(fates);
            note(&node, R::CODE, &name, &given).unwrap_or(given)
        })
    }

    fn resolve_queue(
        &mut self,
        way: Way,
        at: &At<'_>,
        asked: &Resolve<'_>,
    ) -> Result<Flow, Failure> {
        self.check_wait(at)?;
        let (kind, name) = (ObjectKind::Queue, asked.name);
        let describe = unit(&way, name, &Describe { kind, name });
        // What there is to be made is known later, and whether it may be is known now.
        let create = match asked.create && self.node.catalog.find(Kind::Queue, name).is_err() {
            true => self.permit_one(at.operation, name, OpClass::Configure, None),
            false => Ok(()),
        };
        let options = Json("{}");
        let make = Create { kind, name, mode: CreateMode::OpenOrCreate, options };
        let make = asked.create.then(|| unit(&way, name, &make));
        let (node, name) = (Arc::clone(&self.node), name.to_owned());
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
                    node.catalog.forget(Kind::Queue, &name);
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
            let seen = match matches!(kind, ObjectKind::Any | ObjectKind::Queue) {
                true => look_around(&node, way, patience).await,
                false => Ok(()),
            };
            // Of all objects those are listed that the node knows.
            if let Err(failure) = seen
                && kind == ObjectKind::Queue
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

/// Learns what queues there are, of all who serve any.
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
    let known = node.catalog.list(Some(Kind::Queue));
    for gone in known.iter().filter(|known| !all.contains(&known.name)) {
        node.catalog.forget(Kind::Queue, &gone.name);
    }
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
    node.catalog.forget(Kind::Queue, name);
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
            let names = here.with(|turn| {
                Ok(turn.queues.all().map(|(name, _)| name.to_owned()).collect::<Vec<_>>())
            })?;
            let text = json!({ "names": names }).to_string();
            reply.say(&ListReply::Ok { objects: Json(&text) });
        }
        _ => return Err(Failure::of(ErrorCode::Internal)),
    }
    Ok(())
}
