//! What one route is, and the router made from all of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, header};
use axum::response::IntoResponse;
use axum::routing::{MethodFilter, on};

use super::login::Caller;
use super::permit::Asked;
use super::problem::{Code, Problem};
use super::routes::ROUTES;
use super::{guard, permit};
use crate::security::OpClass;
use crate::server::node::Node;

/// A request on its way to its handler.
pub struct Call {
    /// The server.
    pub node: Arc<Node>,
    /// What is asked.
    pub request: Request<Body>,
}

/// What a handler answers, in time.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Problem>> + Send>>;

/// The methods in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// And HEAD with it.
    Get,
    /// Asks what GET asks, for probes that use it.
    Options,
    /// Stores.
    Put,
    /// Changes a part.
    Patch,
    /// Does something.
    Post,
    /// Removes.
    Delete,
}

impl Verb {
    /// As OpenAPI spells it.
    pub fn name(self) -> &'static str {
        match self {
            Verb::Get => "get",
            Verb::Options => "options",
            Verb::Put => "put",
            Verb::Patch => "patch",
            Verb::Post => "post",
            Verb::Delete => "delete",
        }
    }

    fn filter(self) -> MethodFilter {
        match self {
            Verb::Get => MethodFilter::GET,
            Verb::Options => MethodFilter::OPTIONS,
            Verb::Put => MethodFilter::PUT,
            Verb::Patch => MethodFilter::PATCH,
            Verb::Post => MethodFilter::POST,
            Verb::Delete => MethodFilter::DELETE,
        }
    }
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum In {
    /// Behind the question mark.
    Query,
    /// Among the headers.
    Header,
}

/// A parameter.
#[derive(Debug)]
pub struct Param {
    /// Where it stands.
    pub place: In,
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// A value that it may have.
    pub example: &'static str,
}

/// One way in which a route answers.
#[derive(Debug)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The media types that the body may have; empty without a body.
    pub media: &'static [&'static str],
    /// When.
    pub doc: &'static str,
}

/// What somebody has to be permitted to ask a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Open,
    /// Something of the node.
    Node(OpClass),
    /// Something of the cache in the path, all of it.
    Cache(OpClass),
    /// Something of the entry in the path, without this suffix.
    Entry(OpClass, &'static str),
    /// What the method in the path says.
    Method,
}

/// One thing that can be asked.
pub struct Route {
    /// With which method.
    pub verb: Verb,
    /// Where; `{key}` is everything that is left of the path but for what follows it.
    pub path: &'static str,
    /// Who may ask, where users log in.
    pub access: Access,
    /// What it does.
    pub doc: &'static str,
    /// Whether it is answered while the server starts.
    pub anytime: bool,
    /// What may be said beside the path.
    pub params: &'static [Param],
    /// The media type of the request's body; empty without one.
    pub body: &'static str,
    /// How it answers.
    pub replies: &'static [Reply],
    /// What does it.
    pub handler: fn(Call) -> Answer,
}

/// The router of everything.
pub fn router(node: &Arc<Node>) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        let node = Arc::clone(node);
        let handle = move |request| answer(Arc::clone(&node), route, request);
        // A key may hold slashes, so it and what follows it are one parameter of the router.
        let path = match route.path.split_once("{key}") {
            Some((before, _)) => format!("{before}{{*key}}"),
            None => route.path.to_owned(),
        };
        router = router.route(&path, on(route.verb.filter(), handle));
    }
    router.fallback(no_path).method_not_allowed_fallback(no_method)
}

async fn answer(node: Arc<Node>, route: &Route, request: Request<Body>) -> Response<Body> {
    let _until_then = request.extensions().get::<Arc<Caller>>().map(|caller| caller.asks());
    let checked = match guard::check(&node, request.headers(), route.anytime) {
        Ok(()) => permit::check(&node, route, Asked::of(&request)).await,
        Err(problem) => Err(problem),
    };
    let answered = match checked {
        Ok(()) => (route.handler)(Call { node, request }).await,
        Err(problem) => Err(problem),
    };
    let mut response = answered.unwrap_or_else(IntoResponse::into_response);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn no_path(request: Request<Body>) -> Problem {
    let why = format!("there is nothing at `{}`", request.uri().path());
    Problem::new(Code::NoSuchObject, why)
}

async fn no_method(request: Request<Body>) -> Problem {
    let why = format!("{} is not done to `{}`", request.method(), request.uri().path());
    Problem::new(Code::UnsupportedOp, why)
}
