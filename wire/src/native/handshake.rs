//! `HELLO`, `WELCOME` and `AUTH`: JSON documents, once a connection. Keys that a side does not
//! know are ignored; numbers of 64 bits are strings.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::blob::check_json;
use super::limits::Limits;
use super::reader::Malformed;

/// What a client says of itself, and what it wants.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// Who connects.
    pub client: Client,
    /// The cluster that it means; another one refuses with `WRONG_CLUSTER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// Features that it would use, the best first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
    /// The first step of authentication.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthStart>,
    /// Silence in milliseconds after which it wants to be asked for a sign of life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keepalive_ms: Option<u32>,
    /// Largest payload in bytes of a frame that it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_frame: Option<u32>,
    /// `basic` or `smart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<String>,
}

/// Who connects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Client {
    /// The client library.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its language.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub lang: String,
    /// A UUID of this process: the numbers of `idem` tags are unique within it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// The application.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub app: String,
}

/// The first step of authentication.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuthStart {
    /// `SCRAM-SHA-256`, `SCRAM-SHA-256-PLUS`, `TOKEN`, `EXTERNAL`, `PLAIN` or `ANONYMOUS`.
    pub mech: String,
    /// The mechanism's first message.
    #[serde(default)]
    pub data: String,
}

/// A further step of authentication, either way: the payload of `AUTH`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Auth {
    /// From the server: `continue` or `ok`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// With `ok`: who the client is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The mechanism's next message.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub data: String,
    /// In `WELCOME`: the mechanisms that this connection could use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mechanisms: Vec<String>,
}

impl Auth {
    /// The state of a finished authentication.
    pub const OK: &'static str = "ok";
    /// The state in which the client has to send another `AUTH`.
    pub const CONTINUE: &'static str = "continue";
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Welcome {
    /// The server.
    pub server: Server,
    /// The cluster.
    pub cluster: Cluster,
    /// `ok`, or `continue`: the client sends `AUTH`.
    pub auth: Auth,
    /// The features of `HELLO` that are in force.
    pub features: Vec<String>,
    /// The topology epoch, in decimal.
    pub epoch: String,
    /// Segments of a cache; 0 where the server does not route by segment.
    pub segments: u32,
    /// The hash that assigns keys to segments: `xxh64`.
    pub hash: String,
    /// The limits of this connection.
    pub limits: AnnouncedLimits,
    /// For each group the highest low byte of an opcode that the server has.
    pub ops: BTreeMap<String, u8>,
    /// Silence in milliseconds after which each side sends `PING`.
    pub keepalive_ms: u32,
    /// Addresses of the members.
    pub endpoints: Vec<String>,
    /// For the client's log.
    pub warnings: Vec<String>,
}

/// The server in `WELCOME`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// `isogrid`.
    pub name: String,
    /// Its release.
    pub version: String,
    /// The node's name.
    pub node: String,
    /// Another word after each start. The answers that belong to `idem` numbers are remembered
    /// within a life only; without the key every connection may be another life.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub life: String,
    /// Its number in the cluster; without the key it belongs to none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<u64>,
}

/// The cluster in `WELCOME`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its identity, which no other cluster has.
    pub id: String,
}

/// The limits in `WELCOME`: bytes and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AnnouncedLimits {
    /// Largest payload of a frame in bytes.
    pub max_frame: usize,
    /// Largest message in bytes.
    pub max_message: usize,
    /// Longest key in bytes.
    pub max_key: usize,
    /// Largest value in bytes.
    pub max_value: usize,
    /// Streams open at once.
    pub max_streams: usize,
    /// Requests under way at once.
    pub max_inflight: usize,
    /// Keys in one request.
    pub max_keys: usize,
}

impl From<Limits> for AnnouncedLimits {
    fn from(limits: Limits) -> Self {
        AnnouncedLimits {
            max_frame: limits.frame_len_max,
            max_message: limits.message_len_max,
            max_key: limits.key_len_max,
            max_value: limits.value_len_max,
            max_streams: limits.streams_max,
            max_inflight: limits.inflight_max,
            max_keys: limits.keys_max,
        }
    }
}

impl From<AnnouncedLimits> for Limits {
    fn from(announced: AnnouncedLimits) -> Self {
        Limits {
            frame_len_max: announced.max_frame,
            message_len_max: announced.max_message,
            key_len_max: announced.max_key,
            value_len_max: announced.max_value,
            streams_max: announced.max_streams,
            inflight_max: announced.max_inflight,
            keys_max: announced.max_keys,
        }
    }
}

impl Default for AnnouncedLimits {
    fn default() -> Self {
        Limits::default().into()
    }
}

/// Reads the payload of a `HELLO`, `WELCOME` or `AUTH`.
///
/// # Errors
///
/// [`Malformed::Utf8`] or [`Malformed::Json`].
pub fn from_payload<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, Malformed> {
    let mut input = super::Reader::new(payload, &Limits::default());
    let bytes = input.bytes()?;
    input.end()?;
    let text = std::str::from_utf8(bytes).map_err(|_| Malformed::Utf8)?;
    check_json(text)?;
    serde_json::from_str(text).map_err(|_| Malformed::Json)
}

/// The payload of a `HELLO`, `WELCOME` or `AUTH`.
#[must_use]
pub fn to_payload<T: Serialize>(document: &T) -> Vec<u8> {
    // These types have string keys and no maps of other kinds: they always serialise.
    let text = serde_json::to_vec(document).unwrap_or_default();
    let mut payload = Vec::with_capacity(text.len() + 4);
    super::codec::put_bytes(&text, &mut payload);
    payload
}
