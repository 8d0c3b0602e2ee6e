//! Histories that are wrong, each in one thing, and some that are not.

use super::*;

const LOST: Lost = Lost { empty: 0, any: 0 };
/// A forced promotion in epoch 7.
const FORCED: Lost = Lost { empty: 0, any: 7 << 40 };
/// All was declared lost in epoch 7.
const EMPTY: Lost = Lost { empty: 7 << 40, any: 7 << 40 };
const QUEUE: Name = 1;
/// Its messages die after the third delivery.
const ATTEMPTS: u32 = 3;

#[derive(Clone, Copy)]
enum Step {
    /// A message is to be published, which has an id or not.
    Publish(u64),
    /// It is, under this id, at this time.
    Published(u64, u64, Stamp),
    Refused(u64),
    /// A delivery: id, number, body.
    Given(u64, u32, u64, Stamp),
    /// An acknowledgement is asked for, and taken.
    Acked(u64, u32, Stamp),
    /// One is asked for, and nobody knows.
    Ack(u64, u32),
    /// More time is asked for, and given.
    Extended(u64, u32, Stamp),
    /// The message of an acknowledgement is gone, or of one that did not ask for its end.
    Gone(u64, u32, Stamp),
    Vanished(u64, u32, Stamp),
    NoReceipt(u64, u32, Stamp),
    Absent(Stamp),
    /// These are left: id, body.
    Remain(&'static [(u64, u64)]),
    /// One is dead after so many deliveries.
    Dead(u64, u64, u32),
    /// Such a loss is declared.
    Declared(Lost),
}

use Step::*;

/// A time in epoch 5, and one in epoch 8.
fn at(turn: u64) -> Stamp {
    Stamp { epoch: 5, turn }
}

fn later(turn: u64) -> Stamp {
    Stamp { epoch: 8, turn }
}

fn new(body: u64) -> New {
    New { body, dedup: true, group: 0, priority: 0, delay: 0 }
}

fn receipt(id: u64, attempt: u32) -> Receipt {
    Receipt { id, attempt }
}

/// What the checker says of a history.
fn judge(steps: &[Step]) -> Result<(), String> {
    let (mut all, mut lost) = (TotalQueue::default(), LOST);
    for step in steps.iter().copied() {
        match step {
            Publish(body) => all.publish(QUEUE, new(body)),
            Published(id, body, at) => all.published(QUEUE, (id, body), at, lost)?,
            Refused(body) => all.refused(QUEUE, body, lost)?,
            Given(id, number, body, at) => {
                let handed = Handed { receipt: receipt(id, number), attempt: number, body };
                all.delivered(QUEUE, handed, at, lost)?;
            }
            Ack(id, number) => all.end(QUEUE, receipt(id, number), false),
            Acked(id, number, at) => {
                all.end(QUEUE, receipt(id, number), false);
                all.taken(QUEUE, receipt(id, number), true, at, lost)?;
            }
            Extended(id, number, at) => {
                all.taken(QUEUE, receipt(id, number), false, at, lost)?;
            }
            Gone(id, number, at) => {
                all.end(QUEUE, receipt(id, number), false);
                all.gone(QUEUE, receipt(id, number), true, at, lost)?;
            }
            Vanished(id, number, at) => all.gone(QUEUE, receipt(id, number), false, at, lost)?,
            NoReceipt(id, number, at) => all.no_receipt(QUEUE, receipt(id, number), at, lost)?,
            Absent(at) => all.absent(QUEUE, at, lost)?,
            Remain(left) => {
                let left = left.iter().map(|(id, body)| Left { id: *id, body: *body, dead: None });
                all.audit(QUEUE, Some(&left.collect::<Vec<_>>()), later(u64::MAX), lost)?;
            }
            Dead(id, body, tries) => {
                let left = Left { id, body, dead: Some(tries) };
                all.audit(QUEUE, Some(&[left]), later(u64::MAX), lost)?;
            }
            Declared(all) => lost = all,
        }
    }
    Ok(())
}

/// A message that was published and delivered once.
const ONE: [Step; 3] = [
    Publish(1),
    Published(10, 1, Stamp { epoch: 5, turn: 1 }),
    Given(10, 1, 1, Stamp { epoch: 5, turn: 2 }),
];

#[test]
fn what_is_wrong_is_found() {
    let table: &[(&str, &[Step])] = &[
        ("G18", &[Given(10, 2, 1, at(4)), Acked(10, 2, at(5)), Given(10, 3, 1, at(6))]),
        // Whichever is heard of first.
        ("R87", &[Given(10, 2, 1, at(4)), Given(10, 3, 1, at(6)), Acked(10, 2, at(5))]),
        ("G18", &[Ack(10, 1), Gone(10, 1, at(5)), Given(10, 2, 1, at(6))]),
        ("G18", &[Acked(10, 1, at(4)), Extended(10, 1, at(5))]),
        ("G18", &[Acked(10, 1, at(4)), Remain(&[(10, 1)])]),
        ("G18", &[Remain(&[])]),
        ("G18", &[Gone(10, 1, at(5))]),
        ("G18", &[Vanished(10, 1, at(5))]),
        ("G18", &[Given(11, 1, 2, at(5))]),
        ("G18", &[Remain(&[(10, 1), (11, 2)])]),
        ("G18", &[Absent(at(5))]),
        ("G19", &[Publish(1), Published(11, 1, at(5))]),
        ("G19", &[Given(11, 1, 1, at(5))]),
        ("G20", &[Given(10, ATTEMPTS + 1, 1, at(5))]),
        ("G20", &[Dead(10, 1, 2)]),
        ("R36", &[Refused(1)]),
        ("G18", &[Publish(2), Refused(2), Given(11, 1, 2, at(5))]),
        ("R85", &[Publish(2), Published(10, 2, at(5))]),
        ("R86", &[Given(10, 1, 1, at(5))]),
        ("R86", &[NoReceipt(10, 1, at(5))]),
        ("R87", &[Given(10, 2, 1, at(4)), Acked(10, 1, at(5))]),
        ("R87", &[Given(10, 2, 1, at(4)), Extended(10, 1, at(5))]),
        ("R87", &[Acked(10, 2, at(5))]),
        // The second one was given ahead of the first.
        ("R88", &[Publish(2), Published(9, 2, at(0)), Given(9, 1, 2, at(3))]),
        ("R29", &[Declared(EMPTY), Given(10, 2, 1, later(1))]),
        // What is given and acknowledged after a loss counts as ever.
        (
            "G18",
            &[
                Declared(FORCED),
                Given(10, 2, 1, later(1)),
                Acked(10, 2, later(2)),
                Given(10, 3, 1, later(3)),
            ],
        ),
        ("G18", &[Declared(FORCED), Given(10, 2, 1, later(1)), Remain(&[])]),
    ];
    for (at, (what, steps)) in table.iter().enumerate() {
        let broken = judge(&[&ONE, *steps].concat());
        let broken = broken.expect_err(&format!("line {at} of the table, {what}"));
        assert!(broken.starts_with(what), "line {at}: {what} was broken, and it says {broken}");
    }
}

#[test]
fn what_may_be_is_not_complained_of() {
    let table: &[&[Step]] = &[
        &[Acked(10, 1, at(4)), Remain(&[])],
        &[Remain(&[(10, 1)])],
        // Nobody knows whether it was acknowledged.
        &[Ack(10, 1), Remain(&[])],
        &[Ack(10, 1), Remain(&[(10, 1)])],
        &[Acked(10, 1, at(4)), Gone(10, 1, at(5))],
        // It comes again when its time is over, and dies after the third time.
        &[Given(10, 2, 1, at(4)), Given(10, 3, 1, at(6)), Dead(10, 1, 3)],
        // More time was given before the next delivery, though that is heard of first.
        &[Given(10, 2, 1, at(5)), Extended(10, 1, at(4))],
        // A publisher asks again, and one of its requests was surely not done.
        &[Publish(1), Published(10, 1, at(5)), Publish(1), Refused(1)],
        &[Publish(2), Refused(2), Publish(2), Published(11, 2, at(5)), Remain(&[(10, 1), (11, 2)])],
        // An operator had a stale copy serve: what was there may not be, and what was done not be done.
        &[Acked(10, 1, at(4)), Declared(FORCED), Given(10, 1, 1, later(1))],
        &[Declared(FORCED), Remain(&[])],
        &[Declared(FORCED), Absent(later(1))],
        &[Declared(FORCED), Publish(1), Published(11, 1, later(1)), Remain(&[(11, 1)])],
        // An answer of before that comes now says nothing.
        &[Declared(FORCED), Acked(10, 1, at(4)), Remain(&[(10, 1)])],
        &[Declared(EMPTY), Remain(&[])],
    ];
    for (at, steps) in table.iter().enumerate() {
        assert_eq!(judge(&[&ONE, *steps].concat()), Ok(()), "line {at} of the table");
    }
}
