//! `isogrid snapshot verify`: what is in a file, and what is damaged.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use isogrid_engine::snapshot_file::{
    CacheSection, Damage, SnapshotFile, SnapshotFileError, SnapshotKind,
};
use isogrid_engine::{Clock, SystemClock, Timestamp};

use super::progress::Show;
use crate::cli::output::say;
use crate::cli::table::table;
use crate::server::backup::Phase;

/// Runs the command.
pub fn main(file: &Path) -> ExitCode {
    match verify(file) {
        Ok((report, damage)) => {
            let said = say(&report);
            damage.iter().for_each(|damage| eprintln!("error: {damage}"));
            if damage.is_empty() { said } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is in the file, and what is wrong with it.
fn verify(path: &Path) -> Result<(String, Vec<Damage>), SnapshotFileError> {
    let file = SnapshotFile::open(path)?;
    let mut show = Show::default();
    let damage = file.verify(&mut |progress| show.at(Phase::Check, progress))?;
    show.end();
    Ok((report(&file, &damage, SystemClock::new().now()), damage))
}

fn report(file: &SnapshotFile, damage: &[Damage], now: Timestamp) -> String {
    let header = file.header();
    let kind = match header.kind {
        SnapshotKind::Checkpoint => "checkpoint",
        SnapshotKind::Export => "export",
        SnapshotKind::Transfer => "transfer",
    };
    let storage: String = header.storage_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let state = if damage.is_empty() { "whole".to_owned() } else { broken(damage.len()) };
    let age = age(now.saturating_sub(header.created));
    let mut text = String::new();
    for (name, value) in [
        ("file", file.place().to_owned()),
        ("state", state),
        ("kind", kind.to_owned()),
        ("bytes", file.bytes().to_string()),
        ("age", age),
        ("storage", storage),
        ("log", format!("every record up to {}", header.log_position)),
    ] {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<8} {value}");
    }
    text + "\n" + &rows(file.caches(), damage)
}

fn broken(blocks: usize) -> String {
    format!("damaged in {blocks} block{}", if blocks == 1 { "" } else { "s" })
}

/// One row for each cache.
fn rows(caches: &[CacheSection], damage: &[Damage]) -> String {
    let head = ["CACHE", "ENTRIES", "BYTES", "SEGMENTS", "EPOCH", "BLOCKS", "DAMAGED"];
    let mut rows = vec![head.map(str::to_owned)];
    for cache in caches {
        let is_ours = |damage: &&Damage| damage.block.is_some_and(|b| cache.blocks.contains(&b));
        rows.push([
            cache.name.escape_debug().to_string(),
            cache.entries.to_string(),
            cache.bytes.to_string(),
            cache.segments.to_string(),
            cache.epoch.to_string(),
            cache.blocks.len().to_string(),
            damage.iter().filter(is_ours).count().to_string(),
        ]);
    }
    table(&rows)
}

/// A time span in its two largest units.
fn age(ms: u64) -> String {
    let seconds = ms / 1000;
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_two_units() {
        for (ms, text) in [
            (0, "0 s"),
            (59_999, "59 s"),
            (61_000, "1 min 1 s"),
            (3_660_000, "1 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(age(ms), text);
        }
    }
}
