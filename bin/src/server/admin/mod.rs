//! What an operator can ask of a server: one registry of methods, whatever protocol they come by.
//!
//! A method has a name, parameters that are one JSON object, the permission that it takes, and a
//! handler that answers with a document. A method that takes a while tells its progress meanwhile,
//! to whoever listens. To add one: its handler in a file here, and its line in [`METHODS`].

pub mod caches;
pub mod cluster;
pub mod config;
pub mod node;
pub mod promote;
pub mod snapshot;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use isogrid_engine::Error;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::node::Node;
use crate::security::OpClass;
use crate::server::invalidated::Closed;

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

const CACHE: Param =
    Param { name: "cache", doc: "The cache's name.", required: true, example: "default" };

const FILE: Param = Param {
    name: "name",
    doc: "The file's name, without a folder.",
    required: true,
    example: "all.snapshot",
};

const CACHES: Param = Param {
    name: "caches",
    doc: "Only these caches, with commas between them.",
    required: false,
    example: "default",
};

/// The method of this name.
pub fn find(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|method| method.name == name)
}

/// Every method there is.
pub static METHODS: &[Method] = &[
    Method {
        name: "node.info",
        doc: "What this node is: name, version, process, threads, listeners.",
        permission: Permission::Monitor,
        params: &[],
        handler: |call| Box::pin(async move { Ok(node::info(&call.node)) }),
    },
    Method {
        name: "node.stats",
        doc: "What this node has counted: connections and operations.",
        permission: Permission::Monitor,
        params: &[],
        handler: |call| Box::pin(async move { Ok(node::stats(&call.node)) }),
    },
    Method {
        name: "node.drain",
        doc: "/health/ready says no from now on, so that load balancers send new clients \
              elsewhere; everything is served as before.",
        permission: Permission::Admin,
        params: &[],
        handler: |call| Box::pin(async move { Ok(node::drain(&call.node, true)) }),
    },
    Method {
        name: "node.undrain",
        doc: "Takes node.drain back.",
        permission: Permission::Admin,
        params: &[],
        handler: |call| Box::pin(async move { Ok(node::drain(&call.node, false)) }),
    },
    Method {
        name: "config.show",
        doc: "Every key of the configuration, its value at the start, and where it was said.",
        permission: Permission::Monitor,
        params: &[],
        handler: |call| Box::pin(async move { Ok(config::show(&call.node)) }),
    },
    Method {
        name: "log.level",
        doc: "Which log lines are written; with `level`, from now on until a restart.",
        permission: Permission::Admin,
        params: &[Param {
            name: "level",
            doc: "A level, or a filter like `warn,isogrid=debug`.",
            required: false,
            example: "info",
        }],
        handler: |call| Box::pin(async move { config::log_level(&call) }),
    },
    Method {
        name: "caches.list",
        doc: "Each cache with its entries and bytes.",
        permission: Permission::Monitor,
        params: &[],
        handler: |call| Box::pin(async move { Ok(json!({ "caches": caches::list(&call.node) })) }),
    },
    Method {
        name: "caches.describe",
        doc: "How one cache is configured and doing.",
        permission: Permission::Monitor,
        params: &[CACHE],
        handler: |call| Box::pin(async move { caches::describe_named(&call) }),
    },
    Method {
        name: "caches.clear",
        doc: "Removes every entry of one cache, of all members if it is the cluster's.",
        permission: Permission::Admin,
        params: &[CACHE],
        handler: |call| Box::pin(caches::clear(call)),
    },
    Method {
        name: "cluster.status",
        doc: "How the cluster of this node is: members, leader, and what of the caches is served.",
        permission: Permission::Monitor,
        params: &[],
        handler: |call| Box::pin(cluster::status(call)),
    },
    Method {
        name: "cluster.topology",
        doc: "Who has which segment of the cluster's caches.",
        permission: Permission::Monitor,
        params: &[Param { required: false, doc: "Only this cache.", ..CACHE }],
        handler: |call| Box::pin(cluster::topology(call)),
    },
    Method {
        name: "cluster.locate",
        doc: "Who has the segment of a key, whether there is such an entry or not.",
        permission: Permission::Monitor,
        params: &[
            CACHE,
            Param { name: "key", doc: "The key, as text.", required: false, example: "user:1" },
            Param {
                name: "key_hex",
                doc: "The key, as hexadecimal digits, where it is no text.",
                required: false,
                example: "ff00",
            },
        ],
        handler: |call| Box::pin(cluster::locate(call)),
    },
    Method {
        name: "cluster.leave",
        doc: "This node leaves its cluster: others take what it has, then it is forgotten and its \
              process ends.",
        permission: Permission::Admin,
        params: &[],
        handler: |call| Box::pin(cluster::leave(call)),
    },
    Method {
        name: "cluster.rebalance",
        doc: "What is left until every copy is where it should be, how fast that goes, and what each \
              member has and should have. The cluster does it unasked.",
        permission: Permission::Monitor,
        params: &[Param {
            name: "wait",
            doc: "yes answers when nothing is left, and says in between how far it is.",
            required: false,
            example: "no",
        }],
        handler: |call| Box::pin(cluster::rebalance(call)),
    },
    Method {
        name: "cluster.remove",
        doc: "The cluster forgets a member that does not come back, and all that it had: others take \
              its place. Refused while it answers, and where it has the only copies of segments \
              unless that loss is accepted.",
        permission: Permission::Admin,
        params: &[
            Param {
                name: "member",
                doc: "The member's number or peer address.",
                required: true,
                example: "2",
            },
            Param {
                name: "accept_data_loss",
                doc: "yes lets segments of which only it has copies in sync begin anew, empty.",
                required: false,
                example: "yes",
            },
        ],
        handler: |call| Box::pin(cluster::remove(call)),
    },
    Method {
        name: "cluster.force_promote",
        doc: "Copies serve that have fallen behind, where none in sync is left: what was acknowledged \
              since is lost. Of each segment that which has the most; an empty one where nobody has any. \
              Refused while a copy in sync is there or may come back within 10 s, and unless the loss \
              is accepted.",
        permission: Permission::Admin,
        params: &[
            CACHE,
            Param {
                name: "segment",
                doc: "The number of a segment that nobody serves.",
                required: false,
                example: "17",
            },
            Param {
                name: "all_unserved",
                doc: "yes means all segments that nobody serves, in the place of `segment`.",
                required: false,
                example: "yes",
            },
            Param {
                name: "to",
                doc: "Only the copies of this member, by its number or peer address.",
                required: false,
                example: "2",
            },
            Param {
                name: "accept_data_loss",
                doc: "yes accepts that; without it the answer says what would be lost.",
                required: false,
                example: "yes",
            },
        ],
        handler: |call| Box::pin(promote::force_promote(call)),
    },
    Method {
        name: "cluster.shutdown",
        doc: "All nodes of the cluster stop taking requests, finish what they took and end. Caches with \
              `persist = sync` have all their copies when the nodes are started again; what is in \
              memory alone is gone.",
        permission: Permission::Admin,
        params: &[],
        handler: |call| Box::pin(cluster::shutdown(call)),
    },
    Method {
        name: "snapshot.save",
        doc: "Saves caches, each as it is at one moment, to a file in the server's folder \
              (`node.backup_dir`), while they are served.",
        permission: Permission::Admin,
        params: &[
            FILE,
            CACHES,
            Param {
                name: "overwrite",
                doc: "yes replaces a file of that name.",
                required: false,
                example: "yes",
            },
        ],
        handler: |call| Box::pin(snapshot::save(call)),
    },
    Method {
        name: "snapshot.load",
        doc: "Loads caches that are there out of a file in the server's folder, while they are \
              served; the file is checked first.",
        permission: Permission::Admin,
        params: &[
            FILE,
            CACHES,
            Param {
                name: "mode",
                doc: "merge: of each key the higher version stays; replace: only what is in the \
                      file stays.",
                required: false,
                example: "merge",
            },
        ],
        handler: |call| Box::pin(snapshot::load(call)),
    },
];

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
