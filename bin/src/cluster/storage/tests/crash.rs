//! A crash at every call of the disk: what was said to be durable is there, and what was not is
//! there whole or not at all.

use isogrid_engine::disk::{Fault, MemoryDisk};
use isogrid_engine::env::split_mix;
use isogrid_grid::id::{NodeId, StorageId};
use isogrid_grid::raft::Save;

use super::super::kept::Kept;
use super::super::{Opened, StorageError};
use super::fixture::{CLUSTER, folder, promise, saves, settings, state};

const DATA: Option<[u8; 16]> = Some([7; 16]);

/// What a process was told is on its disk, and what it had asked for by then.
#[derive(Debug, Default)]
struct Told {
    boot: u64,
    storage: Option<StorageId>,
    /// Any of these; no bytes: none.
    promise: Vec<Vec<u8>>,
    /// How many records are durable; `None` = it was not told that it is a member.
    durable: Option<usize>,
    asked: Option<usize>,
    is_forgetting: bool,
    is_forgotten: bool,
}

/// Says which life it was that a test did not outlive.
struct Life {
    seed: u64,
    call: u64,
}

impl Drop for Life {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Life { seed, call } = self;
            eprintln!("in the life of seed {seed}, whose call {call} of the disk failed");
        }
    }
}

fn open(disk: &MemoryDisk, told: &mut Told) -> Result<Kept, StorageError> {
    let (kept, opened) = Kept::open(folder(disk), DATA, CLUSTER)?;
    assert_eq!(opened.boot.0, told.boot + 1, "nothing failed in between");
    told.boot = opened.boot.0;
    told.storage = Some(opened.storage);
    Ok(kept)
}

/// The life of a member, in four processes.
fn live(
    disk: &MemoryDisk,
    seed: u64,
    records: &[Save],
    told: &mut Told,
) -> Result<(), StorageError> {
    let mut chance = seed;
    told.promise = vec![Vec::new()];
    let mut kept = open(disk, told)?;
    for bytes in [promise(CLUSTER, 3), Vec::new(), promise(CLUSTER, 2)] {
        told.promise.push(bytes.clone());
        kept.promise(&bytes)?;
        told.promise = vec![bytes];
    }
    let mut kept = open(disk, told)?;
    let member = (NodeId(2), settings(CLUSTER));
    (told.asked, told.promise) = (Some(1), vec![promise(CLUSTER, 2), Vec::new()]);
    kept.become_member(member, records.first())?;
    told.durable = Some(1);
    for (at, save) in records.iter().enumerate().skip(1) {
        told.asked = Some(at + 1);
        kept.append(save)?;
        // Some are written together, and after some another process goes on.
        let is_last = at + 1 == records.len();
        match split_mix(&mut chance) % 8 {
            0..4 if !is_last => {}
            7 => {
                kept.rest()?;
                kept = open(disk, told)?;
                told.durable = Some(at + 1);
            }
            _ => {
                kept.settle(true)?;
                told.durable = Some(at + 1);
            }
        }
    }
    told.is_forgetting = true;
    kept.forget()?;
    told.is_forgotten = true;
    Ok(())
}

/// What a start on this disk must find.
fn check(disk: &MemoryDisk, records: &[Save], told: &Told) {
    let opened = Kept::open(folder(disk), DATA, CLUSTER);
    let (mut kept, opened) = opened.unwrap_or_else(|error| panic!("{error}: {told:?}"));
    let Opened { storage, boot, member, promise, log } = opened;
    if told.is_forgotten || told.is_forgetting && Some(storage) != told.storage {
        assert_ne!(Some(storage), told.storage);
        assert_eq!((boot.0, member, promise), (1, None, None));
        assert_eq!(format!("{log:?}"), state(&[]));
        return;
    }
    assert!(told.storage.is_none_or(|told| told == storage), "{storage}: {told:?}");
    assert!(boot.0 > told.boot, "{boot}: {told:?}");
    if let Some((node, settings_kept)) = member {
        assert_eq!((node, settings_kept), (NodeId(2), settings(CLUSTER)));
        assert_eq!(promise, None, "a member has promised nothing");
        let (from, to) = (told.durable.unwrap_or(1), told.asked.expect("never asked for"));
        let found = format!("{log:?}");
        let any = (from..=to).any(|count| state(&records[..count]) == found);
        assert!(any, "{found} is none of {from} to {to} records: {told:?}");
        kept.forget().unwrap();
        let (_, nobody) = Kept::open(folder(disk), DATA, CLUSTER).unwrap();
        assert!(nobody.storage != storage && nobody.member.is_none(), "{told:?}");
        assert_eq!(nobody.promise, None, "{told:?}");
    } else {
        assert_eq!(told.durable, None, "it was a member: {told:?}");
        assert_eq!(format!("{log:?}"), state(&[]));
        let promise = promise.unwrap_or_default();
        assert!(told.promise.contains(&promise), "{promise:?}: {told:?}");
        // What was begun for another is in nobody's way.
        let member = (NodeId(5), settings(CLUSTER));
        kept.become_member(member.clone(), None).unwrap();
        let (_, opened) = Kept::open(folder(disk), DATA, CLUSTER).unwrap();
        assert_eq!((opened.member, opened.storage), (Some(member), storage), "{told:?}");
        assert_eq!(format!("{:?}", opened.log), state(&[]), "{told:?}");
    }
}

#[test]
fn a_crash_at_any_call_loses_nothing_that_was_durable() {
    for seed in 0..10 {
        let records = saves(seed, 50);
        for call in 1.. {
            let disk = MemoryDisk::new();
            let fault = [Fault::Io, Fault::Short, Fault::Space][usize::try_from(call % 3).unwrap()];
            disk.fail_at(call, fault);
            let (_life, mut told) = (Life { seed, call }, Told::default());
            // A mark that a full disk does not take is no error, any other fault is one.
            let lived = live(&disk, seed, &records, &mut told);
            // The process ends, or the power goes.
            check(&disk.copy(), &records, &told);
            for cut in 0..6 {
                check(&disk.crash(seed ^ call << 8 ^ cut), &records, &told);
            }
            if disk.calls() < call {
                lived.unwrap();
                assert!(call > 120, "the life took {call} calls");
                break;
            }
        }
    }
}

/// What Raft has made of its log is what a start makes of it, however it was cut into processes.
#[test]
fn a_start_finds_the_log_as_it_was() {
    for seed in 0..200 {
        let (disk, records, mut told) = (MemoryDisk::new(), saves(seed, 150), Told::default());
        let mut chance = seed;
        let mut kept = open(&disk, &mut told).unwrap();
        kept.become_member((NodeId(1), settings(CLUSTER)), records.first()).unwrap();
        for (at, save) in records.iter().enumerate().skip(1) {
            kept.append(save).unwrap();
            if split_mix(&mut chance).is_multiple_of(5) {
                kept.settle(save.must_sync()).unwrap();
                drop(kept);
                let (next, opened) = Kept::open(folder(&disk), DATA, CLUSTER).unwrap();
                let found = format!("{:?}", opened.log);
                assert_eq!(found, state(&records[..=at]), "seed {seed}, {} records", at + 1);
                kept = next;
            }
        }
    }
}

/// A member that was let in has a log without anything in it, and is one nevertheless.
#[test]
fn a_member_that_was_let_in_begins_with_an_empty_log() {
    let (disk, mut told) = (MemoryDisk::new(), Told::default());
    let member = (NodeId(9), settings(CLUSTER));
    open(&disk, &mut told).unwrap().become_member(member.clone(), None).unwrap();
    let (mut kept, opened) = Kept::open(folder(&disk.crash(1)), DATA, CLUSTER).unwrap();
    assert_eq!((opened.member, opened.boot.0), (Some(member.clone()), 2));
    assert_eq!(format!("{:?}", opened.log), state(&[]));
    assert!(matches!(kept.become_member(member, None), Err(StorageError::Misused(_))));
}

#[test]
fn records_that_are_needed_no_more_are_removed() {
    let (disk, records, mut told) = (MemoryDisk::new(), saves(3, 400), Told::default());
    let mut kept = open(&disk, &mut told).unwrap();
    kept.become_member((NodeId(1), settings(CLUSTER)), records.first()).unwrap();
    let (mut most, mut anew) = (0, 0);
    for save in &records[1..] {
        kept.append(save).unwrap();
        kept.settle(save.must_sync()).unwrap();
        anew += usize::from(save.begins_anew());
        most = most.max(folder(&disk).raft.list().unwrap().len());
    }
    assert!(anew > 3, "compacted {anew} times");
    let names = folder(&disk).raft.list().unwrap();
    assert!(most == 1 && names != ["wal-0000000000000001.log"], "{most}, at last {names:?}");
    let (_, opened) = Kept::open(folder(&disk), DATA, CLUSTER).unwrap();
    assert_eq!(format!("{:?}", opened.log), state(&records));
}
