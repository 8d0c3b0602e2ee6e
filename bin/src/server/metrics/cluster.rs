//! What a member of a cluster says of it; nothing on a node that belongs to none.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use isogrid_grid::copies::{Copies, CopyStats, FillStats};
use isogrid_grid::metadata::Role;

use super::family::{Number, Sample, by, one};
use super::scrape::Scrape;
use crate::cluster::transport::{Lane, Stats, Traffic};
use crate::cluster::{CacheStatus, InvalidationStats, MemberStatus, Status};

/// A figure of what is known of the cluster.
pub fn told(scrape: &Scrape, read: fn(&Status) -> u64) -> Vec<Sample> {
    scrape.node.cluster.get().map_or_else(Vec::new, |cluster| one(read(&cluster.told())))
}

/// Whether this member may serve.
pub fn has_lease(scrape: &Scrape) -> Vec<Sample> {
    let cluster = scrape.node.cluster.get();
    cluster.map_or_else(Vec::new, |cluster| one(u64::from(cluster.may_serve())))
}

/// Requests that this member executed for its own clients, by cache.
pub fn executed_here(scrape: &Scrape) -> Vec<Sample> {
    let counted = || by(scrape.counted(|counts| counts.cluster_here));
    scrape.node.cluster.get().map_or_else(Vec::new, |_| counted())
}

/// A figure of invalidated caches.
pub fn invalidation(scrape: &Scrape, read: fn(&InvalidationStats) -> u64) -> Vec<Sample> {
    let cluster = scrape.node.cluster.get();
    let stats = cluster.and_then(|cluster| cluster.invalidation_stats());
    stats.map_or_else(Vec::new, |stats| one(read(&stats)))
}

/// Requests passed on.
pub fn passed_on(scrape: &Scrape) -> Vec<Sample> {
    scrape.node.cluster.get().map_or_else(Vec::new, |cluster| one(cluster.passed_on()))
}

/// Members by how they are.
pub fn members(scrape: &Scrape) -> Vec<Sample> {
    let Some(cluster) = scrape.node.cluster.get() else { return Vec::new() };
    let (told, states) = (cluster.told(), ["joining", "up", "stopping", "lost", "leaving"]);
    let members = || told.members.iter().map(MemberStatus::state);
    by(states.map(|name| (name, members().filter(|state| *state == name).count() as u64)))
}

/// Members by what they are there for.
pub fn roles(scrape: &Scrape) -> Vec<Sample> {
    let Some(cluster) = scrape.node.cluster.get() else { return Vec::new() };
    let told = cluster.told();
    let count = |role: Role| told.members.iter().filter(|one| one.role == role.name()).count();
    by([Role::Data, Role::Witness].map(|role| (role.name(), count(role) as u64)))
}

/// Segments of each cache by how they are.
pub fn segments(scrape: &Scrape) -> Vec<Sample> {
    caches(scrape, |cache, _| {
        let CacheStatus { segments, served, complete, .. } = *cache;
        let complete = complete.min(served);
        [
            ("complete", complete),
            ("copies_missing", served - complete),
            ("unserved", segments.saturating_sub(served)),
        ]
    })
}

/// What this member has of each cache.
pub fn copies(scrape: &Scrape) -> Vec<Sample> {
    caches(scrape, |cache, us| {
        let map = || cache.map.iter();
        let primaries = map().filter(|segment| segment.primary == Some(us)).count();
        let insync = map().filter(|segment| segment.insync.contains(&us)).count();
        let filling = map().filter(|segment| segment.syncing.contains(&us)).count();
        [("primary", primaries), ("backup", insync.saturating_sub(primaries)), ("filling", filling)]
    })
}

/// A figure of this member's copies of each cache.
pub fn of_copies(scrape: &Scrape, read: fn(&Copies) -> u64) -> Vec<Sample> {
    let Some(cluster) = scrape.node.cluster.get() else { return Vec::new() };
    let copies = cluster.caches().iter().filter_map(|one| Some((&*one.name, one.copies()?)));
    by(copies.map(|(name, copies)| (name, read(copies))))
}

/// What of its copies is not on the disk yet.
pub fn unwritten(scrape: &Scrape) -> Vec<Sample> {
    scrape.node.cluster.get().and_then(|cluster| cluster.unwritten()).map_or_else(Vec::new, one)
}

/// A figure of the copies of others that this member has filled, by cache and kind.
pub fn fills(scrape: &Scrape, read: fn(&FillStats) -> &AtomicU64) -> Vec<Sample> {
    let Some(cluster) = scrape.node.cluster.get() else { return Vec::new() };
    let copies = cluster.caches().iter().filter_map(|one| Some((&one.name, one.copies()?.stats())));
    let of = |(name, stats): (&String, &CopyStats)| {
        [("whole", &stats.whole), ("lacking", &stats.lacking)].map(|(kind, stats)| Sample {
            labels: vec![name.clone(), kind.to_owned()],
            value: Number::Whole(read(stats).load(Relaxed)),
        })
    };
    copies.flat_map(of).collect()
}

fn caches(
    scrape: &Scrape,
    read: fn(&CacheStatus, u64) -> [(&'static str, usize); 3],
) -> Vec<Sample> {
    let Some(cluster) = scrape.node.cluster.get() else { return Vec::new() };
    let told = cluster.told();
    let us = told.member.unwrap_or(0);
    let of = |cache: &CacheStatus| {
        read(cache, us).map(|(name, count)| Sample {
            labels: vec![cache.cache.clone(), name.to_owned()],
            value: Number::Whole(count as u64),
        })
    };
    told.caches.iter().flat_map(of).collect()
}

/// A counter of the transport.
pub fn transport(scrape: &Scrape, read: fn(&Stats) -> &AtomicU64) -> Vec<Sample> {
    let stats = scrape.node.cluster.get().and_then(|cluster| cluster.transport_stats());
    stats.map_or_else(Vec::new, |stats| one(read(stats).load(Relaxed)))
}

/// Announcements by what they were.
pub fn announcements(scrape: &Scrape) -> Vec<Sample> {
    let Some(cluster) = scrape.node.cluster.get() else { return Vec::new() };
    let heard = cluster.heard();
    let kinds = [
        ("taken", &heard.taken),
        ("other_cluster", &heard.others),
        ("malformed", &heard.malformed),
    ];
    by(kinds.map(|(kind, count)| (kind, count.load(Relaxed))))
}

/// Frames by lane and direction.
pub fn frames(scrape: &Scrape) -> Vec<Sample> {
    lanes(scrape, |traffic| (&traffic.frames_received, &traffic.frames_sent))
}

/// Bytes by lane and direction.
pub fn bytes(scrape: &Scrape) -> Vec<Sample> {
    lanes(scrape, |traffic| (&traffic.bytes_received, &traffic.bytes_sent))
}

fn lanes(scrape: &Scrape, read: fn(&Traffic) -> (&AtomicU64, &AtomicU64)) -> Vec<Sample> {
    let stats = scrape.node.cluster.get().and_then(|cluster| cluster.transport_stats());
    let Some(stats) = stats else { return Vec::new() };
    let of = |lane: Lane| {
        let (received, sent) = read(stats.lane(lane));
        [("received", received), ("sent", sent)].map(|(direction, counter)| Sample {
            labels: vec![lane.name().to_owned(), direction.to_owned()],
            value: Number::Whole(counter.load(Relaxed)),
        })
    };
    Lane::ALL.into_iter().flat_map(of).collect()
}
