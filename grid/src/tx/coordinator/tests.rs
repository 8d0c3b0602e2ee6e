use super::*;
use crate::id::{GroupId, SegmentId};

/// The segments 1 of two caches.
fn part(number: u16) -> Part {
    (GroupId(number), SegmentId(1))
}

fn parts(numbers: &[u16]) -> BTreeSet<Part> {
    numbers.iter().copied().map(part).collect()
}

fn voted(number: u16, vote: Heard<Vote>) -> Event {
    Event::Voted(part(number), vote)
}

/// What a coordinator over two segments says to these events, beside asking for the votes.
fn play(needs: Needs, events: Vec<Event>) -> Vec<Action> {
    let (home, mut out) = (part(1), Vec::new());
    let mut core = Coordinator::begin(home, parts(&[1, 2]), needs, &mut out);
    assert_eq!(out, [1, 2].map(|number| Action::Prepare(part(number), false)));
    out.clear();
    events.into_iter().for_each(|event| core.step(event, &mut out));
    out
}

fn settle(decision: Decision) -> [Action; 2] {
    [1, 2].map(|number| Action::Settle(part(number), decision))
}

#[test]
fn two_phases() {
    use Decision::{Abort, Commit};
    let yes = |part: u16| voted(part, Some(Vote::Prepared(u64::from(part) * 10)));
    let all = || [yes(1), yes(2)];
    let versions = BTreeMap::from([(part(1), 10), (part(2), 20)]);
    let done = Action::Answer(Outcome::Committed(versions));
    let decide = Action::Decide(vec![part(1), part(2)]);
    let before = Some((&b"so"[..]).into());
    let answer = |outcome: Outcome| vec![Action::Answer(outcome)];
    let conflict = Some(Vote::Conflict(vec![b"k".to_vec()]));
    let both = [1, 2].map(|number| (part(number), b"k".to_vec())).to_vec();
    for (what, events, said) in [
        ("one vote is not enough", vec![yes(1)], vec![]),
        ("nor is the same vote twice", vec![yes(1), yes(1)], vec![]),
        ("nothing is said before the decision is recorded", all().to_vec(), vec![decide.clone()]),
        (
            "it is committed when it is, and forgotten when all know",
            [&all()[..], &[Event::Decided(Some(Ruling::Decided(Commit)))]]
                .concat()
                .into_iter()
                .chain([1, 2].map(|number| Event::Settled(part(number))))
                .collect(),
            [&[decide.clone(), done][..], &settle(Commit), &[Action::Close]].concat(),
        ),
        (
            "somebody else was first, with ABORT",
            [&all()[..], &[Event::Decided(Some(Ruling::Decided(Abort)))]].concat(),
            [&[decide.clone()][..], &answer(Outcome::Failed), &settle(Abort)].concat(),
        ),
        (
            "the request was answered before, by another transaction",
            [&all()[..], &[Event::Decided(Some(Ruling::Before(before.clone())))]].concat(),
            [&[decide.clone()][..], &answer(Outcome::Before(before)), &settle(Abort)].concat(),
        ),
        (
            "nobody knows the decision, and nobody is told one",
            [&all()[..], &[Event::Decided(None)]].concat(),
            [&[decide][..], &answer(Outcome::Unknown)].concat(),
        ),
        (
            "a conflict, which says in which cache",
            vec![voted(1, conflict.clone()), voted(2, conflict)],
            [&settle(Abort)[..], &answer(Outcome::Conflict(both))].concat(),
        ),
        (
            "a segment without an answer: its intent is given back too, if there is one",
            vec![yes(1), voted(2, None)],
            [&settle(Abort)[..], &answer(Outcome::Failed)].concat(),
        ),
    ] {
        assert_eq!(play(Needs::Decision, events), said, "{what}");
    }
}

#[test]
fn what_writes_nothing_needs_no_decision() {
    let yes = |part| voted(part, Some(Vote::Prepared(0)));
    let versions = BTreeMap::from([(part(1), 0), (part(2), 0)]);
    let mut said = vec![Action::Answer(Outcome::Committed(versions))];
    said.extend(settle(Decision::Abort));
    assert_eq!(play(Needs::Nothing, vec![yes(1), yes(2)]), said);
}

#[test]
fn one_segment_decides_alone() {
    let versions = BTreeMap::from([(part(4), 9)]);
    for (vote, outcome) in [
        (Some(Vote::Prepared(9)), Outcome::Committed(versions)),
        (Some(Vote::Conflict(Vec::new())), Outcome::Conflict(Vec::new())),
        (Some(Vote::Full), Outcome::Failed),
        (None, Outcome::Unknown),
    ] {
        let mut out = Vec::new();
        let mut core = Coordinator::begin(part(4), parts(&[4]), Needs::Decision, &mut out);
        core.step(voted(4, vote), &mut out);
        assert_eq!(out, [Action::Prepare(part(4), true), Action::Answer(outcome)]);
    }
}

/// What is answered has the versions in it, so it cannot be recorded with the vote; and home may be
/// a segment that has nothing else to do with it.
#[test]
fn an_answer_that_is_remembered_is_recorded_behind_the_votes() {
    let mut out = Vec::new();
    let mut core = Coordinator::begin(part(1), parts(&[4]), Needs::Answer, &mut out);
    core.step(voted(4, Some(Vote::Prepared(9))), &mut out);
    assert_eq!(out, [Action::Prepare(part(4), false), Action::Decide(vec![part(4)])]);
    let versions = BTreeMap::from([(part(4), 9)]);
    assert_eq!((core.home(), core.versions()), (part(1), &versions));
    out.clear();
    core.step(Event::Decided(Some(Ruling::Decided(Decision::Commit))), &mut out);
    core.step(Event::Settled(part(4)), &mut out);
    let done = Action::Answer(Outcome::Committed(versions));
    let settled = Action::Settle(part(4), Decision::Commit);
    assert_eq!(out, [done, settled, Action::Close]);
}
