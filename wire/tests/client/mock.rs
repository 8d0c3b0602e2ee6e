//! A server with one cache, one counter and no mercy.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use isogrid_wire::native::catalog::{Resolve, ResolveReply};
use isogrid_wire::native::frame::HEADER_LEN;
use isogrid_wire::native::handshake::{self, Welcome, to_payload};
use isogrid_wire::native::preface::{ClientPreface, PREFACE_LEN, ServerPreface};
use isogrid_wire::native::{
    Answer, Assembled, Call, Entry, ErrorBody, ErrorCode, FRAGMENT_LEN, Frame, Header, Json, Kind,
    Limits, Reassembly, ReplyExt, RequestFrame, Value, cache, conn, counter, decode_all, put_error,
    put_fragments, put_items, put_reply,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What becomes of the next request of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The connection is cut instead.
    Cut,
    /// It is executed, and the connection is cut.
    DoAndCut,
    /// As `Cut`, and the server has another life behind it.
    CutAndRestart,
    /// As `DoAndCut`, and the server has another life behind it.
    DoCutAndRestart,
    /// It is not executed, and never answered.
    Silent,
    /// A read is executed, then the entry gets this value, and only then the answer goes out.
    ChangeBehind(&'static [u8]),
}

#[derive(Default)]
struct State {
    life: u64,
    /// Names of objects, in the order of their numbers, which begin anew with each life.
    objects: Vec<String>,
    entries: BTreeMap<Vec<u8>, (Vec<u8>, u64)>,
    counter: i64,
    version: u64,
    answers: BTreeMap<u64, Vec<u8>>,
    fates: BTreeMap<u16, VecDeque<Fate>>,
    counts: BTreeMap<u16, usize>,
    connections: u64,
    open: BTreeMap<u64, mpsc::UnboundedSender<Vec<u8>>>,
    /// The streams that track, and the keys that were read over their connections.
    tracks: BTreeMap<u64, (Header, BTreeSet<Vec<u8>>)>,
    reads: u64,
    cancelled: usize,
    wrong_numbers: usize,
    refusal: Option<ErrorCode>,
}

#[derive(Clone)]
pub struct Mock {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Mock {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = State { life: 1, ..State::default() };
        let mock = Mock { address, state: Arc::new(Mutex::new(state)) };
        let serving = mock.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(serving.clone().serve(socket));
            }
        });
        mock
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn address(&self) -> String {
        self.address.clone()
    }

    pub fn next(&self, code: u16, fate: Fate) {
        self.state().fates.entry(code).or_default().push_back(fate);
    }

    pub fn connections(&self) -> u64 {
        self.state().connections
    }

    pub fn reads(&self) -> u64 {
        self.state().reads
    }

    pub fn cancelled(&self) -> usize {
        self.state().cancelled
    }

    pub fn wrong_numbers(&self) -> usize {
        self.state().wrong_numbers
    }

    pub fn count(&self, code: u16) -> usize {
        self.state().counts.get(&code).copied().unwrap_or(0)
    }

    pub fn refuse_connections(&self, code: ErrorCode) {
        self.state().refusal = Some(code);
    }

    pub fn cut_all(&self) {
        let mut state = self.state();
        state.open.clear();
        state.tracks.clear();
    }

    /// Another life, in which nothing of the one before is known.
    pub fn restart_empty(&self) {
        self.cut_all();
        let mut state = self.state();
        state.begin_anew();
        state.objects = vec!["somebody else's".to_owned()];
        state.entries.clear();
    }

    /// Waits until a near cache listens.
    pub async fn tracked(&self) {
        while self.state().tracks.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn serve(self, socket: TcpStream) {
        let (mut reader, mut writer) = socket.into_split();
        let (out, mut pieces) = mpsc::unbounded_channel::<Vec<u8>>();
        let id = {
            let mut state = self.state();
            state.connections += 1;
            let id = state.connections;
            state.open.insert(id, out);
            id
        };
        let mut peer = Peer { id, greeted: false, fragments: Reassembly::new(&LIMITS) };
        let (mut input, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            tokio::select! {
                biased;
                piece = pieces.recv() => match piece {
                    Some(piece) => writer.write_all(&piece).await.unwrap_or(()),
                    None => break,
                },
                read = reader.read(&mut buffer) => match read {
                    Ok(len) if len > 0 => {
                        input.extend_from_slice(&buffer[..len]);
                        if !self.take(&mut peer, &mut input) {
                            break;
                        }
                    }
                    _ => break,
                },
            }
        }
        let mut state = self.state();
        state.open.remove(&id);
        state.tracks.remove(&id);
    }

    /// `false`: the connection is cut.
    fn take(&self, peer: &mut Peer, input: &mut Vec<u8>) -> bool {
        let mut state = self.state();
        state.reads += 1;
        let mut used = 0;
        if !peer.greeted {
            let Some(preface) = ClientPreface::decode(input).unwrap() else { return true };
            (peer.greeted, used) = (true, PREFACE_LEN);
            state.send(peer.id, ServerPreface::answer(preface).encode().to_vec());
        }
        while let Some(frame) = Frame::decode(&input[used..], &LIMITS).unwrap() {
            used += frame.encoded_len();
            let open = match peer.fragments.push(frame) {
                Assembled::Frame(frame) => state.frame(peer.id, &frame),
                Assembled::Message(header, payload) => {
                    state.frame(peer.id, &Frame { header, payload: &payload })
                }
                Assembled::Incomplete => true,
                other => panic!("{other:?}"),
            };
            if !open {
                return false;
            }
        }
        input.drain(..used);
        true
    }
}

const LIMITS: Limits = Limits {
    frame_len_max: 1 << 20,
    message_len_max: 16 << 20,
    key_len_max: 1024,
    value_len_max: 8 << 20,
    streams_max: 4096,
    inflight_max: 1024,
    keys_max: 1000,
};

struct Peer {
    id: u64,
    greeted: bool,
    fragments: Reassembly,
}

impl State {
    fn send(&self, to: u64, bytes: Vec<u8>) {
        if let Some(out) = self.open.get(&to) {
            let _ = out.send(bytes);
        }
    }

    fn begin_anew(&mut self) {
        self.life += 1;
        self.answers.clear();
    }

    fn frame(&mut self, from: u64, frame: &Frame<'_>) -> bool {
        match frame.header.kind {
            Kind::Hello => self.hello(from),
            Kind::Cancel => {
                self.cancelled += 1;
                true
            }
            Kind::Credit | Kind::Ping | Kind::Pong => true,
            Kind::Req => self.request(from, frame),
            other => panic!("a client does not send {other:?}"),
        }
    }

    fn hello(&mut self, from: u64) -> bool {
        let mut out = Vec::new();
        if let Some(code) = self.refusal {
            let header = Header::control(Kind::Err, 0, 0);
            put_error(header, &ReplyExt::default(), &ErrorBody::new(code, "no"), &mut out);
        } else {
            let server = handshake::Server { life: self.life.to_string(), ..Default::default() };
            let payload = to_payload(&Welcome { server, ..Default::default() });
            Header::control(Kind::Welcome, 0, 0).encode(payload.len(), &mut out);
            out.extend(payload);
        }
        self.send(from, out);
        true
    }

    fn request(&mut self, from: u64, frame: &Frame<'_>) -> bool {
        let op = frame.header.op;
        *self.counts.entry(op).or_default() += 1;
        let request = RequestFrame::decode(frame, &LIMITS).unwrap();
        let fate = self.fates.get_mut(&op).and_then(VecDeque::pop_front);
        let executed = match &fate {
            Some(Fate::Cut | Fate::CutAndRestart | Fate::Silent) => None,
            _ => self.execute_once(from, frame, &request),
        };
        match fate {
            Some(Fate::Cut | Fate::DoAndCut) => return false,
            Some(Fate::CutAndRestart | Fate::DoCutAndRestart) => {
                self.begin_anew();
                return false;
            }
            Some(Fate::ChangeBehind(value)) => {
                let get: cache::Get<'_> = decode_all(request.body).unwrap();
                self.write(get.key.0, value.to_vec());
            }
            Some(Fate::Silent) | None => {}
        }
        if let Some(payload) = executed {
            let header = Header { kind: Kind::Res, flags: 0, ..frame.header };
            let mut out = Vec::new();
            put_fragments(header, &payload, FRAGMENT_LEN, &mut out);
            self.send(from, out);
        }
        true
    }

    fn execute_once(
        &mut self,
        from: u64,
        frame: &Frame<'_>,
        request: &RequestFrame<'_>,
    ) -> Option<Vec<u8>> {
        if let Some(known) = request.ext.idem.and_then(|tag| self.answers.get(&tag)) {
            return Some(known.clone());
        }
        let payload = self.execute(from, frame, request);
        if let (Some(tag), Some(payload)) = (request.ext.idem, &payload) {
            self.answers.insert(tag, payload.clone());
        }
        payload
    }

    fn execute(
        &mut self,
        from: u64,
        frame: &Frame<'_>,
        request: &RequestFrame<'_>,
    ) -> Option<Vec<u8>> {
        let body = request.body;
        let name = usize::try_from(request.object).unwrap().checked_sub(1);
        let name = name.and_then(|at| self.objects.get(at)).map(String::as_str);
        self.wrong_numbers += usize::from(name == Some("somebody else's"));
        Some(match frame.header.op {
            conn::Ping::CODE => encoded(&conn::PingReply::Ok {}),
            Resolve::CODE => self.resolve(&decode_all(body).unwrap()),
            cache::Put::CODE => {
                let put: cache::Put<'_> = decode_all(body).unwrap();
                let version = self.write(put.key.0, put.value.bytes().to_vec());
                encoded(&cache::PutReply::Ok { version, prev: None })
            }
            cache::Get::CODE => {
                let get: cache::Get<'_> = decode_all(body).unwrap();
                if let Some((_, keys)) = self.tracks.get_mut(&from) {
                    keys.insert(get.key.0.to_vec());
                }
                match self.entries.get(get.key.0) {
                    None => encoded(&cache::GetReply::NotFound {}),
                    Some((value, version)) => {
                        let (value, version) = (Some(Value::Inline(value)), Some(*version));
                        let entry = Entry { value, version, ..Entry::default() };
                        encoded(&cache::GetReply::Ok { entry })
                    }
                }
            }
            cache::Track::CODE => {
                self.tracks.insert(from, (frame.header, BTreeSet::new()));
                return None;
            }
            counter::Add::CODE => {
                let add: counter::Add<'_> = decode_all(body).unwrap();
                self.counter += add.delta;
                encoded(&counter::AddReply::Ok { value: self.counter })
            }
            counter::Get::CODE => encoded(&counter::GetReply::Ok { value: self.counter }),
            other => panic!("nobody asks for {other:04x}"),
        })
    }

    fn resolve(&mut self, resolve: &Resolve<'_>) -> Vec<u8> {
        let known = self.objects.iter().position(|name| name == resolve.name);
        let at = match known {
            None if !resolve.create => return encoded(&ResolveReply::NotFound {}),
            None => {
                self.objects.push(resolve.name.to_owned());
                self.objects.len() - 1
            }
            Some(at) => at,
        };
        let id = u32::try_from(at + 1).unwrap();
        encoded(&ResolveReply::Ok { id, props: Json::EMPTY, permissions: 127 })
    }

    /// Writes an entry, and tells those who have read it.
    fn write(&mut self, key: &[u8], value: Vec<u8>) -> u64 {
        self.version += 1;
        self.entries.insert(key.to_vec(), (value, self.version));
        let mut told = Vec::new();
        for (connection, (header, keys)) in &mut self.tracks {
            if keys.remove(key) {
                told.push((*connection, Header { kind: Kind::Item, flags: 0, ..*header }));
            }
        }
        for (connection, header) in told {
            let kind = cache::TrackedKind::Invalidate;
            let item = cache::Tracked { kind, segment: 0, seq: self.version, key };
            let mut out = Vec::new();
            put_items(header, &[item], &isogrid_wire::native::Nothing {}, &mut out);
            self.send(connection, out);
        }
        self.version
    }
}

fn encoded<'a>(answer: &impl Answer<'a>) -> Vec<u8> {
    let mut framed = Vec::new();
    put_reply(Header::new(Kind::Res, 0, 1, 0), &ReplyExt::default(), answer, &mut framed);
    framed.split_off(HEADER_LEN)
}
