//! Random operations against a session that is a plain map. What is kept goes through its bytes after
//! each of them.
//!
//! `ISOGRID_SEED=7 cargo test -p isogrid-grid session::model` replays a run, `ISOGRID_MODEL_CASES=5000`
//! makes more of them.

use std::collections::BTreeMap;

use isogrid_engine::env::split_mix;
use isogrid_wire::native::Value;
use isogrid_wire::native::cache::FieldOp;

use super::*;

const NAMES: [&str; 3] = ["a", "b", "c"];
const OLD: &[u8] = b"an older id";
const GRACE: u64 = 9_000;

/// The session as a map.
#[derive(Default)]
struct Model {
    attributes: BTreeMap<String, (Vec<u8>, u64)>,
    version: u64,
    created: u64,
    last: u64,
    lives: (u64, u64),
    is_live: bool,
    gone_until: u64,
    renewed: Option<u64>,
}

impl Model {
    /// When it ends at the earliest and at the latest.
    fn end(&self) -> (u64, u64) {
        let (idle, absolute) = self.lives;
        let absolute = if absolute == 0 { u64::MAX } else { self.created + absolute };
        match idle {
            0 => (absolute, absolute),
            _ => {
                let end = self.last + idle;
                (absolute.min(end), absolute.min(end + 1_000.max(idle / 20)))
            }
        }
    }

    fn save(&mut self, version: u64, mode: SaveMode, changes: &[FieldChange<'_>], gone: &[&str]) {
        if mode == SaveMode::Replace {
            let is_named = |name: &String| changes.iter().any(|one| one.name == *name);
            self.attributes.retain(|name, _| is_named(name));
        }
        for change in changes {
            let mut value = change.value.bytes().to_vec();
            match (change.op, self.attributes.get(change.name)) {
                (FieldOp::SetIfAbsent, Some(_)) => continue,
                (FieldOp::Append, Some((there, _))) => value = [&**there, &value].concat(),
                _ => {}
            }
            self.attributes.insert(change.name.to_owned(), (value, version));
        }
        gone.iter().for_each(|name| drop(self.attributes.remove(*name)));
        self.version = version;
    }

    fn newer(&self, base: u64, changes: &[FieldChange<'_>], gone: &[&str]) -> Vec<&str> {
        let wins = |name: &str| {
            changes.iter().any(|one| one.name == name && one.op != FieldOp::SetIfAbsent)
                || gone.contains(&name)
        };
        let all = self.attributes.iter();
        let newer = all.filter(|(name, (_, version))| wins(name) && *version > base);
        newer.map(|(name, _)| &**name).collect()
    }
}

/// What is kept: bytes, version, flags.
type Entry = Option<(Vec<u8>, u64, u32)>;

/// Does an operation to what is kept, as an entry.
fn act<R>(
    (now, version): (u64, u64),
    entry: &mut Entry,
    op: &SessionOp<'_>,
    check: impl FnOnce(SessionReply<'_>) -> R,
) -> R {
    let before = entry.clone();
    let there = before.as_ref().map(|(value, version, flags)| {
        Stored::decode(value, *version, *flags).expect("what was kept can be read")
    });
    let (reply, change) = apply(now, op, there);
    match change {
        Change::Keep => {}
        Change::Touch(record) => {
            let (value, had, _) = before.clone().expect("there is something to touch");
            *entry = Some((value, had, record.flags()));
        }
        Change::Put(stored) => {
            let kept = stored.encode();
            *entry = Some((kept.value, version, kept.flags));
        }
    }
    check(reply)
}

/// What is asked in one step, and with what.
struct Drawn {
    text: String,
    changes: Vec<(&'static str, FieldOp)>,
    removals: Vec<&'static str>,
    lives: (u64, u64),
    base: u64,
    mode: SaveMode,
    touch: bool,
    kind: u64,
}

impl Drawn {
    fn new(step: u64, version: u64, below: &mut impl FnMut(u64) -> u64) -> Drawn {
        const OPS: [FieldOp; 3] = [FieldOp::Set, FieldOp::Append, FieldOp::SetIfAbsent];
        const MODES: [SaveMode; 3] = [SaveMode::Merge, SaveMode::Strict, SaveMode::Replace];
        let named: Vec<_> = NAMES.into_iter().filter(|_| below(2) == 0).collect();
        Drawn {
            text: step.to_string(),
            changes: named.into_iter().map(|name| (name, OPS[below(3) as usize])).collect(),
            removals: NAMES.into_iter().filter(|_| below(6) == 0).collect(),
            lives: ([0, 5_000, 60_000, 600_000][below(4) as usize], below(2) * 1_500_000),
            base: below(2) * version,
            mode: MODES[below(3) as usize],
            touch: below(2) == 0,
            // To end it is rare.
            kind: if below(24) == 0 { 8 + below(2) } else { below(8) },
        }
    }

    fn changes(&self) -> Vec<FieldChange<'_>> {
        let value = || Value::Inline(self.text.as_bytes());
        let one =
            |(name, op): &(&'static str, FieldOp)| FieldChange { name, op: *op, value: value() };
        self.changes.iter().map(one).collect()
    }

    fn op<'a>(&'a self, changes: &'a [FieldChange<'a>], version: u64) -> SessionOp<'a> {
        let (base, mode, (idle, absolute)) = (self.base, self.mode, self.lives);
        let (none, index) = (List::of(&[]), List::of(&[]));
        match self.kind {
            0 => SessionOp::Create { idle, absolute, attributes: none, index },
            1..=3 => {
                let (changes, removals) = (List::of(changes), List::of(&self.removals));
                SessionOp::Save { base, mode, changes, removals }
            }
            4 => SessionOp::Touch,
            8 => SessionOp::Destroy,
            9 => SessionOp::Retire { to: OLD, version, grace: GRACE },
            _ => SessionOp::Load { known: base, touch: self.touch },
        }
    }
}

impl Model {
    /// What may come of an operation to what is not there.
    fn check_gone(&self, now: u64, op: &SessionOp<'_>, reply: &SessionReply<'_>) {
        let is_known = now < self.gone_until;
        match (op, reply) {
            (SessionOp::Create { .. }, SessionReply::Created) => assert!(!is_known),
            (SessionOp::Create { .. }, SessionReply::Exists) => assert!(is_known),
            (_, SessionReply::Renewed { to, follows }) => {
                assert!(is_known && *to == OLD);
                assert_eq!(*follows, self.renewed.is_some_and(|until| now < until));
            }
            (SessionOp::Retire { .. }, SessionReply::Done) => {
                assert!(is_known && self.renewed.is_some(), "asked again it is done");
            }
            (SessionOp::Save { .. } | SessionOp::Retire { .. }, SessionReply::Destroyed) => {
                assert!(is_known && self.renewed.is_none());
            }
            (SessionOp::Save { .. } | SessionOp::Retire { .. }, SessionReply::Absent) => {
                assert!(!is_known, "what was destroyed is known");
            }
            (_, reply) => assert_eq!(*reply, SessionReply::Absent, "{op:?}"),
        }
    }

    /// What may come of it to a session that is there.
    fn check_live(&self, now: u64, drawn: &Drawn, reply: &SessionReply<'_>) {
        let conflicts = self.newer(drawn.base, &drawn.changes(), &drawn.removals);
        match (drawn.kind, reply) {
            (0, reply) => assert_eq!(*reply, SessionReply::Exists),
            (1..=3, SessionReply::Differs { names, .. }) => {
                assert_eq!((drawn.mode, names), (SaveMode::Strict, &conflicts));
                assert!(!conflicts.is_empty());
            }
            (1..=3, SessionReply::Saved { conflicts: told }) => match drawn.mode {
                SaveMode::Merge => assert_eq!(*told, conflicts),
                SaveMode::Strict => assert!(conflicts.is_empty()),
                SaveMode::Replace => assert!(conflicts.iter().all(|name| told.contains(name))),
            },
            (4, SessionReply::Touched(left)) => {
                let used = Model {
                    last: now,
                    lives: self.lives,
                    created: self.created,
                    ..Model::default()
                };
                let least = used.end().0.saturating_sub(now);
                assert_eq!(*left, (self.lives != (0, 0)).then_some(least));
            }
            (8 | 9, SessionReply::Done) => {}
            (_, SessionReply::Unchanged) => assert_eq!(drawn.base, self.version),
            (_, SessionReply::Loaded(record)) => {
                let have =
                    record.attributes.0.iter().map(|(name, field)| {
                        (name.to_string(), (field.value.to_vec(), field.version))
                    });
                assert_eq!(have.collect::<BTreeMap<_, _>>(), self.attributes);
            }
            (kind, reply) => panic!("{kind}: {reply:?}"),
        }
    }

    /// What is there then.
    fn follow(&mut self, (now, step): (u64, u64), drawn: &Drawn, reply: &SessionReply<'_>) {
        match (drawn.kind, reply) {
            (_, SessionReply::Created) => {
                let (lives, version) = (drawn.lives, step);
                *self = Model {
                    created: now,
                    last: now,
                    lives,
                    version,
                    is_live: true,
                    ..Model::default()
                };
            }
            (1..=3, SessionReply::Saved { .. }) => {
                self.save(step, drawn.mode, &drawn.changes(), &drawn.removals);
                self.last = now;
            }
            (8 | 9, SessionReply::Done) if self.is_live => {
                (self.is_live, self.gone_until) = (false, now + TOMBSTONE);
                self.renewed = (drawn.kind == 9).then_some(now + GRACE);
            }
            (4, SessionReply::Touched(_)) => self.last = now,
            (_, SessionReply::Loaded(_) | SessionReply::Unchanged) if drawn.touch => {
                self.last = now
            }
            _ => {}
        }
    }
}

fn run(seed: u64) {
    let mut state = seed;
    let mut below = move |most: u64| split_mix(&mut state) % most;
    let (mut model, mut entry, mut now) = (Model::default(), None, 1_000_000);
    for step in 1..=120u64 {
        now += [1, 900, 5_000, 70_000, 400_000][below(5) as usize];
        let (earliest, latest) = model.end();
        let drawn = Drawn::new(step, model.version, &mut below);
        let changes = drawn.changes();
        let op = drawn.op(&changes, model.version);
        act((now, step), &mut entry, &op, |reply| {
            // Whether it has the last part of its life depends on which uses were written.
            let says_gone = matches!(reply, SessionReply::Absent | SessionReply::Created);
            if model.is_live && (now >= latest || now >= earliest && says_gone) {
                model.is_live = false;
            }
            match model.is_live {
                true => model.check_live(now, &drawn, &reply),
                false => model.check_gone(now, &op, &reply),
            }
            model.follow((now, step), &drawn, &reply);
        });
    }
}

#[test]
fn it_does_what_a_plain_map_does() {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    match number("ISOGRID_SEED") {
        Some(seed) => run(seed),
        None => (0..number("ISOGRID_MODEL_CASES").unwrap_or(300)).for_each(|case| run(case << 20)),
    }
}
