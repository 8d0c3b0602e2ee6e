//! Libraries for Python and Node that some tests drive, and how they get here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use super::{isogrid, run};

/// One test installs, the others wait.
static INSTALLING: Mutex<()> = Mutex::new(());

/// Whether a command ends well.
pub fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Runs a command that has to end well.
///
/// # Panics
/// When it does not, with what it said.
pub fn must_work(command: &mut Command) {
    let output = run(command);
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{command:?}\n{stdout}\n{stderr}");
}

/// A Python that knows these modules: the one of `$ISOGRID_TEST_PYTHON` or `python3` as it is, else
/// one below the target folder, where these packages are installed.
pub fn python_with(modules: &str, packages: &[&str]) -> PathBuf {
    let imports = ["-c", &format!("import {modules}")];
    let named = std::env::var_os("ISOGRID_TEST_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| PathBuf::from("python3"));
    if works(Command::new(&python).args(imports)) {
        return python;
    }
    let _guard = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let venv = installed().join("venv");
    let own = venv.join("bin/python");
    if !works(Command::new(&own).args(imports)) {
        must_work(Command::new(&python).args(["-m", "venv"]).arg(&venv));
        must_work(Command::new(&own).args(["-m", "pip", "install", "--quiet"]).args(packages));
    }
    own
}

/// `node`, which finds these packages: as it is, else installed below the target folder.
pub fn node_with(packages: &[&str]) -> Command {
    let required: String =
        packages.iter().map(|package| format!("require('{package}');")).collect();
    let mut node = Command::new("node");
    if !works(Command::new("node").args(["-e", &required])) {
        node.env("NODE_PATH", node_modules(packages));
    }
    node
}

fn node_modules(packages: &[&str]) -> PathBuf {
    let _guard = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    let node = installed().join("node");
    let modules = node.join("node_modules");
    let is_there = |package: &&str| modules.join(package).is_dir();
    if !packages.iter().all(is_there) {
        let quiet = ["install", "--silent", "--no-audit", "--no-fund", "--prefix"];
        must_work(Command::new("npm").args(quiet).arg(&node).args(packages));
    }
    modules
}

/// The folder for what is installed: beside the binary's profile folder.
fn installed() -> PathBuf {
    let program = isogrid();
    program.parent().and_then(Path::parent).expect("a target folder").join("clients")
}
