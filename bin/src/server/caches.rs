//! Making, changing, dropping and describing caches while the server runs: what every protocol
//! and the command line do with them. Each of these may wait for the disk: not for a worker.

use std::sync::Arc;

use isogrid_grid::catalog::{
    CacheMode, CacheOptions, CatalogError, Description, Kind, Object, OptionError, Resolved,
    is_name,
};
use serde_json::{Map, Value, json};
use thiserror::Error;

use super::node::Node;
use crate::config::{CacheConfig, nearest};

/// Why it was refused, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{why}{}{help}", if help.is_empty() { "" } else { "\n  help: " })]
pub struct Refused {
    /// Why.
    pub why: Why,
    /// What to do; empty where the reason says it all.
    pub help: String,
}

/// Why it was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Why {
    /// The catalog's reason.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The options are no JSON object of plain values.
    #[error("options are a JSON object of plain values: {what}")]
    Options {
        /// What is none.
        what: String,
    },
    /// The cache needs a cluster.
    #[error("cache {name:?}: mode = invalidated, and the node belongs to no cluster")]
    NoCluster {
        /// The cache.
        name: String,
    },
    /// The cluster cannot have it.
    #[error("{0}")]
    Cluster(String),
    /// A listener serves the cache.
    #[error("the listener {listener} serves the cache {name:?}")]
    InUse {
        /// The cache.
        name: String,
        /// Its listener.
        listener: String,
    },
}

/// The object of this kind and name; with `create`, a cache that is made if it is not there. One
/// that is there must have the options that are given.
///
/// # Errors
/// [`Refused`]; everything is as it was, unless the disk failed ([`CatalogError::Storage`]).
pub fn resolve(
    node: &Node,
    kind: Kind,
    name: &str,
    create: Option<&[(&str, &str)]>,
) -> Result<Resolved, Refused> {
    let wants_cluster = create.is_some_and(|options| options.contains(&("mode", "invalidated")));
    if wants_cluster && node.cluster.get().is_none() {
        let help = "give --bootstrap-expect or --join, or say mode = local".to_owned();
        return Err(Refused { why: Why::NoCluster { name: name.to_owned() }, help });
    }
    let resolved = node.catalog.resolve(kind, name, create, node.now());
    let resolved = resolved.map_err(|error| refused(node, error))?;
    follow_writes(node, &resolved.object)?;
    if resolved.created {
        let id = resolved.object.id;
        tracing::info!(event = "cache_created", cache = name, id);
    }
    Ok(resolved)
}

/// An invalidated cache takes part in the cluster from now on.
fn follow_writes(node: &Node, object: &Object) -> Result<(), Refused> {
    let cache = object.cache.as_ref().filter(|_| object.options.mode == CacheMode::Invalidated);
    let Some((cluster, cache)) = node.cluster.get().zip(cache) else { return Ok(()) };
    if cluster.invalidated(&object.name).is_some() {
        return Ok(());
    }
    cluster.add_invalidated(&object.name, cache.shared_table()).map_err(|error| {
        let _ = node.catalog.drop_object(Kind::Cache, &object.name, node.now());
        Refused { why: Why::Cluster(error.to_string()), help: String::new() }
    })
}

/// Changes options of a cache that change while it runs.
///
/// # Errors
/// As [`resolve`].
pub fn alter(node: &Node, name: &str, changes: &[(&str, &str)]) -> Result<Arc<Object>, Refused> {
    let altered = node.catalog.alter(name, changes).map_err(|error| refused(node, error))?;
    tracing::info!(event = "cache_altered", cache = name);
    Ok(altered)
}

/// Drops an object with its data.
///
/// # Errors
/// As [`resolve`]; [`Why::InUse`] while a listener serves the cache.
pub fn drop_object(node: &Node, kind: Kind, name: &str) -> Result<(), Refused> {
    let serves = |listener: &&crate::config::ListenerConfig| listener.cache == name;
    if let Some(listener) =
        node.config.memcached.iter().find(serves).filter(|_| kind == Kind::Cache)
    {
        let (name, listener) = (name.to_owned(), listener.address.to_string());
        let help = "take the listener out of the configuration and start again".to_owned();
        return Err(Refused { why: Why::InUse { name, listener }, help });
    }
    let dropped = node.catalog.drop_object(kind, name, node.now());
    dropped.map_err(|error| refused(node, error))?;
    node.cluster.get().into_iter().for_each(|cluster| cluster.remove_invalidated(name));
    tracing::info!(event = "cache_dropped", cache = name);
    Ok(())
}

/// What there is to say of an object.
///
/// # Errors
/// As [`resolve`].
pub fn describe(node: &Node, kind: Kind, name: &str) -> Result<Description, Refused> {
    let found = node.catalog.describe(kind, name).map_err(|error| refused(node, error))?;
    Ok(told(node, found))
}

/// The same of what was found. Copies are no business of the catalog, which keeps no cache that
/// members keep.
pub fn told(node: &Node, mut found: Description) -> Description {
    let is_it = |cache: &&CacheConfig| found.kind == Kind::Cache && cache.name == found.name;
    let configured = node.config.caches.iter().find(is_it);
    if let Some(cache) = configured.filter(|cache| cache.is_kept_by_members()) {
        let persist = found.options.iter_mut().filter(|(name, _)| *name == "persist");
        persist.for_each(|(_, text)| text.clone_from(&cache.persist));
    }
    found
}

/// A description as JSON.
pub fn to_json(description: &Description) -> Value {
    let Description { id, kind, name, origin, options, usage, segments } = description;
    let options: Map<String, Value> =
        options.iter().map(|(name, text)| ((*name).to_owned(), json!(text))).collect();
    let mut all = json!({ "id": id, "kind": kind.name(), "name": name, "origin": origin.name() });
    if let (Some(fields), Some(usage)) = (all.as_object_mut(), usage) {
        fields.insert("options".to_owned(), Value::Object(options));
        fields.insert("entries".to_owned(), json!(usage.entries));
        fields.insert("bytes".to_owned(), json!(usage.bytes));
        fields.insert("max_bytes".to_owned(), json!(usage.max_bytes));
        fields.insert("segments".to_owned(), json!(segments));
    }
    all
}

/// Options that are times.
const TIMES: [&str; 3] = ["ttl", "max_idle", "behind_delay"];

/// The options of a JSON object as texts. Numbers are bytes or entries, and milliseconds of a
/// time; null is off.
///
/// # Errors
/// [`Why::Options`].
pub fn from_json(options: &Value) -> Result<Vec<(String, String)>, Refused> {
    let wrong = |what: String| Refused { why: Why::Options { what }, help: String::new() };
    let fields = options.as_object().ok_or_else(|| wrong(options.to_string()))?;
    let text = |(name, value): (&String, &Value)| {
        let text = match value {
            Value::Null => "off".to_owned(),
            Value::String(text) => text.clone(),
            Value::Number(ms) if TIMES.contains(&name.as_str()) => format!("{ms}ms"),
            Value::Number(number) => number.to_string(),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                return Err(wrong(format!("{name}: {value}")));
            }
        };
        Ok((name.clone(), text))
    };
    fields.iter().map(text).collect()
}

/// The same, borrowed.
pub fn pairs(options: &[(String, String)]) -> Vec<(&str, &str)> {
    options.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect()
}

/// Adds what to do.
fn refused(node: &Node, error: CatalogError) -> Refused {
    let help = match &error {
        CatalogError::NotFound { name, .. } => {
            let index = node.catalog.index();
            let names = index.caches().map(|object| object.name.as_str());
            meant(name, names).unwrap_or_else(|| "`isogrid cache list` lists them".to_owned())
        }
        CatalogError::Option(OptionError::Unknown { name }) => {
            let all = || CacheOptions::names().collect::<Vec<_>>().join(", ");
            meant(name, CacheOptions::names()).unwrap_or_else(|| format!("there are {}", all()))
        }
        CatalogError::Name { name } => {
            let fit: String = name.chars().filter(|c| is_name(&c.to_string())).take(64).collect();
            if fit.is_empty() { String::new() } else { format!("{fit:?} would be one") }
        }
        CatalogError::Exists { .. } => {
            "leave out what differs, alter the cache, or choose another name".to_owned()
        }
        CatalogError::NotLive { .. } => "drop the cache and create it anew".to_owned(),
        CatalogError::Limit { what: "caches", .. } => "drop one that is not needed".to_owned(),
        CatalogError::Limit { .. } => {
            "give it less memory, take some from another, or raise node.memory".to_owned()
        }
        CatalogError::NothingIsKept { .. } => {
            "say persist = none, or start the server with --data-dir".to_owned()
        }
        CatalogError::Storage { full: true, .. } => {
            "make room on the disk and try again".to_owned()
        }
        CatalogError::Option(OptionError::Value { .. })
        | CatalogError::BuiltIn { .. }
        | CatalogError::Storage { .. }
        | CatalogError::File { .. } => String::new(),
    };
    Refused { why: Why::Catalog(error), help }
}

fn meant<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(name, names).map(|near| format!("did you mean {near:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CacheMode, ServerConfig};

    fn node() -> Arc<Node> {
        Node::new(ServerConfig::ephemeral()).unwrap()
    }

    #[test]
    fn what_is_refused_says_what_to_do() {
        let node = node();
        let make = |name: &str, options: &[(&str, &str)]| {
            resolve(&node, Kind::Cache, name, Some(options)).map(|made| made.created)
        };
        assert_eq!(make("orders", &[("max_bytes", "64MiB"), ("ttl", "10m")]), Ok(true));
        for (made, help) in [
            (make("orders", &[("tll", "1m")]), "did you mean \"ttl\"?"),
            (make("or ders", &[]), "\"orders\" would be one"),
            (make("orders", &[("ttl", "1m")]), "leave out what differs"),
            (make("x", &[("persist", "sync")]), "say persist = none"),
            (make("x", &[("memory", "64TiB")]), "give it less memory"),
            (drop_object(&node, Kind::Cache, "order").map(|()| true), "did you mean \"orders\"?"),
            (drop_object(&node, Kind::Cache, "default").map(|()| true), "take the listener out"),
            (alter(&node, "orders", &[("segments", "4")]).map(|_| true), "drop the cache and"),
        ] {
            let told = made.unwrap_err().to_string();
            assert!(told.contains(help), "{told}");
        }
        assert_eq!(drop_object(&node, Kind::Cache, "orders"), Ok(()));
    }

    #[test]
    fn what_members_keep_is_told() {
        for (mode, persist, expected) in [
            (CacheMode::Distributed, "sync", "sync"),
            (CacheMode::Replicated, "sync", "sync"),
            (CacheMode::Replicated, "async", "async"),
            (CacheMode::Distributed, "none", "none"),
        ] {
            let persist = persist.to_owned();
            let caches = vec![CacheConfig { mode, persist, ..CacheConfig::default() }];
            let node = Node::new(ServerConfig { caches, ..ServerConfig::ephemeral() }).unwrap();
            let told = to_json(&describe(&node, Kind::Cache, CacheConfig::DEFAULT).unwrap());
            assert_eq!(told["options"]["persist"], json!(expected), "{mode:?}");
        }
    }

    #[test]
    fn options_come_and_go_as_json() {
        let given = json!({"memory": 67_108_864, "ttl": 600_000, "max_idle": "5m", "segments": null,
                   "behind_delay": 50, "behind_queue": 65_536});
        let texts = from_json(&given).unwrap();
        let pairs: Vec<_> = texts.iter().map(|(n, t)| (n.as_str(), t.as_str())).collect();
        let node = node();
        resolve(&node, Kind::Cache, "orders", Some(&pairs)).unwrap();
        let told = to_json(&describe(&node, Kind::Cache, "orders").unwrap());
        assert_eq!((&told["name"], &told["kind"]), (&json!("orders"), &json!("cache")));
        for (name, text) in [
            ("memory", "64MiB"),
            ("ttl", "10m"),
            ("max_idle", "5m"),
            ("segments", "off"),
            ("behind_delay", "50ms"),
            ("behind_queue", "64KiB"),
        ] {
            assert_eq!(told["options"][name], json!(text));
        }
        assert_eq!(told["max_bytes"], json!(64 << 20));
        for wrong in [json!([]), json!({"ttl": true}), json!({"ttl": {"ms": 5}})] {
            assert!(from_json(&wrong).is_err(), "{wrong}");
        }
    }
}
