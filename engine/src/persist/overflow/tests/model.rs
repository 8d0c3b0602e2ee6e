//! Random users, pressure, time, checkpoints, kills and power cuts against a map.

use super::bed::{Disks, Image, Life, START, Shape};
use crate::NewEntry;
use crate::env::split_mix;
use crate::persist::{PersistMode, Preload};
use crate::store::fault::Tear;

const KEYS: u64 = 300;

pub fn draw(rng: &mut u64, below: u64) -> u64 {
    split_mix(rng) % below
}

fn key(rng: &mut u64) -> Vec<u8> {
    // A few keys are long, and some are asked for more often.
    let n = draw(rng, KEYS).min(draw(rng, KEYS * 2));
    if n.is_multiple_of(17) {
        vec![b'k'; 280 + usize::try_from(n).unwrap()]
    } else {
        format!("key-{n}").into_bytes()
    }
}

struct New {
    value: Vec<u8>,
    flags: u32,
    deadline: Option<u64>,
    max_idle: Option<u32>,
    version: Option<u64>,
}

impl New {
    fn draw(rng: &mut u64, now: u64) -> New {
        let len = usize::try_from(draw(rng, 900)).unwrap();
        let long = if draw(rng, 40) == 0 { 20 } else { 1 };
        let part = |rng: &mut u64| draw(rng, 4) == 0;
        New {
            value: split_mix(rng).to_le_bytes().repeat(len * long / 8 + 1),
            flags: if part(rng) { 7 } else { 0 },
            deadline: part(rng).then(|| now + draw(rng, 3_000)),
            max_idle: part(rng).then_some(1 << 30),
            version: (draw(rng, 20) == 0).then_some(77),
        }
    }

    fn entry(&self) -> NewEntry<'_> {
        NewEntry {
            value: [&self.value, b""],
            flags: self.flags,
            deadline: self.deadline,
            max_idle: self.max_idle,
            version: self.version,
            ..NewEntry::default()
        }
    }
}

/// One random operation, on the table and on the map; the key whose deadline it changed, if that.
pub fn step(life: &Life, image: &mut Image, rng: &mut u64) -> Option<Vec<u8>> {
    let (key, now) = (key(rng), life.now());
    image.retain(|_, shown| shown.2.is_none_or(|at| at > now));
    let new = New::draw(rng, now + 1);
    let shown = |version| (new.value.clone(), new.flags, new.deadline, new.max_idle, version);
    match draw(rng, 100) {
        0 => {
            life.table.clear(now).unwrap();
            image.clear();
        }
        1..=3 => {
            let others: Vec<_> = (0..3).map(|_| self::key(rng)).collect();
            let versions = life.transact(|all| {
                others.iter().try_for_each(|other| all.put(other, &new.entry()))?;
                all.remove(&key)
            });
            let versions = versions?;
            versions.into_iter().for_each(|(key, version)| {
                image.insert(key, shown(version));
            });
            image.remove(&key);
        }
        4..=12 => {
            let removed = life.on(&key, false, |entry| entry.remove());
            assert_eq!(removed, image.remove(&key).is_some(), "{}", key.escape_ascii());
        }
        13..=20 => {
            touch(life, image, &key, &new);
            return Some(key);
        }
        21..=22 => {
            life.clock.advance(draw(rng, 900));
            life.table.maintain(life.now(), 64);
        }
        23..=30 => add(life, image, &key, &new),
        31..=60 => {
            let version = life.on(&key, true, |entry| entry.put(&new.entry()));
            image.insert(key, shown(version));
        }
        _ => {
            // Readers of a `sync` table see what is durable.
            if life.mode == PersistMode::Sync {
                life.acknowledge();
            }
            assert_eq!(life.get(&key), image.get(&key).cloned(), "{}", key.escape_ascii());
        }
    }
    None
}

/// Changes the deadline, and keeps the rest.
fn touch(life: &Life, image: &mut Image, key: &[u8], new: &New) {
    let touched = life.on(key, false, |entry| {
        let Some(there) = entry.get() else { return Ok(false) };
        let (value, version) = (there.value().to_vec(), there.chosen_version());
        entry.rewrite(&NewEntry {
            value: [&value, b""],
            flags: there.flags(),
            deadline: new.deadline,
            max_idle: there.max_idle(),
            version,
            marks: there.marks(),
        })?;
        Ok(true)
    });
    assert_eq!(touched, image.contains_key(key), "{}", key.escape_ascii());
    image.entry(key.to_vec()).and_modify(|shown| shown.2 = new.deadline);
}

/// Stores only where there is nothing.
fn add(life: &Life, image: &mut Image, key: &[u8], new: &New) {
    let added = life.on(key, false, |entry| match entry.get() {
        Some(_) => Ok(None),
        None => entry.put(&new.entry()).map(Some),
    });
    assert_eq!(added.is_none(), image.contains_key(key), "{}", key.escape_ascii());
    if let Some(version) = added {
        let shown = (new.value.clone(), new.flags, new.deadline, new.max_idle, version);
        image.insert(key.to_vec(), shown);
    }
}

pub fn shape(mode: PersistMode, rng: &mut u64) -> Shape {
    let preload = match draw(rng, 6) {
        0 => Preload::None,
        1 => Preload::Hot,
        2 => Preload::Prefixes(vec![b"key-1".to_vec(), b"kk".to_vec()]),
        _ => Preload::All,
    };
    // Most keys stay in the segments that they were in: then they are read while others are served.
    let stays = draw(rng, 4) > 0;
    Shape {
        mode,
        preload,
        segments: if stays { 4 } else { 1 << draw(rng, 3) },
        room: 60_000 + draw(rng, 3) * 20_000,
        seed: if stays { 1 } else { split_mix(rng) },
    }
}

/// Everything that can be read, through loads.
fn read_all(life: &Life, keys: &[Image]) -> Image {
    let mut all: Vec<&Vec<u8>> = keys.iter().flat_map(|image| image.keys()).collect();
    all.sort();
    all.dedup();
    all.into_iter().filter_map(|key| Some((key.clone(), life.get(key)?))).collect()
}

pub fn alive(image: &Image, now: u64) -> Image {
    let alive = image.iter().filter(|(_, shown)| shown.2.is_none_or(|at| at > now));
    alive.map(|(key, shown)| (key.clone(), shown.clone())).collect()
}

fn lives(mode: PersistMode, seed: u64) {
    let replay = format!("ISOGRID_SEED={seed} cargo test --lib persist::overflow");
    let (mut rng, mut disks, mut image, mut now) = (seed, Disks::new(), Image::new(), START);
    for round in 0..5 {
        let life = Life::begin(&disks, &shape(mode, &mut rng), now);
        let (mut history, mut promised) = (vec![image.clone()], 0);
        for _ in 0..draw(&mut rng, 300) {
            step(&life, &mut image, &mut rng);
            history.push(image.clone());
            match draw(&mut rng, 40) {
                0 => life.persistence.checkpoint().unwrap(),
                1..=3 => life.acknowledge(),
                _ if mode == PersistMode::Sync => life.acknowledge(),
                _ => continue,
            }
            promised = history.len() - 1;
        }
        let power = (draw(&mut rng, 2) == 0).then(|| split_mix(&mut rng));
        if power.is_none() && draw(&mut rng, 3) == 0 {
            life.persistence.flush(life.persistence.moment(), life.persistence.last()).unwrap();
            promised = history.len() - 1;
        }
        if draw(&mut rng, 4) == 0 {
            life.persistence.close().unwrap();
            promised = history.len() - 1;
        }
        (now, image) = (life.now(), Image::new());
        let tear = [Tear::Keep, Tear::Lose][usize::try_from(draw(&mut rng, 2)).unwrap()];
        disks = life.end(disks, power, usize::try_from(draw(&mut rng, 5)).unwrap(), tear);
        let after = Life::begin(&disks, &shape(mode, &mut rng), now);
        let found = read_all(&after, &history);
        let at = history.iter().rposition(|before| alive(before, now) == found);
        let nearest = alive(&history[history.len() - 1], now);
        let odd = nearest.iter().filter(|(key, shown)| found.get(*key) != Some(shown));
        let odd = odd.map(|(key, shown)| {
            (key.escape_ascii().to_string(), shown.4, found.get(key).map(|f| f.4))
        });
        assert!(at.is_some(), "round {round}: never so: {:?}; {replay}", odd.collect::<Vec<_>>());
        assert!(at >= Some(promised), "round {round}: {at:?} before {promised}; {replay}");
        image.clone_from(&history[at.unwrap()]);
        disks = after.end(disks, None, usize::MAX, Tear::Keep);
    }
}

pub fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("ISOGRID_SEED").ok().and_then(|seed| seed.parse().ok());
    let count = std::env::var("ISOGRID_PERSIST_LIVES").ok().and_then(|n| n.parse().ok());
    given.map_or(0..count.unwrap_or(40), |seed: u64| seed..seed + 1)
}

#[test]
fn a_table_larger_than_memory_is_the_map_that_it_should_be() {
    seeds().for_each(|seed| lives(PersistMode::Async, seed));
}

#[test]
fn a_sync_table_larger_than_memory_is_the_map_that_it_should_be() {
    seeds().for_each(|seed| lives(PersistMode::Sync, seed));
}
