//! Gets and puts of GNP, straight over the codec: the client library repeats what failed, and a
//! load generator must not.

use std::time::Duration;

use isogrid_wire::client::raw::{Login, Step};
use isogrid_wire::native::cache::{Get, GetReply, Put, PutReply};
use isogrid_wire::native::catalog::{ObjectKind, Resolve, ResolveReply};
use isogrid_wire::native::control::{Ping, put_control};
use isogrid_wire::native::handshake::{Auth, Client, Hello, Welcome, from_payload, to_payload};
use isogrid_wire::native::preface::{ClientPreface, PREFACE_LEN, ServerPreface};
use isogrid_wire::native::{
    Answer as _, Assembled, Call, ClientStreams, Codec, ErrorCode, FRAGMENT_LEN, Frame, Header,
    Key, Kind, Limits, Malformed, Prelude, ReadOptions, Reader, Reassembly, Received, Retry, Value,
    WriteOptions, decode_all, decode_error, put_fragments, reply_ext,
};

use super::codec::{Answer, Asked, Broken, Taken};

/// What a connection is, from its first byte on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Preface,
    Hello,
    Login,
    Resolve,
    Ready,
}

/// One connection.
pub struct Native {
    stage: Stage,
    login: Option<Login>,
    cache: String,
    object: u32,
    limits: Limits,
    streams: ClientStreams<Asked>,
    fragments: Reassembly,
    fragment_len: usize,
    body: Vec<u8>,
}

impl Native {
    /// A connection that will ask a cache of this name; what it says first is appended to `out`.
    ///
    /// # Errors
    /// Others could read the secret of the login.
    pub fn begin(cache: &str, mut login: Option<Login>, out: &mut Vec<u8>) -> Result<Self, Broken> {
        let limits = Limits {
            key_len_max: usize::MAX,
            value_len_max: usize::MAX,
            message_len_max: usize::MAX,
            ..Limits::default()
        };
        let client = Client {
            name: "isogrid-bench".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            lang: "rust".to_owned(),
            ..Client::default()
        };
        let max_frame = u32::try_from(limits.frame_len_max).ok();
        let auth = login.as_mut().map(Login::begin).transpose().map_err(broken)?.flatten();
        let hello = Hello { client, max_frame, auth, ..Hello::default() };
        let payload = to_payload(&hello);
        out.extend_from_slice(&ClientPreface::OURS.encode());
        Header::control(Kind::Hello, 0, 0).encode(payload.len(), out);
        out.extend_from_slice(&payload);
        Ok(Native {
            stage: Stage::Preface,
            login,
            cache: cache.to_owned(),
            object: 0,
            limits,
            streams: ClientStreams::new(limits.streams_max),
            fragments: Reassembly::new(&limits),
            fragment_len: FRAGMENT_LEN,
            body: Vec::new(),
        })
    }

    /// Whether the cache is found and requests may be sent.
    pub fn is_ready(&self) -> bool {
        self.stage == Stage::Ready
    }

    pub fn under_way(&self) -> usize {
        self.streams.len()
    }

    pub fn get(&mut self, key: &[u8], due: Duration, out: &mut Vec<u8>) {
        let read = ReadOptions { switches: ReadOptions::VALUE, ..ReadOptions::default() };
        self.ask(&Get { key: Key(key), read }, Asked { is_set: false, due }, out);
    }

    pub fn set(&mut self, key: &[u8], value: &[u8], due: Duration, out: &mut Vec<u8>) {
        let put =
            Put { key: Key(key), value: Value::Inline(value), write: WriteOptions::default() };
        self.ask(&put, Asked { is_set: true, due }, out);
    }

    fn ask<'a, T: Call + Codec<'a>>(&mut self, body: &T, asked: Asked, out: &mut Vec<u8>) {
        // The depth is below the number of streams that the server allows: see `welcome`.
        let Some(stream) = self.streams.open(T::CODE, 0, asked) else { return };
        let header = Header::new(Kind::Req, T::CODE, stream, 0);
        let prelude = Prelude { object: self.object, ..Prelude::default() };
        if body.encoded_len() + 16 <= self.fragment_len {
            return prelude.put_request(header, body, out);
        }
        self.body.clear();
        prelude.put_request(header, body, &mut self.body);
        let payload = self.body.get(isogrid_wire::native::HEADER_LEN..).unwrap_or_default();
        put_fragments(header, payload, self.fragment_len, out);
    }

    pub fn give_up(&mut self) -> Vec<Asked> {
        self.streams.end_all().collect()
    }

    pub fn take(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Taken, Broken> {
        if self.stage == Stage::Preface {
            return self.preface(input);
        }
        let Some(frame) = Frame::decode(input, &self.limits).map_err(broken)? else {
            return Ok(Taken::Incomplete);
        };
        let len = frame.encoded_len();
        let answer = match self.fragments.push(frame) {
            Assembled::Frame(frame) => self.frame(&frame, out)?,
            Assembled::Message(header, payload) => {
                self.frame(&Frame { header, payload: &payload }, out)?
            }
            Assembled::Incomplete => None,
            Assembled::Refused(_, code) | Assembled::Broken(code) => {
                return Err(Broken(format!("the server's frames are wrong: {}", code.name())));
            }
        };
        Ok(answer.map_or(Taken::Control(len), |(asked, answer)| Taken::Answer(len, asked, answer)))
    }

    fn preface(&mut self, input: &[u8]) -> Result<Taken, Broken> {
        match ServerPreface::decode(input).map_err(broken)? {
            None => Ok(Taken::Incomplete),
            Some(preface) if preface.chosen == 1 => {
                self.stage = Stage::Hello;
                Ok(Taken::Control(PREFACE_LEN))
            }
            Some(_) => Err(Broken("the server speaks no version of GNP that we speak".to_owned())),
        }
    }

    fn frame(
        &mut self,
        frame: &Frame<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Option<(Asked, Answer)>, Broken> {
        match frame.header.kind {
            Kind::Welcome if self.stage == Stage::Hello => self.welcomed(frame, out)?,
            Kind::Auth if self.stage == Stage::Login => self.proven(frame, out)?,
            Kind::Ping => {
                let ping: Ping =
                    decode_all(Reader::new(frame.payload, &self.limits)).map_err(broken)?;
                put_control(Header::control(Kind::Pong, 0, 0), &ping, out);
            }
            // Who goes away closes, and what is under way then is counted.
            Kind::Pong | Kind::GoAway => {}
            Kind::Err if frame.header.stream == 0 => return Err(Broken(self.refusal(frame)?.1)),
            Kind::Res | Kind::Err => return self.answer(frame),
            _ => return Err(Broken("the server sent a frame that nobody asked for".to_owned())),
        }
        Ok(None)
    }

    fn welcomed(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
        let welcome: Welcome = from_payload(frame.payload).map_err(broken)?;
        let Some(login) = &mut self.login else { return self.let_in(&welcome, out) };
        match login.welcomed(welcome).map_err(broken)? {
            Step::In(welcome) => self.let_in(&welcome, out),
            Step::Prove(auth) => {
                self.stage = Stage::Login;
                let payload = to_payload(&auth);
                Header::control(Kind::Auth, 0, 0).encode(payload.len(), out);
                out.extend_from_slice(&payload);
                Ok(())
            }
        }
    }

    fn proven(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
        let auth: Auth = from_payload(frame.payload).map_err(broken)?;
        let welcome = self.login.as_mut().map(|login| login.proven(&auth)).transpose();
        welcome.map_err(broken)?.map_or(Ok(()), |welcome| self.let_in(&welcome, out))
    }

    fn let_in(&mut self, welcome: &Welcome, out: &mut Vec<u8>) -> Result<(), Broken> {
        let announced = Limits::from(welcome.limits);
        self.streams = ClientStreams::new(announced.streams_max.min(announced.inflight_max));
        self.fragment_len = announced.frame_len_max.min(FRAGMENT_LEN);
        self.stage = Stage::Resolve;
        let (kind, cache) = (ObjectKind::Cache, std::mem::take(&mut self.cache));
        let resolve = Resolve { kind, name: &cache, create: false };
        self.ask(&resolve, Asked { is_set: false, due: Duration::ZERO }, out);
        self.cache = cache;
        Ok(())
    }

    fn answer(&mut self, frame: &Frame<'_>) -> Result<Option<(Asked, Answer)>, Broken> {
        let received = self.streams.receive(&frame.header, 0);
        let asked = match received {
            Ok(Received::Ended(asked)) => asked,
            Ok(Received::Items(_)) => return Ok(None),
            Err(code) => return Err(Broken(format!("a wrong answer: {}", code.name()))),
        };
        if frame.header.kind == Kind::Err {
            let (retry, why) = self.refusal(frame)?;
            if self.stage == Stage::Resolve {
                return Err(Broken(why));
            }
            let answer = match retry {
                Retry::Unknown if asked.is_set => Answer::Unknown(why),
                _ => Answer::Failed(why),
            };
            return Ok(Some((asked, answer)));
        }
        if self.stage == Stage::Resolve {
            return self.resolved(frame).map(|()| None);
        }
        let answer = self.reply(frame, asked.is_set).map_err(broken)?;
        Ok(Some((asked, answer)))
    }

    fn resolved(&mut self, frame: &Frame<'_>) -> Result<(), Broken> {
        let (_, body) = reply_ext(frame, &self.limits).map_err(broken)?;
        match ResolveReply::decode_all(body).map_err(broken)? {
            ResolveReply::Ok { id, .. } => self.object = id,
            ResolveReply::NotFound {} => {
                return Err(Broken(format!("there is no cache `{}`", self.cache)));
            }
        }
        self.stage = Stage::Ready;
        Ok(())
    }

    fn reply(&self, frame: &Frame<'_>, is_set: bool) -> Result<Answer, Malformed> {
        let (_, body) = reply_ext(frame, &self.limits)?;
        if !is_set {
            return Ok(match GetReply::decode_all(body)? {
                GetReply::Ok { .. } => Answer::Hit,
                GetReply::NotFound {} | GetReply::Unchanged {} => Answer::Miss,
            });
        }
        Ok(match PutReply::decode_all(body)? {
            PutReply::Ok { .. } => Answer::Stored,
            PutReply::NotStored { .. } => Answer::Failed("NOT_STORED".to_owned()),
            PutReply::VersionMismatch { .. } => Answer::Failed("VERSION_MISMATCH".to_owned()),
        })
    }

    /// What the client may do after an `ERR`, and its code and name.
    fn refusal(&self, frame: &Frame<'_>) -> Result<(Retry, String), Broken> {
        let (_, body) = decode_error(frame, &self.limits).map_err(broken)?;
        let name = ErrorCode::of(body.code).map_or("", ErrorCode::name);
        Ok((body.retry, format!("E{} {name}", body.code).trim_end().to_owned()))
    }
}

fn broken(error: impl std::fmt::Display) -> Broken {
    Broken(error.to_string())
}
