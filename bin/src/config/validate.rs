//! What must hold across fields, whoever set them.

use std::collections::BTreeSet;

use super::model::{
    Address, CacheConfig, CacheMode, ClientCertificates, ListenerConfig, ServerConfig, TlsMode,
};
use super::problem::{Origin, Problem, Problems};
use super::suggest::nearest;
use crate::security::Mode;
use isogrid_grid::metadata::Role;
use isogrid_grid::unit::show_size;

/// The names of the eviction policies, as the engine has them.
pub const EVICTION_POLICIES: [&str; 7] =
    ["s3-fifo", "w-tinylfu", "lru", "lfu", "fifo", "random", "none"];

/// Caches that one node may have.
const CACHES_MAX: usize = 1_024;

/// Checks what must hold across fields and reports everything that does not.
pub fn validate(config: &ServerConfig) -> Result<(), Problems> {
    let mut found = Vec::new();
    check_caches(config, &mut found);
    check_listeners(config, &mut found);
    check_security(config, &mut found);
    check_role(config, &mut found);
    check_structures(config, &mut found);
    check_discarded(config, &mut found);
    check_peers(config, &mut found);
    if found.is_empty() { Ok(()) } else { Err(Problems(found)) }
}

fn check_caches(config: &ServerConfig, found: &mut Vec<Problem>) {
    let count = config.caches.len();
    if !(1..=CACHES_MAX).contains(&count) {
        let what = format!("{count} caches are configured; 1 to {CACHES_MAX} are allowed");
        found.push(problem(what, "write [[cache]] tables within the bounds"));
    }
    let mut names = BTreeSet::new();
    for cache in &config.caches {
        if !names.insert(&cache.name) {
            let what = format!("two caches are called `{}`", cache.name);
            found.push(problem(what, "give each [[cache]] a name of its own"));
        }
        check_cache(cache, config, found);
    }
}

fn check_cache(cache: &CacheConfig, config: &ServerConfig, found: &mut Vec<Problem>) {
    let CacheConfig { name, limits, .. } = cache;
    if let Some(segments) = cache.segments.filter(|n| !n.is_power_of_two()) {
        let near = segments.checked_next_power_of_two().unwrap_or(1 << 16);
        let what = format!("cache `{name}`: segments = {segments} is not a power of two");
        found.push(problem(what, format!("write {near}, or leave it out")));
    }
    let item = u64::try_from(config.limits.max_item_size).unwrap_or(u64::MAX);
    if item > limits.max_bytes {
        let (item, memory) = (show_size(item), show_size(limits.max_bytes));
        let what =
            format!("limits.max_item_size = {item} is more than cache `{name}` holds ({memory})");
        found.push(problem(what, "raise the cache's memory or lower limits.max_item_size"));
    }
    check_mode(cache, config, found);
    check_regions(cache, found);
}

/// Caches of a cluster need one, and are kept in memory, or on the disks of their members.
fn check_mode(cache: &CacheConfig, config: &ServerConfig, found: &mut Vec<Problem>) {
    let name = &cache.name;
    if cache.ack == "async" && !cache.mode.has_copies() {
        let what =
            format!("cache `{name}`: ack = async, and it has no copies that could come later");
        found.push(problem(what, "say ack = sync, or mode = distributed"));
    }
    if cache.read_mode == "confirm" && !cache.mode.has_copies() {
        let what =
            format!("cache `{name}`: read_mode = confirm, and it has no copies that could confirm");
        found.push(problem(what, "say read_mode = lease, or mode = distributed"));
    }
    if cache.mode == CacheMode::Local {
        return;
    }
    if !config.cluster.is_on() {
        let what = format!("cache `{name}` is not local, and the node belongs to no cluster");
        found.push(problem(
            what,
            "give --bootstrap-expect, --join or --discover multicast, or say mode = local",
        ));
    }
    if cache.persist == "behind" {
        let what = format!("cache `{name}`: only local caches have persist = behind");
        found.push(problem(what, "say persist = sync, async or none, or mode = local"));
    }
    let (persist, is_on_disk) = (&cache.persist, matches!(&*cache.persist, "sync" | "async"));
    if is_on_disk && config.node.data_dir.is_none() {
        let what = format!("cache `{name}`: persist = {persist}, and there is no data directory");
        found.push(problem(what, "give --data-dir, or say persist = none"));
    }
    if is_on_disk && cache.mode == CacheMode::Invalidated {
        let what = format!("cache `{name}`: an invalidated cache cannot have persist = {persist}");
        found.push(problem(what, "say persist = none, or mode = distributed"));
    }
    if !cache.regions.is_empty() {
        let what = format!("cache `{name}`: only local caches have regions");
        found.push(problem(what, "take [[cache.region]] out, or say mode = local"));
    }
}

fn check_regions(cache: &CacheConfig, found: &mut Vec<Problem>) {
    let mut prefixes = BTreeSet::new();
    for region in &cache.regions {
        let place = format!("cache `{}`: region `{}`", cache.name, region.prefix);
        if region.prefix.is_empty() {
            let what = format!("cache `{}`: a region has no prefix", cache.name);
            found.push(problem(what, "write prefix = \"...\" in each [[cache.region]]"));
        } else if !prefixes.insert(&region.prefix) {
            found.push(problem(format!("{place} is there twice"), "give each prefix once"));
        }
        if region.max_bytes.is_some_and(|bytes| bytes > cache.limits.max_bytes) {
            let memory = show_size(cache.limits.max_bytes);
            let what = format!("{place}: max_bytes is more than the cache's memory ({memory})");
            found.push(problem(what, "lower it, or raise the cache's memory"));
        }
    }
}

fn check_listeners(config: &ServerConfig, found: &mut Vec<Problem>) {
    for listener in &config.memcached {
        if !config.caches.iter().any(|cache| cache.name == listener.cache) {
            found.push(unknown_cache(listener, config));
        }
    }
    let mut addresses = Vec::new();
    for listener in config.listeners() {
        if fixed(&listener.address) && addresses.contains(&listener.address) {
            let what = format!("two listeners have the address {}", listener.address);
            found.push(problem(what, "give each listener an address of its own"));
        }
        addresses.push(listener.address);
    }
}

fn check_security(config: &ServerConfig, found: &mut Vec<Problem>) {
    let speaks = |listener: &ListenerConfig| config.tls_of(listener) != TlsMode::Off;
    let tls = &config.tls;
    if config.listeners().iter().any(speaks) && (tls.cert.is_none() || tls.key.is_none()) {
        let what = "a listener speaks TLS, and there is no certificate";
        found.push(problem(
            what,
            "set tls.cert and tls.key to PEM files; docs/SECURITY.md makes some",
        ));
    }
    if tls.client != ClientCertificates::Off && tls.ca.is_none() {
        let what = "tls.client asks for certificates, and no authority is known";
        found.push(problem(what, "set tls.ca to a PEM file with the authorities"));
    }
    let unix = |address: &Address| matches!(address, Address::Unix(..));
    let plain = |listener: &ListenerConfig| !speaks(listener) && !unix(&listener.address);
    if config.auth.require_tls
        && config.auth.mode != Mode::Off
        && let Some(listener) = config.listeners().into_iter().find(plain)
    {
        let what = format!(
            "auth.require_tls = on, and nobody could log in at {}, where no TLS is spoken",
            listener.address
        );
        found.push(problem(what, "set tls.mode to on or optional, or auth.require_tls to off"));
    }
    let nowhere = config.users_file().is_none() && config.auth.passwords.is_none();
    if config.auth.mode == Mode::On && nowhere {
        let what = "auth.mode = on, and there is no place for users without a data directory";
        found.push(problem(what, "set auth.users to a file, or node.data_dir to a directory"));
    }
}

/// A witness is one of a cluster's, and founds none alone.
fn check_role(config: &ServerConfig, found: &mut Vec<Problem>) {
    let of = &config.cluster;
    if of.role == Role::Data {
        return;
    }
    if !of.is_on() {
        let what = "cluster.role = witness, and the node belongs to no cluster";
        found.push(problem(
            what,
            "give --bootstrap-expect, --join or --discover multicast, or say role = data",
        ));
    } else if of.bootstrap_expect == 1 {
        let what = "cluster.role = witness with cluster.bootstrap_expect = 1: a witness has no data, \
                    and founds no cluster alone";
        found.push(problem(what, "say how many nodes found it together, or role = data"));
    }
}

/// What is to be on a disk needs a place.
fn check_structures(config: &ServerConfig, found: &mut Vec<Problem>) {
    let said = config.structures.said().filter(|said| said.is_logged());
    if said.is_some() && config.node.data_dir.is_none() {
        let persist = &config.structures.persist;
        let what = format!("structures.persist = {persist}, and there is no data directory");
        found.push(problem(what, "give --data-dir, or say structures.persist = none"));
    }
}

fn check_discarded(config: &ServerConfig, found: &mut Vec<Problem>) {
    if config.cluster.discarded_dir.is_some() && config.discarded_folder().is_none() {
        let what = "cluster.discarded_dir = auto, and there is no data directory";
        found.push(problem(what, "give --data-dir, or name a folder"));
    }
}

/// Peers speak TLS or not: there is nothing between.
fn check_peers(config: &ServerConfig, found: &mut Vec<Problem>) {
    let of = &config.cluster;
    let files = [
        ("cluster.tls_cert", &of.tls_cert),
        ("cluster.tls_key", &of.tls_key),
        ("cluster.tls_ca", &of.tls_ca),
    ];
    let names = |given: bool| {
        let those = files.iter().filter(|(_, file)| file.is_some() == given);
        those.map(|(name, _)| *name).collect::<Vec<_>>()
    };
    let (given, missing) = (names(true), names(false));
    if !given.is_empty() && !missing.is_empty() {
        let what = format!("{} without {}", given.join(", "), missing.join(", "));
        found.push(problem(
            what,
            "set all three to PEM files, or none; docs/SECURITY.md makes some",
        ));
    }
}

/// Port 0 is a free port, another one each time.
fn fixed(address: &Address) -> bool {
    !matches!(address, Address::Tcp(address) if address.port() == 0)
}

fn unknown_cache(listener: &ListenerConfig, config: &ServerConfig) -> Problem {
    let names = || config.caches.iter().map(|cache| cache.name.as_str());
    let help = match nearest(&listener.cache, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!(
            "name one of {} in [[listener]], or add a [[cache]] of that name",
            names().collect::<Vec<_>>().join(", ")
        ),
    };
    let what =
        format!("the listener {} serves the unknown cache `{}`", listener.address, listener.cache);
    problem(what, help)
}

fn problem(what: impl Into<String>, help: impl Into<String>) -> Problem {
    Problem::new(what, &Origin::Default, help)
}

#[cfg(test)]
mod tests {
    use isogrid_engine::eviction::PolicyKind;

    use super::*;

    #[test]
    fn every_policy_of_the_engine_can_be_configured() {
        assert_eq!(PolicyKind::ALL.map(PolicyKind::name), EVICTION_POLICIES);
    }
}
