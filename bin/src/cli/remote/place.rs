//! Which server a command talks to.

use std::net::{TcpStream, ToSocketAddrs as _};

use clap::Args;
use clap_complete::ArgValueCompleter;

use super::context::Contexts;
use super::target::{Target, env};
use super::{Failure, kept};
use crate::cli::complete;

/// Of one name.
const ADDRESSES_TRIED: usize = 2;

/// Which server, and how to get in there.
#[derive(Args, Default)]
#[command(next_help_heading = "Connection and output")]
pub struct PlaceArgs {
    /// The server's native address [env: ISOGRID_SERVER] [default: 127.0.0.1:7400]
    #[arg(long, global = true, value_name = "HOST:PORT")]
    server: Option<String>,
    /// A server that `isogrid context add` has noted [env: ISOGRID_CONTEXT]
    #[arg(long, global = true, value_name = "NAME", conflicts_with = "server")]
    #[arg(add = ArgValueCompleter::new(complete::contexts))]
    context: Option<String>,
    #[command(flatten)]
    said: Target,
}

impl PlaceArgs {
    /// Whether the flags say where to connect, or how.
    pub fn says_something(&self) -> bool {
        self.server.is_some() || self.context.is_some() || self.said != Target::default()
    }

    /// Whether it is said which server: by flags, the REPL, the environment, or a context in use.
    ///
    /// # Errors
    /// The file of contexts cannot be read.
    pub fn is_said(&self) -> Result<bool, Failure> {
        let variables = ["ISOGRID_SERVER", "ISOGRID_CONTEXT"];
        let is_near = self.says_something()
            || kept::is_repl()
            || variables.into_iter().any(|name| env(name).is_some());
        Ok(is_near || Contexts::read()?.is_used())
    }

    /// Whether somebody listens where the command would connect to.
    pub fn answers(&self) -> bool {
        let Ok(target) = self.target() else { return false };
        let Ok(addresses) = target.server.to_socket_addrs() else { return false };
        let mut addresses = addresses.take(ADDRESSES_TRIED);
        addresses.any(|address| TcpStream::connect_timeout(&address, kept::SOON).is_ok())
    }

    /// What flags say and nothing else does, for a protocol other than GNP: nobody notes where that
    /// is spoken.
    ///
    /// # Errors
    /// A context, or a token, which are GNP's.
    pub fn other(&self, usual: &str) -> Result<Target, String> {
        if self.context.is_some() || self.said.token_file.is_some() {
            return Err("--context and --token-file are for --protocol native".to_owned());
        }
        let server = self.server.clone().unwrap_or_else(|| usual.to_owned());
        Ok(Target { server, ..Target::default() }.with(&self.said))
    }

    /// What is said nearest to the command counts: flags, those of the REPL, the environment, the
    /// context in use.
    ///
    /// # Errors
    /// There is no such context.
    pub fn target(&self) -> Result<Target, Failure> {
        let direct = |server| Target { server, ..Target::default() };
        let server = || env("ISOGRID_SERVER");
        let target = match (&self.server, &self.context) {
            (Some(server), _) => direct(server.clone()),
            (None, Some(name)) => Contexts::read()?.named(name)?,
            (None, None) => match (kept::base(), server(), env("ISOGRID_CONTEXT")) {
                (Some(base), ..) => base,
                (None, Some(server), _) => direct(server),
                (None, None, Some(name)) => Contexts::read()?.named(&name)?,
                (None, None, None) => Contexts::read()?.in_use()?,
            },
        };
        Ok(target.with(&self.said))
    }
}
