//! What is known of the cluster: the table of who serves what, and the epoch that a member spoke of
//! last. When that is another one the table is fetched.

use std::collections::BTreeMap;
use std::time::Duration;

use xxhash_rust::xxh64::xxh64;

use super::call::{By, LinkId, Moment, Request};
use crate::client::handle::UNBOUNDED;
use crate::native::Reader;
use crate::native::topology::{TopologyCache, TopologyTable};

/// The table is fetched at most so often (PROTOCOL 2.14).
pub const FETCH_PAUSE: Duration = Duration::from_millis(100);
/// So long it is not asked for again where there was no answer.
pub const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What is known of the cluster.
#[derive(Debug, Default)]
pub struct Topology {
    /// The epoch that a member spoke of last.
    heard: u32,
    /// Over which connection.
    pub source: LinkId,
    /// The epoch of the table; 0 without one.
    of: u32,
    /// The cluster that it is of.
    cluster: String,
    /// The members that can be reached.
    pub seats: Vec<Seat>,
    caches: BTreeMap<u32, Shape>,
    /// Whether the table is being fetched.
    pub fetching: bool,
    /// When it may be fetched again.
    pub fetch_at: Moment,
    /// Whether the servers have no such thing.
    pub refused: bool,
    /// Whether a member tells of each new table.
    pub watched: bool,
    /// Whether the members that were asked to tell of them do not.
    pub unwatched: bool,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Its number.
    pub member: u64,
    /// Where it is reached.
    pub endpoint: String,
    /// The connection to it that requests may be sent over.
    pub link: Option<LinkId>,
    /// The connection to it that is being made.
    pub making: Option<LinkId>,
    /// When the next one may be.
    pub connect_at: Moment,
    /// Connections to it that failed, one after the other.
    pub attempts: u32,
}

/// How the keys of a cache are spread.
#[derive(Debug)]
struct Shape {
    any_reads: bool,
    /// For each segment the place of its primary among the seats.
    primaries: Vec<Option<usize>>,
}

/// Where a request may be executed without being passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is not about keys of a cache of the cluster.
    Any,
    /// Every member does it.
    Every,
    /// The member of this seat does.
    Seat(usize),
    /// Nobody does now, or nobody who can be reached.
    Nobody,
}

impl Topology {
    /// The epoch of the table that is known, for the header of each frame; 0: there is none.
    pub fn epoch(&self) -> u32 {
        self.of
    }

    /// Takes the epoch of a frame; 0 says nothing.
    pub fn learn(&mut self, epoch: u32, over: LinkId) {
        if epoch != 0 {
            (self.heard, self.source) = (epoch, over);
        }
    }

    /// Whether a member spoke of another table than is known. It may be an older one, of a member
    /// that lags behind or of a cluster that was founded anew at the same addresses.
    pub fn is_behind(&self) -> bool {
        self.heard != self.of && !self.refused
    }

    /// The member that was asked has the table that is known, too.
    pub fn unchanged(&mut self) {
        self.heard = self.of;
    }

    /// Takes a table. Members that were there keep their connections; where one cannot be reached,
    /// it is tried again at once: it may be another process.
    pub fn take(&mut self, table: &TopologyTable) {
        let epoch = short_epoch(&table.epoch);
        self.heard = epoch;
        // The low half of a number that only grows: half its range behind is older.
        let is_older = epoch.wrapping_sub(self.of) > 1 << 31;
        if self.of != 0 && is_older && self.cluster == table.cluster {
            return self.unchanged();
        }
        self.of = epoch;
        self.cluster.clone_from(&table.cluster);
        let before = std::mem::take(&mut self.seats);
        for of in table.members.iter().filter(|of| !of.endpoint.is_empty()) {
            let known = before
                .iter()
                .find(|seat| (seat.member, &seat.endpoint) == (of.member, &of.endpoint));
            let mut seat = Seat {
                member: of.member,
                endpoint: of.endpoint.clone(),
                link: None,
                making: None,
                connect_at: Moment::ZERO,
                attempts: 0,
            };
            if let Some(known) = known {
                (seat.link, seat.making) = (known.link, known.making);
            }
            self.seats.push(seat);
        }
        let shapes =
            table.caches.iter().filter_map(|cache| Some((cache.object, self.shape(cache)?)));
        self.caches = shapes.collect();
    }

    fn shape(&self, cache: &TopologyCache) -> Option<Shape> {
        let seat = |member: u64| self.seats.iter().position(|seat| seat.member == member);
        let all: u64 = cache.primaries.iter().map(|(count, _)| u64::from(*count)).sum();
        if !all.is_power_of_two() || all > SEGMENTS_MAX {
            return None;
        }
        let runs = cache.primaries.iter();
        let runs = runs.flat_map(|(count, member)| (0..*count).map(move |_| seat(*member)));
        Some(Shape { any_reads: cache.reads == TopologyCache::ANY, primaries: runs.collect() })
    }

    /// Where a request may be executed at once.
    pub fn way(&self, request: &Request) -> Way {
        let hash = match request.by {
            _ if self.caches.is_empty() => return Way::Any,
            _ if request.over.is_some() => return Way::Any,
            By::Nothing | By::Shared => return Way::Any,
            By::Hash(hash) => hash,
            By::Key => match Reader::new(&request.body, &UNBOUNDED).bytes() {
                Ok(key) => hash(key),
                Err(_) => return Way::Any,
            },
        };
        let Some(shape) = self.caches.get(&request.object) else { return Way::Any };
        if shape.any_reads && request.reads() {
            return Way::Every;
        }
        let segment = segment(hash, shape.primaries.len());
        let seat = shape.primaries.get(segment).copied().flatten();
        seat.map_or(Way::Nobody, Way::Seat)
    }

    /// For each hash of a key of a cache the seat of its primary: what is of one goes together.
    pub fn places(&self, object: u32, reads: bool, hashes: &[u64]) -> Option<Vec<Option<usize>>> {
        let shape = self.caches.get(&object).filter(|shape| !(shape.any_reads && reads))?;
        let place = |hash: &u64| {
            shape.primaries.get(segment(*hash, shape.primaries.len())).copied().flatten()
        };
        Some(hashes.iter().map(place).collect())
    }
}

/// Most segments that a cache may have.
const SEGMENTS_MAX: u64 = 1 << 16;

/// What assigns keys to segments.
pub fn hash(key: &[u8]) -> u64 {
    xxh64(key, 0)
}

fn segment(hash: u64, segments: usize) -> usize {
    let mask = u64::try_from(segments).unwrap_or(1).max(1) - 1;
    usize::try_from(hash & mask).unwrap_or(0)
}

/// The half of an epoch in a document that frames carry; 0 of what is none.
pub fn short_epoch(text: &str) -> u32 {
    let epoch = text.parse::<u64>().unwrap_or(0);
    u32::try_from(epoch & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::schema::Repeat;
    use crate::native::topology::TopologyMember;

    #[test]
    fn the_newest_table_stays_and_wraps() {
        let mut topology = Topology::default();
        let max = u64::from(u32::MAX);
        let came = [7, 3, 9, 8, max, 0x8000_0000, max, 1 << 32 | 2, max];
        let known: Vec<u32> = came
            .iter()
            .map(|epoch: &u64| {
                topology.take(&table(&epoch.to_string(), TopologyCache::ANY, &[]));
                assert!(!topology.is_behind());
                topology.epoch()
            })
            .collect();
        let newest = [7, 7, 9, 9, 9, 0x8000_0000, u32::MAX, 2, 2];
        assert_eq!(known, newest);
    }

    /// A table of one cache, number 5, of four segments.
    pub fn table(epoch: &str, reads: &str, primaries: &[(u32, u64)]) -> TopologyTable {
        let member = |member| TopologyMember { member, endpoint: format!("m{member}:1") };
        let cache = TopologyCache {
            name: "c".to_owned(),
            object: 5,
            reads: reads.to_owned(),
            primaries: primaries.to_vec(),
        };
        TopologyTable {
            cluster: "one".to_owned(),
            epoch: epoch.to_owned(),
            hash: "xxh64".to_owned(),
            members: [1, 2, 3].map(member).into(),
            caches: vec![cache],
        }
    }

    fn way(topology: &Topology, object: u32, by: By, repeat: Repeat) -> Way {
        let request = Request { object, by, repeat, ..Request::nothing() };
        topology.way(&request)
    }

    #[test]
    fn keys_go_to_the_primary_of_their_segment() {
        let mut topology = Topology::default();
        let (read, write) = (Repeat::Read, Repeat::Idempotent);
        assert_eq!(way(&topology, 5, By::Hash(0), read), Way::Any, "there is no table");
        topology.take(&table("7", TopologyCache::PRIMARY, &[(2, 3), (1, 0), (1, 9)]));
        let ways = [0, 1, 2, 3, 4].map(|hash| way(&topology, 5, By::Hash(hash), write));
        assert_eq!(ways, [Way::Seat(2), Way::Seat(2), Way::Nobody, Way::Nobody, Way::Seat(2)]);
        assert_eq!(way(&topology, 6, By::Hash(0), write), Way::Any, "another object");
        assert_eq!(way(&topology, 5, By::Nothing, write), Way::Any, "no key");
        topology.take(&table("8", TopologyCache::ANY, &[(4, 1)]));
        assert_eq!(way(&topology, 5, By::Hash(0), read), Way::Every);
        assert_eq!(way(&topology, 5, By::Hash(0), write), Way::Seat(0));
        assert_eq!(topology.places(5, true, &[0, 1]), None, "all of it goes anywhere");
        assert_eq!(topology.places(5, false, &[0, 1]), Some(vec![Some(0), Some(0)]));
        for odd in [&[(3, 1)][..], &[], &[(u32::MAX, 1), (1, 1)]] {
            topology.take(&table("9", TopologyCache::ANY, odd));
            assert_eq!(way(&topology, 5, By::Hash(0), write), Way::Any, "{odd:?}");
        }
    }

    /// What `docs/PROTOCOL.md` and its vectors say.
    #[test]
    fn the_hash_is_that_of_the_protocol() {
        assert_eq!(hash(b"user:1234"), 0xf7bd_6c8b_6899_a9ea);
        assert_eq!(segment(hash(b"user:1234"), 1_024), 490);
    }

    #[test]
    fn connections_outlive_a_table_as_far_as_members_do() {
        let mut topology = Topology::default();
        topology.take(&table("7", TopologyCache::ANY, &[(1, 1)]));
        for (seat, link) in topology.seats.iter_mut().zip(10..) {
            (seat.link, seat.attempts) = (Some(link), 3);
        }
        let mut next = table("8", TopologyCache::ANY, &[(1, 1)]);
        next.members.remove(0);
        next.members[1].endpoint = "elsewhere:1".to_owned();
        topology.take(&next);
        let kept: Vec<_> = topology.seats.iter().map(|s| (s.member, s.link, s.attempts)).collect();
        assert_eq!(kept, [(2, Some(11), 0), (3, None, 0)]);
    }

    #[test]
    fn another_cluster_is_another_table() {
        let mut topology = Topology::default();
        topology.take(&table("900", TopologyCache::ANY, &[(1, 1)]));
        topology.learn(7, 1);
        assert!(topology.is_behind());
        let anew = table("7", TopologyCache::ANY, &[(1, 2)]);
        topology.take(&anew);
        assert_eq!(topology.epoch(), 900, "a member that lags behind");
        topology.take(&TopologyTable { cluster: "two".to_owned(), ..anew });
        assert!(!topology.is_behind() && topology.epoch() == 7);
    }
}
