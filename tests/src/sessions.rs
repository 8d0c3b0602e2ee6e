//! Web sessions as stories that hold for a server alone and for a cluster, asked of any of its nodes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

use std::time::Duration;

use isogrid_wire::client::session::{Change, Loaded, Renewed, Saved, Session, Sessions, Start};
use isogrid_wire::native::ErrorCode;

/// An id that no other number has.
#[must_use]
pub fn id(number: usize) -> Vec<u8> {
    format!("a session's id {number:08}").into_bytes()
}

/// One that lives for half an hour.
#[must_use]
pub fn start() -> Start {
    Start::new(Duration::from_secs(1_800))
}

/// Loads a session that must be there.
pub async fn loaded(web: &Sessions, number: usize) -> Session {
    web.load(&id(number)).await.unwrap().unwrap_or_else(|| panic!("session {number}"))
}

/// Saves one attribute: the version.
pub async fn set(web: &Sessions, number: usize, name: &str, value: &str) -> u64 {
    match web.save(&id(number), &Change::default().set(name, value)).await.unwrap() {
        Saved::Done { version, .. } => version,
        other => panic!("{other:?}"),
    }
}

/// What a session holds, as text.
#[must_use]
pub fn texts(session: &Session) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    session.attributes.iter().map(|(name, one)| (name.clone(), text(&one.value))).collect()
}

/// Each step is asked at another one of these, which are the same space of sessions.
pub async fn goes_its_way(at: &[Sessions]) {
    let mut turn = (0..at.len()).cycle();
    let mut next = || &at[turn.next().unwrap_or(0)];
    let start =
        start().set("user", "ann").found_by("user:ann").lifetime(Duration::from_secs(9_000));
    let first = next().create(&id(1), &start).await.unwrap().unwrap();
    assert_eq!(next().create(&id(1), &start).await.unwrap(), None, "it is there");
    let session = loaded(next(), 1).await;
    assert_eq!((session.version, &*session.index[0]), (first, "user:ann"));
    assert_eq!(session.left, Some(Duration::from_secs(1_800)));
    // Changes of single attributes, of which two build upon the same version.
    let change = Change::since(first).set("cart", "1 apple").add("hits", 2).append("log", "a");
    let Saved::Done { version, conflicts } = next().save(&id(1), &change).await.unwrap() else {
        panic!("saved")
    };
    assert!(version > first && conflicts.is_empty());
    let change = Change::since(first).set("cart", "2 apples").add("hits", -5).remove("user");
    let Saved::Done { conflicts, .. } = next().save(&id(1), &change).await.unwrap() else {
        panic!("saved")
    };
    assert_eq!(conflicts, ["cart", "hits"]);
    let session = loaded(next(), 1).await;
    assert_eq!(session.attributes["hits"].value, (-3_i64).to_be_bytes());
    assert_eq!(session.attributes["cart"].value, b"2 apples");
    assert!(!session.attributes.contains_key("user") && session.attributes["log"].value == b"a");
    assert_eq!(session.attributes["log"].version, version);
    let known = next().load_changed(&id(1), session.version, true).await.unwrap();
    assert_eq!(known, Loaded::Unchanged);
    refuses_what_is_old(next(), session.version, version).await;
    // Another id, and what is left of the old one.
    let version = loaded(next(), 1).await.version;
    let renewed = next().renew(&id(1), &id(2), Duration::from_secs(60)).await.unwrap();
    let Renewed::Done(of_new) = renewed else { panic!("{renewed:?}") };
    assert_eq!(next().renew(&id(1), &id(2), Duration::ZERO).await.unwrap(), Renewed::Done(of_new));
    assert_eq!(loaded(next(), 2).await.version, of_new);
    assert_eq!(
        texts(&loaded(next(), 1).await),
        texts(&loaded(next(), 2).await),
        "within the grace"
    );
    let late = next().save(&id(1), &Change::since(version).set("cart", "3")).await.unwrap_err();
    assert_eq!(late.code(), Some(ErrorCode::SessionGone), "{late}");
    let third = next().renew(&id(1), &id(3), Duration::ZERO).await.unwrap_err();
    assert_eq!(third.code(), Some(ErrorCode::SessionGone), "{third}");
    assert_eq!(next().find("user:ann").await.unwrap()[0].id, id(2));
    // The old id ends it too, and nothing brings it back.
    assert!(next().destroy(&id(1), "logout").await.unwrap());
    assert!(!next().destroy(&id(2), "").await.unwrap());
    for gone in [1, 2] {
        let late = next().save(&id(gone), &Change::default().set("cart", "4")).await.unwrap_err();
        assert_eq!(late.code(), Some(ErrorCode::SessionGone), "{late}");
        assert_eq!(next().create(&id(gone), &start).await.unwrap(), None);
    }
    assert_eq!(next().load(&id(2)).await.unwrap(), None);
    assert_eq!(next().save(&id(4), &Change::default().set("a", "")).await.unwrap(), Saved::Gone);
    assert!(next().find("user:ann").await.unwrap().is_empty());
}

async fn refuses_what_is_old(web: &Sessions, now: u64, old: u64) {
    let strict = Change::since(old).set("cart", "9").set("new", "1").strict();
    let Saved::Mismatch { version, attributes } = web.save(&id(1), &strict).await.unwrap() else {
        panic!("mismatch")
    };
    assert_eq!((version, attributes.len()), (now, 1));
    assert_eq!(attributes["cart"].value, b"2 apples");
    let large = Change::default().set("cart", vec![0; (64 << 10) + 1]);
    let refused = web.save(&id(1), &large).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::ValueTooLarge));
    assert!(refused.to_string().contains("\"cart\" would have 65537 bytes"), "{refused}");
    let short = web.create(b"short", &start()).await.unwrap_err();
    assert_eq!(short.code(), Some(ErrorCode::InvalidArgument), "{short}");
    assert_eq!(loaded(web, 1).await.version, now, "nothing was changed");
    let alone = Change::since(now).set("log", "b").replace();
    assert!(matches!(web.save(&id(1), &alone).await.unwrap(), Saved::Done { .. }));
    assert_eq!(texts(&loaded(web, 1).await), [("log".to_owned(), "b".to_owned())]);
}

/// Sessions of several users, which are found, counted, listed and ended together.
pub async fn are_found(at: &[Sessions]) {
    let mut turn = (0..at.len()).cycle();
    let mut next = || &at[turn.next().unwrap_or(0)];
    for number in 100..160 {
        let user = format!("user:{}", number % 3);
        next().create(&id(number), &start().found_by(&user).set("n", "1")).await.unwrap().unwrap();
    }
    assert_eq!(next().count().await.unwrap(), 60);
    let shown = next().list(1_000).await.unwrap();
    let masks: std::collections::BTreeSet<_> = shown.iter().map(|one| &*one.mask).collect();
    assert_eq!((shown.len(), masks.len()), (60, 60));
    assert!(shown.iter().all(|one| one.attributes == 1 && one.bytes == 2 && one.mask.len() == 16));
    assert!(next().list(7).await.unwrap().len() >= 7);
    assert_eq!(next().find("user:1").await.unwrap().len(), 20);
    assert!(next().index(&id(100), &["user:9"], &["user:1"]).await.unwrap().is_some());
    assert_eq!(next().find("user:1").await.unwrap().len(), 19);
    assert_eq!(next().find("user:9").await.unwrap()[0].id, id(100));
    // One that has another id a moment ago ends with the others.
    let renewed = next().renew(&id(103), &id(203), Duration::ZERO).await.unwrap();
    assert!(matches!(renewed, Renewed::Done(_)), "{renewed:?}");
    assert_eq!(next().destroy_by("user:1", Some(&id(106))).await.unwrap(), 18);
    let left = next().find("user:1").await.unwrap();
    assert_eq!(left.iter().map(|one| &*one.id).collect::<Vec<_>>(), [id(106)]);
    assert_eq!(next().load(&id(203)).await.unwrap(), None);
    assert_eq!(next().count().await.unwrap(), 42);
}
