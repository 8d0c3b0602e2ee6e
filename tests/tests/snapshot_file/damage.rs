//! Bits that turned over, files that were cut, parts that were moved: never a wrong entry, never
//! a panic, and nothing missing that is not told.

use isogrid_engine::env::split_mix;
use isogrid_engine::snapshot_file::{Salvage, SnapshotFile, SnapshotFileError, salvage};
use isogrid_tests::seeds;

use super::*;

/// Damages at random, beside every bit and every length of a small file.
const CASES: &str = "ISOGRID_SNAPSHOT_DAMAGES";
const CASES_DEFAULT: u64 = 3_000;

/// Entries by cache and key.
type Named = BTreeMap<(String, Vec<u8>), Seen>;

/// Small, with several blocks, two caches, and every field.
fn small() -> (Vec<u8>, Named) {
    let (a, b) = (table(Some(2), 1, 1), table(Some(1), 1, 2));
    for n in 0..12_u8 {
        let value = vec![n; usize::from(n) * 3];
        let new = NewEntry {
            value: [&value, b""],
            flags: u32::from(n),
            deadline: n.is_multiple_of(3).then_some(NOW + 500),
            max_idle: n.is_multiple_of(4).then_some(700),
            version: n.is_multiple_of(5).then_some(77),
            marks: if n == 6 { Marks::STALE } else { Marks::default() },
        };
        put(if n % 2 == 0 { &a } else { &b }, &[b'k', n], &new, NOW);
    }
    // Over 64 KiB an entry is a block of its own.
    put_value(&a, b"large", &[9; 70_000]);
    put_value(&b, b"large", &[8; 70_000]);
    let disk = MemoryDisk::new();
    write(&disk, NAME, &header(), &[("a", &a), ("b", &b)], &mut |_| ()).unwrap();
    let tables = [("a", contents(&a, NOW)), ("b", contents(&b, NOW))];
    let named = |(name, all): (&str, Contents)| {
        let name = name.to_owned();
        all.into_iter().map(move |(key, seen)| ((name.clone(), key), seen))
    };
    (bytes_of(&disk), tables.into_iter().flat_map(named).collect())
}

/// A copy of `small` without the large entries, so that every bit of it can be tried.
fn tiny() -> (Vec<u8>, Contents) {
    let table = table(Some(1), 1, 1);
    for n in 0..8_u8 {
        let new = NewEntry {
            value: [&[n; 5], b""],
            flags: u32::from(n),
            deadline: Some(NOW + 9_999),
            ..NewEntry::default()
        };
        put(&table, &[n], &new, NOW);
    }
    let disk = saved(&table);
    (bytes_of(&disk), contents(&table, NOW))
}

fn open_bytes(bytes: Vec<u8>) -> Result<SnapshotFile, SnapshotFileError> {
    SnapshotFile::new("a file".to_owned(), Box::new(bytes))
}

/// What is salvaged, by cache and key; the name of a cache that nothing tells is its number.
fn salvaged(bytes: &Vec<u8>) -> Result<(Salvage, Named), SnapshotFileError> {
    let mut found = BTreeMap::new();
    let report = salvage("a file", bytes, &mut |cache, block| {
        let name = cache.map_or_else(|| block.cache.to_string(), |cache| cache.name.clone());
        for record in block.records() {
            let seen = Seen {
                value: record.value.to_vec(),
                flags: record.flags,
                deadline: record.deadline,
                max_idle: record.idle.map(|idle| idle.max),
                version: record.version(cache.map_or(0, |cache| cache.epoch)),
                marks: record.marks,
            };
            found.insert((name.clone(), record.key.to_vec()), seen);
        }
    })?;
    assert_eq!(report.entries, found.len() as u64, "an entry twice");
    Ok((report, found))
}

/// Every entry that can be read is as it was written; whether all can and nothing is reported.
fn check(bytes: &[u8], expected: &Named, what: &str) -> Result<bool, SnapshotFileError> {
    if let Ok((report, found)) = salvaged(&bytes.to_vec()) {
        let known = |(name, _): &&(String, Vec<u8>)| name.parse::<u32>().is_err();
        for key in found.keys().filter(known) {
            assert_eq!(found.get(key), expected.get(key), "{what}: salvaged a wrong entry");
        }
        let missing = found.len() < expected.len();
        assert!(!missing || !report.lost.is_empty(), "{what}: lost without a word");
    }
    let file = open_bytes(bytes.to_vec())?;
    let (mut read, mut broken) = (0, 0);
    for (number, cache) in file.caches().iter().enumerate() {
        for block in file.blocks(number) {
            let Ok(block) = file.block(block) else {
                broken += 1;
                continue;
            };
            for record in block.records() {
                let seen = &expected[&(cache.name.clone(), record.key.to_vec())];
                let found = (record.value, record.flags, record.deadline, record.marks);
                assert_eq!(
                    found,
                    (seen.value.as_slice(), seen.flags, seen.deadline, seen.marks),
                    "{what}: a wrong entry"
                );
                assert_eq!(record.version(cache.epoch), seen.version, "{what}");
                assert_eq!(record.idle.map(|idle| idle.max), seen.max_idle, "{what}");
                read += 1;
            }
        }
    }
    let damage = file.verify(&mut |_| ()).unwrap();
    assert!(broken <= damage.len(), "{what}: {broken} broken blocks, {damage:?}");
    assert_eq!(read == expected.len(), broken == 0, "{what}: entries are missing");
    Ok(damage.is_empty())
}

fn named(contents: Contents) -> Named {
    contents.into_iter().map(|(key, seen)| (("default".to_owned(), key), seen)).collect()
}

#[test]
fn every_bit_counts() {
    let (bytes, contents) = tiny();
    let (expected, mut refused, mut found) = (named(contents), 0, 0);
    assert!(check(&bytes, &expected, "whole").unwrap());
    let (report, all) = salvaged(&bytes).unwrap();
    assert!(report.lost.is_empty() && all == expected);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match check(&damaged, &expected, &format!("bit {bit}")) {
            Ok(whole) => {
                assert!(!whole, "bit {bit}: not found");
                found += 1;
            }
            Err(SnapshotFileError::Damaged(_)) => refused += 1,
            Err(other) => panic!("bit {bit}: {other}"),
        }
        // One bit costs one block at most, and that is the only one of entries.
        let (report, rest) = salvaged(&damaged).unwrap();
        assert!(rest.len() == expected.len() || !report.lost.is_empty(), "bit {bit}");
    }
    assert!(refused > 1_000 && found > 1_000, "{refused} refused, {found} found");
}

#[test]
fn every_length_is_refused() {
    let (bytes, contents) = tiny();
    let expected = named(contents);
    for len in 0..bytes.len() {
        let error = check(&bytes[..len], &expected, &format!("length {len}")).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("a file: damaged at byte"), "length {len}: {text}");
        assert!(text.contains("restore the file from a copy"), "length {len}: {text}");
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(check(&longer, &expected, "longer").is_err());
}

#[test]
fn what_was_cut_is_salvaged_as_far_as_it_goes() {
    let (bytes, expected) = small();
    assert!(check(&bytes, &expected, "whole").unwrap());
    let file = open_bytes(bytes.clone()).unwrap();
    let blocks: usize = (0..2).map(|cache| file.blocks(cache).len()).sum();
    assert_eq!(blocks, 4);
    let mut lengths = Vec::new();
    for len in (64..bytes.len()).step_by(97) {
        let (report, found) = salvaged(&bytes[..len].to_vec()).unwrap();
        assert!(found.iter().all(|(key, seen)| expected.get(key) == Some(seen)), "length {len}");
        lengths.push(report.blocks);
    }
    assert!(lengths.is_sorted() && lengths.first() == Some(&0) && lengths.last() == Some(&4));
    for len in 0..64 {
        assert!(salvaged(&bytes[..len].to_vec()).is_err(), "length {len}");
    }
}

#[test]
fn a_salvage_lists_what_is_lost() {
    let (bytes, expected) = small();
    let file = open_bytes(bytes.clone()).unwrap();
    let first = file.block(1).unwrap();
    let (entries, len) = (first.records().len(), first.bytes());
    let at = bytes.windows(3).position(|part| part == [9; 3]).unwrap();
    drop(first);

    // A value: its block, and the entries that its head tells of.
    let mut damaged = bytes.clone();
    damaged[at + 100] ^= 1;
    let (report, found) = salvaged(&damaged).unwrap();
    let lost = &report.lost[0];
    assert_eq!((report.lost.len(), lost.blocks), (1, Some(1)), "{report:?}");
    assert_eq!(found.len() + usize::try_from(lost.entries.unwrap()).unwrap(), expected.len());
    let damage = open_bytes(damaged).unwrap().verify(&mut |_| ()).unwrap();
    assert_eq!((damage.len(), damage[0].offset), (1, lost.bytes.start), "{damage:?}");
    assert_eq!(damage[0].block, Some(lost.first_block));

    // A head: the block too, but nobody knows how many entries it had.
    let section = bytes.windows(8).position(|part| part == [2, 0, 0, 0, 1, 0, 0, 0]).unwrap();
    let mut damaged = bytes.clone();
    damaged[section + 9] ^= 1;
    let (report, found) = salvaged(&damaged).unwrap();
    let lost = report.lost[0].clone();
    assert_eq!((report.lost.len(), lost.blocks, lost.entries), (1, Some(1), None), "{report:?}");
    assert_eq!(lost.bytes, section as u64..section as u64 + len);
    assert_eq!(found.len() + entries, expected.len());

    // Blocks that were cut out leave nothing but their numbers.
    let cut = [&bytes[..section], &bytes[section + usize::try_from(len).unwrap()..]].concat();
    let (report, found) = salvaged(&cut).unwrap();
    let lost = report.lost[0].clone();
    assert_eq!((lost.first_block, lost.blocks, lost.bytes.is_empty()), (1, Some(1), true));
    assert_eq!(found.len() + entries, expected.len());

    // A block that stands there twice is read once.
    let end = section + usize::try_from(len).unwrap();
    let twice = [&bytes[..end], &bytes[section..]].concat();
    let (report, found) = salvaged(&twice).unwrap();
    assert_eq!(report.lost[0].bytes, end as u64..end as u64 + len);
    assert!(found == expected, "{report:?}");

    // The header: its copy serves.
    let mut damaged = bytes.clone();
    damaged[20] ^= 1;
    let (report, found) = salvaged(&damaged).unwrap();
    assert!(report.lost.is_empty() && found == expected && report.header == header());
    // Both: refused.
    let copy = bytes.len() - 32 - 64 + 20;
    damaged[copy] ^= 1;
    let text = salvaged(&damaged).unwrap_err().to_string();
    assert!(text.contains("damaged at byte 0: the header's checksum"), "{text}");
}

/// A value that holds a snapshot file is a value, also when the file around it is damaged.
#[test]
fn a_file_within_a_file_is_no_part_of_it() {
    let (inner, _) = tiny();
    let table = table(Some(1), 1, 1);
    let outer = [&[1; 70_000], inner.as_slice()].concat();
    put_value(&table, b"file", &outer);
    put_value(&table, b"other", b"v");
    let disk = MemoryDisk::new();
    save(&disk, &SnapshotHeader { created: NOW + 1, ..header() }, &table);
    let expected = named(contents(&table, NOW));
    let bytes = bytes_of(&disk);
    for at in (64..bytes.len()).step_by(1_013) {
        let mut damaged = bytes.clone();
        damaged[at..].iter_mut().take(200).for_each(|byte| *byte = !*byte);
        let _refused = check(&damaged, &expected, &format!("at {at}"));
    }
}

#[test]
fn files_of_others_are_named() {
    let (bytes, _) = tiny();
    let wal = [b"isogwal\0".as_slice(), &bytes[8..]].concat();
    let text = open_bytes(wal).unwrap_err().to_string();
    assert!(text.contains("does not begin as a snapshot file"), "{text}");
    for (at, what) in [(8, "format 9"), (12, "kind 9")] {
        let mut other = bytes.clone();
        other[at] = 9;
        let crc = crc32c(&other[..60]).to_le_bytes();
        other[60..64].copy_from_slice(&crc);
        let error = open_bytes(other).unwrap_err();
        assert!(matches!(error, SnapshotFileError::Foreign { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(what) && text.contains("use the release"), "{text}");
    }
}

/// CRC32C bit by bit (RFC 3720, appendix B.4), so that a test does not believe the product.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    })
}

/// One damage at random.
fn damage(bytes: &mut Vec<u8>, rng: &mut u64) -> String {
    let len = bytes.len() as u64;
    let mut draw = |below: u64| usize::try_from(split_mix(rng) % below.max(1)).unwrap();
    let (kind, from, size, other) = (draw(6), draw(len), draw(3_000), draw(len));
    let value = u8::try_from(draw(256)).unwrap();
    let to = (from + size).min(bytes.len());
    let part: Vec<u8> = bytes.iter().copied().skip(from).take(to - from).collect();
    match kind {
        0 => bytes.iter_mut().skip(from).take(1).for_each(|byte| *byte ^= 1 << (value % 8)),
        1 => bytes.iter_mut().skip(from).take(size).for_each(|byte| *byte = value),
        2 => _ = bytes.drain(from..to),
        3 => {
            bytes.drain(from..to);
            let at = other.min(bytes.len());
            bytes.splice(at..at, part);
        }
        4 => _ = bytes.splice(other..other, part),
        _ => bytes.truncate(from),
    }
    format!("{kind} {from}..{to} {value} {other}")
}

#[test]
fn nothing_wrong_is_read_whatever_happened_to_the_file() {
    let (bytes, expected) = small();
    let first = seeds::number("ISOGRID_SEED", 0);
    let one = std::env::var_os("ISOGRID_SEED").is_some();
    let cases = seeds::number(CASES, if one { 1 } else { CASES_DEFAULT });
    let mut refused = 0;
    for seed in first..first + cases {
        let (mut rng, mut damaged) = (seed, bytes.clone());
        let mut what = format!("seed {seed}:");
        for _ in 0..=split_mix(&mut rng) % 3 {
            if !damaged.is_empty() {
                what += &format!(" {}", damage(&mut damaged, &mut rng));
            }
        }
        let test = "snapshot_file::nothing_wrong_is_read_whatever_happened_to_the_file";
        what += &format!("\nreplay: {}", seeds::replay(test, seed));
        match check(&damaged, &expected, &what) {
            Ok(whole) => assert!(!whole || damaged == bytes, "{what}: not found"),
            Err(SnapshotFileError::Damaged(_)) => refused += 1,
            Err(other) => panic!("{what}: {other}"),
        }
    }
    assert!(one || refused > cases / 4, "{refused} of {cases} refused");
}
