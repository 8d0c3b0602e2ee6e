//! Members that talk over a line on which the test takes away what it wants.

use super::*;
use crate::id::GroupId;

const CACHE: GroupId = GroupId(1);

struct Line {
    cores: Vec<Invalidation>,
    now: Monotonic,
    under_way: Vec<(NodeId, Boot, NodeId, Peer)>,
    /// What each member was told to drop; `*` for all.
    dropped: Vec<String>,
    asked: Vec<Silence>,
}

impl Line {
    /// Members 1 to `count`, which know each other and serve nothing yet.
    fn new(count: u64) -> Line {
        let core = |node| {
            let mut core = Invalidation::new(NodeId(node), Boot(1));
            core.view((1..=count).map(NodeId));
            core
        };
        let cores = (1..=count).map(core).collect();
        let dropped = vec![String::new(); usize::try_from(count).unwrap()];
        Line { cores, now: 1_000, under_way: Vec::new(), dropped, asked: Vec::new() }
    }

    /// All of them serve.
    fn serving(count: u64) -> Line {
        let mut line = Line::new(count);
        (1..=count).for_each(|node| line.begin(node));
        line.deliver(|_| true);
        assert!(line.cores.iter().all(|core| core.serves().is_some()));
        line.dropped.iter_mut().for_each(String::clear);
        line
    }

    fn at(node: u64) -> usize {
        usize::try_from(node - 1).unwrap()
    }

    fn core(&self, node: u64) -> &Invalidation {
        &self.cores[Line::at(node)]
    }

    fn act<T>(
        &mut self,
        node: u64,
        act: impl FnOnce(&mut Invalidation, &mut Vec<Action>) -> T,
    ) -> T {
        let (mut out, core) = (Vec::new(), &mut self.cores[Line::at(node)]);
        let (done, boot) = (act(core, &mut out), core.boot);
        for action in out {
            let dropped = &mut self.dropped[Line::at(node)];
            match action {
                Action::Send(to, peer) => self.under_way.push((NodeId(node), boot, to, peer)),
                Action::Drop(items) => items.iter().for_each(|item| {
                    let key = item.key.as_deref().unwrap_or(b"all");
                    dropped.push_str(std::str::from_utf8(key).unwrap());
                }),
                Action::Clear => dropped.push('*'),
                Action::Ask(silence) => self.asked.push(silence),
            }
        }
        done
    }

    fn begin(&mut self, node: u64) {
        let now = self.now;
        self.act(node, |core, out| core.begin(now, out));
    }

    fn write(&mut self, node: u64, key: &str) -> Ticket {
        let item = Item { cache: CACHE, key: Some(key.as_bytes().into()) };
        let (now, tenure) = (self.now, self.core(node).tenure());
        self.act(node, |core, out| core.write(now, tenure, &[item], out))
    }

    /// Whatever passes arrives, and what follows from it; the rest is lost.
    fn deliver(&mut self, passes: impl Fn(&(NodeId, Boot, NodeId, Peer)) -> bool) {
        while !self.under_way.is_empty() {
            for one in std::mem::take(&mut self.under_way) {
                if passes(&one) {
                    let ((from, boot, to, peer), now) = (one, self.now);
                    self.act(to.0, |core, out| core.receive(now, (from, boot), peer, out));
                }
            }
        }
    }

    /// Time passes, and everybody hears its tick.
    fn wait(&mut self, ms: u64) {
        self.now += ms;
        let now = self.now;
        for node in 1..=self.cores.len() as u64 {
            self.act(node, |core, out| core.tick(now, out));
        }
    }
}

fn to(node: u64) -> impl Fn(&(NodeId, Boot, NodeId, Peer)) -> bool {
    move |(_, _, to, _)| *to == NodeId(node)
}

#[test]
fn a_write_is_told_to_all_and_true_when_all_have_confirmed() {
    let mut line = Line::serving(3);
    let ticket = line.write(1, "a");
    assert_eq!(line.core(1).outcome(ticket), None);
    let both = line.under_way.clone();
    line.deliver(to(2));
    line.under_way = both;
    line.under_way.retain(to(2));
    line.deliver(|_| true);
    assert_eq!(line.core(1).outcome(ticket), None, "3 has not");
    line.wait(AGAIN_MS);
    line.deliver(|_| true);
    assert_eq!(line.core(1).outcome(ticket), Some(Ok(())));
    assert_eq!(line.dropped, ["", "a", "*"], "what 3 lacked it cannot know");
}

#[test]
fn a_member_serves_when_all_have_promised_to_tell_it() {
    let mut line = Line::new(3);
    for (node, heard_by_all) in [(1, false), (2, false), (3, true)] {
        line.begin(node);
        assert_eq!(line.core(node).serves(), None);
        line.deliver(|(_, _, to, _)| heard_by_all || to.0 < 3);
    }
    assert!(line.core(3).serves().is_some());
    assert_eq!(line.core(1).serves(), None, "3 has not heard of it");
    line.wait(AGAIN_MS);
    line.deliver(|_| true);
    assert!(line.cores.iter().all(|core| core.serves().is_some() && core.listeners() == 2));
}

#[test]
fn whoever_lacks_a_message_clears_its_cache_and_serves_when_it_is_told_again() {
    let is_write =
        |(_, _, _, peer): &(NodeId, Boot, NodeId, Peer)| matches!(peer, Peer::Invalid { .. });
    // What is lost of two writes, and what 2 drops then.
    for (lost, dropped) in [(0, "ab"), (1, "*"), (2, "a*")] {
        let mut line = Line::serving(2);
        for (n, key) in [(1, "a"), (2, "b")] {
            line.write(1, key);
            line.deliver(|message| !(is_write(message) && lost == n));
        }
        line.wait(AGAIN_MS);
        line.deliver(|_| true);
        assert_eq!(line.dropped[1], dropped, "{lost} was lost");
        assert_eq!((line.core(1).confirmed(), line.core(1).sent()), (2, 2));
        assert!(line.core(2).serves().is_some());
    }
}

/// 3 registers, and its `Hello` reaches 2 before the metadata that name it do. Then 2 lacks a write of
/// 1 and begins anew: it asked only whom its metadata named, served without 3, and did not listen to
/// what 3 went on telling its session of before. It served what 3 had written over.
#[test]
fn a_member_that_begins_anew_asks_those_too_whom_only_their_hello_has_named() {
    let mut line = Line::new(3);
    line.cores[1].view([NodeId(1)].into_iter());
    (1..=3).for_each(|node| line.begin(node));
    line.deliver(|_| true);
    line.write(1, "lost");
    line.deliver(|(from, ..)| from.0 != 1);
    line.wait(AGAIN_MS);
    line.deliver(|(from, _, to, _)| (*from, *to) != (NodeId(3), NodeId(2)));
    assert_eq!(line.core(2).serves(), None, "3 has not promised to tell it");
    let ticket = line.write(3, "k");
    assert_eq!(line.core(3).outcome(ticket), None);
    line.wait(AGAIN_MS);
    line.deliver(|_| true);
    assert!(line.core(2).serves().is_some());
}

#[test]
fn two_that_write_one_key_both_drop_it() {
    let mut line = Line::serving(2);
    let tickets = [line.write(1, "k"), line.write(2, "k")];
    line.deliver(|_| true);
    assert_eq!(line.dropped, ["k", "k"]);
    for (node, ticket) in [(1, tickets[0]), (2, tickets[1])] {
        assert_eq!(line.core(node).outcome(ticket), Some(Ok(())));
    }
}

#[test]
fn a_silent_member_is_waited_for_until_its_lease_is_over() {
    let mut line = Line::serving(2);
    let ticket = line.write(1, "a");
    line.deliver(|_| false);
    line.wait(SILENT_MS - 1);
    line.deliver(|_| false);
    assert_eq!(line.asked, []);
    line.wait(AGAIN_MS);
    line.deliver(|_| false);
    let silence = line.asked[0];
    assert_eq!((silence.node, line.core(1).outcome(ticket)), (NodeId(2), None));
    line.act(1, |core, _| core.over(silence));
    assert_eq!(line.core(1).outcome(ticket), Some(Ok(())));
    // It comes back, with an empty cache, and what the leader said of it before means nothing.
    line.begin(2);
    line.deliver(|_| true);
    line.act(1, |core, _| core.over(silence));
    let ticket = line.write(1, "b");
    assert_eq!(line.core(1).outcome(ticket), None);
    line.deliver(|_| true);
    assert_eq!(line.core(1).outcome(ticket), Some(Ok(())));
    assert_eq!(line.dropped[1], "*b");
}

#[test]
fn a_member_that_is_away_is_not_waited_for_by_one_that_begins() {
    let mut line = Line::new(2);
    line.begin(1);
    line.deliver(|_| false);
    line.wait(SILENT_MS);
    line.deliver(|_| false);
    let silence = line.asked[0];
    line.act(1, |core, _| core.over(silence));
    assert!(line.core(1).serves().is_some());
    // The other one makes sure that both know each other.
    line.begin(2);
    line.deliver(|_| true);
    assert_eq!((line.core(1).listeners(), line.core(2).listeners()), (1, 1));
}

#[test]
fn a_lease_that_was_over_leaves_writes_unknown_and_the_cache_empty() {
    let mut line = Line::serving(2);
    let ticket = line.write(1, "a");
    let before = line.core(1).serves();
    line.deliver(|_| false);
    line.begin(1);
    line.deliver(|_| true);
    assert_eq!(line.core(1).outcome(ticket), Some(Err(Unknown)));
    assert_eq!(line.dropped[0], "*");
    assert!(line.core(1).serves().is_some() && line.core(1).serves() != before);
}

#[test]
fn nobody_waits_for_a_process_that_ends() {
    let mut line = Line::serving(2);
    let ticket = line.write(1, "a");
    line.deliver(|_| false);
    line.act(2, Invalidation::end);
    line.deliver(|_| true);
    assert_eq!(line.core(1).outcome(ticket), Some(Ok(())));
    assert_eq!(line.core(2).serves(), None);
    // Whoever begins now waits for it no more than for one that is away.
    line.begin(1);
    line.deliver(|_| true);
    assert!(line.core(1).serves().is_some());
}

#[test]
fn a_new_process_begins_its_numbers_anew() {
    let mut line = Line::serving(2);
    for key in ["a", "b"] {
        line.write(1, key);
        line.deliver(|_| true);
    }
    line.cores[0] = Invalidation::new(NodeId(1), Boot(2));
    line.cores[0].view([NodeId(1), NodeId(2)].into_iter());
    line.begin(1);
    line.deliver(|_| true);
    let ticket = line.write(1, "c");
    // A confirmation for the process before is none for this one.
    let late = Peer::Confirm { to: Boot(1), session: line.core(2).session(), n: 2 };
    line.act(1, |core, out| core.receive(1_000, (NodeId(2), Boot(1)), late, out));
    assert_eq!(line.core(1).outcome(ticket), None);
    line.deliver(|_| true);
    assert_eq!(line.core(1).outcome(ticket), Some(Ok(())));
    assert_eq!(line.dropped[1], "abc");
}
