//! Entries that are maps against a naive map of maps: fields and their versions, modes, conflicts,
//! alone and in transactions.

use std::collections::BTreeMap;

use isogrid_engine::{Isolation, Joint, TableConfig};
use isogrid_grid::structure::cache::{Action, Edit, Map, MapEdit, Refusal};
use isogrid_grid::{Cache, CacheConfig};
use isogrid_tests::seeds;
use isogrid_wire::native::cache::{FieldChange, FieldOp, MapMode};
use isogrid_wire::native::{List, Value};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

const NOW: u64 = 1_000_000;
const FIELDS: [&str; 4] = ["", "a", "b", "ü"];
const VALUES: [&[u8]; 4] =
    [b"", b"\0\0\0\0\0\0\0\x05", b"xyz", b"\x7f\xff\xff\xff\xff\xff\xff\xff"];
const OPS: [FieldOp; 4] = [FieldOp::Set, FieldOp::Add, FieldOp::Append, FieldOp::SetIfAbsent];
const MODES: [MapMode; 3] = [MapMode::Merge, MapMode::Strict, MapMode::Replace];

/// The version that a client builds upon: how many versions of the key ago.
type Ago = Option<usize>;

#[derive(Debug, Clone)]
enum Op {
    Update {
        key: u8,
        mode: MapMode,
        changes: Vec<(&'static str, FieldOp, &'static [u8])>,
        removals: Vec<&'static str>,
        ago: Ago,
        joins: bool,
    },
    Plain(u8),
    Remove(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..2u8;
    let field = || proptest::sample::select(&FIELDS[..]);
    let value = proptest::sample::select(&VALUES[..]);
    let change = (field(), proptest::sample::select(&OPS[..]), value);
    let mode = proptest::sample::select(&MODES[..]);
    let update = (key(), mode, vec(change, 0..4), vec(field(), 0..2), weighted(0.6, 0..3usize));
    prop_oneof![
        12 => (update, any::<bool>()).prop_map(|((key, mode, changes, removals, ago), joins)| {
            let ago = if mode == MapMode::Strict { Some(ago.unwrap_or(0)) } else { ago };
            Op::Update { key, mode, changes, removals, ago, joins }
        }),
        1 => key().prop_map(Op::Plain),
        1 => key().prop_map(Op::Remove),
    ]
}

/// What is there: a map with the version of each field, or something else.
type Fields = BTreeMap<String, (Vec<u8>, u64)>;

#[derive(Debug, Clone)]
enum There {
    Map(Fields),
    Plain,
}

/// What the naive map of maps makes of an update.
fn naive(there: Option<&There>, op: &Op) -> Result<Fields, Refusal> {
    let Op::Update { mode, changes, removals, .. } = op else { return Ok(Fields::new()) };
    let mut fields = match there {
        Some(There::Plain) => return Err(Refusal::WrongType),
        Some(There::Map(fields)) => fields.clone(),
        None => Fields::new(),
    };
    for (name, op, value) in changes {
        let before = fields.get(*name).map(|(value, _)| value.clone());
        let number = |bytes: &[u8]| bytes.try_into().map(i64::from_be_bytes);
        let after = match (op, before) {
            (FieldOp::SetIfAbsent, Some(_)) => continue,
            (FieldOp::Append, Some(before)) => [&before, *value].concat(),
            (FieldOp::Add, before) => {
                let delta = number(value).map_err(|_| Refusal::NotANumber)?;
                let before = before.map_or(Ok(0), |before| number(&before));
                let sum = before.map_err(|_| Refusal::NotANumber)?.checked_add(delta);
                sum.ok_or(Refusal::OutOfRange)?.to_be_bytes().to_vec()
            }
            _ => value.to_vec(),
        };
        fields.insert((*name).to_owned(), (after, 0));
    }
    for name in removals {
        fields.remove(*name);
    }
    if *mode == MapMode::Replace {
        fields.retain(|name, _| changes.iter().any(|(changed, ..)| changed == name));
    }
    Ok(fields)
}

struct Run {
    cache: Cache,
    model: BTreeMap<u8, There>,
    /// All versions that each key has had, the newest last.
    versions: BTreeMap<u8, Vec<u64>>,
}

impl Run {
    fn new() -> Run {
        let table = TableConfig { segments: Some(1), seed: 1, ..TableConfig::default() };
        let cache = Cache::new("c", CacheConfig { table, ..CacheConfig::default() }, NOW).unwrap();
        Run { cache, model: BTreeMap::new(), versions: BTreeMap::new() }
    }

    /// The version that the entry has; 0 if there is none.
    fn version(&self, key: u8) -> u64 {
        let there = self.model.contains_key(&key);
        self.versions.get(&key).and_then(|all| all.last()).filter(|_| there).copied().unwrap_or(0)
    }

    fn step(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let (key, action, expect, joins) = match op {
            Op::Plain(key) => (*key, Action::Put(b"plain"), None, false),
            Op::Remove(key) => (*key, Action::Remove, None, false),
            Op::Update { key, .. } => return self.update(*key, op),
        };
        let version = self.write(key, action, expect, joins)?;
        match op {
            Op::Plain(_) => drop(self.model.insert(key, There::Plain)),
            _ => drop(self.model.remove(&key)),
        }
        self.versions.entry(key).or_default().extend(version.ok().filter(|v| *v > 0));
        Ok(())
    }

    fn update(&mut self, key: u8, op: &Op) -> Result<(), TestCaseError> {
        let Op::Update { mode, changes, removals, ago, joins, .. } = op else { return Ok(()) };
        let known = self.versions.get(&key).cloned().unwrap_or_default();
        let expect = ago.map(|ago| known.iter().rev().nth(ago).copied().unwrap_or(0));
        let list: Vec<_> = changes
            .iter()
            .map(|(name, op, value)| FieldChange { name, op: *op, value: Value::Inline(value) })
            .collect();
        let (changes, removals) = (List::of(&list), List::of(removals));
        let edit = MapEdit { mode: *mode, changes, removals };
        let late = expect.filter(|expect| *expect != self.version(key));
        let expected = match late {
            Some(_) if *mode == MapMode::Strict => Err(Refusal::Version),
            _ => naive(self.model.get(&key), op),
        };
        if let (Some(There::Map(there)), Some(base)) = (self.model.get(&key), expect) {
            self.conflicts(key, &edit, there, base)?;
        }
        let written = self.write(key, Action::Map(edit), expect, *joins)?;
        prop_assert_eq!(written.map(|_| ()), expected.as_ref().map(|_| ()).map_err(|why| *why));
        if let (Ok(version), Ok(mut fields)) = (written, expected) {
            fields.values_mut().filter(|(_, of)| *of == 0).for_each(|(_, of)| *of = version);
            self.model.insert(key, There::Map(fields));
            self.versions.entry(key).or_default().push(version);
        }
        Ok(())
    }

    /// What is said of changes by others is what the model knows of them.
    fn conflicts(
        &self,
        key: u8,
        edit: &MapEdit<'_>,
        there: &Fields,
        base: u64,
    ) -> Result<(), TestCaseError> {
        let batch = self.cache.batch(NOW);
        let entry = batch.peek(self.cache.hash(&[key]), &[key]).unwrap();
        let map = Map::parse(entry.value(), entry.version()).unwrap();
        let named = |name: &str| {
            let wins = |c: &FieldChange<'_>| c.op != FieldOp::SetIfAbsent && c.name == name;
            edit.changes.iter().any(|c| wins(&c)) || edit.removals.iter().any(|r| r == name)
        };
        let told = |name: &str| edit.mode != MapMode::Merge || named(name);
        let newer = there.iter().filter(|(name, (_, of))| *of > base && told(name));
        let newer: Vec<&str> = newer.map(|(name, _)| &**name).collect();
        prop_assert_eq!(edit.conflicts(&map, base), newer);
        Ok(())
    }

    /// Writes alone or in a transaction of its own: the version, or the refusal.
    fn write(
        &self,
        key: u8,
        action: Action<'_>,
        expect: Option<u64>,
        joins: bool,
    ) -> Result<Result<u64, Refusal>, TestCaseError> {
        let edit = Edit {
            action,
            expect,
            if_absent: false,
            if_present: false,
            ttl: None,
            idle: None,
            keep_ttl: false,
            flags: None,
            returns: true,
            len_max: 1 << 20,
        };
        if !joins {
            let batch = self.cache.batch(NOW);
            return Ok(batch.edit(self.cache.hash(&[key]), &[key], &edit).unwrap().version);
        }
        let mut joint = Joint::new(Isolation::Snapshot, 0);
        let tx = self.cache.join(&mut joint, NOW).unwrap();
        let pending = self.cache.edit_in(tx, &[key], &edit, NOW).unwrap();
        if let Some(refusal) = pending.refused {
            return Ok(Err(refusal));
        }
        // Once more nothing: what the transaction wrote itself is a map like others.
        let (changes, removals) = (List::of(&[]), List::of(&[]));
        let nothing = Action::Map(MapEdit { mode: MapMode::Merge, changes, removals });
        let again = Edit { action: nothing, expect: None, ..edit };
        let again = self.cache.edit_in(tx, &[key], &again, NOW).unwrap();
        prop_assert_eq!(again.refused, None);
        let done = joint.commit(NOW).unwrap();
        Ok(Ok(done
            .iter()
            .flat_map(|part| &part.versions)
            .next()
            .map_or(0, |(_, version)| *version)))
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let batch = self.cache.batch(NOW);
        for key in 0..2u8 {
            let entry = batch.peek(self.cache.hash(&[key]), &[key]);
            let map = entry.as_ref().map(|entry| Map::parse(entry.value(), entry.version()));
            let real = map.map(|map| {
                let field = |(name, field): (&std::borrow::Cow<'_, str>, &_)| {
                    let field: &isogrid_grid::structure::cache::Field<'_> = field;
                    (name.to_string(), (field.value.to_vec(), field.version))
                };
                map.map(|map| map.0.iter().map(field).collect::<Fields>())
            });
            let model = self.model.get(&key).map(|there| match there {
                There::Map(fields) => Some(fields.clone()),
                There::Plain => None,
            });
            prop_assert_eq!(real, model, "key {}", key);
        }
        Ok(())
    }
}

#[test]
fn maps_are_what_a_naive_map_of_maps_is() {
    seeds::check("maps_are_what", &vec(op(), 1..40), |ops| {
        let mut run = Run::new();
        for op in ops {
            run.step(op)?;
            run.check()?;
        }
        Ok(())
    });
}
