//! `isogrid cache`, of whole caches.

use serde_json::json;

use crate::Place;

#[test]
fn a_cache_is_made_once_changed_and_dropped() {
    let place = Place::new();
    let made = "cache create orders --mode local --ttl 10m --max-idle 5m --max-bytes 64MiB \
                --eviction s3-fifo --persist none";
    let made = made.split_whitespace().collect::<Vec<_>>().join(" ");
    place.holds(&[
        (&made, 0, "created orders\n", ""),
        (&made, 0, "there already: orders\n", ""),
        ("cache create orders", 0, "there already: orders\n", ""),
        ("cache create orders --ttl 20m", 4, "", "error[E3004 OBJECT_EXISTS]: "),
        ("cache create orders --ttl 20m", 4, "", "ttl: have 10m, want 20m"),
        ("cache create orders --ttl 20m", 4, "", "\n  help: leave out what differs"),
        ("cache create orders --ttl 20m", 4, "", "\n  more: isogrid explain E3004\n"),
        ("cache create x --ttl soon", 2, "", "ttl: \"soon\" is not off, or 1ms to"),
        ("cache set orders ttl=20m", 0, &props("20m"), ""),
        ("cache set orders tll=20m", 2, "", "did you mean \"ttl\"?"),
        ("cache set orders eviction=lru", 2, "", "drop the cache and create it anew"),
        ("cache set ordres ttl=1m", 3, "", "did you mean \"orders\"?"),
        ("cache set orders ttl", 2, "", "KEY=VALUE"),
        ("cache describe nothing", 3, "", "`isogrid cache create nothing` makes it"),
        ("cache drop orders --yes", 0, "dropped orders\n", ""),
        ("cache drop orders --yes", 3, "", "there is no cache \"orders\""),
    ]);
}

fn props(ttl: &str) -> String {
    let all = [
        ("behind_delay", "1s"),
        ("behind_queue", "64MiB"),
        ("eviction", "s3-fifo"),
        ("max_entries", "off"),
        ("max_idle", "5m"),
        ("memory", "64MiB"),
        ("mode", "local"),
        ("persist", "none"),
        ("preload", "all"),
        ("regions", "off"),
        ("segments", "off"),
        ("ttl", ttl),
    ];
    all.iter().map(|(name, text)| format!("{name:<12}  {text}\n")).collect()
}

#[test]
fn caches_are_listed_and_described() {
    let place = Place::new();
    for name in ["orders", "users"] {
        assert_eq!(place.said(&format!("cache create {name} --memory 4MiB")).code, Some(0));
    }
    assert_eq!(place.said("cache put users 1 anna").code, Some(0));
    let listed = place.said("cache ls").out;
    let first: Vec<&str> = listed.lines().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(first, ["NAME", "default", "orders", "users"], "{listed}");
    let json = place.said("cache ls --glob u* -o json").json();
    let caches = json["caches"].as_array().unwrap();
    assert_eq!(caches.len(), 1, "{json}");
    assert_eq!((&caches[0]["name"], &caches[0]["stats"]["entries"]), (&json!("users"), &json!(1)));
    assert_eq!(place.said("cache describe users -o json").json(), caches[0]);
    let shown = place.said("cache show users").out;
    assert!(shown.contains("\nprops.memory        4MiB\n"), "{shown}");
    let made = place.said("cache create third -o json").json();
    assert_eq!((&made["created"], &made["props"]["ttl"]), (&json!(true), &json!("off")));
}

#[test]
fn a_quiet_command_says_no_word_of_success() {
    let place = Place::new();
    assert_eq!(place.said("cache create orders -q -o json").json()["created"], json!(true));
    place.holds(&[
        ("cache create orders -q", 0, "", ""),
        ("cache put orders k apples --quiet", 0, "", ""),
        ("cache get orders k -q", 0, "apples", ""),
        ("cache touch orders k --ttl 1h -q", 0, "", ""),
        ("cache rm orders k -q", 0, "", ""),
        ("cache rm orders k -q", 3, "", "there is no entry"),
        ("cache drop orders --yes -q", 0, "", ""),
    ]);
}

#[test]
fn what_destroys_asks_for_the_name() {
    let place = Place::new();
    place.holds(&[("cache create orders", 0, "created orders\n", "")]);
    assert_eq!(place.said("cache put orders 1 x").code, Some(0));
    place.holds(&[
        ("cache drop orders", 2, "", "not done: orders was not typed"),
        ("cache clear orders", 2, "", "say --yes"),
        ("cache drop orders --dry-run", 0, "would drop orders: about 1 entries\n", ""),
        ("cache clear orders --dry-run --yes", 0, "would clear orders: about 1 entries\n", ""),
        ("cache drop nothing --dry-run", 3, "", "there is no cache"),
        ("cache get orders 1", 0, "x", ""),
        ("cache clear orders --yes", 0, "cleared orders\n", ""),
        ("cache get orders 1", 3, "", "there is no entry \"1\" in orders"),
    ]);
    assert_eq!(place.fed("cache drop orders", &[], b"order\n").code, Some(2));
    let said = place.fed("cache drop orders", &[], b"orders\n");
    assert_eq!((said.code, said.out.as_str()), (Some(0), "dropped orders\n"));
    assert_eq!(place.said("cache get orders 1").code, Some(3));
}
