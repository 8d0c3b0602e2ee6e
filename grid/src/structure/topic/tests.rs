//! What single topics do, as stories.

use super::*;
use crate::structure::queue::{Delivery, Puller, Receipt};

fn topic(options: TopicOptions) -> Topic {
    Topic::new(options, 0, 1)
}

fn publish(topic: &mut Topic, now: u64, new: NewMessage<'_>) -> u64 {
    match topic.apply(now, QueueOp::Publish(new), &mut Vec::new()) {
        QueueReply::Published { id } => id,
        other => panic!("{other:?}"),
    }
}

fn many(topic: &mut Topic, now: u64, count: usize) -> Vec<u64> {
    (0..count).map(|_| publish(topic, now, NewMessage::default())).collect()
}

fn join(topic: &mut Topic, name: &str, start: Start) {
    assert_eq!(topic.join(0, (name, QueueOptions::default()), start), Ok(true));
}

fn ask(consumer: u128, most: usize, wait: u64) -> QueueOp<'static> {
    QueueOp::Pull { puller: Puller { consumer, most, visible: 0, auto: false, place: 0 }, wait }
}

fn pull(topic: &mut Topic, now: u64, group: &str, most: usize) -> Vec<u64> {
    match topic.apply_to(now, (group, ask(1, most, 0)), &mut Vec::new()) {
        Some(QueueReply::Deliveries(all)) => all.iter().map(|one| one.receipt.id).collect(),
        other => panic!("{other:?}"),
    }
}

fn ack(topic: &mut Topic, now: u64, group: &str, id: u64) -> Option<QueueReply> {
    let op = QueueOp::Ack(Receipt { id, attempt: 1 });
    topic.apply_to(now, (group, op), &mut Vec::new())
}

fn read(topic: &mut Topic, now: u64, start: Start) -> (u64, u64, Vec<u64>) {
    let page = topic.read(now, start, 64).unwrap();
    (page.lost, page.next, page.messages.iter().map(|one| one.receipt.id).collect())
}

#[test]
fn each_group_gets_each_message_once_and_in_order() {
    let mut topic = topic(TopicOptions::default());
    join(&mut topic, "a", Start::New);
    let all = many(&mut topic, 0, 100);
    join(&mut topic, "late", Start::New);
    join(&mut topic, "all", Start::First);
    for group in ["a", "all"] {
        let mut got = Vec::new();
        while got.len() < 100 {
            got.extend(pull(&mut topic, 1, group, 7));
        }
        assert_eq!(got, all, "{group}");
        assert!(pull(&mut topic, 1, group, 7).is_empty());
        let done = all.iter().all(|id| ack(&mut topic, 2, group, *id) == Some(QueueReply::Done));
        assert!(done, "{group}");
    }
    assert!(pull(&mut topic, 1, "late", 7).is_empty());
    assert_eq!(topic.group_stats("late").unwrap().ready, 0);
    // The log has them still, and another group comes.
    assert_eq!(topic.stats().ready, 100);
    join(&mut topic, "third", Start::Position(all[40]));
    let stats = topic.group_stats("third").unwrap();
    assert_eq!((stats.ready, pull(&mut topic, 3, "third", 2)), (60, all[40..42].to_vec()));
}

#[test]
fn a_group_takes_no_more_than_who_waits_wants() {
    let mut topic = topic(TopicOptions::default());
    join(&mut topic, "g", Start::First);
    let mut wakes = Vec::new();
    for consumer in [1, 2] {
        let waits = topic.apply_to(0, ("g", ask(consumer, 2, 50)), &mut Vec::new());
        assert!(matches!(waits, Some(QueueReply::Waiting { .. })));
    }
    let all = many(&mut topic, 0, 9);
    topic.apply(0, QueueOp::Deal, &mut wakes);
    let got = |deliveries: &[Delivery]| deliveries.iter().map(|one| one.receipt.id).collect();
    let got: Vec<Vec<u64>> = wakes.iter().map(|(_, wake)| got(&wake.deliveries)).collect();
    assert_eq!(got, [[all[0], all[2]], [all[1], all[3]]]);
    assert_eq!(topic.group("g").unwrap().cursor(), Some(all[3]));
    let stats = topic.group_stats("g").unwrap();
    assert_eq!((stats.ready, stats.in_flight), (5, 4));
}

#[test]
fn who_is_behind_retention_is_told_how_many_are_lost() {
    let options = TopicOptions { max_len: 10, max_age: 1_000, ..TopicOptions::default() };
    let mut topic = topic(options);
    join(&mut topic, "g", Start::First);
    let all = many(&mut topic, 0, 8);
    assert_eq!(pull(&mut topic, 0, "g", 2), all[..2]);
    assert_eq!(ack(&mut topic, 0, "g", all[0]), Some(QueueReply::Done));
    let (_, next, got) = read(&mut topic, 0, Start::Position(all[0]));
    assert_eq!((next, &got), (9, &all));
    many(&mut topic, 0, 7);
    topic.advance(0, &mut Vec::new());
    // Five are gone: the reader had them; one that begins there has not, nor has the group four.
    assert_eq!(read(&mut topic, 0, Start::Position(next)), (0, 16, (9..16).collect()));
    assert_eq!(read(&mut topic, 0, Start::Position(3)), (3, 16, (6..16).collect()));
    assert_eq!(read(&mut topic, 0, Start::First), (0, 16, (6..16).collect()));
    assert_eq!(topic.group_stats("g").unwrap().went.lost, 4);
    assert_eq!(ack(&mut topic, 0, "g", all[1]), Some(QueueReply::Gone));
    assert_eq!(pull(&mut topic, 0, "g", 1), [6]);
    // By age all go; an empty topic knows where it was.
    assert_eq!(topic.next_deadline(), Some(1_000));
    topic.advance(1_000, &mut Vec::new());
    assert_eq!((topic.stats().ready, topic.stats().bytes, topic.stats().went.lost), (0, 0, 15));
    assert_eq!(read(&mut topic, 1_000, Start::Position(11)), (5, 16, Vec::new()));
    assert_eq!(read(&mut topic, 1_000, Start::New), (0, 16, Vec::new()));
    assert_eq!(topic.read(1_000, Start::Position(17), 1), Err(Ahead { asked: 17, next: 16 }));
}

#[test]
fn reading_begins_at_a_time_too() {
    let mut topic = topic(TopicOptions::default());
    for now in [100, 200, 200, 300] {
        publish(&mut topic, now, NewMessage::default());
    }
    for (time, ids) in [(0, vec![1, 2, 3, 4]), (150, vec![2, 3, 4]), (201, vec![4]), (301, vec![])]
    {
        assert_eq!(read(&mut topic, 400, Start::Time(time)).2, ids, "from {time} on");
    }
    let short = NewMessage { ttl: 50, ..NewMessage::default() };
    publish(&mut topic, 400, short);
    assert_eq!(read(&mut topic, 449, Start::Position(5)), (0, 6, vec![5]));
    assert_eq!(read(&mut topic, 450, Start::Position(5)), (0, 6, vec![]), "its lifespan is over");
}

#[test]
fn what_cannot_be_of_a_topic_is_refused() {
    let mut topic = topic(TopicOptions { max_bytes: 300, ..TopicOptions::default() });
    let late = NewMessage { delay: 5, ..NewMessage::default() };
    let mut apply = |op| topic.apply(0, op, &mut Vec::new());
    assert!(matches!(apply(QueueOp::Publish(late)), QueueReply::Invalid(_)));
    assert!(matches!(apply(ask(1, 1, 0)), QueueReply::Invalid(_)));
    let large = NewMessage { len: 300, ..NewMessage::default() };
    assert_eq!(apply(QueueOp::Publish(large)), QueueReply::Full { what: "bytes", limit: 300 });
    let twice = NewMessage { dedup: Some(b"1"), ..NewMessage::default() };
    assert_eq!(apply(QueueOp::Publish(twice)), QueueReply::Published { id: 1 });
    assert_eq!(apply(QueueOp::Publish(twice)), QueueReply::Duplicate { id: 1 });
    assert_eq!(apply(QueueOp::Retract { id: 1 }), QueueReply::Done);
    assert_eq!(apply(QueueOp::Publish(twice)), QueueReply::Published { id: 2 });
    // Gone for want of room, it is known still.
    assert_eq!(apply(QueueOp::Purge { which: Which::All, most: 9 }), QueueReply::Count(1));
    assert_eq!(apply(QueueOp::Publish(twice)), QueueReply::Duplicate { id: 2 });
    let group = QueueOp::Publish(NewMessage::default());
    join(&mut topic, "g", Start::New);
    let refused = topic.apply_to(0, ("g", group), &mut Vec::new());
    assert!(matches!(refused, Some(QueueReply::Invalid(_))));
}
