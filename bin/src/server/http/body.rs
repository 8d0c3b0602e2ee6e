//! Request bodies: bounded before they come, and never more memory than has arrived.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;

use super::problem::{Code, Problem};

/// Memory that an announced length is worth before anything has come.
const TRUSTED_LEN: usize = 64 << 10;

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

fn too_large(len: usize, max: usize) -> Problem {
    Problem::new(Code::ValueTooLarge, format!("a body of {len} bytes or more; {max} are allowed"))
}
