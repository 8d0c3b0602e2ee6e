//! What is kept from one command of this process to the next: the REPL's connections, and what it
//! is connected to unless a line says otherwise. Any other process has one command, and keeps
//! nothing.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use isogrid_wire::client::Client;
use tokio::runtime::{Builder, Runtime};

use super::target::Target;
use super::{Failure, PlaceArgs, RemoteArgs};
use crate::cli::output::Format;

/// How long a completion may take.
pub const SOON: Duration = Duration::from_millis(300);

struct Kept {
    base: Option<Target>,
    runtime: Rc<Runtime>,
    clients: Vec<(Target, Duration, Client)>,
}

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// Keeps connections from now on, the first one to what `said` says, if it says anything.
///
/// # Errors
/// There is no such context, or no runtime.
pub fn begin(said: &PlaceArgs) -> Result<(), Failure> {
    let base = said.says_something().then(|| said.target()).transpose()?;
    // A thread of its own: connections live on while the next line is typed.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = Rc::new(runtime.map_err(no_runtime)?);
    KEPT.set(Some(Kept { base, runtime, clients: Vec::new() }));
    Ok(())
}

/// What lines are about that do not say it themselves.
pub fn base() -> Option<Target> {
    KEPT.with_borrow(|kept| kept.as_ref()?.base.clone())
}

/// Whether this is a REPL, which is about a server.
pub fn is_repl() -> bool {
    KEPT.with_borrow(Option::is_some)
}

/// The server that the next line goes to.
pub fn label() -> String {
    PlaceArgs::default().target().map_or_else(|_| "isogrid".to_owned(), |target| target.server)
}

/// Where a command runs.
pub fn runtime() -> Result<Rc<Runtime>, Failure> {
    if let Some(runtime) = KEPT.with_borrow(|kept| Some(Rc::clone(&kept.as_ref()?.runtime))) {
        return Ok(runtime);
    }
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map(Rc::new).map_err(no_runtime)
}

fn no_runtime(error: std::io::Error) -> Failure {
    Failure::general(format!("no runtime: {error}"))
}

/// A connection to this server: the one that there is, or another one.
pub async fn client(args: &RemoteArgs) -> Result<Client, Failure> {
    let target = args.place.target()?;
    let fits = |to: &Target, timeout: Duration| *to == target && timeout == args.timeout;
    if let Some(client) = find(fits) {
        return Ok(client);
    }
    let client = args.connect(&target).await?;
    KEPT.with_borrow_mut(|kept| {
        if let Some(kept) = kept {
            kept.clients.push((target, args.timeout, client.clone()));
        }
    });
    Ok(client)
}

fn find(fits: impl Fn(&Target, Duration) -> bool) -> Option<Client> {
    KEPT.with_borrow(|kept| {
        let clients = &kept.as_ref()?.clients;
        let found = clients.iter().find(|(target, timeout, _)| fits(target, *timeout));
        found.map(|(_, _, client)| client.clone())
    })
}

/// What a server says at once, and without asking anybody for a password.
pub fn soon<T>(work: impl AsyncFnOnce(Client) -> Result<T, Failure>) -> Option<T> {
    let place = PlaceArgs::default();
    let args = RemoteArgs { place, timeout: SOON, output: Format::Table };
    let target = args.place.target().ok()?;
    let answer = async {
        let client = match find(|to, _| *to == target) {
            Some(client) => client,
            None if target.has_to_ask() => return None,
            None => args.connect(&target).await.ok()?,
        };
        work(client).await.ok()
    };
    let runtime = runtime().ok()?;
    runtime.block_on(async { tokio::time::timeout(SOON, answer).await.ok()? })
}
