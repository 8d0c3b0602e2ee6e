//! What an operator can ask of a server: one registry of methods, whatever protocol they come by.
//!
//! A method has a name, parameters that are one JSON object, the permission that it takes, and a
//! handler that answers with a document. A method that takes a while tells its progress meanwhile,
//! to whoever listens. To add one: its handler in a file here, and its line in `methods.rs`.

pub mod caches;
pub mod cluster;
pub mod config;
mod diagnose;
mod methods;
pub mod node;
pub mod promote;
pub mod snapshot;
mod users;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use isogrid_engine::Error;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::node::Node;
use crate::security::OpClass;
use crate::server::invalidated::Closed;
pub use methods::METHODS;

/// What a caller has to be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// See how the server is doing.
    Monitor,
    /// Change how it runs, or what it holds.
    Admin,
}

impl Permission {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Permission::Monitor => "monitor",
            Permission::Admin => "admin",
        }
    }

    /// The row of the table of permissions that it is.
    pub fn class(self) -> OpClass {
        match self {
            Permission::Monitor => OpClass::Monitor,
            Permission::Admin => OpClass::Admin,
        }
    }
}

/// One parameter of a method; all are text.
#[derive(Debug)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub doc: &'static str,
    /// Whether it must be there.
    pub required: bool,
    /// A value that it may have.
    pub example: &'static str,
}

/// What a handler answers, in time.
pub type Outcome = Pin<Box<dyn Future<Output = Result<Value, Fault>> + Send>>;

/// One thing that an operator can ask for.
pub struct Method {
    /// Its name, `noun.verb`.
    pub name: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// What the caller has to be allowed to do.
    pub permission: Permission,
    /// What can be said beside.
    pub params: &'static [Param],
    /// What does it.
    pub handler: fn(Invocation) -> Outcome,
}

/// Why a method did not do what it was asked.
#[derive(Debug)]
pub enum Fault {
    /// The parameters make no sense; nothing was done.
    Invalid(String),
    /// They name a cache that is not there; nothing was done.
    NoSuchCache(String),
    /// A write was refused; nothing was done.
    Write(Error),
    /// Nobody serves what it is for now; nothing was done.
    Unavailable(String),
    /// It may have been done.
    Unknown(String),
    /// The disk, or what is on it, does not let it be done; nothing was changed.
    Failed(String),
}

impl From<Closed> for Fault {
    fn from(closed: Closed) -> Fault {
        match closed {
            Closed::Away => Fault::Unavailable(closed.to_string()),
            Closed::Unknown => Fault::Unknown(closed.to_string()),
        }
    }
}

/// A method on its way to its handler.
pub struct Invocation {
    /// The server.
    pub node: Arc<Node>,
    /// The parameters, checked for their names and types.
    pub params: Map<String, Value>,
    /// Whom to tell how far it is.
    pub progress: Progress,
}

impl Invocation {
    /// The text of a parameter, if it is there.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.params.get(name).and_then(Value::as_str)
    }

    /// Whether a parameter says yes; no where it is not there.
    ///
    /// # Errors
    /// It says something else.
    pub fn flag(&self, name: &str) -> Result<bool, Fault> {
        match self.text(name) {
            None | Some("no") => Ok(false),
            Some("yes") => Ok(true),
            Some(other) => Err(Fault::Invalid(format!("`{name}` is yes or no, not `{other}`"))),
        }
    }
}

/// Whom a method tells how far it is: nobody, or a stream of documents.
#[derive(Default)]
pub struct Progress(Option<mpsc::Sender<Value>>);

impl Progress {
    /// Progress that goes to a channel.
    pub fn to(sender: mpsc::Sender<Value>) -> Self {
        Progress(Some(sender))
    }

    /// Tells how far it is. Whoever reads too slowly misses some: progress never waits.
    pub fn tell(&self, document: &Value) {
        if let Some(sender) = &self.0 {
            let _ = sender.try_send(json!({ "progress": document }));
        }
    }
}

impl Method {
    /// Checks the names and types of parameters.
    ///
    /// # Errors
    /// [`Fault::Invalid`] says what is wrong and what is known.
    pub fn check(&self, params: &Map<String, Value>) -> Result<(), Fault> {
        for (name, value) in params {
            if !self.params.iter().any(|param| param.name == name) {
                let known: Vec<&str> = self.params.iter().map(|param| param.name).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let why = format!("unknown parameter `{name}`; known here: {known}");
                return Err(Fault::Invalid(why));
            }
            if !value.is_string() {
                return Err(Fault::Invalid(format!("`{name}` is not text")));
            }
        }
        match self.params.iter().find(|param| param.required && !params.contains_key(param.name)) {
            Some(missing) => Err(Fault::Invalid(format!("`{}` is missing", missing.name))),
            None => Ok(()),
        }
    }
}

/// The method of this name.
pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

/// Runs what waits for the disk where that is allowed.
async fn blocking(
    work: impl FnOnce() -> Result<Value, Fault> + Send + 'static,
) -> Result<Value, Fault> {
    let ended = |error| Fault::Unknown(format!("it ended without an answer: {error}"));
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(ended(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_once_and_is_documented() {
        for (at, method) in METHODS.iter().enumerate() {
            let again = METHODS.iter().skip(at + 1).any(|other| other.name == method.name);
            assert!(!again && method.name.contains('.'), "{}", method.name);
            assert!(method.doc.ends_with('.'), "{}", method.name);
            assert!(method.params.iter().all(|p| p.doc.ends_with('.')), "{}", method.name);
        }
    }

    #[test]
    fn parameters_are_checked_before_anything_is_done() {
        let clear = METHODS.iter().find(|method| method.name == "caches.clear").unwrap();
        let check = |params: Value| clear.check(params.as_object().unwrap());
        assert!(check(json!({ "cache": "default" })).is_ok());
        for params in [json!({}), json!({ "cache": 1 }), json!({ "cache": "a", "cash": "b" })] {
            assert!(matches!(check(params.clone()), Err(Fault::Invalid(_))), "{params}");
        }
    }

    #[test]
    fn progress_never_waits() {
        let (sender, mut lines) = mpsc::channel(1);
        let progress = Progress::to(sender);
        (0..3).for_each(|n| progress.tell(&json!(n)));
        assert_eq!(lines.try_recv().unwrap(), json!({ "progress": 0 }));
        assert!(lines.try_recv().is_err());
        Progress::default().tell(&json!(1));
    }
}
