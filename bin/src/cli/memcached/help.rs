//! `-h`, `-V` and `-i`.

/// Clients and tools read the version from here to decide what they may use.
const VERSION: &str = "memcached 1.6.45";

/// `-V`.
pub fn version() -> String {
    format!("{VERSION}\n")
}

/// `-i`.
pub fn license() -> String {
    format!(
        "{VERSION}\n\nThis is isogrid {} in the place of memcached; it shares no code with it.\n\
         Licensed under the Apache License, Version 2.0 <https://www.apache.org/licenses/>.\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// `-h`: only what is really there.
pub fn text() -> String {
    format!("{VERSION}\n{FLAGS}")
}

const FLAGS: &str = "\
isogrid in the place of memcached. Examples:
  isogrid memcached -m 1024 -c 4096
  isogrid memcached -s /run/memcached.sock -a 0770
  ISOGRID_INSECURE=1 isogrid memcached -l 0.0.0.0 -p 11211 -u memcache

-p, --port=<num>          TCP port to listen on (default: 11211; 0 is off, -1 any free one)
-U, --udp-port=<num>      only 0: there is no UDP
-s, --unix-socket=<file>  UNIX socket to listen on (disables network support)
-a, --unix-mask=<mask>    access mask for UNIX socket, in octal (default: 700)
-A, --enable-shutdown     enable ascii \"shutdown\" command
-l, --listen=<addr>       interface to listen on, several with commas or repeated, each
                          with its own :port if wanted (default: 127.0.0.1). One that
                          other machines reach needs -Z with -S or -Y, or ISOGRID_INSECURE=1
                          in the environment
-d, --daemon              run as a daemon
-r, --enable-coredumps    with -d, stay in the current directory
-u, --user=<user>         assume identity of <username> (only when run as root)
-m, --memory-limit=<num>  item memory in megabytes (default: 64)
-M, --disable-evictions   return error on memory exhausted instead of evicting
-c, --conn-limit=<num>    max simultaneous connections (default: 1024)
-v, --verbose             verbose; -vv and -vvv say more
-h, --help                print this help and exit
-i, --license             print the license and exit
-V, --version             print version and exit
-P, --pidfile=<file>      save PID in <file>
-D <char>                 use <char> as the delimiter between key prefixes and IDs in
                          \"stats detail\" (default: \":\"), and start with it switched on
-t, --threads=<num>       number of threads to use (default: 4)
-R, --max-reqs-per-event  requests of one connection before others get their turn
                          (default: 20)
-C, --disable-cas         disable use of CAS
-b, --listen-backlog=<num> set the backlog queue limit (default: 1024)
-B, --protocol=<name>     protocol - one of ascii, binary, or auto (default: auto-negotiate)
-I, --max-item-size=<num> adjusts max item size (default: 1m, min: 1k, max: 1024m)
-S, --enable-sasl         clients log in by SASL PLAIN, over the binary protocol alone; the
                          users are user:password lines of the file MEMCACHED_SASL_PWDB names
-Y, --auth-file=<file>    clients log in over the ascii protocol alone, by a set whose value is
                          \"user password\"; the file has user:password lines
-Z, --enable-ssl          TLS on every TCP address but those of -l notls:<addr>
-F, --disable-flush-all   disable flush_all command
-X, --disable-dumping     disable stats cachedump and lru_crawler metadump
-o, --extended            comma separated list of extended options
   - maxconns_fast:       immediately close new connections after limit (default: enabled)
   - no_maxconns_fast:    leave them waiting instead
   - idle_timeout:        timeout for idle connections in seconds (default: 0, no timeout)
   - ssl_chain_cert:      certificate chain file in PEM format
   - ssl_key:             private key, in PEM format
   - ssl_ca_cert:         PEM format file of acceptable client CA's
   - ssl_verify_mode:     client certificates: 0 none (default), 1 optional, 2 and 3 required
   - ssl_min_version:     0 to 2 are TLS 1.2 (default), 3 is TLS 1.3

Accepted and ignored, with a note at -v: -k -f -n -L -W -N, and the -o options that tune
slabs, hash table, LRU threads and log buffers.
The file named by MEMCACHED_PORT_FILENAME gets the bound ports.
";
