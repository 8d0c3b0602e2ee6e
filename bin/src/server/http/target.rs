//! What a path under `/v1/caches` names: a cache, and a key in it. The path is read as it came:
//! a key is bytes, so `..`, `//` and `%2F` mean nothing but themselves.

use std::sync::Arc;

use isogrid_grid::Cache;

use super::clustered::Place;
use super::problem::{Code, Problem};
use super::query::decode;
use crate::server::node::Node;

const CACHES: &str = "/v1/caches/";
const ENTRIES: &str = "/entries/";

/// An entry, which may be there or not.
pub struct Target {
    /// The cache.
    pub cache: Arc<Cache>,
    /// The key.
    pub key: Vec<u8>,
    /// Who has it, if the cache is the cluster's.
    pub place: Option<Place>,
}

/// The name of the cache in a path.
///
/// # Errors
/// When it is malformed.
pub fn cache_name(path: &str) -> Result<String, Problem> {
    let rest = path.strip_prefix(CACHES).unwrap_or_default();
    let name = rest.split('/').next().unwrap_or_default();
    let name = decode(name).and_then(|name| String::from_utf8(name).ok());
    name.ok_or_else(|| Problem::invalid("the cache's name is not encoded well"))
}

/// The cache that a path names.
///
/// # Errors
/// When there is none of that name.
pub fn cache(node: &Node, path: &str) -> Result<Arc<Cache>, Problem> {
    named(node, &cache_name(path)?)
}

/// The cache of this name.
///
/// # Errors
/// When there is none.
pub fn named(node: &Node, name: &str) -> Result<Arc<Cache>, Problem> {
    let unknown = || Problem::new(Code::NoSuchObject, format!("there is no cache `{name}`"));
    node.catalog.cache(name).ok_or_else(unknown)
}

/// The key in a path, without `suffix` behind it.
///
/// # Errors
/// When it is malformed.
pub fn key(path: &str, suffix: &str) -> Result<Vec<u8>, Problem> {
    let key = path.split_once(ENTRIES).and_then(|(_, key)| key.strip_suffix(suffix));
    let key = key.ok_or_else(|| {
        Problem::new(Code::NoSuchObject, format!("`{path}` does not end with {suffix}"))
    })?;
    let malformed = || Problem::invalid("a % in the key has no two hex digits behind it");
    let key = decode(key).ok_or_else(malformed)?;
    if key.is_empty() || key.len() > usize::from(u16::MAX) {
        return Err(Problem::new(Code::KeyTooLarge, format!("a key of {} bytes", key.len())));
    }
    Ok(key)
}

/// The entry that a path names, without `suffix` behind it.
///
/// # Errors
/// When there is no such cache, or the key is malformed.
pub fn entry(node: &Node, path: &str, suffix: &str) -> Result<Target, Problem> {
    let cache = cache(node, path)?;
    let key = key(path, suffix)?;
    let place = Place::of(node, &cache, &key);
    Ok(Target { cache, key, place })
}
