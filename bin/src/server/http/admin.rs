//! `POST /v1/admin/{method}`: the registry of [`crate::server::admin`] over HTTP. A method's
//! progress comes as a line each when `application/x-ndjson` is accepted, its result last.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header::ACCEPT;
use axum::http::{Request, Response, StatusCode};
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::body;
use super::json::{json, with_type};
use super::problem::{Code, Problem};
use super::route::Call;
use crate::server::admin::{Fault, Invocation, Method, Progress, find};

/// The media type of a stream of documents.
pub const NDJSON: &str = "application/x-ndjson";
/// Lines of progress that wait for a client to read them; more are left out.
const LINES_MAX: usize = 16;
const PREFIX: &str = "/v1/admin/";

/// Calls a method.
pub async fn call(call: Call) -> Result<Response<Body>, Problem> {
    let Call { node, request } = call;
    let method = method(request.uri().path())?;
    let streams = accepts_stream(&request);
    let (parts, body) = request.into_parts();
    let params = body::object(&parts.headers, body).await?;
    method.check(&params).map_err(problem)?;
    let invoke = |progress| (method.handler)(Invocation { node, params, progress });
    if !streams {
        return invoke(Progress::default()).await.map(|result| json(&result)).map_err(problem);
    }
    let (sender, lines) = mpsc::channel(LINES_MAX);
    let done = invoke(Progress::to(sender.clone()));
    tokio::spawn(async move {
        let last = match done.await {
            Ok(result) => json!({ "result": result }),
            Err(fault) => json!({ "error": problem(fault).document() }),
        };
        let _ = sender.send(last).await;
    });
    Ok(with_type(StatusCode::OK, NDJSON, Body::new(Lines(lines))))
}

/// The method that a path names.
///
/// # Errors
/// When there is none.
pub fn method(path: &str) -> Result<&'static Method, Problem> {
    let name = path.strip_prefix(PREFIX).unwrap_or_default();
    let unknown = || Problem::new(Code::NoSuchObject, format!("there is no method `{name}`"));
    find(name).ok_or_else(unknown)
}

fn accepts_stream(request: &Request<Body>) -> bool {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains(NDJSON))
}

fn problem(fault: Fault) -> Problem {
    match fault {
        Fault::Invalid(why) => Problem::invalid(why),
        Fault::NoSuchCache(name) => {
            Problem::new(Code::NoSuchObject, format!("there is no cache `{name}`"))
        }
        Fault::Write(error) => super::entries::failed(&error),
        Fault::Unavailable(why) => Problem::new(Code::SegmentUnavailable, why),
        Fault::Unknown(why) => Problem::new(Code::OutcomeUnknown, why),
        Fault::Failed(why) => Problem::new(Code::Storage, why),
    }
}

/// Documents as they come, a line each.
struct Lines(mpsc::Receiver<Value>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = |line: Value| Ok(Frame::data(Bytes::from(format!("{line}\n"))));
        self.0.poll_recv(cx).map(|line| line.map(frame))
    }
}
