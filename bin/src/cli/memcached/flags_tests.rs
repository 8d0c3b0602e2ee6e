//! Flags in, configuration or memcached's refusal out.

use std::time::Duration;

use super::*;

fn launch(line: &str) -> Result<Launch, Failure> {
    let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    match parse(&args)? {
        Parsed::Launch(launch) => Ok(*launch),
        Parsed::Say(text) => panic!("{line} says {text}"),
    }
}

#[test]
fn where_it_listens() {
    for (line, expected) in [
        ("", "127.0.0.1:11211"),
        ("-p 1", "127.0.0.1:1"),
        ("-p -1", "127.0.0.1:0"),
        ("-p 0", ""),
        ("-l 127.0.0.1 -l ::1 -p 2", "127.0.0.1:2 [::1]:2"),
        ("-p 2 -l 127.0.0.1:3,127.0.0.2", "127.0.0.1:3 127.0.0.2:2"),
        ("-s /x -p 1", "unix:/x"),
        ("-s /x -a 770", "unix:/x?mode=770"),
        ("-U 0", "127.0.0.1:11211"),
    ] {
        let config = launch(line).unwrap_or_else(|f| panic!("{line}: {f:?}")).config;
        let got: Vec<_> = config.memcached.iter().map(|l| l.address.to_string()).collect();
        assert_eq!(got.join(" "), expected, "{line}");
    }
}

#[test]
fn nothing_said_is_memcached_s_default() {
    let config = launch("").unwrap().config;
    assert_eq!(config.caches[0].limits.max_bytes, 64 << 20);
    assert_eq!(config.limits.max_connections, 1_024);
    assert_eq!(config.limits.max_connections_per_address, None);
    assert_eq!(config.limits.requests_per_turn, 20);
    assert_eq!(config.limits.idle_timeout, None);
    assert_eq!(config.node.threads, 4);
    assert!(config.protocol.drop_in && config.protocol.cas && config.protocol.dump);
    assert!(!config.protocol.shutdown_command && !config.protocol.detail);
}

#[test]
fn what_the_flags_set() {
    let config = launch(
        "-m 128 -M -c 7 -t 3 -R 9 -b 5 -I 2m -A -C -X -F -D | -B binary -vv -o idle_timeout=4",
    )
    .unwrap()
    .config;
    assert_eq!(config.caches[0].limits.max_bytes, 128 << 20);
    assert_eq!(config.caches[0].eviction, "none");
    assert_eq!((config.limits.max_connections, config.node.threads), (7, 3));
    assert_eq!((config.limits.requests_per_turn, config.limits.backlog), (9, 5));
    assert_eq!(config.limits.max_item_size, 2 << 20);
    assert_eq!(config.limits.idle_timeout, Some(Duration::from_secs(4)));
    let protocol = &config.protocol;
    assert!(protocol.shutdown_command && !protocol.cas && !protocol.dump && protocol.detail);
    assert_eq!((protocol.prefix_delimiter, protocol.verbosity), ('|', 2));
    let listener = &config.memcached[0];
    assert_eq!((listener.protocol, listener.flush), (ProtocolChoice::Binary, false));
}

#[test]
fn long_names_set_the_same() {
    let config = launch("--port=5 --memory-limit 32 --disable-cas --max-item-size=4k").unwrap();
    assert_eq!(config.config.caches[0].limits.max_bytes, 32 << 20);
    assert_eq!(config.config.limits.max_item_size, 4 << 10);
    assert!(!config.config.protocol.cas);
}

#[test]
fn how_it_runs() {
    let launch = launch("-d -r -u nobody -P /run/x.pid").unwrap();
    assert!(launch.daemon && launch.keep_directory);
    assert_eq!(launch.user.as_deref(), Some("nobody"));
    assert_eq!(launch.config.pid_file, Some(PathBuf::from("/run/x.pid")));
}

#[test]
fn accepted_and_noted() {
    let notes = launch("-f 1.5 -n 48 -k -L -W -N 2 -o modern,hashpower=20").unwrap().notes;
    assert_eq!(notes.len(), 8, "{notes:?}");
    assert!(notes.iter().all(|note| note.contains("is accepted and ignored: ")));
}

/// Asked of memcached 1.6.18, message and exit code; the refusals of features are our own.
#[test]
fn refusals() {
    for (line, code, message) in [
        ("-I 1000", 64, "Item max size cannot be less than 1024 bytes."),
        ("-I 2g", 64, "Item max size cannot be less than 1024 bytes."),
        ("-I abc", 64, "Item max size cannot be less than 1024 bytes."),
        ("-I 33m", 64, "Cannot set item size limit higher than 1/2 of memory max."),
        ("-I 1100m -m 8192", 64, "Cannot set item size limit higher than a gigabyte."),
        ("-m 1", 64, "Cannot set item size limit higher than 1/2 of memory max."),
        ("-m abc", 64, "Cannot set item size limit higher than 1/2 of memory max."),
        ("-c 0", 1, "Maximum connections must be greater than 0"),
        ("-c abc", 1, "Maximum connections must be greater than 0"),
        ("-t 0", 1, "Number of threads must be greater than 0"),
        ("-R 0", 1, "Number of requests per event must be greater than 0"),
        ("-f 1", 1, "Factor must be greater than 1"),
        ("-n 0", 1, "Chunk size must be greater than 0"),
        ("-p 99999", 64, "ERROR: Invalid port number 99999."),
        ("-U 99999", 64, "ERROR: Invalid port number 99999."),
        ("-B foo", 64, "Invalid value for binding protocol: foo"),
        ("-l 256.1.1.1", 71, "getaddrinfo(): Name or service not known"),
        ("-o bogus", 1, "Illegal suboption \"bogus\""),
        ("-z", 1, "memcached: invalid option -- 'z'"),
        ("-U 11211", 64, "-U refused: this server is not built with UDP support"),
        ("-S -B ascii", 64, "ERROR: You cannot allow the ASCII protocol while using SASL."),
        ("-S -B auto", 64, "ERROR: You cannot allow the ASCII protocol while using SASL."),
        ("-S", 64, "Error initializing sasl."),
        ("-Y /x -B binary", 64, "ERROR: You cannot allow the BINARY protocol while using ascii"),
        ("-e /x", 64, "-e refused: this server is not built with support for restartable"),
    ] {
        let Err(failure) = launch(line) else { panic!("{line} is accepted") };
        assert_eq!(failure.code, code, "{line}");
        assert!(failure.message.starts_with(message), "{line}: {}", failure.message);
    }
}

#[test]
fn help_and_version_begin_with_the_name_that_tools_look_for() {
    for line in ["-h", "--help", "-V", "--version", "-i"] {
        let Ok(Parsed::Say(text)) = parse(&[line.to_owned()]) else { panic!("{line} runs") };
        assert_eq!(text.lines().next(), Some("memcached 1.6.45"), "{line}");
    }
}

/// Scripts look for these words in the help to learn what a build can do.
#[test]
fn the_help_promises_nothing_that_is_not_there() {
    let help = help::text();
    for word in ["ext_path", "proxy_config"] {
        assert!(!help.contains(word), "{word}");
    }
    for word in ["unix-socket", "enable-sasl", "enable-ssl", "auth-file"] {
        assert!(help.contains(word), "{word}");
    }
}

#[test]
fn logins_and_tls() {
    let config = launch("-Y /x -Z -l 127.0.0.1,notls:127.0.0.2 -o ssl_chain_cert=/c,ssl_key=/k")
        .unwrap()
        .config;
    assert_eq!(config.auth.passwords, Some(PathBuf::from("/x")));
    assert_eq!((config.auth.mode, &config.auth.audit), (Mode::On, &None));
    assert_eq!(config.memcached[0].protocol, ProtocolChoice::Ascii);
    let tls: Vec<_> = config.memcached.iter().map(|l| config.tls_of(l)).collect();
    assert_eq!(tls, [TlsMode::On, TlsMode::Off]);
    let (cert, key) = (config.tls.cert.as_deref(), config.tls.key.as_deref());
    assert_eq!((cert, key), (Some("/c"), Some("/k")));
    assert_eq!(launch("").unwrap().config.auth.mode, Mode::Off);
}

#[test]
fn atoi_reads_like_c() {
    for (text, number) in
        [("12", 12), (" 12k", 12), ("-5", -5), ("+7", 7), ("abc", 0), ("", 0), ("-", 0)]
    {
        assert_eq!(atoi(text), number, "{text}");
    }
}
