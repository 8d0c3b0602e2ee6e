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

fn run(seed: u64) {
    let mut state = seed;
    let mut below = move |most: u64| {
        split_mix(&mut state) % most
    };
    let (mut model, mut entry, mut now) = (Model::default(), None, 1_000_000);
    for step in 1..=120u64 {
        now += [1, 900, 5_000, 70_000, 400_000][below(5) as usize];
        let (earliest, latest) = model.end();
        let gone = now < model.gone_until;
        let is_over = model.is_live && now >= latest;
        let may_be_over = model.is_live && now >= earliest && !is_over;
        if is_over {
            model.is_live = false;
        }
        let names: Vec<&str> = NAMES.into_iter().filter(|_| below(2) == 0).collect();
        let text = step.to_string();
        let changes: Vec<_> = names
            .iter()
            .map(|name| FieldChange {
                name,
                op: [FieldOp::Set, FieldOp::Append, FieldOp::SetIfAbsent][below(3) as usize],
                value: Value::Inline(text.as_bytes()),
            })
            .collect();
        let lives = ([0, 5_000, 60_000, 600_000][below(4) as usize], below(2) * 1_500_000);
        let base = below(2) * model.version;
        let mode = [SaveMode::Merge, SaveMode::Strict, SaveMode::Replace][below(3) as usize];
        let removals: Vec<&str> = NAMES.into_iter().filter(|_| below(6) == 0).collect();
        let kind = below(8);
        let op = match kind {
            0 => SessionOp::Create {
                idle: lives.0,
                absolute: lives.1,
                attributes: List::of(&[]),
                index: List::of(&[]),
            },
            1..=3 => SessionOp::Save {
                base,
                mode,
                changes: List::of(&changes),
                removals: List::of(&removals),
            },
            4 => SessionOp::Touch,
            5 if below(8) == 0 => SessionOp::Destroy,
            6 if below(8) == 0 => SessionOp::Retire { to: OLD, version: model.version, grace: 9_000 },
            _ => SessionOp::Load { known: base, touch: below(2) == 0 },
        };
        let used_at = now / 1_000 * 1_000;
        act((now, step), &mut entry, &op, |reply| {
            // Whether the last part of its life is given depends on what was written.
            if may_be_over && matches!(reply, SessionReply::Absent) {
                model.is_live = false;
            }
            match (&op, reply) {
                (SessionOp::Create { .. }, SessionReply::Created) => {
                    assert!(!model.is_live && (!gone || may_be_over), "step {step}");
                    model = Model { created: now, last: now, lives, is_live: true, ..Model::default() };
                    model.version = step;
                }
                (SessionOp::Create { .. }, reply) => {
                    assert_eq!(reply, SessionReply::Exists, "step {step}");
                    assert!(model.is_live || gone, "step {step}");
                }
                (_, SessionReply::Renewed { to, follows }) => {
                    assert!(gone && to == OLD && !model.is_live);
                    assert_eq!(follows, model.renewed.is_some_and(|until| now < until));
                }
                (SessionOp::Save { .. }, SessionReply::Destroyed) => {
                    assert!(gone && model.renewed.is_none(), "step {step}");
                }
                (SessionOp::Retire { .. }, SessionReply::Destroyed) => assert!(gone),
                (SessionOp::Retire { .. }, SessionReply::Done) if !model.is_live => {
                    assert!(gone && model.renewed.is_some(), "asked again it is done");
                }
                (_, SessionReply::Absent) => assert!(!model.is_live, "step {step} {op:?}"),
                (_, reply) => {
                    assert!(model.is_live, "step {step} {op:?} {reply:?}");
                    let conflicts = model.newer(base, &changes, &removals);
                    match (&op, reply) {
                        (SessionOp::Load { touch, .. }, reply) => {
                            let attributes = match reply {
                                SessionReply::Loaded(record) => record.attributes,
                                other => {
                                    assert_eq!(other, SessionReply::Unchanged);
                                    assert_eq!(base, model.version);
                                    return model.last = if *touch { now } else { model.last };
                                }
                            };
                            let have = attributes.0.iter().map(|(name, field)| {
                                (name.to_string(), (field.value.to_vec(), field.version))
                            });
                            assert_eq!(have.collect::<BTreeMap<_, _>>(), model.attributes);
                            model.last = if *touch { now } else { model.last };
                        }
                        (SessionOp::Touch, SessionReply::Touched(left)) => {
                            model.last = now;
                            let most = model.end().0.saturating_sub(now);
                            assert_eq!(left, (model.lives != (0, 0)).then_some(most), "step {step}");
                        }
                        (SessionOp::Save { .. }, SessionReply::Differs { names, .. }) => {
                            assert_eq!((mode, names), (SaveMode::Strict, conflicts));
                        }
                        (SessionOp::Save { .. }, SessionReply::Saved { conflicts: told }) => {
                            match mode {
                                SaveMode::Merge => assert_eq!(told, conflicts, "step {step}"),
                                SaveMode::Strict => assert!(conflicts.is_empty(), "step {step}"),
                                SaveMode::Replace => {
                                    assert!(conflicts.iter().all(|name| told.contains(name)));
                                }
                            }
                            model.save(step, mode, &changes, &removals);
                            model.last = now;
                        }
                        (SessionOp::Destroy, SessionReply::Done) => {
                            (model.is_live, model.renewed) = (false, None);
                            model.gone_until = now + TOMBSTONE;
                        }
                        (SessionOp::Retire { .. }, SessionReply::Done) => {
                            (model.is_live, model.renewed) = (false, Some(now + 9_000));
                            model.gone_until = now + TOMBSTONE;
                        }
                        (op, reply) => panic!("step {step}: {op:?} {reply:?} at {used_at}"),
                    }
                }
            }
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
