//! `/v1/openapi.json`: OpenAPI 3.1, made from the table of routes and the registry of methods.

use axum::body::Body;
use axum::http::Response;
use isogrid_grid::catalog::CacheOptions;
use serde_json::{Map, Value, json};

use super::json::json as answer;
use super::problem::Problem;
use super::query::Query;
use super::route::{Access, Call, In, Route, Verb};
use super::routes::{PROBLEM, ROUTES};
use crate::server::admin::{METHODS, Method};

/// GET `/v1/openapi.json`.
pub async fn get(call: Call) -> Result<Response<Body>, Problem> {
    Query::parse(call.request.uri().query(), &[])?;
    Ok(answer(&document()))
}

/// The document.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in ROUTES {
        if route.path.contains("{method}") {
            for method in METHODS {
                let path = route.path.replace("{method}", method.name);
                paths.insert(path, json!({ route.verb.name(): invocation(route, method) }));
            }
            continue;
        }
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(verbs) = path.as_object_mut() {
            verbs.insert(route.verb.name().to_owned(), operation(route));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Isogrid", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": { "schemas": { "Problem": problem() } },
    })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "summary": route.doc,
        "parameters": parameters(route),
        "responses": responses(route),
    });
    if !route.body.is_empty() {
        let is_of_cache = matches!(route.access, Access::Cache(_));
        let media = if is_of_cache { json!({ "schema": options(route.verb) }) } else { json!({}) };
        let body = json!({ "required": true, "content": { route.body: media } });
        insert(&mut operation, "requestBody", body);
    }
    operation
}

/// The options of a cache: those that a new one has, or those that change.
fn options(verb: Verb) -> Value {
    let fits = |name: &&str| verb != Verb::Patch || CacheOptions::is_live(name);
    let property = |name| {
        let doc = CacheOptions::allowed(name).unwrap_or_default();
        (name.to_owned(), json!({ "type": ["string", "number", "null"], "description": doc }))
    };
    let properties: Map<String, Value> = CacheOptions::names().filter(fits).map(property).collect();
    json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "examples": [{ "memory": "16MiB", "ttl": "10m" }],
    })
}

fn invocation(route: &Route, method: &Method) -> Value {
    let property = |param: &crate::server::admin::Param| {
        let schema =
            json!({ "type": "string", "description": param.doc, "examples": [param.example] });
        (param.name.to_owned(), schema)
    };
    let required: Vec<&str> =
        method.params.iter().filter(|param| param.required).map(|param| param.name).collect();
    let example =
        |param: &crate::server::admin::Param| (param.name.to_owned(), param.example.into());
    let examples: Map<String, Value> = method.params.iter().map(example).collect();
    let schema = json!({
        "type": "object",
        "properties": method.params.iter().map(property).collect::<Map<_, _>>(),
        "required": required,
        "additionalProperties": false,
        "examples": [examples],
    });
    json!({
        "summary": method.doc,
        "operationId": method.name,
        "x-permission": method.permission.name(),
        "requestBody": { "content": { route.body: { "schema": schema } } },
        "responses": responses(route),
    })
}

fn parameters(route: &Route) -> Vec<Value> {
    let of_path = route.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        let example = match name {
            "name" if matches!(route.access, Access::Cache(_)) => "orders",
            "name" => "default",
            _ => "some%2Fkey",
        };
        Some(json!({
            "name": name,
            "in": "path",
            "required": true,
            "schema": { "type": "string" },
            "example": example,
        }))
    });
    let others = route.params.iter().map(|param| {
        json!({
            "name": param.name,
            "in": if param.place == In::Query { "query" } else { "header" },
            "required": param.required,
            "description": param.doc,
            "schema": { "type": "string" },
            "example": param.example,
        })
    });
    of_path.chain(others).collect()
}

fn responses(route: &Route) -> Map<String, Value> {
    let response = |reply: &super::route::Reply| {
        let content = |media: &&str| {
            let schema = json!({ "schema": { "$ref": "#/components/schemas/Problem" } });
            ((*media).to_owned(), if *media == PROBLEM { schema } else { json!({}) })
        };
        let mut response = json!({ "description": reply.doc });
        if !reply.media.is_empty() {
            let content: Map<String, Value> = reply.media.iter().map(content).collect();
            insert(&mut response, "content", content.into());
        }
        (reply.status.to_string(), response)
    };
    route.replies.iter().map(response).collect()
}

fn problem() -> Value {
    let text = json!({ "type": "string" });
    json!({
        "type": "object",
        "description": "RFC 9457; code is the native protocol's, of an error or of an outcome.",
        "properties": {
            "type": text,
            "title": text,
            "status": { "type": "integer" },
            "detail": text,
            "code": { "type": "integer" },
            "retry": { "enum": ["never", "same", "other", "unknown-outcome"] },
            "help": text,
        },
        "required": ["type", "title", "status", "detail", "code", "retry", "help"],
    })
}

fn insert(object: &mut Value, name: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_and_method_is_described_once() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let described: usize = paths.values().map(|verbs| verbs.as_object().unwrap().len()).sum();
        assert_eq!(described, ROUTES.len() - 1 + METHODS.len(), "a route stands twice");
        for route in ROUTES {
            assert!(route.doc.ends_with('.'), "{}", route.path);
            assert!(route.replies.is_sorted_by_key(|reply| reply.status), "{}", route.path);
        }
    }
}
