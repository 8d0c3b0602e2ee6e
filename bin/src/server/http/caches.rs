//! `/v1/caches`: what caches there are, and how each is doing.

use axum::body::Body;
use axum::http::Response;
use serde_json::json;

use super::json::json;
use super::problem::Problem;
use super::query::Query;
use super::route::Call;
use super::target;
use crate::server::admin::caches::{describe, list};

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
