//! `isogrid snapshot`: looks after snapshot files.

mod offline;
mod online;
mod progress;
mod verify;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use isogrid_engine::snapshot_file::ImportMode;

use super::output::note;
use super::remote::{Failure, RemoteArgs};

const EXAMPLES: &str = "\
Examples:
  isogrid snapshot save nightly.snapshot --server 127.0.0.1:7400   # of the running server
  isogrid snapshot save all.snapshot --data-dir /var/lib/isogrid   # that no server uses
  isogrid snapshot verify all.snapshot
  isogrid snapshot load nightly.snapshot --server 127.0.0.1:7400 --cache orders --mode replace

With --data-dir it is that directory. Else, where anything says which server (--server, --context,
the REPL, ISOGRID_SERVER, ISOGRID_CONTEXT, a context in use), it is that server; where nothing does,
the directory isogrid-data. It says which one.

A running server writes to and reads from its own folder, node.backup_dir: there the file is named
without a folder. It goes on serving meanwhile.

See also: docs/STORAGE.md";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Subcommand)]
enum Command {
    /// Save a running server's caches, or what a data directory holds that no server uses, to one
    /// file. Nothing in the directory is changed.
    #[command(after_help = examples!(
        "isogrid snapshot save nightly.snapshot --server 127.0.0.1:7400",
        "isogrid snapshot save all.snapshot --data-dir /var/lib/isogrid",
    ))]
    Save {
        /// The file; it appears under this name once it is whole and durable. Of a running server
        /// its name alone.
        file: PathBuf,
        #[command(flatten)]
        of: Of,
        /// Replace a file of that name.
        #[arg(long)]
        overwrite: bool,
    },
    /// Load a file into a running server, or into a data directory that no server uses; it is made
    /// where there is none. The file is checked from end to end before anything is changed.
    #[command(after_help = examples!(
        "isogrid snapshot load nightly.snapshot --server 127.0.0.1:7400 --cache orders",
        "isogrid snapshot load all.snapshot --data-dir /var/lib/isogrid --mode replace",
    ))]
    Load {
        /// The file; of a running server its name alone.
        file: PathBuf,
        #[command(flatten)]
        of: Of,
        /// What happens to what is there.
        #[arg(long, value_enum, default_value_t = Mode::Merge)]
        mode: Mode,
    },
    /// Read a snapshot file from end to end and say what is in it; exit code 1 when it is not
    /// whole. The file must not be cut meanwhile.
    #[command(after_help = examples!("isogrid snapshot verify all.snapshot"))]
    Verify {
        /// The file.
        file: PathBuf,
    },
}

/// What is saved and loaded.
#[derive(Args)]
struct Of {
    /// The data directory, and no server; isogrid-data where nothing says which server
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Only this cache; repeatable [default: all]
    #[arg(long, value_name = "NAME")]
    cache: Vec<String>,
}

/// Where nothing is said.
const DIRECTORY: &str = "isogrid-data";

/// What it is done to.
enum Whose<'a> {
    Directory(&'a Path),
    Server,
}

impl Of {
    /// What it is done to, which is told: a load into the wrong place cannot be taken back.
    fn whose(&self, remote: &RemoteArgs) -> Result<Whose<'_>, Failure> {
        let place = remote.place();
        let directory = match &self.data_dir {
            Some(_) if place.says_something() => {
                let why = "--data-dir is of no running server: leave it or --server out";
                return Err(Failure::usage(why));
            }
            Some(directory) => directory.as_path(),
            None if place.is_said()? => {
                note(&format!("the server {}", place.target()?.server));
                return Ok(Whose::Server);
            }
            None => Path::new(DIRECTORY),
        };
        note(&format!("the data directory {}", directory.display()));
        Ok(Whose::Directory(directory))
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Of each key the higher version stays.
    Merge,
    /// Only what is in the file stays.
    Replace,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Merge => "merge",
            Mode::Replace => "replace",
        }
    }

    fn import(self) -> ImportMode {
        match self {
            Mode::Merge => ImportMode::Merge,
            Mode::Replace => ImportMode::Replace,
        }
    }
}

/// Runs `isogrid snapshot ...`.
pub fn main(SnapshotArgs { command, remote }: &SnapshotArgs) -> ExitCode {
    run(command, remote).unwrap_or_else(|failure| failure.say())
}

fn run(command: &Command, remote: &RemoteArgs) -> Result<ExitCode, Failure> {
    Ok(match command {
        Command::Save { file, of, overwrite } => match of.whose(remote)? {
            Whose::Server => online::save(remote, file, &of.cache, *overwrite),
            Whose::Directory(dir) => offline::save(file, dir, &of.cache, *overwrite),
        },
        Command::Load { file, of, mode } => match of.whose(remote)? {
            Whose::Server => online::load(remote, file, &of.cache, mode.name()),
            Whose::Directory(dir) => offline::load(file, dir, &of.cache, mode.import()),
        },
        Command::Verify { file } => verify::main(file),
    })
}
