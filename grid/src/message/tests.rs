//! One message of each kind, and what damage does to it.

use std::sync::Arc;

use super::*;
use crate::invalidation::Item;
use crate::random::{Random, assert_calm, assert_strict, fuzz_rounds};
use crate::replica::{Before, Begin, FillId, Op, Patch, Record};

fn envelope(message: Message) -> Envelope {
    let (cluster, boot) = (ClusterId(7 << 100), Boot(3));
    Envelope { cluster, from: NodeId(1), boot, to: NodeId(2), message }
}

fn short(envelope: &Envelope) -> Vec<u8> {
    let mut bytes = Vec::new();
    envelope.encode_short_to(&mut bytes);
    bytes
}

/// An operation as it comes to a copy that has the entry that it changes.
fn patched(random: &mut Random) -> Op {
    let (old, number) = (random.bytes(99), random.next());
    let new = [&old[..old.len() / 2], &random.bytes(9)[..], &old[old.len() / 2..]].concat();
    let before = Before { key: &random.bytes(9), number, record: &old, head: 0 };
    let patch = Some(Arc::new(Patch::in_runs(before, (&new, 0), 1)));
    Op { patch, ..Op::whole(random.next(), random.epoch(), Record::default()) }
}

fn peers(random: &mut Random) -> Vec<Peer> {
    let epoch = random.epoch();
    let fill = FillId { since: random.next(), begun: random.epoch() };
    let op = |random: &mut Random| Op::whole(random.next(), random.epoch(), random.bytes(9).into());
    let last = random.next();
    let (of, same, keeps) = (random.epoch(), random.next(), random.bool());
    let begin = Begin { after: last, of, same, keeps };
    vec![
        Peer::Repl { epoch, prev: last, ops: random.many(op), committed: random.next() },
        Peer::Repl { epoch, prev: last, ops: vec![patched(random), op(random)], committed: last },
        Peer::Ack { epoch, last, committed: random.next(), since: random.next() },
        Peer::Lacks { epoch, last },
        Peer::Ask { epoch },
        Peer::Has { epoch, last },
        Peer::Fetch { epoch, after: last },
        Peer::Tail { epoch, ops: random.many(op) },
        Peer::Probe { epoch, fill },
        Peer::Holds { epoch, fill, end: (random.epoch(), last) },
        Peer::Fill { epoch, fill, begin },
        Peer::Chunk { epoch, fill, number: last, bytes: random.bytes(30) },
        Peer::Took { epoch, fill, number: last },
        Peer::Confirm { epoch, round: last },
        Peer::Confirmed { epoch, round: last },
    ]
}

fn wishes(random: &mut Random) -> Vec<Wish> {
    let (node, copy, since) = (random.node(), random.copy(), random.next());
    vec![
        Wish::Shrink(node),
        Wish::Expand(copy, since),
        Wish::Abandon(copy, since),
        Wish::GaveUp(node),
    ]
}

fn invalidations(random: &mut Random) -> Vec<invalidation::Peer> {
    use invalidation::Peer;
    let (session, n, cache) = (random.next(), random.next(), random.group());
    let key = Some(random.bytes(9).into());
    vec![
        Peer::Hello { session },
        Peer::Welcome { session, ours: None },
        Peer::Welcome { session, ours: Some(n) },
        Peer::Invalid { session, n, items: vec![Item { cache, key }, Item { cache, key: None }] },
        Peer::Check { session, n },
        Peer::Confirm { to: Boot(n), session, n },
        Peer::Bye { session },
    ]
}

/// All kinds but Raft's, which has tests of its own.
fn messages(random: &mut Random) -> Vec<Message> {
    let (group, segment, epoch) = (random.group(), random.segment(), random.epoch());
    let (n, index, wall) = (random.next(), random.next(), random.next());
    let mut all = vec![
        Message::Beat { incarnation: Incarnation(index), n, wall },
        Message::Grant { incarnation: Incarnation(index), n, index },
        Message::NoMember,
        Message::GiveUp(GiveUp { node: random.node(), group, segment, epoch }),
    ];
    let silence = Silence { node: random.node(), ours: n, theirs: index };
    all.extend([Message::Silent(silence), Message::Over(silence)]);
    all.extend(invalidations(random).into_iter().map(Message::Invalidation));
    all.extend((0..8).map(|_| Message::Propose(random.command())));
    let request = |wish| Message::Ask(Request { group, segment, epoch, wish });
    all.extend(wishes(random).into_iter().map(request));
    all.extend(peers(random).into_iter().map(|peer| Message::Copies(vec![(group, segment, peer)])));
    all
}

#[test]
fn all_messages_come_as_they_were_sent_or_not_at_all() {
    for seed in 0..20 {
        for message in messages(&mut Random(seed)) {
            let envelope = envelope(message);
            assert_strict(&envelope, &envelope.encode(), Envelope::decode);
            assert_strict(&envelope, &short(&envelope), Envelope::decode);
        }
    }
}

/// `ISOGRID_FUZZ_ROUNDS=9000000 cargo test --release -p isogrid-grid --lib fuzz_` looks longer.
#[test]
fn fuzz_damaged_messages_are_refused_or_mean_something_else() {
    for round in fuzz_rounds() {
        let mut random = Random(round);
        let all = messages(&mut random);
        let at = usize::try_from(random.below(all.len() as u64)).unwrap();
        let envelope = envelope(all[at].clone());
        let mut bytes = if random.bool() { envelope.encode() } else { short(&envelope) };
        for _ in 0..=random.below(3) {
            damage(&mut bytes, &mut random);
        }
        // What is understood is said again with as many bytes, whatever it says.
        let Some(known) = Envelope::decode(&bytes) else { continue };
        for again in [known.encode(), short(&known)] {
            assert_eq!(
                Envelope::decode(&again).as_ref(),
                Some(&known),
                "ISOGRID_FUZZ_SEED={round}"
            );
        }
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = usize::try_from(random.below(bytes.len() as u64 + 1)).unwrap();
    match (random.below(4), bytes.get_mut(at)) {
        (0, _) => bytes.truncate(at),
        (1, _) => bytes.splice(at..at, random.bytes(9)).for_each(drop),
        (_, Some(byte)) => *byte = random.next().to_le_bytes()[0],
        (_, None) => {}
    }
}

#[test]
fn copies_say_in_which_epoch_they_speak() {
    let mut random = Random(1);
    for peer in peers(&mut random) {
        let mut bytes = Vec::new();
        peer.encode(&mut bytes);
        let epoch = Epoch::decode(&mut crate::bytes::Input(&bytes[1..]));
        assert_eq!(epoch, Some(peer.epoch()), "{peer:?}");
    }
}

#[test]
fn bytes_of_strangers_are_refused() {
    let front = envelope(Message::Grant { incarnation: Incarnation(1), n: 1, index: 1 }).encode();
    // Up to where the message begins; each kind of it gets its turn.
    let front = &front[..front.len() - 17];
    assert_calm(&[], Envelope::decode);
    assert_calm(front, Envelope::decode);
    for kind in 1..=12 {
        assert_calm(&[front, &[7, 0, 0, 0, 0, kind, 0, 0, 0, 0]].concat(), Envelope::decode);
    }
    let mut future =
        envelope(Message::Grant { incarnation: Incarnation(1), n: 1, index: 1 }).encode();
    future[0] += 1;
    assert_eq!(Envelope::decode(&future), None);
}

/// The count is an outsider's: nothing is reserved before what it counts has come.
#[test]
fn a_count_that_lies_is_no_message() {
    let front = envelope(Message::Grant { incarnation: Incarnation(1), n: 1, index: 1 }).encode();
    let front = &front[..front.len() - 17];
    let epoch = [1, 0, 0, 0];
    let fronts: [&[u8]; 3] = [
        // Changes; operations behind a number; a tail of operations.
        &[4, 3],
        &[&[7, 0, 0, 0, 0, 1], &epoch[..], &[0; 8]].concat(),
        &[&[7, 0, 0, 0, 0, 7], &epoch[..]].concat(),
    ];
    for kind in fronts {
        for count in [1, u64::from(u32::MAX), u64::MAX / 64, u64::MAX] {
            let bytes = [front, kind, &count.to_le_bytes(), &[0; 11]].concat();
            assert_eq!(Envelope::decode(&bytes), None, "{count} of {kind:?}");
        }
    }
}
