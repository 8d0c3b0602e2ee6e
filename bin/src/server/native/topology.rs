//! TOPOLOGY and TOPOLOGY_WATCH: who serves which keys, as this member knows it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use isogrid_grid::catalog::Kind;
use isogrid_grid::id::NodeId;
use isogrid_wire::native::catalog::{GetTopology, GetTopologyReply, NewTopology, WatchTopology};
use isogrid_wire::native::topology::{TopologyCache, TopologyMember, TopologyTable};
use isogrid_wire::native::{Json, Nothing};
use tokio::sync::watch;

use super::handshake;
use super::live::{Step, Turn};
use super::permit::permissions;
use super::reply::Reply;
use super::session::Session;
use crate::cluster::{Shared, View, object_number};
use crate::security::Identity;
use crate::server::node::Node;

impl Session {
    /// Says the table, unless the client has it.
    pub(super) fn topology(&self, asked: GetTopology, reply: &mut Reply<'_>) {
        if asked.known != 0 && asked.known == epoch(&self.node) {
            return reply.say(&GetTopologyReply::Unchanged {});
        }
        let text = table(&self.node, self.login.identity());
        reply.say(&GetTopologyReply::Ok { table: Json(&text) });
    }
}

/// TOPOLOGY_WATCH.
pub struct Watching {
    /// The epoch that the client was told last, the low half.
    told: Option<u32>,
    /// Ready with each new epoch; without a cluster there is none.
    news: Option<News>,
}

type News = Pin<Box<dyn Future<Output = watch::Receiver<u64>> + Send>>;

fn news(mut epochs: watch::Receiver<u64>) -> News {
    Box::pin(async move {
        if epochs.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        epochs
    })
}

impl Watching {
    /// For a client that knows this one.
    pub fn open(node: &Node, asked: &WatchTopology) -> Watching {
        let told = Some(asked.known).filter(|known| *known != 0 && *known == epoch(node));
        Watching { told, news: node.cluster.get().map(|cluster| news(cluster.epochs())) }
    }

    /// Sends the table, if it is another one.
    pub fn poll(&mut self, turn: &mut Turn<'_>, cx: &mut Context<'_>) -> Step {
        // To be woken by what comes after this look.
        while let Some(Poll::Ready(epochs)) = self.news.as_mut().map(|next| next.as_mut().poll(cx))
        {
            self.news = Some(news(epochs));
        }
        let epoch = epoch(turn.node);
        if turn.credit == 0 || self.told == Some(epoch) {
            return Step::default();
        }
        self.told = Some(epoch);
        let text = table(turn.node, turn.who);
        turn.to.items(&[NewTopology { table: Json(&text) }], &Nothing {}, turn.out);
        Step { sent: 1, ..Step::default() }
    }
}

fn epoch(node: &Node) -> u32 {
    node.cluster.get().map_or(0, |cluster| cluster.view().short_epoch())
}

/// The table; the caches in it are those that the caller may know of.
fn table(node: &Node, who: Option<&Identity>) -> String {
    let table = match node.cluster.get() {
        Some(cluster) => {
            let view = cluster.view();
            let endpoints = view.endpoints().iter();
            let member = |(node, endpoint): (&NodeId, &String)| TopologyMember {
                member: node.0,
                endpoint: endpoint.clone(),
            };
            let may_know = |shared: &&Arc<Shared>| {
                let object = node.catalog.find(Kind::Cache, &shared.name);
                object.is_ok_and(|of| permissions(node, who, &of) != 0)
            };
            let caches = cluster.caches().iter().filter(may_know);
            TopologyTable {
                cluster: handshake::cluster(node).id,
                epoch: view.epoch.to_string(),
                members: endpoints.map(member).collect(),
                caches: caches.map(|shared| cache(shared, &view)).collect(),
                ..TopologyTable::default()
            }
        }
        None => TopologyTable { epoch: "0".to_owned(), ..TopologyTable::default() },
    };
    // Strings and numbers always serialise.
    serde_json::to_string(&TopologyTable { hash: "xxh64".to_owned(), ..table }).unwrap_or_default()
}

fn cache(shared: &Shared, view: &View) -> TopologyCache {
    let any = shared.has_local_reads();
    let reads = if any { TopologyCache::ANY } else { TopologyCache::PRIMARY };
    let primaries = view.primaries(shared.group).iter();
    TopologyCache {
        name: shared.name.clone(),
        object: object_number(&shared.name),
        reads: reads.to_owned(),
        primaries: TopologyCache::runs(primaries.map(|node| node.map_or(0, |node| node.0))),
    }
}
