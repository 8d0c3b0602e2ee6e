//! The server's configuration. Only this module reads files, environment and flags.
//!
//! `model` holds the structs that the server consumes; `table` is the one table of every key
//! that a user can write, with its bounds and its words. Parsing, `config explain`, `config show`,
//! the documentation and "did you mean" all read that table, so they cannot disagree.
//!
//! Precedence, lowest first: defaults, the TOML file, the environment, flags.

mod address;
mod exposure;
mod field;
mod file;
mod key;
mod layer;
mod model;
mod problem;
mod reference;
mod show;
mod suggest;
mod table;
mod validate;

pub use exposure::{Exposure, exposed, refuse_exposure};
pub use layer::{Loaded, Setting, Sources, load};
pub use model::{
    Accept, Address, AuthConfig, CacheConfig, CacheLimits, CacheMode, ClientCertificates,
    ClusterConfig, Discover, LimitsConfig, ListenerConfig, ListenerTls, LogConfig, LogFormat,
    NodeConfig, ProtocolChoice, ProtocolConfig, RegionConfig, ServerConfig, StructuresConfig,
    TlsConfig, TlsMode,
};
pub use problem::{Origin, Problem, Problems};
pub use reference::{explain, explain_all, markdown, template};
pub use show::{Value, show, values};
pub use suggest::nearest;
pub use validate::{EVICTION_POLICIES, validate};
