//! The life of a server: start, listeners, limits, time, figures, and an orderly end.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a failing test may panic")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use isogrid_tests::harness::{Client, Server, temporary, wait_until};

#[test]
fn the_ready_line_tells_the_bound_addresses() {
    let socket = temporary("socket");
    let unix = format!("unix:{}", socket.display());
    let server = Server::isogrid(&["--memcached", "127.0.0.1:0", "--memcached", &unix]);
    assert_eq!(server.addresses().len(), 2);
    assert_ne!(server.address().port(), 0);
    assert_eq!(server.addresses()[1], unix);
    let ready = server.ready_line().unwrap();
    assert!(ready.contains(&format!("\"pid\":{}", server.pid())), "{ready}");
    server.connect().ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    let mut client = Server::connect_to(&unix);
    client.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
    drop(server);
}

#[test]
fn listeners_serve_their_own_caches() {
    let file = temporary("config");
    std::fs::write(
        &file,
        "[[listener]]\naddress = \"127.0.0.1:0\"\n\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\ncache = \"sessions\"\nflush = false\n\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"binary\"\n\n\
         [[cache]]\nname = \"default\"\nmemory = \"32MiB\"\n\n\
         [[cache]]\nname = \"sessions\"\nmemory = \"32MiB\"\n",
    )
    .unwrap();
    let server = Server::isogrid(&["--config", file.to_str().unwrap()]);
    let mut clients: Vec<Client> =
        server.addresses().iter().map(|address| Server::connect_to(address)).collect();
    let [default, sessions, binary] = &mut clients[..] else { panic!("three listeners") };
    default.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    sessions.ask("get a\r\n", "END\r\n");
    sessions.ask("set a 0 0 1\r\ny\r\n", "STORED\r\n");
    default.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
    sessions.ask("flush_all\r\n", "CLIENT_ERROR flush_all not allowed\r\n");
    default.ask("flush_all\r\n", "OK\r\n");
    default.ask("get a\r\n", "END\r\n");
    sessions.ask("get a\r\n", "VALUE a 0 1\r\ny\r\nEND\r\n");
    binary.send("version\r\n");
    binary.closed();
    std::fs::remove_file(&file).unwrap();
}

/// Where writes are seen only when they are durable, requests in one packet are not executed
/// together: each finds what the one before it wrote, whichever way it is executed.
#[test]
fn what_follows_a_write_in_one_packet_sees_it_in_every_mode() {
    let script: [(&str, &str); 12] = [
        ("set a 0 0 1\r\n1\r\n", "STORED\r\n"),
        ("get a\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n"),
        ("get a b\r\n", "VALUE a 0 1\r\n1\r\nEND\r\n"),
        ("incr a 4\r\n", "5\r\n"),
        ("get a\r\n", "VALUE a 0 1\r\n5\r\nEND\r\n"),
        ("ms a 1 MA\r\n6\r\n", "HD\r\n"),
        ("mg a v\r\n", "VA 2\r\n56\r\n"),
        ("append a 0 0 1\r\n7\r\n", "STORED\r\n"),
        ("gat 0 a\r\n", "VALUE a 0 3\r\n567\r\nEND\r\n"),
        ("delete a\r\n", "DELETED\r\n"),
        ("get a\r\n", "END\r\n"),
        ("add a 0 0 1\r\n0\r\n", "STORED\r\n"),
    ];
    for mode in ["none", "async", "sync"] {
        let data = temporary("data");
        let directory = data.to_str().unwrap();
        let server = Server::isogrid(&["--persist", mode, "--data-dir", directory]);
        let mut client = server.connect();
        for _ in 0..50 {
            let sent: String = script.iter().map(|(request, _)| *request).collect();
            let expected: String = script.iter().map(|(_, reply)| *reply).collect();
            client.ask(&sent, &expected);
        }
        drop(server);
        std::fs::remove_dir_all(&data).unwrap_or_default();
    }
}

#[test]
fn sigterm_drains_and_ends_well() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::isogrid(&[]);
        let mut idle = server.connect();
        idle.ask("mn\r\n", "MN\r\n");
        let mut busy = server.connect();
        let value = "v".repeat(500_000);
        busy.ask(format!("set big 0 0 {}\r\n{value}\r\n", value.len()), "STORED\r\n");
        busy.send("get big\r\n".repeat(100));
        assert_eq!(busy.line(), "VALUE big 0 500000");
        server.signal(signal);
        // All that was asked before the signal is answered.
        let mut answers = 1;
        loop {
            assert_eq!(busy.bytes(500_002).len(), 500_002);
            assert_eq!(busy.line(), "END");
            if answers == 100 {
                break;
            }
            assert_eq!(busy.line(), "VALUE big 0 500000");
            answers += 1;
        }
        busy.closed();
        idle.closed();
        assert_eq!(server.wait().code(), Some(0), "after SIG{signal}");
        assert!(server.log().contains("\"event\":\"stopped\""), "{}", server.log());
    }
}

#[test]
fn a_refused_configuration_names_the_key() {
    for (args, named) in [
        (["--set", "limits.max_connections=0"], "limits.max_connections"),
        (["--set", "limits.max_conections=9"], "limits.max_connections"),
        (["--memory", "12"], "1MiB to 64TiB"),
        (["--memcached", "127.0.0.1:99999"], "0 to 65535"),
        (["--memcached", ""], "--memcached"),
        (["--memcached", "0.0.0.0:0"], "--insecure-i-know"),
        (["--eviction", "lur"], "eviction"),
    ] {
        let refused = Server::try_isogrid(&args).err().expect("the configuration is refused");
        assert_eq!(refused.code, Some(78), "{args:?}: {refused:?}");
        assert!(refused.log.contains(named), "{args:?}: {refused:?}");
    }
}

#[test]
fn an_address_that_cannot_be_bound_is_named_with_the_next_step() {
    let first = Server::isogrid(&[]);
    for (address, step) in [
        (first.addresses()[0].as_str(), "port 0 picks a free one"),
        ("unix:/nonexistent/socket", "make the folder"),
    ] {
        let refused = Server::try_isogrid(&["--memcached", address]).err().unwrap();
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.log.contains(address) && refused.log.contains(step), "{refused:?}");
    }
}

#[test]
fn one_connection_too_many_is_told_so() {
    let server = Server::isogrid(&["--max-connections", "3"]);
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.ask("mn\r\n", "MN\r\n");
    }
    let mut refused = server.connect();
    assert_eq!(refused.rest().unwrap(), b"ERROR Too many open connections\r\n");
    assert_eq!(clients[0].stat("rejected_connections"), 1);
    clients.pop();
    wait_until("there is a place again", || {
        let mut client = server.connect();
        let _ = client.try_send("mn\r\n");
        client.finish();
        client.rest().unwrap() == b"MN\r\n"
    });
}

#[test]
fn the_time_without_accepting_is_counted() {
    let server = Server::isogrid(&["--max-connections", "2", "--set", "limits.refuse_fast=false"]);
    let mut clients = [server.connect(), server.connect()];
    for client in &mut clients {
        client.ask("mn\r\n", "MN\r\n");
    }
    let [first, second] = &mut clients;
    wait_until("the listener pauses", || first.stat("listen_disabled_num") == 1);
    assert_eq!(first.stat("time_in_listen_disabled_us"), 0, "the pause is not over");
    std::thread::sleep(Duration::from_millis(30));
    second.ask("quit\r\n", "");
    wait_until("it goes on", || first.stat("time_in_listen_disabled_us") >= 20_000);
}

#[test]
fn idle_connections_are_closed_and_counted() {
    let server = Server::isogrid(&["--set", "limits.idle_timeout=1s"]);
    let mut idle = server.connect();
    idle.ask("mn\r\n", "MN\r\n");
    let begin = Instant::now();
    idle.closed();
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(800) && took < Duration::from_secs(4), "{took:?}");
    assert_eq!(server.connect().stat("idle_kicks"), 1);
}

#[test]
fn flush_all_now_and_later() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    client.ask("set a 0 0 1\r\nx\r\nflush_all\r\nget a\r\n", "STORED\r\nOK\r\nEND\r\n");
    // Stored in the same second as a flush, and behind it.
    client.ask("set a 0 0 1\r\nx\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    let begin = Instant::now();
    client.ask("flush_all 2\r\nget a\r\n", "OK\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    wait_until("the flush took place", || {
        client.send("mg a\r\n");
        client.line() == "EN"
    });
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(900) && took < Duration::from_millis(2_300), "{took:?}");
    client.ask("set a 0 0 1\r\nx\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    assert_eq!(client.stat("cmd_flush"), 2);
}

#[test]
fn expired_items_are_gone_within_a_tenth_of_a_second_though_nobody_asks() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    for index in 0..1_000 {
        client.send(format!("set k{index} 0 1 1 noreply\r\nx\r\n"));
    }
    client.ask("set stays 0 0 1\r\nx\r\n", "STORED\r\n");
    let stored = Instant::now();
    assert_eq!(client.stat("curr_items"), 1_001);
    wait_until("they are expired", || client.stat("curr_items") == 1);
    let took = stored.elapsed();
    assert!(took < Duration::from_millis(1_250), "gone {took:?} after the store");
    client.ask("get k1 stays\r\n", "VALUE stays 0 1\r\nx\r\nEND\r\n");
}

#[test]
fn every_key_of_stats_is_there() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    client.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    for (command, list) in [
        ("stats", include_str!("../vectors/live/stats.txt")),
        ("stats settings", include_str!("../vectors/live/stats_settings.txt")),
        ("stats items", include_str!("../vectors/live/stats_items.txt")),
        ("stats slabs", include_str!("../vectors/live/stats_slabs.txt")),
    ] {
        let there: BTreeSet<String> =
            client.stats(command).into_iter().map(|(key, _)| key).collect();
        let missing: Vec<&str> =
            list.split_whitespace().filter(|key| !there.contains(*key)).collect();
        assert!(missing.is_empty(), "{command}: {missing:?} of {there:?}");
    }
}

#[test]
fn stats_count_what_happens() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    let conversation = [
        "set a 0 0 1\r\n1\r\n",
        "set b 0 0 1\r\nx\r\n",
        "get a b none\r\n",
        "gets a\r\n",
        "incr a 1\r\n",
        "incr none 1\r\n",
        "decr a 1\r\n",
        "decr none 1\r\n",
        "delete b\r\n",
        "delete b\r\n",
        "touch a 0\r\n",
        "touch none 0\r\n",
        "cas a 0 0 1 1\r\n1\r\n",
        "cas none 0 0 1 1\r\n1\r\n",
        "mg a v\r\n",
        "gat 0 a none\r\n",
    ];
    client.send(conversation.concat());
    client.send("mn\r\n");
    client.lines_to("MN");
    let stats: std::collections::BTreeMap<String, String> =
        client.stats("stats").into_iter().collect();
    for (name, value) in [
        ("get_hits", 4),
        ("get_misses", 1),
        ("cmd_get", 5),
        ("incr_hits", 1),
        ("incr_misses", 1),
        ("decr_hits", 1),
        ("decr_misses", 1),
        ("delete_hits", 1),
        ("delete_misses", 1),
        ("touch_hits", 2),
        ("touch_misses", 2),
        ("cmd_touch", 4),
        ("cas_badval", 1),
        ("cas_misses", 1),
        ("cas_hits", 0),
        ("curr_items", 1),
        ("total_items", 4),
        ("curr_connections", 1),
        ("limit_maxbytes", 64 << 20),
        ("threads", 1),
        ("cmd_flush", 0),
    ] {
        assert_eq!(stats[name], value.to_string(), "{name} of {stats:?}");
    }
    assert_eq!(stats["pid"], server.pid().to_string());
    assert!(stats["bytes"].parse::<u64>().unwrap() > 1);
    assert!(stats["bytes_read"].parse::<u64>().unwrap() > 200);
    client.ask("stats reset\r\n", "RESET\r\n");
    assert_eq!(client.stat("get_hits"), 0);
    assert_eq!(client.stat("curr_items"), 1, "a gauge stays");
    assert_eq!(client.stat("pid"), u64::from(server.pid()));
}

/// What memcached 1.6.18 counts, asked line by line.
#[test]
fn what_is_counted_of_each_command() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    let large = "x".repeat(2_000_000);
    let large = |line: &str| format!("{line}\r\n{large}\r\n");
    for (command, counted) in [
        ("get a\r\n", &["cmd_get", "get_hits"][..]),
        ("get none\r\n", &["cmd_get", "get_misses"]),
        ("touch a 5\r\n", &["cmd_touch", "touch_hits"]),
        ("gat 5 a\r\n", &["cmd_touch", "touch_hits"]),
        ("gat 5 none\r\n", &["cmd_touch", "touch_misses"]),
        ("mg a T5\r\n", &["cmd_touch", "touch_hits"]),
        ("mg none T5\r\n", &["cmd_get", "get_misses"]),
        ("mg none N5\r\n", &["cmd_get", "get_hits"]),
        ("mg none N5 T5\r\n", &["cmd_touch", "touch_hits"]),
        ("md a I\r\n", &[]),
        ("md a\r\n", &["delete_hits"]),
        ("md a C1\r\n", &["delete_misses"]),
        ("ma none N5\r\n", &[]),
        ("ma none\r\n", &["incr_misses"]),
        ("ma a MD\r\n", &["decr_hits"]),
        ("ma a C1\r\n", &[]),
        (large("set a 0 0 2000000").as_str(), &["store_too_large"]),
        (large("add a 0 0 2000000").as_str(), &["store_too_large"]),
        (large("ms a 2000000").as_str(), &["store_too_large"]),
    ] {
        client.ask("flush_all\r\nset a 0 0 1\r\n1\r\n", "OK\r\nSTORED\r\n");
        client.ask("stats reset\r\n", "RESET\r\n");
        client.send(format!("{command}mn\r\n"));
        client.lines_to("MN");
        let of_commands = |name: &str| {
            let starts =
                ["get_hits", "get_misses", "touch", "delete", "incr", "decr", "cas", "store"];
            starts.iter().any(|start| name.starts_with(start))
                || ["cmd_get", "cmd_set", "cmd_touch"].contains(&name)
        };
        let stats = client.stats("stats").into_iter();
        let is: BTreeSet<(String, String)> =
            stats.filter(|(name, value)| value != "0" && of_commands(name)).collect();
        let expect = counted.iter().map(|name| ((*name).to_owned(), "1".to_owned()));
        let command = &command[..command.len().min(40)];
        assert_eq!(is, expect.collect(), "{command}");
    }
}

#[test]
fn reads_of_what_is_dead_are_counted() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    // In one turn, so that nothing is removed in between.
    client.ask(
        "set a 0 0 1\r\nx\r\nset b 0 -1 1\r\nx\r\nget a b none\r\nflush_all\r\nget a none\r\n",
        "STORED\r\nSTORED\r\nVALUE a 0 1\r\nx\r\nEND\r\nOK\r\nEND\r\n",
    );
    assert_eq!((client.stat("get_expired"), client.stat("get_flushed")), (1, 1));
    client.ask("stats reset\r\n", "RESET\r\n");
    assert_eq!((client.stat("get_expired"), client.stat("get_flushed")), (0, 0));
}

#[test]
fn a_watch_is_refused_and_the_connection_stays_in_step() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    let refused = "CLIENT_ERROR watch commands not allowed\r\n";
    for (command, answer) in [
        ("watch", refused),
        ("watch fetchers", refused),
        ("watch evictions mutations", refused),
        ("watch nope", "ERROR\r\n"),
        ("watch noreply", ""),
    ] {
        let answer = format!("{answer}STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
        client.ask(format!("{command}\r\nset a 0 0 1\r\nx\r\nget a\r\n"), &answer);
    }
    assert_eq!(client.stat("log_watchers"), 0);
}

#[test]
fn stats_conns_names_the_connections() {
    let server = Server::isogrid(&[]);
    let (mut client, mut other) = (server.connect(), server.connect());
    other.ask("mn\r\n", "MN\r\n");
    let rows = client.stats("stats conns");
    let having = |end: &str| rows.iter().filter(|(key, _)| key.ends_with(end)).count();
    assert!(having(":addr") >= 2, "{rows:?}");
    assert!(having(":state") >= 2 && having(":secs_since_last_cmd") >= 2, "{rows:?}");
    assert!(rows.iter().any(|(_, value)| value.starts_with("tcp:127.0.0.1:")), "{rows:?}");
}

#[test]
fn the_memory_limit_changes_while_it_runs() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    let value = "v".repeat(10_000);
    for index in 0..4_000 {
        client.send(format!("set k{index} 0 0 10000 noreply\r\n{value}\r\n"));
    }
    client.ask("mn\r\n", "MN\r\n");
    let before = client.stat("bytes");
    assert!(before > 30 << 20, "{before}");
    client.ask("cache_memlimit 16\r\n", "OK\r\n");
    wait_until("the cache has shrunk", || client.stat("bytes") <= 16 << 20);
    assert_eq!(client.stat("limit_maxbytes"), 16 << 20);
    assert!(client.stat("evictions") > 1_000);
    client
        .ask("cache_memlimit 1\r\n", "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n");
}

#[test]
fn shutdown_only_when_it_is_allowed() {
    let mut server = Server::isogrid(&[]);
    let mut client = server.connect();
    client.ask("shutdown\r\n", "SERVER_ERROR: shutdown not enabled\r\n");
    client.ask("mn\r\n", "MN\r\n");
    assert!(server.is_running());
    let mut server = Server::isogrid(&["--set", "protocol.shutdown_command=true"]);
    let mut client = server.connect();
    client.send("shutdown graceful\r\n");
    client.rest().expect("the server closes");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn dumps_show_every_key() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    for index in 0..3_000 {
        client.send(format!("set key{index} 0 {} 1 noreply\r\nx\r\n", index % 2 * 500));
    }
    client.ask("get key1\r\n", "VALUE key1 0 1\r\nx\r\nEND\r\n");
    client.send("lru_crawler metadump all\r\n");
    let lines = client.lines_to("END");
    assert_eq!(lines.len(), 3_001);
    let of = |key: &str| {
        let start = format!("key={key} ");
        lines.iter().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{key}"))
    };
    assert!(of("key1").contains(" fetch=yes "), "{}", of("key1"));
    assert!(of("key0").contains(" exp=-1 ") && of("key0").contains(" fetch=no "));
    for field in ["exp", "la", "cas", "fetch", "cls", "size"] {
        assert!(of("key1").contains(&format!(" {field}=")), "{}", of("key1"));
    }
    client.send("lru_crawler mgdump all\r\n");
    let lines = client.lines_to("EN");
    assert_eq!(lines.len(), 3_001);
    assert!(lines[0].starts_with("mg key"), "{}", lines[0]);
    client.send("stats cachedump 1 10\r\n");
    let lines = client.lines_to("END");
    assert_eq!(lines.len(), 11);
    assert!(lines[0].starts_with("ITEM key"), "{}", lines[0]);
}

/// The answer of memcached 1.6.18 to `metadump` with these keys in it.
#[test]
fn dumps_tell_any_bytes() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    client.ask("set \x01k\u{e9}~/ 0 0 1\r\nx\r\nms AAECIA0K/w== 1 b\r\nx\r\n", "STORED\r\nHD\r\n");
    client.send("lru_crawler metadump all\r\n");
    let mut keys: Vec<String> = client.lines_to("END");
    keys.sort();
    let keys: Vec<&str> = keys.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(keys, ["END", "key=%00%01%02%20%0D%0A%FF", "key=%01k%C3%A9~%2F"]);
    client.ask("delete \x01k\u{e9}~/\r\n", "DELETED\r\n");
    client.send("stats cachedump 1 0\r\n");
    let row = b"ITEM \x00\x01\x02 \r\n\xff [1 b; 0 s]\r\nEND\r\n";
    assert_eq!(client.bytes(row.len()), row);
}

#[test]
fn a_dump_under_load_has_every_key_that_stays_once() {
    const KEYS: usize = 5_000;
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    for index in 0..KEYS {
        client.send(format!("set stays{index} 0 0 1 noreply\r\nx\r\n"));
    }
    client.ask("mn\r\n", "MN\r\n");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = server.connect();
            let mut index = 0;
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..200 {
                    index += 1;
                    let old = index - index.min(2_000);
                    writer.send(format!(
                        "set goes{index} 0 0 1 noreply\r\nx\r\ndelete goes{old} noreply\r\n"
                    ));
                }
                writer.ask("mn\r\n", "MN\r\n");
            }
        });
        for _ in 0..5 {
            client.send("lru_crawler metadump all\r\n");
            let lines = client.lines_to("END");
            let mut stays: Vec<&str> = lines
                .iter()
                .filter_map(|line| line.strip_prefix("key=stays")?.split(' ').next())
                .collect();
            stays.sort_unstable();
            let listed = stays.len();
            stays.dedup();
            assert_eq!((stays.len(), listed), (KEYS, KEYS), "of {} lines", lines.len());
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn verbosity_is_shown_and_does_no_harm() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    client.ask("verbosity 2\r\n", "OK\r\n");
    let settings = client.stats("stats settings");
    assert!(settings.contains(&("verbosity".to_owned(), "2".to_owned())), "{settings:?}");
    client.ask("verbosity 0 noreply\r\nmn\r\n", "MN\r\n");
}

#[test]
fn prefixes_are_counted_when_asked_for() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    client.ask("stats detail on\r\n", "OK\r\n");
    client.ask("set p:1 0 0 1\r\nx\r\n", "STORED\r\n");
    client.ask("get p:1\r\nget p:2\r\n", "VALUE p:1 0 1\r\nx\r\nEND\r\nEND\r\n");
    client.ask("delete p:1\r\n", "DELETED\r\n");
    client.ask("stats detail dump\r\n", "PREFIX p get 2 hit 1 set 1 del 1\r\nEND\r\n");
    client.ask("stats detail off\r\n", "OK\r\n");
}

#[test]
fn what_is_written_before_the_end_of_input_is_answered() {
    let server = Server::isogrid(&[]);
    let mut client = server.connect();
    client.send("set a 0 0 1\r\nx\r\nget a\r\n".repeat(1_000));
    client.finish();
    let answers = client.rest().unwrap();
    assert_eq!(answers.len(), "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n".len() * 1_000);
}
