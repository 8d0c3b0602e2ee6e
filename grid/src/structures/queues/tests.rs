use isogrid_engine::Allocator;

use super::*;
use crate::structure::queue::{Puller, Receipt};
use crate::structures::new_table;

const SEGMENTS: u32 = 8;

fn table() -> Table {
    new_table(SEGMENTS, Allocator::Glibc, 0).unwrap()
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
    assert_eq!(queues.create(&table, 0, "jobs", options), Ok(true));
    assert_eq!(queues.create(&table, 0, "jobs", QueueOptions::default()), Ok(false));
    for body in [&b"one"[..], b"two", b"three"] {
        publish(&mut queues, &table, "jobs", body);
    }
    let mut queues = load(&table, "jobs", 0);
    assert_eq!(queues.get("jobs").map(Queue::options), Some(&options));
    let all = given(&mut queues, &table, 0, pull(false));
    let bodies: Vec<_> = all.iter().map(|(id, attempt, body)| (*id, *attempt, &**body)).collect();
    assert_eq!(bodies, [(7, 1, &b"one"[..]), (8, 1, b"two"), (9, 1, b"three")]);
    given(&mut queues, &table, 0, QueueOp::Ack(Receipt { id: 7, attempt: 1 }));
    let mut queues = load(&table, "jobs", 0);
    assert!(given(&mut queues, &table, 1, pull(false)).is_empty(), "they are in flight");
    let again = given(&mut queues, &table, 30_000, pull(true));
    assert_eq!(again, [(8, 2, b"two".to_vec()), (9, 2, b"three".to_vec())]);
    let mut queues = load(&table, "jobs", 30_000);
    let stats = queues.get("jobs").unwrap().stats();
    assert_eq!((stats.ready, stats.in_flight, stats.bytes), (0, 0, 0), "they were done at once");
    assert_eq!(publish(&mut queues, &table, "jobs", b"one"), QueueReply::Duplicate { id: 7 });
}

#[test]
fn a_queue_that_is_removed_leaves_nothing_and_its_ids_do_not_come_again() {
    let table = table();
    let mut queues = load(&table, "jobs", 0);
    queues.create(&table, 0, "jobs", QueueOptions::default()).unwrap();
    assert_eq!(publish(&mut queues, &table, "jobs", b"one"), QueueReply::Published { id: 7 });
    given(&mut queues, &table, 0, pull(false));
    publish(&mut queues, &table, "jobs", b"two");
    given(&mut queues, &table, 0, pull(true));
    assert_eq!(queues.remove(&table, 0, "jobs"), Ok(true));
    assert_eq!(queues.remove(&table, 0, "jobs"), Ok(false));
    assert_eq!(table.usage().entries, 0);
    assert!(load(&table, "jobs", 0).get("jobs").is_none());
    queues.create(&table, 0, "jobs", QueueOptions::default()).unwrap();
    assert_eq!(publish(&mut queues, &table, "jobs", b"one"), QueueReply::Published { id: 9 });
}

/// Whoever takes over gives out ids of its own epoch, also when nothing of those before is left.
#[test]
fn no_id_is_given_out_in_two_epochs() {
    let (table, mut ids) = (table(), Vec::new());
    for (epoch, next) in [(3, 0), (3, (3 << 40) + 1), (7, 0)] {
        let first = Queues::first_id(Epoch(epoch)).max(next);
        let mut queues = Queues::load(&table, segment_of(&table, "jobs"), first, 0);
        queues.create(&table, 0, "jobs", QueueOptions::default()).unwrap();
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
    queues.create(&table, 0, "jobs", QueueOptions::default()).unwrap();
    publish(&mut queues, &table, "jobs", b"one");
    let new = NewMessage { len: 60 << 10, ..NewMessage::default() };
    let large = vec![1; 60 << 10];
    let refused = queues.publish(&table, 0, ("jobs", &new, &large)).unwrap();
    assert!(matches!(refused, Err(Error::Full { .. })), "{refused:?}");
    assert_eq!(queues.get("jobs").unwrap().stats().ready, 1);
    assert_eq!(given(&mut queues, &table, 0, pull(false)), [(7, 1, b"one".to_vec())]);
    assert!(queues.publish(&table, 0, ("none", &new, b"")).is_none());
}

/// A publisher was told that nothing was done when its message was kept and that somebody got it was
/// not: it published once more.
#[test]
fn what_was_published_is_done_though_it_cannot_be_dealt() {
    let table = table();
    let mut queues = load(&table, "jobs", 0);
    queues.create(&table, 0, "jobs", QueueOptions::default()).unwrap();
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
        queues.create(&table, 0, name, QueueOptions::default()).unwrap();
        let published = publish(&mut queues, &table, name, name.as_bytes());
        let QueueReply::Published { id } = published else { panic!("{published:?}") };
        ids.push(id);
    }
    for (name, id) in names.into_iter().zip(ids) {
        let queues = load(&table, name, 0);
        assert_eq!(queues.get(name).unwrap().stats().ready, 1);
        assert_eq!(queues.payload(&table, 0, name, id).as_deref(), Some(name.as_bytes()));
    }
}
