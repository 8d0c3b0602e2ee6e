//! Copies of one member, alone in sync, in a folder: what was acknowledged is there when they are
//! opened again, whatever checkpoints there were.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::path::{Path, PathBuf};

use isogrid_engine::env::split_mix;
use isogrid_engine::{NewEntry, Table, TableConfig};
use isogrid_grid::copies::Out;
use isogrid_grid::id::{Copy, Data, Epoch, NodeId};
use isogrid_grid::metadata::{Acks, GroupSettings, Owners, Persist, Segment};

use super::*;

const GROUP: GroupId = GroupId(7);
const SETTINGS: GroupSettings = GroupSettings {
    owners: Owners::Count(1),
    persist: Persist::Sync,
    local_reads: false,
    min_insync: 1,
    acks: Acks::Sync,
};
const SEGMENTS: u16 = 2;
const NOW: Now = Now { monotonic: 1_000, wall: 1_000_000 };
const ID: StorageId = StorageId(42);

/// A folder of its own for each test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("isogrid-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn path(&self) -> &Path {
        &self.0
    }

    fn files(&self) -> Vec<PathBuf> {
        let inside = self.0.join(format!("copies-{:032x}", ID.0));
        let mut all: Vec<PathBuf> =
            std::fs::read_dir(inside).unwrap().map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A process of the member.
struct Life {
    disk: Arc<CopyDisk>,
    copies: Arc<Copies>,
    table: Arc<Table>,
}

/// Its thread may have the disk a moment longer: the next process must not find it in use.
impl Drop for Life {
    fn drop(&mut self) {
        self.disk.log.get().into_iter().for_each(|log| log.close().unwrap());
    }
}

impl Life {
    fn begin(folder: &Folder, epoch: u32) -> Result<Life, CopiesError> {
        Life::kept(folder, epoch, Persist::Sync)
    }

    fn kept(folder: &Folder, epoch: u32, persist: Persist) -> Result<Life, CopiesError> {
        let life = Life::open(folder, epoch, persist)?;
        life.serve(epoch);
        Ok(life)
    }

    /// What there is on the disk, not served yet.
    fn open(folder: &Folder, epoch: u32, persist: Persist) -> Result<Life, CopiesError> {
        let place = match Place::find(folder.path())? {
            Some(place) => place,
            None => Place::begin(folder.path(), ID)?,
        };
        place.check()?;
        let disk = CopyDisk::new(&place, 1 << 20);
        let config = TableConfig {
            segments: Some(u32::from(SEGMENTS)),
            max_bytes: 8 << 20,
            seed: u64::from(epoch),
            ..TableConfig::default()
        };
        let table = Arc::new(Table::new(&config, 0).unwrap());
        let keeper = Some(Arc::clone(&disk) as Arc<dyn Keeper>);
        let settings = GroupSettings { persist, ..SETTINGS };
        let copies = Copies::new(NodeId(1), GROUP, &settings, Arc::clone(&table), keeper);
        let life = Life { disk, copies, table };
        let of_thread = Arc::downgrade(&life.copies);
        let tell = move |durable: Durable| {
            let (copies, mut out) = (of_thread.upgrade(), Vec::new());
            for ((_, at), count) in durable {
                copies.iter().for_each(|one| one.durable(NOW, at, count, &mut out));
            }
            wake(out);
        };
        let kept = [(GROUP, Arc::clone(&life.copies))];
        life.disk.open(NOW, &kept, tell, |why| panic!("{why}"))?;
        Ok(life)
    }

    /// The member is the only one in sync.
    fn serve(&self, epoch: u32) {
        let copy = Copy { node: NodeId(1), data: Data::Disk(ID) };
        let view = Segment {
            epoch: Epoch(epoch),
            primary: Some(NodeId(1)),
            insync: vec![copy],
            syncing: Vec::new(),
            target: vec![NodeId(1)],
            clock_floor: 0,
            lost_before: 0,
            forced_before: 0,
            stale: Vec::new(),
        };
        let serves = (Some(view.epoch), None);
        for at in (0..SEGMENTS).map(SegmentId) {
            self.copies.view(NOW, at, &view, Some(copy), serves, &mut Vec::<Out>::new());
        }
    }

    /// Writes, and waits until that is acknowledged.
    async fn write(&self, key: u32, value: Option<&[u8]>) {
        let key = key.to_le_bytes();
        let hash = self.table.hash(&key);
        let pinned = self.table.pin();
        let mut entry = pinned.entry(hash, &key, NOW.wall).unwrap();
        match value {
            Some(value) => {
                entry.put(&NewEntry { value: [value, b""], ..NewEntry::default() }).unwrap();
            }
            None => {
                entry.remove().unwrap();
            }
        }
        drop(entry);
        drop(pinned);
        self.commit(hash.segment()).await;
    }

    async fn commit(&self, segment: u32) {
        let ticket = self.copies.ticket(segment);
        let mut out = Vec::new();
        self.copies.flush(NOW, segment, &mut out);
        wake(out);
        if let Some(ticket) = ticket {
            poll_fn(|cx| self.copies.poll(ticket, cx)).await.unwrap();
        }
    }

    async fn clear(&self) {
        for at in 0..u32::from(SEGMENTS) {
            self.copies.clear(NOW, at).unwrap();
            self.commit(at).await;
        }
    }

    fn checkpoint(&self) -> Option<u64> {
        let (log, caches) = (self.disk.log.get().unwrap(), self.disk.caches.get().unwrap());
        checkpoint::write(&self.disk, log, caches, NOW).unwrap()
    }

    fn entries(&self) -> BTreeMap<u32, (Vec<u8>, u64)> {
        let pinned = self.table.pin();
        let entry = |key: u32| {
            let bytes = key.to_le_bytes();
            let entry = pinned.get(self.table.hash(&bytes), &bytes, NOW.wall)?;
            Some((key, (entry.value().to_vec(), entry.version())))
        };
        (0..KEYS).filter_map(entry).collect()
    }
}

fn wake(out: Vec<Out>) {
    for one in out {
        if let Out::Wake(waker) = one {
            waker.wake();
        }
    }
}

const KEYS: u32 = 400;

/// Lives one after the other, each with writes and now and then a checkpoint: the next one finds
/// what was acknowledged, versions included.
async fn lives(seed: u64) {
    let folder = Folder::new(&format!("copies-{seed}"));
    let random = &mut seed.clone();
    let mut known = BTreeMap::new();
    for epoch in 5..10 {
        let life = Life::begin(&folder, epoch).unwrap();
        assert_eq!(life.entries(), known, "seed {seed}, epoch {epoch}");
        for step in 0..400_u32 {
            let key = u32::try_from(split_mix(random) % u64::from(KEYS)).unwrap();
            match split_mix(random) % 200 {
                0 => life.clear().await,
                1 | 2 => assert!(life.checkpoint().is_some()),
                3..60 => life.write(key, None).await,
                _ => {
                    let len = usize::try_from(split_mix(random) % 3_000).unwrap();
                    let value = [&step.to_le_bytes()[..], &vec![7; len]].concat();
                    life.write(key, Some(&value)).await;
                }
            }
        }
        known = life.entries();
        assert!(!known.is_empty());
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_there_again() {
    for seed in 0..2 {
        lives(seed).await;
    }
}

/// Writes that come between the chunks of a checkpoint are in the log behind it.
#[test]
fn a_checkpoint_is_written_while_others_write() {
    let folder = Folder::new("copies-fuzzy");
    let life = Life::begin(&folder, 5).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    (0..KEYS).for_each(|key| runtime.block_on(life.write(key, Some(&[1; 4_000]))));
    std::thread::scope(|scope| {
        let checkpoints = scope.spawn(|| (0..20).filter(|_| life.checkpoint().is_some()).count());
        let mut turn = 0_u32;
        while !checkpoints.is_finished() {
            turn += 1;
            let value = [&turn.to_le_bytes()[..], &[2; 3_000]].concat();
            let value = (!turn.is_multiple_of(3)).then_some(&value[..]);
            runtime.block_on(life.write(turn * 7 % KEYS, value));
        }
        assert_eq!(checkpoints.join().unwrap(), 20);
    });
    let known = life.entries();
    drop(life);
    assert_eq!(Life::begin(&folder, 6).unwrap().entries(), known);
}

#[tokio::test]
async fn what_is_not_as_it_was_written_is_damage() {
    let folder = Folder::new("copies-damage");
    let life = Life::begin(&folder, 5).unwrap();
    life.write(1, Some(b"before")).await;
    life.checkpoint();
    life.write(1, Some(b"behind")).await;
    drop(life);
    let check = || Place::find(folder.path()).unwrap().unwrap().check();
    check().unwrap();
    let files = folder.files();
    assert_eq!(files.len(), 2, "{files:?}");
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        // The very end only proves what is ahead of it: a log without that has a torn end.
        for at in (0..bytes.len() - 40).step_by(3) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 4;
            std::fs::write(&file, &flipped).unwrap();
            let found = check();
            assert!(found.as_ref().is_err_and(CopiesError::is_damage), "{at}: {found:?}");
        }
        std::fs::remove_file(&file).unwrap();
        assert!(check().is_err_and(|error| error.is_damage()), "{file:?} is missing");
        std::fs::write(&file, &bytes).unwrap();
    }
    assert_eq!(Life::begin(&folder, 6).unwrap().entries()[&1].0, b"behind");
    let place = Place::find(folder.path()).unwrap().unwrap();
    place.put_aside(9).unwrap();
    assert!(Place::find(folder.path()).unwrap().is_none());
}

#[tokio::test]
async fn copies_of_a_cache_that_is_none_are_refused() {
    let folder = Folder::new("copies-unclaimed");
    let life = Life::begin(&folder, 5).unwrap();
    life.write(1, Some(b"v")).await;
    drop(life);
    let place = Place::find(folder.path()).unwrap().unwrap();
    let opened = CopyDisk::new(&place, 1 << 20).open(NOW, &[], |_| {}, |_| {});
    let told = opened.unwrap_err();
    assert!(!told.is_damage() && told.to_string().contains("(g7)"), "{told}");
}

/// What is written behind is acknowledged at once, and is on the disk a moment later though nobody
/// waits for it. A process that settles it ends without a loss, and the next one knows that.
#[tokio::test]
async fn what_is_written_behind_gets_to_the_disk() {
    let folder = Folder::new("copies-behind");
    for (epoch, settles) in [(5, false), (6, true), (7, false)] {
        let life = Life::kept(&folder, epoch, Persist::Async).unwrap();
        let torn = u64::from(epoch == 6);
        assert_eq!(life.copies.stats().torn(), torn, "epoch {epoch}");
        let log = life.disk.log.get().unwrap();
        let before = log.durable();
        life.write(epoch, Some(b"v")).await;
        if settles {
            life.disk.settle().unwrap();
        } else {
            while log.durable() <= before {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(life.entries().len(), usize::try_from(epoch - 4).unwrap());
    }
}

/// Copies of structures are made before it is known how their cluster keeps them. Those that are in memory
/// leave nothing, in no checkpoint either; those on disks are what they were, and only those that are
/// written behind may lack something.
#[tokio::test]
async fn how_they_are_kept_may_be_known_when_they_are_back() {
    for (persist, left) in [(Persist::None, 0), (Persist::Async, 1), (Persist::Sync, 1)] {
        let folder = Folder::new(&format!("copies-{}", persist.name()));
        for (epoch, left) in [(5, 0), (6, left)] {
            let life = Life::open(&folder, epoch, Persist::Async).unwrap();
            life.copies.keep_as(persist);
            life.serve(epoch);
            assert_eq!(life.entries().len(), left, "{persist:?}");
            let torn = u64::from(left > 0 && persist == Persist::Async);
            assert_eq!(life.copies.stats().torn(), torn, "{persist:?}");
            life.write(1, Some(b"v")).await;
            assert_eq!(life.copies.is_kept(), persist.is_kept());
            assert!(life.checkpoint().is_some());
        }
    }
}
