//! `/health/..`: text for people and load balancers, a list with `?verbose`, JSON when asked.

use axum::body::Body;
use axum::http::header::ACCEPT;
use axum::http::{Response, StatusCode};
use serde_json::json;

use super::json::{JSON, TEXT, with_type};
use super::problem::Problem;
use super::query::Query;
use super::route::Call;
use crate::server::health::{Check, State};
use crate::server::node::Node;

/// Answers one of the probes.
pub async fn answer(call: Call, look: fn(&Node) -> Vec<Check>) -> Result<Response<Body>, Problem> {
    let query = Query::parse(call.request.uri().query(), &["verbose"])?;
    let checks = look(&call.node);
    let accepted = call.request.headers().get(ACCEPT);
    let wants_json = accepted.and_then(|a| a.to_str().ok()).is_some_and(|a| a.contains(JSON));
    Ok(render(&checks, query.get("verbose").is_some(), wants_json))
}

fn render(checks: &[Check], verbose: bool, as_json: bool) -> Response<Body> {
    let bad = checks.iter().any(|check| check.state == State::Bad);
    let status = if bad { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    if as_json {
        return with_type(status, JSON, document(checks, bad));
    }
    let mut text = String::new();
    for check in checks.iter().filter(|check| verbose || check.state != State::Good) {
        text.push_str(&line(check));
    }
    text.push_str(if bad { "not ok\n" } else { "ok\n" });
    with_type(status, TEXT, text)
}

fn line(check: &Check) -> String {
    match check.state {
        State::Good => format!("[+]{} ok\n", check.name),
        State::Degraded => format!("[!]{} degraded: {}\n", check.name, check.why),
        State::Bad => format!("[-]{} failed: {}\n", check.name, check.why),
    }
}

fn document(checks: &[Check], bad: bool) -> String {
    let check = |check: &Check| {
        let state = match check.state {
            State::Good => "ok",
            State::Degraded => "degraded",
            State::Bad => "failed",
        };
        json!({ "name": check.name, "state": state, "why": check.why })
    };
    let checks: Vec<_> = checks.iter().map(check).collect();
    format!("{}\n", json!({ "status": if bad { "failed" } else { "ok" }, "checks": checks }))
}
