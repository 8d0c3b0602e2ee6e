//! Members that do not come back, and are removed by an operator (R29, R63).

use isogrid_grid::id::NodeId;

use super::driver::Input;
use super::{Cluster, MemberStatus, Status};

impl Cluster {
    /// Whether a process runs for a member, and we reach it.
    pub async fn answers(&self, member: &MemberStatus) -> bool {
        // No cache has no name, so this is a request that nobody executes.
        self.ask_member(member, ("", "")).await.is_some()
    }

    /// Asks the leader to have a member forgotten, also with what only it has if that is accepted.
    /// It does so when the member's lease is over. Whether it was done shows in the status.
    pub fn remove(&self, member: u64, accepts_loss: bool) {
        let _ = self.inputs.send(Input::Remove(NodeId(member), accepts_loss));
    }
}

impl Status {
    /// The segments, by cache, that are lost with a member: nobody else has a copy in sync.
    #[must_use]
    pub fn only_on(&self, member: u64) -> Vec<(&str, Vec<usize>)> {
        let of = |cache: &'_ super::CacheStatus| -> Vec<usize> {
            let segments = cache.map.iter().enumerate();
            segments.filter(|(_, one)| one.insync == [member]).map(|(at, _)| at).collect()
        };
        let caches = self.caches.iter().map(|cache| (cache.cache.as_str(), of(cache)));
        caches.filter(|(_, segments)| !segments.is_empty()).collect()
    }
}
