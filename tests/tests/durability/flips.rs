//! One bit turned over in a file of a data directory. The next start refuses, naming the file and
//! what to do, or serves what is right.

use std::fs;
use std::path::{Path, PathBuf};

use isogrid_engine::env::split_mix;
use isogrid_tests::durability::{Fleet, Promise};
use isogrid_tests::harness::{StartError, wait_until};
use isogrid_tests::seeds;

use super::{Place, copy, files, kill, replay, seed};

const FLIPS: &str = "ISOGRID_SERVER_FLIPS";
const FLIPS_DEFAULT: u64 = 20;
const REFUSED: Option<i32> = Some(78);
const TEST: &str = "a_turned_bit_is_never_served";

/// A directory with everything in it, and what its owners know: one that was `closed`, whose last
/// checkpoint has everything, or one that was left by a kill some time after the last write.
fn filled(closed: bool) -> (Place, Fleet) {
    let place = Place::new("async").with("node.log_size=256KiB");
    let mut fleet = Fleet::new(seed(), 3);
    let mut server = place.start();
    let checkpoint =
        || files(&place.data).iter().any(|file| file.extension() == Some("snapshot".as_ref()));
    fleet.run(&server, || {
        wait_until("there is a checkpoint", checkpoint);
        std::thread::sleep(std::time::Duration::from_millis(150));
        server.signal(if closed { "TERM" } else { "KILL" });
    });
    server.wait();
    // Once more, so that what is in the files is known exactly, and the log is at rest: then its
    // end is proven.
    let server = place.start();
    fleet.check(&server, Promise::All).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(400));
    kill(server);
    (place, fleet)
}

/// Turns one bit of a file over.
fn flip(path: &Path, rng: &mut u64) -> u64 {
    let mut bytes = fs::read(path).unwrap();
    let bit = split_mix(rng) % (bytes.len() as u64 * 8);
    bytes[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
    bit
}

/// What a refusal has to say.
fn refused(error: &StartError, file: &Path, what: &str) {
    assert_eq!(error.code, REFUSED, "{what}: {}", error.log);
    assert!(!error.log.contains("panicked"), "{what}: {}", error.log);
    let is_meta = file == Path::new("meta");
    let name = file.file_name().unwrap().to_string_lossy();
    // Another id in `meta` makes all the other files another node's.
    let named = error.log.contains(&*name) || is_meta && error.log.contains("not of");
    assert!(named, "{what}: {name} is not named: {}", error.log);
    let steps = ["repair", "restore", "copy", "release", "directory"];
    let next = steps.iter().any(|step| error.log.contains(step));
    assert!(next, "{what}: no next step: {}", error.log);
    let is_text = is_meta || file == Path::new("catalog");
    assert!(is_text || error.log.contains("byte"), "{what}: no offset: {}", error.log);
}

#[test]
fn a_turned_bit_is_never_served() {
    let (mut rng, mut refusals, mut served) = (seed(), 0, 0);
    let count = seeds::number(FLIPS, FLIPS_DEFAULT);
    for closed in [true, false] {
        let (place, mut fleet) = filled(closed);
        let kinds: Vec<PathBuf> = files(&place.data).into_iter().filter(|f| f != "lock").collect();
        assert!(kinds.iter().any(|file| file.starts_with("wal")), "{kinds:?}");
        assert!(kinds.iter().any(|file| file.starts_with("snapshots")), "{kinds:?}");
        for n in 0..count / 2 {
            let rotten = Place::new("async").with("node.log_size=256KiB");
            copy(&place.data, &rotten.data);
            let file = &kinds[usize::try_from(n).unwrap() % kinds.len()];
            let bit = flip(&rotten.data.join(file), &mut rng);
            let again = replay(TEST, &format!("{FLIPS}={count}"));
            let what = format!("closed {closed}, bit {bit} of {}\n{again}\n", file.display());
            match rotten.try_start() {
                Err(error) => {
                    refused(&error, file, &what);
                    refusals += 1;
                }
                Ok(server) => {
                    let right = fleet.check(&server, Promise::All);
                    assert!(right.is_ok(), "{what}{}", right.unwrap_err());
                    assert!(!server.log().contains("panicked"), "{what}{}", server.log());
                    served += 1;
                }
            }
        }
    }
    eprintln!("{} bits: {refusals} refused, {served} served rightly", refusals + served);
    assert!(refusals * 2 > served, "only {refusals} refused, {served} served");
}
