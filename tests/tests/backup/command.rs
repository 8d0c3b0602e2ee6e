//! `isogrid snapshot save|load` on data directories, and the same functions on a node.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use isogrid::config::{Setting, Sources, load as configure};
use isogrid::server::caches::{drop_object, resolve};
use isogrid::server::{Node, backup};
use isogrid_engine::NewEntry;
use isogrid_engine::snapshot_file::ImportMode;
use isogrid_grid::catalog::Kind;
use isogrid_tests::harness::{Server, isogrid, run, temporary};

use super::{Image, image};

const KEYS: usize = 300;

/// A folder that is removed when dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        let folder = temporary("backup");
        fs::create_dir(&folder).unwrap();
        Folder(folder)
    }

    pub fn at(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn snapshot(args: &[&str]) -> (Option<i32>, String, String) {
    let done = run(Command::new(isogrid()).arg("snapshot").args(args));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (done.status.code(), text(&done.stdout), text(&done.stderr))
}

pub fn works(args: &[&str]) -> String {
    let (code, out, error) = snapshot(args);
    assert_eq!(code, Some(0), "{args:?}: {out}{error}");
    out
}

fn serve(data: &str) -> Server {
    Server::isogrid(&["--data-dir", data])
}

fn set(server: &Server, key: &str, value: &str) {
    let request = format!("set {key} 7 0 {}\r\n{value}\r\n", value.len());
    server.connect().ask(request, "STORED\r\n");
}

fn has(server: &Server, key: &str, value: &str) {
    let answer = format!("VALUE {key} 7 {}\r\n{value}\r\nEND\r\n", value.len());
    server.connect().ask(format!("get {key}\r\n"), &answer);
}

pub fn kill(mut server: Server) {
    server.signal("KILL");
    server.wait();
}

/// A directory that a killed server left, with a part of it in the log only.
fn filled(data: &str) {
    let server = serve(data);
    (0..KEYS).for_each(|n| set(&server, &format!("key-{n}"), &format!("value-{n}")));
    kill(server);
}

#[test]
fn a_directory_is_saved_and_loaded_into_another_one() {
    let folder = Folder::new();
    let [from, to, file] = ["from", "to", "all.snapshot"].map(|name| folder.at(name));
    filled(&from);
    let out = works(&["save", &file, "--data-dir", &from]);
    assert!(out.contains("default") && out.contains("300"), "{out}");
    assert!(works(&["verify", &file]).contains("whole"));
    let (code, _, error) = snapshot(&["save", &file, "--data-dir", &from]);
    assert!(code == Some(1) && error.contains("--overwrite"), "{error}");
    works(&["save", &file, "--data-dir", &from, "--overwrite"]);
    works(&["load", &file, "--data-dir", &to]);
    let server = serve(&to);
    (0..KEYS).for_each(|n| has(&server, &format!("key-{n}"), &format!("value-{n}")));
    set(&server, "key-1", "newer");
    set(&server, "another", "one");
    let (code, _, error) = snapshot(&["load", &file, "--data-dir", &to]);
    assert!(code == Some(78) && error.contains("in use by process"), "{error}");
    kill(server);
    works(&["load", &file, "--data-dir", &to]);
    let server = serve(&to);
    has(&server, "key-1", "newer");
    has(&server, "another", "one");
    kill(server);
    works(&["load", &file, "--data-dir", &to, "--mode", "replace"]);
    let server = serve(&to);
    has(&server, "key-1", "value-1");
    server.connect().ask("get another\r\n", "END\r\n");
}

#[test]
fn what_cannot_be_saved_or_loaded_changes_nothing() {
    let folder = Folder::new();
    let [from, file] = ["from", "all.snapshot"].map(|name| folder.at(name));
    filled(&from);
    works(&["save", &file, "--data-dir", &from]);
    let mut bytes = fs::read(&file).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    let [bad, missing, new] = ["bad.snapshot", "missing.snapshot", "new"].map(|n| folder.at(n));
    fs::write(&bad, bytes).unwrap();
    let other = format!("{missing}/x.snapshot");
    for (args, code, says) in [
        (&["load", &bad, "--data-dir", &from, "--mode", "replace"][..], 1, "no cache was changed"),
        (&["load", &missing, "--data-dir", &new], 1, "missing.snapshot"),
        (&["load", &file, "--data-dir", &from, "--cache", "c"], 1, "no cache \"c\""),
        (&["save", &missing, "--data-dir", &from, "--cache", "c"], 1, "no cache \"c\""),
        (&["save", &missing, "--data-dir", &new], 78, "no data directory"),
        (&["save", &other, "--data-dir", &from], 1, "no folder"),
    ] {
        let (found, out, error) = snapshot(args);
        assert_eq!(found, Some(code), "{args:?}: {out}{error}");
        assert!(error.contains(says), "{args:?}: {error}");
    }
    assert!(!Path::new(&missing).exists() && !Path::new(&new).exists());
    let server = serve(&from);
    (0..KEYS).for_each(|n| has(&server, &format!("key-{n}"), &format!("value-{n}")));
}

/// A node as a server has it, without listeners.
fn node(data: &str) -> Arc<Node> {
    let settings = vec![Setting::parse(&format!("node.data_dir={data}")).unwrap()];
    let file = Some(PathBuf::from("/dev/null"));
    let loaded = configure(&Sources { file, settings, ..Sources::default() }).unwrap();
    let node = Node::new(loaded.config).unwrap();
    node.open_data().unwrap();
    node
}

#[test]
fn a_node_saves_and_loads_its_caches() {
    let folder = Folder::new();
    let [from, to, file] = ["from", "to", "all.snapshot"].map(|name| folder.at(name));
    filled(&from);
    let (source, target) = (node(&from), node(&to));
    let mut told = 0;
    let path = Path::new(&file);
    let saved = backup::save(&source, &[], path, false, &mut |_, _| told += 1).unwrap();
    assert!(saved.caches[0].entries == KEYS as u64 && told > 0, "{saved:?}");
    let names = ["default".to_owned()];
    let mode = ImportMode::Merge;
    let loaded = backup::load(&target, &names, path, mode, &mut |_, _| ()).unwrap();
    assert_eq!((loaded[0].cache.as_str(), loaded[0].counts.stored), ("default", KEYS as u64));
    let table = |node: &Node| image(node.catalog.cache("default").unwrap().table(), node.now());
    assert_eq!(table(&source), table(&target));
    let unknown = backup::load(&target, &["c".to_owned()], path, mode, &mut |_, _| ());
    assert!(unknown.unwrap_err().to_string().contains("there are: default"));
    // Without an orderly end: what was loaded is in the log.
    drop(target);
    let again = node(&to);
    assert_eq!(table(&source), table(&again));
}

fn named(node: &Node, cache: &str) -> Image {
    node.catalog.cache(cache).map(|cache| image(cache.table(), node.now())).unwrap_or_default()
}

fn put(node: &Node, key: &[u8]) {
    let cache = node.catalog.cache("orders").unwrap();
    let pinned = cache.table().pin();
    let mut entry = pinned.entry(cache.hash(key), key, node.now()).unwrap();
    entry.put(&NewEntry { value: [b"value", b""], ..NewEntry::default() }).unwrap();
}

fn close(node: &Node) {
    node.data.get().unwrap().close(node);
}

#[test]
fn a_cache_made_at_run_time_comes_back_with_its_name() {
    let folder = Folder::new();
    let [from, to, file] = ["from", "to", "all.snapshot"].map(|name| folder.at(name));
    let source = node(&from);
    resolve(&source, Kind::Cache, "orders", Some(&[])).unwrap();
    (0..KEYS).for_each(|n| put(&source, format!("key-{n}").as_bytes()));
    let orders = named(&source, "orders");
    close(&source);
    drop(source);
    works(&["save", &file, "--data-dir", &from]);
    works(&["load", &file, "--data-dir", &to]);
    let target = node(&to);
    assert!(orders.len() == KEYS && named(&target, "orders") == orders);
    // Nothing of what is dropped comes back with what is loaded.
    put(&target, b"gone");
    drop_object(&target, Kind::Cache, "orders").unwrap();
    drop(target);
    works(&["load", &file, "--data-dir", &to]);
    assert_eq!(named(&node(&to), "orders"), orders);
}

/// A second save to the same file removed what the first one had written, and half a file got its
/// name; without a data directory nothing stopped it.
#[test]
fn one_save_at_a_time() {
    let folder = Folder::new();
    let [data, file] = ["data", "all.snapshot"].map(|name| folder.at(name));
    for data in [data.as_str(), "off"] {
        let (node, path) = (node(data), Path::new(&file));
        let save = |overwrite, sink: backup::Sink<'_>| {
            backup::save(&node, &[], path, overwrite, sink).map_err(|error| error.to_string())
        };
        resolve(&node, Kind::Cache, "orders", Some(&[])).unwrap();
        (0..KEYS).for_each(|n| put(&node, format!("key-{n}").as_bytes()));
        let mut seconds = Vec::new();
        let first = save(true, &mut |_, _| seconds.push(save(true, &mut |_, _| ()).err()));
        assert!(!seconds.is_empty() && first.is_ok(), "{data}: {first:?}");
        let busy = Some("another save is under way".to_owned());
        assert!(seconds.iter().all(|second| *second == busy), "{data}: {seconds:?}");
        // What the first one wrote is whole, and only who says so replaces it.
        assert!(works(&["verify", &file]).contains("whole"));
        let error = save(false, &mut |_, _| ()).unwrap_err();
        assert!(error.contains("is there already"), "{data}: {error}");
    }
}

/// Backups could be read by everybody on the machine.
#[test]
fn what_is_kept_is_for_its_owner_alone() {
    let folder = Folder::new();
    let [data, file, copies] = ["data", "all.snapshot", "copies"].map(|name| folder.at(name));
    let backups = format!("node.backup_dir={copies}");
    let server =
        Server::isogrid(&["--data-dir", &data, "--set", &backups, "--http", "127.0.0.1:0"]);
    set(&server, "k", "v");
    let saved = server.http("POST", "/v1/admin/snapshot.save", &[], br#"{"name":"a"}"#);
    assert_eq!(saved.status, 200, "{}", saved.text());
    kill(server);
    works(&["save", &file, "--data-dir", &data]);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for path in [&data, &copies] {
        assert_eq!(mode(Path::new(path)), 0o700, "{path}");
    }
    let log = format!("{data}/wal");
    let files = [&log, &copies].map(|folder| fs::read_dir(folder).unwrap());
    let files: Vec<_> = files.into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 2, "{files:?}");
    for path in files.iter().chain(&[PathBuf::from(file)]) {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
}
