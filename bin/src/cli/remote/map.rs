//! `isogrid cache map`: the fields of an entry that is a map.

use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use clap::Subcommand;
use isogrid_wire::client::Client;
use isogrid_wire::client::cache::{Field, MapUpdated};
use serde_json::{Map, Value, json};

use super::cache::{Entry, open};
use super::show::{line, put_bytes};
use super::{Failure, Outcome, pair};
use crate::cli::output::OutputArgs;
use crate::cli::table::table;

#[derive(Subcommand)]
pub enum MapCommand {
    /// Print fields with their values; without names all of them.
    #[command(after_help = examples!(
        "isogrid cache map get carts ann",
        "isogrid cache map get carts ann colour",
    ))]
    Get {
        #[command(flatten)]
        entry: Entry,
        /// Names of fields.
        fields: Vec<String>,
    },
    /// Set fields; those that are not named stay.
    #[command(after_help = examples!("isogrid cache map set carts ann colour=red size=10"))]
    Set {
        #[command(flatten)]
        entry: Entry,
        /// What to set, as in `colour=red`.
        #[arg(value_name = "FIELD=VALUE", required = true, value_parser = pair)]
        fields: Vec<(String, String)>,
        /// Only if the entry has this version.
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
    },
    /// Remove fields.
    #[command(after_help = examples!("isogrid cache map del carts ann colour"))]
    Del {
        #[command(flatten)]
        entry: Entry,
        /// Names of fields.
        #[arg(required = true)]
        fields: Vec<String>,
        /// Only if the entry has this version.
        #[arg(long, value_name = "VERSION")]
        if_version: Option<u64>,
    },
}

/// Runs `isogrid cache map`.
pub async fn run(client: &Client, command: &MapCommand, out: &OutputArgs) -> Outcome {
    match command {
        MapCommand::Get { entry, fields } => get(client, entry, fields, out).await,
        MapCommand::Set { entry, fields, if_version } => {
            change(client, entry, fields, &[], *if_version, out).await
        }
        MapCommand::Del { entry, fields, if_version } => {
            change(client, entry, &[], fields, *if_version, out).await
        }
    }
}

async fn get(client: &Client, entry: &Entry, names: &[String], out: &OutputArgs) -> Outcome {
    let cache = open(client, &entry.cache).await?;
    let asked: Vec<&str> = names.iter().map(String::as_str).collect();
    let found = cache.map(entry.key.as_bytes()).get().fields(&asked).await?;
    let found = found.ok_or_else(|| entry.missing())?;
    if let Some(missing) = asked.iter().find(|name| !found.fields.contains_key(**name)) {
        return Err(Failure::not_found(format!("there is no field {missing:?}")));
    }
    let rows = || found.fields.iter().map(|(name, f)| [name.clone(), line(&f.value)]);
    let document = || {
        let fields: Map<_, _> =
            found.fields.iter().map(|(name, field)| (name.clone(), described(field))).collect();
        entry.document(json!({ "version": found.version, "fields": fields }))
    };
    Ok(out.say(|| table(&rows().collect::<Vec<_>>()), document))
}

fn described(field: &Field) -> Value {
    let mut document = Map::new();
    put_bytes(&mut document, "value", &field.value);
    document.insert("version".to_owned(), json!(field.version));
    document.into()
}

async fn change(
    client: &Client,
    entry: &Entry,
    set: &[(String, String)],
    removed: &[String],
    if_version: Option<u64>,
    out: &OutputArgs,
) -> Outcome {
    let cache = open(client, &entry.cache).await?;
    let mut update = cache.map(entry.key.as_bytes()).update();
    for (name, value) in set {
        update = update.set(name, value.as_bytes());
    }
    for name in removed {
        update = update.remove(name);
    }
    if set.is_empty() {
        update = update.if_present();
    }
    if let Some(version) = if_version {
        update = update.strict(version);
    }
    match update.await? {
        MapUpdated::Done { version, .. } => Ok(stored(entry, version, out)),
        MapUpdated::NotStored { .. } => Err(entry.missing()),
        MapUpdated::Mismatch { version, conflicts } => {
            let failure = entry.mismatch(version);
            Err(if conflicts.is_empty() {
                failure
            } else {
                failure.help(format!("changed since: {}", conflicts.join(", ")))
            })
        }
    }
}

fn stored(entry: &Entry, version: u64, out: &OutputArgs) -> ExitCode {
    let document = || entry.document(json!({ "version": version }));
    out.done(|| format!("stored, version {version}\n"), document)
}
