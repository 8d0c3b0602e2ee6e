//! Where clients find what: the document of `catalog.TOPOLOGY`.

use serde::{Deserialize, Serialize};

/// Object numbers from here on are of caches of the cluster: the same on every member and in every
/// life of one. All others are a server's own.
pub const CLUSTER_OBJECTS: u32 = 1 << 31;

/// Whether an object number is the same on every member.
#[must_use]
pub fn is_of_cluster(object: u32) -> bool {
    object >= CLUSTER_OBJECTS
}

/// Who serves which keys, as one member knows it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TopologyTable {
    /// The cluster's identity, as `cluster.id` of `WELCOME`: epochs of two clusters are not to be
    /// compared.
    pub cluster: String,
    /// The topology epoch, in decimal. Its low 32 bits are in the headers of frames.
    pub epoch: String,
    /// The hash that assigns keys to segments: `xxh64`, with the seed 0.
    pub hash: String,
    /// The members that clients can reach.
    pub members: Vec<TopologyMember>,
    /// The caches of the cluster.
    pub caches: Vec<TopologyCache>,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TopologyMember {
    /// Its number in the cluster, as `server.member` of its `WELCOME`.
    pub member: u64,
    /// Where clients reach it: `host:port`.
    pub endpoint: String,
}

/// A cache of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TopologyCache {
    /// Its name.
    pub name: String,
    /// Its number.
    pub object: u32,
    /// Who answers reads: `primary`, or `any` member where every one has all entries.
    pub reads: String,
    /// Who serves which segment, segment 0 first: `[n, member]` says that the next `n` are served by
    /// this member; 0 is nobody. The sum of all `n` is the number of segments, a power of two.
    pub primaries: Vec<(u32, u64)>,
}

impl TopologyCache {
    /// [`TopologyCache::reads`] where any member answers.
    pub const ANY: &'static str = "any";
    /// The same where the primary does.
    pub const PRIMARY: &'static str = "primary";

    /// The primaries of the segments, in their order, as runs.
    #[must_use]
    pub fn runs(primaries: impl IntoIterator<Item = u64>) -> Vec<(u32, u64)> {
        let mut runs: Vec<(u32, u64)> = Vec::new();
        for member in primaries {
            match runs.last_mut() {
                Some((count, last)) if *last == member => *count += 1,
                _ => runs.push((1, member)),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_as_long_as_they_can_be() {
        assert_eq!(TopologyCache::runs([]), []);
        assert_eq!(TopologyCache::runs([3, 3, 0, 3, 1, 1, 1]), [(2, 3), (1, 0), (1, 3), (3, 1)]);
    }

    #[test]
    fn keys_of_later_releases_are_passed_over() {
        let text = r#"{"epoch":"7","zones":[],"members":[{"member":1,"endpoint":"a:1","x":0}]}"#;
        let table: TopologyTable = serde_json::from_str(text).unwrap();
        let member = TopologyMember { member: 1, endpoint: "a:1".to_owned() };
        assert_eq!((table.epoch.as_str(), table.members), ("7", vec![member]));
    }
}
