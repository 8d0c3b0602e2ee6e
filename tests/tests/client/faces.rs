//! Every face once, with what it promises.

use std::collections::BTreeSet;
use std::time::Duration;

use isogrid_wire::client::cache::{
    Change, Changed, Counted, Field, Gone, MapUpdated, Removed, Written,
};
use isogrid_wire::client::counter::Added;
use isogrid_wire::client::lock::Taken;
use isogrid_wire::client::transaction::Commit;
use isogrid_wire::client::{Cache, Cause, Error, Outcome, Transaction};
use isogrid_wire::native::ErrorCode;
use isogrid_wire::native::tx::Isolation;

use super::{client, server};

const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn entries_are_written_and_read_under_every_condition() {
    let (_server, address) = server();
    let cache = client(&address).await.cache("orders").open().await.unwrap();
    assert_eq!(cache.get(b"k").await.unwrap(), None);
    let first = cache.put(b"k", b"one").ttl(LONG).idle(LONG / 2).flags(7).await.unwrap();
    let entry = cache.get(b"k").await.unwrap().unwrap();
    assert_eq!((&*entry.value, entry.version, entry.flags), (&b"one"[..], first.version(), 7));
    assert!(entry.ttl.unwrap() <= LONG && entry.ttl.unwrap() > LONG / 2);
    assert_eq!(entry.idle, Some(LONG / 2));
    assert!(!cache.put_if_absent(b"k", b"x").await.unwrap().is_stored());
    assert!(!cache.replace(b"none", b"x").await.unwrap().is_stored());
    let second = cache.replace(b"k", b"two").return_prev().await.unwrap();
    let Written::Stored { version, prev: Some(prev) } = second else { panic!("{second:?}") };
    assert_eq!(&*prev.value, b"one");
    let late = cache.put(b"k", b"x").if_version(first.version()).await.unwrap();
    assert!(matches!(late, Written::Mismatch { version: is, .. } if is == version), "{late:?}");
    assert!(cache.put(b"k", b"12").if_version(version).await.unwrap().is_stored());
    let counted = cache.incr(b"k", 30).await.unwrap();
    assert!(matches!(counted, Counted::Done { value: 42, .. }), "{counted:?}");
    assert_eq!(cache.incr(b"none", 1).await.unwrap(), Counted::NotFound);
    assert!(matches!(
        cache.incr(b"n", 1).initial(5).await.unwrap(),
        Counted::Done { value: 5, .. }
    ));
    assert!(matches!(cache.append(b"k", b"!").await.unwrap(), Changed::Done { .. }));
    assert!(matches!(cache.prepend(b"k", b"?").await.unwrap(), Changed::Done { .. }));
    let touched = cache.get_and_touch(b"k").for_ever().await.unwrap().unwrap();
    assert_eq!(&*touched.value, b"?42!");
    assert_eq!(cache.get(b"k").await.unwrap().unwrap().ttl, None);
    assert!(matches!(cache.touch(b"k").ttl(LONG).await.unwrap(), Changed::Done { .. }));
    assert_eq!(cache.touch(b"none").ttl(LONG).await.unwrap(), Changed::NotFound);
    let wrong = cache.incr(b"k", 1).await.unwrap_err();
    assert_eq!((wrong.outcome, wrong.code()), (Outcome::Failed, Some(ErrorCode::NotANumber)));
    let kept = cache.remove(b"k").if_version(1).await.unwrap();
    assert!(matches!(kept, Removed::Mismatch { .. }), "{kept:?}");
    let removed = cache.remove(b"k").return_prev().await.unwrap();
    let Removed::Removed { prev: Some(prev) } = removed else { panic!("{removed:?}") };
    assert_eq!(&*prev.value, b"?42!");
    assert_eq!(cache.remove(b"k").await.unwrap(), Removed::NotFound);
}

#[tokio::test]
async fn fields_of_a_map_are_read_and_changed_by_themselves() {
    let (_server, address) = server();
    let client = client(&address).await;
    let cache = client.cache("carts").near(10).open().await.unwrap();
    let cart = cache.map(b"ann");
    assert_eq!(cart.get().await.unwrap(), None);
    let absent = cart.update().set("a", b"x").if_present().await.unwrap();
    assert_eq!(absent, MapUpdated::NotStored { version: 0 });
    let made = cart.update().set("a", b"1").add("n", -2).append("l", b"x").ttl(LONG).await.unwrap();
    let MapUpdated::Done { version: first, .. } = made else { panic!("{made:?}") };
    // A copy of the entry goes when a field changes.
    assert_eq!(cache.get(b"ann").await.unwrap().unwrap().version, first);
    let update = cart.update().set_if_absent("a", b"no").json_merge("j", r#"{"b":1}"#);
    let merged = update.add("n", 3).append("l", b"y").remove("none").await.unwrap();
    let MapUpdated::Done { version: second, .. } = merged else { panic!("{merged:?}") };
    assert_eq!(cache.get(b"ann").await.unwrap().unwrap().version, second);
    let read = cart.get().fields(&["a", "n", "none"]).await.unwrap().unwrap();
    let field = |value: &[u8], version| Field { value: value.to_vec(), version };
    let expected = [("a", field(b"1", first)), ("n", field(&1_i64.to_be_bytes(), second))];
    assert_eq!(read.fields, expected.map(|(name, field)| (name.to_owned(), field)).into());
    let over = cart.update().set("n", b"").set("a", b"2").since(first).await.unwrap();
    let MapUpdated::Done { version: third, conflicts } = over else { panic!("{over:?}") };
    assert_eq!(conflicts, ["n"]);
    let late = cart.update().set("a", b"x").strict(second).await.unwrap();
    let conflicts = ["a", "n"].map(str::to_owned).to_vec();
    assert_eq!(late, MapUpdated::Mismatch { version: third, conflicts });
    cart.update().set("only", b"1").replace().await.unwrap();
    let names: Vec<_> = cart.get().await.unwrap().unwrap().fields.into_keys().collect();
    assert_eq!(names, ["only"]);
    assert!(cache.get(b"ann").fresh().await.unwrap().unwrap().ttl.is_some(), "kept");
    cache.put(b"plain", b"x").await.unwrap();
    let wrong = cache.map(b"plain").get().await.unwrap_err();
    assert_eq!((wrong.outcome, wrong.code()), (Outcome::Failed, Some(ErrorCode::WrongType)));
}

#[tokio::test]
async fn a_cache_is_opened_or_made_with_its_options() {
    let (_server, address) = server();
    let client = client(&address).await;
    let missing = client.cache("orders").must_exist().open().await.unwrap_err();
    assert_eq!(missing.cause, Cause::NoSuchObject("orders".to_owned()));
    let made = client.cache("orders").ttl(LONG).option("eviction", "lru").open().await.unwrap();
    made.put(b"k", b"v").await.unwrap();
    assert!(made.get(b"k").await.unwrap().unwrap().ttl.is_some(), "that of the cache");
    let same = client.cache("orders").ttl(LONG).option("eviction", "lru").open().await.unwrap();
    assert!(same.get(b"k").await.unwrap().is_some());
    client.cache("orders").open().await.unwrap();
    let other = client.cache("orders").ttl(LONG * 2).open().await.unwrap_err();
    assert_eq!(other.code(), Some(ErrorCode::ObjectExists), "{other}");
    let strange = client.cache("x").option("colour", "blue").open().await.unwrap_err();
    assert_eq!(strange.code(), Some(ErrorCode::InvalidArgument), "{strange}");
}

#[tokio::test]
async fn many_at_once_and_all_of_them() {
    let (_server, address) = server();
    let cache = client(&address).await.cache("many").open().await.unwrap();
    let keys: Vec<String> = (0..3_000).map(|n| format!("key:{n}")).collect();
    for chunk in keys.chunks(500) {
        let entries: Vec<_> = chunk.iter().map(|key| (key.as_bytes(), key.as_bytes())).collect();
        assert_eq!(cache.put_many(&entries, Some(LONG)).await.unwrap().len(), 500);
    }
    let some = [&b"key:7"[..], b"none", b"key:2999"];
    let found = cache.get_many(&some).await.unwrap();
    let values: Vec<_> = found.iter().map(|e| e.as_ref().map(|e| e.value.to_vec())).collect();
    assert_eq!(values, [Some(b"key:7".to_vec()), None, Some(b"key:2999".to_vec())]);
    assert_eq!(cache.touch_many(&some, None).await.unwrap(), [true, false, true]);
    let mut scan = cache.scan();
    let mut seen = BTreeSet::new();
    while let Some(found) = scan.next().await.unwrap() {
        assert_eq!(found.key, *found.entry.value);
        assert!(seen.insert(found.key), "each once");
    }
    assert_eq!(seen, keys.iter().map(|key| key.clone().into_bytes()).collect());
    let mut scan = cache.scan().glob("key:1?").keys_only();
    let mut matching = 0;
    while let Some(found) = scan.next().await.unwrap() {
        assert!(found.entry.value.is_empty());
        matching += 1;
    }
    assert_eq!((matching, cache.size(true).await.unwrap()), (10, 3_000));
    assert_eq!(cache.remove_many(&some).await.unwrap(), [true, false, true]);
    cache.clear().await.unwrap();
    assert_eq!(cache.size(true).await.unwrap(), 0);
    let large = vec![b'x'; 900_000];
    cache.put(b"large", &large).await.unwrap();
    assert_eq!(*cache.get(b"large").await.unwrap().unwrap().value, *large);
}

#[tokio::test]
async fn who_listens_is_told_what_happens() {
    let (_server, address) = server();
    let (one, two) = (client(&address).await, client(&address).await);
    let cache = one.cache("heard").open().await.unwrap();
    cache.put(b"a", b"0").await.unwrap();
    let heard = two.cache("heard").open().await.unwrap();
    let mut listener = heard.listen().initial_state().with_prev().open().await.unwrap();
    let first = listener.next().await.unwrap();
    assert!(matches!(&first, Change::Created { key, .. } if key == b"a"), "{first:?}");
    cache.put(b"a", b"1").await.unwrap();
    let Change::Updated { entry, prev, .. } = listener.next().await.unwrap() else { panic!() };
    assert_eq!((&*entry.value, &*prev.unwrap().value), (&b"1"[..], &b"0"[..]));
    cache.put(b"b", b"2").ttl(Duration::from_millis(50)).await.unwrap();
    assert!(matches!(listener.next().await.unwrap(), Change::Created { .. }));
    let gone = listener.next().await.unwrap();
    assert!(matches!(&gone, Change::Gone { key, why: Gone::Expired, .. } if key == b"b"));
    cache.remove(b"a").await.unwrap();
    assert!(matches!(listener.next().await.unwrap(), Change::Gone { why: Gone::Removed, .. }));
    // More than the credit of a stream.
    for n in 0..5_000u32 {
        cache.put(&n.to_be_bytes(), b"").await.unwrap();
    }
    let mut told = 0;
    while told < 5_000 {
        assert!(matches!(listener.next().await.unwrap(), Change::Created { .. }));
        told += 1;
    }
}

#[tokio::test]
async fn counters_count() {
    let (_server, address) = server();
    let counters = client(&address).await.counters("default").await.unwrap();
    assert_eq!(counters.get("a").await.unwrap(), None);
    assert_eq!(counters.add("a", 5).await.unwrap(), Added::Done(5));
    assert_eq!(counters.compare_and_set("a", 4, 9).await.unwrap(), Err(5));
    assert_eq!(counters.compare_and_set("a", 5, 9).await.unwrap(), Ok(9));
    assert_eq!(counters.set("a", -3).await.unwrap(), 9);
    let sums = counters.add_many(&[("a", 1), ("b", 2)]).await.unwrap();
    assert_eq!(sums, [Ok(-2), Ok(2)]);
    assert_eq!(counters.reset("a").await.unwrap(), 0);
    let one = counters.ids("invoice", 10).await.unwrap();
    let two = counters.ids("invoice", 10).await.unwrap();
    assert!(two.first >= one.first + 10 * u64::from(one.step), "{one:?} {two:?}");
}

#[tokio::test]
async fn a_lock_has_one_holder_and_tokens_rise() {
    let (_server, address) = server();
    let (one, two) = (client(&address).await, client(&address).await);
    let (mine, yours) = (one.locks("default").await.unwrap(), two.locks("default").await.unwrap());
    let cache = one.cache("guarded").open().await.unwrap();
    let info = r#"{"who":"one"}"#;
    let guard = mine.lock(b"k").info(info).acquire().await.unwrap().guard().unwrap();
    match yours.lock(b"k").acquire().await.unwrap() {
        Taken::Busy { holder } => assert!(holder.contains("one"), "{holder}"),
        Taken::Held(_) => panic!("two holders"),
    }
    assert!(mine.lock(b"k").acquire().await.unwrap().guard().is_none(), "nor twice by one client");
    assert!(cache.put(b"x", b"y").fence(&guard).await.unwrap().is_stored());
    let waiting = tokio::spawn(async move {
        let taken = yours.lock(b"k").wait(Duration::from_secs(15)).acquire().await.unwrap();
        taken.guard().unwrap()
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let first = guard.token();
    guard.release().await.unwrap();
    let second = waiting.await.unwrap();
    assert!(second.token() > first && !second.is_lost());
    drop(second);
    // The guard's end is on its way; somebody who waits gets the lock.
    let wait = Duration::from_secs(15);
    let shared = mine.shared_lock(b"k").wait(wait).acquire().await.unwrap().guard().unwrap();
    assert!(mine.shared_lock(b"k").acquire().await.unwrap().guard().is_some());
    drop(shared);
    let permits = mine.permits(b"pool", 2, 3).acquire().await.unwrap().guard().unwrap();
    assert!(mine.permits(b"pool", 2, 3).acquire().await.unwrap().guard().is_none());
    permits.release().await.unwrap();
    assert!(mine.permits(b"pool", 3, 3).acquire().await.unwrap().guard().is_some());
}

#[tokio::test]
async fn transactions_are_all_or_nothing() {
    let (_server, address) = server();
    let client = client(&address).await;
    let a = client.cache("a").open().await.unwrap();
    let b = client.cache("b").open().await.unwrap();
    a.put(b"k", b"100").await.unwrap();
    let tx = client.transaction();
    assert_eq!(tx.get(&a, b"k").await.unwrap().unwrap(), b"100");
    assert_eq!(tx.get(&a, b"m").await.unwrap(), None);
    tx.put(&a, b"m", b"1");
    tx.remove(&a, b"k");
    assert_eq!(tx.get(&a, b"k").await.unwrap(), None, "it sees what it writes");
    a.put(b"m", b"mine").await.unwrap();
    let Commit::Conflict(keys) = tx.commit().await.unwrap() else { panic!("lost update") };
    assert_eq!((keys.len(), keys[0].cache.as_str(), &*keys[0].key), (1, "a", &b"m"[..]));
    assert!(a.get(b"k").await.unwrap().is_some(), "nothing of it is in force");

    let movers = (0..8).map(|_| {
        let (client, a, b) = (client.clone(), a.clone(), b.clone());
        tokio::spawn(async move {
            for _ in 0..10 {
                client
                    .transact(Duration::from_secs(20), |tx| {
                        let (a, b) = (&a, &b);
                        async move {
                            let (from, to) =
                                (number(&tx, a, b"k").await?, number(&tx, b, b"k").await?);
                            tx.put(a, b"k", (from - 1).to_string().as_bytes());
                            tx.put(b, b"k", (to + 1).to_string().as_bytes());
                            Ok(())
                        }
                    })
                    .await
                    .unwrap();
            }
        })
    });
    for mover in movers.collect::<Vec<_>>() {
        mover.await.unwrap();
    }
    assert_eq!(&*a.get(b"k").await.unwrap().unwrap().value, b"20");
    assert_eq!(&*b.get(b"k").await.unwrap().unwrap().value, b"80");
}

/// What the server keeps is of one moment, in several caches; and what of it is not done is said.
#[tokio::test]
async fn transactions_of_the_server_read_one_moment_of_several_caches() {
    let (_server, address) = server();
    let client = client(&address).await;
    let (a, b) = (client.cache("a"), client.cache("b"));
    let (a, b) = (a.open().await.unwrap(), b.near(10).open().await.unwrap());
    a.put(b"k", b"1").await.unwrap();
    b.put(b"k", b"2").await.unwrap();
    let tx = client.begin(Isolation::Snapshot).await.unwrap();
    assert_eq!(tx.get(&a, b"k").await.unwrap().unwrap(), b"1");
    assert_eq!(tx.get(&b, b"k").await.unwrap().unwrap(), b"2");
    a.put(b"k", b"later").await.unwrap();
    b.put(b"other", b"later").await.unwrap();
    assert_eq!(tx.get(&a, b"k").await.unwrap().unwrap(), b"1", "its moment stays");
    assert_eq!(tx.get(&b, b"other").await.unwrap(), None, "its moment stays");
    // Only what is written counts under SNAPSHOT.
    tx.put_with_ttl(&b, b"k", b"3", LONG).await.unwrap();
    assert!(!tx.remove(&b, b"none").await.unwrap());
    assert_eq!(&*b.get(b"k").await.unwrap().unwrap().value, b"2", "nobody sees it yet");
    assert_eq!(tx.commit().await.unwrap(), Commit::Done(Default::default()));
    let entry = b.get(b"k").await.unwrap().unwrap();
    assert_eq!((&*entry.value, entry.ttl.is_some()), (&b"3"[..], true));

    // The first to write wins, and the loser hears in which cache.
    let tx = client.begin(Isolation::Snapshot).await.unwrap();
    tx.put(&a, b"k", b"x").await.unwrap();
    assert!(tx.remove(&b, b"k").await.unwrap());
    b.put(b"k", b"4").await.unwrap();
    let Commit::Conflict(keys) = tx.commit().await.unwrap() else { panic!("lost update") };
    assert_eq!((keys.len(), keys[0].cache.as_str(), &*keys[0].key), (1, "b", &b"k"[..]));
    assert_eq!(&*a.get(b"k").await.unwrap().unwrap().value, b"later");

    // What was read counts under SERIALIZABLE, and no cache joins a moment that is over.
    let tx = client.begin(Isolation::Serializable).await.unwrap();
    tx.get(&a, b"k").await.unwrap();
    a.put(b"k", b"5").await.unwrap();
    let late = tx.get(&b, b"k").await.unwrap_err();
    assert_eq!((late.outcome, late.code()), (Outcome::Failed, Some(ErrorCode::TxConflict)));
    assert!(matches!(tx.commit().await.unwrap(), Commit::Conflict(_)));

    let tx = client.begin(Isolation::Snapshot).await.unwrap();
    tx.put(&a, b"k", b"no").await.unwrap();
    tx.rollback().await.unwrap();
    // One that is dropped is given up: more would be refused.
    for _ in 0..40 {
        let tx = client.begin(Isolation::Snapshot).await.unwrap();
        tx.put(&a, b"k", b"no").await.unwrap();
    }
    assert_eq!(&*a.get(b"k").await.unwrap().unwrap().value, b"5");
}

/// One commit over caches that are kept differently, or that are too many, is refused by name.
#[tokio::test]
async fn caches_that_cannot_be_kept_as_one_are_not_written_as_one() {
    let place = super::Place::new("apart");
    let _server = place.start();
    let client = client(&place.native).await;
    let cache = |name: &'static str| client.cache(name).option("persist", name).open();
    let (none, sync) = (cache("none").await.unwrap(), cache("sync").await.unwrap());
    let written = cache("async").await.unwrap();
    for (one, other, fits) in
        [(&none, &written, true), (&none, &sync, false), (&written, &sync, false)]
    {
        for caches in [[one, other], [other, one]] {
            let tx = client.transaction();
            // To read the one does no harm.
            tx.get(caches[0], b"read").await.unwrap();
            tx.put(caches[1], b"k", b"first");
            assert!(matches!(tx.commit().await.unwrap(), Commit::Done(_)));
            let tx = client.transaction();
            caches.iter().for_each(|cache| tx.put(cache, b"k", b"both"));
            let result = tx.commit().await;
            let refused = result.as_ref().err().and_then(Error::code);
            assert_eq!(refused, (!fits).then_some(ErrorCode::InvalidArgument), "{result:?}");
            let value = caches[1].get(b"k").await.unwrap().unwrap().value;
            assert_eq!(&*value, if fits { &b"both"[..] } else { b"first" });
        }
    }
    let tx = client.begin(Isolation::Snapshot).await.unwrap();
    for n in 0..16 {
        let cache = client.cache(&format!("n{n}")).open().await.unwrap();
        tx.put(&cache, b"k", b"v").await.unwrap();
    }
    let refused = tx.put(&none, b"k", b"v").await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::QuotaExceeded));
    assert!(matches!(tx.commit().await.unwrap(), Commit::Done(_)));
}

async fn number(tx: &Transaction, cache: &Cache, key: &[u8]) -> Result<i64, Error> {
    let text = tx.get(cache, key).await?.unwrap_or(b"0".to_vec());
    Ok(String::from_utf8(text).unwrap().parse().unwrap())
}

#[tokio::test]
async fn the_catalog_is_changed_and_methods_are_called() {
    use isogrid_wire::native::catalog::ObjectKind::Cache as Kind;
    use serde_json::json;
    let (_server, address) = server();
    let client = client(&address).await;
    let catalog = client.catalog();
    let (short, long) = (json!({"ttl": "10m"}), json!({"ttl": "20m"}));
    let made = catalog.create(Kind, "orders", &short).await.unwrap();
    assert_eq!((made.created, &made.props["ttl"]), (true, &json!("10m")));
    assert!(!catalog.create(Kind, "orders", &short).await.unwrap().created);
    let other = catalog.create(Kind, "orders", &long).await.unwrap_err();
    assert_eq!((other.outcome, other.code()), (Outcome::Failed, Some(ErrorCode::ObjectExists)));
    assert_eq!(catalog.alter(Kind, "orders", &long).await.unwrap().unwrap()["ttl"], "20m");
    assert_eq!(catalog.alter(Kind, "none", &long).await.unwrap(), None);
    let listed = catalog.list(Kind, "o*").await.unwrap();
    assert_eq!((listed.len(), &listed[0]["name"]), (1, &json!("orders")));
    let told = catalog.describe(Kind, "orders").await.unwrap().unwrap();
    assert_eq!((&told["props"]["ttl"], &told["stats"]["entries"]), (&json!("20m"), &json!(0)));
    assert!(catalog.drop_object(Kind, "orders").await.unwrap());
    assert!(!catalog.drop_object(Kind, "orders").await.unwrap());
    assert_eq!(catalog.describe(Kind, "orders").await.unwrap(), None);
    let drained = client.admin("node.drain", &json!({})).await.unwrap();
    assert_eq!(drained["draining"], true);
    let unknown = client.admin("node.dran", &json!({})).await.unwrap_err();
    assert_eq!(unknown.code(), Some(ErrorCode::NoSuchObject));
}
