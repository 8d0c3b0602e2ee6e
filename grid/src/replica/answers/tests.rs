//! What is remembered, against a list of all that was ever answered.

use super::*;
use crate::random::Random;

fn id(client: u8, number: u64) -> OpId {
    OpId { client: [client; 16], number }
}

fn answered(client: u8, number: u64, at: Timestamp, len: usize) -> Answered {
    Answered::new(id(client, number), at, &vec![client; len])
}

fn held(answers: &Answers) -> usize {
    let client = |client: &Client| {
        let entries = client.answers.iter().map(|kept| ENTRY_BYTES + len(&kept.answer));
        CLIENT_BYTES + entries.sum::<usize>()
    };
    answers.clients.values().map(client).sum()
}

fn history(seed: u64) {
    let (mut random, mut answers, mut now) = (Random(seed), Answers::default(), 1_000_000);
    let mut known: BTreeMap<OpId, Answered> = BTreeMap::new();
    let mut next = [0; 5];
    for _ in 0..2_000 {
        now += random.below(3_000);
        let client = u8::try_from(random.below(5)).unwrap();
        let behind = random.below(80);
        let number = if random.below(2) == 0 {
            next[usize::from(client)] += 1;
            next[usize::from(client)]
        } else {
            u64::saturating_sub(next[usize::from(client)], behind).max(1)
        };
        let first = known.get(&id(client, number));
        match answers.seen(now, id(client, number)) {
            Seen::New => {
                // Whatever happens meanwhile, nothing is done twice.
                assert_eq!(first, None, "seed {seed}");
                let len = usize::try_from(random.below(20_000)).unwrap();
                let one = answered(client, number, now, len);
                known.insert(one.id, one.clone());
                answers.note(one);
            }
            Seen::Answered(answer) => {
                let first = first.expect("an answer that nobody gave");
                assert_eq!((&answer, first.at + WINDOW_MS >= now), (&first.answer, true));
            }
            Seen::Forgotten => {}
        }
        assert_eq!((answers.bytes, answers.bytes <= BYTES_MAX), (held(&answers), true));
        assert_eq!(answers.idle.len(), answers.clients.len());
        assert!(answers.clients.values().all(|client| client.answers.len() <= ANSWERS_MAX));
        if random.below(200) == 0 {
            let mut bytes = Vec::new();
            answers.encode(&mut bytes);
            let mut copy = Answers::default();
            assert_eq!(copy.merge(&bytes), Some(()));
            assert_eq!(copy, answers, "seed {seed}");
            assert_eq!(copy.merge(&bytes), Some(()));
            assert_eq!(copy, answers, "told twice it is the same; seed {seed}");
            assert_eq!(Answers::default().merge(&bytes[..bytes.len() - 1]), None);
        }
    }
}

#[test]
fn nothing_is_new_twice() {
    (0..20).for_each(history);
}

#[test]
fn what_is_older_than_the_window_is_told_from_what_is_new() {
    let mut answers = Answers::default();
    (1..=70).for_each(|number| answers.note(answered(1, number, 1_000, 2)));
    let seen = |answers: &Answers, now, number| answers.seen(now, id(1, number));
    let first = || Seen::Answered(Some([1, 1][..].into()));
    for (number, expected) in
        [(1, Seen::Forgotten), (6, Seen::Forgotten), (7, first()), (70, first()), (71, Seen::New)]
    {
        assert_eq!(seen(&answers, 1_000, number), expected, "{number}");
    }
    assert_eq!(seen(&answers, 1_000 + WINDOW_MS, 70), first());
    assert_eq!(seen(&answers, 1_001 + WINDOW_MS, 70), Seen::Forgotten);
    assert_eq!(seen(&answers, 1_001 + WINDOW_MS, 71), Seen::New);
    // Of another client nothing is known, and of one that has not asked for an hour no more.
    assert_eq!(answers.seen(1_000, id(2, 1)), Seen::New);
    answers.note(answered(2, 1, 2_000 + CLIENT_MS, 2));
    assert_eq!((seen(&answers, 2_000 + CLIENT_MS, 70), answers.clients.len()), (Seen::New, 1));
}

#[test]
fn clients_that_ask_no_more_make_room() {
    let mut answers = Answers::default();
    for client in 0..20_000_u64 {
        let id = OpId { client: u128::from(client).to_le_bytes(), number: 1 };
        answers.note(Answered::new(id, client, b"ok"));
    }
    assert!(answers.bytes <= BYTES_MAX && answers.clients.len() > 5_000);
    let last = OpId { client: 19_999_u128.to_le_bytes(), number: 1 };
    assert_eq!(answers.seen(20_000, last), Seen::Answered(Some(b"ok"[..].into())));
}

#[test]
fn records_are_split_as_they_were_joined() {
    let plain = |text: &str| Record::from(text.as_bytes());
    let of = |record: &[u8]| {
        let mut changes = Vec::new();
        split(record, |change| changes.push(change.to_vec())).map(|answered| (answered, changes))
    };
    let one = answered(3, 9, 77, 5);
    for (answered, changes) in [
        (Some(&one), vec![plain("a")]),
        (Some(&one), vec![]),
        (None, vec![plain("a"), plain(""), plain("bcd")]),
    ] {
        let record = join(answered, &changes);
        let back = of(&record).unwrap();
        assert_eq!(back.0.as_ref(), answered);
        assert!(back.1.iter().map(|change| &change[..]).eq(changes.iter().map(|change| &**change)));
        assert_eq!(of(&record[..record.len() - 1]).map(|(answered, _)| answered), None);
    }
    assert_eq!(of(b"\x01plain"), Some((None, vec![b"\x01plain".to_vec()])));
}
