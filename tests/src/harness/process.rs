//! What `/proc` and small tools say about a process.

use std::fs;
use std::process::{Command, Output};

/// The resident memory of a process.
pub fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// How many files and sockets a process has open.
pub fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// Lets this process open as many files as the system allows; says how many that is.
pub fn raise_open_files() -> usize {
    let pid = std::process::id().to_string();
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let hard = line.split_whitespace().nth(4).unwrap();
    run(Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={hard}:{hard}")]));
    hard.parse().unwrap()
}

/// Runs a command to its end; panics when it cannot be started.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}
