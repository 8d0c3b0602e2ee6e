use super::*;
use crate::id::{GroupId, SegmentId};
use crate::replica::OpId;
use crate::tx::Hold;

const HOME: Part = (GroupId(1), SegmentId(3));

fn tx(number: u64) -> TxId {
    TxId { begun: 1_000, name: OpId { client: [1; 16], number } }
}

/// `a` reads, `+a` writes blindly, `a=5` reads version 5, `+a=5` writes that too.
fn intent(keys: &str) -> Intent {
    let hold = |word: &str| {
        let (name, seen) = word.split_once('=').unwrap_or((word, ""));
        let write = name.starts_with('+').then(|| b"value".to_vec());
        let key = name.trim_start_matches('+').into();
        Hold { key, seen: seen.parse().ok(), write }
    };
    Intent { home: HOME, version: 77, holds: keys.split_whitespace().map(hold).collect() }
}

/// Keys have these versions: `a` 5, `b` 6, others none.
fn version(key: &[u8]) -> u64 {
    match key {
        b"a" => 5,
        b"b" => 6,
        _ => 0,
    }
}

fn vote(ledger: &Ledger, now: Timestamp, number: u64, keys: &str) -> Option<Vote> {
    match ledger.prepare(now, (tx(number), false), &intent(keys), version) {
        Preparing::Known(vote) | Preparing::Refused(vote) => Some(vote),
        Preparing::New | Preparing::Unknown => None,
    }
}

#[test]
fn what_is_known_of_a_name() {
    let mut ledger = Ledger::default();
    let known = |ledger: &Ledger, number| ledger.known(tx(number).name);
    ledger.apply(&Note::Prepare(tx(1), intent("+a")));
    ledger.apply(&Note::Decide(tx(2), Decision::Commit, vec![HOME], None));
    ledger.apply(&Note::Decide(tx(3), Decision::Abort, Vec::new(), None));
    ledger.apply(&Note::Alone(tx(4), intent("+b")));
    use Known::{Decided, Nothing, Open};
    let (abort, commit) = (Decided(Decision::Abort), Decided(Decision::Commit));
    assert_eq!(
        [1, 2, 3, 4, 5].map(|at| known(&ledger, at)),
        [Open, commit, abort, commit, Nothing]
    );
    // How one ended whose decision is elsewhere is not known here.
    ledger.apply(&Note::End(tx(1)));
    ledger.apply(&Note::End(tx(4)));
    ledger.apply(&Note::Close(tx(2)));
    assert_eq!([1, 2, 4].map(|at| known(&ledger, at)), [Nothing, commit, commit]);
}

#[test]
fn who_may_hold_keys() {
    let mut ledger = Ledger::default();
    ledger.noted(&Note::Prepare(tx(1), intent("+w r")));
    let conflict = |keys: &str| {
        Some(Vote::Conflict(keys.split_whitespace().map(|key| key.as_bytes().to_vec()).collect()))
    };
    for (number, keys, is) in [
        (2, "a=5 +b=6 +c=0", None),
        (2, "a=4", conflict("a")),
        (2, "a=5 +b=7 +c=1", conflict("b c")),
        (2, "w", conflict("w")),
        (2, "+w", conflict("w")),
        (2, "r", None),
        (2, "+r", conflict("r")),
        (1, "+w r", Some(Vote::Prepared(77))),
    ] {
        assert_eq!(vote(&ledger, 1_000, number, keys), is, "{number} {keys}");
    }
    let seen =
        |key: &str| [ledger.is_held(key.as_bytes(), false), ledger.is_held(key.as_bytes(), true)];
    assert_eq!([seen("w"), seen("r"), seen("a")], [[true, true], [false, true], [false, false]]);
    let late = 1_000 + TAKEN_MS + 1;
    assert_eq!(vote(&ledger, late, 2, "a=5"), Some(Vote::Over), "it is too old");
}

#[test]
fn the_first_decision_stands() {
    use Decision::{Abort, Commit};
    for (first, second, stands) in
        [(Commit, Abort, Commit), (Abort, Commit, Abort), (Commit, Commit, Commit)]
    {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.decide(1_000, tx(1), first, Seen::New), Deciding::New(first));
        ledger.noted(&Note::Decide(tx(1), first, vec![HOME], None));
        let again = ledger.decide(1_000, tx(1), second, Seen::New);
        assert_eq!(again, Deciding::Known(Ruling::Decided(stands)));
    }
    let late = 1_000 + TAKEN_MS + 1;
    assert_eq!(Ledger::default().decide(late, tx(1), Commit, Seen::New), Deciding::New(Abort));
}

/// Of several transactions that were made of one request the first one is it.
#[test]
fn a_request_that_was_answered_is_not_decided_again() {
    use Decision::{Abort, Commit};
    let answered = || Seen::Answered(Some((&b"so"[..]).into()));
    let before = || Deciding::Known(Ruling::Before(Some((&b"so"[..]).into())));
    let decided = |decision| Deciding::Known(Ruling::Decided(decision));
    let mut ledger = Ledger::default();
    ledger.noted(&Note::Decide(tx(1), Commit, vec![HOME], None));
    ledger.noted(&Note::Decide(tx(2), Abort, Vec::new(), None));
    for (number, wish, seen, is) in [
        (1, Commit, answered(), decided(Commit)),
        (1, Commit, Seen::Forgotten, decided(Commit)),
        (2, Commit, answered(), before()),
        (2, Commit, Seen::New, decided(Abort)),
        (3, Commit, answered(), before()),
        (3, Abort, answered(), before()),
        (3, Commit, Seen::Answered(None), Deciding::Known(Ruling::Before(None))),
        (3, Commit, Seen::Forgotten, Deciding::Known(Ruling::Before(None))),
        (3, Commit, Seen::New, Deciding::New(Commit)),
    ] {
        assert_eq!(ledger.decide(1_000, tx(number), wish, seen.clone()), is, "{number} {seen:?}");
    }
}

#[test]
fn what_is_not_committed_is_taken_back() {
    let mut ledger = Ledger::default();
    ledger.apply(&Note::Prepare(tx(1), intent("+a")));
    ledger.noted(&Note::Prepare(tx(2), intent("+b")));
    ledger.noted(&Note::Decide(tx(2), Decision::Commit, vec![HOME], None));
    ledger.noted(&Note::End(tx(1)));
    assert_eq!(ledger.settle(tx(1)), Settling::UnderWay);
    ledger.passive();
    assert!(ledger.is_held(b"a", false) && !ledger.is_held(b"b", true));
    assert_eq!(ledger.decision(tx(2)), None);
    assert_eq!(ledger.settle(tx(1)), Settling::Holds(&intent("+a")), "it is not ended yet");
    // It is committed after all.
    ledger.apply(&Note::Prepare(tx(2), intent("+b")));
    ledger.apply(&Note::End(tx(1)));
    assert!(!ledger.is_held(b"a", true) && ledger.is_held(b"b", false));
}

#[test]
fn what_is_over_does_not_begin_again() {
    let mut ledger = Ledger::default();
    ledger.apply(&Note::Prepare(tx(1), intent("+a")));
    ledger.apply(&Note::End(tx(1)));
    assert_eq!(vote(&ledger, 1_000, 1, "+a"), Some(Vote::Over));
    ledger.apply(&Note::Alone(tx(2), intent("+a")));
    ledger.apply(&Note::End(tx(2)));
    assert_eq!(vote(&ledger, 1_000, 2, "+a"), Some(Vote::Prepared(77)), "the same answer again");
    let forgotten = 1_000 + TAKEN_MS + REMEMBERED_MS + 1;
    assert_eq!(ledger.tend(0, forgotten), []);
    assert!(ledger.is_empty(), "nothing of it is taken any more");
    assert_eq!(vote(&ledger, forgotten, 1, "+a"), Some(Vote::Over));
}

#[test]
fn what_waits_too_long_is_looked_after() {
    let mut ledger = Ledger::default();
    let parts = vec![HOME, (GroupId(2), SegmentId(5))];
    ledger.apply(&Note::Prepare(tx(1), intent("+a")));
    ledger.apply(&Note::Decide(tx(2), Decision::Commit, parts.clone(), None));
    ledger.noted(&Note::Decide(tx(3), Decision::Commit, parts.clone(), None));
    let late = 1_000 + TAKEN_MS + REMEMBERED_MS + 1;
    let open = [Open::Ask(tx(1), HOME), Open::Tell(tx(2), parts)];
    for (monotonic, expected) in [
        (100, &open[..0]),
        (99 + PATIENCE_MS, &open[..0]),
        (100 + PATIENCE_MS, &open[..]),
        (101 + PATIENCE_MS, &open[..0]),
        (101 + 2 * PATIENCE_MS, &open[..]),
    ] {
        assert_eq!(ledger.tend(monotonic, late), expected, "at {monotonic}");
    }
    ledger.passive();
    ledger.apply(&Note::End(tx(1)));
    ledger.apply(&Note::Close(tx(2)));
    assert_eq!((ledger.doubts(), ledger.tend(1 << 40, late)), (0, Vec::new()));
    assert!(ledger.is_empty());
}

#[test]
fn a_copy_that_is_filled_knows_the_same() {
    let mut ledger = Ledger::default();
    ledger.apply(&Note::Prepare(tx(1), intent("+a b=6")));
    ledger.apply(&Note::Prepare(tx(2), intent("+c")));
    ledger.apply(&Note::Decide(tx(3), Decision::Commit, vec![HOME], None));
    ledger.apply(&Note::Prepare(tx(4), intent("+d")));
    ledger.apply(&Note::End(tx(4)));
    ledger.noted(&Note::Prepare(tx(5), intent("+e")));
    let mut bytes = Vec::new();
    ledger.encode(&mut bytes);
    // Meanwhile 2 has ended, which came with the log.
    let mut copy = Ledger::default();
    copy.apply(&Note::End(tx(2)));
    copy.merge(&bytes).expect("bytes of a ledger");
    let held = |key: &str| copy.is_held(key.as_bytes(), true);
    let are_held = ["a", "b", "c", "d", "e"].map(held);
    assert_eq!(are_held, [true, true, false, false, false], "but what is not committed");
    assert_eq!(copy.decision(tx(3)), Some(Decision::Commit));
    assert_eq!(vote(&copy, 1_000, 4, "+d"), Some(Vote::Over));
    assert_eq!(copy.merge(&bytes[1..]), None);
    // What was before that comes with the log: 4 had the key that another one has now.
    let mut bytes = Vec::new();
    ledger.apply(&Note::Prepare(tx(6), intent("+d")));
    ledger.encode(&mut bytes);
    let mut copy = Ledger::default();
    copy.merge(&bytes).expect("bytes of a ledger");
    copy.apply(&Note::Prepare(tx(4), intent("+d")));
    copy.apply(&Note::End(tx(4)));
    assert!(copy.is_held(b"d", false), "6 holds it");
}

#[test]
fn there_is_room_for_so_much() {
    let mut ledger = Ledger::default();
    let mut large = intent("+a");
    large.holds.iter_mut().for_each(|hold| hold.write = Some(vec![0; INTENTS_BYTES]));
    assert_eq!(
        ledger.prepare(1_000, (tx(1), false), &large, version),
        Preparing::New,
        "alone it fits"
    );
    ledger.noted(&Note::Prepare(tx(1), large));
    assert_eq!(vote(&ledger, 1_000, 2, "+b"), Some(Vote::Full));
}

#[test]
fn what_is_refused_alone_is_not_done_when_it_is_asked_for_again() {
    let mut ledger = Ledger::default();
    ledger.apply(&Note::Prepare(tx(1), intent("+a")));
    let conflict = Vote::Conflict(vec![b"a".to_vec()]);
    let ask = |ledger: &Ledger| ledger.prepare(1_000, (tx(2), true), &intent("+a"), version);
    assert_eq!(ask(&ledger), Preparing::Refused(conflict.clone()));
    ledger.noted(&Note::End(tx(2)));
    ledger.apply(&Note::End(tx(1)));
    assert_eq!(ask(&ledger), Preparing::Known(Vote::Over), "though the key is free now");
    ledger.passive();
    assert_eq!(ask(&ledger), Preparing::New, "nobody was told");
    ledger.apply(&Note::End(tx(2)));
    assert_eq!(ask(&ledger), Preparing::Known(Vote::Over));
}

/// Those that are over are many: the oldest are forgotten first, and what is said of them then is no
/// lie. What is not over, or not known to be by all, stays.
#[test]
fn what_is_over_takes_so_much_room() {
    let at = |begun| TxId { begun, ..tx(begun) };
    let mut ledger = Ledger::default();
    ledger.apply(&Note::Prepare(at(1), intent("+held")));
    ledger.apply(&Note::Decide(at(2), Decision::Commit, vec![HOME], None));
    for begun in 3..100_000 {
        ledger.apply(&Note::Alone(at(begun), intent("+a")));
        ledger.apply(&Note::End(at(begun)));
        assert!(ledger.remembered() <= REMEMBERED_BYTES, "at {begun}");
    }
    let ask = |ledger: &Ledger, begun, alone| {
        ledger.prepare(100_000, (at(begun), alone), &intent("+a"), version)
    };
    assert_eq!(ask(&ledger, 99_999, true), Preparing::Known(Vote::Prepared(77)), "remembered");
    assert_eq!(ask(&ledger, 3, true), Preparing::Unknown, "it may have been committed");
    assert_eq!(ask(&ledger, 3, false), Preparing::Known(Vote::Over), "it was surely not");
    let decide = |wish| ledger.decide(100_000, at(3), wish, Seen::New);
    assert_eq!(decide(Decision::Commit), Deciding::Unknown);
    assert_eq!(decide(Decision::Abort), Deciding::New(Decision::Abort));
    assert_eq!((ledger.intents(), ledger.decision(at(2))), (1, Some(Decision::Commit)));
    let mut bytes = Vec::new();
    ledger.encode(&mut bytes);
    let mut copy = Ledger::default();
    copy.merge(&bytes).expect("bytes of a ledger");
    assert_eq!(ask(&copy, 3, true), Preparing::Unknown, "a copy that is filled knows the same");
}
