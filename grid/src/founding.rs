//! How processes that belong to no cluster find or found one: `--bootstrap-expect N` of them found
//! exactly one, however many start at once (FEATURES A).
//!
//! Strangers tell each other of themselves. Once one knows as many as are expected that expect the
//! same, those with the lowest storages are the founders, and the lowest of all proposes. A founder
//! accepts one founding in its life, and says so only when that is on its disk; the cluster begins
//! when *all* founders have accepted. Two foundings would need two disjoint sets of founders, and
//! fewer than twice the founders may be started with that expectation
//! ([`FoundingConfig::founders_max`]), so there is one.
//!
//! A cluster needs somebody who has data: where the lowest are all witnesses, the lowest that is
//! none is a founder in place of the last of them, and witnesses alone found nothing.
//!
//! Of several foundings that are under way the one with the lowest number goes on: the others'
//! proposers withdraw them, on their disks first. Nobody else begins a founding, so it is over
//! then, and who had accepted it is free. A founding whose proposer is away waits for it.

use std::collections::{BTreeMap, BTreeSet};

use crate::bytes::{Input, put_many, put_option, put_u8, whole};
use crate::id::{ClusterId, NodeId, StorageId};
use crate::membership::Monotonic;
use crate::metadata::{Join, Metadata, Role, Settings};
use crate::raft::{Log, Save};

/// How often a stranger tells of itself, ms.
const HELLO_MS: u64 = 500;
/// How long a stranger that has heard a member founds nothing, ms: it is let in instead.
const MEMBER_MS: u64 = 10_000;

/// What a process looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundingConfig {
    /// Who it is.
    pub join: Join,
    /// How many found a cluster; 0: it founds none, and waits to be let in.
    pub expect: u8,
    /// Addresses where others may be, its own left out.
    pub seeds: Vec<String>,
    /// What a cluster that it founds has for life. The number is the one that the cluster gets if
    /// this process proposes it: random.
    pub settings: Settings,
}

impl FoundingConfig {
    /// So many processes, itself included, may be there that expect so many.
    #[must_use]
    pub fn founders_max(expect: u8) -> usize {
        (2 * usize::from(expect)).saturating_sub(1)
    }
}

/// A cluster that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founded {
    /// What it has for life.
    pub settings: Settings,
    /// Who founds it, by their storages.
    pub founders: Vec<Join>,
}

/// A founding that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// Which.
    pub cluster: ClusterId,
    /// Who proposed it.
    pub proposer: StorageId,
}

/// What strangers, and members, say to a stranger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hello {
    /// This is me, so many I expect to found a cluster, and this is the founding that I have
    /// accepted.
    Stranger(Join, u8, Option<Promise>),
    /// Let us found this.
    Found(Founded),
    /// All founders have accepted: it is there.
    Begun(ClusterId),
    /// I proposed that, and it will never begin.
    Withdrawn(ClusterId),
    /// There is a cluster of that name already; somebody will let you in.
    Wait,
    /// You were let in.
    Welcome(NodeId, Settings),
}

/// What a stranger is to do.
#[derive(Debug, Clone)]
pub enum Action {
    /// Send this to an address.
    Send(String, Hello),
    /// Make these bytes durable, in place of those before, and say [`Founding::saved`].
    Save(Vec<u8>),
    /// The process is a member: it begins with this log, and its first record.
    Member(NodeId, Settings, Box<Option<(Log, Save)>>),
}

/// A process that belongs to no cluster.
#[derive(Debug)]
pub struct Founding {
    config: FoundingConfig,
    /// Who is there, and how many it expects.
    known: BTreeMap<StorageId, (Join, u8)>,
    hello_at: Monotonic,
    /// When a member was heard of last.
    member_at: Option<Monotonic>,
    accepted: Option<Accepted>,
    /// What we had proposed is being taken off our disk.
    is_withdrawing: bool,
}

#[derive(Debug)]
struct Accepted {
    founded: Founded,
    is_saved: bool,
    /// Who has accepted as well, as far as we know.
    others: BTreeSet<StorageId>,
}

impl Founding {
    /// A process that has on its disk what [`Action::Save`] has put there, or nothing.
    #[must_use]
    pub fn new(config: FoundingConfig, saved: Option<&[u8]>) -> Self {
        let founded = saved.and_then(Founded::decode);
        let accepted = founded.map(|founded| Accepted::new(founded, true));
        let known = (config.join.clone(), config.expect);
        let known = BTreeMap::from([(config.join.storage, known)]);
        Founding { config, known, hello_at: 0, member_at: None, accepted, is_withdrawing: false }
    }

    /// Others may be here, and nowhere else.
    pub fn look_at(&mut self, seeds: Vec<String>) {
        self.config.seeds = seeds;
    }

    /// Some time has passed.
    pub fn tick(&mut self, now: Monotonic, out: &mut Vec<Action>) {
        if now < self.hello_at {
            return;
        }
        self.hello_at = now + HELLO_MS;
        let FoundingConfig { join, expect, .. } = &self.config;
        let hello = Hello::Stranger(join.clone(), *expect, self.promised());
        let seeds = self.config.seeds.iter().cloned();
        out.extend(seeds.map(|seed| Action::Send(seed, hello.clone())));
        if self.accepted.is_none() {
            self.propose(now, out);
        } else {
            self.press_on(out);
        }
    }

    /// Somebody said something.
    pub fn receive(&mut self, now: Monotonic, hello: Hello, out: &mut Vec<Action>) {
        match hello {
            Hello::Stranger(join, expects, accepted) => {
                self.meet(now, (join, expects), accepted, out);
            }
            Hello::Found(founded) => self.accept(founded, out),
            Hello::Begun(cluster) => {
                if self.promised().is_some_and(|ours| ours.cluster == cluster) {
                    self.begin(out);
                }
            }
            Hello::Withdrawn(cluster) => {
                self.accepted.take_if(|ours| ours.founded.settings.cluster == cluster);
            }
            Hello::Wait => self.member_at = Some(now),
            // Who has promised to found one cluster is no member of another.
            Hello::Welcome(node, settings) if self.accepted.is_none() => {
                out.push(Action::Member(node, settings, Box::new(None)));
            }
            Hello::Welcome(..) => {}
        }
    }

    /// What was to be made durable is so.
    pub fn saved(&mut self, out: &mut Vec<Action>) {
        if std::mem::take(&mut self.is_withdrawing) {
            self.accepted = None;
            // What is proposed next is another founding, with other founders maybe.
            let cluster = &mut self.config.settings.cluster;
            *cluster = ClusterId(cluster.0.wrapping_add(1));
        }
        if let Some(accepted) = &mut self.accepted {
            accepted.is_saved = true;
        }
        self.press_on(out);
    }

    /// The founding that we have accepted, and that our disk has.
    fn promised(&self) -> Option<Promise> {
        let accepted = self.accepted.as_ref().filter(|accepted| accepted.is_saved)?;
        let proposer = accepted.founded.founders.first()?.storage;
        Some(Promise { cluster: accepted.founded.settings.cluster, proposer })
    }

    fn meet(
        &mut self,
        now: Monotonic,
        (join, expects): (Join, u8),
        accepted: Option<Promise>,
        out: &mut Vec<Action>,
    ) {
        if join.cluster != self.config.join.cluster {
            return;
        }
        let (storage, is_ours) = (join.storage, accepted.is_some() && accepted == self.promised());
        if let Some(other) = accepted.filter(|_| !is_ours) {
            self.disagree(other, &join.address, out);
        }
        self.known.insert(storage, (join, expects));
        if let Some(ours) = self.accepted.as_mut().filter(|_| is_ours) {
            ours.others.insert(storage);
            self.press_on(out);
        } else if self.accepted.is_none() {
            self.propose(now, out);
        }
    }

    /// Somebody has accepted another founding than we have.
    fn disagree(&mut self, other: Promise, address: &str, out: &mut Vec<Action>) {
        let us = self.config.join.storage;
        if other.proposer == us && !self.is_withdrawing {
            // We proposed it once, and our disk has it no more.
            out.push(Action::Send(address.to_owned(), Hello::Withdrawn(other.cluster)));
        }
        let ours = self.promised().filter(|ours| ours.proposer == us);
        if ours.is_some_and(|ours| other.cluster < ours.cluster) && !self.is_withdrawing {
            self.is_withdrawing = true;
            out.push(Action::Save(Vec::new()));
        }
    }

    /// Proposes, if there are enough and it is for us to do so.
    fn propose(&mut self, now: Monotonic, out: &mut Vec<Action>) {
        let heard_member = self.member_at.is_some_and(|at| now < at + MEMBER_MS);
        let expect = self.config.expect;
        let founders = self.founders();
        if heard_member || founders.len() < usize::from(expect) || !have_data(&founders) {
            return;
        }
        if founders.first().is_some_and(|first| first.storage == self.config.join.storage) {
            let settings = self.config.settings.clone();
            self.accept(Founded { settings, founders }, out);
        }
    }

    /// Who would found the cluster with us, of those that we know.
    fn founders(&self) -> Vec<Join> {
        let expect = self.config.expect;
        let alike = self.known.values().filter(|(_, expects)| *expects == expect);
        let mut alike = alike.map(|(join, _)| join);
        let mut founders: Vec<Join> = alike.by_ref().take(usize::from(expect)).cloned().collect();
        let with_data = alike.find(|join| join.role == Role::Data);
        if let (false, Some(last), Some(other)) =
            (have_data(&founders), founders.last_mut(), with_data)
        {
            other.clone_into(last);
        }
        founders
    }

    /// Whether as many are there as are expected, and nothing is founded because all of them are
    /// witnesses.
    #[must_use]
    pub fn lacks_data(&self) -> bool {
        let founders = self.founders();
        let expect = usize::from(self.config.expect);
        expect > 0 && founders.len() >= expect && !have_data(&founders)
    }

    /// Accepts what we are part of, if we have accepted nothing else.
    fn accept(&mut self, founded: Founded, out: &mut Vec<Action>) {
        let us = self.config.join.storage;
        let is_ours = founded.settings.name == self.config.join.cluster
            && founded.founders.iter().any(|founder| founder.storage == us);
        if self.accepted.is_none() && is_ours && have_data(&founded.founders) {
            out.push(Action::Save(founded.encode()));
            self.accepted = Some(Accepted::new(founded, false));
        }
    }

    /// The proposer asks those who have not accepted; when all have, it begins, and says so.
    fn press_on(&mut self, out: &mut Vec<Action>) {
        let us = self.config.join.storage;
        let is_firm = |accepted: &&Accepted| accepted.is_saved && !self.is_withdrawing;
        let Some(accepted) = self.accepted.as_ref().filter(is_firm) else { return };
        let founders = &accepted.founded.founders;
        if founders.first().is_none_or(|first| first.storage != us) {
            return;
        }
        let others = founders.iter().filter(|founder| founder.storage != us);
        let silent = others.clone().filter(|other| !accepted.others.contains(&other.storage));
        let before = out.len();
        for other in silent {
            let known = self.known.get(&other.storage).map(|(join, _)| join);
            let address = known.unwrap_or(other).address.clone();
            out.push(Action::Send(address, Hello::Found(accepted.founded.clone())));
        }
        if out.len() == before {
            let begun = Hello::Begun(accepted.founded.settings.cluster);
            for other in others {
                out.push(Action::Send(other.address.clone(), begun.clone()));
            }
            self.begin(out);
        }
    }

    fn begin(&mut self, out: &mut Vec<Action>) {
        let Some(Accepted { founded, .. }) = &self.accepted else { return };
        let metadata = Metadata::found(founded.settings.clone(), founded.founders.clone());
        let voters = metadata.members().keys().copied().collect();
        let node = metadata.member_of(self.config.join.storage).unwrap_or_default();
        let log = Log::found(metadata.encode(), voters);
        out.push(Action::Member(node, founded.settings.clone(), Box::new(Some(log))));
    }
}

fn have_data(founders: &[Join]) -> bool {
    founders.iter().any(|founder| founder.role == Role::Data)
}

impl Accepted {
    fn new(founded: Founded, is_saved: bool) -> Self {
        Accepted { founded, is_saved, others: BTreeSet::new() }
    }
}

impl Promise {
    fn decode(input: &mut Input<'_>) -> Option<Self> {
        let cluster = ClusterId::decode(input)?;
        Some(Promise { cluster, proposer: StorageId::decode(input)? })
    }
}

impl Founded {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out);
        out
    }

    /// The founding of these bytes; `None` when they are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        whole(bytes, Self::take)
    }

    fn put(&self, out: &mut Vec<u8>) {
        self.settings.encode(out);
        put_many(out, self.founders.iter(), |out, founder| founder.encode(out));
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        let settings = Settings::decode(input)?;
        Some(Founded { settings, founders: input.many(Join::decode)? })
    }
}

impl Hello {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Hello::Stranger(join, expects, accepted) => {
                put_u8(&mut out, 1);
                join.encode(&mut out);
                put_u8(&mut out, *expects);
                put_option(&mut out, *accepted, |out, promise| {
                    promise.cluster.encode(out);
                    promise.proposer.encode(out);
                });
            }
            Hello::Found(founded) => {
                put_u8(&mut out, 2);
                founded.put(&mut out);
            }
            Hello::Begun(cluster) => {
                put_u8(&mut out, 3);
                cluster.encode(&mut out);
            }
            Hello::Withdrawn(cluster) => {
                put_u8(&mut out, 6);
                cluster.encode(&mut out);
            }
            Hello::Wait => put_u8(&mut out, 4),
            Hello::Welcome(node, settings) => {
                put_u8(&mut out, 5);
                node.encode(&mut out);
                settings.encode(&mut out);
            }
        }
        out
    }

    /// What these bytes say; `None` when they say nothing.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        whole(bytes, |input| {
            Some(match input.u8()? {
                1 => {
                    let (join, expects) = (Join::decode(input)?, input.u8()?);
                    Hello::Stranger(join, expects, input.option(Promise::decode)?)
                }
                2 => Hello::Found(Founded::take(input)?),
                3 => Hello::Begun(ClusterId::decode(input)?),
                4 => Hello::Wait,
                6 => Hello::Withdrawn(ClusterId::decode(input)?),
                5 => Hello::Welcome(NodeId::decode(input)?, Settings::decode(input)?),
                _ => return None,
            })
        })
    }
}

#[cfg(test)]
mod tests;
