//! Data directories that must not be used: each is refused with exit code 78, the file, the reason
//! and the next step, and nothing in it is changed.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use isogrid_tests::durability::{Fleet, Promise};
use isogrid_tests::harness::{StartError, isogrid, run, wait_until};

use super::{Place, copy, files, kill, seed};

const REFUSED: Option<i32> = Some(78);
pub const SETTING: &str = "node.log_size=64KiB";

/// All that is in a folder; not the lock, in which a process writes its id.
pub fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |file: PathBuf| (file.clone(), fs::read(folder.join(file)).unwrap());
    files(folder).into_iter().filter(|file| file != "lock").map(read).collect()
}

/// A directory with a snapshot and, behind it, several log files; the older ones are gone.
pub fn filled() -> Place {
    let place = Place::new("async").with(SETTING);
    let mut fleet = Fleet::new(seed(), 2);
    wait_until("a kill leaves a snapshot and log files behind it", || {
        let server = place.start();
        // Whatever was lost, another test finds out.
        fleet.check(&server, Promise::All).unwrap();
        fleet.run(&server, || {
            wait_until("there are log files", || has_log_behind_snapshot(&place.data));
            server.signal("KILL");
        });
        kill(server);
        has_log_behind_snapshot(&place.data)
    });
    place
}

fn has_log_behind_snapshot(data: &Path) -> bool {
    let all = files(data);
    let snapshots: Vec<u64> = all.iter().filter_map(|file| number(file, ".snapshot")).collect();
    let log: Vec<u64> = all.iter().filter_map(|file| number(file, ".log")).collect();
    let [position] = snapshots[..] else { return false };
    !log.contains(&1) && log.iter().filter(|first| **first > position).count() >= 3
}

/// The number in a name.
fn number(file: &Path, suffix: &str) -> Option<u64> {
    let name = file.file_name()?.to_str()?.strip_suffix(suffix)?;
    u64::from_str_radix(name.trim_start_matches("wal-"), 16).ok()
}

pub fn log_files(data: &Path) -> Vec<PathBuf> {
    let log = files(data).into_iter().filter(|file| file.starts_with("wal"));
    log.map(|file| data.join(file)).collect()
}

fn edit(path: &Path, change: impl Fn(String) -> String) {
    fs::write(path, change(fs::read_to_string(path).unwrap())).unwrap();
}

/// Changes what `meta` says, as a program would that writes such files.
fn edit_meta(data: &Path, change: impl Fn(String) -> String) {
    edit(&data.join("meta"), |text| {
        let (checked, _) = text.split_once("check ").unwrap();
        let checked = change(checked.to_owned());
        format!("{checked}check {:08x}\n", crc32c::crc32c(checked.as_bytes()))
    });
}

/// Another digit in the place of the first one of the storage id.
fn other_digit(text: &str) -> String {
    let (head, id) = text.split_once("storage ").unwrap();
    let other = if id.starts_with('0') { "1" } else { "0" };
    format!("{head}storage {other}{}", &id[1..])
}

/// A case: its name, what is done to a good directory, and what the refusal says.
type Case = (&'static str, fn(&Path), &'static [&'static str]);

const CASES: [Case; 9] = [
    (
        "another format version",
        |data| edit_meta(data, |text| text.replacen('2', "3", 1)),
        &["meta", "this release knows", "use the release that wrote it"],
    ),
    (
        "no storage id",
        |data| edit_meta(data, |text| text.replace("storage", "")),
        &["meta", "is damaged", "restore the file"],
    ),
    (
        "a storage id that was damaged",
        |data| edit(&data.join("meta"), |text| other_digit(&text)),
        &["meta", "its checksum does not fit", "restore the file"],
    ),
    (
        "another node's snapshot",
        |data| edit_meta(data, |text| other_digit(&text)),
        &[".snapshot", "another node's"],
    ),
    (
        "half copied: no meta",
        |data| fs::remove_file(data.join("meta")).unwrap(),
        &["there is no file `meta`", "copy the whole directory"],
    ),
    ("half copied: no log", |data| fs::remove_dir_all(data.join("wal")).unwrap(), &["wal"]),
    (
        "half copied: no snapshot",
        |data| fs::remove_dir_all(data.join("snapshots")).unwrap(),
        &["wal-", "missing"],
    ),
    (
        "half copied: neither log nor snapshot",
        |data| {
            fs::remove_dir_all(data.join("wal")).unwrap();
            fs::remove_dir_all(data.join("snapshots")).unwrap();
        },
        &["data was kept here", "put the files back"],
    ),
    (
        "a log file is missing in the middle",
        |data| {
            let log = log_files(data);
            fs::remove_file(&log[log.len() - 2]).unwrap();
        },
        &["wal-", "is missing", "repair"],
    ),
];

#[test]
fn directories_that_are_not_whole_or_not_ours_are_refused() {
    let good = filled();
    let mut wrong = Vec::new();
    for (what, hurt, says) in CASES {
        let bad = Place::new("async").with(SETTING);
        copy(&good.data, &bad.data);
        hurt(&bad.data);
        let before = contents(&bad.data);
        match bad.try_start() {
            Ok(_) => wrong.push(format!("{what}: not refused")),
            Err(error) => {
                let missing = says.iter().filter(|text| !error.log.contains(**text));
                wrong.extend(missing.map(|text| format!("{what}: no {text:?} in {}", error.log)));
                let plain = error.code == REFUSED && !error.log.contains("panicked");
                if !plain {
                    wrong.push(format!("{what}: {error:?}"));
                }
            }
        }
        if contents(&bad.data) != before {
            wrong.push(format!("{what}: something was changed"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    good.start();
}

#[test]
fn the_log_of_another_node_is_refused() {
    let [place, other] = ["ours", "theirs"].map(|value| {
        let place = Place::new("async");
        let server = place.start();
        server.connect().ask(format!("set a 0 0 {}\r\n{value}\r\n", value.len()), "STORED\r\n");
        kill(server);
        place
    });
    fs::remove_dir_all(place.data.join("wal")).unwrap();
    copy(&other.data.join("wal"), &place.data.join("wal"));
    let before = contents(&place.data);
    let StartError { code, log } = place.try_start().err().unwrap();
    assert_eq!(code, REFUSED, "{log}");
    let says = ["wal-0000000000000001.log", "another node's", "put the right directory back"];
    assert!(says.iter().all(|text| log.contains(text)), "{log}");
    assert_eq!(contents(&place.data), before);
}

#[test]
fn a_directory_in_use_is_refused() {
    let place = Place::new("async");
    let first = place.start();
    first.connect().ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    let before = contents(&place.data);
    let StartError { code, log } = place.try_start().err().unwrap();
    assert_eq!(code, REFUSED, "{log}");
    let holder = format!("in use by process {}", first.pid());
    assert!(log.contains(&holder) && log.contains("another directory"), "{log}");
    assert_eq!(contents(&place.data), before);
    first.connect().ask("set a 0 0 1\r\ny\r\n", "STORED\r\n");
    assert_eq!(
        fs::read_to_string(place.data.join("lock")).unwrap().trim(),
        first.pid().to_string()
    );
}

/// As a user who may not write there; root may write everywhere.
#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    let place = Place::new("async");
    drop(place.start());
    let is_root = run(Command::new("id").arg("-u")).stdout == b"0\n";
    fs::set_permissions(&place.folder, Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&place.data, Permissions::from_mode(0o555)).unwrap();
    let program = place.folder.join("isogrid");
    // The target folder may be closed to others.
    fs::copy(isogrid(), &program).unwrap();
    let before = contents(&place.data);
    let mut command = match is_root {
        true => Command::new("setpriv"),
        false => Command::new(&program),
    };
    if is_root {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    }
    command.args(["serve", "--memcached", "127.0.0.1:0", "--http", "off", "--native", "off"]);
    command.arg("--data-dir").arg(&place.data);
    let done = run(command.current_dir("/"));
    let log = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), REFUSED, "{log}");
    assert!(log.contains(&*place.data.to_string_lossy()), "{log}");
    assert!(log.contains("ermission denied") && log.contains("who may"), "{log}");
    assert_eq!(contents(&place.data), before);
    fs::set_permissions(&place.data, Permissions::from_mode(0o755)).unwrap();
}
