//! More than memory holds.

use isogrid_engine::env::split_mix;
use isogrid_tests::harness::Client;
use isogrid_tests::seeds;

use crate::{Place, end, get, set, until_written};

const KEYS: usize = 6_000;

fn value(n: u64) -> String {
    format!("{n}:").repeat(1_000 / (n.to_string().len() + 1))
}

fn check(client: &mut Client, known: &[(u64, u64)], replay: &str) {
    for (n, (written, acked)) in known.iter().enumerate() {
        let found = get(client, &format!("key{n}"));
        let found = found.map_or(0, |text| text.split(':').next().unwrap().parse().unwrap());
        let range = *written..=*acked;
        assert!(range.contains(&found), "key{n} is {found}, not {range:?}; {replay}");
    }
}

/// What each key is.
fn found_now(client: &mut Client) -> Vec<(u64, u64)> {
    let number = |text: String| text.split(':').next().unwrap().parse().unwrap();
    let found = |n| get(client, &format!("key{n}")).map_or(0, number);
    (0..KEYS).map(found).map(|found| (found, found)).collect()
}

/// 6 MB in a cache of 2: every key is found at once, after a SIGTERM as it was, and after a kill as
/// it was or is, but never as it was before what is written.
#[test]
fn what_is_evicted_is_read_back_and_a_kill_brings_nothing_old() {
    let seed = seeds::number("ISOGRID_SEED", 1);
    let replay = seeds::replay(
        "behind::evicted::what_is_evicted_is_read_back_and_a_kill_brings_nothing_old",
        seed,
    );
    let place = Place::new(&["cache.default.memory=2MiB", "cache.default.behind_delay=100ms"]);
    let (mut rng, mut next) = (seed, 0);
    let mut known = vec![(0u64, 0u64); KEYS];
    let mut server = place.start();
    for round in 0..3 {
        let mut client = server.connect();
        for n in 0..KEYS * 2 {
            next += 1;
            let n = if round == 0 {
                n % KEYS
            } else {
                usize::try_from(split_mix(&mut rng)).unwrap_or(0) % KEYS
            };
            assert_eq!(set(&mut client, &format!("key{n}"), &value(next)), "STORED");
            known[n].1 = next;
        }
        assert!(client.stat("behind_away") > 1_000, "most of it is not in memory");
        let current: Vec<_> = known.iter().map(|(_, acked)| (*acked, *acked)).collect();
        check(&mut client, &current, &replay);
        assert!(client.stat("behind_loaded") > 1_000);
        until_written(&mut client);
        known.iter_mut().for_each(|(written, acked)| *written = *acked);
        for _ in 0..KEYS / 4 {
            next += 1;
            let n = usize::try_from(split_mix(&mut rng)).unwrap_or(0) % KEYS;
            assert_eq!(set(&mut client, &format!("key{n}"), &value(next)), "STORED");
            known[n].1 = next;
        }
        drop(client);
        let signal = ["TERM", "KILL", "TERM"][round];
        end(server, signal);
        if signal == "TERM" {
            known.iter_mut().for_each(|(written, acked)| *written = *acked);
        }
        server = place.start();
        check(&mut server.connect(), &known, &replay);
        known = found_now(&mut server.connect());
    }
    let mut client = server.connect();
    evicted_entries_count(&mut client);
    end(server, "KILL");
}

/// Operations that depend on what there is see the entry wherever it is.
fn evicted_entries_count(client: &mut Client) {
    client.ask("set counter 5 0 2\r\n41\r\n", "STORED\r\n");
    client.ask("set gone 5 0 1\r\nx\r\n", "STORED\r\n");
    client.ask("set timed 5 2 1\r\nx\r\n", "STORED\r\n");
    let fill = |client: &mut Client, n: u64| {
        (0..KEYS)
            .for_each(|key| assert_eq!(set(client, &format!("key{key}"), &value(n)), "STORED"));
    };
    fill(client, 1);
    client.ask("add counter 5 0 1\r\n7\r\n", "NOT_STORED\r\n");
    fill(client, 2);
    client.ask("incr counter 1\r\n", "42\r\n");
    fill(client, 3);
    client.ask("append counter 5 0 1\r\n!\r\n", "STORED\r\n");
    client.ask("delete gone\r\n", "DELETED\r\n");
    client.ask("delete gone\r\n", "NOT_FOUND\r\n");
    fill(client, 4);
    assert_eq!((get(client, "counter"), get(client, "gone")), (Some("42!".to_owned()), None));
    isogrid_tests::harness::wait_until("it expires", || get(client, "timed").is_none());
    client.ask("flush_all\r\n", "OK\r\n");
    assert_eq!((get(client, "counter"), get(client, "key7")), (None, None));
}
