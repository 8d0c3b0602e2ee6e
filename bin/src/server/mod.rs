//! The server: listeners, connections, maintenance, and an orderly end.

pub mod accept_rate;
pub mod addresses;
pub mod admin;
pub mod backup;
pub mod caches;
mod clustered;
pub mod connection;
pub mod connections;
mod core_dumps;
pub mod counters;
pub mod data;
mod defragment;
pub mod detail;
pub mod detect;
pub mod dispatch;
pub mod dump;
mod eof;
pub mod exposed;
pub mod files;
pub mod guard;
mod guarded;
pub mod health;
mod heap;
pub mod http;
mod invalidated;
pub mod keeper;
mod line;
pub mod listener;
pub mod loading;
pub mod locks;
pub mod log_limit;
pub mod login;
pub mod maintenance;
pub mod memcached;
pub mod metrics;
pub mod native;
pub mod newcomers;
pub mod node;
pub mod open_files;
pub mod queues;
pub mod reload;
pub mod secure;
pub mod session;
pub mod settings;
pub mod stats;
pub mod stream;
pub mod telemetry;
pub mod tls;

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::{Cluster, ClusterError, Executor};
use crate::config::{ClusterConfig, ListenerConfig, Loaded};
use data::Data;
use isogrid_grid::catalog::{CacheMode, Kind};
use isogrid_grid::structures::is_of_structures;
use isogrid_grid::structures::queues::Queues;
use isogrid_grid::structures::sessions::{SHARED_BYTES_MAX, Sessions};
use listener::Listener;
pub use node::Node;

/// How often a stopping server looks whether its connections are gone.
const DRAIN_STEP: Duration = Duration::from_millis(5);

/// Why a server could not start.
#[derive(Debug, Error)]
pub enum Error {
    /// A listener could not be bound.
    #[error("cannot listen on {address}: {source}\n  help: {}", bind_help(source))]
    Bind {
        /// The address.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// A listener names a cache that is not configured.
    #[error("a listener names the cache {name:?}, which is not configured")]
    UnknownCache {
        /// The cache.
        name: String,
    },
    /// A cache could not be made.
    #[error("cache {name:?}: {source}")]
    Cache {
        /// The cache.
        name: String,
        /// Why.
        source: isogrid_engine::ConfigError,
    },
    /// The data directory cannot be used as it is.
    #[error("{source}{}", data::help(path, source))]
    Data {
        /// The directory.
        path: std::path::PathBuf,
        /// Why.
        source: isogrid_engine::persist::PersistError,
    },
    /// The catalog of the data directory cannot be used as it is.
    #[error(transparent)]
    Catalog(isogrid_grid::catalog::CatalogError),
    /// The fencing tokens cannot be reserved.
    #[error(transparent)]
    Structures(isogrid_grid::structures::ReserveError),
    /// The users or the audit log cannot be used.
    #[error(
        "{0}\n  help: `isogrid user ls` checks a file of users, `isogrid user add` makes one; memcached's has \
         user:password in each line"
    )]
    Users(crate::security::users_file::UsersFileError),
    /// The node cannot take part in its cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// TLS cannot be spoken.
    #[error("{0}")]
    Tls(tls::TlsError),
    /// The runtime or a signal handler could not be set up.
    #[error("{what}: {source}")]
    Io {
        /// What was to be done.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

/// What to do when an address cannot be bound.
fn bind_help(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind::{AddrInUse, AddrNotAvailable, NotFound, PermissionDenied};
    match error.kind() {
        AddrInUse => {
            "stop what uses it (`ss -ltnp` names it), or choose another port; port 0 picks a free one"
        }
        AddrNotAvailable => "this machine has no such address; `ip address` lists those it has",
        PermissionDenied => {
            "choose a port from 1024 up or a folder that you may write to, or give the server the \
             right (CAP_NET_BIND_SERVICE)"
        }
        NotFound => "make the folder of the socket first",
        _ => "choose another address",
    }
}

impl Error {
    fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        move |source| Error::Io { what, source }
    }
}

/// Runs a server until SIGTERM, SIGINT or an allowed `shutdown` command.
///
/// # Errors
/// When the server cannot start; once it serves, trouble is logged and survived.
pub fn run(mut loaded: Loaded) -> Result<(), Error> {
    let config = &mut loaded.config;
    telemetry::start(&config.log);
    core_dumps::restrict(config);
    let connections = open_files::connections_max(config.limits.max_connections);
    config.limits.max_connections = connections;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.node.threads)
        .thread_name("isogrid")
        .enable_all()
        .build()
        .map_err(Error::io("cannot start the worker threads"))?;
    let drain = config.node.drain_timeout;
    let served = runtime.block_on(async {
        let node = Node::new(loaded)?;
        let http = http::Service::new(&node);
        let (alone, others): (Vec<_>, Vec<_>) =
            node.config.listeners().into_iter().partition(|listener| listener.accept.is_http());
        // Health is told while data is read, which may take a while.
        let alone = bind(&node, &alone, &http)?;
        let bound: Vec<String> = alone.iter().map(|listener| listener.address.clone()).collect();
        let alone = accept(&node, alone);
        node.open_data()?;
        // What others are told of the listeners is known when they are bound.
        let others = bind(&node, &others, &http)?;
        let driver = join(&node, &others).await?;
        // On a worker, so that the threads that were asked for do all the work.
        let served = tokio::spawn(serve(node, bound, others)).await.unwrap_or(Ok(()));
        driver.iter().for_each(tokio::task::JoinHandle::abort);
        alone.iter().for_each(tokio::task::JoinHandle::abort);
        served
    });
    runtime.shutdown_timeout(drain);
    served
}

/// Takes part in a cluster, if the configuration says so.
async fn join(
    node: &Arc<Node>,
    listeners: &[Listener],
) -> Result<Option<tokio::task::JoinHandle<()>>, Error> {
    if !node.config.cluster.is_on() {
        return Ok(None);
    }
    let table = |name: &str| {
        if is_of_structures(name) {
            let table = node::new_structures(node.now()).ok()?;
            if name == Queues::TABLE {
                queues::bound_shared(&table);
            }
            let table = Arc::new(table);
            if name == Sessions::TABLE {
                table.set_max_bytes(SHARED_BYTES_MAX);
                let _ = node.shared_sessions.set(Sessions::new(Arc::clone(&table)));
            }
            return Some(table);
        }
        let found = node.catalog.find(Kind::Cache, name).ok()?;
        found.cache.as_ref().map(|cache| cache.shared_table())
    };
    let of_end = Arc::clone(node);
    let on_end = move |why: &'static str| {
        tracing::warn!(event = "left_cluster", why, "the node stops");
        of_end.stop();
    };
    let keeps = node.data.get().map(Data::storage_id);
    let endpoint = endpoint(&node.config.cluster, listeners);
    let (cluster, driver) = Cluster::join(&node.config, endpoint, keeps, table, on_end).await?;
    for cache in node.catalog.index().caches() {
        let table = cache.cache.as_ref().map(|cache| cache.shared_table());
        if let Some(table) = table.filter(|_| cache.options.mode == CacheMode::Invalidated) {
            cluster.add_invalidated(&cache.name, table)?;
        }
    }
    let passed = Arc::new(clustered::Passed::new(node));
    let _ = node.cluster.set(Arc::clone(&cluster));
    cluster.set_executor(Arc::clone(&passed) as Arc<dyn Executor>);
    let of_task = Arc::clone(node);
    tokio::spawn(async move {
        of_task.stopped().await;
        passed.close();
    });
    Ok(Some(tokio::spawn(driver.run())))
}

/// Where clients reach the native protocol of a member; empty where they do not.
fn endpoint(config: &ClusterConfig, listeners: &[Listener]) -> String {
    if let Some(endpoint) = &config.endpoint {
        return endpoint.clone();
    }
    let bound = listeners.iter().find_map(Listener::native_address);
    let peer = config.advertise.clone().unwrap_or_else(|| config.peer.to_string());
    match (bound, peer.rsplit_once(':')) {
        (Some(bound), Some((host, _))) if bound.ip().is_unspecified() => {
            format!("{host}:{}", bound.port())
        }
        (bound, _) => bound.map(|bound| bound.to_string()).unwrap_or_default(),
    }
}

fn bind(
    node: &Node,
    configs: &[ListenerConfig],
    http: &http::Service,
) -> Result<Vec<Listener>, Error> {
    configs.iter().map(|config| Listener::bind(node, config, http)).collect()
}

fn accept(node: &Arc<Node>, listeners: Vec<Listener>) -> Vec<tokio::task::JoinHandle<()>> {
    let run = |listener: Listener| tokio::spawn(listener.run(Arc::clone(node)));
    listeners.into_iter().map(run).collect()
}

/// Serves until the node is told to stop, then lets connections finish. `http` is where HTTP alone
/// is spoken, already.
async fn serve(node: Arc<Node>, http: Vec<String>, listeners: Vec<Listener>) -> Result<(), Error> {
    stop_on_signals(&node)?;
    reload::on_hangup(&node)?;
    let _pid_file = node.config.pid_file.as_deref().map(files::PidFile::write);
    if let Some(path) = &node.config.port_file {
        files::write_ports(path, &listeners);
    }
    node.health.start();
    announce(&node, &http, &listeners);
    if node.config.protocol.drop_in && node.config.protocol.verbosity > 1 {
        listeners.iter().for_each(|listener| eprintln!("{}", listener.as_memcached_tells()));
    }
    let accepting = accept(&node, listeners);
    let maintenance = tokio::spawn(maintenance::run(Arc::clone(&node)));
    let locks = tokio::spawn(locks::run(Arc::clone(&node)));
    let queues = tokio::spawn(queues::run(Arc::clone(&node)));
    node.stopped().await;
    for task in accepting {
        let _ = task.await;
    }
    drain(&node).await;
    if let Some(cluster) = node.cluster.get() {
        cluster.end_invalidation();
        tokio::time::sleep(DRAIN_STEP).await;
    }
    maintenance.abort();
    locks.abort();
    queues.abort();
    if let Some(cluster) = node.cluster.get().cloned() {
        let _ = tokio::task::spawn_blocking(move || cluster.settle_copies()).await;
    }
    if let Some(audit) = node.security.audit() {
        audit.close();
    }
    if node.data.get().is_some() {
        let of_thread = Arc::clone(&node);
        let close = move || of_thread.data.get().map_or((), |data| data.close(&of_thread));
        let _ = tokio::task::spawn_blocking(close).await;
    }
    tracing::info!(event = "stopped", connections_left = node.connections.open());
    Ok(())
}

fn stop_on_signals(node: &Arc<Node>) -> Result<(), Error> {
    let failed = || Error::io("cannot listen for signals");
    let mut terminate = signal(SignalKind::terminate()).map_err(failed())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed())?;
    let mut graceful = signal(SignalKind::user_defined1()).map_err(failed())?;
    let node = Arc::clone(node);
    let of_input = Arc::clone(&node);
    tokio::spawn(async move {
        eof::stdin_ends(of_input.config.until_eof).await;
        // Nobody may be left who reads the log, so this comes first; and one that stops already is
        // not hurried.
        of_input.stop();
        tracing::info!(event = "draining", "stdin has ended");
    });
    tokio::spawn(async move {
        let mut is_asked = false;
        loop {
            let name = tokio::select! {
                biased;
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = graceful.recv() => "SIGUSR1",
            };
            if std::mem::replace(&mut is_asked, true) || node.is_stopping() {
                node.stop();
                node.hurry();
                tracing::warn!(event = "hurried", signal = name, "what is not written yet is left");
                return;
            }
            let connections = node.connections.open();
            tracing::info!(event = "draining", signal = name, connections);
            tokio::spawn(stop(Arc::clone(&node)));
        }
    });
    Ok(())
}

/// Stops a node; a member of a cluster has others take what it serves before clients notice.
async fn stop(node: Arc<Node>) {
    if let Some(cluster) = node.cluster.get() {
        let limit = node.config.node.drain_timeout;
        tokio::select! {
            biased;
            () = node.stopped() => {}
            () = cluster.hand_over() => tracing::info!(event = "handed_over"),
            () = tokio::time::sleep(limit) => tracing::warn!(
                event = "not_handed_over",
                ?limit,
                "others notice when the lease is over that this member has gone"
            ),
        }
    }
    node.stop();
}

/// Waits for the connections to finish what they have read, as long as the configuration allows.
async fn drain(node: &Arc<Node>) {
    let deadline = tokio::time::Instant::now() + node.config.node.drain_timeout;
    while node.connections.open() > 0 && tokio::time::Instant::now() < deadline {
        node.connections.wake_all();
        tokio::time::sleep(DRAIN_STEP).await;
    }
}

/// The ready line: one event with every bound address.
fn announce(node: &Node, http: &[String], listeners: &[Listener]) {
    if listeners.is_empty() {
        tracing::warn!(event = "no_listener", "no client can reach this server; see --memcached");
    }
    let native = node.config.native.len();
    let bound: Vec<&str> = listeners.iter().map(|l| l.address.as_str()).collect();
    let (memcached, native) = bound.split_at(bound.len().saturating_sub(native));
    tracing::info!(
        event = "ready",
        name = node.config.node.name,
        version = env!("CARGO_PKG_VERSION"),
        pid = std::process::id(),
        memcached = memcached.join(","),
        native = native.join(","),
        http = http.join(","),
        memory = node.config.caches.iter().map(|cache| cache.limits.max_bytes).sum::<u64>(),
        threads = node.config.node.threads,
        data_dir = node.kept_in(),
        "ready; {}",
        node.keeping()
    );
}
