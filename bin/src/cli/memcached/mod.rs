//! `isogrid memcached`, and `isogrid` started under the name `memcached`: memcached's own flags.
//!
//! Flags, messages and exit codes are memcached 1.6's. Two things differ: without `-l` the server
//! listens on this machine only, and an `-l` that other machines reach needs `ISOGRID_INSECURE=1`.

mod address;
mod flags;
mod getopt;
mod help;
mod process;
mod suboption;

use std::ffi::OsString;
use std::process::ExitCode;

use self::flags::{Launch, Parsed};
use super::{refuse, run};
use crate::config::{Exposure, Origin, Problem, Problems, TlsMode, refuse_exposure, validate};

/// Exit codes of `sysexits.h` that memcached uses.
mod exit {
    pub const FAILURE: u8 = 1;
    pub const USAGE: u8 = 64;
    pub const NO_USER: u8 = 67;
    pub const OS: u8 = 71;
}

/// Why the flags cannot be followed: memcached's message and exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Runs a server with memcached's flags (without the program's name).
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> =
        args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    match flags::parse(&args) {
        Ok(Parsed::Say(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Parsed::Launch(launch)) => start(*launch, &args),
        Err(failure) => fail(&failure),
    }
}

fn fail(failure: &Failure) -> ExitCode {
    eprintln!("{}", failure.message);
    ExitCode::from(failure.code)
}

fn start(mut launch: Launch, args: &[String]) -> ExitCode {
    launch.config.port_file = std::env::var_os("MEMCACHED_PORT_FILENAME").map(Into::into);
    if let Err(problems) = check(&launch) {
        return refuse(&problems);
    }
    match become_server(&launch, args) {
        Ok(true) => serve(launch),
        Ok(false) => ExitCode::SUCCESS,
        Err(failure) => fail(&failure),
    }
}

fn check(launch: &Launch) -> Result<(), Problems> {
    let tls = &launch.config.tls;
    if tls.mode != TlsMode::Off && (tls.cert.is_none() || tls.key.is_none()) {
        let help =
            "add -o ssl_chain_cert=FILE,ssl_key=FILE, PEM files; docs/SECURITY.md makes some";
        return Err(Problem::new("-Z without a certificate", &Origin::Default, help).into());
    }
    validate(&launch.config)?;
    Ok(refuse_exposure(&launch.config, Exposure::of_memcached())?)
}

/// Becomes the user and the daemon that the flags ask for; false in the process that stays behind.
fn become_server(launch: &Launch, args: &[String]) -> Result<bool, Failure> {
    process::switch_user(launch.user.as_deref(), args)?;
    if launch.daemon { process::detach(launch, args) } else { Ok(true) }
}

fn serve(launch: Launch) -> ExitCode {
    for note in launch.notes.iter().filter(|_| launch.config.protocol.verbosity > 0) {
        eprintln!("note: {note}");
    }
    run(launch.config)
}
