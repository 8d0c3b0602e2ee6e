//! Scans: what is there all the time comes exactly once, whatever else happens, and with the
//! snapshot all pages are of one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use isogrid_engine::Timestamp;

use super::super::*;
use super::seeds;
use super::world::{Content, Kind, World, put};
use crate::structure::cache::Cache;

/// A client that scans, loses its connection now and then, and takes a page twice.
struct Client {
    options: ScanOptions,
    /// What the pages of each segment gave since the last cursor that it kept.
    found: Content,
    finished: Vec<u32>,
}

impl Client {
    fn take(&mut self, page: Page) {
        for one in page.entries {
            let again = self.found.insert(one.key.to_vec(), one.entry.version.unwrap());
            assert_eq!(again, None, "{} comes once", one.key.escape_ascii());
            assert!(!self.finished.contains(&one.segment), "{} is finished", one.segment);
        }
        self.finished.extend(page.finished);
    }
}

fn fixed(cache: &Cache, count: u64, now: Timestamp) -> Content {
    let mut all = Content::new();
    for n in 0..count {
        let key = format!("fixed{n}").into_bytes();
        let batch = cache.batch(now);
        batch.put(cache.hash(&key), &key, &put(b"value", None)).unwrap();
        let version = batch.peek(cache.hash(&key), &key).unwrap().version();
        all.insert(key, version);
    }
    all
}

/// A random thing that leaves what is fixed alone.
fn disturb(world: &mut World) {
    for _ in 0..world.draw(40) {
        match world.draw(3) {
            0 => drop(world.remove(0)),
            _ => drop(world.write(0)),
        }
    }
}

/// Scans with disturbances between the pages; whether it stayed consistent, and what was found.
fn scan(world: &mut World, options: ScanOptions, idles: bool) -> (bool, Client) {
    let cache = Arc::clone(&world.cache);
    let mut client = Client { options, found: Content::new(), finished: Vec::new() };
    let mut scan = cache.scan(client.options.clone(), None, world.now).unwrap();
    let mut consistent = scan.is_consistent();
    loop {
        let items = 1 + world.size(60);
        let mut page = Page::default();
        // The connection may break with the page on its way: the client asks for it once more.
        let before = scan.cursor().unwrap();
        scan.page(world.now, items, 4_000, &mut page);
        assert!(page.entries.len() <= items, "hardly any entries share their place");
        consistent &= scan.is_consistent();
        if world.draw(4) == 0 && !page.ended {
            drop(scan);
            scan = cache.scan(client.options.clone(), Some(&before), world.now).unwrap();
        } else {
            let ended = page.ended;
            assert_eq!(scan.cursor().is_none(), ended);
            client.take(page);
            if ended {
                return (consistent, client);
            }
        }
        disturb(world);
        if idles && world.draw(10) == 0 {
            world.now += SCAN_IDLE_MS;
            cache.maintain(world.now, 100);
        }
    }
}

fn without_deadlines(world: &mut World) {
    world.keys = 600;
}

#[test]
fn pages_are_of_one_moment_while_the_snapshot_is_kept() {
    seeds("pages_are_of_one_moment_while_the_snapshot_is_kept", 150, |seed| {
        let mut world = World::new(Kind::Plain, seed);
        without_deadlines(&mut world);
        fixed(&world.cache, 300, world.now);
        disturb(&mut world);
        let moment = world.content();
        let (consistent, client) = scan(&mut world, ScanOptions::default(), false);
        assert!(consistent);
        assert_eq!(client.found, moment);
        assert_eq!(client.finished, [0, 1, 2, 3]);
        assert_eq!(world.cache.event_metrics().scan_snapshots, 0, "given back at the end");
    });
}

#[test]
fn what_stays_comes_once_though_the_snapshot_is_gone() {
    seeds("what_stays_comes_once_though_the_snapshot_is_gone", 150, |seed| {
        let mut world = World::new(Kind::Plain, seed);
        without_deadlines(&mut world);
        let fixed = fixed(&world.cache, 300, world.now);
        let (_, client) = scan(&mut world, ScanOptions::default(), true);
        for (key, version) in fixed {
            assert_eq!(client.found.get(&key), Some(&version), "{}", key.escape_ascii());
        }
    });
}

#[test]
fn segments_and_globs_choose() {
    let mut world = World::new(Kind::Plain, 5);
    let all = fixed(&world.cache, 500, world.now);
    let cache = Arc::clone(&world.cache);
    let glob = Some(Glob::parse(b"fixed*7").unwrap());
    let options = ScanOptions { glob, segments: Some(vec![3, 1]), value: false };
    let (_, client) = scan(&mut world, options, false);
    let mut chosen = all;
    chosen.retain(|key, _| key.ends_with(b"7") && [1, 3].contains(&cache.hash(key).segment()));
    assert!(!chosen.is_empty());
    assert_eq!((client.found, client.finished), (chosen, vec![1, 3]));
}

#[test]
fn cursors_that_are_not_ours_are_refused() {
    let world = World::new(Kind::Plain, 1);
    fixed(&world.cache, 100, 1);
    let open =
        |cache: &Cache, cursor: &[u8]| cache.scan(ScanOptions::default(), Some(cursor), 1).err();
    let mut first = world.cache.scan(ScanOptions::default(), None, 1).unwrap();
    first.page(1, 10, 1 << 20, &mut Page::default());
    let cursor = first.cursor().unwrap();
    assert_eq!(open(&world.cache, &cursor), None);
    assert_eq!(open(&world.cache, b"nonsense"), Some(ScanError::Cursor));
    assert_eq!(open(&world.cache, &cursor[1..]), Some(ScanError::Cursor));
    let other = Cache::new("other", Default::default(), 0).unwrap();
    assert_eq!(open(&other, &cursor), Some(ScanError::OtherCache));
    let options = ScanOptions { segments: Some(vec![4]), ..ScanOptions::default() };
    assert_eq!(world.cache.scan(options, None, 1).err(), Some(ScanError::Segment(4)));
}

/// After a restart places mean nothing any more: the segment that was under way begins anew.
#[test]
fn a_cursor_of_another_life_begins_its_segment_anew() {
    let [before, after] = [1, 2].map(|seed| World::new(Kind::Plain, seed));
    let all = fixed(&before.cache, 300, 1);
    fixed(&after.cache, 300, 1);
    let mut scan = before.cache.scan(ScanOptions::default(), None, 1).unwrap();
    let mut found: BTreeMap<u32, Vec<Key>> = BTreeMap::new();
    let mut finished = Vec::new();
    while finished.len() < 2 {
        let mut page = Page::default();
        scan.page(1, 10, 1 << 20, &mut page);
        page.entries
            .iter()
            .for_each(|one| found.entry(one.segment).or_default().push(one.key.clone()));
        finished.extend(page.finished);
    }
    found.retain(|segment, _| finished.contains(segment));
    let cursor = scan.cursor().unwrap();
    let mut scan = after.cache.scan(ScanOptions::default(), Some(&cursor), 1).unwrap();
    assert!(!scan.is_consistent());
    let mut page = Page::default();
    scan.page(1, 1_000, 1 << 20, &mut page);
    assert!(page.ended);
    let rest = page.entries.into_iter().map(|one| one.key);
    let mut keys: Vec<_> = found.into_values().flatten().chain(rest).collect();
    keys.sort_unstable();
    assert!(keys.iter().map(|key| key.to_vec()).eq(all.into_keys()), "each key once");
}

#[test]
fn snapshots_of_scans_are_few_and_go_when_they_are_idle_or_old() {
    let world = World::new(Kind::Plain, 1);
    fixed(&world.cache, 100, 1);
    let open = |now| world.cache.scan(ScanOptions::default(), None, now).unwrap();
    let kept = || world.cache.event_metrics().scan_snapshots;
    let mut scans: Vec<_> = (0..=SCAN_SNAPSHOTS_MAX).map(|_| open(1)).collect();
    assert!(!scans.pop().unwrap().is_consistent());
    assert!(scans.iter().all(Scan::is_consistent));
    assert_eq!(kept(), SCAN_SNAPSHOTS_MAX as u64);
    scans.pop().unwrap().close();
    assert_eq!(kept(), SCAN_SNAPSHOTS_MAX as u64 - 1);
    let mut used = scans.pop().unwrap();
    let mut now = 2;
    while now < SCAN_LIFE_MS {
        used.page(now, 1, 1, &mut Page::default());
        assert!(used.is_consistent());
        now += SCAN_IDLE_MS - 1;
        world.cache.maintain(now, 10);
        assert_eq!(kept(), u64::from(now < SCAN_LIFE_MS), "at {now}");
    }
    used.page(now, 1, 1, &mut Page::default());
    assert!(!used.is_consistent());
}

/// A page stops at its bytes: large values do not come in heaps of a whole step.
#[test]
fn pages_keep_to_their_bytes() {
    let world = World::new(Kind::Plain, 1);
    let value = vec![7; 10_000];
    for n in 0..200_u8 {
        let batch = world.cache.batch(1);
        batch.put(world.cache.hash(&[n]), &[n], &put(&value, None)).unwrap();
    }
    let mut scan = world.cache.scan(ScanOptions::default(), None, 1).unwrap();
    let mut count = 0;
    loop {
        let mut page = Page::default();
        scan.page(1, 1_000, 35_000, &mut page);
        assert!(page.entries.len() <= 4, "{}", page.entries.len());
        count += page.entries.len();
        if page.ended {
            return assert_eq!(count, 200);
        }
    }
}
