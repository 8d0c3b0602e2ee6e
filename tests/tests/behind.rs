//! The real server with `persist = behind`: stopped, killed, on a disk that fills up.
#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests may panic")]

#[path = "behind/evicted.rs"]
mod evicted;
#[path = "behind/made.rs"]
mod made;

use std::fs;
use std::path::{Path, PathBuf};

use isogrid_engine::env::split_mix;
use isogrid_tests::harness::{Client, Mount, Server, temporary, wait_until};
use isogrid_tests::seeds;

/// A data directory and what its servers are told; removed when dropped.
struct Place {
    data: PathBuf,
    settings: Vec<String>,
}

impl Place {
    fn new(settings: &[&str]) -> Place {
        Place::at(&temporary("behind"), settings)
    }

    fn at(data: &Path, settings: &[&str]) -> Place {
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Place { data: data.to_owned(), settings }
    }

    fn start(&self) -> Server {
        let data = self.data.to_string_lossy();
        let mut args = vec!["--data-dir", &data, "--persist", "behind"];
        self.settings.iter().for_each(|setting| args.extend(["--set", setting]));
        Server::isogrid(&args)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.data);
        }
    }
}

fn set(client: &mut Client, key: &str, value: &str) -> String {
    client.send(format!("set {key} 5 0 {}\r\n{value}\r\n", value.len()));
    client.line()
}

/// The value of a key.
fn get(client: &mut Client, key: &str) -> Option<String> {
    client.send(format!("get {key}\r\n"));
    let lines = client.lines_to("END");
    assert!(lines.len() == 1 || lines[0].starts_with(&format!("VALUE {key} 5 ")), "{lines:?}");
    (lines.len() > 1).then(|| lines[1].clone())
}

fn end(mut server: Server, signal: &str) -> String {
    server.signal(signal);
    let status = server.wait();
    assert_eq!(status.code(), (signal == "TERM").then_some(0), "{}", server.log());
    assert!(!server.log().contains("panicked"), "{}", server.log());
    server.log()
}

fn until_written(client: &mut Client) {
    wait_until("everything is written", || client.stat("behind_entries") == 0);
}

#[test]
fn a_sigterm_loses_nothing() {
    let place = Place::new(&["cache.default.behind_delay=1h"]);
    let server = place.start();
    let mut client = server.connect();
    for n in 0..3000 {
        assert_eq!(set(&mut client, &format!("key{}", n % 1000), &format!("value{n}")), "STORED");
    }
    assert_eq!(client.stat("behind_coalesced"), 2000);
    assert_eq!(client.stat("behind_entries"), 1000);
    client.ask("delete key7\r\n", "DELETED\r\n");
    client.ask("touch key8 -1\r\n", "TOUCHED\r\n");
    client.ask("touch key9 1000\r\n", "TOUCHED\r\n");
    client.send("gets key10\r\n");
    let before = client.lines_to("END");
    let log = end(server, "TERM");
    assert!(!log.contains("not_written"), "{log}");
    let server = place.start();
    let mut client = server.connect();
    for n in (0..1000).filter(|n| !(7..=8).contains(n)) {
        assert_eq!(get(&mut client, &format!("key{n}")), Some(format!("value{}", 2000 + n)));
    }
    assert_eq!((get(&mut client, "key7"), get(&mut client, "key8")), (None, None));
    client.send("mg key9 t\r\n");
    let ttl: u32 = client.line().trim_start_matches("HD t").parse().unwrap();
    assert!((900..=1000).contains(&ttl), "{ttl} s");
    client.send("gets key10\r\n");
    assert_eq!(client.lines_to("END"), before, "flags, value and cas");
    client.ask("flush_all\r\n", "OK\r\n");
    assert_eq!(set(&mut client, "after", "x"), "STORED");
    end(server, "TERM");
    let server = place.start();
    let mut client = server.connect();
    assert_eq!((get(&mut client, "key9"), get(&mut client, "after")), (None, Some("x".to_owned())));
}

/// What a kill takes is what was not written: of each key the newest values, and none of what was
/// written before.
#[test]
fn a_kill_takes_what_waited_and_nothing_else() {
    let rounds = seeds::number("ISOGRID_KILL_ROUNDS", 4);
    let seed = seeds::number("ISOGRID_SEED", 1);
    let place = Place::new(&["cache.default.behind_delay=100ms"]);
    let (mut rng, mut next) = (seed, 0);
    // The value that was written for sure, and the last one that was acknowledged.
    let mut known = [(0u64, 0u64); 40];
    for round in 0..rounds {
        let server = place.start();
        let mut client = server.connect();
        for phase in 0..2 {
            for _ in 0..split_mix(&mut rng) % 3000 {
                next += 1;
                let at = split_mix(&mut rng) % 40;
                let stored = set(&mut client, &format!("key{at}"), &next.to_string());
                assert_eq!(stored, "STORED");
                known[usize::try_from(at).unwrap()].1 = next;
            }
            if phase == 0 {
                until_written(&mut client);
                known.iter_mut().for_each(|(written, acked)| *written = *acked);
            }
        }
        end(server, "KILL");
        let server = place.start();
        let mut client = server.connect();
        for (n, (written, acked)) in known.iter_mut().enumerate() {
            let found =
                get(&mut client, &format!("key{n}")).map_or(0, |text| text.parse().unwrap());
            let replay = seeds::replay("behind::a_kill_takes_what_waited_and_nothing_else", seed);
            assert!(
                (*written..=*acked).contains(&found),
                "{round}: key{n} is {found}, not {written} to {acked}; {replay}"
            );
            (*written, *acked) = (found, found);
        }
        end(server, "KILL");
    }
}

const DISK_BYTES: u64 = 4 << 20;

fn value(n: usize) -> String {
    format!("{n}:").repeat(200)
}

#[test]
fn a_full_disk_refuses_when_nothing_more_may_wait_and_goes_on_when_there_is_room() {
    let Some(disk) = Mount::memory(DISK_BYTES) else { return };
    let filler = disk.path().join("filler");
    let settings = ["cache.default.behind_delay=50ms", "cache.default.behind_queue=256KiB"];
    let place = Place::at(&disk.path().join("data"), &settings);
    let server = place.start();
    let mut client = server.connect();
    assert_eq!(set(&mut client, "first", "x"), "STORED");
    until_written(&mut client);
    // All that is left.
    let _ = fs::write(&filler, vec![1; usize::try_from(DISK_BYTES).unwrap()]);
    let mut taken = 0;
    wait_until("a write is refused", || {
        let answer = set(&mut client, &format!("key{taken}"), &value(taken));
        assert!(answer == "STORED" || answer.starts_with("SERVER_ERROR "), "{answer}");
        taken += usize::from(answer == "STORED");
        answer != "STORED"
    });
    wait_until("the server says so", || server.log().contains("store_failed"));
    assert!(taken > 50, "only {taken} were taken");
    assert!(client.stat("behind_refused") > 0 && client.stat("behind_store_failed") == 1);
    assert_eq!(get(&mut client, "key0"), Some(value(0)), "reads go on");
    fs::remove_file(&filler).unwrap();
    until_written(&mut client);
    wait_until("the server says so", || server.log().contains("store_back"));
    assert_eq!(set(&mut client, "last", "x"), "STORED");
    end(server, "TERM");
    let server = place.start();
    let mut client = server.connect();
    (0..taken).for_each(|n| assert_eq!(get(&mut client, &format!("key{n}")), Some(value(n))));
    assert_eq!(get(&mut client, "last"), Some("x".to_owned()));
    end(server, "KILL");
    fs::remove_dir_all(&place.data).unwrap();
}

#[test]
fn a_second_signal_or_the_time_limit_ends_the_wait_and_says_what_is_lost() {
    for limit in ["off", "1s"] {
        let Some(disk) = Mount::memory(DISK_BYTES) else { return };
        let timeout = format!("node.behind_timeout={limit}");
        let place = Place::at(&disk.path().join("data"), &[&timeout]);
        let mut server = place.start();
        let mut client = server.connect();
        let _ =
            fs::write(disk.path().join("filler"), vec![1; usize::try_from(DISK_BYTES).unwrap()]);
        let large = "v".repeat(500_000);
        for key in ["one", "two", "three"] {
            assert_eq!(set(&mut client, key, &large), "STORED");
        }
        drop(client);
        server.signal("TERM");
        if limit == "off" {
            wait_until("progress", || server.log().contains("writing_behind"));
            server.signal("TERM");
        }
        assert_eq!(server.wait().code(), Some(0), "{}", server.log());
        wait_until("what is lost", || server.log().contains("not_written"));
        assert!(server.log().contains("default/t"), "{}", server.log());
        drop(fs::remove_dir_all(&place.data));
    }
}

const MIXED: &str = r#"
[[listener]]
address = "127.0.0.1:0"
[[listener]]
address = "127.0.0.1:0"
cache = "late"
[[listener]]
address = "127.0.0.1:0"
cache = "fleeting"
[[cache]]
name = "default"
persist = "async"
[[cache]]
name = "late"
persist = "behind"
behind_delay = "50ms"
[[cache]]
name = "fleeting"
persist = "none"
"#;

#[test]
fn every_cache_has_its_own_mode() {
    let folder = temporary("behind-mixed");
    fs::create_dir(&folder).unwrap();
    let (config, data) = (folder.join("isogrid.toml"), folder.join("data"));
    let start = || {
        let (config, data) = (config.to_string_lossy(), data.to_string_lossy());
        Server::isogrid(&["--config", &config, "--data-dir", &data])
    };
    let found = |server: &Server| {
        let addresses = server.addresses().iter();
        let found = addresses.map(|at| get(&mut Server::connect_to(at), "key").is_some());
        found.collect::<Vec<_>>()
    };
    fs::write(&config, MIXED).unwrap();
    let server = start();
    for address in server.addresses() {
        assert_eq!(set(&mut Server::connect_to(address), "key", "x"), "STORED");
    }
    until_written(&mut Server::connect_to(&server.addresses()[1]));
    end(server, "KILL");
    let server = start();
    assert_eq!(found(&server), [true, true, false]);
    end(server, "TERM");
    // Nobody is behind any more: what the store holds is moved aside, not mixed in later.
    fs::write(&config, MIXED.replace("behind\"", "none\"")).unwrap();
    let log = end(start(), "TERM");
    assert!(log.contains("store_aside"), "{log}");
    fs::write(&config, MIXED).unwrap();
    let server = start();
    assert_eq!(found(&server), [true, false, false]);
    end(server, "TERM");
    fs::remove_dir_all(&folder).unwrap();
}
