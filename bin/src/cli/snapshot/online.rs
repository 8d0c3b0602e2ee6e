//! `isogrid snapshot save|load` on a running server.

use std::path::Path;
use std::process::ExitCode;

use isogrid_engine::snapshot_file::Progress;
use serde_json::{Value, json};

use super::progress::Show;
use crate::cli::remote::{Failure, RemoteArgs, object, show};
use crate::cli::table::table;
use crate::server::backup::Phase;

/// Has the server save caches.
pub fn save(remote: &RemoteArgs, file: &Path, caches: &[String], overwrite: bool) -> ExitCode {
    let more = ("overwrite", if overwrite { "yes" } else { "no" });
    call(remote, "snapshot.save", file, caches, more, ["cache", "entries", "bytes"])
}

/// Has the server load caches.
pub fn load(remote: &RemoteArgs, file: &Path, caches: &[String], mode: &str) -> ExitCode {
    let columns = ["cache", "loaded", "bytes", "expired", "newer"];
    call(remote, "snapshot.load", file, caches, ("mode", mode), columns)
}

fn call<const N: usize>(
    remote: &RemoteArgs,
    method: &str,
    file: &Path,
    caches: &[String],
    more: (&str, &str),
    columns: [&str; N],
) -> ExitCode {
    let Some(name) = file.to_str() else {
        return Failure::usage("the file's name is no text").say();
    };
    let caches = caches.join(",");
    let params = object([("name", name), ("caches", &caches), more]);
    remote.run(async |client| {
        let mut bar = Show::default();
        let told = client.admin_told(method, &params, |step| tell(&mut bar, &step)).await;
        bar.end();
        let told = told?;
        Ok(remote.out().say(|| text(&told, columns), || told.clone()))
    })
}

/// One step of the server, as the bar shows it.
fn tell(bar: &mut Show, step: &Value) {
    let step = step.get("progress").unwrap_or(step);
    let number = |name: &str| step.get(name).and_then(Value::as_u64).unwrap_or(0);
    let phase = step.get("phase").and_then(Value::as_str).and_then(Phase::parse);
    if let Some(phase) = phase {
        let [entries, entries_total, bytes] = ["done", "total", "bytes"].map(number);
        bar.at(phase, Progress { entries, entries_total, bytes });
    }
}

/// A row for each cache.
fn text<const N: usize>(told: &Value, columns: [&str; N]) -> String {
    let caches = told.get("caches").and_then(Value::as_array);
    let cell = |cache: &Value, name: &str| show::text(cache.get(name).unwrap_or(&json!(null)));
    let row = |cache: &Value| columns.map(|name| cell(cache, name));
    let head = columns.map(str::to_uppercase);
    let rows: Vec<_> = std::iter::once(head).chain(caches.into_iter().flatten().map(row)).collect();
    table(&rows)
}
