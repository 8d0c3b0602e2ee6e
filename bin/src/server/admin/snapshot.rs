//! Methods about snapshot files: backups of the caches that are served, in one folder of the server's
//! configuration.

use std::path::{Path, PathBuf};
use std::time::Duration;

use isogrid_engine::snapshot_file::{ImportMode, Progress as Done};
use isogrid_engine::{Clock, SystemClock};
use serde_json::{Value, json};

use super::{Fault, Invocation, Progress, blocking};
use crate::security::users_file::create_private_folder;
use crate::server::backup::{self, BackupError, Loaded, Phase};

/// How often a caller is told how far it is, at the most.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// Letters of a file's name at the most.
const NAME_LEN_MAX: usize = 128;

/// Saves caches to a file.
///
/// # Errors
/// [`Fault`]; a file of that name that was there before is as it was.
pub async fn save(call: Invocation) -> Result<Value, Fault> {
    let (path, caches) = (path(&call)?, caches(&call));
    let overwrite = call.flag("overwrite")?;
    blocking(move || {
        if let Some(folder) = path.parent() {
            create_private_folder(folder)
                .map_err(|error| Fault::Failed(format!("{}: {error}", folder.display())))?;
        }
        let mut tell = Teller::new(&call.progress);
        let sink = &mut |phase, done| tell.at(phase, done);
        let summary = backup::save(&call.node, &caches, &path, overwrite, sink).map_err(fault)?;
        let (file, entries) = (path.display().to_string(), summary.entries);
        tracing::info!(event = "snapshot_saved", file, entries, bytes = summary.bytes);
        let cache = |c: &isogrid_engine::snapshot_file::CacheSection| {
            json!({ "cache": c.name, "entries": c.entries, "bytes": c.bytes })
        };
        let caches: Vec<Value> = summary.caches.iter().map(cache).collect();
        Ok(json!({ "file": file, "entries": entries, "bytes": summary.bytes, "caches": caches }))
    })
    .await
}

/// Loads caches out of a file.
///
/// # Errors
/// [`Fault`]; [`Fault::Unknown`] when a part may be loaded.
pub async fn load(call: Invocation) -> Result<Value, Fault> {
    let (path, caches) = (path(&call)?, caches(&call));
    if !path.is_file() {
        return Err(Fault::Invalid(missing(&path)));
    }
    if let Some(cache) = caches.iter().find(|cache| call.node.is_clustered(cache)) {
        return Err(Fault::Invalid(format!(
            "{cache:?} is a cache of the cluster: name a local one"
        )));
    }
    let mode = match call.text("mode") {
        None | Some("merge") => ImportMode::Merge,
        Some("replace") => ImportMode::Replace,
        Some(other) => {
            return Err(Fault::Invalid(format!("`mode` is merge or replace, not `{other}`")));
        }
    };
    blocking(move || {
        let mut tell = Teller::new(&call.progress);
        let sink = &mut |phase, done| tell.at(phase, done);
        let loaded = backup::load(&call.node, &caches, &path, mode, sink).map_err(fault)?;
        let file = path.display().to_string();
        let entries: u64 = loaded.iter().map(|one| one.counts.stored).sum();
        tracing::info!(event = "snapshot_loaded", file, entries);
        let cache = |Loaded { cache, counts }: &Loaded| {
            json!({
                "cache": cache,
                "loaded": counts.stored,
                "bytes": counts.bytes,
                "expired": counts.expired,
                "newer": counts.newer,
                "refused": counts.refused,
            })
        };
        let caches: Vec<Value> = loaded.iter().map(cache).collect();
        Ok(json!({ "file": file, "entries": entries, "caches": caches }))
    })
    .await
}

/// The file that is named, in the server's folder.
fn path(call: &Invocation) -> Result<PathBuf, Fault> {
    let name = call.text("name").unwrap_or_default();
    if !is_file_name(name) {
        let why = format!(
            "`{}` is no name of a file here: 1 to {NAME_LEN_MAX} letters, digits, `.`, `_` and \
             `-`, not beginning with a dot",
            name.escape_debug()
        );
        return Err(Fault::Invalid(why));
    }
    let folder = call.node.config.backup_folder().ok_or_else(|| {
        Fault::Invalid("there is no folder for it: set node.backup_dir".to_owned())
    })?;
    Ok(folder.join(name))
}

/// That there is no such file, and which there are.
fn missing(path: &Path) -> String {
    let entries = path.parent().and_then(|folder| std::fs::read_dir(folder).ok());
    let names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort_unstable();
    let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    format!("there is no file {}; there are: {names}", path.display())
}

/// Whether a name is one in the folder itself, of a file that is nothing else.
fn is_file_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=NAME_LEN_MAX).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('.')
        && !name.ends_with(".unfinished")
}

/// The caches that are named, none for all.
fn caches(call: &Invocation) -> Vec<String> {
    let names = call.text("caches").unwrap_or_default().split(',').map(str::trim);
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn fault(error: BackupError) -> Fault {
    match error {
        BackupError::UnknownCache { name, .. } => Fault::NoSuchCache(name),
        BackupError::Import { .. } | BackupError::Log(_) => Fault::Unknown(error.to_string()),
        BackupError::Path { .. } | BackupError::Damaged { .. } => Fault::Invalid(error.to_string()),
        BackupError::File(_) | BackupError::Busy => Fault::Failed(error.to_string()),
    }
}

/// Tells how far it is, now and then.
struct Teller<'p> {
    progress: &'p Progress,
    clock: SystemClock,
    told: Option<(Phase, u64)>,
}

impl<'p> Teller<'p> {
    fn new(progress: &'p Progress) -> Teller<'p> {
        Teller { progress, clock: SystemClock::new(), told: None }
    }

    fn at(&mut self, phase: Phase, done: Done) {
        let now = self.clock.now();
        let every = u64::try_from(TELL_EVERY.as_millis()).unwrap_or(u64::MAX);
        if self.told.is_some_and(|(of, at)| of == phase && now < at + every) {
            return;
        }
        self.told = Some((phase, now));
        self.progress.tell(&json!({
            "phase": phase.name(),
            "done": done.entries,
            "total": done.entries_total.max(done.entries),
            "unit": "entries",
            "bytes": done.bytes,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_does_not_leave_the_folder() {
        for (name, is) in [
            ("all.snapshot", true),
            ("2026-11-22_full", true),
            ("", false),
            (".", false),
            ("..", false),
            (".hidden", false),
            ("../x", false),
            ("a/b", false),
            ("/etc/passwd", false),
            ("a\\b", false),
            ("a b", false),
            ("a\0", false),
            ("x.unfinished", false),
            (&"x".repeat(129), false),
        ] {
            assert_eq!(is_file_name(name), is, "{name:?}");
        }
    }
}
