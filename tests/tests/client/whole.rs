//! Sessions of frameworks that load and save whole ones.

use std::time::Duration;

use isogrid_wire::client::session::whole::{Attributes, WholeSessions};
use tokio::time::Instant;

use super::{Place, server};

const COOKIE: &[u8] = b"what is in a cookie";
const IDLE: Duration = Duration::from_secs(1_800);

fn sessions(address: &str) -> WholeSessions {
    WholeSessions::new(format!("isogrid://{address}?timeout=20s").parse().unwrap(), "web")
}

fn attributes(all: &[(&str, &str)]) -> Attributes {
    all.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

/// What a session holds, for whoever loads it now.
async fn held(web: &WholeSessions, cookie: &[u8]) -> Option<Attributes> {
    web.load(cookie).await.unwrap().map(|(attributes, _)| attributes)
}

#[tokio::test]
async fn requests_at_the_same_time_change_what_they_have_changed() {
    let (_server, address) = server();
    let web = sessions(&address);
    let first = attributes(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let created = web.create(COOKIE, IDLE, &first).await.unwrap().unwrap();
    assert_eq!(web.create(COOKIE, IDLE, &first).await.unwrap(), None, "it is somebody's");
    let (loaded, seen) = web.load(COOKIE).await.unwrap().unwrap();
    assert_eq!((&loaded, &seen), (&first, &created));
    let fast = attributes(&[("a", "1"), ("c", "fast"), ("d", "4")]);
    assert!(web.save(COOKIE, &seen, &fast).await.unwrap());
    let slow = attributes(&[("a", "slow"), ("b", "2"), ("c", "3")]);
    assert!(web.save(COOKIE, &seen, &slow).await.unwrap());
    let merged = attributes(&[("a", "slow"), ("c", "fast"), ("d", "4")]);
    assert_eq!(held(&web, COOKIE).await, Some(merged));
}

#[tokio::test]
async fn nothing_that_comes_late_brings_a_session_back() {
    let (_server, address) = server();
    let web = sessions(&address);
    let seen = web.create(COOKIE, IDLE, &attributes(&[("a", "1")])).await.unwrap().unwrap();
    assert!(web.touch(COOKIE).await.unwrap());
    assert!(web.destroy(COOKIE).await.unwrap() && !web.destroy(COOKIE).await.unwrap());
    for late in [&[("a", "1")][..], &[("a", "2")], &[("user", "\"ann\"")], &[]] {
        assert!(!web.save(COOKIE, &seen, &attributes(late)).await.unwrap(), "{late:?}");
    }
    assert!(!web.touch(COOKIE).await.unwrap());
    assert_eq!(held(&web, COOKIE).await, None);
    assert_eq!(web.create(COOKIE, IDLE, &Attributes::new()).await.unwrap(), None);
    assert_eq!(web.log_out_everywhere("ann", None).await.unwrap(), 0);
}

#[tokio::test]
async fn a_session_is_found_by_whose_it_is_and_no_longer() {
    let (_server, address) = server();
    let web = sessions(&address).owner("of");
    let [ann, bob, nobody] = ["\"ann\"", "\"bob\"", "null"].map(|of| attributes(&[("of", of)]));
    let cookies: Vec<_> = (0..4).map(|n| [COOKIE, &[n]].concat()).collect();
    for (cookie, whose) in cookies.iter().zip([&ann, &nobody, &bob, &ann]) {
        web.create(cookie, IDLE, whose).await.unwrap().unwrap();
    }
    // Of ann; then one that was nobody's becomes ann's, bob's becomes ann's, and the last nobody's.
    for (cookie, whose) in cookies.iter().zip([&ann, &ann, &ann, &nobody]) {
        let (_, seen) = web.load(cookie).await.unwrap().unwrap();
        assert!(web.save(cookie, &seen, whose).await.unwrap());
    }
    assert_eq!(web.log_out_everywhere("bob", None).await.unwrap(), 0);
    assert_eq!(web.log_out_everywhere("ann", Some(&cookies[1])).await.unwrap(), 2);
    let mut left = Vec::new();
    for cookie in &cookies {
        left.push(held(&web, cookie).await.is_some());
    }
    assert_eq!(left, [false, true, false, true]);
}

/// Frameworks say when a session is used; to look at it is not to use it.
#[tokio::test]
async fn to_load_a_session_does_not_prolong_it() {
    let (_server, address) = server();
    let web = sessions(&address);
    let second = Duration::from_secs(1);
    web.create(COOKIE, second, &attributes(&[("a", "1")])).await.unwrap().unwrap();
    let began = Instant::now();
    while held(&web, COOKIE).await.is_some() {
        assert!(began.elapsed() < 10 * second, "it lives as long as it is looked at");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() >= second / 2, "it has ended early");
}

/// A store that is made ahead of its server says that it does not reach it, and reaches it later.
#[tokio::test]
async fn no_server_is_no_logout() {
    let place = Place::new("whole");
    let url = format!("isogrid://{}?timeout=300ms", place.native);
    let hasty = WholeSessions::new(url.parse().unwrap(), "web");
    let seen = {
        let _server = place.start();
        let first = attributes(&[("user", "\"ann\"")]);
        sessions(&place.native).create(COOKIE, IDLE, &first).await.unwrap().unwrap()
    };
    hasty.load(COOKIE).await.unwrap_err();
    hasty.save(COOKIE, &seen, &Attributes::new()).await.unwrap_err();
    hasty.touch(COOKIE).await.unwrap_err();
    let mut server = place.start();
    let began = Instant::now();
    let found = loop {
        match hasty.load(COOKIE).await {
            Ok(found) => break found,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(20), "{error}"),
        }
    };
    assert_eq!(found.map(|(attributes, _)| attributes), Some(attributes(&[("user", "\"ann\"")])));
    place.kill(&mut server);
    hasty.load(COOKIE).await.unwrap_err();
    hasty.save(COOKIE, &seen, &Attributes::new()).await.unwrap_err();
    hasty.touch(COOKIE).await.unwrap_err();
}
