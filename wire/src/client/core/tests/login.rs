//! Logins: who says what to whom, and what comes of a wrong one.

use super::super::{Action, Channel, Credentials, Event, LinkId};
use super::scripted::{Script, ended, frame, script_of, sent};
use crate::client::error::Cause;
use crate::native::cache::Get;
use crate::native::handshake::{Auth, Hello, Welcome, from_payload, to_payload};
use crate::native::preface::{ClientPreface, PREFACE_LEN, ServerPreface};
use crate::native::schema::Repeat;
use crate::native::{
    Call, ErrorBody, ErrorCode, Frame, Header, Kind, Limits, List, ReplyExt, put_error,
};
use crate::scram::{Challenge, Hello as ScramHello, MECHANISM, MECHANISM_PLUS, Verifier};

const PRIVATE: Channel = Channel { private: true, binding: None, nonce: [1; 18] };
const OPEN: Channel = Channel { private: false, ..PRIVATE };
const BOUND: Channel = Channel { binding: Some([9; 32]), ..PRIVATE };

fn scram() -> Credentials {
    Credentials::Scram { user: "app".to_owned(), password: "right".to_owned() }
}

/// Connects; what was said in `HELLO`, if anything was.
fn greet(script: &mut Script, link: LinkId, channel: Channel) -> (Option<Hello>, Vec<Action>) {
    let actions = script.step(Event::Connected(link, channel));
    let bytes = actions.iter().find_map(|action| match action {
        Action::Send(over, bytes) if *over == link => Some(bytes),
        _ => None,
    });
    let hello = bytes.map(|bytes| {
        assert_eq!(ClientPreface::decode(bytes), Ok(Some(ClientPreface::OURS)));
        let frame = Frame::decode(&bytes[PREFACE_LEN..], &Limits::default()).unwrap().unwrap();
        from_payload(frame.payload).unwrap()
    });
    (hello, actions)
}

/// The preface and a `WELCOME` with this state of the login.
fn welcome(state: &str, data: &str) -> Vec<u8> {
    let (state, data) = (Some(state.to_owned()), data.to_owned());
    let welcome = Welcome { auth: Auth { state, data, ..Auth::default() }, ..Welcome::default() };
    let mut bytes = ServerPreface::answer(ClientPreface::OURS).encode().to_vec();
    bytes.extend(frame(Kind::Welcome, 0, 0, &to_payload(&welcome)));
    bytes
}

fn auth_failed() -> Vec<u8> {
    let error = ErrorBody {
        code: ErrorCode::AuthFailed as u16,
        retry: ErrorCode::AuthFailed.retry(),
        retry_after_ms: 0,
        message: "",
        details: List::of(&[]),
    };
    let mut bytes = ServerPreface::answer(ClientPreface::OURS).encode().to_vec();
    put_error(Header::control(Kind::Err, 0, 0), &ReplyExt::default(), &error, &mut bytes);
    bytes
}

/// What a server that knows `password` makes of a first message.
fn challenge(hello: &Hello, password: &str, channel: &Channel) -> Challenge {
    let auth = hello.auth.as_ref().unwrap();
    let binding = channel.binding.as_ref().map(<[u8; _]>::as_slice);
    let plus = auth.mech == MECHANISM_PLUS;
    let read = ScramHello::read(auth.data.as_bytes(), plus, binding).unwrap();
    assert_eq!(read.user(), "app");
    read.challenge(Verifier::derive(password.as_bytes(), &[4; 16]), &[5; 18])
}

/// The client's proof.
fn proof(actions: &[Action]) -> String {
    let [Action::Send(_, bytes)] = actions else { panic!("{actions:?}") };
    let frame = Frame::decode(bytes, &Limits::default()).unwrap().unwrap();
    assert_eq!(frame.header.kind, Kind::Auth);
    from_payload::<Auth>(frame.payload).unwrap().data
}

#[test]
fn a_password_is_proven_by_both_sides_on_each_connection() {
    let mut script = script_of(&["a:1"], scram());
    script.ask(1, Get::CODE, Repeat::Read);
    let mut first_messages = Vec::new();
    for (link, channel, mech) in [
        (1, OPEN, MECHANISM),
        (2, Channel { nonce: [2; 18], ..PRIVATE }, MECHANISM),
        (3, BOUND, MECHANISM_PLUS),
    ] {
        let (hello, _) = greet(&mut script, link, channel);
        let hello = hello.unwrap();
        assert_eq!(hello.auth.as_ref().unwrap().mech, mech);
        first_messages.push(hello.auth.clone().unwrap().data);
        let challenge = challenge(&hello, "right", &channel);
        let bytes = welcome(Auth::CONTINUE, challenge.message());
        let proof = proof(&script.step(Event::Received(link, &bytes)));
        let data = challenge.finish(proof.as_bytes()).expect("the client knows the password");
        let auth = Auth { state: Some(Auth::OK.to_owned()), data, ..Auth::default() };
        let bytes = frame(Kind::Auth, 0, 0, &to_payload(&auth));
        let actions = script.step(Event::Received(link, &bytes));
        assert_eq!(sent(&actions, link), [(Kind::Req, 1)], "what waited is sent");
        script.step(Event::Lost(link));
        script.now = script.core.next_tick().unwrap();
        script.step(Event::Tick);
    }
    assert_ne!(first_messages[0], first_messages[1]);
}

#[test]
fn a_server_that_does_not_know_the_password_is_left() {
    let lets_in = |_: &Hello| welcome(Auth::OK, "");
    let guesses =
        |hello: &Hello| welcome(Auth::CONTINUE, challenge(hello, "wrong", &PRIVATE).message());
    let nonsense = |_: &Hello| welcome(Auth::CONTINUE, "r=other,s=AAAA,i=4096");
    type Answer = fn(&Hello) -> Vec<u8>;
    let answers: [(&str, Answer); 3] =
        [("lets everybody in", lets_in), ("guesses", guesses), ("another login's", nonsense)];
    for (what, answer) in answers {
        let mut script = script_of(&["a:1"], scram());
        script.ask(1, Get::CODE, Repeat::Read);
        let (hello, _) = greet(&mut script, 1, PRIVATE);
        let mut actions = script.step(Event::Received(1, &answer(&hello.unwrap())));
        if what == "guesses" {
            let data = "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_owned();
            let auth = Auth { state: Some(Auth::OK.to_owned()), data, ..Auth::default() };
            let bytes = frame(Kind::Auth, 0, 0, &to_payload(&auth));
            actions = script.step(Event::Received(1, &bytes));
        }
        assert_eq!(actions.first(), Some(&Action::Close(1)), "{what}: {actions:?}");
        let ends = ended(&actions);
        let [(1, Some(Cause::Insecure(_)))] = ends.as_slice() else { panic!("{what}: {ends:?}") };
    }
}

#[test]
fn a_secret_does_not_travel_where_others_can_read_it() {
    let plain = Credentials::Plain { user: "app".to_owned(), password: "right".to_owned() };
    for (credentials, mech, data) in [
        (plain, "PLAIN", "\0app\0right"),
        (Credentials::Token("app.123".to_owned()), "TOKEN", "app.123"),
    ] {
        let mut script = script_of(&["a:1"], credentials.clone());
        script.ask(1, Get::CODE, Repeat::Read);
        let (hello, actions) = greet(&mut script, 1, OPEN);
        assert!(hello.is_none(), "{actions:?}");
        let ends = ended(&actions);
        assert!(matches!(ends[..], [(1, Some(Cause::Insecure(_)))]), "{ends:?}");
        let mut script = script_of(&["a:1"], credentials);
        script.step(Event::Tick);
        let auth = greet(&mut script, 1, PRIVATE).0.unwrap().auth.unwrap();
        assert_eq!((auth.mech.as_str(), auth.data.as_str()), (mech, data));
    }
}

/// Whoever is refused is told at once, and comes back only when somebody asks: a server that
/// counts failures is not asked for ever.
#[test]
fn a_refused_client_comes_back_only_when_somebody_asks() {
    let mut script = script_of(&["a:1"], Credentials::Token("app.123".to_owned()));
    let mut actions = script.ask(1, Get::CODE, Repeat::Read);
    for call in 1..=4 {
        let connects = |action: &Action| match action {
            Action::Connect(link, _) => Some(*link),
            _ => None,
        };
        // Behind the first refusals there are pauses.
        while !actions.iter().any(|action| connects(action).is_some()) {
            script.now = script.core.next_tick().expect("somebody asks");
            actions = script.step(Event::Tick);
        }
        let link = actions.iter().find_map(connects).unwrap();
        greet(&mut script, link, PRIVATE);
        if call == 4 {
            let actions = script.step(Event::Received(link, &welcome(Auth::OK, "")));
            assert_eq!(sent(&actions, link), [(Kind::Req, 1)], "it may come in again");
            break;
        }
        let ends = ended(&script.step(Event::Received(link, &auth_failed())));
        let [(is, Some(Cause::Refused(refusal)))] = ends.as_slice() else { panic!("{ends:?}") };
        assert_eq!((*is, refusal.known()), (call, Some(ErrorCode::AuthFailed)));
        assert_eq!(script.core.next_tick(), None, "nobody asks, and nothing is due");
        script.now += std::time::Duration::from_secs(3_600);
        assert_eq!(script.step(Event::Tick), []);
        actions = script.ask(call + 1, Get::CODE, Repeat::Read);
    }
}
