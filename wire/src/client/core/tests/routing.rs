//! Requests for keys go to the members that serve them, as far as those can be reached.

use super::super::hash;
use super::super::{
    Action, By, CallId, Channel, Core, Event, LinkId, Moment, Request, Routing, Settings,
};
use super::network::ms;
use super::scripted::{ended, headers, settings};
use super::server::{body, encoded};
use crate::client::error::Cause;
use crate::native::cache::{Get, GetReply, Put};
use crate::native::catalog::{GetTopology, GetTopologyReply, NewTopology, WatchTopology};
use crate::native::handshake::{Server, Welcome, to_payload};
use crate::native::preface::{ClientPreface, ServerPreface};
use crate::native::schema::Repeat;
use crate::native::topology::{CLUSTER_OBJECTS, TopologyCache, TopologyMember, TopologyTable};
use crate::native::{
    Call, Frame, Header, Json, Key, Kind, Nothing, ReadOptions, WriteOptions, put_items,
};

/// A cache of the cluster.
const OBJECT: u32 = CLUSTER_OBJECTS + 5;

/// A client of three members, and what servers say to it.
struct Grid {
    core: Core,
    now: Moment,
    /// The epoch in the frames of all servers.
    epoch: u32,
    actions: Vec<Action>,
}

impl Grid {
    fn new(routing: bool) -> Grid {
        let settings = Settings { routing, ..settings(&["m1:1"]) };
        let mut grid =
            Grid { core: Core::new(settings), now: ms(0), epoch: 7, actions: Vec::new() };
        grid.step(Event::Tick);
        grid.ready(1, Some(1));
        grid
    }

    /// One that has the table: segment 0 and 1 are served by member 1, 2 by member 2, 3 by member 3.
    fn with_table() -> Grid {
        let mut grid = Grid::new(true);
        assert_eq!(grid.topics(1), [GetTopology::CODE]);
        grid.tell_table(1, 1, 7, &[(2, 1), (1, 2), (1, 3)]);
        assert_eq!(grid.topics(1), [WatchTopology::CODE], "each other one is to be told");
        grid
    }

    fn step(&mut self, event: Event<'_>) {
        self.actions.clear();
        self.core.step(self.now, event, &mut self.actions);
    }

    fn ready(&mut self, link: LinkId, member: Option<u64>) {
        self.step(Event::Connected(link, Channel::default()));
        let preface = ServerPreface::answer(ClientPreface::OURS).encode();
        let server = Server { life: format!("life{member:?}"), member, ..Server::default() };
        let epoch = (u64::from(self.epoch) | 1 << 32).to_string();
        let payload = to_payload(&Welcome { server, epoch, ..Welcome::default() });
        let mut bytes = preface.to_vec();
        Header::control(Kind::Welcome, 0, 0).encode(payload.len(), &mut bytes);
        bytes.extend(payload);
        self.step(Event::Received(link, &bytes));
    }

    /// Asks for the key of a segment, to read it or not; over which connection it goes.
    fn ask(&mut self, id: CallId, segment: u64, writes: bool) -> LinkId {
        let key = Key(b"k");
        let (op, repeat, body) = if writes {
            let put = Put {
                key,
                value: crate::native::Value::Inline(b"v"),
                write: WriteOptions::default(),
            };
            (Put::CODE, Repeat::Idempotent, body(&put))
        } else {
            (Get::CODE, Repeat::Read, body(&Get { key, read: ReadOptions::default() }))
        };
        let (by, timeout) = (By::Hash(segment), Some(ms(10_000)));
        let request =
            Request { op, repeat, by, object: OBJECT, body, timeout, ..Request::nothing() };
        self.step(Event::Call(id, Box::new(request)));
        (1..20).find(|link| self.topics(*link).contains(&op)).expect("it is sent at once")
    }

    /// Operations of the requests that go out over a connection.
    fn topics(&self, over: LinkId) -> Vec<u16> {
        let all = headers(&self.actions, over).into_iter();
        all.filter(|header| header.kind == Kind::Req).map(|header| header.op).collect()
    }

    fn answer(&mut self, link: LinkId, op: u16, stream: u32, payload: &[u8]) {
        let header = Header::new(Kind::Res, op, stream, self.epoch);
        let mut bytes = Vec::new();
        Frame { header, payload }.encode(&mut bytes);
        self.step(Event::Received(link, &bytes));
    }

    fn tell_table(&mut self, link: LinkId, stream: u32, epoch: u32, primaries: &[(u32, u64)]) {
        let text = Grid::table(epoch, primaries);
        let payload = encoded(&GetTopologyReply::Ok { table: Json(&text) });
        self.answer(link, GetTopology::CODE, stream, &payload);
    }

    /// The same without being asked.
    fn tell_new_table(&mut self, link: LinkId, stream: u32, epoch: u32, primaries: &[(u32, u64)]) {
        let text = Grid::table(epoch, primaries);
        let header = Header::new(Kind::Item, WatchTopology::CODE, stream, self.epoch);
        let (mut bytes, items) = (Vec::new(), [NewTopology { table: Json(&text) }]);
        put_items(header, &items, &Nothing {}, &mut bytes);
        self.step(Event::Received(link, &bytes));
    }

    fn table(epoch: u32, primaries: &[(u32, u64)]) -> String {
        let member = |member| TopologyMember { member, endpoint: format!("m{member}:1") };
        let primaries = primaries.to_vec();
        let cache = TopologyCache { object: OBJECT, primaries, ..TopologyCache::default() };
        let table = TopologyTable {
            epoch: epoch.to_string(),
            members: [1, 2, 3].map(member).into(),
            caches: vec![cache],
            ..TopologyTable::default()
        };
        serde_json::to_string(&table).unwrap()
    }

    fn connects(&self) -> Vec<(LinkId, &str)> {
        let mut all = Vec::new();
        for action in &self.actions {
            if let Action::Connect(link, address) = action {
                all.push((*link, address.as_str()));
            }
        }
        all
    }

    fn counts(&self) -> (u64, u64) {
        let Routing { direct, passed_on, .. } = self.core.routing();
        (direct, passed_on)
    }
}

const MISS: &[u8] = &[1];
const NOTHING: [u16; 0] = [];

#[test]
fn a_request_goes_to_its_member_as_soon_as_there_is_a_connection() {
    let mut grid = Grid::with_table();
    assert_eq!(grid.ask(1, 0, false), 1);
    assert_eq!(grid.connects(), [], "the one that there is leads there");
    assert_eq!(grid.ask(2, 2, true), 1, "it does not wait");
    assert_eq!(grid.connects(), [(2, "m2:1")]);
    assert_eq!(grid.ask(3, 2, true), 1);
    assert_eq!(grid.connects(), [], "one is being made");
    grid.ready(2, Some(2));
    assert_eq!(grid.ask(4, 2, true), 2);
    assert_eq!(grid.ask(5, 1, true), 1);
    assert_eq!(grid.counts(), (3, 2));
    grid.answer(2, Put::CODE, 1, &encoded(&GetReply::NotFound {}));
    assert_eq!(ended(&grid.actions), [(4, None)]);
}

#[test]
fn another_epoch_has_the_table_fetched_once_and_from_who_spoke_of_it() {
    let mut grid = Grid::with_table();
    grid.ask(1, 2, false);
    grid.ready(2, Some(2));
    grid.ask(2, 2, false);
    grid.ask(3, 2, false);
    grid.epoch = 8;
    grid.now += ms(30);
    grid.answer(2, Get::CODE, 1, MISS);
    assert_eq!(grid.topics(2), NOTHING, "at most ten times a second");
    grid.now += ms(70);
    grid.answer(2, Get::CODE, 2, MISS);
    assert_eq!((grid.topics(1), grid.topics(2)), (vec![], vec![GetTopology::CODE]));
    assert_eq!(grid.ask(4, 2, false), 2, "nobody waits for it");
    grid.tell_table(2, 3, 8, &[(4, 1)]);
    assert_eq!(grid.ask(5, 2, false), 1);
    grid.now += ms(150);
    grid.answer(2, Get::CODE, 4, MISS);
    assert_eq!(grid.topics(2), NOTHING, "it is known");
}

#[test]
fn who_knows_nothing_newer_is_not_asked_all_the_time() {
    let mut grid = Grid::with_table();
    grid.now += ms(100);
    (1..=3).for_each(|id| assert_eq!(grid.ask(id, 0, false), 1));
    grid.epoch = 6;
    grid.answer(1, Get::CODE, 3, MISS);
    assert_eq!(grid.topics(1), [GetTopology::CODE], "another one; nobody knows which is newer");
    grid.epoch = 7;
    grid.answer(1, GetTopology::CODE, 6, &encoded(&GetTopologyReply::Unchanged {}));
    grid.now += ms(1_000);
    grid.answer(1, Get::CODE, 4, MISS);
    assert_eq!(grid.topics(1), NOTHING);
    assert_eq!(grid.core.routing().epoch, 7);
}

/// The one that answered first is lost: another member takes its place at once, and is asked for all.
#[test]
fn a_member_that_is_gone_is_replaced_by_one_that_is_there() {
    let mut grid = Grid::with_table();
    grid.ask(1, 2, false);
    grid.ready(2, Some(2));
    grid.ask(2, 0, true);
    grid.step(Event::Lost(1));
    let again = [Get::CODE, Put::CODE, WatchTopology::CODE];
    assert_eq!(grid.topics(2), again, "what the other was asked");
    assert_eq!(grid.connects(), [], "after a pause");
    grid.now += ms(150);
    assert_eq!(grid.ask(3, 0, true), 2);
    assert_eq!(grid.connects(), [(3, "m1:1")]);
    grid.step(Event::Lost(3));
    grid.now += ms(50);
    assert_eq!(grid.ask(4, 0, true), 2);
    assert_eq!(grid.connects(), [], "pauses grow");
    grid.epoch = 8;
    grid.answer(2, Get::CODE, 1, MISS);
    grid.tell_table(2, 6, 8, &[(2, 3), (1, 2), (1, 3)]);
    assert_eq!(grid.ask(5, 0, true), 2);
    assert_eq!(grid.connects(), [(4, "m3:1")]);
}

/// A client that asks for nothing knows each new table, and what waits for a member that was replaced
/// is asked of the other one.
#[test]
fn a_new_table_is_known_without_being_asked_for() {
    let mut grid = Grid::with_table();
    grid.ask(1, 2, false);
    grid.ready(2, Some(2));
    assert_eq!(grid.ask(2, 2, false), 2);
    grid.now += ms(50);
    grid.epoch = 8;
    grid.tell_new_table(1, 2, 8, &[(4, 1)]);
    assert_eq!(grid.core.routing().epoch, 8);
    assert_eq!(grid.topics(1), [Get::CODE], "nothing else is asked");
    let credits =
        headers(&grid.actions, 1).into_iter().filter(|header| header.kind == Kind::Credit);
    assert_eq!(credits.map(|header| header.stream).collect::<Vec<_>>(), [2]);
    grid.step(Event::Lost(1));
    assert!(grid.topics(2).contains(&WatchTopology::CODE), "of the one that is left");
    grid.epoch = 9;
    let watch =
        headers(&grid.actions, 2).into_iter().find(|h| h.op == WatchTopology::CODE).unwrap();
    grid.tell_new_table(2, watch.stream, 9, &[(4, 2)]);
    assert_eq!(grid.core.routing().epoch, 9);
}

/// What means something on one connection alone is not sent over any other one: not to the member that
/// serves its key, and not when that connection is gone.
#[test]
fn a_request_of_one_connection_goes_over_no_other_one() {
    let mut grid = Grid::with_table();
    grid.ask(1, 2, false);
    grid.ready(2, Some(2));
    let get = |over| {
        let body = body(&Get { key: Key(b"k"), read: ReadOptions::default() });
        let (op, by) = (Get::CODE, By::Hash(2));
        let request = Request { op, by, over, object: OBJECT, body, ..Request::nothing() };
        Box::new(request)
    };
    grid.step(Event::Call(2, get(Some(1))));
    assert_eq!((grid.topics(1), grid.topics(2)), (vec![Get::CODE], vec![]));
    grid.step(Event::Lost(1));
    assert_eq!(ended(&grid.actions), [(2, Some(Cause::Disconnected))]);
    grid.step(Event::Call(3, get(Some(1))));
    assert_eq!(ended(&grid.actions), [(3, Some(Cause::Disconnected))]);
    grid.step(Event::Call(4, get(None)));
    assert_eq!(grid.topics(2), [Get::CODE]);
}

/// One of an earlier release is not asked again, and frames tell of new tables as ever.
#[test]
fn a_server_that_tells_of_no_tables_is_asked_for_them() {
    let mut grid = Grid::with_table();
    let unsupported = [0x03, 0xeb, 0, 0, 0, 0, 0, 0, 0];
    let header = Header::new(Kind::Err, WatchTopology::CODE, 2, 7);
    let mut bytes = Vec::new();
    Frame { header, payload: &unsupported }.encode(&mut bytes);
    grid.step(Event::Received(1, &bytes));
    assert_eq!((grid.topics(1), ended(&grid.actions)), (vec![], vec![]));
    grid.now += ms(100);
    assert_eq!(grid.ask(1, 0, false), 1);
    grid.epoch = 8;
    grid.answer(1, Get::CODE, 3, MISS);
    assert_eq!(grid.topics(1), [GetTopology::CODE]);
    grid.tell_table(1, 4, 8, &[(4, 1)]);
    assert_eq!(grid.topics(1), NOTHING);
}

/// One that is paused keeps its connections, and answers nothing.
#[test]
fn reads_do_not_wait_for_a_member_that_was_replaced() {
    let mut grid = Grid::with_table();
    grid.ask(1, 2, false);
    grid.ready(2, Some(2));
    assert_eq!((grid.ask(2, 2, false), grid.ask(3, 2, true)), (2, 2));
    grid.epoch = 8;
    grid.now += ms(99);
    grid.answer(1, Get::CODE, 3, MISS);
    grid.now += ms(1);
    grid.step(Event::Tick);
    assert_eq!(grid.topics(1), [GetTopology::CODE]);
    grid.tell_table(1, 4, 8, &[(4, 1)]);
    assert_eq!(grid.topics(1), [Get::CODE], "the write waits: it may have been done");
    assert_eq!(headers(&grid.actions, 2).last().unwrap().kind, Kind::Cancel);
    grid.answer(1, Get::CODE, 5, MISS);
    assert_eq!(ended(&grid.actions), [(2, None)]);
    assert_eq!(grid.core.unfinished(), 1);
}

/// The copies of its key know what became of a write with a tag.
#[test]
fn writes_with_tags_do_not_wait_for_a_member_that_was_replaced() {
    let mut grid = Grid::with_table();
    grid.ask(1, 2, false);
    grid.ready(2, Some(2));
    let key = (0..100_u8).find(|key| hash(&[*key]) % 4 == 2).unwrap();
    let put = Put {
        key: Key(&[key]),
        value: crate::native::Value::Inline(b"v"),
        write: WriteOptions::default(),
    };
    let (op, repeat, by, tagged) = (Put::CODE, Repeat::Idempotent, By::Key, true);
    let (body, timeout) = (body(&put), Some(ms(10_000)));
    let about = Request { op, repeat, by, tagged, body, timeout, ..Request::nothing() };
    grid.step(Event::Call(2, Box::new(Request { object: OBJECT, ..about })));
    assert_eq!(grid.topics(2), [Put::CODE]);
    grid.epoch = 8;
    grid.now += ms(99);
    grid.answer(1, Get::CODE, 3, MISS);
    grid.now += ms(1);
    grid.step(Event::Tick);
    grid.tell_table(1, 4, 8, &[(4, 1)]);
    assert_eq!(grid.topics(1), [Put::CODE]);
    assert_eq!(headers(&grid.actions, 2).last().unwrap().kind, Kind::Cancel);
}

/// Behind a translation of addresses, or one address for all members.
#[test]
fn an_address_that_leads_elsewhere_is_left_and_nobody_suffers() {
    let mut grid = Grid::with_table();
    assert_eq!(grid.ask(1, 2, true), 1);
    for (link, pause) in [(2, 200), (3, 400), (4, 800)] {
        grid.ready(link, Some(1));
        assert_eq!(grid.actions.first(), Some(&Action::Close(link)));
        assert_eq!(ended(&grid.actions), []);
        assert_eq!(grid.ask(link * 10, 2, true), 1);
        assert_eq!(grid.connects(), []);
        grid.now += ms(pause);
        grid.answer(
            1,
            Put::CODE,
            u32::try_from(2 * link).unwrap() - 1,
            &encoded(&GetReply::NotFound {}),
        );
        assert_eq!(grid.ask(link * 10 + 1, 2, true), 1);
        assert_eq!(grid.connects(), [(link + 1, "m2:1")]);
    }
    assert_eq!(grid.counts(), (0, 7));
}

#[test]
fn nothing_is_routed_where_that_is_switched_off_or_not_known() {
    let mut grid = Grid::new(false);
    assert_eq!(grid.topics(1), NOTHING);
    assert_eq!((grid.ask(1, 2, true), grid.counts()), (1, (0, 0)));
    let mut grid = Grid::new(true);
    let unsupported = [0x03, 0xeb, 0, 0, 0, 0, 0, 0, 0];
    let header = Header::new(Kind::Err, GetTopology::CODE, 1, 7);
    let mut bytes = Vec::new();
    Frame { header, payload: &unsupported }.encode(&mut bytes);
    grid.step(Event::Received(1, &bytes));
    grid.now += ms(100_000);
    assert_eq!(grid.core.next_tick(), Some(ms(100)), "the sign of life alone");
    assert_eq!(ended(&grid.actions), Vec::<(CallId, Option<Cause>)>::new());
}
