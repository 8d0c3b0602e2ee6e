//! The preface and `HELLO`: what comes before any request.

use std::collections::BTreeMap;

use isogrid_grid::control::Identity;
use isogrid_wire::Output;
use isogrid_wire::native::handshake::{
    AnnouncedLimits, Auth, AuthStart, Cluster, Hello, Server, Welcome, from_payload, to_payload,
};
use isogrid_wire::native::preface::{ClientPreface, PREFACE_LEN, ServerPreface};
use isogrid_wire::native::schema::Group;
use isogrid_wire::native::{BEFORE_AUTH_LEN_MAX, ErrorCode, Frame, GROUPS, Header, Kind, Limits};

use super::failure::Failure;
use super::login::{ANONYMOUS, Login};
use super::{CLUSTER, KEEPALIVE_MS};
use crate::cluster::SEGMENTS;
use crate::server::node::Node;

/// What a client's preface came to.
pub enum Preface {
    /// It is not whole.
    Incomplete,
    /// It was answered; `HELLO` may come.
    Answered,
    /// The connection ends, behind an answer if there was one to give.
    Close(&'static str),
}

/// Answers a client's preface.
pub fn preface(input: &[u8], out: &mut Output) -> Preface {
    match ClientPreface::decode(input) {
        Err(_) => Preface::Close("not the preface of the native protocol"),
        Ok(None) => Preface::Incomplete,
        Ok(Some(client)) => {
            let answer = ServerPreface::answer(client);
            out.put(&answer.encode());
            match answer.chosen {
                0 => Preface::Close("no version of the protocol in common"),
                _ => Preface::Answered,
            }
        }
    }
}

/// Bytes of a preface.
pub const LEN: usize = PREFACE_LEN;

/// What a `HELLO` says.
pub struct Greeting {
    /// How the client logs in.
    pub auth: Option<AuthStart>,
    /// The client's process, if it said so.
    pub instance: Option<[u8; 16]>,
    /// Largest payload of a frame that the client takes, bytes.
    pub frame_max: usize,
}

/// Reads a `HELLO`.
///
/// # Errors
/// The `ERR` on stream 0 behind which the connection ends.
pub fn hello(node: &Node, frame: &Frame<'_>, limits: &Limits) -> Result<Greeting, Failure> {
    let hello: Hello = from_payload(frame.payload)?;
    let ours = cluster(node).name;
    if hello.cluster.is_some_and(|wanted| wanted != ours) {
        return Err(Failure::of(ErrorCode::WrongCluster).with("cluster", ours));
    }
    let instance = parse_uuid(&hello.client.instance)?;
    let wanted = hello.max_frame.map_or(limits.frame_len_max, |max| max as usize);
    let frame_max = wanted.clamp(BEFORE_AUTH_LEN_MAX, limits.frame_len_max);
    Ok(Greeting { auth: hello.auth, instance, frame_max })
}

/// Lets a client in where nobody has to log in.
///
/// # Errors
/// It wants to log in.
pub fn anonymous(auth: Option<&AuthStart>) -> Result<(), Failure> {
    match auth {
        Some(auth) if auth.mech != ANONYMOUS => {
            Err(Failure::of(ErrorCode::MechUnsupported).with("mechanisms", ANONYMOUS))
        }
        _ => Ok(()),
    }
}

/// How a login stands: it goes on, or this is who it is.
pub fn auth(state: &str, login: &Login, data: String) -> Auth {
    let user = login.identity().map(|who| who.user.to_string());
    Auth { state: Some(state.to_owned()), user, data, mechanisms: Vec::new() }
}

/// Answers a `HELLO`.
pub fn welcome(node: &Node, limits: &Limits, login: &Login, auth: Auth, out: &mut Output) {
    let mechanisms = login.mechanisms().into_iter().map(str::to_owned).collect();
    let welcome = Welcome {
        server: server(node),
        cluster: cluster(node),
        auth: Auth { mechanisms, ..auth },
        epoch: epoch(node).to_string(),
        segments: if node.cluster.get().is_some() { SEGMENTS } else { 0 },
        endpoints: endpoints(node),
        hash: "xxh64".to_owned(),
        limits: AnnouncedLimits::from(*limits),
        ops: ops(),
        keepalive_ms: KEEPALIVE_MS,
        ..Welcome::default()
    };
    put(Kind::Welcome, &to_payload(&welcome), out);
}

/// Appends a frame of the handshake.
pub fn put(kind: Kind, payload: &[u8], out: &mut Output) {
    Frame { header: Header::control(kind, 0, 0), payload }.encode(out);
}

/// The server, for `WELCOME` and `catalog.INFO`.
pub fn server(node: &Node) -> Server {
    let (name, version) = ("isogrid".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let life = format!("{:016x}", node.life);
    let member = identity(node).map(|identity| identity.node.0);
    Server { name, version, node: node.config.node.name.clone(), life, member }
}

/// The cluster, for the same.
pub fn cluster(node: &Node) -> Cluster {
    let id = identity(node).map(|identity| identity.cluster.to_string());
    let name = match node.cluster.get() {
        Some(_) => node.config.cluster.name.clone(),
        None => CLUSTER.to_owned(),
    };
    Cluster { name, id: id.unwrap_or_default() }
}

/// The topology epoch.
pub fn epoch(node: &Node) -> u64 {
    node.cluster.get().map_or(0, |cluster| cluster.view().epoch)
}

/// Where clients reach the members.
fn endpoints(node: &Node) -> Vec<String> {
    let view = node.cluster.get().map(|cluster| cluster.view());
    view.map_or_else(Vec::new, |view| view.endpoints().values().cloned().collect())
}

fn identity(node: &Node) -> Option<Identity> {
    node.cluster.get()?.identity()
}

/// For each group the highest low byte of an opcode.
fn ops() -> BTreeMap<String, u8> {
    let highest = |group: &&Group| {
        let codes = group.operations.iter().map(|operation| operation.code.to_be_bytes());
        (group.name.to_owned(), codes.map(|[_, low]| low).max().unwrap_or(0))
    };
    GROUPS.iter().map(highest).collect()
}

/// The 16 bytes of a UUID; `None` of no text.
fn parse_uuid(text: &str) -> Result<Option<[u8; 16]>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || Failure::invalid("client.instance is no UUID");
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    let digits = std::str::from_utf8(&digits).map_err(|_| wrong())?;
    let number = u128::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 32);
    number.map(|number| Some(number.to_be_bytes())).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_a_uuid_or_nothing() {
        let uuid = "8f3c2b52-6d1c-4d0a-9a53-0d6f3a2e7b11";
        assert_eq!(parse_uuid(uuid).unwrap().unwrap()[..2], [0x8f, 0x3c]);
        assert_eq!(parse_uuid(""), Ok(None));
        for wrong in ["-", "8f3c", "zf3c2b52-6d1c-4d0a-9a53-0d6f3a2e7b11", "é"] {
            assert!(parse_uuid(wrong).is_err(), "{wrong}");
        }
    }
}
