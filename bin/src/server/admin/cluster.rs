//! Methods about the cluster that the node belongs to.

use std::sync::Arc;
use std::time::Duration;

use isogrid_grid::metadata::Role;
use isogrid_wire::native::dynamic::from_hex;
use serde_json::{Value, json};

use super::{Fault, Invocation};
use crate::cluster::{CacheStatus, Cluster, Left, MemberStatus, SegmentStatus, Status};

/// How often a leave looks how far it is.
pub(super) const LOOK: Duration = Duration::from_millis(50);
/// After how many looks it says again that it wants to leave.
pub(super) const LOOKS_TO_SAY_AGAIN: u64 = 20;

/// For how many looks a removal waits: the member's lease has to be over, and a leader to be there.
const REMOVED_WITHIN_LOOKS: u64 = 600;
/// For how many looks an end of the cluster waits for a leader.
const DECIDED_WITHIN_LOOKS: u64 = 100;
/// For how many looks everything is where it should be before that is said to who waits.
const CALM_LOOKS: u64 = 20;
/// How many segments of a cache are named in a sentence.
pub(super) const NAMED_MAX: usize = 8;

/// How the cluster is.
///
/// # Errors
/// When the node belongs to none.
pub async fn status(call: Invocation) -> Result<Value, Fault> {
    let status = now(&*cluster(&call)?).await?;
    let troubles = status.troubles();
    let mut document = document(&status)?;
    if let Some(fields) = document.as_object_mut() {
        fields.insert("troubles".into(), troubles.into());
    }
    let states = status.members.iter().map(MemberStatus::state);
    let members = document.get_mut("members").and_then(Value::as_array_mut);
    for (member, state) in members.into_iter().flatten().zip(states) {
        member.as_object_mut().map(|fields| fields.insert("state".into(), state.into()));
    }
    Ok(document)
}

/// Who has which segment.
///
/// # Errors
/// When the node belongs to no cluster, or that has no such cache.
pub async fn topology(call: Invocation) -> Result<Value, Fault> {
    let cluster = cluster(&call)?;
    let mut status = now(&cluster).await?;
    cluster.ask_how_far(&mut status).await;
    let named = call.text("cache");
    let caches = status.caches.iter().filter(|cache| named.is_none_or(|name| cache.cache == name));
    let segment = |(at, segment): (usize, &SegmentStatus)| {
        let mut document = document(segment)?;
        document.as_object_mut().map(|fields| fields.insert("segment".into(), at.into()));
        Ok(document)
    };
    let cache = |cache: &CacheStatus| {
        let segments = cache.map.iter().enumerate().map(segment);
        let segments: Vec<Value> = segments.collect::<Result<_, Fault>>()?;
        Ok(json!({ "cache": cache.cache, "segments": segments }))
    };
    let caches: Vec<Value> = caches.map(cache).collect::<Result<_, Fault>>()?;
    match named {
        Some(name) if caches.is_empty() => Err(Fault::NoSuchCache(name.to_owned())),
        _ => Ok(json!({ "index": status.index, "caches": caches })),
    }
}

/// Who has the segment of a key.
///
/// # Errors
/// When the node belongs to no cluster, that has no such cache, or the key is not one.
pub async fn locate(call: Invocation) -> Result<Value, Fault> {
    let cluster = cluster(&call)?;
    let name = call.text("cache").unwrap_or_default();
    let no_cache = || Fault::NoSuchCache(name.to_owned());
    let cache = call.node.catalog.cache(name).ok_or_else(no_cache)?;
    let segment = cache.hash(&key(&call)?).segment();
    if cluster.cache(name).is_none() {
        return Err(Fault::Invalid(format!(
            "the cache `{name}` is local: it is on this node alone"
        )));
    }
    let status = now(&cluster).await?;
    let shared = status.caches.iter().find(|shared| shared.cache == name);
    let found = shared.and_then(|shared| shared.map.get(usize::try_from(segment).ok()?));
    let found = found.ok_or_else(|| Fault::Invalid(format!("`{name}` has no owners yet")))?;
    let place = |member: &u64| {
        let known = status.members.iter().find(|known| known.member == *member);
        let state = known.map(MemberStatus::state);
        json!({ "member": member, "address": known.map(|known| &known.address), "state": state })
    };
    let backups = found.insync.iter().filter(|member| Some(**member) != found.primary);
    Ok(json!({
        "cache": name,
        "segment": segment,
        "epoch": found.epoch,
        "primary": found.primary.as_ref().map(place),
        "backups": backups.map(place).collect::<Vec<_>>(),
        "syncing": found.syncing.iter().map(place).collect::<Vec<_>>(),
    }))
}

fn key(call: &Invocation) -> Result<Vec<u8>, Fault> {
    match (call.text("key"), call.text("key_hex")) {
        (Some(key), None) => Ok(key.as_bytes().to_vec()),
        (None, Some(hex)) => from_hex(hex)
            .ok_or_else(|| Fault::Invalid("`key_hex` is not pairs of hexadecimal digits".into())),
        _ => Err(Fault::Invalid("say one of `key` and `key_hex`".into())),
    }
}

/// Leaves the cluster, and answers when nothing is left here. Who stops asking does not stop it.
///
/// # Errors
/// When the node belongs to no cluster or is its last member, or nobody knows how far it came.
pub async fn leave(call: Invocation) -> Result<Value, Fault> {
    let cluster = cluster(&call)?;
    let status = now(&cluster).await?;
    let Some(us) = status.member else {
        return Err(Fault::Invalid("this node is no member of its cluster yet".into()));
    };
    if is_last(&status, us) {
        return Err(Fault::Invalid(LAST.into()));
    }
    tracing::info!(event = "leaving_cluster", member = us, "asked by an operator");
    let mut left = None;
    for look in 0_u64.. {
        let status = cluster.told();
        // Of a member that was removed there is nothing to say any more.
        let Some(ours) = status.members.iter().find(|member| member.member == us) else {
            return Ok(json!({ "member": us, "left": true }));
        };
        if !ours.leaving && is_last(&status, us) {
            return Err(Fault::Invalid(LAST.into()));
        }
        // Said again until it is heard: there may be no leader at a moment.
        if !ours.leaving && look % LOOKS_TO_SAY_AGAIN == 0 {
            cluster.leave();
        }
        let segments = ours.primaries + ours.backups;
        if look % LOOKS_TO_SAY_AGAIN == 0 && left.replace(segments) != Some(segments) {
            call.progress.tell(&json!({ "segments_left": segments }));
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(Fault::Unknown("the node did not leave".into()))
}

/// Ends all processes of the cluster, which keep what is on their disks, and answers when that is
/// decided.
///
/// # Errors
/// When the node is no member of a cluster, or nobody knows whether it was decided.
pub async fn shutdown(call: Invocation) -> Result<Value, Fault> {
    let cluster = cluster(&call)?;
    let status = now(&cluster).await?;
    if status.member.is_none() {
        return Err(Fault::Invalid("this node is no member of its cluster yet".into()));
    }
    tracing::warn!(event = "shutting_down_cluster", cluster = status.cluster, "by an operator");
    for look in 0..DECIDED_WITHIN_LOOKS {
        if cluster.told().shut_down {
            return Ok(json!({ "cluster": status.cluster, "members": status.members.len() }));
        }
        // There may be no leader at a moment.
        if look % LOOKS_TO_SAY_AGAIN == 0 {
            cluster.shut_down();
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(Fault::Unknown(
        "it is not decided yet: there is no majority of the voters; `isogrid cluster members` says who \
         is there"
            .into(),
    ))
}

const LAST: &str = "the last member cannot leave, nor the last that has data: witnesses take nothing over; \
                    stop it instead";

/// Whether nobody stays who could take what this one has.
fn is_last(status: &Status, us: u64) -> bool {
    let takes = |member: &MemberStatus| !member.leaving && member.role == Role::Data.name();
    !status.members.iter().any(|member| member.member != us && takes(member))
}

/// Has the cluster forget a member that does not come back.
///
/// # Errors
/// When the node belongs to no cluster; there is no such member, or it answers; it has the only
/// copies of segments, and that loss is not accepted; or nobody knows whether it was done.
pub async fn remove(call: Invocation) -> Result<Value, Fault> {
    let cluster = cluster(&call)?;
    let accepts_loss = call.flag("accept_data_loss")?;
    let status = now(&cluster).await?;
    let member = removable(&cluster, &status, call.text("member").unwrap_or_default()).await?;
    let lost = status.only_on(member.member);
    if !lost.is_empty() && !accepts_loss {
        return Err(Fault::Invalid(format!(
            "the member {} ({}) has the only copies in sync of {}: they would be empty without it\n  \
             help: start it again, or accept that with --accept-data-loss (accept_data_loss = yes); where \
             stale copies are left `isogrid cluster force-promote` has them serve instead",
            member.member,
            member.address,
            named(&lost)
        )));
    }
    let (number, address) = (member.member, &member.address);
    tracing::warn!(
        event = "removing_member",
        number,
        address,
        lost = named(&lost),
        "by an operator"
    );
    for look in 0..REMOVED_WITHIN_LOOKS {
        if cluster.told().members.iter().all(|member| member.member != number) {
            let lost = lost
                .iter()
                .map(|(cache, segments)| json!({ "cache": cache, "segments": segments }));
            return Ok(
                json!({ "member": number, "removed": true, "lost": lost.collect::<Vec<_>>() }),
            );
        }
        // Its lease may not be over, or there may be no leader at a moment.
        if look % LOOKS_TO_SAY_AGAIN == 0 {
            cluster.remove(number, accepts_loss);
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(Fault::Unknown(format!(
        "the member {number} ({address}) is not removed yet: the leader may still hear it, or there is \
         no majority of the voters; `isogrid cluster members` says who is there"
    )))
}

/// What is left until every copy is where it should be; with `wait` the answer comes when that is
/// nothing. The leader plans and does it unasked.
///
/// # Errors
/// When the node belongs to no cluster.
pub async fn rebalance(call: Invocation) -> Result<Value, Fault> {
    let cluster = cluster(&call)?;
    let waits = call.flag("wait")?;
    let mut calm = 0;
    for look in 0_u64.. {
        let status = if waits { cluster.told().as_ref().clone() } else { now(&cluster).await? };
        let left = Left::of(&status);
        // A member that has just come is in no plan yet.
        calm = if is_balanced(&status, &left) { calm + 1 } else { 0 };
        if !waits || calm > CALM_LOOKS {
            return balance(&status, &left);
        }
        if look % LOOKS_TO_SAY_AGAIN == 0 {
            call.progress.tell(&balance(&status, &left)?);
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(Fault::Unknown("nobody waited".into()))
}

fn is_balanced(status: &Status, left: &Left) -> bool {
    let is_joining = |member: &MemberStatus| !member.registered || member.leaving;
    left.segments_left == 0 && status.member.is_some() && !status.members.iter().any(is_joining)
}

fn balance(status: &Status, left: &Left) -> Result<Value, Fault> {
    let member = |member: &MemberStatus| {
        let targets = || status.caches.iter().flat_map(|cache| &cache.map).map(|one| &one.target);
        let wanted = targets().filter(|target| target.contains(&member.member)).count();
        let serves = targets().filter(|target| target.first() == Some(&member.member)).count();
        json!({
            "member": member.member,
            "address": member.address,
            "state": member.state(),
            "primaries": member.primaries,
            "primaries_wanted": serves,
            "copies": member.primaries + member.backups,
            "copies_wanted": wanted,
            "filling": member.filling,
        })
    };
    let members: Vec<Value> = status.members.iter().map(member).collect();
    let mut all = json!({ "balanced": is_balanced(status, left), "members": members });
    for part in [document(left)?, document(&status.speed)?] {
        if let (Some(all), Value::Object(part)) = (all.as_object_mut(), part) {
            all.extend(part);
        }
    }
    Ok(all)
}

/// The member of this name, if it may be removed.
async fn removable<'s>(
    cluster: &Cluster,
    status: &'s Status,
    text: &str,
) -> Result<&'s MemberStatus, Fault> {
    let known = || status.members.iter().map(|one| one.member.to_string()).collect::<Vec<_>>();
    let member = status.find(text).ok_or_else(|| {
        Fault::Invalid(format!("there is no member `{text}`; there are {}", known().join(", ")))
    })?;
    let (number, address) = (member.member, &member.address);
    if status.member == Some(number) {
        let why = "is the one that you ask\n  help: `isogrid cluster leave` hands over what it has";
        return Err(Fault::Invalid(format!("the member {number} ({address}) {why}")));
    }
    if cluster.answers(member).await {
        return Err(Fault::Invalid(format!(
            "the member {number} ({address}) is alive: it has just answered\n  help: ask it to leave \
             (`isogrid cluster leave`), which loses nothing, or stop it first"
        )));
    }
    Ok(member)
}

/// Segments by cache, for people: the first of them, and how many.
fn named(lost: &[(&str, Vec<usize>)]) -> String {
    let cache = |(cache, segments): &(&str, Vec<usize>)| {
        let first: Vec<String> = segments.iter().take(NAMED_MAX).map(usize::to_string).collect();
        let more = if segments.len() > NAMED_MAX { ", .." } else { "" };
        format!("{} segments of {cache} ({}{more})", segments.len(), first.join(", "))
    };
    lost.iter().map(cache).collect::<Vec<_>>().join(" and ")
}

pub(super) fn cluster(call: &Invocation) -> Result<Arc<Cluster>, Fault> {
    let none = "this node belongs to no cluster\n  help: start it with --join, \
                --discover multicast or --bootstrap-expect, or try `isogrid dev`";
    call.node.cluster.get().cloned().ok_or_else(|| Fault::Invalid(none.to_owned()))
}

pub(super) async fn now(cluster: &Cluster) -> Result<Status, Fault> {
    let gone = || Fault::Unknown("the node is no member of its cluster any more".to_owned());
    cluster.status().await.ok_or_else(gone)
}

fn document(of: &impl serde::Serialize) -> Result<Value, Fault> {
    serde_json::to_value(of).map_err(|error| Fault::Unknown(error.to_string()))
}
