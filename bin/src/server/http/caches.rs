//! `/v1/caches`: what caches there are, and how each is doing; to make, change and drop them, as the
//! group `catalog` of the native protocol does.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Response, StatusCode};
use isogrid_grid::Cache;
use isogrid_grid::catalog::{CatalogError, Difference, Kind, Object, OptionError};
use serde_json::{Value, json};

use super::body;
use super::json::{JSON, empty, json, with_type};
use super::problem::{Code, Problem};
use super::query::Query;
use super::route::Call;
use super::target;
use crate::server::admin::caches::{describe, list};
use crate::server::caches::{self, Refused, Why, pairs};
use crate::server::native::Failure;
use crate::server::node::Node;

/// GET `/v1/caches`.
pub async fn all(call: Call) -> Result<Response<Body>, Problem> {
    Query::parse(call.request.uri().query(), &[])?;
    Ok(json(&json!({ "caches": list(&call.node) })))
}

/// GET `/v1/caches/{name}`.
pub async fn one(call: Call) -> Result<Response<Body>, Problem> {
    Query::parse(call.request.uri().query(), &[])?;
    let cache = target::cache(&call.node, call.request.uri().path())?;
    Ok(json(&describe(&call.node, &cache)))
}

/// PUT `/v1/caches/{name}`.
pub async fn put(call: Call) -> Result<Response<Body>, Problem> {
    let (node, name, options) = asked(call).await?;
    let at = Arc::clone(&node);
    let resolve = move || caches::resolve(&at, Kind::Cache, &name, Some(&pairs(&options)));
    let made = done(resolve).await?;
    let status = if made.created { StatusCode::CREATED } else { StatusCode::OK };
    shown(&node, status, &made.object)
}

/// PATCH `/v1/caches/{name}`.
pub async fn patch(call: Call) -> Result<Response<Body>, Problem> {
    target::cache(&call.node, call.request.uri().path())?;
    let (node, name, options) = asked(call).await?;
    let at = Arc::clone(&node);
    let altered = done(move || caches::alter(&at, &name, &pairs(&options))).await?;
    shown(&node, StatusCode::OK, &altered)
}

/// DELETE `/v1/caches/{name}`: what is gone is gone for good, so the name is said twice.
pub async fn delete(call: Call) -> Result<Response<Body>, Problem> {
    let Call { node, request } = call;
    let query = Query::parse(request.uri().query(), &["confirm"])?;
    let name = target::cache(&node, request.uri().path())?.name().to_owned();
    if query.get("confirm") != Some(&name) {
        let why = format!("nothing was dropped: say `?confirm={name}` to drop it with its entries");
        return Err(Problem::invalid(why));
    }
    done(move || caches::drop_object(&node, Kind::Cache, &name)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

type Options = Vec<(String, String)>;

/// The node, the cache's name and the options of a request.
async fn asked(call: Call) -> Result<(Arc<Node>, String, Options), Problem> {
    let Call { node, request } = call;
    Query::parse(request.uri().query(), &[])?;
    let name = target::cache_name(request.uri().path())?;
    let (parts, body) = request.into_parts();
    let fields = body::object(&parts.headers, body).await?;
    Ok((node, name, caches::from_json(&Value::Object(fields))?))
}

/// What was changed where it may wait for the disk.
async fn done<T: Send + 'static>(
    change: impl FnOnce() -> Result<T, Refused> + Send + 'static,
) -> Result<T, Problem> {
    let panicked = |_| Problem::new(Code::Internal, "the change failed in the middle");
    Ok(tokio::task::spawn_blocking(change).await.map_err(panicked)??)
}

fn shown(node: &Node, status: StatusCode, object: &Object) -> Result<Response<Body>, Problem> {
    let missing = || Problem::new(Code::Internal, "the catalog has no such cache");
    let cache: &Cache = object.cache.as_deref().ok_or_else(missing)?;
    Ok(with_type(status, JSON, format!("{}\n", describe(node, cache))))
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Problem {
        let code = Code::of(Failure::from(refused.clone()).code).unwrap_or(Code::Internal);
        let problem = Problem::new(code, refused.why.to_string());
        let problem = match &refused.why {
            Why::Catalog(error) => with_options(problem, error),
            Why::Options { .. } | Why::InUse { .. } | Why::NoCluster { .. } | Why::Cluster(_) => {
                problem
            }
        };
        if refused.help.is_empty() { problem } else { problem.with("help", refused.help) }
    }
}

/// With the option that cannot be taken, or all that differ.
fn with_options(problem: Problem, error: &CatalogError) -> Problem {
    match error {
        CatalogError::Option(OptionError::Unknown { name }) => {
            problem.with("option", name.as_str())
        }
        CatalogError::Option(OptionError::Value { name, .. }) => problem.with("option", *name),
        CatalogError::Exists { differences, .. } | CatalogError::NotLive { differences, .. } => {
            let row = |d: &Difference| json!({ "option": d.name, "have": d.have, "want": d.want });
            problem.with("differences", differences.iter().map(row).collect::<Vec<_>>())
        }
        _ => problem,
    }
}
