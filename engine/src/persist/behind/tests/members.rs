//! Tables that come and go.

use super::*;
use crate::env::split_mix;
use crate::persist::discard;
use crate::store::fault::Tear;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A table, and its number: what was written to another one of its name must not be in it.
struct Member {
    feed: Arc<Feed>,
    table: Arc<Table>,
    number: u64,
}

/// What is to be kept; `dropped` are names that are only surely gone when the store is settled.
struct Bed {
    writer: Writer,
    members: BTreeMap<&'static str, Member>,
    dropped: Vec<&'static str>,
}

fn member(name: &str, clock: &Arc<ManualClock>, number: u64, is_new: bool) -> Member {
    let table = Arc::new(Table::new(&Life::table_config(2), clock.now()).unwrap());
    let config = BehindTable { is_new, ..BehindTable::new(name, Arc::clone(&table)) };
    let feed = Arc::new(Feed::new(config, Arc::clone(clock) as _, Arc::default()));
    Member { feed, table, number }
}

impl Member {
    fn put(&self, key: u64, clock: &ManualClock) {
        let (key, value) = (key.to_le_bytes(), self.number.to_le_bytes());
        let pinned = self.table.pin();
        let mut entry = pinned.entry(self.table.hash(&key), &key, clock.now()).unwrap();
        entry.put(&NewEntry { value: [&value, b""], ..NewEntry::default() }).unwrap();
    }

    fn keys(&self, replay: &str) -> u64 {
        let (mut keys, mut cursor) = (0, Some(Cursor::default()));
        while let Some(from) = cursor {
            cursor = self.table.scan(from, 100, NOW, |entry| {
                assert_eq!(
                    entry.value(),
                    self.number.to_le_bytes(),
                    "{}; {replay}",
                    self.feed.name
                );
                keys += 1;
            });
        }
        keys
    }
}

fn start(
    store: &Arc<Faulty>,
    clock: &Arc<ManualClock>,
    members: BTreeMap<&'static str, Member>,
) -> Bed {
    let feeds: Vec<_> = members.values().map(|member| Arc::clone(&member.feed)).collect();
    let applied = store.applied().unwrap_or(Position(0));
    let report = Report { applied, ..Report::default() };
    let config = BehindConfig { store: Arc::clone(store) as _, report, storage_id: [3; 16] };
    let (writer, _) = Writer::open(config, &feeds, clock.now()).unwrap();
    Bed { writer, members, dropped: Vec::new() }
}

/// What was done, so that nothing is tested in vain; and the last number that was given.
#[derive(Default)]
struct Counts {
    number: u64,
    joined: u64,
    refused: u64,
    kept: u64,
}

impl Bed {
    /// Something happens to a table, or to the store.
    fn step(
        &mut self,
        store: &Faulty,
        clock: &Arc<ManualClock>,
        rng: &mut u64,
        counts: &mut Counts,
        replay: &str,
    ) {
        let name = NAMES[usize::try_from(split_mix(rng) % 3).unwrap()];
        match (split_mix(rng) % 8, self.members.get(name)) {
            (0, Some(member)) => {
                member.feed.close();
                discard(&member.table, clock.now());
                drop(self.writer.leave(&member.feed, clock.now()));
                assert_eq!(member.keys(replay), 0);
                self.members.remove(name);
                self.dropped.push(name);
            }
            (0..4, None) => {
                counts.number += 1;
                let member = member(name, clock, counts.number, false);
                if self.writer.join(&member.feed, clock.now()).is_ok() {
                    self.dropped.retain(|dropped| *dropped != name);
                    self.members.insert(name, member);
                    counts.joined += 1;
                } else {
                    counts.refused += 1;
                }
            }
            (1, _) => store.fail_writes(Some(full())),
            (2, _) => store.fail_writes(None),
            (3, _) if self.writer.settle(clock.now()).is_ok() => self.dropped.clear(),
            (_, Some(member)) => member.put(split_mix(rng) % 20, clock),
            _ => {}
        }
    }
}

#[test]
fn a_dropped_table_never_comes_back_and_the_others_stay() {
    let mut counts = Counts::default();
    for seed in lives::seeds(200) {
        let replay = format!("ISOGRID_SEED={seed} cargo test --lib members");
        let (mut rng, store, clock) = (seed, faulty(), Arc::new(ManualClock::at(NOW)));
        let mut bed = start(&store, &clock, BTreeMap::new());
        for _ in 0..4 {
            for _ in 0..split_mix(&mut rng) % 40 {
                bed.step(&store, &clock, &mut rng, &mut counts, &replay);
                clock.advance(split_mix(&mut rng) % 700);
                bed.writer.step(clock.now(), false);
            }
            store.fail_writes(None);
            let clean = split_mix(&mut rng) & 1 == 0;
            clock.advance(10_000);
            while clean && !bed.writer.is_drained(0) {
                bed.writer.step(clock.now(), true);
            }
            store
                .crash(if split_mix(&mut rng) & 1 == 0 { Tear::Lose } else { Tear::Keep })
                .unwrap();
            store.inner().crash(0);
            store.reopen().unwrap();
            // A configuration may declare again what was dropped: then it is new.
            let before: BTreeMap<_, _> =
                bed.members.iter().map(|(name, m)| (*name, (m.number, m.keys(&replay)))).collect();
            let again = |name: &'static str| match before.get(name) {
                Some((number, _)) => Some((name, member(name, &clock, *number, false))),
                None if bed.dropped.contains(&name) => Some((name, member(name, &clock, 0, true))),
                None => None,
            };
            let members = NAMES.into_iter().filter_map(again).collect();
            bed = start(&store, &clock, members);
            for (name, member) in &bed.members {
                let keys = member.keys(&replay);
                let had = before.get(name).map_or(0, |(_, keys)| *keys);
                assert!(
                    keys <= had && (!clean || keys == had),
                    "{name}: {keys} of {had}; {replay}"
                );
                counts.kept += keys;
            }
            bed.members.retain(|_, member| member.number > 0);
            let feeds: Vec<_> = bed.members.values().map(|m| Arc::clone(&m.feed)).collect();
            bed.writer.slots.retain(|slot| feeds.iter().any(|feed| Arc::ptr_eq(feed, &slot.feed)));
        }
    }
    let Counts { joined, refused, kept, .. } = counts;
    assert!(joined > 100 && refused > 20 && kept > 100, "{joined} {refused} {kept}");
}

/// With the thread, and a store that is opened when it is wanted.
#[test]
fn the_store_is_opened_by_the_first_and_forgets_who_left() {
    let (store, clock) = (faulty(), Arc::new(ManualClock::at(NOW)));
    let of_open = Arc::clone(&store);
    let open = Box::new(move || {
        let (store, report) = (Arc::clone(&of_open) as _, Report::default());
        Ok(BehindConfig { store, report, storage_id: [3; 16] })
    });
    let behind = BehindOnDemand::new(open, Arc::clone(&clock) as _);
    assert!(behind.get().is_none() && behind.settle().is_ok());
    let [first, second] = [1, 2].map(|number| member("a", &clock, number, false));
    behind.add_table(BehindTable::new("a", Arc::clone(&first.table))).unwrap();
    first.put(1, &clock);
    assert_eq!(behind.get().unwrap().lag("a").unwrap().entries, 1);
    behind.remove_table("a", NOW);
    behind.settle().unwrap();
    assert_eq!(Catalog::read(&*store).unwrap().caches.len(), 0);
    assert!(
        behind.get().unwrap().lag("a").is_none() && behind.get().unwrap().reader("a").is_none()
    );
    behind.add_table(BehindTable::new("a", Arc::clone(&second.table))).unwrap();
    second.put(1, &clock);
    assert_eq!(behind.get().unwrap().close(&mut |_| true).entries, 0);
    store.reopen().unwrap();
    let catalog = Catalog::read(&*store).unwrap();
    let page = store.scan(&Scan::all(catalog.caches["a"].id)).unwrap();
    assert_eq!(page.entries.len(), 1);
    let late = member("b", &clock, 3, false);
    assert!(behind.add_table(BehindTable::new("b", late.table)).is_err(), "it has ended");
}
