//! The table of keys: the one source of truth of what can be configured.

mod cache;

use isogrid_grid::catalog::is_name as is_cache_name;

use super::field::{Form, field};
use super::key::Key;
use super::model::{Accept, ListenerConfig, ServerConfig};
pub use cache::{CACHE, REGION};

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const YEAR: u64 = 365 * 24 * HOUR;

const TIMEOUT: Form = Form::OrOff(&Form::Span(SECOND, 24 * HOUR));

/// Keys at the top and in `[node]`, `[cluster]`, `[protocol]`, `[limits]`, `[auth]`, `[tls]` and `[log]`.
pub static ROOT: [Key<ServerConfig>; 61] = [
    Key::new(
        "node.name",
        Form::Text("1 to 64 printable characters", is_name),
        field!(ServerConfig, node.name),
        "The node's name in logs.",
    )
    .default_is("the host name"),
    Key::new(
        "node.threads",
        Form::Count(1, 1_024),
        field!(ServerConfig, node.threads),
        "Worker threads: a bound on the CPU used.",
    )
    .default_is("the number of cores"),
    Key::new(
        "node.drain_timeout",
        Form::Span(0, HOUR),
        field!(ServerConfig, node.drain_timeout),
        "How long a SIGTERM waits for requests that are under way, and before that for other members of \
         a cluster to take over what the node serves.",
    ),
    Key::new(
        "node.memory",
        Form::OrOff(&Form::Size(1 << 20, 64 * TIB)),
        field!(ServerConfig, node.memory),
        "Bytes that all caches together may be given. Caches of the configuration are taken as \
         they are; one that is made while the server runs is refused when it would be more. Off \
         means the machine's memory.",
    ),
    Key::new(
        "node.data_dir",
        Form::OrOff(&PATH),
        field!(ServerConfig, node.data_dir),
        "The directory that caches are kept in, as their `persist` says; off keeps nothing.",
    ),
    Key::new(
        "node.backup_dir",
        Form::OrOff(&PATH),
        field!(ServerConfig, node.backup_dir),
        "The folder that `isogrid snapshot save --server` writes to and `load` reads from; auto is \
         `backups` in the data directory.",
    ),
    Key::new(
        "node.log_size",
        Form::Size(64 * KIB, TIB),
        field!(ServerConfig, node.log_size),
        "How long the log of changes gets before a checkpoint lets it begin anew. It may get half \
         as long as the caches are large, if that is more.",
    ),
    Key::new(
        "node.behind_timeout",
        Form::OrOff(&Form::Span(SECOND, 24 * HOUR)),
        field!(ServerConfig, node.behind_timeout),
        "How long a SIGTERM waits until the changes of caches with `persist` = behind are written; \
         off waits for all of them. What is left then, or at a second SIGTERM, is lost and said.",
    ),
    Key::new(
        "node.core_dumps",
        Form::Flag,
        field!(ServerConfig, node.core_dumps),
        "Whether a crash may leave an image of the memory, and other processes of the same user may \
         look into it, where users log in or caches persist (memcached's -r says yes).",
    ),
    Key::new(
        "memcached",
        Form::Addresses,
        field!(ServerConfig, memcached),
        "Where to serve the cache `default` over memcached's protocols; port 0 picks a free one. \
         `[[listener]]` says more about a listener. Said in the environment or by a flag, it \
         replaces every listener of the file.",
    ),
    Key::new(
        "native",
        Form::Addresses,
        field!(ServerConfig, native),
        "Where to serve every protocol that there is, told apart by the first byte of a \
         connection; memcached's protocols reach the first cache. Port 0 picks a free one.",
    ),
    Key::new(
        "http",
        Form::Addresses,
        field!(ServerConfig, http),
        "Where to serve HTTP: health, metrics, entries of caches, administration. Port 0 picks a \
         free one.",
    ),
    Key::new(
        "cluster.name",
        Form::Text("1 to 64 of letters, digits and _.-", is_cache_name),
        field!(ServerConfig, cluster.name),
        "The cluster's name. Nodes of different names never mix.",
    ),
    Key::new(
        "cluster.peer",
        Form::Address,
        field!(ServerConfig, cluster.peer),
        "Where other members of the cluster reach this one; port 0 picks a free one. Not bound \
         unless `cluster.bootstrap_expect`, `cluster.join` or `cluster.discover` is given.",
    ),
    Key::new(
        "cluster.advertise",
        Form::OrOff(&Form::Text("HOST:PORT", is_advertised)),
        field!(ServerConfig, cluster.advertise),
        "The address that other members are told; off is `cluster.peer` itself.",
    ),
    Key::new(
        "cluster.endpoint",
        Form::OrOff(&Form::Text("HOST:PORT", is_advertised)),
        field!(ServerConfig, cluster.endpoint),
        "The address that clients are told for this node's native protocol, by every member: say it \
         where that is another one than the node sees. Off is the first listener that takes the \
         native protocol; one that is bound to every address is told with the host that \
         `cluster.advertise` or `cluster.peer` has.",
    ),
    Key::new(
        "cluster.join",
        Form::OrOff(&Form::Text(
            "HOST:PORT or HOST:FIRST-LAST, srv:_SERVICE._tcp.DOMAIN or file:PATH, by commas",
            is_join,
        )),
        field!(ServerConfig, cluster.join),
        "Where other nodes of the cluster may be. A name is looked up each second until the node is a \
         member, and while it knows no leader, and stands for all addresses that it has then; `srv:` is a service whose DNS SRV records \
         name hosts and ports (`srv:_isogrid._tcp.example.org`, asked of the system's resolver, or of \
         another one with `@IP:PORT` behind it), and `file:` a file with an address a line, read as often. \
         With it, `cluster.discover` or `cluster.bootstrap_expect` the node belongs to a cluster.",
    ),
    Key::new(
        "cluster.discover",
        Form::Choice(&["off", "multicast"]),
        field!(ServerConfig, cluster.discover),
        "How nodes find each other beside `cluster.join`: multicast, each announces its cluster's name \
         and its peer address to `cluster.multicast` once a second, on the interface of `cluster.peer`. \
         That only says whom to greet: give peers TLS where others could answer.",
    ),
    Key::new(
        "cluster.multicast",
        Form::Text("GROUP:PORT, the group from 224.0.0.0 to 239.255.255.255", is_multicast),
        field!(ServerConfig, cluster.multicast),
        "The group and UDP port of `cluster.discover` = multicast, the same on each node.",
    ),
    Key::new(
        "cluster.bootstrap_expect",
        Form::Count(0, 7),
        field!(ServerConfig, cluster.bootstrap_expect),
        "How many nodes found the cluster together when none of them belongs to one yet: the same \
         number on each, and on fewer than twice as many nodes. 0 founds none, and waits to be let \
         in by those of `cluster.join`.",
    ),
    Key::new(
        "cluster.role",
        Form::Choice(&["data", "witness"]),
        field!(ServerConfig, cluster.role),
        "What the node is there for, for as long as it is a member: data, it has copies of caches and \
         may vote; witness, it votes and never has any, so that two nodes with data and a witness \
         survive the loss of any one. A witness serves clients by passing on what they ask for. Another \
         role takes another member: leave, and come with an empty data directory.",
    ),
    Key::new(
        "cluster.lease",
        Form::Span(500, 60 * SECOND),
        field!(ServerConfig, cluster.lease),
        "How long a member serves without hearing from the leader, and so about how long others \
         wait before they take over from one that is gone. Fixed when the cluster is founded. 600ms \
         is the fast profile, for machines that never stand still for half a second; below 1500ms \
         the members' clock ticks faster as well.",
    ),
    Key::new(
        "cluster.discarded_dir",
        Form::OrOff(&PATH),
        field!(ServerConfig, cluster.discarded_dir),
        "The folder for writes that `ack` = async had acknowledged here and that a failover has lost, as \
         this node finds when it comes back: a line of JSON each in `discarded-<epoch>.log`, 64 MiB in \
         all. auto is `discarded` in the data directory; off counts them only.",
    ),
    Key::new(
        "cluster.tls_cert",
        Form::OrOff(&PATH),
        field!(ServerConfig, cluster.tls_cert),
        "A PEM file with this node's certificate among its peers, followed by those that lead to \
         `cluster.tls_ca`. With it peers speak TLS 1.3 and show certificates, all of them. The three \
         files are read again when they change, each minute, and at SIGHUP; connections live on.",
    ),
    Key::new(
        "cluster.tls_key",
        Form::OrOff(&PATH),
        field!(ServerConfig, cluster.tls_key),
        "A PEM file with the private key of `cluster.tls_cert`.",
    ),
    Key::new(
        "cluster.tls_ca",
        Form::OrOff(&PATH),
        field!(ServerConfig, cluster.tls_ca),
        "A PEM file with the authority of this cluster's members: whoever has a certificate of it is \
         a peer, so it signs nobody else.",
    ),
    Key::new(
        "protocol.shutdown_command",
        Form::Flag,
        field!(ServerConfig, protocol.shutdown_command),
        "Whether the `shutdown` command stops the server (memcached's -A).",
    ),
    Key::new(
        "protocol.dump",
        Form::Flag,
        field!(ServerConfig, protocol.dump),
        "Whether `stats cachedump` and `lru_crawler metadump` are answered (memcached's -X says no).",
    ),
    Key::new(
        "protocol.cas",
        Form::Flag,
        field!(ServerConfig, protocol.cas),
        "Whether answers carry a cas unique (memcached's -C says no).",
    ),
    Key::new(
        "protocol.verbosity",
        Form::Count(0, 3),
        field!(ServerConfig, protocol.verbosity),
        "What `stats settings` shows as the verbosity (memcached's -v).",
    ),
    Key::new(
        "protocol.prefix_delimiter",
        Form::Letter,
        field!(ServerConfig, protocol.prefix_delimiter),
        "Ends the prefix of a key in `stats detail` (memcached's -D).",
    ),
    Key::new(
        "protocol.detail",
        Form::Flag,
        field!(ServerConfig, protocol.detail),
        "Whether `stats detail` starts switched on.",
    ),
    Key::new(
        "limits.max_item_size",
        Form::Size(KIB, GIB),
        field!(ServerConfig, limits.max_item_size),
        "The largest item: key, value and about 50 bytes of header (memcached's -I).",
    ),
    Key::new(
        "limits.max_connections",
        Form::Count(1, 1_000_000),
        field!(ServerConfig, limits.max_connections),
        "Client connections at once (memcached's -c).",
    ),
    Key::new(
        "limits.max_connections_per_address",
        Form::OrOff(&Form::Count(1, 1_000_000)),
        field!(ServerConfig, limits.max_connections_per_address),
        "Client connections at once from one address, 127.0.0.1 as any other; an IPv6 address \
         counts as its /64 and unix sockets do not count. One over it is refused with an error \
         line, whatever `refuse_fast` says.",
    ),
    Key::new(
        "limits.refuse_fast",
        Form::Flag,
        field!(ServerConfig, limits.refuse_fast),
        "Whether a connection over the limit is refused at once with an error line, or left \
         waiting (memcached's maxconns_fast).",
    ),
    Key::new(
        "limits.backlog",
        Form::Count(1, 65_535),
        field!(ServerConfig, limits.backlog),
        "Connections that the kernel may hold before they are accepted (memcached's -b).",
    ),
    Key::new(
        "limits.accept_rate",
        Form::OrOff(&Form::Count(1, 1_000_000)),
        field!(ServerConfig, limits.accept_rate),
        "Connections accepted a second, by all listeners but those for HTTP alone, after twice as \
         many at once; the others wait in the backlog.",
    ),
    Key::new(
        "limits.idle_timeout",
        TIMEOUT,
        field!(ServerConfig, limits.idle_timeout),
        "A connection that sent nothing for so long is closed.",
    ),
    Key::new(
        "limits.request_timeout",
        TIMEOUT,
        field!(ServerConfig, limits.request_timeout),
        "A connection whose request is half read for so long is closed.",
    ),
    Key::new(
        "limits.request_rate",
        Form::OrOff(&Form::Size(1, 1 << 20)),
        field!(ServerConfig, limits.request_rate),
        "A connection whose request has been coming for 5 s or more, and slower than so many bytes \
         a second, is closed; over HTTP only its headers count.",
    ),
    Key::new(
        "limits.write_timeout",
        TIMEOUT,
        field!(ServerConfig, limits.write_timeout),
        "A connection that does not read its answers for so long is closed.",
    ),
    Key::new(
        "limits.handshake_timeout",
        Form::Span(100, 60 * SECOND),
        field!(ServerConfig, limits.handshake_timeout),
        "A connection that has not said which protocol it speaks for so long is closed, on \
         listeners that accept several; over the native protocol, one without its HELLO.",
    ),
    Key::new(
        "limits.requests_per_turn",
        Form::Count(1, 1_000_000),
        field!(ServerConfig, limits.requests_per_turn),
        "Requests of one connection before others get their turn (memcached's -R).",
    ),
    Key::new(
        "limits.unauthenticated",
        Form::Count(1, 1_000_000),
        field!(ServerConfig, limits.unauthenticated),
        "Connections at once that have to log in and have not; for one more the oldest is closed.",
    ),
    Key::new(
        "limits.login_timeout",
        TIMEOUT,
        field!(ServerConfig, limits.login_timeout),
        "A connection that has to log in and has not for so long is closed.",
    ),
    Key::new(
        "limits.login_tries",
        Form::OrOff(&Form::Count(1, 1_000)),
        field!(ServerConfig, limits.login_tries),
        "A connection is closed after so many failed logins, and when it sends or gets more than \
         4 KiB before it has logged in; off allows both without end, as memcached does.",
    ),
    Key::new(
        "limits.waiting_per_user",
        Form::OrOff(&Form::Count(1, 1_000_000)),
        field!(ServerConfig, limits.waiting_per_user),
        "Requests of one user that wait at once, for locks, permits or messages. One over it is \
         refused; who has not logged in is bounded for the node alone.",
    ),
    Key::new(
        "auth.mode",
        Form::Choice(&["auto", "on", "off"]),
        field!(ServerConfig, auth.mode),
        "When connections have to log in: on, always; auto, as soon as there is a user; off, never. \
         A server that starts with on and without users makes the user `admin`, and leaves the \
         password in `security/admin-password` in the data directory.",
    ),
    Key::new(
        "auth.users",
        PATH,
        field!(ServerConfig, auth.users),
        "The file of users, as `isogrid user` writes it; auto is `security/users.toml` in the data \
         directory.",
    ),
    Key::new(
        "auth.audit",
        Form::OrOff(&PATH),
        field!(ServerConfig, auth.audit),
        "The file that logins, denials and what administrators do are recorded in, while \
         connections have to log in; auto is `security/audit.jsonl` in the data directory.",
    ),
    Key::new(
        "auth.require_tls",
        Form::Flag,
        field!(ServerConfig, auth.require_tls),
        "Whether logins over TCP are taken over TLS alone, also those of this machine. Others hear \
         `TLS_REQUIRED` over the native protocol. It makes sense where `tls.mode` is optional: who \
         speaks TLS there logs in, and nobody else does.",
    ),
    Key::new(
        "structures.persist",
        Form::Choice(&["auto", "none", "async", "sync"]),
        field!(ServerConfig, structures.persist),
        "When a change of a counter, a lock, a queue, a topic or a session counts as kept. sync, when it \
         is on the disk; async, when it is in the log, which is on the disk within 100 ms; none, never: \
         they end with the process, those of a cluster with the last of its processes. auto is async \
         where there is a data directory, and on a node that stands alone what its first cache has that \
         is kept. In a cluster the value counts with which it was made, whatever members say later: say \
         the same on each node, and give each a data directory.",
    ),
    Key::new(
        "tls.mode",
        Form::Choice(&["off", "on", "optional"]),
        field!(ServerConfig, tls.mode),
        "Whether TLS is spoken where a listener does not say; optional means by those who begin \
         with it. Unix sockets do without.",
    ),
    Key::new(
        "tls.cert",
        Form::OrOff(&PATH),
        field!(ServerConfig, tls.cert),
        "A PEM file with the server's certificate, followed by those that lead to its authority. \
         Certificates, key and authorities are read again when the files change, each minute, and \
         at SIGHUP; connections live on.",
    ),
    Key::new(
        "tls.key",
        Form::OrOff(&PATH),
        field!(ServerConfig, tls.key),
        "A PEM file with the certificate's private key.",
    ),
    Key::new(
        "tls.ca",
        Form::OrOff(&PATH),
        field!(ServerConfig, tls.ca),
        "A PEM file with the authorities that client certificates come from.",
    ),
    Key::new(
        "tls.client",
        Form::Choice(&["off", "optional", "required"]),
        field!(ServerConfig, tls.client),
        "Whether clients show certificates. Where connections have to log in, one whose common \
         name is a user's is logged in by it.",
    ),
    Key::new(
        "tls.min_version",
        Form::Choice(&["1.2", "1.3"]),
        field!(ServerConfig, tls.min_version),
        "The oldest version of TLS that is spoken.",
    ),
    Key::new(
        "log.format",
        Form::Choice(&["pretty", "json"]),
        field!(ServerConfig, log.format),
        "pretty is for people; json is one document a line.",
    )
    .default_is("pretty on a terminal, else json"),
    Key::new(
        "log.level",
        Form::Text("a filter like `info` or `warn,isogrid=debug`", is_filter),
        field!(ServerConfig, log.level),
        "Which log lines are written: a level, or a level per module.",
    ),
];

/// Keys of `[[listener]]`.
pub static LISTENER: [Key<ListenerConfig>; 6] = [
    Key::new(
        "address",
        Form::Address,
        field!(ListenerConfig, address),
        "Where to listen; port 0 picks a free one.",
    ),
    Key::new(
        "accept",
        Form::Words(&Accept::NAMES),
        field!(ListenerConfig, accept),
        "What a connection may speak; with more than one, its first byte tells.",
    ),
    Key::new(
        "protocol",
        Form::Choice(&["auto", "ascii", "binary"]),
        field!(ListenerConfig, protocol),
        "Which of memcached's protocols is spoken; auto looks at the first byte of each \
         connection (memcached's -B).",
    ),
    Key::new("cache", CACHE_NAME, field!(ListenerConfig, cache), "The cache behind the listener."),
    Key::new(
        "flush",
        Form::Flag,
        field!(ListenerConfig, flush),
        "Whether `flush_all` is allowed here (memcached's -F says no).",
    ),
    Key::new(
        "tls",
        Form::Choice(&["node", "off", "on", "optional"]),
        field!(ListenerConfig, tls),
        "Whether TLS is spoken here; node means as `[tls]` says.",
    ),
];

const PATH: Form = Form::Text("a path", is_path);

const CACHE_NAME: Form = Form::Text("1 to 64 of A-Z, a-z, 0-9, _, . and -", is_cache_name);

fn is_advertised(text: &str) -> bool {
    matches!(crate::cluster::seeds(text).as_deref(), Some([_]))
}

fn is_multicast(text: &str) -> bool {
    text.parse().is_ok_and(|at: std::net::SocketAddrV4| at.ip().is_multicast() && at.port() > 0)
}

fn is_join(text: &str) -> bool {
    crate::cluster::Sources::of(text).is_some()
}

fn is_path(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && !text.contains(|c: char| c.is_control())
}

fn is_filter(text: &str) -> bool {
    tracing_subscriber::EnvFilter::builder().parse(text).is_ok()
}
