use super::*;

const SMALL: Draft<'static> = Draft {
    key: b"k",
    value: [b"value", b""],
    flags: 0,
    deadline: None,
    max_idle: None,
    version: None,
    marks: Marks(0),
    linked: false,
};

fn check(draft: &Draft<'_>) {
    let pointer = VersionPtr::new(draft, Slot(0x00ab_cdef), (1 << SEQ_BITS) - 2, 1_000);
    // SAFETY: the version is owned by this test until it frees it below.
    let version = unsafe { pointer.get() };
    assert_eq!(version.key(), draft.key);
    assert_eq!(version.value(), draft.value.concat());
    assert_eq!(version.flags(), draft.flags);
    assert_eq!(version.deadline(), draft.deadline);
    assert_eq!(version.max_idle(), draft.max_idle);
    assert_eq!(version.version(), draft.version);
    assert_eq!(version.marks(), draft.marks);
    assert_eq!((version.slot(), version.seq()), (Slot(0x00ab_cdef), (1 << SEQ_BITS) - 2));
    assert_eq!(version.charge(Allocator::Jemalloc), draft.charge(Allocator::Jemalloc));
    assert_eq!(version.older(), None);
    assert_eq!(version.shared().is_some(), draft.value.concat().len() >= SHARED_VALUE_LEN_MIN);
    // SAFETY: nobody else has the pointer.
    unsafe { pointer.free() };
}

#[test]
fn every_set_of_parts_reads_back() {
    let long_key = vec![b'k'; 300];
    let large = vec![b'v'; SHARED_VALUE_LEN_MIN + 7];
    for set in 0..128u32 {
        let has = |bit: u32| set & (1 << bit) != 0;
        check(&Draft {
            linked: has(0),
            key: if has(1) { &long_key } else { b"key" },
            flags: if has(2) { u32::MAX } else { 0 },
            deadline: has(3).then_some(u64::MAX - 1),
            max_idle: has(4).then_some(77),
            version: has(5).then_some(555),
            marks: if has(6) { Marks::STALE.with(Marks::LEASED) } else { Marks(0) },
            ..SMALL
        });
        check(&Draft { value: [&large, b"tail"], linked: has(0), ..SMALL });
    }
}

#[test]
fn a_small_entry_costs_twelve_bytes_of_header() {
    let draft = Draft { key: &[b'k'; 16], value: [&[b'v'; 100], b""], ..SMALL };
    assert_eq!(draft.charge(Allocator::Jemalloc), 128);
}

#[test]
fn idle_and_deadline_expire_at_the_earlier_of_both() {
    let draft = Draft { deadline: Some(1_500), max_idle: Some(200), ..SMALL };
    let pointer = VersionPtr::new(&draft, Slot(1), 1, 1_000);
    // SAFETY: owned by this test.
    let version = unsafe { pointer.get() };
    assert_eq!(version.expires_at(1_100), Some(1_200));
    version.touch_idle(1_400);
    assert_eq!(version.expires_at(1_450), Some(1_500));
    assert!(!version.is_expired(1_499) && version.is_expired(1_500));
    // SAFETY: nobody else has the pointer.
    unsafe { pointer.free() };
}
