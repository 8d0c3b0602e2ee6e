//! A server of a simulation: the server's half of the codec over a ledger of what was executed.

use std::collections::BTreeMap;

use super::super::backoff::Random;
use crate::native::cache::{Get, GetReply, Put, PutReply, Scan, ScanReply, ScanTrailer};
use crate::native::catalog::{GetTopology, GetTopologyReply, NewTopology, WatchTopology};
use crate::native::counter::{Add, AddReply};
use crate::native::handshake::{self, Welcome, to_payload};
use crate::native::preface::{ClientPreface, PREFACE_LEN, ServerPreface};
use crate::native::topology::{
    CLUSTER_OBJECTS, TopologyCache, TopologyMember, TopologyTable, is_of_cluster,
};
use crate::native::{
    Answer, Call, Codec, Entry, ErrorBody, ErrorCode, Frame, Header, Json, Kind, Limits, List,
    Nothing, ReplyExt, RequestFrame, Retry, control, decode_all, put_error, put_items, put_reply,
};

/// What servers do wrong, each in so many of a thousand requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trouble {
    pub refuse: u64,
    pub cut: u64,
    pub silent: u64,
    pub go_away: u64,
}

/// What becomes of a connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Open,
    /// It is cut once what was answered is on its way.
    Cut,
}

#[derive(Debug)]
pub struct Server {
    name: &'static str,
    pub up: bool,
    /// Counts starts; answers to tags are forgotten with each.
    pub life: u64,
    pub trouble: Trouble,
    /// The topology epoch: the table of who serves what is made of it.
    pub epoch: u32,
    answers: BTreeMap<u64, Vec<u8>>,
}

/// What is known over all lives and servers.
#[derive(Debug, Default)]
pub struct Ledger {
    /// How often each request was executed.
    pub executed: BTreeMap<u64, u32>,
    /// Answers that copies keep, by their tags.
    answers: BTreeMap<u64, Vec<u8>>,
}

/// The other end of a connection.
#[derive(Debug)]
pub struct Peer {
    pub server: usize,
    pub life: u64,
    input: Vec<u8>,
    greeted: bool,
}

impl Peer {
    pub fn new(server: usize, life: u64) -> Self {
        Peer { server, life, input: Vec::new(), greeted: false }
    }
}

/// Codes of each retry class, those of later releases among them.
const REFUSALS: [(u16, Retry, bool); 11] = [
    (ErrorCode::Overloaded as u16, Retry::Same, false),
    (ErrorCode::DeadlineExceeded as u16, Retry::Same, false),
    (ErrorCode::NotReady as u16, Retry::Other, false),
    (ErrorCode::Corrupt as u16, Retry::Other, false),
    (ErrorCode::NotANumber as u16, Retry::Never, false),
    (ErrorCode::Internal as u16, Retry::Unknown, true),
    (ErrorCode::Internal as u16, Retry::Unknown, false),
    (60_000, Retry::Never, false),
    (60_001, Retry::Same, false),
    (60_002, Retry::Other, false),
    (60_003, Retry::Unknown, true),
];

impl Server {
    pub fn new(name: &'static str) -> Self {
        let (trouble, answers) = (Trouble::default(), BTreeMap::new());
        Server { name, up: false, life: 0, trouble, epoch: 9, answers }
    }

    pub fn start(&mut self) {
        self.up = true;
        self.life += 1;
        self.answers.clear();
    }

    /// Takes bytes of a connection and appends what is answered.
    pub fn receive(
        &mut self,
        peer: &mut Peer,
        bytes: &[u8],
        ledger: &mut Ledger,
        random: &mut Random,
        out: &mut Vec<u8>,
    ) -> Verdict {
        peer.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut peer.input);
        let mut rest = input.as_slice();
        if !peer.greeted {
            let Some(preface) = ClientPreface::decode(rest).unwrap() else {
                peer.input = input;
                return Verdict::Open;
            };
            peer.greeted = true;
            rest = &rest[PREFACE_LEN..];
            out.extend(ServerPreface::answer(preface).encode());
        }
        while let Some(frame) = Frame::decode(rest, &Limits::default()).unwrap() {
            rest = &rest[frame.encoded_len()..];
            if self.frame(&frame, ledger, random, out) == Verdict::Cut {
                return Verdict::Cut;
            }
        }
        peer.input = rest.to_vec();
        Verdict::Open
    }

    fn frame(
        &mut self,
        frame: &Frame<'_>,
        ledger: &mut Ledger,
        random: &mut Random,
        out: &mut Vec<u8>,
    ) -> Verdict {
        match frame.header.kind {
            Kind::Hello => self.welcome(out),
            Kind::Ping => {
                Frame { header: Header { kind: Kind::Pong, ..frame.header }, ..*frame }.encode(out)
            }
            Kind::Req => return self.request(frame, ledger, random, out),
            // Whatever it is about was answered, or never will be.
            Kind::Cancel | Kind::Credit | Kind::Pong => {}
            other => panic!("a client does not send {other:?}"),
        }
        Verdict::Open
    }

    /// Who serves what: another one in each epoch. Some segments nobody serves, some addresses lead to
    /// another member, or to nobody.
    fn table(&self) -> String {
        let epoch = u64::from(self.epoch);
        let endpoint = |member: u64| match (epoch + member) % 7 {
            5 => "nobody:1",
            6 => "a:1",
            _ if member == 1 => "a:1",
            _ => "b:1",
        };
        let member = |member| TopologyMember { member, endpoint: endpoint(member).to_owned() };
        let cache = |object| TopologyCache {
            object,
            primaries: (0..8).map(|segment| (1, (epoch + segment) % 5 % 3)).collect(),
            reads: if epoch % 3 == 0 { TopologyCache::ANY } else { TopologyCache::PRIMARY }.into(),
            ..TopologyCache::default()
        };
        let table = TopologyTable {
            epoch: epoch.to_string(),
            members: [1, 2].map(member).into(),
            caches: [1, CLUSTER_OBJECTS].map(cache).into(),
            ..TopologyTable::default()
        };
        serde_json::to_string(&table).unwrap()
    }

    fn welcome(&self, out: &mut Vec<u8>) {
        let life = format!("{}{}", self.name, self.life);
        let member = Some(if self.name == "a" { 1 } else { 2 });
        let server = handshake::Server { life, member, ..Default::default() };
        let payload = to_payload(&Welcome { server, ..Default::default() });
        Header::control(Kind::Welcome, 0, self.epoch).encode(payload.len(), out);
        out.extend(payload);
    }

    fn request(
        &mut self,
        frame: &Frame<'_>,
        ledger: &mut Ledger,
        random: &mut Random,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let request = RequestFrame::decode(frame, &Limits::default()).unwrap();
        let Trouble { refuse, cut, silent, go_away } = self.trouble;
        let drawn = random.number() % 1_000;
        if drawn < refuse {
            return self.refuse(frame, &request, ledger, random, out);
        }
        let (drawn, coin) = (drawn - refuse, random.number().is_multiple_of(2));
        let mut nobody = Vec::new();
        match drawn {
            _ if drawn < cut => {
                if coin {
                    self.execute(frame, &request, ledger, &mut nobody);
                }
                return Verdict::Cut;
            }
            _ if drawn < cut + silent => {
                if coin {
                    self.execute(frame, &request, ledger, &mut nobody);
                }
            }
            _ if drawn < cut + silent + go_away => {
                let away = control::GoAway {
                    reason: 1,
                    drain_ms: 100,
                    message: "",
                    alternatives: List::of(&["b:1"]),
                };
                control::put_control(Header::control(Kind::GoAway, 0, 0), &away, out);
                self.execute(frame, &request, ledger, out);
            }
            _ => self.execute(frame, &request, ledger, out),
        }
        Verdict::Open
    }

    fn refuse(
        &mut self,
        frame: &Frame<'_>,
        request: &RequestFrame<'_>,
        ledger: &mut Ledger,
        random: &mut Random,
        out: &mut Vec<u8>,
    ) -> Verdict {
        let which = usize::try_from(random.number()).unwrap() % REFUSALS.len();
        let (code, retry, executed) = REFUSALS[which];
        if executed {
            self.execute(frame, request, ledger, &mut Vec::new());
        }
        let error =
            ErrorBody { code, retry, retry_after_ms: 5, message: "", details: List::of(&[]) };
        let header = Header { kind: Kind::Err, flags: 0, epoch: self.epoch, ..frame.header };
        put_error(header, &ReplyExt::default(), &error, out);
        Verdict::Open
    }

    /// Executes a request, and answers it; one whose tag is known is answered as the first time.
    fn execute(
        &mut self,
        frame: &Frame<'_>,
        request: &RequestFrame<'_>,
        ledger: &mut Ledger,
        out: &mut Vec<u8>,
    ) {
        let header = Header { kind: Kind::Res, flags: 0, epoch: self.epoch, ..frame.header };
        if header.op == WatchTopology::CODE {
            let (table, nothing) = (self.table(), Nothing {});
            let items = [NewTopology { table: Json(&table) }];
            return put_items(Header { kind: Kind::Item, ..header }, &items, &nothing, out);
        }
        let is_kept = is_of_cluster(request.object);
        let answers = if is_kept { &ledger.answers } else { &self.answers };
        let payload = match request.ext.idem.and_then(|tag| answers.get(&tag)) {
            Some(payload) => payload.clone(),
            None if header.op == GetTopology::CODE => {
                encoded(&GetTopologyReply::Ok { table: Json(&self.table()) })
            }
            None => answer(frame, request, ledger, out),
        };
        if let Some(tag) = request.ext.idem {
            let answers = if is_kept { &mut ledger.answers } else { &mut self.answers };
            answers.insert(tag, payload.clone());
        }
        Frame { header, payload: &payload }.encode(out);
    }
}

pub fn encoded<'a>(answer: &impl Answer<'a>) -> Vec<u8> {
    let mut framed = Vec::new();
    put_reply(Header::new(Kind::Res, 0, 1, 0), &ReplyExt::default(), answer, &mut framed);
    framed.split_off(crate::native::HEADER_LEN)
}

/// The answer says the number of the request again.
fn answer(
    frame: &Frame<'_>,
    request: &RequestFrame<'_>,
    ledger: &mut Ledger,
    out: &mut Vec<u8>,
) -> Vec<u8> {
    let number = |text: &[u8]| std::str::from_utf8(text).unwrap().parse::<u64>().unwrap();
    let mut count = |id: u64| *ledger.executed.entry(id).or_default() += 1;
    match frame.header.op {
        Add::CODE => {
            let add: Add<'_> = decode_all(request.body).unwrap();
            let id = number(add.name.as_bytes());
            count(id);
            encoded(&AddReply::Ok { value: i64::try_from(id).unwrap() })
        }
        Put::CODE => {
            let put: Put<'_> = decode_all(request.body).unwrap();
            let version = number(put.key.0);
            count(version);
            encoded(&PutReply::Ok { version, prev: None })
        }
        Get::CODE => {
            let get: Get<'_> = decode_all(request.body).unwrap();
            let entry = Entry { version: Some(number(get.key.0)), ..Entry::default() };
            encoded(&GetReply::Ok { entry })
        }
        Scan::CODE => {
            let scan: Scan<'_> = decode_all(request.body).unwrap();
            let header = Header { kind: Kind::Item, flags: 0, ..frame.header };
            for version in 0..u64::from(scan.credit.min(3)) {
                let entry = Entry { version: Some(version), ..Entry::default() };
                let trailer = ScanTrailer { cursor: b"c", finished: List::of(&[]) };
                put_items(header, &[entry], &trailer, out);
            }
            encoded(&ScanReply::Ended {})
        }
        other => panic!("nobody asks for {other:04x}"),
    }
}

/// The body of a request.
pub fn body<'a>(body: &impl Codec<'a>) -> Vec<u8> {
    let mut bytes = Vec::new();
    body.encode(&mut bytes);
    bytes
}
