use isogrid_engine::Allocator;

use super::names::Options;
use super::*;
use crate::structure::queue::{Puller, QueueOptions, Receipt};
use crate::structure::topic::TopicOptions;
use crate::structures::new_table;

const SEGMENTS: u32 = 8;

fn table() -> Table {
    new_table(SEGMENTS, Allocator::Glibc, 0).unwrap()
}

fn plain() -> Options {
    Options::Queue(QueueOptions::default())
}

fn load(table: &Table, name: &str, now: u64) -> Queues {
    Queues::load(table, segment_of(table, name), 7, now)
}

fn pull(auto: bool) -> QueueOp<'static> {
    QueueOp::Pull { puller: Puller { consumer: 1, most: 9, visible: 0, auto, place: 0 }, wait: 0 }
}

fn publish(queues: &mut Queues, table: &Table, name: &str, body: &[u8]) -> QueueReply {
    let len = u32::try_from(body.len()).unwrap();
    let new = NewMessage { dedup: Some(body), len, ..NewMessage::default() };
    queues.publish(table, 0, (name, &new, body)).expect("it is there").expect("it is kept")
}

fn given(
    queues: &mut Queues,
    table: &Table,
    now: u64,
    op: QueueOp<'_>,
) -> Vec<(u64, u32, Vec<u8>)> {
    let done = queues.apply(table, now, ("jobs", op), &mut Vec::new()).unwrap().unwrap();
    let one =
        |given: Given| (given.delivery.receipt.id, given.delivery.receipt.attempt, given.payload);
    done.given.into_iter().map(one).collect()
}

/// Whoever opens the table after each step goes on where the one before it was.
#[test]
fn the_entries_are_the_queues() {
    let table = table();
    let options = QueueOptions { attempts: 2, ..QueueOptions::default() };
    let mut queues = load(&table, "jobs", 0);
    assert_eq!(queues.create(&table, 0, "jobs", Options::Queue(options)), Ok(Made::New));
    assert_eq!(queues.create(&table, 0, "jobs", plain()), Ok(Made::There));
    for body in [&b"one"[..], b"two", b"three"] {
        publish(&mut queues, &table, "jobs", body);
    }
    let mut queues = load(&table, "jobs", 0);
    assert_eq!(queues.look("jobs").map(|(options, _)| options), Some(Options::Queue(options)));
    let all = given(&mut queues, &table, 0, pull(false));
    let bodies: Vec<_> = all.iter().map(|(id, attempt, body)| (*id, *attempt, &**body)).collect();
    assert_eq!(bodies, [(7, 1, &b"one"[..]), (8, 1, b"two"), (9, 1, b"three")]);
    given(&mut queues, &table, 0, QueueOp::Ack(Receipt { id: 7, attempt: 1 }));
    let mut queues = load(&table, "jobs", 0);
    assert!(given(&mut queues, &table, 1, pull(false)).is_empty(), "they are in flight");
    let again = given(&mut queues, &table, 30_000, pull(true));
    assert_eq!(again, [(8, 2, b"two".to_vec()), (9, 2, b"three".to_vec())]);
    let mut queues = load(&table, "jobs", 30_000);
    let stats = queues.look("jobs").unwrap().1;
    assert_eq!((stats.ready, stats.in_flight, stats.bytes), (0, 0, 0), "they were done at once");
    assert_eq!(publish(&mut queues, &table, "jobs", b"one"), QueueReply::Duplicate { id: 7 });
}

#[test]
fn a_queue_that_is_removed_leaves_nothing_and_its_ids_do_not_come_again() {
    let table = table();
    let mut queues = load(&table, "jobs", 0);
    queues.create(&table, 0, "jobs", plain()).unwrap();
    assert_eq!(publish(&mut queues, &table, "jobs", b"one"), QueueReply::Published { id: 7 });
    given(&mut queues, &table, 0, pull(false));
    publish(&mut queues, &table, "jobs", b"two");
    given(&mut queues, &table, 0, pull(true));
    assert_eq!(queues.remove(&table, 0, "jobs"), Ok(true));
    assert_eq!(queues.remove(&table, 0, "jobs"), Ok(false));
    assert_eq!(table.usage().entries, 0);
    assert!(load(&table, "jobs", 0).look("jobs").is_none());
    queues.create(&table, 0, "jobs", plain()).unwrap();
    assert_eq!(publish(&mut queues, &table, "jobs", b"one"), QueueReply::Published { id: 9 });
}

/// Whoever takes over gives out ids of its own epoch, also when nothing of those before is left.
#[test]
fn no_id_is_given_out_in_two_epochs() {
    let (table, mut ids) = (table(), Vec::new());
    for (epoch, next) in [(3, 0), (3, (3 << 40) + 1), (7, 0)] {
        let first = Queues::first_id(Epoch(epoch)).max(next);
        let mut queues = Queues::load(&table, segment_of(&table, "jobs"), first, 0);
        queues.create(&table, 0, "jobs", plain()).unwrap();
        let body = first.to_le_bytes();
        let published = publish(&mut queues, &table, "jobs", &body);
        given(&mut queues, &table, 0, pull(true));
        assert_eq!(published, QueueReply::Published { id: queues.next_id() - 1 });
        ids.push(queues.next_id() - 1);
    }
    assert_eq!(ids, [3 << 40, (3 << 40) + 1, 7 << 40]);
}

/// What the table has no room for is not published, and nothing else suffers.
#[test]
fn a_full_table_refuses() {
    let table = table();
    table.set_max_bytes(64 << 10);
    let mut queues = load(&table, "jobs", 0);
    queues.create(&table, 0, "jobs", plain()).unwrap();
    publish(&mut queues, &table, "jobs", b"one");
    let new = NewMessage { len: 60 << 10, ..NewMessage::default() };
    let large = vec![1; 60 << 10];
    let refused = queues.publish(&table, 0, ("jobs", &new, &large)).unwrap();
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    assert_eq!(queues.look("jobs").unwrap().1.ready, 1);
    assert_eq!(given(&mut queues, &table, 0, pull(false)), [(7, 1, b"one".to_vec())]);
    assert!(queues.publish(&table, 0, ("none", &new, b"")).is_none());
}

/// A publisher was told that nothing was done when its message was kept and that somebody got it was
/// not: it published once more.
#[test]
fn what_was_published_is_done_though_it_cannot_be_dealt() {
    let table = table();
    let mut queues = load(&table, "jobs", 0);
    queues.create(&table, 0, "jobs", plain()).unwrap();
    let puller = Puller { consumer: 1, most: 9, visible: 0, auto: false, place: 0 };
    let waits = QueueOp::Pull { puller, wait: 1_000 };
    queues.apply(&table, 0, ("jobs", waits), &mut Vec::new()).unwrap().unwrap();
    let new = NewMessage { len: 3, ..NewMessage::default() };
    // The least room that a message has leaves none for what becomes of it.
    let fits = |limit: &u64| {
        table.set_max_bytes(*limit);
        queues.publish(&table, 0, ("jobs", &new, b"one")).unwrap().is_ok()
    };
    let used = table.usage().bytes;
    assert!((used..used + 4_096).find(fits).is_some(), "there is room for a message");
    let mut told = Vec::new();
    let dealt = queues.deal(&table, 0, ("jobs", 1), &mut told).unwrap();
    assert!(matches!(dealt, Err(NotKept { why: Error::Full { .. }, done: 1 })), "{dealt:?}");
    table.set_max_bytes(1 << 20);
    let mut queues = load(&table, "jobs", 0);
    assert_eq!(given(&mut queues, &table, 0, pull(false)).len(), 1, "it is published");
}

/// Keys of different queues and parts differ, also where a name is the beginning of another one.
#[test]
fn each_queue_has_its_own_entries() {
    let table = table();
    let (names, mut ids) = (["a", "ab", "b", "am"], Vec::new());
    for name in names {
        let mut queues = load(&table, name, 0);
        queues.create(&table, 0, name, plain()).unwrap();
        let published = publish(&mut queues, &table, name, name.as_bytes());
        let QueueReply::Published { id } = published else { panic!("{published:?}") };
        ids.push(id);
    }
    for (name, id) in names.into_iter().zip(ids) {
        let queues = load(&table, name, 0);
        assert_eq!(queues.look(name).unwrap().1.ready, 1);
        assert_eq!(queues.payload(&table, 0, name, id).as_deref(), Some(name.as_bytes()));
    }
}

fn names(queues: &Queues) -> Vec<String> {
    queues.names().collect()
}

fn bodies(queues: &mut Queues, table: &Table, group: &str) -> Vec<(u64, Vec<u8>)> {
    let done = queues.apply(table, 0, (group, pull(false)), &mut Vec::new()).unwrap().unwrap();
    let one = |given: Given| (given.delivery.receipt.id, given.payload);
    done.given.into_iter().map(one).collect()
}

/// Whoever opens the table goes on behind the cursors of the groups, and reads what there is.
#[test]
fn the_entries_are_the_topics_and_their_groups() {
    let table = table();
    let mut queues = load(&table, "news", 0);
    let group =
        Options::default_of("news/a").with(&[("from", "first"), ("attempts", "2")]).unwrap();
    assert_eq!(queues.create(&table, 0, "news/a", group), Ok(Made::NoTopic));
    let options = TopicOptions { max_len: 4, ..TopicOptions::default() };
    queues.create(&table, 0, "news/", Options::Topic(options)).unwrap();
    queues.create(&table, 0, "news", plain()).unwrap();
    assert_eq!(queues.create(&table, 0, "news/a", group), Ok(Made::New));
    assert_eq!(queues.create(&table, 0, "news/a", group), Ok(Made::There));
    for body in [&b"1"[..], b"2", b"3"] {
        publish(&mut queues, &table, "news/", body);
    }
    let got = bodies(&mut queues, &table, "news/a");
    let first = got[0].0;
    assert_eq!(
        got,
        [b"1", b"2", b"3"]
            .map(|body| body.to_vec())
            .into_iter()
            .zip(first..)
            .map(|(b, id)| (id, b))
            .collect::<Vec<_>>()
    );
    for (id, kept) in [(first, QueueReply::Done), (first + 2, QueueReply::Done)] {
        let ack = QueueOp::Ack(Receipt { id, attempt: 1 });
        let done = queues.apply(&table, 0, ("news/a", ack), &mut Vec::new()).unwrap().unwrap();
        assert_eq!(done.reply, kept);
    }
    let mut queues = load(&table, "news", 0);
    assert_eq!(names(&queues), ["news", "news/", "news/a"]);
    let (options, stats) = queues.look("news/a").unwrap();
    assert_eq!((stats.ready, stats.in_flight), (0, 1));
    assert_eq!(options.texts().iter().find(|(name, _)| *name == "attempts").unwrap().1, "2");
    for body in [&b"4"[..], b"5"] {
        publish(&mut queues, &table, "news/", body);
    }
    queues.deal(&table, 0, ("news/", 2), &mut Vec::new()).unwrap().unwrap();
    assert_eq!(bodies(&mut queues, &table, "news/a").len(), 2, "1 and 3 are done, 2 is in flight");
    let read = queues.read(&table, 0, ("news/", Start::Position(first), 9)).unwrap().unwrap();
    let all: Vec<_> = read.given.iter().map(|given| &*given.payload).collect();
    assert_eq!((read.lost, all), (1, vec![&b"2"[..], b"3", b"4", b"5"]), "one is gone");
    assert!(queues.look("news").unwrap().1.ready == 0, "a queue of the same name is another one");
    let mut queues = load(&table, "news", 0);
    let read = queues.read(&table, 0, ("news/", Start::Position(first), 1)).unwrap().unwrap();
    assert_eq!((read.lost, read.next), (1, first + 2), "that is kept too");
    assert_eq!(queues.remove(&table, 0, "news/"), Ok(true));
    assert_eq!(
        (names(&queues), names(&load(&table, "news", 0))),
        (vec!["news".to_owned()], vec!["news".to_owned()])
    );
    assert_eq!(table.usage().entries, 1, "what the queue is set to");
}
