//! `/health/..`: text for people and load balancers, a list with `?verbose`, JSON when asked.

use axum::body::Body;
use axum::http::header::ACCEPT;
use axum::http::{Response, StatusCode};
use serde_json::{Value, json};

use super::json::{JSON, TEXT, with_type};
use super::problem::{Code, Problem};
use super::query::Query;
use super::route::Call;
use crate::cluster::{CacheStatus, Cluster};
use crate::server::health::{Check, State};
use crate::server::node::Node;

/// The member that somebody wants to stop.
pub const SAFE_TO_STOP: &str = "safe-to-stop";

/// Answers one of the probes.
pub async fn answer(call: Call, look: fn(&Node) -> Vec<Check>) -> Result<Response<Body>, Problem> {
    let query = Query::parse(call.request.uri().query(), &["verbose"])?;
    let checks = look(&call.node);
    let accepted = call.request.headers().get(ACCEPT);
    let wants_json = accepted.and_then(|a| a.to_str().ok()).is_some_and(|a| a.contains(JSON));
    Ok(render(&checks, query.get("verbose").is_some(), wants_json))
}

/// Answers whether the cluster is whole, or whether a member may be stopped.
pub async fn cluster(call: Call) -> Result<Response<Body>, Problem> {
    let query = Query::parse(call.request.uri().query(), &[SAFE_TO_STOP])?;
    let Some(cluster) = call.node.cluster.get() else {
        return Err(Problem::new(Code::NoSuchObject, "this node belongs to no cluster"));
    };
    let (reasons, mut document) = match query.get(SAFE_TO_STOP) {
        Some(member) => stopping(cluster, member)?,
        None => whole(cluster),
    };
    let bad = !reasons.is_empty();
    if let Some(fields) = document.as_object_mut() {
        fields.insert("status".into(), if bad { "failed" } else { "ok" }.into());
        fields.insert("reasons".into(), reasons.into());
    }
    let status = if bad { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    Ok(with_type(status, JSON, format!("{document}\n")))
}

fn whole(cluster: &Cluster) -> (Vec<String>, Value) {
    let told = cluster.told();
    let mut reasons = unsure(cluster);
    reasons.extend(told.troubles());
    let cache = |cache: &CacheStatus| {
        let CacheStatus { cache, segments, served, complete, filling, .. } = cache;
        json!({
            "cache": cache, "segments": segments, "served": served, "complete": complete,
            "filling": filling,
        })
    };
    let document = json!({
        "cluster": told.cluster,
        "member": told.member,
        "leader": told.leader,
        "members": told.members.len(),
        "caches": told.caches.iter().map(cache).collect::<Vec<_>>(),
    });
    (reasons, document)
}

fn stopping(cluster: &Cluster, member: &str) -> Result<(Vec<String>, Value), Problem> {
    let told = cluster.told();
    let Some(member) = told.find(member).map(|found| found.member) else {
        let why = format!("the cluster has no member `{member}`: say its number or address");
        return Err(Problem::new(Code::NoSuchObject, why));
    };
    let mut reasons = unsure(cluster);
    reasons.extend(told.dangers_of_stopping(member));
    Ok((reasons, json!({ "member": member })))
}

/// Who hears from no leader does not know how the cluster is.
fn unsure(cluster: &Cluster) -> Vec<String> {
    let why = "this member has no lease, so it does not know how the others are";
    if cluster.may_serve() { Vec::new() } else { vec![why.to_owned()] }
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
    let check = |check: &Check| json!({ "name": check.name, "state": check.state.word(), "why": check.why });
    let checks: Vec<_> = checks.iter().map(check).collect();
    format!("{}\n", json!({ "status": if bad { "failed" } else { "ok" }, "checks": checks }))
}
