//! Writes that were acknowledged at once and that a failover has lost (R37): counted when this member
//! comes back, and written to files before that where there is a folder for them
//! (`cluster.discarded_dir`).
//!
//! `discarded-<epoch>.log` has those of one epoch, a line of JSON each, in their order within a
//! segment. A thread writes them: whoever finds them must not wait for a disk.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::iter::once;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use isogrid_engine::table::Change;
use isogrid_engine::{NewEntry, Timestamp};
use isogrid_grid::copies::{Copies, changes};
use isogrid_grid::id::SegmentId;
use isogrid_grid::replica::Op;
use isogrid_wire::base64;
use serde::Serialize;

/// What the files of a folder may come to, bytes. What comes when it is full is counted only.
const FILES_BYTES: u64 = 64 << 20;
/// Segments whose writes are written at a time.
const BATCH: usize = 1_024;
const PREFIX: &str = "discarded-";

/// Writes of a segment that are lost.
pub(super) struct Lost {
    pub cache: String,
    /// Where they are counted.
    pub copies: Option<Arc<Copies>>,
    pub segment: SegmentId,
    pub ops: Vec<Op>,
    /// When that was found.
    pub time: Timestamp,
}

/// Counts what is lost, and keeps it if there is a folder.
#[derive(Default)]
pub(super) struct Discards(Option<Sender<Lost>>);

impl Discards {
    /// They are kept in this folder, which only this user reads.
    ///
    /// # Errors
    /// There can be no such folder.
    pub fn open(folder: PathBuf) -> io::Result<Discards> {
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        room(&folder)?;
        let (sender, receiver) = channel();
        let name = "discards".to_owned();
        std::thread::Builder::new().name(name).spawn(move || keep_all(&folder, &receiver))?;
        Ok(Discards(Some(sender)))
    }

    /// These are lost.
    pub fn take(&self, lost: Lost) {
        match &self.0 {
            Some(sender) => drop(sender.send(lost)),
            None => tell(&lost, None),
        }
    }
}

/// Counts what is lost; `kept`: so many of it are in files of this folder.
fn tell(Lost { cache, copies, segment, ops, .. }: &Lost, kept: Option<(usize, &Path)>) {
    let (count, in_files) = (ops.len() as u64, kept.map_or(0, |(kept, _)| kept as u64));
    if let Some(copies) = copies {
        copies.stats().discarded(count, in_files);
    }
    let mut epochs: Vec<u32> = ops.iter().map(|op| op.epoch.0).collect();
    epochs.dedup();
    let path = |folder: &Path, epoch: &u32| folder.join(file_name(*epoch)).display().to_string();
    let paths = |folder| epochs.iter().map(|epoch| path(folder, epoch)).collect::<Vec<_>>();
    let files = kept.map(|(_, folder)| paths(folder).join(", "));
    tracing::warn!(
        event = "async_discarded",
        cache,
        %segment,
        count,
        kept = in_files,
        files,
        "writes that were acknowledged at once are lost: a failover came before the copies had them"
    );
}

fn file_name(epoch: u32) -> String {
    format!("{PREFIX}{epoch}.log")
}

fn keep_all(folder: &Path, receiver: &Receiver<Lost>) {
    while let Ok(first) = receiver.recv() {
        let all: Vec<Lost> = once(first).chain(receiver.try_iter().take(BATCH)).collect();
        let kept = keep(folder, &all).unwrap_or_else(|error| {
            let folder = folder.display();
            tracing::error!(event = "discarded_not_kept", %folder, %error, "some or all are counted only");
            vec![0; all.len()]
        });
        for (lost, kept) in all.iter().zip(kept) {
            tell(lost, Some((kept, folder)));
        }
    }
}

/// Puts as many into the folder's files as have room, and makes them durable; how many those are, of
/// each segment.
fn keep(folder: &Path, all: &[Lost]) -> io::Result<Vec<usize>> {
    let (mut room, mut files, mut kept) = (room(folder)?, BTreeMap::new(), Vec::new());
    for lost in all {
        let fits = lost.ops.iter().map_while(|op| {
            let text = lines(lost, op);
            room = room.checked_sub(text.len() as u64)?;
            files.entry(op.epoch.0).or_insert_with(Vec::new).extend(text);
            Some(())
        });
        kept.push(fits.count());
    }
    for (epoch, text) in files {
        append(&folder.join(file_name(epoch)), &text)?;
    }
    File::open(folder)?.sync_all()?;
    Ok(kept)
}

/// How many bytes there is room for.
fn room(folder: &Path) -> io::Result<u64> {
    let mut used = 0;
    for entry in folder.read_dir()? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            used += entry.metadata()?.len();
        }
    }
    Ok(FILES_BYTES.saturating_sub(used))
}

/// All of it or nothing, as far as the disk lets go of what it could not take.
fn append(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let len = file.metadata()?.len();
    file.write_all(text).and_then(|()| file.sync_all()).inspect_err(|_| drop(file.set_len(len)))
}

/// A change that is lost.
#[derive(Serialize)]
struct Line<'a> {
    /// When it was found to be lost, ms since 1970.
    time: Timestamp,
    cache: &'a str,
    segment: u16,
    /// In which epoch of the segment it was written.
    epoch: u32,
    /// The number of the operation, without gaps in the segment.
    seq: u64,
    op: &'static str,
    #[serde(flatten)]
    changed: Changed<'a>,
}

#[derive(Default, Serialize)]
struct Changed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    /// In place of `key`, where that is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<u32>,
    /// When it expires, ms since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    /// Ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_idle: Option<u32>,
}

/// The lines of an operation: one for each key that it changes.
fn lines(lost: &Lost, op: &Op) -> Vec<u8> {
    let mut text = Vec::new();
    let told = changes(&op.record, |change| {
        let (name, changed) = told(&change);
        let line = Line {
            time: lost.time,
            cache: &lost.cache,
            segment: lost.segment.0,
            epoch: op.epoch.0,
            seq: op.seq,
            op: name,
            changed,
        };
        // Neither a map with keys that are no text nor a full disk: it cannot fail.
        let _ = serde_json::to_writer(&mut text, &line);
        text.push(b'\n');
    });
    debug_assert!(told.is_some(), "a log has records alone");
    text
}

fn told<'a>(change: &Change<'a>) -> (&'static str, Changed<'a>) {
    match *change {
        Change::Put { key, entry, epoch, seq } => {
            ("put", put(&entry, named(key, version(epoch, seq))))
        }
        Change::Remove { key, epoch, seq } => ("remove", named(key, version(epoch, seq))),
        // What of a copy is cleared says a number.
        Change::Clear | Change::Life { .. } => ("clear", Changed::default()),
        Change::Transaction(_) => ("transaction", Changed::default()),
    }
}

fn put<'a>(entry: &NewEntry<'_>, named: Changed<'a>) -> Changed<'a> {
    Changed {
        version: entry.version.or(named.version),
        value_base64: Some(base64::text(&entry.value.concat())),
        flags: Some(entry.flags),
        expires: entry.deadline,
        max_idle: entry.max_idle,
        ..named
    }
}

fn named(key: &[u8], version: u64) -> Changed<'_> {
    let text = std::str::from_utf8(key).ok();
    let key_base64 = text.is_none().then(|| base64::text(key));
    Changed { key: text, key_base64, version: Some(version), ..Changed::default() }
}

fn version(epoch: u32, seq: u64) -> u64 {
    u64::from(epoch) << 40 | seq
}

#[cfg(test)]
mod tests {
    use std::fs;

    use isogrid_engine::table::encode_change;
    use isogrid_grid::id::Epoch;

    use super::*;
    use crate::security::random;

    fn folder() -> PathBuf {
        let name = format!("isogrid-discards-{:x}", u64::from_le_bytes(random::bytes()));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).unwrap();
        folder
    }

    fn op(epoch: u32, seq: u64, change: &Change<'_>) -> Op {
        let mut record = Vec::new();
        encode_change(change, &mut record);
        Op::whole(seq, Epoch(epoch), record.into())
    }

    fn lost(ops: Vec<Op>) -> Lost {
        Lost { cache: "shop".to_owned(), copies: None, segment: SegmentId(7), ops, time: 99 }
    }

    fn removal(epoch: u32, seq: u64) -> Op {
        op(epoch, seq, &Change::Remove { key: b"k", epoch, seq })
    }

    #[test]
    fn a_line_says_all_of_a_change() {
        let entry = NewEntry { value: [b"\0a", b"b"], flags: 5, ..NewEntry::default() };
        let mortal = NewEntry { deadline: Some(123), max_idle: Some(9), ..NewEntry::default() };
        let put = |key, entry| Change::Put { key, entry, epoch: 2, seq: 6 };
        let remove = Change::Remove { key: b"k\"2", epoch: 2, seq: 7 };
        let version = (2_u64 << 40) + 6;
        for (change, expected) in [
            (
                put(b"k1", entry),
                vec![format!(
                    r#""put","key":"k1","version":{version},"value_base64":"AGFi","flags":5"#
                )],
            ),
            (
                put(b"\xff", mortal),
                vec![format!(
                    r#""put","key_base64":"/w==","version":{version},"value_base64":"","flags":0,"expires":123,"max_idle":9"#
                )],
            ),
            (remove, vec![format!(r#""remove","key":"k\"2","version":{}"#, version + 1)]),
            (Change::Life { seq: 8 }, vec![r#""clear""#.to_owned()]),
            (
                Change::Transaction(&[put(b"a", NewEntry::default()), remove]),
                vec![
                    format!(r#""put","key":"a","version":{version},"value_base64":"","flags":0"#),
                    format!(r#""remove","key":"k\"2","version":{}"#, version + 1),
                ],
            ),
        ] {
            let front = r#"{"time":99,"cache":"shop","segment":7,"epoch":2,"seq":31,"op":"#;
            let expected: String =
                expected.iter().map(|rest| format!("{front}{rest}}}\n")).collect();
            let text = lines(&lost(vec![]), &op(2, 31, &change));
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }

    #[test]
    fn each_epoch_has_a_file_and_all_of_them_a_bound() {
        let folder = folder();
        let line = lines(&lost(vec![]), &removal(3, 1)).len() as u64;
        let two = lost(vec![removal(3, 1), removal(4, 2)]);
        assert_eq!(keep(&folder, &[two, lost(vec![removal(4, 1)])]).unwrap(), [2, 1]);
        assert_eq!(keep(&folder, &[lost(vec![removal(3, 2)])]).unwrap(), [1]);
        let len = |epoch| fs::metadata(folder.join(file_name(epoch))).unwrap().len();
        assert_eq!([3, 4].map(len), [2 * line; 2]);
        // Room for two more.
        let other = File::create(folder.join(file_name(9))).unwrap();
        other.set_len(FILES_BYTES - 6 * line).unwrap();
        let three = lost((3..6).map(|seq| removal(4, seq)).collect());
        assert_eq!(keep(&folder, &[three, lost(vec![removal(4, 6)])]).unwrap(), [2, 0]);
        assert_eq!((len(4), room(&folder).unwrap()), (4 * line, 0));
        assert!(fs::read_to_string(folder.join(file_name(4))).unwrap().lines().all(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["epoch"] == 4
        }));
        fs::remove_dir_all(folder).unwrap();
    }
}
