//! Caches that are made and dropped while the server runs.

use std::process::Command;

use isogrid_tests::harness::{Server, isogrid};

use crate::{Place, end};

impl Place {
    fn start_all(&self, mode: &str) -> Server {
        let data = self.data.to_string_lossy();
        let mut args = vec!["--data-dir", &data, "--persist", mode, "--native", "127.0.0.1:0"];
        args.extend(["--http", "127.0.0.1:0"]);
        self.settings.iter().for_each(|setting| args.extend(["--set", setting]));
        Server::isogrid(&args)
    }
}

fn cli(server: &Server, words: &str) -> String {
    let address = server.bound_for("native").remove(0);
    let mut command = Command::new(isogrid());
    let output = command.args(words.split(' ')).env("ISOGRID_SERVER", address).output().unwrap();
    assert!(output.status.success(), "{words}: {output:?}; {}", server.log());
    String::from_utf8(output.stdout).unwrap()
}

fn path(cache: &str, key: &str) -> String {
    format!("/v1/caches/{cache}/entries/{key}")
}

fn put(server: &Server, cache: &str, key: &str) {
    let answer = server.http("PUT", &path(cache, key), &[], key.as_bytes());
    assert!([201, 204].contains(&answer.status), "{}: {}", answer.status, answer.text());
}

fn status(server: &Server, cache: &str, key: &str) -> u16 {
    server.http("GET", &path(cache, key), &[], b"").status
}

/// What is dropped is gone for good, whatever ends the server, and what is made is kept.
#[test]
fn a_cache_that_is_made_later_is_kept_and_one_that_is_dropped_is_not() {
    for mode in ["behind", "async"] {
        let place = Place::new(&[]);
        let server = place.start_all(mode);
        for cache in ["late", "gone", "anew"] {
            cli(&server, &format!("cache create {cache} --persist behind --memory 4MiB"));
            (0..50).for_each(|n| put(&server, cache, &format!("old{n}")));
        }
        assert!(!end(server, "TERM").contains("not_written"));
        let server = place.start_all(mode);
        let all = |server: &Server, cache: &str| {
            (0..50).map(|n| status(server, cache, &format!("old{n}"))).collect::<Vec<_>>()
        };
        for cache in ["late", "gone", "anew"] {
            assert_eq!(all(&server, cache), [200; 50], "{mode}: {cache}");
        }
        cli(&server, "cache drop gone --yes");
        cli(&server, "cache drop anew --yes");
        cli(&server, "cache create anew --persist behind --memory 4MiB");
        put(&server, "anew", "new");
        put(&server, "late", "new");
        end(server, "TERM");
        let server = place.start_all(mode);
        assert_eq!(status(&server, "gone", "old0"), 404);
        cli(&server, "cache create gone --persist behind --memory 4MiB");
        assert_eq!(all(&server, "gone"), [404; 50], "{mode}: it was made anew");
        assert_eq!(all(&server, "anew"), [404; 50], "{mode}");
        assert_eq!(all(&server, "late"), [200; 50], "{mode}");
        assert_eq!(["anew", "late"].map(|cache| status(&server, cache, "new")), [200; 2]);
        // A kill at once: what was dropped does not come back in a cache of its name.
        cli(&server, "cache drop late --yes");
        end(server, "KILL");
        let server = place.start_all(mode);
        cli(&server, "cache create late --persist behind --memory 4MiB");
        assert_eq!(all(&server, "late"), [404; 50], "{mode}: dropped, then killed");
        end(server, "KILL");
    }
}

/// How long changes wait and how many may, of a cache that no configuration knows: from the start on,
/// changed while it runs, and after a restart.
#[test]
fn delay_and_queue_are_those_that_were_asked_for() {
    let place = Place::new(&[]);
    let server = place.start_all("async");
    let options = "--persist behind --memory 4MiB --behind-delay 1h --behind-queue 64KiB";
    cli(&server, &format!("cache create late {options}"));
    put(&server, "late", "waits");
    let large = vec![b'x'; 70 << 10];
    let refused = server.http("PUT", &path("late", "more"), &[], &large);
    assert_eq!(refused.status, 503, "{}", refused.text());
    cli(&server, "cache set late behind_queue=128KiB");
    assert_eq!(server.http("PUT", &path("late", "more"), &[], &large).status, 201);
    end(server, "TERM");
    let server = place.start_all("async");
    let told = cli(&server, "cache describe late");
    let has = |name: &str, value: &str| {
        told.lines().any(|line| line.split_whitespace().eq([name, value]))
    };
    assert!(has("props.behind_delay", "1h") && has("props.behind_queue", "128KiB"), "{told}");
    put(&server, "late", "lost");
    end(server, "KILL");
    let server = place.start_all("async");
    assert_eq!(["waits", "lost"].map(|key| status(&server, "late", key)), [200, 404]);
    assert!(cli(&server, "cache set late behind_delay=0s").contains("0s"));
    end(server, "KILL");
}
