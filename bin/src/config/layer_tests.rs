//! Files, environment and flags in; a configuration or its problems out.

use std::time::Duration;

use super::*;
use crate::config::{RegionConfig, show};

/// A file of its own for each text; removed when dropped.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("isogrid-{}-{name}.toml", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn loaded(name: &str, text: &str, env: &[(&str, &str)], set: &[&str]) -> Result<Loaded, Problems> {
    let file = TempFile::new(name, text);
    load(&Sources {
        file: Some(file.0.clone()),
        env: env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
        settings: set.iter().map(|text| Setting::parse(text).unwrap()).collect(),
    })
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(loaded("empty", "", &[], &[]).unwrap().config, ServerConfig::default());
}

#[test]
fn later_layers_win() {
    let file = "[limits]\nbacklog = 1\nmax_connections = 1\nrequests_per_turn = 1\n";
    let env = [("ISOGRID__LIMITS__BACKLOG", "2"), ("ISOGRID__LIMITS__MAX_CONNECTIONS", "2")];
    let loaded = loaded("layers", file, &env, &["limits.backlog=3"]).unwrap();
    let limits = &loaded.config.limits;
    assert_eq!((limits.backlog, limits.max_connections, limits.requests_per_turn), (3, 2, 1));
    let origin = |key: &str| loaded.origins[key].to_string();
    assert_eq!(origin("limits.backlog"), "flag --set limits.backlog=3");
    assert!(origin("limits.max_connections").ends_with("ISOGRID__LIMITS__MAX_CONNECTIONS"));
    assert!(origin("limits.requests_per_turn").ends_with(".toml:4"));
}

#[test]
fn regions_stand_below_the_default_cache() {
    let file = "[[cache.region]]\nprefix = \"/org/jboss/data\"\nmax_entries = 1000\n";
    let config = loaded("region", file, &[], &[]).unwrap().config;
    let prefix = "/org/jboss/data".to_owned();
    let region = RegionConfig { prefix, max_entries: Some(1_000), ..Default::default() };
    assert_eq!(config.caches[0].name, "default");
    assert_eq!(config.caches[0].regions, [region]);
}

#[test]
fn caches_and_listeners() {
    let file = r#"
        memcached = ["127.0.0.1:1", "unix:/x"]
        [[listener]]
        address = "127.0.0.1:2"
        cache = "user.sessions"
        protocol = "binary"
        flush = false
        [[cache]]
        memory = "1GiB"
        [[cache]]
        name = "user.sessions"
        memory = 2_097_152
        ttl = "30m"
        eviction = "none"
        segments = 0x40
        [[cache.region]]
        prefix = "a"
        max_bytes = "64k"
    "#;
    let env = [("ISOGRID__CACHE__USER_SESSIONS__MAX_ENTRIES", "5")];
    let config = loaded("tables", file, &env, &["cache.default.max_memory=2GiB"]).unwrap().config;
    let served: Vec<_> = config.memcached.iter().map(|l| (l.cache.as_str(), l.flush)).collect();
    assert_eq!(served, [("default", true), ("default", true), ("user.sessions", false)]);
    let [default, sessions] = config.caches.as_slice() else { panic!("two caches") };
    assert_eq!(default.limits.max_bytes, 2 << 30);
    assert_eq!((sessions.limits.max_bytes, sessions.limits.max_entries), (2 << 20, Some(5)));
    assert_eq!(sessions.default_ttl, Some(Duration::from_secs(1_800)));
    assert_eq!((sessions.eviction.as_str(), sessions.segments), ("none", Some(64)));
    assert_eq!(sessions.regions[0].max_bytes, Some(64 << 10));
}

#[test]
fn listeners_said_outside_the_file_replace_those_in_it() {
    let file = "[[listener]]\naddress = \"127.0.0.1:2\"\n";
    let only = loaded("listeners", file, &[], &[]).unwrap().config;
    assert_eq!(only.memcached.len(), 1);
    let env = [("ISOGRID__MEMCACHED", "127.0.0.1:3,127.0.0.1:4")];
    let config = loaded("listeners2", file, &env, &[]).unwrap().config;
    assert_eq!(config.memcached.len(), 2);
}

#[test]
fn problems_say_what_where_and_what_to_do() {
    for (name, file, said) in [
        ("p1", "[limits]\nmax_conections = 1\n", "`limits.max_conections`"),
        ("p2", "[limits]\nmax_conections = 1\n", "p2.toml:2"),
        ("p3", "[limits]\nmax_conections = 1\n", "did you mean `limits.max_connections`?"),
        ("p4", "[limit]\nbacklog = 1\n", "did you mean `limits.backlog`?"),
        ("p5", "[nodes]\n", "unknown key `nodes`"),
        ("p6", "[[cache]]\nmemroy = 1\n", "did you mean `cache.memory`?"),
        ("p7", "[[cache.region]]\nprefx = 1\n", "did you mean `cache.region.prefix`?"),
        ("p8", "[[listner]]\n", "did you mean `listener`?"),
        ("p9", "[node]\nthreads = 0\n", "`0` is not 1 to 1024 (default: the number of cores)"),
        ("p10", "[node]\ndrain_timeout = \"5\"\n", "`5` is not 0s to 1h (default: 5s)"),
        ("p11", "[[cache]]\n[[cache]]\n", "two caches are called `default`"),
        ("p12", "[[cache]]\nsegments = 3\n", "3 is not a power of two"),
        ("p13", "[[cache]]\neviction = \"lur\"\n", "is not one of s3-fifo,"),
        ("p14", "[[cache]]\nname = \"a b\"\n", "`a b` is not 1 to 64 of"),
        ("p15", "[[listener]]\ncache = \"defualt\"\n", "did you mean `default`?"),
        ("p16", "[[cache.region]]\nmax_entries = 1\n", "a region has no prefix"),
        (
            "p17",
            "[[cache.region]]\nprefix = \"a\"\n[[cache.region]]\nprefix = \"a\"\n",
            "region `a` is there twice",
        ),
        ("p18", "memcached = [\"127.0.0.1:1\", \"127.0.0.1:1\"]", "two listeners"),
        ("p19", "memcached = 7", "`7` is not IP:PORT"),
        ("p20", "x = [", "not valid TOML"),
        ("p21", "cache = 1", "`cache` is not a table"),
        ("p22", "[limits]\nmax_item_size = \"1GiB\"", "is more than cache `default` holds"),
        ("p23", "[log]\nlevel = \"a=b=c\"", "is not a filter"),
        ("p24", "[node]\nname = [1]", "a list stands where one value belongs"),
    ] {
        let problems = loaded(name, file, &[], &[]).unwrap_err().to_string();
        assert!(problems.contains(said), "{name}: {problems}");
        assert!(problems.contains("help: "), "{name}: {problems}");
    }
}

#[test]
fn one_run_shows_every_problem() {
    let env = [("ISOGRID__LOG__COLOUR", "1")];
    let problems = loaded("all", "a = 1\nb = 2\n", &env, &["cache.x.memory=1MiB"]).unwrap_err();
    assert_eq!(problems.0.len(), 4, "{problems}");
}

#[test]
fn variables_of_others_are_left_alone() {
    let env = [("ISOGRID_CONFIG", "/dev/null"), ("ISOGRID_SERVICE_HOST", "x"), ("HOME", "/")];
    assert!(loaded("env", "", &env, &[]).is_ok());
}

#[test]
fn a_file_that_is_not_there_is_refused() {
    let sources = Sources { file: Some(PathBuf::from("/nonexistent.toml")), ..Default::default() };
    let problems = load(&sources).unwrap_err().to_string();
    assert!(problems.contains("/nonexistent.toml"), "{problems}");
}

#[test]
fn what_is_shown_configures_the_same() {
    let file = r#"
        memcached = ["127.0.0.1:1"]
        [[listener]]
        address = "unix:/x?mode=770"
        [[cache]]
        ttl = "90s"
        [[cache.region]]
        prefix = "quote\"d"
        [[cache]]
        name = "b"
        max_entries = 7
    "#;
    for (name, file) in [("show1", file), ("show2", ""), ("show3", "memcached = []")] {
        let first = loaded(name, file, &[], &[]).unwrap();
        let second = loaded(name, &show(&first, true), &[], &[]).unwrap();
        assert_eq!(first.config, second.config, "{}", show(&first, true));
    }
}

/// Whoever says nothing has caches of a cluster in memory, and on disks what a node keeps alone.
#[test]
fn caches_of_a_cluster_are_on_disks_when_it_is_said() {
    let cluster = "[cluster]\nbootstrap_expect = 3\n";
    for (cache, kept) in [
        ("", "async"),
        ("mode = \"distributed\"\n", "none"),
        ("mode = \"replicated\"\npersist = \"async\"\n", "async"),
        ("mode = \"distributed\"\npersist = \"sync\"\n", "sync"),
        ("mode = \"invalidated\"\n", "none"),
    ] {
        let text = format!("{cluster}[[cache]]\nname = \"default\"\n{cache}");
        let config = loaded("kept", &text, &[], &[]).unwrap().config;
        let found = &config.caches[0];
        assert_eq!(found.persist, kept, "{cache}");
        assert_eq!(found.is_kept_by_members(), cache.contains("persist"), "{cache}");
    }
    let set = ["cache.default.mode=distributed", "cache.default.persist=async"];
    let config = loaded("said", cluster, &[], &set).unwrap().config;
    assert!(config.caches[0].is_kept_by_members());
    for (more, why) in [
        ("node.data_dir=off", "persist = async, and there is no data directory"),
        ("cache.default.mode=invalidated", "an invalidated cache cannot have persist = async"),
    ] {
        let refused = loaded("refused", cluster, &[], &[&set[..], &[more]].concat());
        assert!(refused.unwrap_err().to_string().contains(why), "{more}");
    }
}

/// Structures are on disks unless there is none; what is said of them counts, and needs a place.
#[test]
fn structures_are_kept_where_there_is_a_place() {
    use isogrid_engine::persist::PersistMode::{Async, Sync};
    use isogrid_grid::metadata::Persist;
    let cluster = "[cluster]\nbootstrap_expect = 3\n";
    let memory = "cache.default.persist=none";
    let own = "cache.default.persist=sync";
    for (set, alone, of_cluster) in [
        (&[][..], Some(Async), Persist::Async),
        (&[own][..], Some(Sync), Persist::Async),
        (&[memory][..], None, Persist::Async),
        (&["node.data_dir=off"][..], Some(Async), Persist::None),
        (&["structures.persist=none"][..], None, Persist::None),
        (&["structures.persist=sync"][..], Some(Sync), Persist::Sync),
        (&["structures.persist=async", own][..], Some(Async), Persist::Async),
        (&["structures.persist=sync", memory][..], Some(Sync), Persist::Sync),
    ] {
        let config = loaded("alone", "", &[], set).unwrap().config;
        assert_eq!(config.structures_alone(), alone, "{set:?}");
        assert_eq!(config.keeps_alone(), alone.or(config.kept_mode()).is_some(), "{set:?}");
        let config = loaded("member", cluster, &[], set).unwrap().config;
        assert_eq!(config.structures_of_cluster(), of_cluster, "{set:?}");
        assert_eq!(
            config.structures_alone(),
            config.kept_mode(),
            "those of before are left: {set:?}"
        );
    }
    for persist in ["async", "sync"] {
        let said = format!("structures.persist={persist}");
        let refused = loaded("nowhere", "", &[], &[&said, "node.data_dir=off"]).unwrap_err();
        let why = format!("structures.persist = {persist}, and there is no data directory");
        assert!(refused.to_string().contains(&why), "{refused}");
    }
    let refused = loaded("behind", "", &[], &["structures.persist=behind"]).unwrap_err();
    assert!(refused.to_string().contains("one of auto, none, async, sync"), "{refused}");
}
