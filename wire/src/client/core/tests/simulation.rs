//! Every request ends once, in time, with a result that is true, whatever servers and network do.

use super::super::{By, CallId, Moment, Request};
use super::network::{Happening, World, ms, seeds, within};
use super::server::{Trouble, body};
use crate::client::error::{Cause, Outcome};
use crate::client::handle::decode;
use crate::native::cache::{Get, GetReply, Put, PutReply, Scan};
use crate::native::counter::{Add, AddReply};
use crate::native::schema::Repeat;
use crate::native::topology::CLUSTER_OBJECTS;
use crate::native::{Call, Key, ReadOptions, Value, WriteOptions};

const CALLS: u64 = 120;
const SPAN_MS: u64 = 4_000;
const TIMEOUT_MS: u64 = 1_500;

fn request(id: CallId, repeat: Repeat, tagged: bool, timeout: Moment) -> Request {
    let name = id.to_string();
    let key = Key(name.as_bytes());
    let (read, write) = (ReadOptions::default(), WriteOptions::default());
    let (op, body) = match repeat {
        Repeat::Read => (Get::CODE, body(&Get { key, read })),
        Repeat::Idempotent => (Put::CODE, body(&Put { key, value: Value::Inline(b"v"), write })),
        Repeat::Dedup => (Add::CODE, body(&Add { name: &name, delta: 1 })),
        Repeat::Stream => {
            let (segments, glob, cursor) = (None, None, None);
            (Scan::CODE, body(&Scan { read, segments, glob, batch: 0, cursor, credit: 2 }))
        }
    };
    // Of half of them copies keep the answers.
    let object = if id.is_multiple_of(2) { CLUSTER_OBJECTS } else { 1 };
    Request {
        op,
        repeat,
        by: match repeat {
            Repeat::Read | Repeat::Idempotent => By::Key,
            Repeat::Dedup if object == 1 => By::Hash(id),
            Repeat::Dedup => By::Key,
            Repeat::Stream => By::Nothing,
        },
        over: None,
        tagged,
        object,
        life: None,
        doubt: false,
        lease: None,
        fence: None,
        tx: None,
        body,
        credit: 2,
        timeout: (repeat != Repeat::Stream).then_some(timeout),
    }
}

/// What was asked, and what may become of it.
struct Asked {
    id: CallId,
    repeat: Repeat,
    tagged: bool,
    deadline: Moment,
    cancelled: Option<Moment>,
}

fn ask(world: &mut World, id: CallId) -> Asked {
    let at = within(world, SPAN_MS);
    let kinds = [Repeat::Read, Repeat::Idempotent, Repeat::Dedup, Repeat::Stream];
    let repeat = kinds[usize::try_from(world.draw(4)).unwrap()];
    let (tagged, timeout) = (world.draw(3) == 0, within(world, TIMEOUT_MS));
    world.plan(at, Happening::Ask(id, Box::new(request(id, repeat, tagged, timeout))));
    let cancelled = (world.draw(10) == 0).then(|| at + within(world, 100));
    if let Some(at) = cancelled {
        world.plan(at, Happening::Cancel(id));
    }
    Asked { id, repeat, tagged, deadline: at + timeout, cancelled }
}

/// Streams have no end in time: a silent server keeps them open.
fn give_up_streams(world: &mut World, all: &mut [Asked]) {
    for asked in all.iter_mut().filter(|asked| asked.repeat == Repeat::Stream) {
        asked.cancelled.get_or_insert(world.now);
        world.plan(world.now, Happening::Cancel(asked.id));
    }
}

/// The number that the answer says, which is that of the request.
fn answered(asked: &Asked, reply: &super::super::Reply) -> u64 {
    match asked.repeat {
        Repeat::Read => match decode::<Get<'_>>(reply).unwrap() {
            GetReply::Ok { entry } => entry.version.unwrap(),
            other => panic!("{other:?}"),
        },
        Repeat::Idempotent => match decode::<Put<'_>>(reply).unwrap() {
            PutReply::Ok { version, .. } => version,
            other => panic!("{other:?}"),
        },
        Repeat::Dedup => match decode::<Add<'_>>(reply).unwrap() {
            AddReply::Ok { value } => value.try_into().unwrap(),
            other => panic!("{other:?}"),
        },
        Repeat::Stream => decode::<Scan<'_>>(reply).map(|_| asked.id).unwrap(),
    }
}

fn check(world: &World, asked: &Asked) -> Result<(), String> {
    let ends = world.ends.get(&asked.id).map_or(&[][..], Vec::as_slice);
    let executed = world.ledger.executed.get(&asked.id).copied().unwrap_or(0);
    let once = asked.repeat == Repeat::Dedup || asked.tagged;
    if once && executed > 1 {
        return Err(format!("executed {executed} times"));
    }
    let [(at, result)] = ends else {
        let excused = ends.is_empty() && asked.cancelled.is_some();
        return if excused { Ok(()) } else { Err(format!("{} ends", ends.len())) };
    };
    if asked.repeat != Repeat::Stream && *at > asked.deadline {
        return Err(format!("ended at {at:?}, after {:?}", asked.deadline));
    }
    let reads = matches!(asked.repeat, Repeat::Read | Repeat::Stream);
    match result {
        Ok(reply) if answered(asked, reply) != asked.id => Err("another's answer".to_owned()),
        Ok(_) if !reads && executed == 0 => Err("done, and was not executed".to_owned()),
        Ok(_) => Ok(()),
        Err(error) if error.cause == Cause::OtherLife => Err("nobody named a life".to_owned()),
        Err(error) if error.outcome == Outcome::Failed && executed > 0 => {
            Err(format!("failed, and was executed: {error}"))
        }
        Err(error) if error.outcome == Outcome::Unknown && reads => {
            Err(format!("a read that nobody knows of: {error}"))
        }
        Err(_) => Ok(()),
    }
}

/// One world; how many of its requests were done, failed, and are unknown.
fn run(seed: u64) -> Result<[usize; 3], String> {
    let mut dice = super::super::backoff::Random::new(!seed);
    let mut up_to = |most: u64| dice.number() % most;
    let trouble =
        Trouble { refuse: up_to(200), cut: up_to(100), silent: up_to(60), go_away: up_to(40) };
    let mut world = World::new(seed, trouble);
    let mut all: Vec<Asked> = (1..=CALLS).map(|id| ask(&mut world, id)).collect();
    for _ in 0..up_to(6) {
        let (at, server) = (within(&mut world, SPAN_MS), world.draw(2));
        world.plan(at, Happening::Crash(usize::try_from(server).unwrap()));
    }
    world.plan(ms(SPAN_MS), Happening::Heal);
    world.run(ms(SPAN_MS + TIMEOUT_MS));
    give_up_streams(&mut world, &mut all);
    let last = CALLS + 1;
    let at = world.now + ms(1_000);
    let healed = request(last, Repeat::Dedup, false, ms(3_000));
    world.plan(at, Happening::Ask(last, Box::new(healed)));
    world.run(at + ms(60_000));

    for asked in &all {
        let told = |what| format!("request {} ({:?}): {what}", asked.id, asked.repeat);
        check(&world, asked).map_err(told)?;
    }
    match world.ends.get(&last).map(Vec::as_slice) {
        Some([(_, Ok(_))]) => {}
        other => return Err(format!("all is well again, and yet: {other:?}")),
    }
    if world.core.unfinished() != 0 || !(1..=2).contains(&world.open.len()) {
        return Err(format!("{} left, {:?} open", world.core.unfinished(), world.open.keys()));
    }
    if world.connects > 2_000 {
        return Err(format!("{} connections in {:?}", world.connects, world.now));
    }
    let mut counts = [0; 3];
    for (_, result) in world.ends.values().flatten() {
        counts[match result {
            Ok(_) => 0,
            Err(error) if error.is_failed() => 1,
            Err(_) => 2,
        }] += 1;
    }
    Ok(counts)
}

#[test]
fn every_request_ends_once_in_time_and_truthfully() {
    let range = seeds(if cfg!(debug_assertions) { 300 } else { 3_000 });
    let many = range.end - range.start > 1;
    let mut sum = [0; 3];
    for seed in range {
        let counts = run(seed).unwrap_or_else(|why| {
            panic!(
                "{why}\nreplay: ISOGRID_SEED={seed} cargo test -p {} --features client --lib \
                 every_request_ends_once",
                env!("CARGO_PKG_NAME")
            )
        });
        for (sum, count) in sum.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    let total: usize = sum.iter().sum();
    let share = sum.map(|count| count * 100 / total.max(1));
    assert!(!many || share.iter().all(|share| *share > 0), "done, failed, unknown: {sum:?}");
    assert!(!many || share[0] > 60, "done, failed, unknown: {sum:?}");
}

#[test]
fn one_seed_is_one_history() {
    for seed in [1, 2, 3] {
        assert_eq!(run(seed), run(seed));
    }
}
