//! A disk whose syncs fail, as `strace` makes them fail.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use isogrid_tests::durability::{Fleet, Promise};
use isogrid_tests::harness::{Server, has, wait_until};

use super::{Place, kill, seed};

/// `strace` on a server, making its syncs fail with EIO from now on.
struct Failing(Child);

impl Failing {
    /// `None`, and a note, where a process may not be traced.
    fn attach(server: &Server) -> Option<Failing> {
        if !has("strace", "apt-get install strace") {
            return None;
        }
        let pid = server.pid().to_string();
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=fdatasync,fsync", "-e", "signal=none"]);
        command.args(["-e", "inject=fdatasync,fsync:error=EIO", "-o", "/dev/null", "-p", &pid]);
        let child = command.stderr(Stdio::null()).spawn().unwrap();
        let mut failing = Failing(child);
        let status = format!("/proc/{pid}/status");
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs(5) {
            let text = std::fs::read_to_string(&status).unwrap();
            if text.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0")) {
                // It goes from thread to thread.
                std::thread::sleep(Duration::from_millis(200));
                return Some(failing);
            }
            if failing.0.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        eprintln!("strace may not trace here, so this is not checked");
        None
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks to store until it is refused; what the server says then.
fn refusal(server: &Server) -> String {
    let mut said = String::new();
    wait_until("a write is refused", || {
        let mut client = server.connect();
        client.send("set other 0 0 1\r\nx\r\n");
        // A connection whose answer cannot be given is closed: nobody knows what became of it.
        client.finish();
        said = String::from_utf8(client.rest().unwrap_or_default()).unwrap();
        said.starts_with("SERVER_ERROR")
    });
    said
}

fn failing(persist: &'static str, promise: fn() -> Promise) {
    let place = Place::new(persist);
    let mut fleet = Fleet::new(seed(), 3);
    let mut server = place.start();
    server.connect().ask("set known 7 0 5\r\nvalue\r\n", "STORED\r\n");
    let mut failing = None;
    fleet.run_until_broken(&server, || {
        std::thread::sleep(Duration::from_millis(200));
        failing = Failing::attach(&server);
        std::thread::sleep(Duration::from_millis(600));
    });
    if failing.is_none() {
        return;
    }
    let said = refusal(&server);
    assert!(said.starts_with("SERVER_ERROR storage failed"), "{said}");
    let log = server.log();
    assert!(log.contains("log_failed") && log.contains("wal-"), "{log}");
    for _ in 0..3 {
        server.connect().ask("get known\r\n", "VALUE known 7 5\r\nvalue\r\nEND\r\n");
        assert!(refusal(&server).starts_with("SERVER_ERROR storage failed"));
    }
    assert!(server.is_running() && !log.contains("panicked"), "{log}");
    drop(failing);
    // The disk works again, and this server still does not believe it.
    assert!(refusal(&server).starts_with("SERVER_ERROR storage failed"));
    kill(server);
    let server = place.start();
    let verdict = fleet.check(&server, promise()).unwrap_or_else(|wrong| panic!("{wrong}"));
    eprintln!("{persist}: {} acknowledged before syncs failed, all there", verdict.acked);
    assert!(verdict.acked > 50);
    server.connect().ask("set known 7 0 5\r\nagain\r\n", "STORED\r\n");
}

#[test]
fn sync_takes_no_writes_after_a_failed_sync() {
    failing("sync", || Promise::All);
}

/// What was acknowledged is still in the log file: only a power cut could take it. The group that was
/// to be written when the log failed is not: nobody was told that it is kept, but it was seen at once,
/// and was read until the process ended.
#[test]
fn async_takes_no_writes_after_a_failed_sync() {
    failing("async", || Promise::By(Instant::now()));
}
