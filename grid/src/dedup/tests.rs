//! Requests that come again, against a list of all that was ever answered.

use isogrid_engine::env::split_mix;

use super::*;

const LIMITS: DedupLimits = DedupLimits { answers: 5, bytes: 100, instances: 3, window: 1_000 };

fn history(seed: u64) {
    let replay = format!("cd grid; ISOGRID_SEED={seed} cargo test dedup");
    let (mut rng, mut dedup, mut now) = (seed, Dedup::new(LIMITS), 10_000);
    // What was answered, in order; what is under way.
    let mut answered: Vec<(Timestamp, Instance, u64, u64)> = Vec::new();
    let mut under_way: Vec<(Instance, u64)> = Vec::new();
    let (mut again, mut forgotten) = (0, 0);
    for step in 0..400u64 {
        now += split_mix(&mut rng) % 80;
        let instance = [u8::try_from(split_mix(&mut rng) % 6).unwrap(); 16];
        let number = split_mix(&mut rng) % 4;
        let busy = under_way.iter().position(|way| *way == (instance, number));
        let known = answered.iter().rev().find(|(_, i, n, _)| (*i, *n) == (instance, number));
        match dedup.begin(now, instance, number) {
            Seen::Answered(answer) => {
                let (at, .., first) = *known.expect("an answer that nobody gave");
                assert_eq!(answer, first, "not the first answer; {replay}");
                assert!(at + LIMITS.window >= now, "older than the window; {replay}");
                again += 1;
            }
            Seen::UnderWay => assert!(busy.is_some(), "{replay}"),
            Seen::New => {
                assert!(busy.is_none(), "begun while it is under way; {replay}");
                // Nothing came between that could have taken its place.
                let last = answered.last().is_some_and(|(at, i, n, told)| {
                    let fresh = at + LIMITS.window >= now;
                    (*i, *n, *told + 1) == (instance, number, step) && fresh
                });
                assert!(!last, "the last answer was forgotten; {replay}");
                forgotten += u64::from(known.is_some());
                match split_mix(&mut rng) % 4 {
                    0 => under_way.push((instance, number)),
                    1 => dedup.undone(instance, number),
                    _ => {
                        dedup.done(now, instance, number, step, 9);
                        answered.push((now, instance, number, step));
                    }
                }
            }
        }
        let limit = LIMITS.instances + under_way.len();
        if split_mix(&mut rng).is_multiple_of(3)
            && let Some((instance, number)) = under_way.pop()
        {
            dedup.undone(instance, number);
        }
        let counted = |w: &Window<u64>| w.order.len();
        let (windows, idle) = (dedup.windows.len(), dedup.idle.len());
        assert!(windows <= limit && windows == idle, "{windows} {idle}; {replay}");
        let held: usize = dedup.windows.values().map(counted).sum();
        assert_eq!((dedup.bytes(), dedup.bytes() <= LIMITS.bytes), (held * 9, true), "{replay}");
        assert!(dedup.windows.values().all(|w| counted(w) <= LIMITS.answers), "{replay}");
    }
    assert!(again > 5 && forgotten > 5, "{again} {forgotten}");
}

#[test]
fn the_first_answer_comes_again_within_the_window() {
    let given = std::env::var("ISOGRID_SEED").ok().and_then(|seed| seed.parse().ok());
    given.map_or(0..100, |seed: u64| seed..seed + 1).for_each(history);
}

#[test]
fn what_is_under_way_is_not_begun_again_however_long_it_takes() {
    let (mut dedup, me) = (Dedup::new(LIMITS), [1; 16]);
    assert_eq!(dedup.begin(0, me, 7), Seen::New);
    assert_eq!(dedup.begin(5_000, me, 7), Seen::UnderWay);
    assert_eq!(dedup.begin(9_000, [2; 16], 7), Seen::New);
    dedup.done(9_000, me, 7, "done", 4);
    assert_eq!(dedup.begin(9_001, me, 7), Seen::Answered("done"));
    assert_eq!(dedup.begin(10_001, me, 7), Seen::New);
}
