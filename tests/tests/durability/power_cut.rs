//! Power cuts: ext4 in an image file, the server stopped, the image copied. The copy has what was
//! really sent to the medium and nothing of what was still in memory.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use isogrid_engine::env::split_mix;
use isogrid_tests::durability::{Fleet, Promise};
use isogrid_tests::harness::{Mount, Server, image, run, wait_until};
use isogrid_tests::seeds;

use super::{Place, kill, replay, seed};

const CUTS: &str = "ISOGRID_POWER_CUTS";
const CUTS_DEFAULT: u64 = 2;
const IMAGE_BYTES: u64 = 96 << 20;
/// How old what `async` may lose can be; and what a busy machine adds to it, whose sync takes as
/// long as it takes.
const ASYNC_LOSS: Duration = Duration::from_millis(100);
const SLACK: Duration = Duration::from_millis(150);

/// Stops every thread of a server, so that nothing more is written.
fn freeze(server: &Server) {
    server.signal("STOP");
    let tasks = format!("/proc/{}/task", server.pid());
    let state = |task: fs::DirEntry| {
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
    };
    wait_until("all threads stand still", || {
        fs::read_dir(&tasks).unwrap().map(Result::unwrap).all(|task| state(task) == Some('T'))
    });
}

fn copy_image(from: &Path, to: &Path) {
    let copied = run(Command::new("cp").arg("--sparse=always").args([from, to]));
    assert!(copied.status.success(), "{copied:?}");
}

/// Cuts the power while the owners write; gives the oldest loss.
fn cuts(test: &str, persist: &'static str, promise: fn(Instant) -> Promise) -> Option<Duration> {
    let mut disk = image(IMAGE_BYTES)?;
    let mut mount = Mount::image(&disk)?;
    let (mut fleet, mut rng) = (Fleet::new(seed(), 4), seed());
    let count = seeds::number(CUTS, CUTS_DEFAULT);
    let (mut oldest, mut acked, mut lost) = (Duration::ZERO, 0, 0);
    let mut place = Place::at(&mount.path().join("data"), persist).with("node.log_size=1MiB");
    let mut server = place.start();
    for cut in 0..count {
        let copied = disk.with_extension(format!("cut{cut}"));
        let end = fleet.run(&server, || {
            std::thread::sleep(Duration::from_millis(50 + split_mix(&mut rng) % 500));
            let end = Instant::now();
            freeze(&server);
            copy_image(&disk, &copied);
            end
        });
        kill(server);
        drop(mount);
        fs::remove_file(&disk).unwrap();
        disk = copied;
        mount = Mount::image(&disk)?;
        place = Place::at(&mount.path().join("data"), persist).with("node.log_size=1MiB");
        server = place.start();
        let verdict = fleet.check(&server, promise(end)).unwrap_or_else(|wrong| {
            panic!("cut {cut}: {wrong}\n{}", replay(test, &format!("{CUTS}={count}")));
        });
        oldest = oldest.max(verdict.age(end));
        acked += verdict.acked;
        lost += verdict.lost;
    }
    eprintln!("{persist}: {count} cuts, {acked} acknowledged, {lost} lost, at most {oldest:?} old");
    assert!(acked as u64 > 50 * count, "only {acked} operations in {count} cuts");
    kill(server);
    drop(mount);
    fs::remove_file(&disk).unwrap();
    Some(oldest)
}

#[test]
fn sync_survives_a_power_cut() {
    let test = "sync_survives_a_power_cut";
    let oldest = cuts(test, "sync", |_| Promise::All);
    assert!(oldest.is_none_or(|age| age == Duration::ZERO));
}

/// What is there is everything up to some moment, for each owner in its own order.
#[test]
fn async_loses_little_in_a_power_cut() {
    let test = "async_loses_little_in_a_power_cut";
    cuts(test, "async", |end| Promise::By(end - ASYNC_LOSS - SLACK));
}
