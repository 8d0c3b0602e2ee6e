//! Answers.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::Value;

/// The media type of documents.
pub const JSON: &str = "application/json";
/// The media type of plain answers.
pub const TEXT: &str = "text/plain; charset=utf-8";

/// A document.
pub fn json(document: &Value) -> Response<Body> {
    with_type(StatusCode::OK, JSON, format!("{document}\n"))
}

/// A body of a media type.
pub fn with_type(status: StatusCode, media: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media));
    response
}

/// A status and nothing else.
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
