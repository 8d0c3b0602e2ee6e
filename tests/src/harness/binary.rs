//! Where the `isogrid` binary is, and its examples.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The binary to test, built as this test is built. `ISOGRID_TEST_BINARY` names another one.
pub fn isogrid() -> PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(find).clone()
}

/// An example of one of the packages, built as this test is built. All packages are named, as where
/// everything is tested: with features of its own alone it would have its dependencies built again.
pub fn example(name: &str) -> PathBuf {
    let profile = profile();
    build(&profile, &["--workspace", "--example", name]);
    profile.join("examples").join(name)
}

fn find() -> PathBuf {
    if let Some(path) = std::env::var_os("ISOGRID_TEST_BINARY") {
        return PathBuf::from(path);
    }
    let profile = profile();
    build(&profile, &["--package", "isogrid", "--bin", "isogrid"]);
    profile.join("isogrid")
}

/// Where this test was built.
fn profile() -> PathBuf {
    of_program(&std::env::current_exe().unwrap()).to_owned()
}

/// Where a program was built: `.../release` of `.../release/deps/abuse-0123456789`, which is a
/// test, and of `.../release/chaos`, which is a binary.
fn of_program(program: &Path) -> &Path {
    let folder = program.parent().unwrap();
    if folder.ends_with("deps") { folder.parent().unwrap() } else { folder }
}

/// Always, because a binary that is there may be older than the sources. Takes no time when fresh.
fn build(profile: &Path, what: &[&str]) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet"]).args(what);
    command.arg("--target-dir").arg(profile.parent().unwrap());
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    // What cargo tells this test of its package would change what a build script is told, and so
    // build crates again that are there.
    let of_package =
        |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(of_package) {
            command.env_remove(name);
        }
    }
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().unwrap();
    assert!(status.success(), "cannot build {what:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Once, binaries took the folder above for theirs: they built servers beside the project, and
    /// did not find them.
    #[test]
    fn tests_and_binaries_find_the_server_where_they_were_built() {
        for program in ["/target/release/deps/abuse-0123456789abcdef", "/target/release/chaos"] {
            assert_eq!(of_program(Path::new(program)), Path::new("/target/release"), "{program}");
        }
    }
}
