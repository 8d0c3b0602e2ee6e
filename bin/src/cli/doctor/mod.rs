//! `isogrid doctor`: whether this machine and the configuration are fit for a server.
//!
//! Each check looks at one thing and says what it found, how bad that is and what to do about it.
//! Nothing is changed: what the check of the disk writes it removes.

mod checks;
mod disk;
mod machine;
mod tls;

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::output::OutputArgs;
use super::serve::FileArgs;
use super::table::table;
use crate::config::Problems;
use machine::Machine;

const EXAMPLES: &str = "\
Examples:
  isogrid doctor
  isogrid doctor -c /etc/isogrid/isogrid.toml
  isogrid doctor --set cache.default.memory=32GiB -o json
  isogrid doctor --set tls.mode=on --set tls.cert=cert.pem --set tls.key=key.pem

Exit codes: 0 nothing failed (there may be warnings), 1 something failed.

See also: isogrid config check, isogrid serve";

#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It cannot be told here, or does not apply.
    Skip,
    /// As it should be.
    Ok,
    /// It will do, but not as well as it could.
    Warn,
    /// A server would not start, or not do what it is configured for.
    Fail,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Skip => "SKIP",
            State::Ok => "OK",
            State::Warn => "WARN",
            State::Fail => "FAIL",
        }
    }
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// A code that stays, such as `D03`.
    pub code: &'static str,
    /// What was looked at.
    pub check: &'static str,
    /// How bad it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What to do about it; empty where there is nothing to do.
    pub help: String,
}

/// Runs `isogrid doctor`.
pub fn main(args: &DoctorArgs) -> ExitCode {
    let machine = Machine::here();
    let findings = match args.file.load(Vec::new()) {
        Ok(loaded) => checks::all(&machine, &loaded.config),
        Err(problems) => refused(&machine, &problems),
    };
    let said = args.output.say(|| report(&findings), || document(&findings));
    if worst(&findings) == State::Fail { ExitCode::FAILURE } else { said }
}

/// Without a configuration only the machine itself can be looked at.
fn refused(machine: &Machine, problems: &Problems) -> Vec<Finding> {
    let found = problems.0.iter().map(|problem| problem.what.clone()).collect::<Vec<_>>();
    let configuration = Finding {
        code: "D00",
        check: "configuration",
        state: State::Fail,
        found: found.join("; "),
        help: "`isogrid config check FILE` says where, and what it should be".to_owned(),
    };
    std::iter::once(configuration).chain(checks::of_machine(machine)).collect()
}

fn worst(findings: &[Finding]) -> State {
    findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok)
}

fn report(findings: &[Finding]) -> String {
    let head = ["STATE", "CODE", "CHECK", "FOUND"].map(str::to_owned);
    let row = |f: &Finding| [f.state.word().into(), f.code.into(), f.check.into(), f.found.clone()];
    let mut text =
        table(&std::iter::once(head).chain(findings.iter().map(row)).collect::<Vec<_>>());
    for finding in findings.iter().filter(|finding| !finding.help.is_empty()) {
        let _ = write!(text, "\n{} {}: {}", finding.state.word(), finding.code, finding.help);
    }
    text.trim_end().to_owned() + "\n"
}

fn document(findings: &[Finding]) -> Value {
    let checks: Vec<_> = findings
        .iter()
        .map(|f| {
            json!({
                "code": f.code, "check": f.check, "state": f.state.word(), "found": f.found,
                "help": f.help,
            })
        })
        .collect();
    json!({ "state": worst(findings).word(), "checks": checks })
}
