//! The grid's cache against a naive one: conditions, leases, counters, lifespans.

use isogrid_engine::{Marks, PolicyKind, TableConfig, Timestamp};
use isogrid_grid::structure::cache::{
    Counted, Hit, Lifespan, Mode, Put, Read, Removal, Step, Written,
};
use isogrid_grid::{Batch, Cache, CacheConfig};
use isogrid_tests::model::cache::{self as model, Item};
use isogrid_tests::seeds;
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

const START: Timestamp = 1_000_000;
const DEFAULT_TTL: u64 = 5_000;

/// A version that a client expects, by what is there.
#[derive(Debug, Clone, Copy)]
enum Expect {
    Any,
    Current,
    Older,
    Newer,
}

#[derive(Debug, Clone)]
enum Op {
    Put {
        key: u8,
        mode: Mode,
        value: &'static str,
        expect: Expect,
        stale: bool,
        ttl: Ttl,
        chosen: Option<u64>,
        create: bool,
    },
    Read {
        key: u8,
        touch: Option<Ttl>,
        create: Option<Ttl>,
        win_below: Option<u64>,
        after: bool,
        quiet: bool,
    },
    Remove {
        key: u8,
        expect: Expect,
        stale: bool,
        drop: bool,
        ttl: Option<Ttl>,
    },
    Count {
        key: u8,
        up: bool,
        delta: u64,
        create: Option<u64>,
        expect: Expect,
        touch: Option<Ttl>,
    },
    Touch {
        key: u8,
        ttl: Ttl,
    },
    Clear(u64),
    Advance(u64),
}

/// A lifespan from now on; `None` is the cache's default.
type Ttl = Option<u64>;

const MODES: [Mode; 5] = [Mode::Set, Mode::Add, Mode::Replace, Mode::Append, Mode::Prepend];
const VALUES: [&str; 7] = ["", "0", "9", "10 ", "abc", "18446744073709551615", "99999    "];
const EXPECTS: [Expect; 4] = [Expect::Any, Expect::Current, Expect::Older, Expect::Newer];

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..4u8;
    let ttl = || prop_oneof![Just(None), (0..4_000u64).prop_map(Some)];
    let expect =
        || prop_oneof![3 => Just(Expect::Any), 4 => proptest::sample::select(&EXPECTS[..])];
    let chosen = weighted(0.2, 1..1u64 << 50);
    let mode = proptest::sample::select(&MODES[..]);
    let value = proptest::sample::select(&VALUES[..]);
    let delta = prop_oneof![0..20u64, Just(u64::MAX), any::<u64>()];
    let flag = any::<bool>;
    prop_oneof![
        8 => (key(), mode, value, expect(), flag(), ttl(), chosen, flag()).prop_map(
            |(key, mode, value, expect, stale, ttl, chosen, create)| {
                let stale = stale && !matches!(mode, Mode::Append | Mode::Prepend);
                Op::Put { key, mode, value, expect, stale, ttl, chosen, create }
            }
        ),
        8 => (
            key(),
            weighted(0.3, ttl()),
            weighted(0.3, ttl()),
            weighted(0.4, 0..5_000u64),
            flag(),
            flag(),
        )
            .prop_map(|(key, touch, create, win_below, after, quiet)| {
                Op::Read { key, touch, create, win_below, after, quiet }
            }),
        3 => (key(), expect(), flag(), flag(), weighted(0.5, ttl())).prop_map(
            |(key, expect, stale, drop, ttl)| Op::Remove { key, expect, stale, drop, ttl }
        ),
        6 => (key(), flag(), delta, weighted(0.4, 0..200u64), expect(), weighted(0.3, ttl()))
            .prop_map(|(key, up, delta, create, expect, touch)| {
                Op::Count { key, up, delta, create, expect, touch }
            }),
        2 => (key(), ttl()).prop_map(|(key, ttl)| Op::Touch { key, ttl }),
        1 => prop_oneof![Just(0), 1..500u64].prop_map(Op::Clear),
        4 => (1..2_000u64).prop_map(Op::Advance),
    ]
}

type Checked = Result<(), TestCaseError>;

struct Run {
    cache: Cache,
    model: model::Cache,
    now: Timestamp,
    clear_at: Option<Timestamp>,
    last: u64,
}

fn name(key: u8) -> Vec<u8> {
    format!("key-{key}").into_bytes()
}

fn lifespan(ttl: Ttl, now: Timestamp) -> Lifespan {
    ttl.map_or(Lifespan::Default, |ttl| Lifespan::Until(now + ttl))
}

impl Run {
    fn new() -> Run {
        let (eviction, segments) = (PolicyKind::None, Some(1));
        let table = TableConfig { eviction, segments, seed: 1, ..TableConfig::default() };
        let config = CacheConfig { table, default_ttl: Some(DEFAULT_TTL), default_max_idle: None };
        let cache = Cache::new("c", config, START).unwrap();
        Run { cache, model: model::Cache::default(), now: START, clear_at: None, last: 0 }
    }

    fn deadline(&self, ttl: Ttl) -> Option<Timestamp> {
        Some(self.now + ttl.unwrap_or(DEFAULT_TTL))
    }

    fn expected(&self, key: u8, expect: Expect) -> Option<u64> {
        let there = self.model.get(key, self.now).map_or(7, |item| item.version);
        match expect {
            Expect::Any => None,
            Expect::Current => Some(there),
            Expect::Older => Some(there - 1),
            Expect::Newer => Some(there + 1),
        }
    }

    /// Whether a condition on the version fails, and how.
    fn conflict(&self, key: u8, expected: Option<u64>) -> bool {
        let there = self.model.get(key, self.now).map(|item| item.version);
        expected.is_some_and(|expected| there.is_some_and(|there| there != expected))
    }

    /// The table's own versions rise with each write; chosen ones are what was chosen.
    fn note(&mut self, version: u64, chosen: Option<u64>) -> Checked {
        match chosen {
            Some(chosen) => prop_assert_eq!(version, chosen),
            None => {
                prop_assert!(version > self.last, "version {} after {}", version, self.last);
                self.last = version;
            }
        }
        Ok(())
    }

    fn step(&mut self, op: &Op) -> Checked {
        if self.clear_at.is_some_and(|at| at <= self.now) {
            self.clear_at = None;
            self.model.clear();
        }
        match *op {
            Op::Put { .. } => self.put(op)?,
            Op::Read { .. } => self.read(op)?,
            Op::Remove { .. } => self.remove(op)?,
            Op::Count { .. } => self.count(op)?,
            Op::Touch { key, ttl } => self.touch(key, ttl)?,
            Op::Clear(delay) => {
                self.cache.clear(self.now + delay, self.now).unwrap();
                self.clear_at = Some(self.now + delay);
            }
            Op::Advance(ms) => {
                self.now += ms;
                self.cache.maintain(self.now, 100);
            }
        }
        self.compare()
    }

    /// Everything that is there.
    fn compare(&mut self) -> Checked {
        if self.clear_at.is_some_and(|at| at <= self.now) {
            self.clear_at = None;
            self.model.clear();
        }
        let batch = self.cache.batch(self.now);
        for key in 0..4 {
            let real = batch.peek(self.cache.hash(&name(key)), &name(key)).map(|entry| Item {
                value: entry.value().to_vec(),
                flags: entry.flags(),
                deadline: entry.deadline(),
                version: entry.version(),
                chosen: entry.chosen_version().is_some(),
                marks: entry.marks(),
                fetched: entry.was_fetched(),
            });
            prop_assert_eq!(real.as_ref(), self.model.get(key, self.now), "key {}", key);
        }
        Ok(())
    }

    fn with<T>(
        &self,
        key: u8,
        run: impl FnOnce(&Batch<'_>, isogrid_engine::KeyHash, &[u8]) -> T,
    ) -> T {
        let name = name(key);
        run(&self.cache.batch(self.now), self.cache.hash(&name), &name)
    }

    fn put(&mut self, op: &Op) -> Checked {
        let Op::Put { key, mode, value, expect, stale, ttl, chosen, create } = *op else {
            return Ok(());
        };
        let expected = self.expected(key, expect);
        let span = lifespan(ttl, self.now);
        let put = Put {
            mode,
            value: value.as_bytes(),
            flags: 5,
            lifespan: span,
            max_idle: None,
            expected,
            stale_if_older: stale,
            version: chosen,
            or_create: create.then_some(span),
            marks: Marks::default(),
            len_max: usize::MAX,
        };
        let real = self.with(key, |batch, hash, name| batch.put(hash, name, &put)).unwrap();
        let model = self.put_model(key, mode, value, expected, stale, ttl, create);
        let outcome = match &model {
            Ok(item) => {
                let Written::Done { version, len } = real else {
                    prop_assert!(false, "{:?}, but {:?} is stored", real, item);
                    return Ok(());
                };
                prop_assert_eq!(len, item.value.len());
                self.note(version, chosen)?;
                self.model.put(key, Item { version, chosen: chosen.is_some(), ..item.clone() });
                return Ok(());
            }
            Err(why) => *why,
        };
        prop_assert_eq!(real, outcome);
        Ok(())
    }

    /// What is stored, or why nothing is.
    #[expect(clippy::too_many_arguments, reason = "the parts of one operation")]
    fn put_model(
        &self,
        key: u8,
        mode: Mode,
        value: &str,
        expected: Option<u64>,
        stale: bool,
        ttl: Ttl,
        create: bool,
    ) -> Result<Item, Written> {
        let (version, chosen, marks) = (0, false, Marks::default());
        let deadline = self.deadline(ttl);
        let fetched = false;
        let new = Item { value: value.into(), flags: 5, deadline, version, chosen, marks, fetched };
        let grows = matches!(mode, Mode::Append | Mode::Prepend);
        let Some(there) = self.model.get(key, self.now) else {
            let stores = matches!(mode, Mode::Set | Mode::Add) || grows && create;
            let asked = expected.is_some() && matches!(mode, Mode::Set | Mode::Replace);
            return match (asked, stores) {
                (true, _) => Err(Written::Absent),
                (false, true) => Ok(new),
                (false, false) => Err(Written::Refused),
            };
        };
        if mode == Mode::Add {
            return Err(Written::Refused);
        }
        let is_stale = self.conflict(key, expected);
        if is_stale && !(stale && expected < Some(there.version)) {
            return Err(Written::Conflict);
        }
        let joined =
            |value| Item { value, marks: Marks::default(), fetched: false, ..there.clone() };
        Ok(match mode {
            Mode::Append => joined([&there.value, value.as_bytes()].concat()),
            Mode::Prepend => joined([value.as_bytes(), &there.value].concat()),
            _ if is_stale => {
                let leased = there.marks.has(Marks::LEASED);
                let marks = if leased { Marks::STALE.with(Marks::LEASED) } else { Marks::STALE };
                Item { marks, deadline: there.deadline, ..new }
            }
            _ => new,
        })
    }

    fn read(&mut self, op: &Op) -> Checked {
        let Op::Read { key, touch, create, win_below, after, quiet } = *op else { return Ok(()) };
        let span = |ttl| lifespan(ttl, self.now);
        let how = Read {
            touch: touch.map(span),
            or_create: create.map(span),
            win_below,
            win_after_touch: after,
            unaware: false,
            quiet,
            version: None,
        };
        let seen = |hit: Hit<'_>| {
            let facts = (hit.won, hit.leased, hit.stale, hit.created);
            (facts, hit.deadline_before, hit.entry.version(), hit.entry.value().to_vec())
        };
        let real = self.with(key, |b, hash, name| b.read(hash, name, &how).unwrap().map(seen));
        let deadline = touch.map(|ttl| self.deadline(ttl));
        let created = create.map(|ttl| self.deadline(ttl));
        let now = self.now;
        let Some(there) = self.model.get_mut(key, now) else {
            let Some(deadline) = created else {
                prop_assert_eq!(real, None);
                return Ok(());
            };
            let version = real.as_ref().map_or(0, |real| real.2);
            let facts = (true, false, false, true);
            prop_assert_eq!(real, Some((facts, None, version, Vec::new())));
            self.note(version, None)?;
            let (value, marks) = (Vec::new(), Marks::LEASED);
            let (chosen, fetched) = (false, !quiet);
            let item = Item { value, flags: 0, deadline, version, chosen, marks, fetched };
            self.model.put(key, item);
            return Ok(());
        };
        let (leased, stale) = (there.marks.has(Marks::LEASED), there.marks.has(Marks::STALE));
        let at = deadline.filter(|_| after).unwrap_or(there.deadline);
        let left = at.map(|at| at.saturating_sub(now));
        let short = win_below.is_some_and(|below| left.is_some_and(|left| left < below));
        let won = !leased && (stale || short);
        if won {
            there.marks = there.marks.with(Marks::LEASED);
        }
        let before = there.deadline;
        there.deadline = deadline.unwrap_or(there.deadline);
        there.fetched |= !quiet;
        let (version, value) = (there.version, there.value.clone());
        prop_assert_eq!(real, Some(((won, leased, stale, false), before, version, value)));
        Ok(())
    }

    fn remove(&mut self, op: &Op) -> Checked {
        let Op::Remove { key, expect, stale, drop, ttl } = *op else { return Ok(()) };
        let expected = self.expected(key, expect);
        let how = Removal {
            expected,
            mark_stale: stale,
            lifespan: ttl.map(|ttl| lifespan(ttl, self.now)),
            drop_value: drop,
            version: None,
        };
        let real = self.with(key, |b, hash, name| b.remove(hash, name, &how)).unwrap();
        let (conflict, deadline) =
            (self.conflict(key, expected), ttl.map(|ttl| self.deadline(ttl)));
        let Some(there) = self.model.get(key, self.now).cloned() else {
            prop_assert_eq!(real, Written::Absent);
            return Ok(());
        };
        if conflict {
            prop_assert_eq!(real, Written::Conflict);
            return Ok(());
        }
        let Written::Done { version, .. } = real else {
            prop_assert!(false, "{:?}", real);
            return Ok(());
        };
        if !stale && !drop {
            self.model.remove(key);
            return Ok(());
        }
        self.note(version, None)?;
        let mut kept = Item { version, chosen: false, ..there };
        if drop {
            (kept.value, kept.flags, kept.fetched) = (Vec::new(), 0, false);
        }
        if stale {
            kept.marks = kept.marks.with(Marks::STALE).without(Marks::LEASED);
            kept.deadline = deadline.unwrap_or(kept.deadline);
        }
        self.model.put(key, kept);
        Ok(())
    }

    fn count(&mut self, op: &Op) -> Checked {
        let Op::Count { key, up, delta, create, expect, touch } = *op else { return Ok(()) };
        let expected = self.expected(key, expect);
        let step = Step {
            up,
            delta,
            or_create: create.map(|value| (value, Lifespan::Default)),
            touch: touch.map(|ttl| lifespan(ttl, self.now)),
            expected,
            version: None,
        };
        let real = self.with(key, |b, hash, name| b.count(hash, name, &step)).unwrap();
        let version = if let Counted::Value { version, .. } = real { version } else { 0 };
        let deadline = touch.map(|ttl| self.deadline(ttl));
        let before = self.model.get(key, self.now).and_then(|item| item.deadline);
        let (new, created) = match self.model.get(key, self.now) {
            None => {
                let Some(value) = create else {
                    prop_assert_eq!(real, Counted::Absent);
                    return Ok(());
                };
                let (deadline, marks) = (self.deadline(None), Marks::default());
                let text = value.to_string().into_bytes();
                let (value, chosen, fetched) = (text, false, false);
                (Item { value, flags: 0, deadline, version, chosen, marks, fetched }, true)
            }
            Some(there) if !there.value.is_empty() && self.conflict(key, expected) => {
                prop_assert_eq!(real, Counted::Conflict);
                return Ok(());
            }
            Some(there) => {
                let Some((_, value)) = model::counted(&there.value, up, delta) else {
                    prop_assert_eq!(real, Counted::NotANumber);
                    return Ok(());
                };
                let deadline = deadline.unwrap_or(there.deadline);
                let grown = value.len() > there.value.len();
                let marks = if grown { Marks::default() } else { there.marks };
                let (chosen, fetched) = (false, there.fetched && !grown);
                (Item { value, version, deadline, chosen, marks, fetched, ..there.clone() }, false)
            }
        };
        let (value, deadline) = (model::number(&new.value).unwrap(), new.deadline);
        prop_assert_eq!(
            real,
            Counted::Value { value, version, deadline, deadline_before: before, created }
        );
        self.note(version, None)?;
        self.model.put(key, new);
        Ok(())
    }

    fn touch(&mut self, key: u8, ttl: Ttl) -> Checked {
        let span = lifespan(ttl, self.now);
        let real =
            self.with(key, |b, hash, name| b.touch(hash, name, span).unwrap().map(|e| e.version()));
        let (deadline, now) = (self.deadline(ttl), self.now);
        let there = self.model.get_mut(key, now);
        prop_assert_eq!(real, there.as_ref().map(|item| item.version));
        there.into_iter().for_each(|item| (item.deadline, item.fetched) = (deadline, true));
        Ok(())
    }
}

#[test]
fn a_cache_is_its_model() {
    seeds::check("model::a_cache_is_its_model", &vec(op(), 1..50), |ops| {
        let mut run = Run::new();
        ops.iter().try_for_each(|op| run.step(op))
    });
}
