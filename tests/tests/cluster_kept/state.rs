//! One of everything, each at rest: what is known of it, and what it has to be when the cluster has
//! come again.

use std::time::{Duration, Instant};

use isogrid_tests::harness::Native;
use isogrid_tests::harness::native::{COUNTERS, LOCKS};
use isogrid_tests::queues::{id_of, one, stat, text};
use isogrid_tests::sessions::{id, loaded, set, start, texts};
use isogrid_wire::client::queue::{Delivery, Message, Published, Settled};
use isogrid_wire::client::session::{Change, Saved, Sessions};
use isogrid_wire::client::topic::{From, Topic};
use isogrid_wire::client::{Client, Queue};
use isogrid_wire::native::ErrorCode;
use serde_json::{Value, json};

use super::Kept;

const NOW: Duration = Duration::ZERO;
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a consumer has for a message: it is in flight when the cluster comes again.
const VISIBLE: &str = "25s";
/// A message waits for longer than the cluster takes to come again.
const DELAY: Duration = Duration::from_secs(20);
/// How much larger tokens and ids of a later epoch are, at least.
const EPOCH: u64 = 1 << 39;

/// What is known.
pub struct State {
    /// What was counted.
    count: i64,
    /// The lease and the token under which the lock is held.
    held: (Value, u64),
    /// The id of the message that was published with a name of its own.
    named: u64,
    /// How many messages of the topic its group is done with.
    read: usize,
    news: Vec<u64>,
    /// The session's version.
    version: u64,
    rounds: usize,
}

async fn native(kept: &Kept, node: usize) -> Native {
    let address = kept.dev().native_address(node);
    // It waits for its answers without giving others a turn.
    let begin = || Native::begin(isogrid_tests::harness::Server::connect_to(&address), &json!({}));
    tokio::task::block_in_place(begin)
}

fn call(client: &mut Native, op: &str, object: u64, body: Value, ext: &Value) -> Value {
    tokio::task::block_in_place(|| client.call_with(op, object, body, ext))
}

fn count(client: &mut Native, op: &str, delta: i64) -> i64 {
    let mut body = json!({"name": "of all"});
    if op == "counter.ADD" {
        body["delta"] = delta.to_string().into();
    }
    let answer = call(client, op, COUNTERS, body, &json!({}));
    assert_eq!(answer[0], "OK", "{answer}");
    answer[1]["value"].as_str().unwrap().parse().unwrap()
}

fn lease(client: &mut Native) -> Value {
    let body = json!({"ttl": 600_000, "info": "{}"});
    let granted = call(client, "lease.LEASE_GRANT", LOCKS, body, &json!({}));
    assert_eq!(granted[0], "OK", "{granted}");
    granted[1]["lease"].clone()
}

fn lock(client: &mut Native, lease: &Value) -> Value {
    let body = json!({"key": "l", "mode": "EXCLUSIVE", "wait": 0});
    call(client, "lease.LOCK", LOCKS, body, &json!({"ext": {"lease": lease}}))
}

fn unlock(client: &mut Native, fence: u64) -> Value {
    let body = json!({"key": "l", "fence": fence.to_string()});
    call(client, "lease.UNLOCK", LOCKS, body, &json!({}))
}

fn token(answer: &Value) -> u64 {
    assert_eq!(answer[0], "OK", "{answer}");
    answer[1]["fence"].as_str().unwrap().parse().unwrap()
}

/// Whether a write under a token is done.
fn is_fenced(client: &mut Native, fence: u64) -> bool {
    let fence = json!({"object": LOCKS, "key": "l", "token": fence.to_string()});
    let body = json!({"name": "guarded", "delta": "1"});
    let answer = call(client, "counter.ADD", COUNTERS, body, &json!({"ext": {"fence": fence}}));
    answer == json!(["ERR", "FENCED"])
}

async fn jobs(client: &Client) -> Queue {
    client.queue_with("jobs", &json!({"visible": VISIBLE})).await.unwrap()
}

async fn pulled(queue: &Queue, n: u16) -> Vec<Delivery> {
    let got = queue.pull(n, Duration::from_secs(10)).await.unwrap();
    assert_eq!(got.len(), usize::from(n));
    got
}

fn named() -> Message {
    Message::new("named").dedup("named").delay(Duration::from_secs(3_600))
}

impl State {
    /// Makes one of everything.
    pub async fn begin(kept: &Kept) -> State {
        let client = kept.client(0, PATIENCE).await;
        let mut native = native(kept, 1).await;
        let of = lease(&mut native);
        let fence = token(&lock(&mut native, &of));
        let count = count(&mut native, "counter.ADD", 40);
        let named = id_of(jobs(&client).await.publish(&named()).await.unwrap());
        let news = client.topic("news").await.unwrap();
        news.group("g", From::First).await.unwrap();
        let web = client.sessions("web").await.unwrap();
        for number in [1, 2] {
            let start = start().set("user", "ann").found_by("user:ann");
            web.create(&id(number), &start).await.unwrap().unwrap();
        }
        let version = set(&web, 1, "cart", "0").await;
        assert!(web.destroy(&id(2), "logout").await.unwrap());
        let (held, news) = ((of, fence), Vec::new());
        let mut state = State { count, held, named, read: 0, news, version, rounds: 0 };
        state.moves_on(&client).await;
        state
    }

    /// All is as it was, and goes on.
    pub async fn goes_on(&mut self, kept: &Kept) {
        self.rounds += 1;
        let client = kept.client(self.rounds % 3, PATIENCE).await;
        let mut native = native(kept, (self.rounds + 1) % 3).await;
        assert_eq!(count(&mut native, "counter.GET", 0), self.count);
        self.count = count(&mut native, "counter.ADD", 2);
        self.lock_is_held(&mut native);
        self.queue_is_there(&jobs(&client).await).await;
        self.topic_is_there(&client.topic("news").await.unwrap()).await;
        self.sessions_are_there(&client.sessions("web").await.unwrap()).await;
        self.moves_on(&client).await;
    }

    /// Its holder has it still, under the token that it knows; who comes next has a larger one.
    fn lock_is_held(&mut self, native: &mut Native) {
        let (of, before) = self.held.clone();
        let other = lease(native);
        assert_eq!(lock(native, &other)[0], "NOT_STORED");
        assert!(!is_fenced(native, before));
        let alive = call(native, "lease.KEEPALIVE", LOCKS, json!({"leases": [of]}), &json!({}));
        assert_eq!(alive[0], "OK", "{alive}");
        assert_eq!(unlock(native, before)[0], "OK");
        let next = token(&lock(native, &other));
        assert!(next > before + EPOCH, "{next} after {before}");
        assert!(is_fenced(native, before));
        self.held = (other, next);
    }

    /// What is in it before an end: two that are done, one in flight, one that is late, one that is
    /// ready, and a topic's group that has read on.
    async fn moves_on(&mut self, client: &Client) {
        let jobs = jobs(client).await;
        for body in ["done", "done", "held", "ready"] {
            jobs.publish(&Message::new(body)).await.unwrap();
        }
        for delivery in pulled(&jobs, 2).await {
            assert_eq!((text(&delivery), delivery.ack().await.unwrap()), ("done", Settled::Done));
        }
        assert_eq!(text(&one(&jobs).await), "held");
        jobs.publish(&Message::new("late").delay(DELAY)).await.unwrap();
        let news = client.topic("news").await.unwrap();
        for n in 0..5 {
            self.news.push(id_of(news.publish(&Message::new(n.to_string())).await.unwrap()));
        }
        let group = news.group("g", From::First).await.unwrap();
        for delivery in pulled(&group, 3).await {
            assert_eq!(delivery.id, self.news[self.read]);
            assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
            self.read += 1;
        }
    }

    async fn queue_is_there(&mut self, jobs: &Queue) {
        let begin = Instant::now();
        assert_eq!(jobs.publish(&named()).await.unwrap(), Published::Duplicate(self.named));
        let mut came = Vec::new();
        while came.len() < 3 {
            for delivery in jobs.pull(1, Duration::from_secs(40)).await.unwrap() {
                came.push((text(&delivery).to_owned(), delivery.attempt));
                assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
            }
        }
        println!("{came:?} within {:?}", begin.elapsed());
        came.sort();
        let expected = [("held", 2), ("late", 1), ("ready", 1)];
        assert!(came.iter().map(|(body, attempt)| (&**body, *attempt)).eq(expected), "{came:?}");
        assert!(jobs.pull(1, NOW).await.unwrap().is_empty(), "what was done is not done again");
        assert_eq!(stat(jobs, "delayed").await, 1, "the one with a name");
    }

    /// What the group had acknowledged it does not get again.
    async fn topic_is_there(&mut self, news: &Topic) {
        let group = news.group("g", From::First).await.unwrap();
        let left = self.news.len() - self.read;
        for delivery in pulled(&group, u16::try_from(left).unwrap()).await {
            assert_eq!((delivery.id, delivery.attempt), (self.news[self.read], 1));
            assert_eq!(delivery.ack().await.unwrap(), Settled::Done);
            self.read += 1;
        }
        let page = news.read(From::First, 64, NOW).await.unwrap();
        assert!(page.messages.iter().map(|one| one.id).eq(self.news.iter().copied()));
    }

    /// One is as it was saved, and its clock has gone on; one stays destroyed.
    async fn sessions_are_there(&mut self, web: &Sessions) {
        let session = loaded(web, 1).await;
        assert_eq!(session.version, self.version);
        let cart = (self.rounds - 1).to_string();
        let expected = [("cart".to_owned(), cart), ("user".to_owned(), "ann".to_owned())];
        assert_eq!(texts(&session), expected);
        assert!(session.left.unwrap() <= Duration::from_secs(1_800));
        self.version = set(web, 1, "cart", &self.rounds.to_string()).await;
        assert!(self.version > session.version);
        assert_eq!(web.load(&id(2)).await.unwrap(), None);
        let late = web.save(&id(2), &Change::default().set("cart", "4")).await;
        match late {
            Err(late) => assert_eq!(late.code(), Some(ErrorCode::SessionGone), "{late}"),
            Ok(late) => assert_eq!(late, Saved::Gone),
        }
        assert_eq!(web.create(&id(2), &start()).await.unwrap(), None, "it has a tombstone");
        let found = web.find("user:ann").await.unwrap();
        assert_eq!(found.iter().map(|one| &*one.id).collect::<Vec<_>>(), [id(1)]);
    }
}
