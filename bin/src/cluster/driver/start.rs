//! How a node begins to take part in its cluster.

use std::sync::Arc;

use isogrid_engine::{SystemClock, Table};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;

use super::{Driver, Input};
use crate::cluster::ears::Ears;
use crate::cluster::invalidated::Invalidations;
use crate::cluster::requests::Requests;
use crate::cluster::search::Search;
use crate::cluster::shared::shared_caches;
use crate::cluster::storage::{Opened, Place, Storage};
use crate::cluster::transport::{PeerTls, Transport, TransportConfig};
use crate::cluster::{Cluster, ClusterError, Names};
use crate::config::{Address, ServerConfig};

impl Cluster {
    /// Takes part in the cluster of the configuration; `endpoint` is where clients reach it over GNP.
    /// `table` gives the tables of caches; `on_end` is called
    /// when this process can be no member any more, with the reason.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub async fn join(
        config: &ServerConfig,
        endpoint: String,
        keeps: Option<[u8; 16]>,
        table: impl Fn(&str) -> Option<Arc<Table>>,
        on_end: impl Fn(&'static str) + Send + 'static,
    ) -> Result<(Arc<Cluster>, Driver), ClusterError> {
        let (sender, inputs) = unbounded_channel();
        let (storage, opened) = open_storage(config, keeps, &sender)?;
        let cluster = Arc::new(Cluster {
            caches: shared_caches(config, table)?,
            invalidations: Invalidations::default(),
            view: arc_swap::ArcSwap::default(),
            epochs: watch::Sender::default(),
            told: arc_swap::ArcSwap::default(),
            lease_until: 0.into(),
            endpoint,
            identity: std::sync::OnceLock::new(),
            transport: std::sync::OnceLock::new(),
            requests: Requests::new(),
            names: Names::new(),
            executor: std::sync::OnceLock::new(),
            inputs: sender,
            intake: crate::cluster::intake::Intake::default(),
            heard: crate::cluster::Heard::default(),
            copy_disk: std::sync::OnceLock::new(),
            is_silent: std::sync::atomic::AtomicBool::new(false),
            clock: SystemClock::new(),
        });
        let transport = listen(&cluster, config).await?;
        let address = transport.address().to_owned();
        let _ = cluster.transport.set(transport);
        let search = Search::new(&config.cluster, &address)?;
        tokio::spawn(search.run(Arc::downgrade(&cluster)));
        let driver = Driver::new(cluster, config, (storage, opened), inputs, &address, on_end)?;
        Ok((Arc::clone(&driver.cluster), driver))
    }

    /// Where peers reach this node.
    #[must_use]
    pub fn address(&self) -> &str {
        self.transport.get().map_or("", Transport::address)
    }
}

fn open_storage(
    config: &ServerConfig,
    keeps: Option<[u8; 16]>,
    inputs: &UnboundedSender<Input>,
) -> Result<(Storage, Opened), ClusterError> {
    let place = match &config.node.data_dir {
        Some(path) => Place::Folder { data_dir: path.as_ref(), data: keeps },
        None => Place::Memory,
    };
    let (saved, failed) = (inputs.clone(), inputs.clone());
    Ok(Storage::open(
        place,
        &config.cluster.name,
        move |number| drop(saved.send(Input::Saved(number))),
        move |error| drop(failed.send(Input::Failed(error))),
    )?)
}

async fn listen(cluster: &Arc<Cluster>, config: &ServerConfig) -> Result<Transport, ClusterError> {
    let Address::Tcp(address) = &config.cluster.peer else {
        return Err(ClusterError::NotTcp(config.cluster.peer.to_string()));
    };
    let tls = PeerTls::configured(&config.cluster)?;
    let advertised = config.cluster.advertise.clone().unwrap_or_else(|| address.to_string());
    let told = TransportConfig { tls, ..TransportConfig::new(&config.cluster.name, &advertised) };
    let ears = Arc::new(Ears(Arc::downgrade(cluster)));
    let bound = Transport::bind(*address, told, ears).await;
    bound.map_err(|source| ClusterError::Bind { address: address.to_string(), source })
}
