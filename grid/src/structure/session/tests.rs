//! What single sessions do, as stories.

use std::collections::BTreeMap;

use isogrid_engine::env::split_mix;
use isogrid_wire::native::Value;
use isogrid_wire::native::cache::FieldOp;

use super::*;

fn fresh(now: u64, idle: u64, absolute: u64) -> Record<'static> {
    Record { version: 1, ..Record::new(now, idle, absolute) }
}

fn after<'a>(op: &SessionOp<'a>, now: u64, there: Stored<'a>) -> (SessionReply<'a>, Stored<'a>) {
    let (reply, change) = apply(now, op, Some(there.clone()));
    match change {
        Change::Keep => (reply, there),
        Change::Touch(record) => (reply, Stored::Live(record)),
        Change::Put(stored) => (reply, stored),
    }
}

#[test]
fn a_session_that_is_used_never_ends_early_and_is_seldom_written() {
    for idle in [500, 1_000, 30_000, 1_800_000, 86_400_000] {
        let (mut there, mut writes) = (Stored::Live(fresh(77, idle, 0)), 0);
        let (mut now, mut last) = (77, 77);
        let mut state = idle;
        for _ in 0..400 {
            now += 1 + split_mix(&mut state) % (idle * 99 / 100).min(40_000);
            let (reply, then) = after(&SessionOp::Touch, now, there.clone());
            assert!(
                matches!(reply, SessionReply::Touched(Some(left)) if left == idle),
                "{reply:?}"
            );
            writes += u32::from(then != there);
            (there, last) = (then, now);
        }
        let end = there.deadline().unwrap();
        let (least, most) = (last + idle, last + idle + 1_000.max(idle / 20));
        assert!((least..=most).contains(&end), "{idle}: {end} of {least} to {most}");
        assert_eq!(apply(end, &SessionOp::Touch, Some(there)).0, SessionReply::Absent);
        if idle >= 1_800_000 {
            assert!(writes < 150, "{idle}: {writes} of 400 uses were written");
        }
    }
}

#[test]
fn a_whole_lifetime_ends_whatever_is_done() {
    let there = Stored::Live(fresh(0, 60_000, 100_000));
    let (_, there) = after(&SessionOp::Touch, 59_000, there);
    assert_eq!(there.deadline(), Some(100_000));
    let (reply, _) = after(&SessionOp::Touch, 99_999, there.clone());
    assert_eq!(reply, SessionReply::Touched(Some(1)));
    assert_eq!(after(&SessionOp::Touch, 100_000, there).0, SessionReply::Absent);
}

#[test]
fn every_limit_is_named() {
    let (long, large) = ("n".repeat(NAME_MAX + 1), vec![0; ATTRIBUTE_MAX + 1]);
    let (names, full) = ((0..=ATTRIBUTES_MAX).map(|at| at.to_string()), vec![0; ATTRIBUTE_MAX]);
    let names: Vec<String> = names.collect();
    let set = |name, value| FieldChange { name, op: FieldOp::Set, value: Value::Inline(value) };
    let over: Vec<_> = names.iter().map(|name| set(name, b"")).collect();
    let heavy: Vec<_> = names.iter().take(16).map(|name| set(name, &full)).collect();
    let add = |value| FieldChange { name: "n", op: FieldOp::Add, value: Value::Inline(value) };
    let most = i64::MAX.to_be_bytes();
    let json = FieldChange { name: "n", op: FieldOp::JsonMerge, value: Value::Inline(b"{") };
    for (changes, expected) in [
        (vec![set("", b"")], "1 to 255"),
        (vec![set(&long, b"")], "has 256 bytes"),
        (vec![set("cart", &large)], "\"cart\" would have 65537 bytes, 65536 at the most"),
        (over, "257 attributes, 256 at the most"),
        (heavy, "1048576 at the most"),
        (vec![add(b"1")], "8 bytes"),
        (vec![add(&most), add(&most)], "64 bits"),
        (vec![json], "JSON"),
    ] {
        let (changes, mode) = (List::of(&changes), SaveMode::Merge);
        let save = SessionOp::Save { base: 0, mode, changes, removals: List::of(&[]) };
        let there = Stored::Live(fresh(0, 0, 0));
        let (reply, change) = apply(0, &save, Some(there));
        let SessionReply::Refused(refusal) = reply else { panic!("{expected}: {reply:?}") };
        assert!(refusal.to_string().contains(expected), "{refusal} has no {expected:?}");
        assert_eq!(change, Change::Keep);
    }
    let index: Vec<&str> = names.iter().take(INDEX_MAX + 1).map(String::as_str).collect();
    for (idle, index, expected) in [
        (LIFETIME_MAX + 1, vec![], "`idle`"),
        (0, index, "17 names to find it by, 16 at the most"),
        (0, vec![""], "1 to 255"),
    ] {
        let (attributes, index) = (List::of(&[]), List::of(&index));
        let create = SessionOp::Create { idle, absolute: 0, attributes, index };
        let SessionReply::Refused(refusal) = apply(0, &create, None).0 else {
            panic!("{expected}")
        };
        assert!(refusal.to_string().contains(expected), "{refusal} has no {expected:?}");
    }
}

/// Two ids, each an entry of its own.
#[derive(Default)]
struct Ids(BTreeMap<&'static [u8], (Vec<u8>, u64, u32)>, u64);

const A: &[u8] = b"an id of 16 byte";
const B: &[u8] = b"another 16 bytes";

impl Ids {
    fn act<R>(
        &mut self,
        id: &'static [u8],
        op: &SessionOp<'_>,
        say: impl FnOnce(SessionReply<'_>, u64) -> R,
    ) -> R {
        let before = self.0.get(id).cloned();
        let decode = |(value, version, flags): &(Vec<u8>, u64, u32)| {
            // The bytes live as long as the test does.
            Stored::decode(Box::leak(value.clone().into_boxed_slice()), *version, *flags)
        };
        let (reply, change) = apply(1_000, op, before.as_ref().and_then(decode));
        let mut version = before.map_or(0, |before| before.1);
        if let Change::Put(stored) = change {
            self.1 += 1;
            version = self.1;
            let kept = stored.encode();
            self.0.insert(id, (kept.value, version, kept.flags));
        }
        say(reply, version)
    }

    fn step(&mut self, step: &Step) -> Heard {
        let load = SessionOp::Load { known: 0, touch: false };
        let (id, op) = match step {
            Step::Take => (A, load),
            Step::Look => (B, load),
            Step::Adopt { version, record } => {
                (B, SessionOp::Adopt { from: A, version: *version, record })
            }
            Step::Retire { version } => {
                (A, SessionOp::Retire { to: B, version: *version, grace: 9 })
            }
            Step::Undo => (B, SessionOp::Destroy),
            Step::End(heard) => return heard.clone(),
        };
        let is_look = *step == Step::Look;
        self.act(id, &op, |reply, version| match reply {
            SessionReply::Loaded(_) if is_look => Heard::Done(version),
            SessionReply::Loaded(record) => Heard::Taken { version, record: record.encode() },
            SessionReply::Exists => Heard::Exists,
            SessionReply::Absent => Heard::Absent,
            SessionReply::Destroyed => Heard::Destroyed,
            SessionReply::Renewed { to, .. } => Heard::Renewed(to.to_vec()),
            SessionReply::Changed => Heard::Changed,
            _ => Heard::Done(version),
        })
    }

    fn save(&mut self, id: &'static [u8], name: &str) -> bool {
        let change = [FieldChange { name, op: FieldOp::Set, value: Value::Inline(b"x") }];
        let (changes, removals) = (List::of(&change), List::of(&[]));
        let save = SessionOp::Save { base: 0, mode: SaveMode::Merge, changes, removals };
        self.act(id, &save, |reply, _| matches!(reply, SessionReply::Saved { .. }))
    }

    fn names(&mut self, id: &'static [u8]) -> Option<Vec<String>> {
        let load = SessionOp::Load { known: 0, touch: false };
        self.act(id, &load, |reply, _| match reply {
            SessionReply::Loaded(record) => {
                Some(record.attributes.0.keys().map(ToString::to_string).collect())
            }
            _ => None,
        })
    }
}

/// Two who renew the same id, while others save and destroy.
struct Renewals {
    ids: Ids,
    renewals: [Renewal; 2],
    steps: [Step; 2],
    sent: Vec<Step>,
    saved: Vec<String>,
    destroyed: bool,
}

impl Renewals {
    fn new() -> Renewals {
        let mut ids = Ids::default();
        let (attributes, index) = (List::of(&[]), List::of(&[]));
        let create = SessionOp::Create { idle: 0, absolute: 0, attributes, index };
        ids.act(A, &create, |reply, _| assert_eq!(reply, SessionReply::Created));
        let mut renewals = [Renewal::default(), Renewal::default()];
        let steps = renewals.each_mut().map(Renewal::begin);
        Renewals { ids, renewals, steps, sent: Vec::new(), saved: Vec::new(), destroyed: false }
    }

    fn go_on(&mut self, who: usize) {
        let heard = self.ids.step(&self.steps[who]);
        self.sent.push(self.steps[who].clone());
        if !matches!(self.steps[who], Step::End(_)) {
            self.steps[who] = self.renewals[who].next(heard, B);
        }
    }

    /// A step that was on its way for long.
    fn repeat(&mut self, at: u64) {
        let late = usize::try_from(at).ok().and_then(|at| self.sent.get(at)).cloned();
        if let Some(late) = late.filter(|late| *late != Step::Undo) {
            self.ids.step(&late);
        }
    }

    fn save(&mut self, name: String) {
        let is_saved = self.ids.save(A, &name);
        // Nobody knows the new id before the old one was given up.
        let is_renewed = matches!(self.ids.step(&Step::Take), Heard::Renewed(_));
        if is_saved || is_renewed && self.ids.save(B, &name) {
            self.saved.push(name);
        }
    }

    fn destroy(&mut self) {
        let is_done = |reply: SessionReply<'_>, _| reply == SessionReply::Done;
        self.destroyed |= self.ids.act(A, &SessionOp::Destroy, is_done);
    }
}

/// Steps are repeated, come late, or are never answered: what was saved under either id is there in
/// the end, and what was destroyed stays so.
#[test]
fn a_renewal_loses_nothing_however_its_steps_come() {
    let (mut ended, mut undone) = (0, 0);
    for seed in 0..2_000u64 {
        let mut state = seed << 20;
        let mut below = move |most: u64| split_mix(&mut state) % most;
        let mut all = Renewals::new();
        for number in 0..40 {
            match below(10) {
                0..=5 => all.go_on(below(2) as usize),
                6 => all.repeat(below(8)),
                7 | 8 => all.save(number.to_string()),
                _ if below(12) == 0 => all.destroy(),
                _ => {}
            }
        }
        for who in 0..2 {
            while !matches!(all.steps[who], Step::End(_)) {
                all.go_on(who);
            }
        }
        if all.destroyed {
            undone += 1;
            assert_eq!((all.ids.names(A), all.ids.names(B)), (None, None), "seed {seed}");
            continue;
        }
        ended += 1;
        all.saved.sort();
        assert_eq!(all.ids.names(B), Some(all.saved), "seed {seed}");
        assert_eq!(all.ids.names(A), None, "seed {seed}");
        let is_done = |step: &Step| matches!(step, Step::End(Heard::Done(_)));
        assert!(all.steps.iter().all(is_done), "seed {seed}: {:?}", all.steps);
    }
    assert!(ended > 500 && undone > 50, "{ended} {undone}");
}
