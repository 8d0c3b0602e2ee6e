//! `isogrid snapshot`: looks after snapshot files.

mod offline;
mod progress;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use isogrid_engine::snapshot_file::ImportMode;

#[derive(Args)]
pub struct SnapshotArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Save what a data directory holds that no server uses, to one file. Nothing in the directory
    /// is changed.
    Save {
        /// The file; it appears under this name once it is whole and durable.
        file: PathBuf,
        #[command(flatten)]
        of: Of,
        /// Replace a file of that name.
        #[arg(long)]
        overwrite: bool,
    },
    /// Load a file into a data directory that no server uses; it is made where there is none. The
    /// file is checked from end to end before anything is changed.
    Load {
        /// The file.
        file: PathBuf,
        #[command(flatten)]
        of: Of,
        /// What happens to what is there.
        #[arg(long, value_enum, default_value_t = Mode::Merge)]
        mode: Mode,
    },
    /// Read a snapshot file from end to end and say what is in it; exit code 1 when it is not
    /// whole. The file must not be cut meanwhile.
    Verify {
        /// The file.
        file: PathBuf,
    },
}

/// What is saved and loaded.
#[derive(Args)]
struct Of {
    /// The data directory.
    #[arg(long, value_name = "DIR", default_value = "isogrid-data")]
    data_dir: PathBuf,
    /// Only this cache; repeatable [default: all]
    #[arg(long, value_name = "NAME")]
    cache: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    /// Of each key the higher version stays.
    Merge,
    /// Only what is in the file stays.
    Replace,
}

/// Runs `isogrid snapshot ...`.
pub fn main(args: &SnapshotArgs) -> ExitCode {
    match &args.command {
        Command::Save { file, of, overwrite } => {
            offline::save(file, &of.data_dir, &of.cache, *overwrite)
        }
        Command::Load { file, of, mode } => {
            let mode = match mode {
                Mode::Merge => ImportMode::Merge,
                Mode::Replace => ImportMode::Replace,
            };
            offline::load(file, &of.data_dir, &of.cache, mode)
        }
        Command::Verify { file } => verify::main(file),
    }
}
