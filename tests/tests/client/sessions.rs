//! Web sessions of a server alone: what was saved is there after a kill, and what was destroyed is not.

use std::time::Duration;

use isogrid_tests::sessions::{are_found, goes_its_way, id, loaded, set, start, texts};
use isogrid_wire::client::session::Change;
use isogrid_wire::native::ErrorCode;

use super::{Place, client, server};

#[tokio::test]
async fn a_session_goes_its_way() {
    let (_server, address) = server();
    let client = client(&address).await;
    goes_its_way(&[client.sessions("web").await.unwrap()]).await;
    are_found(&[client.sessions("shop").await.unwrap()]).await;
    let other = client.sessions("other").await.unwrap();
    assert_eq!((other.count().await.unwrap(), other.find("user:2").await.unwrap().len()), (0, 0));
    let refused = client.sessions("not a name").await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::InvalidArgument), "{refused}");
}

#[tokio::test]
async fn a_session_ends_by_itself() {
    let (_server, address) = server();
    let web = client(&address).await.sessions("web").await.unwrap();
    let short = start().lifetime(Duration::from_millis(700)).found_by("user:1");
    web.create(&id(1), &short).await.unwrap().unwrap();
    loaded(&web, 1).await;
    tokio::time::sleep(Duration::from_millis(720)).await;
    assert_eq!(web.load(&id(1)).await.unwrap(), None);
    assert_eq!((web.count().await.unwrap(), web.find("user:1").await.unwrap().len()), (0, 0));
    assert!(web.create(&id(1), &short).await.unwrap().is_some(), "nothing is known of it");
}

#[tokio::test]
async fn a_kill_takes_nothing_that_was_saved() {
    let place = Place::new("sessions");
    let mut server = place.start();
    let client = client(&place.native).await;
    let web = client.sessions("web").await.unwrap();
    for number in 0..50 {
        web.create(&id(number), &start().found_by("user:1")).await.unwrap().unwrap();
        set(&web, number, "n", &number.to_string()).await;
    }
    for number in 0..10 {
        assert!(web.destroy(&id(number), "logout").await.unwrap());
    }
    place.kill(&mut server);
    let _server = place.start();
    for number in 10..50 {
        let expected = [("n".to_owned(), number.to_string())];
        assert_eq!(texts(&loaded(&web, number).await), expected);
    }
    for number in 0..10 {
        let late = web.save(&id(number), &Change::default().set("n", "x")).await.unwrap_err();
        assert_eq!(late.code(), Some(ErrorCode::SessionGone), "{number}: {late}");
    }
    assert_eq!(web.find("user:1").await.unwrap().len(), 40);
    assert_eq!(web.count().await.unwrap(), 40);
}
