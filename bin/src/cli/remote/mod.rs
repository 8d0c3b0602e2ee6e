//! The commands that talk to a running server, over GNP.

pub mod admin;
pub mod cache;
pub mod cluster;
mod confirm;
pub mod context;
pub mod counter;
mod entry;
mod failure;
pub mod kept;
pub mod lock;
mod map;
mod place;
pub mod queue;
mod scan;
pub mod session;
pub mod show;
mod target;
pub mod topic;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use isogrid_grid::unit::parse_span;
use isogrid_wire::client::{Client, Options};
use tokio::net::TcpStream;

use super::output::{Format, OutputArgs};
pub use context::settings;
pub use failure::Failure;
pub use place::PlaceArgs;
use target::Target;

/// What a command of these ends with.
type Outcome = Result<ExitCode, Failure>;

/// Which server, how long it may take, and how to print what it says.
#[derive(Args)]
#[command(next_help_heading = "Connection and output")]
pub struct RemoteArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// How long the server may take to answer
    #[arg(long, global = true, value_name = "TIME", value_parser = span, default_value = "5s")]
    timeout: Duration,
    /// How to print: for people, or JSON
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    output: Format,
}

/// A time as the configuration writes it.
pub fn span(text: &str) -> Result<Duration, String> {
    parse_span(text).ok_or_else(|| "a time looks like 500ms, 30s, 10m or 2h".to_owned())
}

impl RemoteArgs {
    /// Connects, does `work`, and says why if it cannot be done.
    pub fn run(&self, work: impl AsyncFnOnce(Client) -> Outcome) -> ExitCode {
        let outcome = kept::runtime()
            .and_then(|runtime| runtime.block_on(async { work(kept::client(self).await?).await }));
        outcome.unwrap_or_else(|failure| failure.say())
    }

    /// Which server.
    pub fn place(&self) -> &PlaceArgs {
        &self.place
    }

    /// How to print.
    pub fn out(&self) -> OutputArgs {
        OutputArgs { output: self.output }
    }

    async fn connect(&self, target: &Target) -> Result<Client, Failure> {
        // The client would try again until its time is over: a person wants to know at once.
        let reached = tokio::time::timeout(self.timeout, TcpStream::connect(&target.server)).await;
        match reached {
            Ok(Ok(stream)) => drop(stream),
            Ok(Err(error)) => return Err(Failure::unreachable(&target.server, &error.to_string())),
            Err(_) => return Err(Failure::unreachable(&target.server, "it does not answer")),
        }
        // A command asks the server that it names, and no other member.
        let options = Options::default().app("isogrid-cli").timeout(self.timeout).routing(false);
        let options = target.options(options)?;
        Ok(Client::connect([&*target.server], options).await?)
    }
}

/// `key=value` of an argument.
fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("this is to be KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// A JSON object of texts.
pub fn object<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> serde_json::Value {
    pairs
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.into()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
