//! Random operations against a queue that is a list, looked through from end to end each time; the
//! member that serves it is lost now and then, and another one makes it anew of what was kept.
//!
//! `ISOGRID_SEED=7 cargo test -p isogrid-grid queue::model` replays a run, `ISOGRID_MODEL_CASES=5000`
//! makes more of them.

use std::collections::BTreeMap;

use isogrid_engine::env::split_mix;

use super::*;

const FIRST: u64 = 100;
const GROUPS: [Option<&[u8]>; 4] = [None, None, Some(b"a"), Some(b"b")];

#[derive(Debug, Clone)]
struct Listed {
    id: u64,
    priority: u8,
    group: Option<Vec<u8>>,
    published: u64,
    expires: u64,
    state: Simple,
    /// What another member finds.
    kept: Simple,
}

#[derive(Debug, Clone, Copy)]
struct Simple {
    place: Place,
    attempts: u32,
    before: u32,
}

/// The queue as a list.
#[derive(Default)]
struct Model {
    options: QueueOptions,
    now: u64,
    next: u64,
    all: Vec<Listed>,
    known: Vec<(Vec<u8>, u64, u64)>,
    waiters: Vec<(u64, Puller, u64)>,
    tickets: u64,
    changed: Vec<u64>,
}

impl Model {
    fn at(&mut self, id: u64) -> Option<&mut Listed> {
        self.all.iter_mut().find(|one| one.id == id)
    }

    /// What became of a message is kept with all else that the operation does.
    fn keep(&mut self, id: u64) {
        self.changed.push(id);
    }

    fn end(&mut self) {
        for id in std::mem::take(&mut self.changed) {
            if let Some(one) = self.at(id) {
                one.kept = one.state;
            }
        }
    }

    fn is_over(&self, one: &Listed) -> bool {
        one.state.before == 0 && one.expires != 0 && one.expires <= self.now
    }

    fn put(&mut self, id: u64, place: Place) {
        if let Some(one) = self.at(id) {
            one.state.place = place;
        }
    }

    /// What comes next: the highest priority, then the lowest id, of those that are first in their
    /// group while none of it is in flight.
    fn first(&self) -> Option<u64> {
        let lives = |one: &&Listed| !matches!(one.state.place, Place::Dead { .. });
        let may = |one: &&Listed| {
            let group: Vec<&Listed> = self
                .all
                .iter()
                .filter(lives)
                .filter(|other| one.group.is_some() && other.group == one.group)
                .collect();
            let has_any = |one: &&Listed| matches!(one.state.place, Place::InFlight { .. });
            let is_first = group.iter().all(|other| other.id >= one.id);
            one.state.place == Place::Ready && is_first && !group.iter().any(has_any)
        };
        let ready = self.all.iter().filter(may);
        ready.min_by_key(|one| (9 - one.priority, one.id)).map(|one| one.id)
    }

    fn deal(&mut self, out: &mut Vec<Wake>) {
        let mut dealt: BTreeMap<u64, Vec<Delivery>> = BTreeMap::new();
        loop {
            let mut any = false;
            for (ticket, puller, _) in self.waiters.clone() {
                let given = dealt.entry(ticket).or_default();
                let Some(id) = self.first().filter(|_| given.len() < puller.most) else { continue };
                given.push(self.hand_out(id, &puller));
                any = true;
            }
            if !any {
                break;
            }
        }
        for (ticket, deliveries) in dealt.into_iter().filter(|(_, all)| !all.is_empty()) {
            self.waiters.retain(|(of, _, _)| *of != ticket);
            out.push(Wake { ticket, deliveries });
        }
    }

    fn hand_out(&mut self, id: u64, puller: &Puller) -> Delivery {
        let until =
            self.now + if puller.visible == 0 { self.options.visible } else { puller.visible };
        let one = self.at(id).unwrap();
        one.state.attempts += 1;
        one.state.place = Place::InFlight { until, consumer: puller.consumer };
        let Simple { attempts, before, .. } = one.state;
        let published = one.published;
        self.keep(id);
        if puller.auto {
            self.all.retain(|one| one.id != id);
        }
        let receipt = Receipt { id, attempt: attempts };
        Delivery { receipt, attempt: attempts - before, published }
    }

    fn failed(&mut self, id: u64, until: u64, at: u64, is_kept: bool) {
        let one = self.at(id).unwrap().clone();
        if one.state.attempts - one.state.before >= self.options.attempts {
            self.put(id, Place::Dead { since: at });
            self.keep(id);
        } else if self.is_over(&one) {
            self.all.retain(|one| one.id != id);
        } else {
            let is_due = until <= self.now;
            self.put(id, if is_due { Place::Ready } else { Place::Delayed { until } });
            if is_kept {
                self.keep(id);
            }
        }
    }

    fn advance(&mut self, now: u64, out: &mut Vec<Wake>) {
        self.now = self.now.max(now);
        let mut due: Vec<(u64, u64, bool)> = Vec::new();
        for one in &self.all {
            match one.state.place {
                Place::Delayed { until } if until <= self.now => due.push((until, one.id, false)),
                Place::InFlight { until, .. } if until <= self.now => {
                    due.push((until, one.id, true))
                }
                _ => {}
            }
        }
        due.sort_unstable();
        for (at, id, was_held) in due {
            match was_held {
                true => self.failed(id, 0, at, false),
                false => self.put(id, Place::Ready),
            }
        }
        let over = |model: &Model, one: &Listed| {
            let waits = matches!(one.state.place, Place::Ready | Place::Delayed { .. });
            waits && model.is_over(one)
        };
        let gone: Vec<u64> = self.all.iter().filter(|one| over(self, one)).map(|o| o.id).collect();
        self.all.retain(|one| !gone.contains(&one.id));
        self.waiters.sort_by_key(|(ticket, _, until)| (*until, *ticket));
        for (ticket, ..) in self.waiters.iter().filter(|(_, _, until)| *until <= now) {
            out.push(Wake { ticket: *ticket, deliveries: Vec::new() });
        }
        self.waiters.retain(|(_, _, until)| *until > now);
        self.waiters.sort_by_key(|(ticket, ..)| *ticket);
        self.known.retain(|(_, _, at)| at + options::DEDUP_MS > now);
    }

    fn publish(&mut self, new: &NewMessage<'_>) -> QueueReply {
        let known = new.dedup.and_then(|name| self.known.iter().find(|known| known.0 == name));
        if let Some((_, id, _)) = known {
            return QueueReply::Duplicate { id: *id };
        }
        if self.all.len() as u64 >= self.options.max_len {
            return QueueReply::Full { what: "messages", limit: self.options.max_len };
        }
        let (id, now) = (self.next, self.now);
        self.next += 1;
        let group = new.group.map(<[u8]>::to_vec);
        self.known.extend(new.dedup.map(|name| (name.to_vec(), id, now)));
        let until = now + new.delay;
        let place = if new.delay == 0 { Place::Ready } else { Place::Delayed { until } };
        let state = Simple { place, attempts: 0, before: 0 };
        let kept = Simple {
            place: Place::Delayed { until: if new.delay == 0 { 0 } else { until } },
            ..state
        };
        let expires = if new.ttl == 0 { 0 } else { now + new.ttl };
        let (priority, published) = (new.priority, now);
        self.all.push(Listed { id, priority, group, published, expires, state, kept });
        QueueReply::Published { id }
    }

    fn check(&mut self, Receipt { id, attempt }: Receipt) -> QueueReply {
        let next = self.next;
        let Some(one) = self.at(id) else {
            return if id < next { QueueReply::Gone } else { QueueReply::Unknown };
        };
        match one.state.attempts {
            attempts if attempt > attempts => QueueReply::Unknown,
            attempts if attempt < attempts => QueueReply::Stale,
            _ if matches!(one.state.place, Place::Dead { .. }) => QueueReply::Stale,
            _ => QueueReply::Done,
        }
    }

    fn settle(&mut self, op: &QueueOp<'_>) -> QueueReply {
        let (QueueOp::Ack(receipt)
        | QueueOp::Nack { receipt, .. }
        | QueueOp::Extend { receipt, .. }) = *op
        else {
            unreachable!()
        };
        let known = self.check(receipt);
        if known != QueueReply::Done {
            return known;
        }
        let (id, now) = (receipt.id, self.now);
        let state = self.at(id).unwrap().state;
        let tries = state.attempts - state.before;
        match (*op, state.place) {
            (QueueOp::Ack(_) | QueueOp::Nack { refusal: Refusal::Drop, .. }, _) => {
                self.all.retain(|one| one.id != id);
            }
            (QueueOp::Nack { refusal: Refusal::Dead, .. }, _) => {
                self.put(id, Place::Dead { since: now });
                self.keep(id);
            }
            (QueueOp::Nack { refusal: Refusal::Requeue(delay), .. }, Place::InFlight { .. }) => {
                let backoff = self.options.backoff << (tries - 1);
                let wait = if delay == 0 { backoff } else { delay };
                self.failed(id, now + wait, now, true);
            }
            (QueueOp::Extend { visible, .. }, Place::InFlight { consumer, .. }) => {
                self.put(id, Place::InFlight { until: now + visible, consumer });
                self.keep(id);
            }
            (QueueOp::Extend { .. }, _) => return QueueReply::Stale,
            _ => {}
        }
        QueueReply::Done
    }

    fn apply(&mut self, now: u64, op: &QueueOp<'_>, out: &mut Vec<Wake>) -> QueueReply {
        self.advance(now, out);
        if let QueueOp::Publish(new) = op {
            return self.publish(new);
        }
        self.deal(out);
        match *op {
            QueueOp::Pull { puller, wait } => {
                self.tickets += 1;
                let ticket = self.tickets;
                self.waiters.push((ticket, puller, now + wait));
                self.deal(out);
                let mine = out.iter().position(|wake| wake.ticket == ticket);
                if let Some(at) = mine {
                    return QueueReply::Deliveries(out.swap_remove(at).deliveries);
                }
                if wait == 0 {
                    self.waiters.retain(|(of, ..)| *of != ticket);
                    return QueueReply::Deliveries(Vec::new());
                }
                QueueReply::Waiting { ticket }
            }
            QueueOp::Leave { consumer } => {
                self.waiters.retain(|(_, puller, _)| puller.consumer != consumer);
                let held = |one: &&Listed| matches!(one.state.place, Place::InFlight { consumer: c, .. } if c == consumer);
                let held: Vec<u64> = self.all.iter().filter(held).map(|one| one.id).collect();
                held.into_iter().for_each(|id| self.failed(id, 0, self.now, false));
                self.deal(out);
                QueueReply::Done
            }
            QueueOp::Purge { .. } => {
                let is_held = |one: &Listed| matches!(one.state.place, Place::InFlight { .. });
                let before = self.all.len();
                self.all.retain(is_held);
                QueueReply::Count(before - self.all.len())
            }
            QueueOp::Redrive { .. } => {
                let is_dead = |one: &&mut Listed| matches!(one.state.place, Place::Dead { .. });
                let mut count = 0;
                for one in self.all.iter_mut().filter(is_dead) {
                    one.state.before = one.state.attempts;
                    one.state.place = Place::Ready;
                    self.changed.push(one.id);
                    count += 1;
                }
                self.deal(out);
                QueueReply::Count(count)
            }
            _ => {
                let reply = self.settle(op);
                self.deal(out);
                reply
            }
        }
    }

    /// Another member serves the queue: it knows what was kept, and nobody waits there.
    fn lose(&mut self) {
        self.waiters.clear();
        self.tickets = 0;
        for one in &mut self.all {
            one.state = one.kept;
            if let Place::InFlight { until, .. } = one.state.place {
                one.state.place = Place::InFlight { until, consumer: 0 };
            }
            if one.state.place == Place::Ready {
                one.state.place = Place::Delayed { until: 0 };
            }
        }
    }
}

/// What was kept, as entries.
#[derive(Default)]
struct Entries(BTreeMap<Vec<u8>, Vec<u8>>);

impl Entries {
    fn keep(&mut self, queue: &mut Queue, reply: &QueueReply) {
        let mut parts = queue.take_changed();
        if let QueueReply::Published { id } = reply {
            parts.insert(Part::Message(*id));
        }
        for part in parts {
            match queue.part(&part) {
                Some(bytes) => drop(self.0.insert(part.name(), bytes)),
                None => drop(self.0.remove(&part.name())),
            }
        }
    }

    fn load(&self, now: u64, next: u64) -> Queue {
        let all = self.0.iter().map(|(name, bytes)| (&**name, &**bytes));
        Queue::of_parts(all, now, next).expect("its options are kept")
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        split_mix(&mut self.0) % end
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        let at = usize::try_from(self.below(all.len() as u64)).unwrap();
        all[at]
    }
}

fn draw<'a>(chance: &mut Chance, told: &[Receipt], names: &'a [Vec<u8>]) -> QueueOp<'a> {
    let odd = Receipt {
        id: FIRST + chance.below(40),
        attempt: 1 + u32::try_from(chance.below(3)).unwrap(),
    };
    let receipt = if told.is_empty() || chance.below(8) == 0 { odd } else { chance.of(told) };
    match chance.below(20) {
        0..7 => QueueOp::Publish(NewMessage {
            dedup: (chance.below(3) == 0)
                .then(|| &*names[usize::try_from(chance.below(9)).unwrap()]),
            group: chance.of(&GROUPS),
            delay: chance.of(&[0, 0, 0, 700]),
            ttl: chance.of(&[0, 0, 0, 3_000]),
            priority: chance.of(&[0, 4, 4, 9]),
            len: 5,
        }),
        7..12 => {
            let (consumer, most) = (chance.of(&[1, 2, 3]), chance.of(&[1, 2, 5]));
            let (visible, auto) = (chance.of(&[0, 900]), chance.below(6) == 0);
            let wait = chance.of(&[0, 400, 2_000]);
            QueueOp::Pull { puller: Puller { consumer, most, visible, auto, place: 0 }, wait }
        }
        12..15 => QueueOp::Ack(receipt),
        15 | 16 => {
            let refusal = chance.of(&[
                Refusal::Requeue(0),
                Refusal::Requeue(300),
                Refusal::Dead,
                Refusal::Drop,
            ]);
            QueueOp::Nack { receipt, refusal, reason: "no" }
        }
        17 => QueueOp::Extend { receipt, visible: 1_500 },
        18 => QueueOp::Leave { consumer: chance.of(&[1, 2, 3]) },
        _ if chance.below(8) == 0 => QueueOp::Purge { which: Which::All, most: usize::MAX },
        _ => QueueOp::Redrive { most: usize::MAX },
    }
}

fn run(seed: u64) {
    let mut chance = Chance(seed);
    let options = QueueOptions {
        visible: 1_000,
        attempts: 3,
        max_len: 30,
        backoff: 50,
        ..QueueOptions::default()
    };
    let names: Vec<Vec<u8>> = (b'a'..=b'i').map(|name| vec![name]).collect();
    let mut queue = Queue::new(options, 0, FIRST);
    let mut model = Model { options, next: FIRST, ..Model::default() };
    let mut entries = Entries::default();
    entries.0.insert(Part::Options.name(), queue.part(&Part::Options).unwrap());
    let (mut now, mut told, mut done) = (0, Vec::new(), std::collections::BTreeSet::new());
    for step in 0..400 {
        let leap = if chance.below(60) == 0 { 300_000 } else { 5 };
        now += chance.of(&[0, 0, 1, 50, 300, leap]);
        if chance.below(25) == 0 {
            queue = entries.load(now, queue.next_id());
            entries.keep(&mut queue, &QueueReply::Done);
            model.lose();
        }
        let op = draw(&mut chance, &told, &names);
        let (mut wakes, mut expected) = (Vec::new(), Vec::new());
        let reply = queue.apply(now, op, &mut wakes);
        entries.keep(&mut queue, &reply);
        let modelled = model.apply(now, &op, &mut expected);
        model.end();
        let replay = format!("step {step}: {op:?}; replay: ISOGRID_SEED={seed}");
        assert_eq!(reply, modelled, "{replay}");
        wakes.sort_by_key(|wake| wake.ticket);
        expected.sort_by_key(|wake| wake.ticket);
        assert_eq!(wakes, expected, "{replay}");
        let stood = |queue: &Queue| {
            queue.shelf.behind(0, Which::All).map(|(id, m)| (id, m.state.place)).collect::<Vec<_>>()
        };
        let listed: Vec<_> = model.all.iter().map(|one| (one.id, one.state.place)).collect();
        assert_eq!(stood(&queue), listed, "{replay}");
        let QueueStats { ready, delayed, in_flight, dead, .. } = queue.stats();
        assert_eq!(ready + delayed + in_flight + dead, listed.len() as u64, "{replay}");
        let handed = if let QueueReply::Deliveries(all) = reply { all } else { Vec::new() };
        for delivery in wakes.into_iter().flat_map(|wake| wake.deliveries).chain(handed) {
            assert!(!done.contains(&delivery.receipt.id), "acknowledged before; {replay}");
            told.push(delivery.receipt);
        }
        if let (QueueOp::Ack(receipt), QueueReply::Done | QueueReply::Gone) = (op, &modelled) {
            done.insert(receipt.id);
        }
        if queue.waiters.len() == 0 {
            let restored = Queue::restore(&queue.snapshot()).expect("its own bytes");
            assert_eq!(restored.snapshot().len(), queue.snapshot().len(), "{replay}");
        }
    }
}

fn cases() -> u64 {
    std::env::var("ISOGRID_MODEL_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40)
}

#[test]
fn a_queue_is_its_list() {
    match std::env::var("ISOGRID_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => run(seed),
        None => (0..cases()).for_each(run),
    }
}
