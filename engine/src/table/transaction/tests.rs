use super::*;
use crate::eviction::PolicyKind;
use crate::{KeyHash, TableConfig};

fn table(config: TableConfig) -> Table {
    Table::new(&TableConfig { seed: 1, segments: Some(4), ..config }, 0).unwrap()
}

fn value(bytes: &[u8]) -> NewEntry<'_> {
    NewEntry { value: [bytes, b""], ..NewEntry::default() }
}

fn put(table: &Table, key: &[u8], bytes: &[u8]) -> Result<u64, Error> {
    table.pin().entry(table.hash(key), key, 0).unwrap().put(&value(bytes))
}

fn get(table: &Table, key: &[u8]) -> Option<Vec<u8>> {
    table.pin().get(table.hash(key), key, 0).map(|entry| entry.value().to_vec())
}

fn read(transaction: &mut Transaction<'_>, key: &[u8]) -> Option<Vec<u8>> {
    transaction.get(key, 0).unwrap().map(|entry| entry.value.to_vec())
}

fn conflict(keys: &[&[u8]]) -> TransactionError {
    TransactionError::Conflict { keys: keys.iter().map(|key| key.to_vec()).collect() }
}

/// Keys of different segments.
fn spread(table: &Table, count: usize) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = (0..=255_u8).map(|n| vec![b'k', n]).collect();
    let segment = |key: &Vec<u8>| table.hash(key).segment;
    keys.sort_by_key(segment);
    keys.dedup_by_key(|key| segment(key));
    assert!(keys.len() >= count);
    keys.truncate(count);
    keys
}

#[test]
fn names_of_levels_come_to_what_there_is() {
    let (snapshot, serializable) = (Some(Isolation::Snapshot), Some(Isolation::Serializable));
    for (name, isolation, raised) in [
        ("READ_UNCOMMITTED", None, true),
        ("read committed", None, false),
        ("Repeatable-Read", snapshot, false),
        ("snapshot", snapshot, false),
        (" SERIALIZABLE ", serializable, false),
    ] {
        let choice = IsolationChoice { isolation, raised };
        assert_eq!(Isolation::parse(name), Some(choice), "{name}");
        let warning = choice.warning(name);
        assert_eq!(warning.is_some(), raised, "{name}");
        assert!(warning.is_none_or(|text| text.contains(name) && text.contains("READ_COMMITTED")));
    }
    assert_eq!(Isolation::parse("CHAOS"), None);
    assert_eq!(Isolation::default(), Isolation::Snapshot);
}

/// Both doctors go off duty, each since the other one is on.
#[test]
fn write_skew_is_possible_under_snapshot_and_refused_under_serializable() {
    for isolation in [Isolation::Snapshot, Isolation::Serializable] {
        let table = table(TableConfig::default());
        put(&table, b"ada", b"on").unwrap();
        put(&table, b"bob", b"on").unwrap();
        let mut first = table.transaction(isolation, 0);
        let mut second = table.transaction(isolation, 0);
        for (transaction, other, own) in
            [(&mut first, b"bob", b"ada"), (&mut second, b"ada", b"bob")]
        {
            assert_eq!(read(transaction, other).as_deref(), Some(&b"on"[..]));
            transaction.put(own, &value(b"off")).unwrap();
        }
        assert_eq!(first.commit(0).map(|done| done.versions.len()), Ok(1));
        match isolation {
            Isolation::Snapshot => assert!(second.commit(0).is_ok()),
            Isolation::Serializable => assert_eq!(second.commit(0), Err(conflict(&[b"ada"]))),
        }
    }
}

#[test]
fn a_key_that_was_read_as_absent_is_validated_under_serializable() {
    let table = table(TableConfig::default());
    let mut transaction = table.transaction(Isolation::Serializable, 0);
    assert_eq!(read(&mut transaction, b"a"), None);
    transaction.put(b"b", &value(b"1")).unwrap();
    put(&table, b"a", b"0").unwrap();
    assert_eq!(transaction.commit(0), Err(conflict(&[b"a"])));
    assert_eq!(get(&table, b"b"), None);
}

/// Deletions leave a tombstone as long as somebody may have to hear of them.
#[test]
fn a_deletion_and_a_clear_are_writes() {
    for clear in [false, true] {
        let table = table(TableConfig::default());
        put(&table, b"a", b"old").unwrap();
        let mut transaction = table.transaction(Isolation::Snapshot, 0);
        transaction.put(b"a", &value(b"new")).unwrap();
        if clear {
            table.clear(0).unwrap();
        } else {
            assert!(table.pin().entry(table.hash(b"a"), b"a", 0).unwrap().remove().unwrap());
        }
        while table.maintain(0, 1_000) {}
        assert_eq!(transaction.commit(0), Err(conflict(&[b"a"])), "clear: {clear}");
        assert_eq!(get(&table, b"a"), None);
    }
}

#[test]
fn what_was_read_and_has_expired_is_a_conflict_and_what_was_only_written_is_none() {
    let table = table(TableConfig::default());
    for reads in [true, false] {
        let mortal = NewEntry { deadline: Some(100), ..value(b"old") };
        table.pin().entry(table.hash(b"a"), b"a", 0).unwrap().put(&mortal).unwrap();
        let mut transaction = table.transaction(Isolation::Snapshot, 0);
        if reads {
            assert_eq!(read(&mut transaction, b"a").as_deref(), Some(&b"old"[..]));
        }
        transaction.put(b"a", &value(b"new")).unwrap();
        while table.maintain(200, 1_000) {}
        let done = transaction.commit(200).map(|_| ());
        assert_eq!(done, if reads { Err(conflict(&[b"a"])) } else { Ok(()) });
    }
}

#[test]
fn a_transaction_reads_its_own_writes_and_keeps_what_it_did_not_change() {
    let table = table(TableConfig::default());
    let old = NewEntry { flags: 7, max_idle: Some(50), ..value(b"old") };
    table.pin().entry(table.hash(b"a"), b"a", 0).unwrap().put(&old).unwrap();
    let mut transaction = table.transaction(Isolation::Snapshot, 0);
    let mut entry = transaction.get(b"a", 0).unwrap().unwrap();
    entry.value = Arc::from(&b"new"[..]);
    transaction.put(b"a", &entry.as_new()).unwrap();
    assert_eq!(read(&mut transaction, b"a").as_deref(), Some(&b"new"[..]));
    let mortal = NewEntry { deadline: Some(10), ..value(b"short") };
    transaction.put(b"b", &mortal).unwrap();
    assert!(transaction.get(b"b", 9).unwrap().is_some());
    assert!(transaction.get(b"b", 10).unwrap().is_none());
    let chosen = NewEntry { version: Some(42), ..value(b"chosen") };
    transaction.put(b"c", &chosen).unwrap();
    let committed = transaction.commit(0).unwrap();
    assert_eq!(committed.record, None);
    let pinned = table.pin();
    for (key, version) in &committed.versions {
        let stored = pinned.peek(table.hash(key), key, 0).unwrap();
        assert_eq!(stored.version(), *version);
    }
    assert_eq!(committed.versions[2], (b"c".to_vec(), 42));
    let stored = pinned.peek(table.hash(b"a"), b"a", 0).unwrap();
    assert_eq!((stored.flags(), stored.max_idle(), stored.chosen_version()), (7, Some(50), None));
}

/// A session that is used in transactions alone must not count as idle.
#[test]
fn a_read_counts_for_the_idle_time() {
    let table = table(TableConfig::default());
    let idle = NewEntry { max_idle: Some(100), ..value(b"v") };
    table.pin().entry(table.hash(b"a"), b"a", 0).unwrap().put(&idle).unwrap();
    for now in (0..1_000).step_by(90) {
        let read = table.transaction(Isolation::Snapshot, now).get(b"a", now);
        assert!(read.unwrap().is_some(), "at {now}");
    }
}

/// The last write does not fit: those before it are taken back, in all segments.
#[test]
fn a_transaction_that_does_not_fit_changes_nothing() {
    let config =
        TableConfig { max_bytes: 1 << 20, eviction: PolicyKind::None, ..TableConfig::default() };
    let table = table(config);
    let keys = spread(&table, 4);
    put(&table, &keys[0], b"old").unwrap();
    put(&table, &keys[1], b"old").unwrap();
    let state =
        || (keys.iter().map(|key| get(&table, key)).collect::<Vec<_>>(), table.usage().entries);
    let before = state();
    let mut bytes = Vec::new();
    for round in 0..50 {
        let mut transaction = table.transaction(Isolation::Serializable, 0);
        transaction.remove(&keys[1]).unwrap();
        transaction.put(&keys[0], &value(b"new")).unwrap();
        transaction.put(&keys[2], &value(&[1; 500_000])).unwrap();
        transaction.put(&keys[3], &value(&[1; 600_000])).unwrap();
        let refused = transaction.commit(0);
        let full = matches!(refused, Err(TransactionError::Refused(Error::Full { .. })));
        assert!(full, "{refused:?}");
        assert_eq!(state(), before, "round {round}");
        while table.maintain(0, 1_000) || table.usage().retired_bytes > 0 {}
        bytes.push(table.usage().bytes);
    }
    // The first rounds make the segments their lists.
    assert_eq!(bytes[10], bytes[49], "{bytes:?}");
    put(&table, &keys[1], b"goes on").unwrap();
}

#[test]
fn a_transaction_has_a_limit_and_goes_on_without_what_is_too_much() {
    let table = table(TableConfig::default());
    let mut transaction = table.transaction(Isolation::Snapshot, 0);
    let most = vec![0; TRANSACTION_BYTES_MAX - KEY_BYTES - 1];
    transaction.put(b"a", &value(&most)).unwrap();
    assert_eq!(transaction.bytes(), TRANSACTION_BYTES_MAX);
    let bytes = TRANSACTION_BYTES_MAX + KEY_BYTES + 2;
    assert_eq!(transaction.put(b"b", &value(b"1")), Err(TransactionError::TooLarge { bytes }));
    assert_eq!(transaction.get(b"c", 0), Err(TransactionError::TooLarge { bytes: bytes - 1 }));
    transaction.put(b"a", &value(b"less")).unwrap();
    transaction.put(b"b", &value(b"1")).unwrap();
    let empty = TransactionError::Refused(Error::KeyLength { len: 0 });
    assert_eq!(transaction.put(b"", &value(b"1")), Err(empty.clone()));
    assert_eq!(transaction.remove(b""), Err(empty));
    assert_eq!(transaction.commit(0).map(|done| done.versions.len()), Ok(2));
}

/// The part behind the prepared write would be seen later than the rest.
#[test]
fn a_write_that_its_owner_has_to_publish_blocks_a_transaction_over_it() {
    let table = table(TableConfig::default());
    let keys = spread(&table, 2);
    let in_the_way = (0..)
        .map(|n: u32| n.to_le_bytes())
        .find(|key| table.hash(key).segment == table.hash(&keys[0]).segment);
    let in_the_way = in_the_way.unwrap();
    let hash: KeyHash = table.hash(&in_the_way);
    let prepared = table.pin().entry(hash, &in_the_way, 0).unwrap().prepare_put(&value(b"p"));
    let commit = || {
        let mut transaction = table.transaction(Isolation::Snapshot, 0);
        keys.iter().for_each(|key| transaction.put(key, &value(b"t")).unwrap());
        transaction.commit(0).map(|_| ())
    };
    assert_eq!(commit(), Err(TransactionError::Blocked));
    assert_eq!(get(&table, &keys[1]), None);
    table.publish(&[prepared.unwrap()], 0);
    assert_eq!(commit(), Ok(()));
}
