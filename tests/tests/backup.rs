//! Caches saved to a file and loaded again: from tables that are written to, into tables that are
//! in use, and from the command line.
#![expect(clippy::unwrap_used, reason = "tests may panic")]

#[path = "backup/command.rs"]
mod command;
#[path = "backup/import.rs"]
mod import;
#[path = "backup/whole.rs"]
mod whole;

use std::collections::BTreeMap;

use isogrid_engine::{Cursor, Table};

/// Version, flags, deadline and value of each key.
type Image = BTreeMap<Vec<u8>, (u64, u32, Option<u64>, Vec<u8>)>;

fn image(table: &Table, now: u64) -> Image {
    let (mut all, mut cursor) = (Image::new(), Some(Cursor::default()));
    while let Some(at) = cursor {
        cursor = table.scan(at, 100, now, |entry| {
            let shown = (entry.version(), entry.flags(), entry.deadline(), entry.value().to_vec());
            all.insert(entry.key().to_vec(), shown);
        });
    }
    all
}
