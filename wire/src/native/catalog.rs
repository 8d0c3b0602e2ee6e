//! Group 0x09: what objects there are, and the node.

use super::blob::Json;
use super::declare::{choices, group, record};

choices! {
    /// What an object is.
    ObjectKind {
        /// Any of them; for LIST only.
        0 Any "ANY",
        /// A cache.
        1 Cache "CACHE",
        /// A space of counters.
        2 Counters "COUNTERS",
        /// A space of locks and leases.
        3 Locks "LOCKS",
        /// A queue.
        4 Queue "QUEUE",
        /// A topic.
        5 Topic "TOPIC",
        /// A space of sessions.
        6 Sessions "SESSIONS",
        /// A space of jobs.
        7 Jobs "JOBS",
        /// A tree of names.
        8 Naming "NAMING",
    }
}

choices! {
    /// What to do when there is an object of this name.
    CreateMode {
        /// Open it if its options are those asked for, else fail with `OBJECT_EXISTS`.
        0 OpenOrCreate "OPEN_OR_CREATE",
        /// Fail with `OBJECT_EXISTS`.
        1 CreateNew "CREATE_NEW",
    }
}

record! {
    /// A table that took the place of another one.
    NewTopology<'a> {
        /// As in the answer to TOPOLOGY.
        table: Json<'a>,
    }
}

group! {
    /// What objects there are, and the node. The object of these requests is 0.
    0x09 "catalog";
    reserved {}

    /// Finds the number of an object. Once per object and connection is enough: the number stands
    /// for the same object in the whole cluster and is never given to another one.
    0x0901 RESOLVE Resolve<'a> (Read, None, none) {
        /// What it is.
        kind: ObjectKind,
        /// Its name.
        name: &'a str,
        /// Make it with default options if it is not there. That takes the permission `create`.
        create: bool,
    } => ResolveReply<'a> {
        /// It is there.
        Ok {
            /// Its number, for `object` in requests.
            id: u32,
            /// Its options.
            props: Json<'a>,
            /// What the caller may do with it: an or of 1 read, 2 write, 4 create, 8 admin,
            /// 16 listen, 32 consume, 64 publish.
            permissions: u32,
        }
        /// It is not.
        NotFound {}
    }

    /// Makes an object, or opens it; of several callers at once exactly one makes it.
    0x0902 CREATE Create<'a> (Idempotent, Create, none) {
        /// What it is.
        kind: ObjectKind,
        /// Its name.
        name: &'a str,
        /// Whether it may be there already.
        mode: CreateMode,
        /// Its options, named as in the configuration file; those left out have their defaults.
        options: Json<'a>,
    } => CreateReply<'a> {
        /// It is there.
        Ok {
            /// Its number.
            id: u32,
            /// Whether this request made it.
            created: bool,
            /// Its options.
            props: Json<'a>,
        }
    }

    /// Changes options of an object.
    0x0903 ALTER Alter<'a> (Idempotent, Create, none) {
        /// What it is.
        kind: ObjectKind,
        /// Its name.
        name: &'a str,
        /// The options to change.
        options: Json<'a>,
    } => AlterReply<'a> {
        /// Done.
        Ok {
            /// All its options.
            props: Json<'a>,
        }
        /// It is not there.
        NotFound {}
    }

    /// Drops an object and all that is in it.
    0x0904 DROP Drop<'a> (Idempotent, Create, none) {
        /// What it is.
        kind: ObjectKind,
        /// Its name.
        name: &'a str,
    } => DropReply {
        /// Gone.
        Ok {}
        /// It was not there.
        NotFound {}
    }

    /// The objects that the caller may know of: `{"objects":[{"kind","name","id"}]}`, the kind in small
    /// letters.
    0x0905 LIST ListObjects<'a> (Read, None, none) {
        /// Of which kind.
        kind: ObjectKind,
        /// Only names that match, as in `cache.SCAN`; empty: all.
        glob: &'a str,
    } => ListReply<'a> {
        /// Ordered by kind and name.
        Ok {
            /// The objects.
            objects: Json<'a>,
        }
    }

    /// Everything about one object: options, size, counters.
    0x0906 DESCRIBE Describe<'a> (Read, Monitor, none) {
        /// What it is.
        kind: ObjectKind,
        /// Its name.
        name: &'a str,
    } => DescribeReply<'a> {
        /// It is there.
        Ok {
            /// `id`, `name`, `kind`, `props` and `stats`.
            object: Json<'a>,
        }
        /// It is not.
        NotFound {}
    }

    /// Who serves which keys of the caches of the cluster, so that a client can ask the right member
    /// at once. It is to be asked again when a frame has another epoch in its header.
    0x0910 TOPOLOGY GetTopology (Read, None, none) {
        /// The low 32 bits of the epoch that the caller knows; 0: none.
        known: u32,
    } => GetTopologyReply<'a> {
        /// Another one, or the caller knows none. A server without a cluster has epoch 0, no members
        /// and no caches.
        Ok {
            /// `cluster`, as its `id` in `WELCOME`; `epoch`, in decimal; `hash`: `xxh64`; `members`: of each that clients can reach
            /// `member`, its number, and `endpoint`; `caches`: of each `name`, `object`, its
            /// number, `reads`, which is `any` or `primary`, and `primaries`, a list of `[n, member]`:
            /// the next `n` segments are served by this member, 0 is nobody.
            table: Json<'a>,
        }
        /// The caller knows this one.
        Unchanged {}
    }

    /// Tells the table of TOPOLOGY, at once unless the caller knows it, and each time that it is
    /// another one. Of those that came while there was no credit the last one is told.
    0x0911 TOPOLOGY_WATCH WatchTopology (Stream, None, none) {
        /// As in TOPOLOGY.
        known: u32,
        /// How many tables may be sent before CREDIT comes.
        credit: u32,
    } => WatchTopologyReply {
        /// The server tells no more of them.
        Ended {}
    }
    items NewTopology<'a>;

    /// The server, as in `WELCOME`, and how long it runs.
    0x0912 INFO Info (Read, None, none) {} => InfoReply<'a> {
        /// Always.
        Ok {
            /// `server`, `cluster`, `epoch`, `uptime_ms` and `listeners`.
            info: Json<'a>,
        }
    }

    /// The node's counters.
    0x0913 NODE_STATS NodeStats (Read, Monitor, none) {} => NodeStatsReply<'a> {
        /// Always.
        Ok {
            /// As the method `node.stats` of group 0x0a has it.
            stats: Json<'a>,
        }
    }

    /// Whether the node serves.
    0x0914 HEALTH Health (Read, None, none) {} => HealthReply<'a> {
        /// Always.
        Ok {
            /// `live`, `ready`, and the reasons if not.
            health: Json<'a>,
        }
    }
}
