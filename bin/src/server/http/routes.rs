//! The table of everything that can be asked. The router, `/v1/openapi.json` and `docs/HTTP.md`
//! are made from it, so that they cannot disagree.

use super::admin::NDJSON;
use super::json::{JSON, TEXT};
use super::metrics::{OPENMETRICS, PROMETHEUS};
use super::route::{Access, In, Param, Reply, Route, Verb};
use super::{admin, caches, entries, health, metrics, openapi};
use crate::security::OpClass;
use crate::server::health::{live, ready, startup};

/// The media type of problems.
pub const PROBLEM: &str = "application/problem+json";
/// The media type of values.
pub const OCTETS: &str = "application/octet-stream";

const fn reply(status: u16, media: &'static [&'static str], doc: &'static str) -> Reply {
    Reply { status, media, doc }
}

const fn query(name: &'static str, doc: &'static str, example: &'static str) -> Param {
    Param { place: In::Query, name, doc, required: false, example }
}

const fn header(name: &'static str, doc: &'static str, example: &'static str) -> Param {
    Param { place: In::Header, name, doc, required: false, example }
}

const INVALID: Reply = reply(400, &[PROBLEM], "the request is malformed");
const UNAUTHORIZED: Reply = reply(401, &[PROBLEM], "who asks has to log in");
const FORBIDDEN: Reply =
    reply(403, &[PROBLEM], "the user may not, a page in a browser asks, or a foreign host");
const ABSENT: Reply = reply(404, &[PROBLEM], "there is no such cache or entry");
const CHANGED: Reply = reply(412, &[PROBLEM], "the condition does not hold");
const TOO_LARGE: Reply = reply(413, &[PROBLEM], "the body is larger than an item may be");
const UNKNOWN: Reply = reply(500, &[PROBLEM], "nobody knows whether the write is kept");
const UNAVAILABLE: Reply = reply(503, &[PROBLEM], "starting, or writes are refused");
const FULL: Reply = reply(507, &[PROBLEM], "there is no room and nothing may be evicted");
const VERBOSE: Param = query("verbose", "List every check.", "1");
const TTL: Param = query("ttl", "Lifespan, 1ms to 36500d; without it the cache's default.", "60s");
const CONFIRM: Param =
    Param { required: true, ..query("confirm", "The cache's name once more.", "orders") };
const IF_MATCH: Param = header("if-match", "Only when the version is one of these; * any.", "*");

const PROBE: &[Reply] = &[
    reply(200, &[TEXT, JSON], "yes"),
    INVALID,
    FORBIDDEN,
    reply(503, &[TEXT, JSON], "no; the body says why"),
];

const CLUSTER: &[Reply] = &[
    reply(200, &[JSON], "yes"),
    INVALID,
    FORBIDDEN,
    reply(404, &[PROBLEM], "the node belongs to no cluster, or the cluster has no such member"),
    reply(503, &[JSON], "no; `reasons` says why"),
];

macro_rules! probe {
    ($verb:ident $path:literal $doc:literal $look:ident) => {
        Route {
            verb: Verb::$verb,
            path: $path,
            access: Access::Open,
            doc: $doc,
            anytime: true,
            params: &[VERBOSE],
            body: "",
            replies: PROBE,
            handler: |call| Box::pin(health::answer(call, $look)),
        }
    };
}

macro_rules! cluster {
    ($verb:ident $doc:literal) => {
        Route {
            verb: Verb::$verb,
            path: "/health/cluster",
            access: Access::Open,
            doc: $doc,
            anytime: true,
            params: &[query(health::SAFE_TO_STOP, "The number or peer address of a member.", "1")],
            body: "",
            replies: CLUSTER,
            handler: |call| Box::pin(health::cluster(call)),
        }
    };
}

/// Everything.
pub static ROUTES: &[Route] = &[
    probe!(Get "/health/live" "Whether the server does its work." live),
    probe!(Options "/health/live" "As GET." live),
    probe!(Get "/livez" "Another name of /health/live." live),
    probe!(Options "/livez" "As GET." live),
    probe!(Get "/health/ready" "Whether clients are to come here." ready),
    probe!(Options "/health/ready" "As GET." ready),
    probe!(Get "/readyz" "Another name of /health/ready." ready),
    probe!(Options "/readyz" "As GET." ready),
    probe!(Get "/health/startup" "Whether the server has ever been ready." startup),
    probe!(Options "/health/startup" "As GET." startup),
    cluster!(Get "Whether every segment of the cluster is served and every copy complete, for \
                  alerts; with `safe-to-stop`, whether a member can be stopped without losing \
                  anything."),
    cluster!(Options "As GET."),
    Route {
        verb: Verb::Get,
        path: "/metrics",
        access: Access::Node(OpClass::Monitor),
        doc: "Everything that is counted, for Prometheus.",
        anytime: true,
        params: &[],
        body: "",
        replies: &[
            reply(200, &[PROMETHEUS, OPENMETRICS], "the metrics"),
            INVALID,
            UNAUTHORIZED,
            FORBIDDEN,
        ],
        handler: |call| Box::pin(metrics::get(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/openapi.json",
        access: Access::Open,
        doc: "This description of everything that can be asked.",
        anytime: true,
        params: &[],
        body: "",
        replies: &[reply(200, &[JSON], "the document"), INVALID, UNAUTHORIZED, FORBIDDEN],
        handler: |call| Box::pin(openapi::get(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/caches",
        access: Access::Node(OpClass::Monitor),
        doc: "The caches, with their entries and bytes.",
        anytime: false,
        params: &[],
        body: "",
        replies: &[reply(200, &[JSON], "the list"), INVALID, UNAUTHORIZED, FORBIDDEN, UNAVAILABLE],
        handler: |call| Box::pin(caches::all(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/caches/{name}",
        access: Access::Node(OpClass::Monitor),
        doc: "How a cache is configured and doing.",
        anytime: false,
        params: &[],
        body: "",
        replies: &[
            reply(200, &[JSON], "the cache"),
            INVALID,
            UNAUTHORIZED,
            FORBIDDEN,
            ABSENT,
            UNAVAILABLE,
        ],
        handler: |call| Box::pin(caches::one(call)),
    },
    Route {
        verb: Verb::Put,
        path: "/v1/caches/{name}",
        access: Access::Cache(OpClass::Configure),
        doc: "Makes a cache with these options, or checks that it is there with them.",
        anytime: false,
        params: &[],
        body: JSON,
        replies: &[
            reply(200, &[JSON], "it was there, with these options"),
            reply(201, &[JSON], "it was made"),
            INVALID,
            UNAUTHORIZED,
            FORBIDDEN,
            reply(409, &[PROBLEM], "it is there with other options: `differences`"),
            TOO_LARGE,
            UNKNOWN,
            UNAVAILABLE,
            reply(507, &[PROBLEM], "there are too many caches, or too much memory is given"),
        ],
        handler: |call| Box::pin(caches::put(call)),
    },
    Route {
        verb: Verb::Patch,
        path: "/v1/caches/{name}",
        access: Access::Cache(OpClass::Configure),
        doc: "Changes options of a cache while it is in use.",
        anytime: false,
        params: &[],
        body: JSON,
        replies: &[
            reply(200, &[JSON], "the cache as it is now"),
            INVALID,
            UNAUTHORIZED,
            FORBIDDEN,
            ABSENT,
            TOO_LARGE,
            UNKNOWN,
            UNAVAILABLE,
            reply(507, &[PROBLEM], "too much memory would be given"),
        ],
        handler: |call| Box::pin(caches::patch(call)),
    },
    Route {
        verb: Verb::Delete,
        path: "/v1/caches/{name}",
        access: Access::Cache(OpClass::Configure),
        doc: "Drops a cache with all that is in it.",
        anytime: false,
        params: &[CONFIRM],
        body: "",
        replies: &[
            reply(204, &[], "dropped"),
            INVALID,
            UNAUTHORIZED,
            FORBIDDEN,
            ABSENT,
            UNKNOWN,
            UNAVAILABLE,
        ],
        handler: |call| Box::pin(caches::delete(call)),
    },
    Route {
        verb: Verb::Put,
        path: "/v1/caches/{name}/entries/{key}",
        access: Access::Entry(OpClass::Write, ""),
        doc: "Stores a value.",
        anytime: false,
        params: &[
            TTL,
            query("idle", "Expire when not read for so long.", "5m"),
            query("flags", "32 bits for memcached clients.", "0"),
            IF_MATCH,
            header("if-none-match", "*: only when there is no such entry.", "*"),
        ],
        body: OCTETS,
        replies: &[
            reply(201, &[], "stored, a new entry"),
            reply(204, &[], "stored over what was there"),
            INVALID,
            UNAUTHORIZED,
            FORBIDDEN,
            ABSENT,
            CHANGED,
            TOO_LARGE,
            UNKNOWN,
            UNAVAILABLE,
            FULL,
        ],
        handler: |call| Box::pin(entries::put(call)),
    },
    Route {
        verb: Verb::Get,
        path: "/v1/caches/{name}/entries/{key}",
        access: Access::Entry(OpClass::Read, ""),
        doc: "Reads a value. HEAD says the same without the value and leaves no trace of a read.",
        anytime: false,
        params: &[header("if-none-match", "Not when the version is one of these.", "\"1\"")],
        body: "",
        replies: &[
            reply(200, &[OCTETS], "the value"),
            reply(304, &[], "the version is one of those named"),
            INVALID,
            UNAUTHORIZED,
            FORBIDDEN,
            ABSENT,
            UNAVAILABLE,
        ],
        handler: |call| Box::pin(entries::get(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/caches/{name}/entries/{key}/incr",
        access: Access::Entry(OpClass::ReadWrite, "/incr"),
        doc: "Counts decimal text up, or down to 0 at the least.",
        anytime: false,
        params: &[
            query("by", "How much; negative counts down; without it 1.", "1"),
            query("initial", "What a new entry begins with; without it none is made.", "0"),
            TTL,
        ],
        body: "",
        replies: &[
            reply(200, &[JSON], "`value` as it is now"),
            INVALID,
            UNAUTHORIZED,
            FORBIDDEN,
            ABSENT,
            reply(409, &[PROBLEM], "the value is no number"),
            UNKNOWN,
            UNAVAILABLE,
            FULL,
        ],
        handler: |call| Box::pin(entries::incr(call)),
    },
    Route {
        verb: Verb::Delete,
        path: "/v1/caches/{name}/entries/{key}",
        access: Access::Entry(OpClass::Delete, ""),
        doc: "Removes an entry.",
        anytime: false,
        params: &[IF_MATCH],
        body: "",
        replies: &[
            reply(204, &[], "removed"),
            INVALID,
            UNAUTHORIZED,
            FORBIDDEN,
            ABSENT,
            CHANGED,
            UNKNOWN,
            UNAVAILABLE,
        ],
        handler: |call| Box::pin(entries::delete(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/admin/{method}",
        access: Access::Method,
        doc: "Does what an operator asks for; accepting application/x-ndjson, progress comes as \
              lines, the last one with `result` or `error`.",
        anytime: false,
        params: &[],
        body: JSON,
        replies: &[
            reply(200, &[JSON, NDJSON], "the result"),
            INVALID,
            UNAUTHORIZED,
            FORBIDDEN,
            ABSENT,
            TOO_LARGE,
            UNKNOWN,
            UNAVAILABLE,
            FULL,
        ],
        handler: |call| Box::pin(admin::call(call)),
    },
];
