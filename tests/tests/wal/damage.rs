//! Bits that turned over, files that are gone, files of others.

use std::collections::BTreeMap;

use isogrid_engine::disk::{Disk, MemoryDisk};
use isogrid_engine::env::split_mix;
use isogrid_engine::wal::{
    Lsn, Report, WalConfig, WalError, WalErrorKind, WalKind, repair, survey,
};
use isogrid_tests::seeds;

use super::{Opened, config, names, open, open_as};

/// Damage that is tried, beside every byte of the small logs.
const CASES: &str = "ISOGRID_WAL_DAMAGES";
const CASES_DEFAULT: u64 = 3_000;

/// Four files; the end as it is after a kill, or closed.
fn log(closed: bool) -> (MemoryDisk, BTreeMap<u64, Vec<u8>>) {
    let disk = MemoryDisk::new();
    let mut log = open(&disk).unwrap().wal;
    let mut records = BTreeMap::new();
    for n in 0..30_u8 {
        let payload = vec![n; usize::from(n) * 37 % 400];
        let lsn = log.append(|buffer| buffer.extend(&payload)).unwrap();
        records.insert(lsn.0, payload);
        // The last four are in two groups of two, all written and only the first synced.
        match n {
            27 => log.sync().unwrap(),
            _ => log.write().unwrap(),
        };
    }
    if closed {
        log.close().unwrap();
    }
    (disk, records)
}

fn damaged(result: Result<Opened, WalError>) -> WalError {
    let error = result.map(|opened| opened.records.len()).unwrap_err();
    assert_eq!(error.kind(), WalErrorKind::Damaged, "{error}");
    error
}

fn bytes_of(disk: &MemoryDisk, name: &str) -> Vec<u8> {
    let file = disk.open(name).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

/// Opens a log after damage. Nothing that is found may differ from what was written, and what is
/// provably durable is found or the log refused.
fn check(disk: &MemoryDisk, records: &BTreeMap<u64, Vec<u8>>, proven: u64, what: &str) -> bool {
    let before: Vec<_> = names(disk).iter().map(|name| bytes_of(disk, name)).collect();
    match open(disk) {
        Ok(opened) => {
            let last = opened.records.last().map_or(0, |(lsn, _)| *lsn);
            assert!(last >= proven, "{what}: {last} found, {proven} proven");
            let found: BTreeMap<_, _> = opened.records.into_iter().collect();
            assert!(found.iter().eq(records.range(1..=last)), "{what}: not what was written");
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), WalErrorKind::Damaged, "{what}: {error}");
            let after: Vec<_> = names(disk).iter().map(|name| bytes_of(disk, name)).collect();
            assert_eq!(before, after, "{what}: a refused log was changed");
            false
        }
    }
}

/// Repairs a log and says which records are gone; the others are as they were.
fn repaired(disk: &MemoryDisk, records: &BTreeMap<u64, Vec<u8>>, what: &str) -> Vec<u64> {
    repaired_as(&config(), disk, records, what)
}

/// The same for a log whose owner says from where he needs it.
fn repaired_as(
    config: &WalConfig,
    disk: &MemoryDisk,
    records: &BTreeMap<u64, Vec<u8>>,
    what: &str,
) -> Vec<u64> {
    let before: Vec<_> = names(disk).iter().map(|name| bytes_of(disk, name)).collect();
    let seen = survey(disk, config, &mut |_, _| ()).unwrap();
    let after: Vec<_> = names(disk).iter().map(|name| bytes_of(disk, name)).collect();
    assert_eq!(before, after, "{what}: the survey changed something");
    let opens = open_as(&disk.copy(), config).is_ok();
    assert_eq!(seen.is_whole(), opens, "{what}: {seen:?}");
    let report = repair(disk, config, &mut |_, _| ());
    let report = report.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(Report { replaced: Vec::new(), ..report.clone() }, seen, "{what}");
    for (_, kept) in &report.replaced {
        let there = kept.as_ref().is_none_or(|kept| disk.list().unwrap().contains(kept));
        assert!(there, "{what}: {kept:?} is not kept");
    }
    let of_files: u64 = report.files.iter().map(|file| file.records).sum();
    assert_eq!(report.records, of_files, "{what}");
    let everything = WalConfig { from: config.from.min(Lsn::FIRST), ..config.clone() };
    let opened = open_as(disk, &everything).or_else(|_| open_as(disk, config));
    let opened = opened.unwrap_or_else(|error| panic!("{what}: after the repair: {error}"));
    let found = opened.records.len() as u64;
    assert!(report.records == found || config.from > Lsn::FIRST, "{what}");
    let found: BTreeMap<_, _> = opened.records.into_iter().collect();
    assert!(found.iter().all(|(lsn, payload)| records.get(lsn) == Some(payload)), "{what}");
    // What a torn end takes along is told by opening, not by the repair.
    let there = records.range(..opened.recovery.next.0).map(|(lsn, _)| *lsn);
    let lost: Vec<u64> = there.filter(|lsn| !found.contains_key(lsn)).collect();
    let listed = |lsn: &u64| {
        let within = |last: Option<Lsn>| last.is_none_or(|last| *lsn <= last.0);
        report.lost.iter().any(|lost| lost.first.0 <= *lsn && within(lost.last))
    };
    assert!(lost.iter().all(listed), "{what}: lost {lost:?}, listed {:?}", report.lost);
    lost
}

#[test]
fn a_turned_bit_is_found_wherever_it_is() {
    for closed in [true, false] {
        let (disk, records) = log(closed);
        let files = names(&disk);
        assert!(files.len() >= 4, "{files:?}");
        let (mut refused, mut rng) = (0, 0);
        for name in &files {
            for byte in 0..bytes_of(&disk, name).len() as u64 {
                let rotten = disk.copy();
                let bit = byte * 8 + split_mix(&mut rng) % 8;
                assert!(rotten.flip(name, bit));
                let what = format!("closed {closed}, bit {bit} of {name}");
                let last = records.len() as u64;
                // The last group of a log that was not closed proves nothing of itself.
                let proven = if closed { last } else { 28 };
                if check(&rotten, &records, proven, &what) {
                    continue;
                }
                refused += 1;
                let lost = repaired(&rotten, &records, &what);
                assert!(lost.len() <= 1, "{what}: one bit costs {lost:?}");
            }
        }
        assert!(refused > 3_000, "only {refused} refused");
    }
}

#[test]
fn any_damage_is_found_or_harmless() {
    let (disk, records) = log(true);
    let files = names(&disk);
    let first = seeds::number("ISOGRID_SEED", 0);
    for seed in first..first + seeds::number(CASES, CASES_DEFAULT) {
        let what = format!("replay: ISOGRID_SEED={seed} {CASES}=1");
        let (rotten, mut rng) = (disk.copy(), seed);
        let mut draw = |below: u64| split_mix(&mut rng) % below.max(1);
        for _ in 0..=draw(3) {
            let name = &files[usize::try_from(draw(files.len() as u64)).unwrap()];
            let file = rotten.open(name).unwrap();
            let len = file.len().unwrap();
            let (at, count) = (draw(len), usize::try_from(draw(600)).unwrap());
            let from = bytes_of(&disk, &files[usize::try_from(draw(files.len() as u64)).unwrap()]);
            match draw(5) {
                0 => file.write_at(at, &vec![0; count]).unwrap(),
                1 => file.write_at(at, &vec![0xff; count]).unwrap(),
                2 => file.set_len(at).unwrap(),
                // A part of a log file in the wrong place.
                3 => file.write_at(at, &from[..count.min(from.len())]).unwrap(),
                _ => file.write_at(at, &from[from.len() / 2..]).unwrap(),
            }
        }
        // A log that was cut short at its end looks like one that ended there.
        // The whole header of another file is no damage, but another file: that is not repaired.
        let foreign = matches!(
            repair(&rotten.copy(), &config(), &mut |_, _| ()),
            Err(WalError::Foreign { .. })
        );
        if !check(&rotten, &records, 0, &what) && !foreign {
            repaired(&rotten, &records, &what);
        }
    }
}

#[test]
fn zeros_behind_the_last_record_are_a_torn_end() {
    let (disk, records) = log(false);
    let last = names(&disk).pop().unwrap();
    let file = disk.open(&last).unwrap();
    let end = file.len().unwrap();
    file.set_len(end + 5_000).unwrap();
    let opened = open(&disk).unwrap();
    assert_eq!(opened.records.len(), records.len());
    let torn = opened.recovery.torn.unwrap();
    assert_eq!((torn.place, torn.offset, torn.bytes, torn.lsn), (last, end, 5_000, Lsn(31)));
}

/// Whole records behind a hole, none of which was ever acknowledged as durable.
#[test]
fn a_hole_after_the_last_sync_is_a_torn_end() {
    let (disk, records) = log(false);
    let last = names(&disk).pop().unwrap();
    let file = disk.open(&last).unwrap();
    let at = file.len().unwrap() - 2 * 24 - (records[&29].len() + records[&30].len()) as u64;
    file.write_at(at, &[0; 8]).unwrap();
    let opened = open(&disk).unwrap();
    assert_eq!(opened.records.len(), 28);
    assert_eq!(opened.recovery.torn.unwrap().lsn, Lsn(29));
}

#[test]
fn a_missing_file_is_named() {
    let (disk, records) = log(true);
    let files = names(&disk);
    for missing in 1..files.len() - 1 {
        let hurt = disk.copy();
        hurt.remove(&files[missing]).unwrap();
        let text = damaged(open(&hurt)).to_string();
        assert!(text.starts_with(&files[missing - 1]) && text.contains("is missing"), "{text}");
        assert!(text.contains("repair the log"), "{text}");
        let lost = repaired(&hurt, &records, "a missing file");
        assert!(!lost.is_empty() && lost.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    }
    // Only the owner knows that the first or the last is missing.
    let hurt = disk.copy();
    hurt.remove(&files[0]).unwrap();
    let needs = |from| WalConfig { from: Lsn(from), ..config() };
    damaged(open_as(&hurt, &needs(1)));
    let lost = repaired_as(&needs(1), &hurt, &records, "the first file is missing");
    assert!(lost.first() == Some(&1) && lost.len() < records.len(), "{lost:?}");
    assert!(open_as(&disk.copy(), &needs(1)).is_ok());
    let hurt = disk.copy();
    hurt.remove(files.last().unwrap()).unwrap();
    damaged(open_as(&hurt, &needs(31)));
    let lost = repaired_as(&needs(31), &hurt, &records, "the last file is missing");
    assert_eq!(lost.last(), Some(&30));
    assert!(open_as(&disk.copy(), &needs(31)).unwrap().records.is_empty());
    let nothing = MemoryDisk::new();
    damaged(open_as(&nothing, &needs(2)));
    repaired_as(&needs(2), &nothing, &BTreeMap::new(), "nothing is left");
}

#[test]
fn only_what_is_needed_is_read() {
    let (disk, records) = log(true);
    let opened = open_as(&disk, &WalConfig { from: Lsn(20), ..config() }).unwrap();
    let found: BTreeMap<_, _> = opened.records.into_iter().collect();
    assert!(found.iter().eq(records.range(20..)));
    assert_eq!(opened.recovery.first, Lsn(1), "older files are there and not read");
}

#[test]
fn the_log_of_another_is_refused() {
    let (disk, _) = log(true);
    let names_before = disk.list().unwrap();
    let other = |id, kind| WalConfig { storage_id: id, kind, ..config() };
    for (config, hint) in [
        (other([8; 16], WalKind::Data), "another node's"),
        (other([7; 16], WalKind::Raft), "another log's"),
    ] {
        let text = damaged(open_as(&disk, &config)).to_string();
        assert!(text.starts_with("wal-0000000000000001.log: ") && text.contains(hint), "{text}");
        let error = repair(&disk, &config, &mut |_, _| ()).unwrap_err();
        assert!(matches!(error, WalError::Foreign { .. }), "{error}");
    }
    // One that has no records yet, too: it must not pass for one that was being made.
    let empty = MemoryDisk::new();
    drop(open(&empty).unwrap());
    damaged(open_as(&empty, &other([8; 16], WalKind::Data)));
    let renamed = disk.copy();
    renamed.rename(&names(&disk)[3], "wal-00000000000000ff.log").unwrap();
    damaged(open(&renamed));
    assert_eq!(disk.list().unwrap(), names_before);
}

#[test]
fn whoever_reads_may_refuse() {
    let (disk, _) = log(true);
    let disk = std::sync::Arc::new(disk);
    let refused = isogrid_engine::wal::Wal::open(disk, &config(), &mut |lsn, _| match lsn.0 {
        3 => Err("an operation of a later release".to_owned()),
        _ => Ok(()),
    });
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("record 3 at byte") && text.contains("later release"), "{text}");
}
