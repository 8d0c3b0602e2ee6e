//! What single queues do, as stories.

use super::*;

fn queue(options: QueueOptions) -> Queue {
    Queue::new(options, 0, 1)
}

fn publish(queue: &mut Queue, now: u64, new: NewMessage<'_>) -> u64 {
    match queue.apply(now, QueueOp::Publish(new), &mut Vec::new()) {
        QueueReply::Published { id } => id,
        other => panic!("{other:?}"),
    }
}

fn ask(consumer: u128, most: usize, wait: u64) -> QueueOp<'static> {
    QueueOp::Pull { puller: Puller { consumer, most, visible: 0, auto: false, place: 0 }, wait }
}

fn pull(queue: &mut Queue, now: u64, consumer: u128, most: usize) -> Vec<Delivery> {
    match queue.apply(now, ask(consumer, most, 0), &mut Vec::new()) {
        QueueReply::Deliveries(all) => all,
        other => panic!("{other:?}"),
    }
}

fn ids(queue: &mut Queue, now: u64, consumer: u128, most: usize) -> Vec<u64> {
    pull(queue, now, consumer, most).iter().map(|delivery| delivery.receipt.id).collect()
}

fn apply(queue: &mut Queue, now: u64, op: QueueOp<'_>) -> QueueReply {
    queue.apply(now, op, &mut Vec::new())
}

#[test]
fn a_poison_message_is_dead_after_ten_attempts_with_ten_causes() {
    let mut queue = queue(QueueOptions::default());
    let id = publish(&mut queue, 0, NewMessage::default());
    let (mut now, mut waited) = (0, Vec::new());
    for attempt in 1..=10u32 {
        let [delivery] = pull(&mut queue, now, 1, 9)[..] else { panic!("attempt {attempt}") };
        assert_eq!(delivery.attempt, attempt);
        let reason = format!("failure {attempt}");
        let (receipt, refusal) = (delivery.receipt, Refusal::Requeue(0));
        apply(&mut queue, now, QueueOp::Nack { receipt, refusal, reason: &reason });
        waited.extend(queue.next_deadline().map(|at| at - now));
        now = queue.next_deadline().unwrap_or(now);
    }
    assert_eq!(waited, [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600], "the backoff");
    let dead = QueueOp::Browse { behind: 0, most: 9, which: Which::Dead };
    let QueueReply::Shown(shown, false) = apply(&mut queue, now, dead) else { panic!("shown") };
    let reasons: Vec<_> = shown[0].state.causes.iter().map(|cause| &*cause.reason).collect();
    assert_eq!((shown[0].id, reasons.len(), reasons[9]), (id, 10, "failure 10"));
    // It comes back with attempts of its own, and receipts that none had before.
    assert_eq!(apply(&mut queue, now, QueueOp::Redrive { most: 5 }), QueueReply::Count(1));
    let [again] = pull(&mut queue, now, 1, 9)[..] else { panic!("it is back") };
    assert_eq!((again.attempt, again.receipt), (1, Receipt { id, attempt: 11 }));
}

#[test]
fn an_acknowledgement_counts_while_nobody_else_has_the_message() {
    let mut queue = queue(QueueOptions::default());
    let id = publish(&mut queue, 0, NewMessage::default());
    let first = pull(&mut queue, 0, 1, 1)[0].receipt;
    assert!(ids(&mut queue, 29_999, 2, 1).is_empty(), "it is in flight");
    let second = pull(&mut queue, 30_000, 2, 1)[0].receipt;
    for (op, expected) in [
        (QueueOp::Ack(first), QueueReply::Stale),
        (QueueOp::Extend { receipt: first, visible: 9 }, QueueReply::Stale),
        (QueueOp::Ack(Receipt { id, attempt: 3 }), QueueReply::Unknown),
        (QueueOp::Ack(Receipt { id, attempt: 0 }), QueueReply::Unknown),
        (QueueOp::Ack(Receipt { id: id + 1, attempt: 1 }), QueueReply::Unknown),
        (QueueOp::Extend { receipt: second, visible: 50_000 }, QueueReply::Done),
        (QueueOp::Ack(second), QueueReply::Done),
        (QueueOp::Ack(second), QueueReply::Gone),
        (QueueOp::Ack(first), QueueReply::Gone),
    ] {
        assert_eq!(apply(&mut queue, 40_000, op), expected, "{op:?}");
    }
    // Its time is over, but nobody else got it: it is done all the same.
    publish(&mut queue, 60_001, NewMessage::default());
    let late = pull(&mut queue, 60_001, 1, 1)[0].receipt;
    assert_eq!(apply(&mut queue, 90_002, QueueOp::Ack(late)), QueueReply::Done);
    assert_eq!(queue.stats().ready, 0);
}

#[test]
fn order_is_by_priority_then_by_age_and_within_a_group_by_age() {
    let mut queue = queue(QueueOptions::default());
    let new = |priority, group| NewMessage { priority, group, ..NewMessage::default() };
    let (g, h): (Option<&[u8]>, Option<&[u8]>) = (Some(b"g"), Some(b"h"));
    let all = [(4, None), (4, g), (9, g), (9, h), (0, None), (9, None)];
    for (priority, group) in all {
        publish(&mut queue, 0, new(priority, group));
    }
    assert_eq!(ids(&mut queue, 0, 1, 9), [4, 6, 1, 2, 5], "3 stands behind 2 of its group");
    let ack = QueueOp::Ack(Receipt { id: 2, attempt: 1 });
    assert_eq!(apply(&mut queue, 0, ack), QueueReply::Done);
    assert_eq!(ids(&mut queue, 0, 1, 9), [3]);
    // What comes back stands in front of what came later.
    let (receipt, refusal) = (Receipt { id: 1, attempt: 1 }, Refusal::Requeue(1));
    publish(&mut queue, 0, new(4, None));
    apply(&mut queue, 0, QueueOp::Nack { receipt, refusal, reason: "" });
    assert_eq!(ids(&mut queue, 1, 1, 9), [1, 7]);
}

#[test]
fn a_strict_queue_is_one_group() {
    let mut queue = queue(QueueOptions { strict: true, ..QueueOptions::default() });
    for _ in 0..3 {
        publish(&mut queue, 0, NewMessage::default());
    }
    for id in 1..=3 {
        assert_eq!(ids(&mut queue, 0, 1, 9), [id]);
        assert!(ids(&mut queue, 0, 2, 9).is_empty());
        apply(&mut queue, 0, QueueOp::Ack(Receipt { id, attempt: 1 }));
    }
}

#[test]
fn who_waits_gets_one_each_in_turn_as_far_as_its_credit_goes() {
    let mut queue = queue(QueueOptions::default());
    for (consumer, most) in [(1, 9), (2, 2), (3, 9)] {
        assert!(matches!(
            apply(&mut queue, 0, ask(consumer, most, 50)),
            QueueReply::Waiting { .. }
        ));
    }
    for _ in 0..8 {
        publish(&mut queue, 0, NewMessage::default());
    }
    let mut wakes = Vec::new();
    queue.apply(0, QueueOp::Deal, &mut wakes);
    let got = wakes.iter().map(|wake| wake.deliveries.iter().map(|of| of.receipt.id).collect());
    let got: Vec<Vec<u64>> = got.collect();
    assert_eq!(got, [vec![1, 4, 7], vec![2, 5], vec![3, 6, 8]]);
    // Who has waited long enough is told so.
    assert!(matches!(apply(&mut queue, 10, ask(2, 1, 40)), QueueReply::Waiting { ticket: 4 }));
    assert_eq!(queue.next_deadline(), Some(50));
    let mut wakes = Vec::new();
    queue.advance(50, &mut wakes);
    assert_eq!(wakes, [Wake { ticket: 4, deliveries: Vec::new() }]);
}

#[test]
fn one_consumer_has_an_exclusive_queue_until_it_is_gone() {
    let mut queue = queue(QueueOptions { exclusive: true, ..QueueOptions::default() });
    for _ in 0..9 {
        publish(&mut queue, 0, NewMessage::default());
    }
    assert_eq!(ids(&mut queue, 0, 1, 2), [1, 2]);
    assert!(ids(&mut queue, 1, 2, 2).is_empty(), "the other one has it");
    for id in [1, 2] {
        apply(&mut queue, 2, QueueOp::Ack(Receipt { id, attempt: 1 }));
    }
    assert!(ids(&mut queue, 3, 2, 2).is_empty(), "it may come again");
    assert!(matches!(apply(&mut queue, 4, ask(2, 2, 60_000)), QueueReply::Waiting { .. }));
    assert_eq!(queue.next_deadline(), Some(30_000), "it did not come for as long as it may");
    let mut wakes = Vec::new();
    queue.advance(30_000, &mut wakes);
    assert_eq!(wakes.len(), 1);
    assert!(ids(&mut queue, 30_001, 1, 2).is_empty());
    apply(&mut queue, 30_002, QueueOp::Leave { consumer: 2 });
    assert_eq!(ids(&mut queue, 30_002, 1, 9), [3, 4, 5, 6, 7, 8, 9], "what the other had too");
}

#[test]
fn bounds_refuse_and_lose_nothing() {
    let mut queue = queue(QueueOptions { max_len: 2, max_bytes: 300, ..QueueOptions::default() });
    let of = |len| QueueOp::Publish(NewMessage { len, ..NewMessage::default() });
    let full = |what, limit| QueueReply::Full { what, limit };
    assert_eq!(apply(&mut queue, 0, of(237)), full("bytes", 300));
    assert_eq!(apply(&mut queue, 0, of(100)), QueueReply::Published { id: 1 });
    assert_eq!(apply(&mut queue, 0, of(10)), QueueReply::Published { id: 2 });
    assert_eq!(apply(&mut queue, 0, of(0)), full("messages", 2));
    assert_eq!(apply(&mut queue, 0, QueueOp::Retract { id: 2 }), QueueReply::Done);
    assert_eq!((queue.stats().ready, queue.stats().bytes, queue.stats().went.refused), (1, 164, 2));
    assert_eq!(apply(&mut queue, 0, of(0)), QueueReply::Published { id: 3 }, "no id comes again");
    let wrong = NewMessage { priority: 10, ..NewMessage::default() };
    assert!(matches!(apply(&mut queue, 0, QueueOp::Publish(wrong)), QueueReply::Invalid(_)));
}

#[test]
fn a_message_is_published_once_within_the_window_though_it_is_done() {
    let mut queue = queue(QueueOptions::default());
    let new = NewMessage { dedup: Some(b"order 7"), ..NewMessage::default() };
    let id = publish(&mut queue, 0, new);
    ids(&mut queue, 0, 1, 1);
    apply(&mut queue, 0, QueueOp::Ack(Receipt { id, attempt: 1 }));
    let duplicate = QueueReply::Duplicate { id };
    assert_eq!(apply(&mut queue, 299_999, QueueOp::Publish(new)), duplicate);
    let restored = Queue::restore(&queue.snapshot()).unwrap();
    assert_eq!(apply(&mut restored.clone(), 299_999, QueueOp::Publish(new)), duplicate);
    assert_eq!(publish(&mut queue, 300_000, new), id + 1);
    assert!(Queue::restore(&queue.snapshot()[1..]).is_none());
}

#[test]
fn a_lifespan_ends_but_not_in_flight_nor_after_death() {
    let options = QueueOptions { attempts: 1, ..QueueOptions::default() };
    let mut queue = queue(options);
    let new = NewMessage { ttl: 1_000, ..NewMessage::default() };
    for _ in 0..3 {
        publish(&mut queue, 0, new);
    }
    let held = pull(&mut queue, 0, 1, 2);
    let (receipt, refusal) = (held[1].receipt, Refusal::Requeue(0));
    apply(&mut queue, 0, QueueOp::Nack { receipt, refusal, reason: "" });
    assert_eq!(queue.next_deadline(), Some(1_000));
    queue.advance(1_000, &mut Vec::new());
    let QueueStats { ready, in_flight, dead, went, .. } = queue.stats();
    assert_eq!((ready, in_flight, dead, went.expired), (0, 1, 1, 1));
    assert_eq!(apply(&mut queue, 1_001, QueueOp::Redrive { most: 9 }), QueueReply::Count(1));
    assert_eq!(ids(&mut queue, 1_001, 1, 9), [2]);
}

/// Who has a megabyte of messages at once gets no more, and others do.
#[test]
fn large_messages_go_a_few_at_a_time() {
    let mut queue = queue(QueueOptions::default());
    for _ in 0..5 {
        publish(&mut queue, 0, NewMessage { len: 400 << 10, ..NewMessage::default() });
    }
    assert_eq!(ids(&mut queue, 0, 1, 9), [1, 2, 3]);
    assert_eq!(ids(&mut queue, 0, 2, 9), [4, 5]);
}

/// Who waits on and on in short steps is served as if it waited in one.
#[test]
fn who_asks_again_has_its_place_again() {
    let mut queue = queue(QueueOptions::default());
    let wait = |queue: &mut Queue, now, consumer, place| {
        let puller = Puller { consumer, most: 1, visible: 0, auto: false, place };
        match apply(queue, now, QueueOp::Pull { puller, wait: 10 }) {
            QueueReply::Waiting { ticket } => ticket,
            other => panic!("{other:?}"),
        }
    };
    let (first, second) = (wait(&mut queue, 0, 1, 0), wait(&mut queue, 5, 2, 0));
    let mut out = Vec::new();
    queue.advance(10, &mut out);
    assert_eq!(out, [Wake { ticket: first, deliveries: Vec::new() }]);
    assert_eq!(wait(&mut queue, 11, 1, first), first);
    // A place that somebody has, or nobody ever had, is none.
    let third = wait(&mut queue, 11, 3, first);
    let fourth = wait(&mut queue, 11, 4, 99);
    assert_eq!((second, third, fourth), (2, 3, 4));
    for ticket in [first, second, third, fourth] {
        publish(&mut queue, 12, NewMessage::default());
        let mut out = Vec::new();
        queue.apply(12, QueueOp::Deal, &mut out);
        assert_eq!(out.iter().map(|wake| wake.ticket).collect::<Vec<_>>(), [ticket]);
    }
}
