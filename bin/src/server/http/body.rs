//! Request bodies: bounded before they come, and never more memory than has arrived.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use serde_json::{Map, Value};

use super::problem::{Code, Problem};

/// Memory that an announced length is worth before anything has come.
const TRUSTED_LEN: usize = 64 << 10;
/// Bytes of an object at the most.
const OBJECT_LEN_MAX: usize = 64 << 10;

/// Reads a body of at most `max` bytes.
///
/// # Errors
/// When it is longer, announced or real, or ends early.
pub async fn read(headers: &HeaderMap, mut body: Body, max: usize) -> Result<Vec<u8>, Problem> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
    let announced: usize = announced.unwrap_or(0);
    if announced > max {
        return Err(too_large(announced, max));
    }
    let mut bytes = Vec::with_capacity(announced.min(TRUSTED_LEN));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Problem::invalid(format!("the body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > max - bytes.len() {
            return Err(too_large(bytes.len() + data.len(), max));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Reads a body that is a JSON object, or empty, which is the same as one without fields.
///
/// # Errors
/// As [`read`], and when it is something else.
pub async fn object(headers: &HeaderMap, body: Body) -> Result<Map<String, Value>, Problem> {
    let bytes = read(headers, body, OBJECT_LEN_MAX).await?;
    let text = bytes.trim_ascii();
    if text.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_slice(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Problem::invalid("the body is no JSON object")),
        Err(error) => Err(Problem::invalid(format!("the body is no JSON: {error}"))),
    }
}

fn too_large(len: usize, max: usize) -> Problem {
    Problem::new(Code::ValueTooLarge, format!("a body of {len} bytes or more; {max} are allowed"))
}
