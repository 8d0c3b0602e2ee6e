//! The registry: every method, with what it takes.

use serde_json::json;

use super::{
    Method, Param, Permission, caches, cluster, config, diagnose, node, promote, snapshot, users,
};

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

const USER: Param = Param { name: "name", doc: "The user's name.", required: true, example: "app" };

const ROLES: Param = Param {
    name: "roles",
    doc: "All roles from now on, PERMISSIONS@CACHES[/PREFIX], with blanks between them.",
    required: true,
    example: "read,write@orders*",
};

const VERIFIER: Param = Param {
    name: "verifier",
    doc: "What the password is checked with, as RFC 5803 writes it: \
          SCRAM-SHA-256$ROUNDS:SALT$STORED_KEY:SERVER_KEY.",
    required: false,
    example: "SCRAM-SHA-256$15000:c2FsdA==$...",
};

const TOKEN: Param = Param {
    name: "token_sha256",
    doc: "SHA-256 of the token's secret, which is what stands behind NAME and a dot: 64 hex digits.",
    required: false,
    example: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
};

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
        name: "node.diagnose",
        doc: "All that this node knows about itself, for whoever looks into a problem: what it is, \
              its configuration, health, connections, caches, cluster and metrics. No keys, no \
              values, no secrets.",
        permission: Permission::Admin,
        params: &[],
        handler: |call| Box::pin(diagnose::diagnose(call)),
    },
    Method {
        name: "config.show",
        doc: "Every key of the configuration, its value at the start, and where it was said.",
        permission: Permission::Monitor,
        params: &[],
        handler: |call| Box::pin(async move { Ok(config::show(&call.node)) }),
    },
    Method {
        name: "config.reload",
        doc: "Reads again what may change while the server runs, as SIGHUP does: users, \
              certificates, the file of the audit log. All else of the configuration takes a \
              restart.",
        permission: Permission::Admin,
        params: &[],
        handler: |call| Box::pin(config::reload(call)),
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
        name: "users.list",
        doc: "The users of this node: what each logs in with, and what they may do.",
        permission: Permission::Admin,
        params: &[],
        handler: |call| Box::pin(users::list(call)),
    },
    Method {
        name: "users.add",
        doc: "Adds a user, within a second; one without `verifier` and `token_sha256` logs in by a \
              certificate alone. `isogrid user add --server` asks for the password and sends what \
              it is checked with.",
        permission: Permission::Admin,
        params: &[USER, ROLES, VERIFIER, TOKEN],
        handler: |call| Box::pin(users::add(call)),
    },
    Method {
        name: "users.passwd",
        doc: "Changes what a user logs in with, within a second; connections that the user has are \
              closed.",
        permission: Permission::Admin,
        params: &[USER, VERIFIER, TOKEN],
        handler: |call| Box::pin(users::passwd(call)),
    },
    Method {
        name: "users.role",
        doc: "Changes what a user may do, within a second.",
        permission: Permission::Admin,
        params: &[USER, ROLES],
        handler: |call| Box::pin(users::role(call)),
    },
    Method {
        name: "users.remove",
        doc: "Removes a user, within a second; connections that the user has are closed.",
        permission: Permission::Admin,
        params: &[USER],
        handler: |call| Box::pin(users::remove(call)),
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
