//! The storage as its user sees it: on a real disk, with its thread.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use isogrid_engine::disk::{Access, Fault, MemoryDisk};
use isogrid_engine::persist::DataDirectory;
use isogrid_grid::id::{Boot, NodeId};
use isogrid_grid::raft::Save;

use super::super::kept::Kept;
use super::super::{Opened, Place, Storage, StorageError};
use super::fixture::{CLUSTER, folder, promise, saves, settings, state};

/// What the thread says.
#[derive(Debug, PartialEq)]
enum News {
    Saved(u64),
    Failed(String),
    Done,
}

/// A folder that is gone when the test is over.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("isogrid-cluster-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Temporary(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn in_folder(path: &Path) -> Place<'_> {
    Place::Folder { data_dir: path, data: None }
}

fn open(place: Place<'_>) -> Result<(Storage, Opened, Receiver<News>, Sender<News>), StorageError> {
    let (say, news) = channel();
    let (of_saved, of_failed) = (say.clone(), say.clone());
    let (storage, opened) = Storage::open(
        place,
        CLUSTER,
        move |number| drop(of_saved.send(News::Saved(number))),
        move |error| drop(of_failed.send(News::Failed(error.to_string()))),
    )?;
    Ok((storage, opened, news, say))
}

fn done(say: &Sender<News>) -> impl FnOnce() + Send + use<> {
    let say = say.clone();
    move || drop(say.send(News::Done))
}

/// A storage with a thread on a disk in memory.
fn on(disk: &MemoryDisk) -> (Storage, Receiver<News>, Sender<News>) {
    let (say, news) = channel();
    let (of_saved, of_failed) = (say.clone(), say.clone());
    let (kept, _) = Kept::open(folder(disk), None, CLUSTER).unwrap();
    let storage = Storage::start(
        Some(kept),
        move |number| drop(of_saved.send(News::Saved(number))),
        move |error| drop(of_failed.send(News::Failed(error.to_string()))),
    );
    (storage.unwrap(), news, say)
}

fn last_number(saves: &[Save]) -> u64 {
    saves.iter().map(Save::number).max().unwrap()
}

/// Waits until all up to `number` was reported.
fn wait_for(news: &Receiver<News>, number: u64) {
    let mut last = 0;
    while last < number {
        let News::Saved(next) = news.recv().unwrap() else { panic!("it failed") };
        assert!(next > last, "{next} after {last}");
        last = next;
    }
}

#[test]
fn a_member_is_there_after_a_start() {
    let (folder, records) = (Temporary::new("start"), saves(5, 200));
    let (storage, stranger, news, say) = open(in_folder(&folder.0)).unwrap();
    assert_eq!((stranger.boot, stranger.member, stranger.promise), (Boot(1), None, None));
    storage.promise(promise(CLUSTER, 3), done(&say));
    assert_eq!(news.recv().unwrap(), News::Done);
    storage.close();
    let (storage, founder, news, say) = open(in_folder(&folder.0)).unwrap();
    assert_eq!((founder.storage, founder.boot), (stranger.storage, Boot(2)));
    assert_eq!(founder.promise, Some(promise(CLUSTER, 3)));
    storage.become_member(NodeId(1), settings(CLUSTER), records.first().cloned(), done(&say));
    assert_eq!(news.recv().unwrap(), News::Done);
    records[1..].iter().for_each(|save| storage.save(save.clone()));
    wait_for(&news, last_number(&records));
    storage.close();
    let (storage, member, news, say) = open(in_folder(&folder.0)).unwrap();
    assert_eq!(member.member, Some((NodeId(1), settings(CLUSTER))));
    assert_eq!((member.storage, member.boot, member.promise), (stranger.storage, Boot(3), None));
    assert_eq!(format!("{:?}", member.log), state(&records));
    storage.forget(done(&say));
    assert_eq!(news.recv().unwrap(), News::Done);
    storage.close();
    let (_storage, nobody, ..) = open(in_folder(&folder.0)).unwrap();
    assert_ne!(nobody.storage, stranger.storage);
    assert_eq!((nobody.boot, nobody.member), (Boot(1), None));
}

#[test]
fn a_folder_is_for_one_process_and_its_data_may_come_later() {
    let folder = Temporary::new("lock");
    let (storage, ..) = open(in_folder(&folder.0)).unwrap();
    let error = open(in_folder(&folder.0)).err().unwrap();
    assert!(matches!(error, StorageError::Lock(_)) && error.is_refusal(), "{error}");
    let said = error.to_string();
    assert!(said.contains("cluster is in use by process"), "{said}");
    storage.close();
    let data = DataDirectory::open(&folder.0).unwrap();
    let place = Place::Folder { data_dir: &folder.0, data: Some(data.storage_id()) };
    let (storage, opened, ..) = open(place).unwrap();
    assert_eq!(opened.boot, Boot(2));
    storage.close();
}

#[test]
fn without_a_disk_each_start_is_another_storage() {
    let records = saves(6, 40);
    let (storage, first, news, say) = open(Place::Memory).unwrap();
    storage.become_member(NodeId(1), settings(CLUSTER), records.first().cloned(), done(&say));
    assert_eq!(news.recv().unwrap(), News::Done);
    records[1..].iter().for_each(|save| storage.save(save.clone()));
    wait_for(&news, last_number(&records));
    storage.close();
    let (_storage, second, ..) = open(Place::Memory).unwrap();
    assert_ne!(first.storage, second.storage);
    assert_eq!((second.boot, second.member), (Boot(1), None));
}

/// A storage of a new member on a disk in memory, and what it is to save.
fn member(disk: &MemoryDisk) -> (Storage, Receiver<News>, Vec<Save>) {
    let (storage, news, say) = on(disk);
    let mut records: Vec<Save> = saves(7, 60);
    storage.become_member(NodeId(1), settings(CLUSTER), records.first().cloned(), done(&say));
    assert_eq!(news.recv().unwrap(), News::Done);
    records.retain(|save| !save.begins_anew());
    (storage, news, records.split_off(1))
}

/// Those that come while the disk is at work share one sync, and none is reported before it.
#[test]
fn saves_that_wait_are_made_durable_together() {
    let disk = MemoryDisk::new();
    let (storage, news, records) = member(&disk);
    let ((begun, syncs), (go, gate)) = (channel(), channel());
    let gate = parking_lot::Mutex::new(gate);
    disk.watch(move |access| {
        if access == Access::SyncData {
            begun.send(()).unwrap();
            // When the test is over, so is the waiting.
            let _ = gate.lock().recv();
        }
    });
    let first = records.iter().position(|save| save.must_sync() && save.number() != 0).unwrap();
    let (early, late) = records.split_at(first + 1);
    early.iter().for_each(|save| storage.save(save.clone()));
    syncs.recv().unwrap();
    late.iter().for_each(|save| storage.save(save.clone()));
    let number = last_number(early);
    let is_early = |news: News| assert!(matches!(news, News::Saved(told) if told < number));
    news.try_iter().for_each(is_early);
    go.send(()).unwrap();
    syncs.recv().unwrap();
    assert_eq!(news.recv().unwrap(), News::Saved(number));
    assert_eq!(news.try_recv().ok(), None, "the second group is not durable yet");
    go.send(()).unwrap();
    assert_eq!(news.recv().unwrap(), News::Saved(last_number(late)), "all of it at once");
    disk.unwatch();
}

/// R53: the first error is the last word, whatever the disk says later.
#[test]
fn after_an_error_nothing_is_reported_but_that() {
    let faults = [Some(Fault::Io), Some(Fault::Short), Some(Fault::Space), None];
    for (fault, calls) in faults.into_iter().flat_map(|fault| [(fault, 1), (fault, 2)]) {
        let disk = MemoryDisk::new();
        let (storage, news, records) = member(&disk);
        match fault {
            Some(fault) => disk.fail_at(disk.calls() + calls, fault),
            None => disk.set_capacity(Some(1)),
        }
        let sync = records.iter().find(|save| save.must_sync()).unwrap();
        storage.save(sync.clone());
        let News::Failed(why) = news.recv().unwrap() else { panic!("{fault:?} is no failure") };
        assert!(why.starts_with("the Raft log: raft/wal-"), "{why}");
        disk.set_capacity(None);
        records.iter().for_each(|save| storage.save(save.clone()));
        storage.close();
        assert_eq!(news.try_iter().count(), 0, "{fault:?}");
    }
}

/// Whoever speaks as a member before it is one has a bug, which must not pass for a save.
#[test]
fn what_is_no_member_saves_nothing() {
    let (storage, news, _) = on(&MemoryDisk::new());
    storage.save(saves(1, 1).remove(0));
    assert_eq!(news.recv().unwrap(), News::Failed("only members have a Raft log".to_owned()));
}
