//! Random operations against a topic that is a list, and groups that are lists of what they have not
//! done; the member that serves it is lost now and then, and another one makes it anew of what was
//! kept.
//!
//! `ISOGRID_SEED=7 cargo test -p isogrid-grid topic::model` replays a run, `ISOGRID_MODEL_CASES=5000`
//! makes more of them.

use isogrid_engine::env::split_mix;

use super::*;
use crate::structure::queue::{Puller, Receipt, Refusal};

const FIRST: u64 = 100;
const KEYS: [Option<&[u8]>; 4] = [None, None, None, Some(b"k")];
const NAMES: [&str; 2] = ["a", "b"];
const OPTIONS: TopicOptions = TopicOptions { max_age: 40_000, max_len: 25, max_bytes: 1 << 20 };

fn of_groups() -> QueueOptions {
    QueueOptions { visible: 1_000, attempts: 3, backoff: 50, ..QueueOptions::default() }
}

#[derive(Debug, Clone)]
struct Listed {
    id: u64,
    key: Option<&'static [u8]>,
    published: u64,
    expires: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stands {
    Ready,
    Later(u64),
    Held(u64),
    Dead,
}

/// A message that a group has not done.
#[derive(Debug, Clone)]
struct Open {
    of: Listed,
    attempts: u32,
    stands: Stands,
}

#[derive(Default)]
struct Model {
    now: u64,
    next: u64,
    log: Vec<Listed>,
    gone: u64,
    groups: BTreeMap<&'static str, Vec<Open>>,
}

impl Model {
    fn advance(&mut self, now: u64) {
        self.now = self.now.max(now);
        while self.log.len() as u64 > OPTIONS.max_len
            || self.log.first().is_some_and(|m| m.published + OPTIONS.max_age <= self.now)
        {
            let taken = self.log.remove(0).id;
            self.gone += 1;
            self.groups.values_mut().for_each(|all| all.retain(|open| open.of.id != taken));
        }
        let now = self.now;
        for open in self.groups.values_mut().flatten() {
            match open.stands {
                Stands::Held(until) if until <= now && open.attempts >= 3 => {
                    open.stands = Stands::Dead;
                }
                Stands::Held(until) | Stands::Later(until) if until <= now => {
                    open.stands = Stands::Ready;
                }
                _ => {}
            }
        }
        let is_over = |open: &Open| {
            let waits = matches!(open.stands, Stands::Ready | Stands::Later(_));
            waits && open.of.expires != 0 && open.of.expires <= now
        };
        self.groups.values_mut().for_each(|all| all.retain(|open| !is_over(open)));
    }

    fn publish(&mut self, key: Option<&'static [u8]>, ttl: u64) -> u64 {
        let (id, published) = (self.next, self.now);
        self.next += 1;
        let of = Listed { id, key, published, expires: if ttl == 0 { 0 } else { published + ttl } };
        self.log.push(of.clone());
        for all in self.groups.values_mut() {
            all.push(Open { of: of.clone(), attempts: 0, stands: Stands::Ready });
        }
        id
    }

    fn join(&mut self, name: &'static str, behind: u64) {
        let open = |of: &Listed| Open { of: of.clone(), attempts: 0, stands: Stands::Ready };
        let all = self.log.iter().filter(|of| of.id > behind).map(open).collect();
        self.groups.insert(name, all);
        self.advance(self.now);
    }

    fn pull(&mut self, name: &str, most: usize) -> Vec<Receipt> {
        let (now, mut got) = (self.now, Vec::new());
        let all = self.groups.get_mut(name).unwrap();
        while got.len() < most {
            let may = |at: &usize| {
                let one: &Open = &all[*at];
                let same = |other: &&Open| {
                    one.of.key.is_some()
                        && other.of.key == one.of.key
                        && other.stands != Stands::Dead
                };
                let mut key = all.iter().filter(same);
                let is_free =
                    key.all(|o| o.of.id >= one.of.id && !matches!(o.stands, Stands::Held(_)));
                one.stands == Stands::Ready && is_free
            };
            let Some(at) = (0..all.len()).find(may) else { break };
            all[at].attempts += 1;
            all[at].stands = Stands::Held(now + 1_000);
            got.push(Receipt { id: all[at].of.id, attempt: all[at].attempts });
        }
        got
    }

    fn settle(&mut self, name: &str, receipt: Receipt, nack: Option<u64>) -> QueueReply {
        let (now, next) = (self.now, self.next);
        let all = self.groups.get_mut(name).unwrap();
        let Some(at) = all.iter().position(|open| open.of.id == receipt.id) else {
            return if receipt.id < next { QueueReply::Gone } else { QueueReply::Unknown };
        };
        let open = &mut all[at];
        if receipt.attempt > open.attempts {
            return QueueReply::Unknown;
        }
        if receipt.attempt < open.attempts || open.stands == Stands::Dead {
            return QueueReply::Stale;
        }
        match (nack, open.stands) {
            (None, _) => drop(all.remove(at)),
            (Some(_), Stands::Held(_)) if open.attempts >= 3 => open.stands = Stands::Dead,
            (Some(_), Stands::Held(_)) if open.of.expires != 0 && open.of.expires <= now => {
                drop(all.remove(at));
            }
            (Some(delay), Stands::Held(_)) => open.stands = Stands::Later(now + delay),
            _ => {}
        }
        QueueReply::Done
    }

    fn read(&self, start: Start, most: usize) -> (u64, Vec<u64>) {
        let oldest = self.log.first().map_or(self.next, |first| first.id);
        let (from, lost) = match start {
            Start::First => (oldest, 0),
            Start::New => (self.next, 0),
            // Ids are without a gap here.
            Start::Position(id) => (id, oldest.saturating_sub(id).min(self.gone)),
            Start::Time(time) => {
                (self.log.iter().find(|m| m.published >= time).map_or(self.next, |m| m.id), 0)
            }
        };
        let lives = |m: &&Listed| m.id >= from && (m.expires == 0 || m.expires > self.now);
        (lost, self.log.iter().filter(lives).take(most).map(|m| m.id).collect())
    }
}

/// What was kept, as entries: the topic's own, and those of each group.
#[derive(Default)]
struct Entries(BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>);

impl Entries {
    fn put(&mut self, of: &str, part: &Part, bytes: Option<Vec<u8>>) {
        let all = self.0.entry(of.to_owned()).or_default();
        match bytes {
            Some(bytes) => drop(all.insert(part.name(), bytes)),
            None => drop(all.remove(&part.name())),
        }
    }

    fn keep(&mut self, topic: &mut Topic, published: Option<u64>) {
        for part in topic.take_changed().into_iter().chain(published.map(Part::Message)) {
            self.put("", &part, topic.part(&part));
        }
        for name in NAMES {
            for part in topic.take_changed_of(name) {
                let bytes = topic.group(name).and_then(|group| group.part(&part));
                self.put(name, &part, bytes);
            }
        }
    }

    fn load(&self, now: u64, next: u64) -> Topic {
        let all = |of: &str| {
            let parts = self.0.get(of).into_iter().flatten();
            parts.map(|(name, bytes)| (name.clone(), bytes.clone())).collect::<Vec<_>>()
        };
        let own = all("");
        let topic = Topic::of_parts(own.iter().map(|(n, b)| (&**n, &**b)), now, next);
        let mut topic = topic.expect("its options are kept");
        for name in NAMES.into_iter().filter(|name| self.0.contains_key(*name)) {
            let parts = all(name);
            assert!(topic.put_back(name, parts.iter().map(|(n, b)| (&**n, &**b)), now));
        }
        topic
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        split_mix(&mut self.0) % end
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}

/// A topic, what it should be, and what was kept of it.
struct Both {
    topic: Topic,
    model: Model,
    entries: Entries,
    now: u64,
    told: Vec<(&'static str, Receipt)>,
    replay: String,
}

impl Both {
    fn begin() -> Self {
        let topic = Topic::new(OPTIONS, 0, FIRST);
        let model = Model { next: FIRST, ..Model::default() };
        let mut entries = Entries::default();
        entries.put("", &Part::Options, topic.part(&Part::Options));
        Both { topic, model, entries, now: 0, told: Vec::new(), replay: String::new() }
    }

    fn step(&mut self, chance: &mut Chance) {
        self.now += chance.of(&[0, 0, 1, 50, 300, 1_200]);
        if chance.below(25) == 0 {
            self.topic = self.entries.load(self.now, self.topic.next_id());
        }
        self.model.advance(self.now);
        let mut wakes = Vec::new();
        self.topic.advance(self.now, &mut wakes);
        assert!(wakes.is_empty(), "nobody waits; {}", self.replay);
        let (name, mut published) = (chance.of(&NAMES), None);
        let is_there = self.model.groups.contains_key(name);
        match chance.below(20) {
            0..8 => published = Some(self.publish(chance)),
            _ if !is_there => self.join(chance, name),
            8..13 => self.pull(chance, name),
            13..18 if !self.told.is_empty() => self.settle(chance),
            _ => self.read(chance),
        }
        self.entries.keep(&mut self.topic, published);
        let has: Vec<u64> = self.topic.log.behind(0).map(|(id, _)| id).collect();
        assert!(has.iter().eq(self.model.log.iter().map(|m| &m.id)), "{has:?}, {}", self.replay);
    }

    fn publish(&mut self, chance: &mut Chance) -> u64 {
        let (group, ttl) = (chance.of(&KEYS), chance.of(&[0, 0, 2_500]));
        let new = NewMessage { group, ttl, len: 5, ..NewMessage::default() };
        let reply = self.topic.apply(self.now, QueueOp::Publish(new), &mut Vec::new());
        let id = self.model.publish(group, ttl);
        assert_eq!(reply, QueueReply::Published { id }, "{}", self.replay);
        id
    }

    fn join(&mut self, chance: &mut Chance, name: &'static str) {
        let start = chance.of(&[Start::First, Start::New, Start::Position(FIRST + 3)]);
        let Ok((behind, _)) = self.topic.begin(start) else { return };
        assert_eq!(self.topic.join(self.now, (name, of_groups()), start), Ok(true));
        self.model.join(name, behind);
        for part in [Part::Options, Part::Cursor] {
            let bytes = self.topic.group(name).and_then(|group| group.part(&part));
            self.entries.put(name, &part, bytes);
        }
    }

    fn pull(&mut self, chance: &mut Chance, name: &'static str) {
        let most = chance.of(&[1, 2, 5]);
        let puller = Puller { consumer: 1, most, visible: 0, auto: false, place: 0 };
        let pull = QueueOp::Pull { puller, wait: 0 };
        let reply = self.topic.apply_to(self.now, (name, pull), &mut Vec::new());
        let Some(QueueReply::Deliveries(all)) = reply else { panic!("{reply:?}, {}", self.replay) };
        let got: Vec<Receipt> = all.iter().map(|one| one.receipt).collect();
        assert_eq!(got, self.model.pull(name, most), "{}", self.replay);
        self.told.extend(got.into_iter().map(|receipt| (name, receipt)));
    }

    fn settle(&mut self, chance: &mut Chance) {
        let (name, receipt) = chance.of(&self.told);
        let delay = chance.of(&[None, None, Some(300)]);
        let op = match delay {
            None => QueueOp::Ack(receipt),
            Some(delay) => {
                let refusal = Refusal::Requeue(delay);
                QueueOp::Nack { receipt, refusal, reason: "no" }
            }
        };
        let reply = self.topic.apply_to(self.now, (name, op), &mut Vec::new());
        assert_eq!(reply, Some(self.model.settle(name, receipt, delay)), "{}", self.replay);
    }

    fn read(&mut self, chance: &mut Chance) {
        let next = self.model.next;
        let ways = [
            Start::First,
            Start::New,
            Start::Position(FIRST + chance.below(next + 1 - FIRST)),
            Start::Time(self.now.saturating_sub(chance.below(50_000))),
        ];
        let (start, most) = (chance.of(&ways), chance.of(&[1, 7, 64]));
        let page = self.topic.read(self.now, start, most).unwrap();
        let got = page.messages.iter().map(|one| one.receipt.id).collect();
        assert_eq!((page.lost, got), self.model.read(start, most), "{start:?}, {}", self.replay);
    }
}

fn run(seed: u64) {
    let (mut chance, mut both) = (Chance(seed), Both::begin());
    for step in 0..500 {
        both.replay = format!("step {step}; replay: ISOGRID_SEED={seed}");
        both.step(&mut chance);
    }
}

fn cases() -> u64 {
    std::env::var("ISOGRID_MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(60)
}

#[test]
fn a_topic_is_its_lists() {
    match std::env::var("ISOGRID_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => run(seed),
        None => (0..cases()).for_each(run),
    }
}
