//! Group 0x0A: administration, by the registry that HTTP has too.

use std::sync::Arc;

use isogrid_wire::native::admin::{CallReply, Request, StreamReply};
use isogrid_wire::native::{ErrorCode, Json};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::failure::Failure;
use super::live::Live;
use super::reply::Given;
use super::request::Flow;
use super::session::Session;
use crate::server::admin::{self, Invocation, METHODS, Method, Progress};

/// Steps that wait to be told; more are left out.
const STEPS_MAX: usize = 16;

impl Session {
    /// Executes a request of this group.
    ///
    /// # Errors
    /// There is no such method, or it takes something else.
    pub fn admin(&self, request: &Request<'_>) -> Result<Flow, Failure> {
        match *request {
            Request::Call(call) => {
                let (method, params) = find(call.method, &call.arguments)?;
                let (node, progress) = (Arc::clone(&self.node), Progress::default());
                let outcome = (method.handler)(Invocation { node, params, progress });
                Ok(Flow::Later(Box::pin(async move {
                    match outcome.await {
                        Ok(result) => {
                            Given::answer(&CallReply::Ok { result: Json(&object(result)) })
                        }
                        Err(fault) => Given::failure(&fault.into()),
                    }
                })))
            }
            Request::Stream(stream) => {
                let (method, params) = find(stream.method, &stream.arguments)?;
                let (sender, steps) = mpsc::channel(STEPS_MAX);
                let (node, progress) = (Arc::clone(&self.node), Progress::to(sender));
                let outcome = (method.handler)(Invocation { node, params, progress });
                let later = Box::pin(async move {
                    match outcome.await {
                        Ok(result) => {
                            Given::answer(&StreamReply::Ended { result: Json(&object(result)) })
                        }
                        Err(fault) => Given::failure(&fault.into()),
                    }
                });
                let live = Live::Progress(steps, method.permission.class());
                Ok(Flow::Both(later, Box::new(live), stream.credit))
            }
        }
    }
}

fn find(
    name: &str,
    arguments: &Json<'_>,
) -> Result<(&'static Method, Map<String, Value>), Failure> {
    let unknown = || {
        let near = crate::config::nearest(name, METHODS.iter().map(|method| method.name));
        let help = near.map_or("`isogrid admin` lists them all".to_owned(), |near| {
            format!("did you mean `{near}`?")
        });
        let why = format!("there is no method `{name}`\n  help: {help}");
        Failure::new(ErrorCode::NoSuchObject, why)
    };
    let method = admin::find(name).ok_or_else(unknown)?;
    let params: Map<String, Value> = arguments.parse()?;
    method.check(&params)?;
    Ok((method, params))
}

/// The text of a document that is an object, as the protocol has them all.
fn object(document: Value) -> String {
    match document {
        Value::Object(_) => document.to_string(),
        other => serde_json::json!({ "result": other }).to_string(),
    }
}
