//! What stores of ours do beyond the table: the server merges what requests have changed.

use serde_json::json;

use super::app::{App, Browser};

/// Requests of one session at two nodes, several at a time at each, set attributes of their own: none
/// is lost.
pub fn letters_of_many_requests_are_all_there(apps: &[App; 2]) {
    let mut browser = Browser::logged_in(&apps[0]);
    let letters: Vec<char> = ('a'..='x').collect();
    std::thread::scope(|scope| {
        for (app, own) in apps.iter().cycle().zip(letters.chunks(4)) {
            let mut browser = browser.clone();
            scope.spawn(move || {
                for letter in own {
                    browser.session(app, &format!("put?name={letter}"));
                }
            });
        }
    });
    let session = browser.session(&apps[1], "show");
    let lost: Vec<_> = letters.iter().filter(|letter| session[letter.to_string()] != 1).collect();
    assert!(lost.is_empty() && session["user"] == "ann", "lost: {lost:?} of {session}");
}

/// Whoever has learned the cookie of before has nothing of the login; what the session holds stays.
pub fn a_login_gives_a_session_another_cookie(apps: &[App; 2]) {
    let mut browser = Browser::default();
    browser.session(&apps[0], "put?name=a");
    let before = browser.clone();
    assert_eq!(browser.session(&apps[1], "login"), json!({"user": "ann", "a": 1}));
    assert!(browser.differs_from(&before), "the cookie of before the login is good after it");
    assert_eq!(browser.session(&apps[0], "show"), json!({"user": "ann", "a": 1}));
    // Within the time of grace it may be read, and nothing more.
    let _ = before.clone().ask(&apps[0], "put?name=b");
    assert_eq!(browser.session(&apps[1], "show"), json!({"user": "ann", "a": 1}));
}

/// A user ends all sessions but the one that says so, wherever they were begun.
pub fn everybody_else_of_a_user_is_logged_out(apps: &[App; 2]) {
    let mut nobody = Browser::default();
    nobody.session(&apps[0], "put?name=a");
    let mut others = [&apps[0], &apps[1], &apps[1]].map(Browser::logged_in);
    let mut browser = Browser::logged_in(&apps[0]);
    browser.session(&apps[1], "everywhere");
    assert_eq!(browser.session(&apps[0], "show")["user"], "ann");
    for other in &mut others {
        assert_eq!(other.session(&apps[0], "show"), json!({}));
    }
    assert_eq!(nobody.session(&apps[1], "show"), json!({"a": 1}));
}
