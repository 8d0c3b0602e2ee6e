//! Conversations written down step by step.

use super::super::{
    Action, By, CallId, Channel, Core, Credentials, Event, LinkId, Moment, Request, Settings,
};
use super::network::ms;
use super::server::body;
use crate::client::error::Cause;
use crate::native::cache::{Get, Listen, Put};
use crate::native::control::{GoAway, put_control};
use crate::native::handshake::{Hello, Server, Welcome, to_payload};
use crate::native::preface::{ClientPreface, ServerPreface};
use crate::native::schema::Repeat;
use crate::native::topology::CLUSTER_OBJECTS;
use crate::native::{Call, Frame, Header, Key, Kind, Limits, List, ReadOptions};

/// A core, the time, and what was to be done last.
pub struct Script {
    pub core: Core,
    pub now: Moment,
}

fn script(addresses: &[&str]) -> Script {
    script_of(addresses, Credentials::None)
}

/// A client that logs in.
pub fn script_of(addresses: &[&str], credentials: Credentials) -> Script {
    let settings = Settings { credentials, ..settings(addresses) };
    Script { core: Core::new(settings), now: Moment::ZERO }
}

/// Of a client that does not log in.
pub fn settings(addresses: &[&str]) -> Settings {
    Settings {
        addresses: addresses.iter().map(|address| (*address).to_owned()).collect(),
        hello: Hello::default(),
        credentials: Credentials::None,
        connect_timeout: ms(1_000),
        keepalive: ms(100),
        backoff: (ms(10), ms(80)),
        routing: true,
        seed: 7,
    }
}

impl Script {
    pub fn step(&mut self, event: Event<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        self.core.step(self.now, event, &mut actions);
        actions
    }

    /// Connects and welcomes; what was done with the `WELCOME`.
    fn ready(&mut self, link: LinkId) -> Vec<Action> {
        self.ready_in(link, "one")
    }

    /// The same of a server in this life.
    fn ready_in(&mut self, link: LinkId, life: &str) -> Vec<Action> {
        self.step(Event::Connected(link, Channel::default()));
        let preface = ServerPreface::answer(ClientPreface::OURS).encode();
        let server = Server { life: life.to_owned(), ..Server::default() };
        let payload = to_payload(&Welcome { server, ..Welcome::default() });
        let mut bytes = preface.to_vec();
        Header::control(Kind::Welcome, 0, 0).encode(payload.len(), &mut bytes);
        bytes.extend(payload);
        self.step(Event::Received(link, &bytes))
    }

    pub fn ask(&mut self, id: CallId, op: u16, repeat: Repeat) -> Vec<Action> {
        let body = body(&Get { key: Key(b"k"), read: ReadOptions::default() });
        let request = Request {
            op,
            repeat,
            by: By::Nothing,
            over: None,
            tagged: false,
            object: 1,
            life: None,
            doubt: false,
            lease: None,
            fence: None,
            tx: None,
            body,
            credit: 2,
            timeout: (repeat != Repeat::Stream).then_some(ms(10_000)),
        };
        self.step(Event::Call(id, Box::new(request)))
    }
}

pub fn frame(kind: Kind, op: u16, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Frame { header: Header::new(kind, op, stream, 0), payload }.encode(&mut bytes);
    bytes
}

/// The headers of the frames that go out over a connection.
pub fn headers(actions: &[Action], over: LinkId) -> Vec<Header> {
    let mut found = Vec::new();
    for action in actions {
        let Action::Send(link, bytes) = action else { continue };
        let mut rest = bytes.as_slice();
        while *link == over && !rest.is_empty() {
            let frame = Frame::decode(rest, &Limits::default()).unwrap().unwrap();
            found.push(frame.header);
            rest = &rest[frame.encoded_len()..];
        }
    }
    found
}

/// Their kinds and streams.
pub fn sent(actions: &[Action], over: LinkId) -> Vec<(Kind, u32)> {
    headers(actions, over).iter().map(|header| (header.kind, header.stream)).collect()
}

/// How requests ended: `None` with an answer.
pub fn ended(actions: &[Action]) -> Vec<(CallId, Option<Cause>)> {
    let done = |action: &Action| match action {
        Action::Done(id, result) => Some((*id, result.clone().err().map(|error| error.cause))),
        _ => None,
    };
    actions.iter().filter_map(done).collect()
}

#[test]
fn a_server_that_goes_away_serves_until_another_one_is_ready() {
    let mut script = script(&["a:1"]);
    script.step(Event::Tick);
    script.ready(1);
    script.ask(1, Put::CODE, Repeat::Idempotent);
    script.ask(2, Listen::CODE, Repeat::Stream);
    let away = GoAway { reason: 1, drain_ms: 9, message: "", alternatives: List::of(&["b:1"]) };
    let mut bytes = Vec::new();
    put_control(Header::control(Kind::GoAway, 0, 0), &away, &mut bytes);
    let mut actions = script.step(Event::Received(1, &bytes));
    script.now += ms(10);
    actions.extend(script.step(Event::Tick));
    assert!(actions.contains(&Action::Connect(2, "a:1".to_owned())), "{actions:?}");
    assert_eq!(sent(&script.ask(3, Get::CODE, Repeat::Read), 1), [(Kind::Req, 3)]);
    // The first address is of the server that goes: it does not take connections any more.
    script.step(Event::Lost(2));
    script.now = script.core.next_tick().unwrap();
    let actions = script.step(Event::Tick);
    assert!(actions.contains(&Action::Connect(3, "b:1".to_owned())), "{actions:?}");
    let actions = script.ready(3);
    assert_eq!(ended(&actions), [(2, Some(Cause::Disconnected))], "who listens begins anew");
    assert_eq!(sent(&actions, 1), [(Kind::Cancel, 2)]);
    assert_eq!(sent(&script.ask(4, Get::CODE, Repeat::Read), 3), [(Kind::Req, 1)]);
    let actions = script.step(Event::Received(1, &frame(Kind::Res, Put::CODE, 1, &[0])));
    assert_eq!((ended(&actions), actions.len()), (vec![(1, None)], 1));
    let actions = script.step(Event::Received(1, &frame(Kind::Res, Get::CODE, 3, &[1])));
    assert_eq!(ended(&actions), [(3, None)]);
    assert_eq!(actions.last(), Some(&Action::Close(1)), "nobody waits on it");
}

#[test]
fn a_silent_server_is_asked_and_then_taken_for_dead() {
    let mut script = script(&["a:1"]);
    script.step(Event::Tick);
    script.ready(1);
    script.ask(1, Put::CODE, Repeat::Dedup);
    for (at, pings) in [(99, 0), (100, 1), (150, 0), (200, 1)] {
        script.now = ms(at);
        let actions = script.step(Event::Tick);
        assert_eq!(sent(&actions, 1).len(), pings, "at {at} ms: {actions:?}");
    }
    script.now = ms(250);
    script.step(Event::Received(1, &frame(Kind::Pong, 0, 0, &[0; 8])));
    script.now = ms(549);
    script.step(Event::Tick);
    assert_eq!(script.core.next_tick(), Some(ms(550)));
    script.now = ms(550);
    let actions = script.step(Event::Tick);
    assert_eq!(actions.first(), Some(&Action::Close(1)));
    script.now = script.core.next_tick().unwrap();
    assert_eq!(script.step(Event::Tick), [Action::Connect(2, "a:1".to_owned())]);
    assert_eq!(script.core.unfinished(), 1, "it has its tag, and waits for the same life");
}

/// The copies of a cluster's cache keep what a tag was answered with, a server alone forgets it.
#[test]
fn a_tagged_request_goes_to_another_member_where_copies_keep_its_answer() {
    for (object, by, goes) in [
        (CLUSTER_OBJECTS, By::Key, true),
        (CLUSTER_OBJECTS, By::Nothing, false),
        (0, By::Shared, true),
        (1, By::Key, false),
    ] {
        let mut script = script(&["a:1", "b:1"]);
        script.step(Event::Tick);
        script.ready(1);
        let timeout = Some(ms(10_000));
        let repeat = Repeat::Dedup;
        let about = Request { op: Put::CODE, repeat, by, object, timeout, ..Request::nothing() };
        let first = script.step(Event::Call(1, Box::new(about)));
        script.step(Event::Lost(1));
        script.step(Event::Tick);
        let actions = script.ready_in(2, "other");
        if goes {
            let bytes = |actions: &[Action]| {
                actions.iter().find_map(|action| match action {
                    Action::Send(_, bytes) => Some(bytes.clone()),
                    _ => None,
                })
            };
            let (first, again) = (bytes(&first), bytes(&actions));
            assert!(first.is_some() && first == again, "with its tag: {first:?} {again:?}");
        } else {
            assert_eq!(ended(&actions), [(1, Some(Cause::Disconnected))], "{object}");
        }
    }
}

#[test]
fn every_address_is_tried_before_a_pause_and_pauses_grow() {
    let mut script = script(&["a:1", "b:1", "c:1"]);
    let mut tried = Vec::new();
    let mut pauses = Vec::new();
    let mut actions = script.step(Event::Tick);
    while tried.len() < 15 {
        let connect = actions.iter().find_map(|action| match action {
            Action::Connect(link, address) => Some((*link, address.clone())),
            _ => None,
        });
        let Some((link, address)) = connect else {
            let next = script.core.next_tick().unwrap();
            pauses.push((next - script.now).as_millis());
            script.now = next;
            actions = script.step(Event::Tick);
            continue;
        };
        tried.push(address);
        actions = script.step(Event::Lost(link));
    }
    assert_eq!(tried[..6], ["a:1", "b:1", "c:1", "a:1", "b:1", "c:1"]);
    let bounds = [(5, 10), (10, 20), (20, 40), (40, 80)];
    assert_eq!(pauses.len(), bounds.len());
    for (pause, (least, most)) in pauses.iter().zip(bounds) {
        assert!((least..=most).contains(pause), "{pauses:?}");
    }
}

#[test]
fn a_server_that_breaks_the_rules_is_left() {
    let item = frame(Kind::Item, Listen::CODE, 1, &[3, 0, 0, 0]);
    let cases: [(&str, Vec<u8>); 6] = [
        ("more items than credit", item),
        ("an answer to nothing", frame(Kind::Res, Get::CODE, 77, &[1])),
        ("of another operation", frame(Kind::Res, Get::CODE, 1, &[1])),
        ("a request", frame(Kind::Req, Get::CODE, 1, &[0; 8])),
        ("no frame", vec![0; 16]),
        ("welcomed twice", frame(Kind::Welcome, 0, 0, &[2, b'{', b'}'])),
    ];
    for (what, bytes) in cases {
        let mut script = script(&["a:1"]);
        script.step(Event::Tick);
        script.ready(1);
        script.ask(1, Listen::CODE, Repeat::Stream);
        script.ask(2, Put::CODE, Repeat::Idempotent);
        let actions = script.step(Event::Received(1, &bytes));
        assert_eq!(actions.first(), Some(&Action::Close(1)), "{what}: {actions:?}");
        assert_eq!(ended(&actions).len(), 1, "{what}: the stream ends, the put is repeated");
        assert_eq!(script.core.unfinished(), 1, "{what}");
    }
}

#[test]
fn pieces_of_any_size_are_the_same_conversation() {
    let preface = ServerPreface::answer(ClientPreface::OURS).encode();
    let mut bytes = preface.to_vec();
    bytes.extend(frame(Kind::Welcome, 0, 0, &[2, b'{', b'}']));
    bytes.extend(frame(Kind::Res, Get::CODE, 1, &[1]));
    for len in 1..bytes.len() {
        let mut script = script(&["a:1"]);
        script.ask(1, Get::CODE, Repeat::Read);
        script.step(Event::Connected(1, Channel::default()));
        let mut ends = Vec::new();
        for piece in bytes[..40].chunks(len).chain(bytes[40..].chunks(len)) {
            ends.extend(ended(&script.step(Event::Received(1, piece))));
        }
        assert_eq!(ends, [(1, None)], "{len}");
    }
}
