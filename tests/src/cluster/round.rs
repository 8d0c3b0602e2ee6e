//! One round: clients, what is done to the cluster meanwhile, and whether all that they were told
//! can be true.

use std::collections::BTreeMap;
use std::time::Duration;

use super::client::Client;
use super::load::Load;
use super::network::Link;
use super::nodes::Cluster;
use super::script::{Script, Step, script};
use crate::checker::verdict::{self, Kind, Verdict};
use crate::checker::{Ask, Operation, Told, by_key};

/// Clients of a round.
const CLIENTS: usize = 6;
/// What a member may serve longer than its lease lasts without hearing from the others (DATA_PATH,
/// R10), and what the machine may take to have somebody run, ms.
const REFUSES_LATER_MS: u64 = 100 + 250;
/// By when others serve what a node did that is gone (GOALS: failover).
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(3);
/// What a search may cost, in operations that are tried; those that take more are counted.
const SEARCH_STEPS: usize = 100_000;

/// A node that was cut off from the others, and when, ns.
struct Away {
    node: usize,
    from: u64,
    to: u64,
}

/// Plays the round of a seed.
///
/// # Errors
/// What was wrong.
pub fn round(cluster: &mut Cluster, seed: u64, number: u64) -> Result<Verdict, String> {
    let script = script(seed.wrapping_add(number), cluster.setup());
    play(cluster, &script, seed, number)
}

/// Plays a round of this script. No two rounds of a cluster have the same number.
///
/// # Errors
/// What was wrong. The history is in the cluster's folder then.
pub fn play(
    cluster: &mut Cluster,
    script: &Script,
    seed: u64,
    number: u64,
) -> Result<Verdict, String> {
    script.before.iter().try_for_each(|step| step.run(cluster))?;
    // The round before may have left a node without what it had.
    cluster.settle()?;
    let prefix = format!("{number}-");
    let load = Load::start(cluster.clients(), CLIENTS, &prefix, seed.wrapping_add(number));
    let mut away = Vec::new();
    let played = script.under_load.iter().try_for_each(|step| {
        note(*step, load.now(), cluster.len(), &mut away);
        step.run(cluster)
    });
    let begin = load.begin();
    let mut history = load.stop();
    let checked = played.and_then(|()| {
        cluster.wait_served()?;
        let found = audit(cluster, &mut history, begin)?;
        let refuses_within = Duration::from_millis(cluster.setup().lease_ms + REFUSES_LATER_MS);
        check(&history, &away, &found, refuses_within)
    });
    if checked.is_err() {
        let lines: Vec<String> = history.iter().map(Operation::to_string).collect();
        let _ = std::fs::write(cluster.folder().join("history"), lines.join("\n"));
    }
    checked
}

/// Notes who is cut off from all others, from when until when.
fn note(step: Step, now: u64, nodes: usize, away: &mut Vec<Away>) {
    match step {
        Step::Isolate(node, Link::Stalled | Link::Swallowed | Link::Dropped) if nodes > 2 => {
            away.push(Away { node, from: now, to: u64::MAX });
        }
        Step::Heal => away.iter_mut().for_each(|one| one.to = one.to.min(now)),
        _ => {}
    }
}

/// Reads every key at every node, as a part of the history; what keys hold.
fn audit(
    cluster: &Cluster,
    history: &mut Vec<Operation>,
    begin: std::time::Instant,
) -> Result<BTreeMap<String, Option<u64>>, String> {
    let keys: Vec<String> = by_key(history).keys().map(|key| (*key).to_owned()).collect();
    let mut found = BTreeMap::new();
    for (node, address) in cluster.clients().iter().enumerate() {
        let mut client = Client::new(*address, Duration::from_secs(6));
        for key in &keys {
            // A key that was written once is read at one node: they are many.
            let is_single = key.contains('u');
            if is_single
                && (key.len() + key.as_bytes()[key.len() - 1] as usize) % cluster.len() != node
            {
                continue;
            }
            let called = begin.elapsed().as_nanos() as u64;
            let told = client.perform(key, Ask::Get, false);
            let returned = begin.elapsed().as_nanos() as u64;
            let Told::Read(read) = told else {
                return Err(format!("{key} cannot be read at node {node} at the end: {told:?}"));
            };
            found.insert(key.clone(), read.map(|(value, _)| value));
            let (client, key) = (usize::MAX, key.clone());
            history.push(Operation { client, node, key, ask: Ask::Get, told, called, returned });
        }
    }
    Ok(found)
}

fn check(
    history: &[Operation],
    away: &[Away],
    found: &BTreeMap<String, Option<u64>>,
    refuses_within: Duration,
) -> Result<Verdict, String> {
    let kind_of = |key: &str| match key.split_once('-').and_then(|(_, key)| key.chars().next()) {
        Some('c') => Kind::Counter,
        Some('u') => Kind::Once,
        Some('s') => Kind::Searched,
        _ => Kind::Values,
    };
    let verdict = verdict::check(history, found, kind_of, SEARCH_STEPS)?;
    for away in away {
        minority_refuses(history, away, refuses_within)?;
        majority_goes_on(history, away)?;
    }
    Ok(verdict)
}

/// R28: the others go on without a node that is cut off, once its lease is over.
fn majority_goes_on(history: &[Operation], away: &Away) -> Result<(), String> {
    let from = away.from + TAKEN_OVER_WITHIN.as_nanos() as u64;
    let asked: Vec<_> = history
        .iter()
        .filter(|one| one.ask != Ask::Get && one.node != away.node)
        .filter(|one| one.called > from && one.called < away.to)
        .collect();
    let is_lost = |one: &&&Operation| matches!(one.told, Told::Failed | Told::Unknown);
    let lost: Vec<_> = asked.iter().filter(is_lost).collect();
    match lost.first() {
        Some(first) if lost.len() * 10 > asked.len() => Err(format!(
            "{} of {} writes at other nodes fail {TAKEN_OVER_WITHIN:?} after one was cut off, \
             the first:\n  {first}",
            lost.len(),
            asked.len()
        )),
        _ => Ok(()),
    }
}

/// I10: who is cut off from the others serves nothing once its lease is over.
fn minority_refuses(
    history: &[Operation],
    away: &Away,
    refuses_within: Duration,
) -> Result<(), String> {
    let from = away.from + refuses_within.as_nanos() as u64;
    let served = history.iter().find(|operation| {
        let is_answer = !matches!(operation.told, Told::Failed | Told::Unknown);
        operation.node == away.node
            && is_answer
            && operation.called > from
            && operation.returned < away.to
    });
    match served {
        None => Ok(()),
        Some(operation) => Err(format!(
            "I10: a node that was cut off at {} us serves {refuses_within:?} later:\n  {operation}",
            away.from / 1_000
        )),
    }
}
