//! `cluster.force_promote`: a stale copy serves because an operator says so (R63).

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::cluster::{LOOK, LOOKS_TO_SAY_AGAIN, NAMED_MAX, cluster, now};
use super::{Fault, Invocation};
use crate::cluster::{CacheStatus, Cluster, MemberStatus, Promoted, StaleStatus, Status};

/// For how many looks it waits: the leader awaits a copy in sync for 10 s after it has heard of its
/// member last.
const PROMOTED_WITHIN_LOOKS: u64 = 400;

/// A copy that is to serve, and how old it is; none where it begins empty.
struct Chosen {
    promoted: Promoted,
    stale: Option<StaleStatus>,
}

/// Has stale copies serve what nobody serves.
///
/// # Errors
/// When the node belongs to no cluster; there is no such cache, segment or member; somebody serves
/// the segment, or may in a moment, with nothing lost; nobody has a copy; the loss is not accepted;
/// or nobody knows whether it was done.
pub async fn force_promote(call: Invocation) -> Result<Value, Fault> {
    let cluster = cluster(&call)?;
    let accepts_loss = call.flag("accept_data_loss")?;
    let name = call.text("cache").unwrap_or_default();
    let mut status = now(&cluster).await?;
    cluster.ask_how_far(&mut status).await;
    let found = status.caches.iter().find(|cache| cache.cache == name);
    let cache = found.ok_or_else(|| Fault::NoSuchCache(name.to_owned()))?;
    let to = call.text("to").map(|text| member(&status, text)).transpose()?;
    let segments = segments(&call, cache)?;
    refuse_awaited(&cluster, &status, (cache, &segments)).await?;
    let chosen = segments.into_iter().map(|at| choose(&status, (cache, at), to));
    let chosen: Vec<Chosen> = chosen.collect::<Result<_, _>>()?;
    if !chosen.is_empty() && !accepts_loss {
        return Err(Fault::Invalid(format!(
            "what was acknowledged after these copies fell behind would be lost: {}\n  help: accept \
             that with --accept-data-loss (accept_data_loss = yes)",
            described(name, &chosen)
        )));
    }
    let copies = described(name, &chosen);
    tracing::warn!(event = "forcing_promotion", cache = name, copies, "by an operator");
    carry_out(&cluster, name, &chosen).await
}

async fn carry_out(cluster: &Cluster, name: &str, chosen: &[Chosen]) -> Result<Value, Fault> {
    let promoted: Vec<Promoted> = chosen.iter().map(|one| one.promoted).collect();
    for look in 0..PROMOTED_WITHIN_LOOKS {
        let told = cluster.told();
        let cache = told.caches.iter().find(|cache| cache.cache == name);
        if let Some(done) = cache.and_then(|cache| done(cache, chosen)) {
            return Ok(json!({ "cache": name, "promoted": done }));
        }
        // There may be no leader at a moment, or a copy in sync may still be awaited.
        if look % LOOKS_TO_SAY_AGAIN == 0 {
            cluster.force_promote(name, &promoted);
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(Fault::Unknown(
        "it is not done yet: the leader may still hear a member that has a copy in sync, or there is no \
         majority of the voters; `isogrid cluster topology` says who serves what"
            .into(),
    ))
}

/// What became of them, once somebody serves each.
fn done(cache: &CacheStatus, chosen: &[Chosen]) -> Option<Vec<Value>> {
    let one = |one: &Chosen| {
        let Promoted { segment, epoch, .. } = one.promoted;
        let now = cache.map.get(segment).filter(|now| now.epoch > epoch)?;
        let of = |read: fn(&StaleStatus) -> u64| one.stale.as_ref().map(read);
        Some(json!({
            "segment": segment,
            "member": now.primary?,
            "epoch": now.epoch,
            "copy_epoch": of(|stale| stale.epoch.into()),
            "copy_seq": one.stale.and_then(|stale| stale.seq),
            "copy_age_ms": of(|stale| stale.age_ms),
        }))
    };
    chosen.iter().map(one).collect()
}

/// The segments that are meant: one, or all that nobody serves.
fn segments(call: &Invocation, cache: &CacheStatus) -> Result<Vec<usize>, Fault> {
    let unserved = cache.map.iter().enumerate().filter(|(_, one)| one.primary.is_none());
    let all: Vec<usize> = unserved.map(|(at, _)| at).collect();
    match (call.text("segment"), call.flag("all_unserved")?) {
        (None, true) => Ok(all),
        (Some(text), false) => {
            let at = text.parse().ok();
            let segment = at.and_then(|at: usize| cache.map.get(at)).ok_or_else(|| {
                let count = cache.map.len();
                Fault::Invalid(format!("`{text}` is none of the {count} segments, from 0 on"))
            })?;
            match segment.primary {
                None => Ok(at.into_iter().collect()),
                Some(member) => Err(Fault::Invalid(format!(
                    "the member {member} serves the segment {text} in epoch {}: nobody has to be promoted",
                    segment.epoch
                ))),
            }
        }
        _ => Err(Fault::Invalid("say one of `segment` and `all_unserved`".into())),
    }
}

fn member<'s>(status: &'s Status, text: &str) -> Result<&'s MemberStatus, Fault> {
    let known: Vec<String> = status.members.iter().map(|one| one.member.to_string()).collect();
    let none = || format!("there is no member `{text}`; there are {}", known.join(", "));
    status.find(text).ok_or_else(|| Fault::Invalid(none()))
}

/// A copy in sync that is there serves by itself, and nothing is lost.
async fn refuse_awaited(
    cluster: &Cluster,
    status: &Status,
    (cache, segments): (&CacheStatus, &[usize]),
) -> Result<(), Fault> {
    let map = segments.iter().filter_map(|at| cache.map.get(*at));
    let awaited: BTreeSet<u64> = map.flat_map(|one| &one.awaited).copied().collect();
    for member in status.members.iter().filter(|one| awaited.contains(&one.member)) {
        let MemberStatus { member: number, address, .. } = member;
        if status.member == Some(*number) || cluster.answers(member).await {
            return Err(Fault::Invalid(format!(
                "the member {number} ({address}) has copies in sync and is there: it serves them in a \
                 moment, and nothing is lost\n  help: wait; `isogrid cluster status` says how far it is"
            )));
        }
    }
    Ok(())
}

/// The stale copy that has the most, or the one of `to`.
fn choose(
    status: &Status,
    (cache, at): (&CacheStatus, usize),
    to: Option<&MemberStatus>,
) -> Result<Chosen, Fault> {
    let none = || Fault::Invalid(format!("`{}` has no segment {at}", cache.cache));
    let segment = cache.map.get(at).ok_or_else(none)?;
    let is_there = |member: u64| {
        let known = status.members.iter().find(|one| one.member == member);
        let is_asked = to.is_none_or(|to| to.member == member);
        is_asked && known.is_some_and(|one| one.registered && !one.lost && one.role == "data")
    };
    let stale = segment.stale.iter().filter(|one| is_there(one.member));
    let stale = stale.max_by_key(|one| (one.epoch, one.seq)).copied();
    // Where no copy of any age is left, in sync or not, there is nothing to lose: an empty one.
    let is_lost = segment.awaited.is_empty() && segment.stale.is_empty();
    let anyone = || status.members.iter().map(|one| one.member).filter(|_| is_lost);
    let empty = || segment.target.iter().copied().chain(anyone()).find(|one| is_there(*one));
    let member = stale.map(|one| one.member).or_else(|| empty().filter(|_| is_lost));
    let epoch = segment.epoch;
    match member {
        Some(member) => Ok(Chosen { promoted: Promoted { segment: at, epoch, member }, stale }),
        None => Err(Fault::Invalid(no_copy(&cache.cache, at, segment, to))),
    }
}

fn no_copy(
    cache: &str,
    at: usize,
    segment: &crate::cluster::SegmentStatus,
    to: Option<&MemberStatus>,
) -> String {
    let list = |all: Vec<u64>| match all.as_slice() {
        [] => "nobody".to_owned(),
        some => some.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
    };
    let whose = to.map_or("no member that is there".to_owned(), |to| {
        format!("the member {} ({})", to.member, to.address)
    });
    let verb = if to.is_some() { "has no" } else { "has a" };
    format!(
        "{whose} {verb} stale copy of the segment {at} of {cache}: stale ones have {}, ones in sync {}\n  \
         help: start those members; or have the cluster forget them: `isogrid cluster remove MEMBER \
         --accept-data-loss`, and the segment begins anew, empty",
        list(segment.stale.iter().map(|one| one.member).collect()),
        list(segment.awaited.clone())
    )
}

/// The copies for people: the first of them, and how many.
fn described(name: &str, chosen: &[Chosen]) -> String {
    let copy = |one: &Chosen| {
        let Promoted { segment, member, .. } = one.promoted;
        match one.stale {
            None => format!("segment {segment} begins anew on member {member}, empty"),
            Some(StaleStatus { epoch, seq, age_ms, .. }) => {
                let seq = seq.map_or("unknown".to_owned(), |seq| seq.to_string());
                let age = Duration::from_millis(age_ms).as_secs();
                format!(
                    "segment {segment} of member {member}, epoch {epoch}, last write {seq}, in sync \
                     {age} s ago"
                )
            }
        }
    };
    let first: Vec<String> = chosen.iter().take(NAMED_MAX).map(copy).collect();
    let more = if chosen.len() > NAMED_MAX { "; .." } else { "" };
    format!("{} segments of {name} ({}{more})", chosen.len(), first.join("; "))
}
