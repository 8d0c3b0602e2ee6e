//! The process around the server: whose it is, whether it is detached.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::flags::Launch;
use super::{Failure, exit};

/// Set in the detached child, so that it does not detach again.
const DETACHED_ENV: &str = "ISOGRID_DETACHED";

/// As memcached: root needs `-u`, and becomes that user by starting the program again as them.
pub fn switch_user(user: Option<&str>, args: &[String]) -> Result<(), Failure> {
    if effective_uid() != Some(0) {
        return Ok(());
    }
    let name =
        user.ok_or_else(|| Failure::new(exit::USAGE, "can't run as root without the -u switch"))?;
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    match find_user(&passwd, name) {
        None => {
            let message = format!("can't find the user {name} to switch to");
            Err(Failure::new(exit::NO_USER, message))
        }
        Some((0, _)) => Ok(()),
        Some((uid, gid)) => {
            let error = again(args)?.uid(uid).gid(gid).exec();
            let message = format!("failed to assume identity of user {name}: {error}");
            Err(Failure::new(exit::OS, message))
        }
    }
}

/// Starts the program again in a session of its own; false in the process that stays behind.
pub fn detach(launch: &Launch, args: &[String]) -> Result<bool, Failure> {
    if std::env::var_os(DETACHED_ENV).is_some() {
        return Ok(true);
    }
    let program = again(args)?;
    let mut daemon = Command::new("setsid");
    daemon.arg(program.get_program()).arg("memcached").args(args).env(DETACHED_ENV, "1");
    daemon.stdin(Stdio::null());
    if launch.config.protocol.verbosity == 0 {
        daemon.stdout(Stdio::null()).stderr(Stdio::null());
    }
    if !launch.keep_directory {
        daemon.current_dir("/");
    }
    daemon.spawn().map(|_| false).map_err(|error| {
        let message = format!(
            "failed to daemon() in order to daemonize: setsid: {error}\nLeave out -d and let a \
             service manager run the server."
        );
        Failure::new(exit::FAILURE, message)
    })
}

/// The same program with the same flags.
fn again(args: &[String]) -> Result<Command, Failure> {
    let program = std::env::current_exe().map_err(|error| {
        Failure::new(exit::OS, format!("cannot find the program to start again: {error}"))
    })?;
    let mut command = Command::new(program);
    command.arg("memcached").args(args);
    Ok(command)
}

/// From the kernel's own account of this process.
fn effective_uid() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    uids.split_whitespace().nth(1)?.parse().ok()
}

/// User and group id of `name` in the text of `/etc/passwd`.
fn find_user(passwd: &str, name: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next() == Some(name);
        let (uid, gid) = (fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?);
        found.then_some((uid, gid))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbad line\nmemcache:x:101:102::/:/bin/false\n";
        for (name, ids) in [
            ("root", Some((0, 0))),
            ("memcache", Some((101, 102))),
            ("mem", None),
            ("bad line", None),
            ("", None),
        ] {
            assert_eq!(find_user(passwd, name), ids, "{name}");
        }
    }
}
