//! Writes over HTTP are answered when they are kept, and what is not kept is told.

use isogrid_tests::harness::{Mount, Server, fail_syncs, temporary, wait_until};

use super::{ENTRIES, json, metric};

fn server(data: &str, persist: &str) -> Server {
    Server::isogrid(&["--http", "127.0.0.1:0", "--data-dir", data, "--persist", persist])
}

#[test]
fn what_was_answered_survives_a_kill() {
    for persist in ["sync", "async"] {
        let data = temporary("http-data");
        let path = data.to_str().unwrap();
        let mut first = server(path, persist);
        let mut client = first.connect_http();
        let mut tags = Vec::new();
        for n in 0..50 {
            let answer =
                client.http("PUT", &format!("{ENTRIES}k{n}"), &[], n.to_string().as_bytes());
            assert_eq!(answer.status, 201, "{persist}");
            tags.push(answer.header("etag").to_owned());
        }
        for n in 0..10 {
            let answer = client.http("DELETE", &format!("{ENTRIES}k{n}"), &[], b"");
            assert_eq!(answer.status, 204, "{persist}");
        }
        let answer = client.http("POST", &format!("{ENTRIES}k49/incr"), &[], b"");
        assert_eq!(json(&answer)["value"], 50, "{persist}");
        first.signal("KILL");
        first.wait();
        let second = server(path, persist);
        let mut client = second.connect_http();
        for (n, tag) in tags.iter().enumerate() {
            let answer = client.http("GET", &format!("{ENTRIES}k{n}"), &[], b"");
            match n {
                0..10 => assert_eq!(answer.status, 404, "{persist} {n}"),
                49 => assert_eq!(answer.text(), "50", "{persist}"),
                _ => {
                    assert_eq!(answer.text(), n.to_string(), "{persist}");
                    assert_eq!(answer.header("etag"), tag, "{persist}: versions stay");
                }
            }
        }
        let answer = client.http("POST", "/v1/admin/caches.clear", &[], b"{\"cache\":\"default\"}");
        assert_eq!(answer.status, 200);
        let mut second = second;
        second.signal("KILL");
        second.wait();
        let third = server(path, persist);
        assert_eq!(third.http("GET", &format!("{ENTRIES}k20"), &[], b"").status, 404, "{persist}");
        assert!(metric(&third, "isogrid_storage_log_bytes") > 0);
        drop(third);
        std::fs::remove_dir_all(data).unwrap();
    }
}

/// A full disk refuses writes, says why, and readiness says it without sending clients away.
#[test]
fn a_full_disk_is_told_and_reads_go_on() {
    let Some(disk) = Mount::memory(3 << 20) else { return };
    let filler = disk.path().join("filler");
    std::fs::write(&filler, vec![1; 900 << 10]).unwrap();
    let data = disk.path().join("data");
    let server = server(data.to_str().unwrap(), "sync");
    let mut client = server.connect_http();
    let value = vec![b'v'; 10_000];
    let mut n = 0;
    let refused = loop {
        let answer = client.http("PUT", &format!("{ENTRIES}k{n}"), &[], &value);
        if answer.status != 201 {
            break answer;
        }
        n += 1;
        assert!(n < 10_000, "the disk is never full");
    };
    let problem = json(&refused);
    assert_eq!(
        (refused.status, &problem["code"], &problem["retry"]),
        (503, &9003.into(), &"same".into())
    );
    // Not even the smallest write has room now.
    std::fs::write(disk.path().join("more"), vec![1; 300 << 10]).unwrap();
    wait_until("readiness says it", || {
        let ready = client.http("GET", "/health/ready", &[], b"");
        assert_eq!(ready.status, 200);
        ready.text().contains("[!]storage_space degraded")
    });
    assert_eq!(client.http("GET", &format!("{ENTRIES}k0"), &[], b"").body, value);
    assert_eq!(metric(&server, "isogrid_storage_full"), 1);
    std::fs::remove_file(&filler).unwrap();
    std::fs::remove_file(disk.path().join("more")).unwrap();
    wait_until("writes are taken again", || {
        client.http("PUT", &format!("{ENTRIES}k"), &[], b"x").status < 300
    });
    assert_eq!(client.http("GET", "/health/ready", &[], b"").text(), "ok\n");
}

/// A write whose sync failed is of unknown outcome; from then on writes are refused, and readiness
/// sends clients elsewhere.
#[test]
fn a_failed_log_is_told() {
    let data = temporary("http-failed");
    let server = server(data.to_str().unwrap(), "sync");
    let put = |key: &str| server.http("PUT", &format!("{ENTRIES}{key}"), &[], b"x");
    assert_eq!(put("known").status, 201);
    // A write is always under way, so one of them is when syncs begin to fail.
    let codes = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut codes = Vec::new();
            wait_until("writes are refused", || {
                let answer = put("other");
                if answer.status > 299 {
                    codes.push((answer.status, json(&answer)["code"].as_u64().unwrap()));
                }
                codes.contains(&(503, 9003))
            });
            codes
        });
        let strace = fail_syncs(&server);
        (writer.join(), strace)
    });
    let (codes, Some(mut strace)) = codes else { return };
    let codes = codes.unwrap();
    assert_eq!(codes, [(500, 5002), (503, 9003)]);
    let ready = server.http("GET", "/health/ready", &[], b"");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("[-]storage_log failed"), "{}", ready.text());
    assert_eq!(server.http("GET", "/health/live", &[], b"").status, 200);
    assert_eq!(server.http("GET", &format!("{ENTRIES}known"), &[], b"").text(), "x");
    assert_eq!(metric(&server, "isogrid_storage_failed"), 1);
    let _ = strace.kill();
    let _ = strace.wait();
    drop(server);
    let _ = std::fs::remove_dir_all(data);
}
