//! The entries of a cache: `get`, `put`, `rm`, `touch`, `incr`.

use std::ffi::OsStr;
use std::io::{IsTerminal as _, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use clap::Args;
use isogrid_wire::client::Client;
use isogrid_wire::client::cache::{Changed, Counted, Removed, Written};
use isogrid_wire::client::{self};
use serde_json::{Map, Value, json};

use super::cache::{Entry, open};
use super::show::{line, put_bytes};
use super::{Failure, Outcome, span};
use crate::cli::output::{Format, OutputArgs, said};

/// How to store.
#[derive(Args)]
pub struct PutArgs {
    /// How long it lives; without it, as the cache is configured.
    #[arg(long, value_name = "TIME", value_parser = span)]
    ttl: Option<Duration>,
    /// How long it may be idle; without it, as the cache is configured.
    #[arg(long, value_name = "TIME", value_parser = span)]
    max_idle: Option<Duration>,
    /// The client's flags, kept with the value.
    #[arg(long, value_name = "NUMBER")]
    flags: Option<u32>,
    /// Only if there is none.
    #[arg(long, conflicts_with_all = ["if_present", "if_version"])]
    if_absent: bool,
    /// Only if there is one.
    #[arg(long, conflicts_with = "if_version")]
    if_present: bool,
    /// Only if the entry has this version.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<u64>,
}

impl Entry {
    fn key(&self) -> &[u8] {
        self.key.as_bytes()
    }

    pub(super) fn missing(&self) -> Failure {
        Failure::not_found(format!("there is no entry {:?} in {}", line(self.key()), self.cache))
    }

    pub(super) fn mismatch(&self, version: u64) -> Failure {
        Failure::condition(format!("{:?} has the version {version}", line(self.key())))
    }

    pub(super) fn document(&self, more: Value) -> Value {
        let mut document = Map::new();
        put_bytes(&mut document, "key", self.key());
        if let Value::Object(more) = more {
            document.extend(more);
        }
        document.into()
    }
}

/// Prints a value.
pub async fn get(client: &Client, entry: &Entry, out: &OutputArgs) -> Outcome {
    let cache = open(client, &entry.cache).await?;
    let found = cache.get(entry.key()).await?.ok_or_else(|| entry.missing())?;
    if out.output == Format::Json {
        let document = described(entry.key(), &found, true);
        return Ok(out.say(String::new, || document.into()));
    }
    let mut stdout = std::io::stdout().lock();
    let ends = !stdout.is_terminal() || found.value.ends_with(b"\n");
    let end: &[u8] = if ends { b"" } else { b"\n" };
    let written = stdout.write_all(&found.value).and_then(|()| stdout.write_all(end));
    Ok(said(written.and_then(|()| stdout.flush())))
}

/// What there is to say of an entry, with its value or without.
pub(super) fn described(
    key: &[u8],
    entry: &client::cache::Entry,
    value: bool,
) -> Map<String, Value> {
    let millis =
        |span: Option<Duration>| span.and_then(|span| u64::try_from(span.as_millis()).ok());
    let mut document = Map::new();
    put_bytes(&mut document, "key", key);
    document.insert("version".to_owned(), json!(entry.version));
    document.insert("flags".to_owned(), json!(entry.flags));
    document.insert("ttl_ms".to_owned(), json!(millis(entry.ttl)));
    document.insert("max_idle_ms".to_owned(), json!(millis(entry.idle)));
    if value {
        put_bytes(&mut document, "value", &entry.value);
    }
    document
}

/// Stores a value.
pub async fn put(
    client: &Client,
    entry: &Entry,
    value: Option<&OsStr>,
    how: &PutArgs,
    out: &OutputArgs,
) -> Outcome {
    let value = match value {
        Some(value) => value.as_bytes().to_vec(),
        None => stdin()?,
    };
    let cache = open(client, &entry.cache).await?;
    let mut write = match (how.if_absent, how.if_present) {
        (true, _) => cache.put_if_absent(entry.key(), &value),
        (_, true) => cache.replace(entry.key(), &value),
        _ => cache.put(entry.key(), &value),
    };
    if let Some(ttl) = how.ttl {
        write = write.ttl(ttl);
    }
    if let Some(idle) = how.max_idle {
        write = write.idle(idle);
    }
    if let Some(flags) = how.flags {
        write = write.flags(flags);
    }
    if let Some(version) = how.if_version {
        write = write.if_version(version);
    }
    match write.await? {
        Written::Stored { version, .. } => Ok(out.done(
            || format!("stored, version {version}\n"),
            || entry.document(json!({ "version": version })),
        )),
        Written::NotStored { version: 0, .. } | Written::Mismatch { version: 0, .. } => {
            Err(Failure::condition(format!("not stored: there is no {:?}", line(entry.key()))))
        }
        Written::NotStored { version, .. } | Written::Mismatch { version, .. } => {
            Err(entry.mismatch(version))
        }
    }
}

fn stdin() -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut value);
    read.map_err(|error| Failure::general(format!("cannot read the value from stdin: {error}")))?;
    Ok(value)
}

/// Removes an entry.
pub async fn remove(
    client: &Client,
    entry: &Entry,
    if_version: Option<u64>,
    out: &OutputArgs,
) -> Outcome {
    let cache = open(client, &entry.cache).await?;
    let mut write = cache.remove(entry.key());
    if let Some(version) = if_version {
        write = write.if_version(version);
    }
    match write.await? {
        Removed::Removed { .. } => {
            Ok(out.done(|| "removed\n".to_owned(), || entry.document(json!({ "removed": true }))))
        }
        Removed::NotFound => Err(entry.missing()),
        Removed::Mismatch { version, .. } => Err(entry.mismatch(version)),
    }
}

/// Gives an entry a new lifetime.
pub async fn touch(
    client: &Client,
    entry: &Entry,
    ttl: Option<Duration>,
    out: &OutputArgs,
) -> Outcome {
    let cache = open(client, &entry.cache).await?;
    let mut write = cache.touch(entry.key());
    if let Some(ttl) = ttl {
        write = write.ttl(ttl);
    }
    match write.await? {
        Changed::Done { version } => {
            Ok(out
                .done(|| "touched\n".to_owned(), || entry.document(json!({ "version": version }))))
        }
        Changed::NotFound => Err(entry.missing()),
        Changed::Mismatch { version } => Err(entry.mismatch(version)),
    }
}

/// Adds to a number.
pub async fn incr(
    client: &Client,
    entry: &Entry,
    delta: i64,
    initial: Option<u64>,
    out: &OutputArgs,
) -> Outcome {
    let cache = open(client, &entry.cache).await?;
    let mut write = cache.incr(entry.key(), delta);
    if let Some(initial) = initial {
        write = write.initial(initial);
    }
    match write.await? {
        Counted::Done { value, version } => Ok(out.say(
            || format!("{value}\n"),
            || entry.document(json!({ "value": value, "version": version })),
        )),
        Counted::NotFound => Err(entry.missing().help("say what to begin with: --initial 1")),
        Counted::Mismatch { version } => Err(entry.mismatch(version)),
    }
}
