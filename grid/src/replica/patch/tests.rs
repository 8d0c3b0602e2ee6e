use proptest::prelude::*;

use super::*;
use crate::bytes::whole;
use crate::random::Random;

fn before(record: &[u8]) -> Before<'_> {
    Before { key: b"key", number: 7, record, head: 20 }
}

fn sent(patch: &Patch) -> Patch {
    let mut bytes = Vec::new();
    patch.encode(&mut bytes);
    // Of a byte that is 0 alone there are two.
    assert!(bytes.len() <= 2 * patch.cost() + 8 * patch.pieces.len(), "{patch:?}");
    for len in 0..bytes.len() {
        assert_eq!(whole(&bytes[..len], Patch::decode), None, "cut at {len}");
    }
    whole(&bytes, Patch::decode).unwrap()
}

/// Bytes that no part of repeats.
fn noise(len: usize) -> Vec<u8> {
    let mut random = Random(1);
    (0..len).map(|_| random.next().to_le_bytes()[0]).collect()
}

/// A record, and what becomes of it: some places are written over, one grows or shrinks.
fn change() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let old = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..900),
        prop::collection::vec(0..2_u8, 0..900)
    ];
    let edits =
        prop::collection::vec((any::<prop::sample::Index>(), 0..40_usize, 0..40_usize), 0..5);
    (old, edits).prop_map(|(old, edits)| {
        let mut new = old.clone();
        for (at, gone, come) in edits {
            let at = if new.is_empty() { 0 } else { at.index(new.len()) };
            let upto = new.len().min(at + gone);
            new.splice(at..upto, std::iter::repeat_n(9, come));
        }
        (old, new)
    })
}

proptest! {
    #[test]
    fn a_patch_makes_its_record_of_the_one_before(
        (old, new) in change(),
        head in 0..40_usize,
        same_min in 1..20_usize,
    ) {
        let patch = Patch::in_runs(before(&old), (&new, head), same_min);
        prop_assert_eq!(patch.apply(7, &old), Some(new.clone()));
        prop_assert_eq!(&sent(&patch), &patch);
        prop_assert_eq!(patch.key(), b"key");
        let joined = [b"an answer", &new[..]].concat();
        let behind = patch.behind(&joined).unwrap();
        prop_assert_eq!(behind.apply(7, &old), Some(joined));
        prop_assert_eq!(patch.behind(&[&new[..], b"!"].concat()), None);
    }

    #[test]
    fn of_another_record_nothing_is_made(
        (old, new) in change(),
        (other, _) in change(),
        flip in any::<prop::sample::Index>(),
    ) {
        let patch = Patch::between(before(&old), &new, 20);
        prop_assert_eq!(patch.apply(8, &old), None, "another number");
        let mut flipped = old.clone();
        if !flipped.is_empty() {
            let at = flip.index(flipped.len());
            flipped[at] ^= 1;
        }
        for base in [other, flipped, Vec::new()] {
            let made = patch.apply(7, &base);
            prop_assert!(made.is_none() || made.as_ref() == Some(&new), "{:?}", made);
        }
    }

    #[test]
    fn bytes_of_anybody_are_a_patch_or_none(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Some(patch) = whole(&bytes, Patch::decode) {
            let _ = patch.apply(patch.number, &[7; 100]);
        }
    }
}

/// What a save of one attribute changes: the attribute, of whatever length, the eight bytes of a
/// version elsewhere, and some of the head.
#[test]
fn a_patch_is_as_long_as_what_has_changed() {
    let old = noise(64 << 10);
    for (version, attribute) in [(9_000, 40_000), (60_000, 20_000), (30_000, 30_020)] {
        for len in [0, 90, 100, 130] {
            let mut new = old.clone();
            new[3..7].copy_from_slice(b"head");
            new[version..version + 8].copy_from_slice(b"version!");
            new.splice(attribute..attribute + 100, vec![1; len]);
            // What stands ahead of the value gets longer too.
            new.splice(7..7, *b"flag");
            let patch = Patch::between(before(&old), &new, 24);
            assert!(patch.cost() <= len + 100, "{len} at {attribute}: {}", patch.cost());
            assert_eq!(patch.apply(7, &old), Some(new));
        }
    }
    let same = Patch::between(before(&old), &old, 20);
    assert!(same.cost() < 60, "{}", same.cost());
    let other: Vec<u8> = old.iter().map(|byte| byte ^ 0x55).collect();
    assert!(Patch::between(before(&old), &other, 20).cost() > old.len());
}

#[test]
fn a_record_that_a_patch_says_to_be_longer_is_none() {
    let old = noise(600);
    let mut patch = Patch::between(before(&old), &old, 20);
    patch.len -= 1;
    assert_eq!(patch.apply(7, &old), None);
    patch.len += 2;
    assert_eq!(patch.apply(7, &old), None);
    patch.pieces[0].from = usize::MAX;
    assert_eq!(patch.apply(7, &old), None);
}
