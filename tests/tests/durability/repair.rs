//! A damaged log: the server refuses it and names a command; that very command makes it start again
//! with all that is whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use isogrid_tests::harness::{Client, Server, isogrid, run};

use super::refused::{contents, filled, log_files};
use super::{Place, copy, kill};

const KEYS: usize = 200;
const HURT: usize = 100;

fn value(n: usize) -> String {
    format!("value-of-{n}-").repeat(20)
}

/// A directory whose name is no plain word, with `KEYS` keys in its log.
fn filled_log() -> Place {
    let mut place = Place::new("sync");
    place.data = place.folder.join("it's my data");
    let server = place.start();
    let mut client = server.connect();
    for n in 0..KEYS {
        let value = value(n);
        client.ask(format!("set key-{n} 7 0 {}\r\n{value}\r\n", value.len()), "STORED\r\n");
    }
    kill(server);
    place
}

fn get(client: &mut Client, n: usize) -> Option<String> {
    client.send(format!("get key-{n}\r\n"));
    let head = client.line();
    if head == "END" {
        return None;
    }
    assert!(head.starts_with(&format!("VALUE key-{n} 7 ")), "{head}");
    let value = client.line();
    assert_eq!(client.line(), "END");
    Some(value)
}

/// Runs what somebody would copy from a message.
fn shell(command: &str) -> Output {
    let folder = isogrid().parent().map(Path::to_owned).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    run(Command::new("sh").args(["-c", command]).env("PATH", path))
}

fn log_command(args: &[&str], dir: &Path) -> (Option<i32>, String, String) {
    let done = run(Command::new(isogrid()).arg("log").args(args).arg(dir));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code(), text(&done.stdout), text(&done.stderr))
}

/// The command in what a server says that refuses to start.
fn advice(place: &Place) -> String {
    let error = place.try_start().err().unwrap();
    assert_eq!(error.code, Some(78), "{}", error.log);
    let (_, rest) = error.log.split_once("help: `").unwrap_or_else(|| panic!("{}", error.log));
    rest.split_once('`').unwrap().0.to_owned()
}

/// Turns a byte of the value of a key over; the file that it is in.
fn hurt_value(data: &Path, n: usize) -> PathBuf {
    let file = log_files(data).pop().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let value = value(n).into_bytes();
    let at = bytes.windows(value.len()).position(|window| window == value).unwrap();
    bytes[at + 3] ^= 0x40;
    fs::write(&file, bytes).unwrap();
    file
}

#[test]
fn the_command_that_a_refusal_names_makes_the_server_start_with_all_that_is_whole() {
    let place = filled_log();
    let (code, out, _) = log_command(&["verify"], &place.data);
    assert_eq!(code, Some(0), "{out}");
    let file = hurt_value(&place.data, HURT);
    let (damaged, before) = (fs::read(&file).unwrap(), contents(&place.data));
    let command = advice(&place);
    for args in [&["verify"][..], &["repair"]] {
        let (code, out, error) = log_command(args, &place.data);
        assert_eq!(code, Some(1), "{out}{error}");
        assert!(error.contains(&command), "{error}");
        assert!(
            out.contains("damaged") && out.contains("\"key-100\" of cache \"default\""),
            "{out}"
        );
    }
    assert_eq!(contents(&place.data), before, "nothing was asked to be changed");
    let done = shell(&command);
    let out = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{command}: {done:?}");
    assert!(out.contains("lost record") && out.contains("key-100"), "{out}");
    let kept = PathBuf::from(format!("{}.damaged-1", file.display()));
    assert_eq!(fs::read(kept).unwrap(), damaged, "the damaged file is kept");
    let server = place.start();
    let mut client = server.connect();
    for n in 0..KEYS {
        assert_eq!(get(&mut client, n), (n != HURT).then(|| value(n)), "key-{n}");
    }
    let (code, out, error) = log_command(&["repair", "--yes"], &place.data);
    assert_eq!(code, Some(78), "{out}");
    assert!(error.contains(&format!("in use by process {}", server.pid())), "{error}");
    kill(server);
    let (code, out, error) = log_command(&["verify"], &place.data);
    assert_eq!(code, Some(0), "{out}{error}");
}

/// A name and what is done to a good directory.
type Case = (&'static str, fn(&Path));

const CASES: [Case; 5] = [
    ("a file in the middle is missing", |data| {
        let log = log_files(data);
        fs::remove_file(&log[log.len() - 2]).unwrap();
    }),
    ("the oldest files are missing", |data| {
        let log = log_files(data);
        log[..log.len() - 1].iter().for_each(|file| fs::remove_file(file).unwrap());
    }),
    ("the newest files are missing", |data| {
        let log = log_files(data);
        log[1..].iter().for_each(|file| fs::remove_file(file).unwrap());
    }),
    ("the whole log is missing", |data| fs::remove_dir_all(data.join("wal")).unwrap()),
    ("the snapshot is missing", |data| fs::remove_dir_all(data.join("snapshots")).unwrap()),
];

#[test]
fn a_log_that_lacks_files_starts_after_the_repair() {
    let good = filled();
    for (what, hurt) in CASES {
        let mut bad = Place::new("async").with(super::refused::SETTING);
        bad.data = bad.folder.join("data");
        copy(&good.data, &bad.data);
        hurt(&bad.data);
        let (code, verdict, _) = log_command(&["verify"], &bad.data);
        let opens = bad.try_start().map(drop).is_ok();
        assert_eq!(code == Some(0), opens, "{what}: {verdict}");
        if opens {
            // Only its owner knows that the newest files are missing, if his snapshot is older.
            assert_eq!(what, "the newest files are missing", "{verdict}");
            continue;
        }
        let command = advice(&bad);
        let done = shell(&command);
        assert!(done.status.success(), "{what}: {done:?}");
        let server = bad.try_start().unwrap_or_else(|error| panic!("{what}: {error:?}"));
        server.connect().ask("set after 0 0 1\r\nx\r\n", "STORED\r\n");
        kill(server);
        let server = bad.start();
        server.connect().ask("get after\r\n", "VALUE after 0 1\r\nx\r\nEND\r\n");
    }
}

#[test]
fn what_is_no_data_directory_is_not_made_one() {
    let place = Place::new("async");
    for args in [&["verify"][..], &["repair", "--yes"]] {
        let (code, out, error) = log_command(args, &place.data);
        assert_eq!(code, Some(78), "{out}{error}");
        assert!(error.contains("no data directory"), "{error}");
        assert!(!place.data.exists());
    }
}

/// The repair of a server's log that another process holds would take its files away.
#[test]
fn a_server_does_not_start_while_its_log_is_repaired() {
    let place = filled_log();
    let directory = isogrid_engine::persist::DataDirectory::existing(&place.data).unwrap();
    let error = place.try_start().err().unwrap();
    assert_eq!(error.code, Some(78), "{}", error.log);
    drop(directory);
    drop::<Server>(place.start());
}
