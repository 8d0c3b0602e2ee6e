//! `/metrics`: OpenMetrics when asked, else Prometheus' own text.

use axum::body::Body;
use axum::http::header::ACCEPT;
use axum::http::{Response, StatusCode};

use super::json::with_type;
use super::problem::Problem;
use super::query::Query;
use super::route::Call;
use crate::server::metrics;

/// Prometheus' text.
pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// OpenMetrics.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// GET `/metrics`.
pub async fn get(call: Call) -> Result<Response<Body>, Problem> {
    Query::parse(call.request.uri().query(), &[])?;
    let accepted = call.request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    let open = accepted.is_some_and(|accept| accept.contains("application/openmetrics-text"));
    let text = metrics::render(&call.node);
    Ok(if open {
        with_type(StatusCode::OK, OPENMETRICS, text)
    } else {
        with_type(StatusCode::OK, PROMETHEUS, metrics::classic(&text))
    })
}
