//! TOPOLOGY: who serves which keys, as this member knows it.

use std::sync::Arc;

use isogrid_grid::catalog::Kind;
use isogrid_grid::id::NodeId;
use isogrid_wire::native::Json;
use isogrid_wire::native::catalog::{GetTopology, GetTopologyReply};
use isogrid_wire::native::topology::{TopologyCache, TopologyMember, TopologyTable};

use super::handshake;
use super::permit::permissions;
use super::reply::Reply;
use super::session::Session;
use crate::cluster::{Cluster, Shared, View, object_number};

impl Session {
    /// Says the table, unless the client has it.
    pub(super) fn topology(&self, asked: GetTopology, reply: &mut Reply<'_>) {
        let table = match self.node.cluster.get() {
            Some(cluster) => {
                let view = cluster.view();
                if asked.known != 0 && asked.known == view.short_epoch() {
                    return reply.say(&GetTopologyReply::Unchanged {});
                }
                self.table(cluster, &view)
            }
            None => TopologyTable { epoch: "0".to_owned(), ..TopologyTable::default() },
        };
        let table = TopologyTable { hash: "xxh64".to_owned(), ..table };
        // Strings and numbers always serialise.
        let text = serde_json::to_string(&table).unwrap_or_default();
        reply.say(&GetTopologyReply::Ok { table: Json(&text) });
    }

    /// The caches in it are those that the caller may know of.
    fn table(&self, cluster: &Cluster, view: &View) -> TopologyTable {
        let endpoints = view.endpoints().iter();
        let member = |(node, endpoint): (&NodeId, &String)| TopologyMember {
            member: node.0,
            endpoint: endpoint.clone(),
        };
        let may_know = |shared: &&Arc<Shared>| {
            let object = self.node.catalog.find(Kind::Cache, &shared.name);
            object.is_ok_and(|of| permissions(&self.node, self.login.identity(), &of) != 0)
        };
        let caches = cluster.caches().iter().filter(may_know);
        TopologyTable {
            cluster: handshake::cluster(&self.node).id,
            epoch: view.epoch.to_string(),
            members: endpoints.map(member).collect(),
            caches: caches.map(|shared| cache(shared, view)).collect(),
            ..TopologyTable::default()
        }
    }
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
