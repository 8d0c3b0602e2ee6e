//! `isogrid serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{refuse, run};
use crate::config::{
    Address, Exposure, Loaded, Origin, Problem, Problems, Setting, Sources, load, refuse_exposure,
};

/// Shown before the options, because examples teach faster.
const EXAMPLES: &str = "\
Examples:
  isogrid serve
  isogrid serve --memory 2GiB --max-item-size 4MiB --threads 4
  isogrid serve --data-dir /var/lib/isogrid --persist sync
  isogrid serve --ephemeral
  isogrid serve --memcached 127.0.0.1:11211 --memcached unix:/run/isogrid.sock
  isogrid serve -c isogrid.toml --set limits.idle_timeout=10m
  isogrid serve --bootstrap-expect 3 --join 10.0.0.1:7401,10.0.0.2:7401 --mode distributed
";

#[derive(Args)]
#[command(before_help = EXAMPLES)]
#[command(after_help = "See also: isogrid config explain all, isogrid config show --origin")]
pub struct ServeArgs {
    #[command(flatten)]
    pub file: FileArgs,
    /// The node's name in logs [key: node.name] [default: the host name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Worker threads: a bound on the CPU used [key: node.threads] [default: the number of cores]
    #[arg(long, value_name = "N")]
    threads: Option<String>,

    /// Serve memcached's protocols here, IP:PORT or unix:PATH; repeatable; `off` for none
    /// [key: memcached] [default: 127.0.0.1:11211]
    #[arg(long, value_name = "ADDR", help_heading = "Listeners")]
    memcached: Vec<String>,
    /// Serve every protocol here, told apart by a connection's first byte; repeatable; `off` for
    /// none [key: native] [default: 127.0.0.1:7400]
    #[arg(long, value_name = "ADDR", help_heading = "Listeners")]
    native: Vec<String>,
    /// Serve HTTP here: health, metrics, entries, administration; repeatable; `off` for none
    /// [key: http] [default: 127.0.0.1:7480]
    #[arg(long, value_name = "ADDR", help_heading = "Listeners")]
    http: Vec<String>,
    /// Where other members of the cluster reach this one, IP:PORT [key: cluster.peer]
    /// [default: 127.0.0.1:7401]
    #[arg(long, value_name = "ADDR", help_heading = "Cluster")]
    peer: Option<String>,
    /// The cluster's name [key: cluster.name] [default: isogrid]
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    cluster: Option<String>,
    /// Where other nodes of it may be: HOST:PORT, HOST:FIRST-LAST, a service in the DNS as
    /// srv:_isogrid._tcp.example.org, a file with an address a line as file:/etc/isogrid/members;
    /// repeatable, or by commas [key: cluster.join] [default: off]
    #[arg(long, value_name = "HOST:PORT", help_heading = "Cluster")]
    join: Vec<String>,
    /// How nodes find each other beside --join: off or multicast [key: cluster.discover]
    /// [default: off]
    #[arg(long, value_name = "HOW", help_heading = "Cluster")]
    discover: Option<String>,
    /// How many nodes found the cluster together, the same on each [key: cluster.bootstrap_expect]
    /// [default: 0]
    #[arg(long, value_name = "N", help_heading = "Cluster")]
    bootstrap_expect: Option<String>,
    /// What the node is there for: data, or witness, which votes and has no data
    /// [key: cluster.role] [default: data]
    #[arg(long, value_name = "ROLE", help_heading = "Cluster")]
    role: Option<String>,
    /// Where the entries of the cache `default` are: local, distributed, replicated or invalidated
    /// [key: cache.default.mode] [default: local]
    #[arg(long, value_name = "MODE", help_heading = "Cluster")]
    mode: Option<String>,
    /// When its writes are acknowledged, where it has copies: sync, when they have it, or async, at
    /// once [key: cache.default.ack] [default: sync]
    #[arg(long, value_name = "WHEN", help_heading = "Cluster")]
    ack: Option<String>,
    /// Add N to every TCP port that is not 0, to run several nodes on one machine
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Listeners")]
    port_offset: u16,
    /// Stop when stdin ends: for programs that start a server and must not leave it behind
    #[arg(long, help_heading = "Listeners")]
    until_eof: bool,
    /// Client connections at once [key: limits.max_connections] [default: 10000]
    #[arg(long, value_name = "N", help_heading = "Listeners")]
    max_connections: Option<String>,
    /// Listen beyond this machine without authentication and TLS; needs ISOGRID_INSECURE=1 in the
    /// environment as well
    #[arg(long, help_heading = "Listeners")]
    insecure_i_know: bool,

    /// Memory of the cache `default`, e.g. 512MiB [key: cache.default.memory] [default: 256MiB]
    #[arg(long, value_name = "SIZE", help_heading = "Cache")]
    memory: Option<String>,
    /// The largest item [key: limits.max_item_size] [default: 1MiB]
    #[arg(long, value_name = "SIZE", help_heading = "Cache")]
    max_item_size: Option<String>,
    /// Who makes room when the cache is full: s3-fifo, w-tinylfu, lru, lfu, fifo, random, none
    /// [key: cache.default.eviction] [default: w-tinylfu]
    #[arg(long, value_name = "POLICY", help_heading = "Cache")]
    eviction: Option<String>,
    /// Keep nothing on disk: as --data-dir off
    #[arg(long, conflicts_with = "data_dir", help_heading = "Cache")]
    ephemeral: bool,
    /// The directory that data is kept in [key: node.data_dir] [default: isogrid-data]
    #[arg(long, value_name = "DIR", help_heading = "Cache")]
    data_dir: Option<String>,
    /// When a write to the cache `default` is acknowledged: none (at once, nothing is kept),
    /// async (it survives a kill), sync (it survives a power cut) or behind (at once, it is written
    /// a moment later)
    /// [key: cache.default.persist] [default: async]
    #[arg(long, value_name = "MODE", help_heading = "Cache")]
    persist: Option<String>,

    /// pretty or json [key: log.format] [default: pretty on a terminal, else json]
    #[arg(long, value_name = "FORMAT", help_heading = "Logs")]
    log_format: Option<String>,
    /// A level, or a filter like warn,isogrid=debug [key: log.level] [default: info]
    #[arg(long, value_name = "FILTER", help_heading = "Logs")]
    log_level: Option<String>,
}

/// The file and the settings over it: what `serve` and `config show` have in common.
#[derive(Args)]
pub struct FileArgs {
    /// The configuration file [env: ISOGRID_CONFIG] [default: ./isogrid.toml, then
    /// /etc/isogrid/isogrid.toml, where they exist]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set any key, e.g. limits.backlog=2048 or cache.default.ttl=1h; repeatable, wins over all
    #[arg(long, value_name = "KEY=VALUE", value_parser = Setting::parse)]
    set: Vec<Setting>,
}

impl FileArgs {
    /// Loads the configuration with `flags` below `--set`.
    pub fn load(&self, flags: Vec<Setting>) -> Result<Loaded, Problems> {
        let settings = flags.into_iter().chain(self.set.iter().cloned()).collect();
        load(&Sources::from_process(self.config.clone(), settings))
    }
}

/// Runs a server.
pub fn main(args: &ServeArgs) -> ExitCode {
    match configure(args) {
        Ok(loaded) => run(loaded),
        Err(problems) => refuse(&problems),
    }
}

fn configure(args: &ServeArgs) -> Result<Loaded, Problems> {
    let mut loaded = args.file.load(args.settings())?;
    let config = &mut loaded.config;
    let memcached = config.memcached.iter_mut().map(|listener| &mut listener.address);
    let listeners = memcached.chain(&mut config.native).chain(&mut config.http);
    for address in listeners.chain([&mut config.cluster.peer]) {
        offset(address, args.port_offset)?;
    }
    config.until_eof = args.until_eof;
    refuse_exposure(&loaded.config, Exposure::new(args.insecure_i_know))?;
    Ok(loaded)
}

impl ServeArgs {
    /// The flags that are keys.
    fn settings(&self) -> Vec<Setting> {
        let list = |given: &[String]| (!given.is_empty()).then(|| given.join(","));
        let memcached = list(&self.memcached);
        let (native, http) = (list(&self.native), list(&self.http));
        let off = self.ephemeral.then(|| "off".to_owned());
        let flags = [
            ("--ephemeral", "node.data_dir", &off),
            ("--data-dir", "node.data_dir", &self.data_dir),
            ("--persist", "cache.default.persist", &self.persist),
            ("--name", "node.name", &self.name),
            ("--threads", "node.threads", &self.threads),
            ("--peer", "cluster.peer", &self.peer),
            ("--cluster", "cluster.name", &self.cluster),
            ("--join", "cluster.join", &list(&self.join)),
            ("--bootstrap-expect", "cluster.bootstrap_expect", &self.bootstrap_expect),
            ("--discover", "cluster.discover", &self.discover),
            ("--role", "cluster.role", &self.role),
            ("--mode", "cache.default.mode", &self.mode),
            ("--ack", "cache.default.ack", &self.ack),
            ("--memcached", "memcached", &memcached),
            ("--native", "native", &native),
            ("--http", "http", &http),
            ("--max-connections", "limits.max_connections", &self.max_connections),
            ("--memory", "cache.default.memory", &self.memory),
            ("--max-item-size", "limits.max_item_size", &self.max_item_size),
            ("--eviction", "cache.default.eviction", &self.eviction),
            ("--log-format", "log.format", &self.log_format),
            ("--log-level", "log.level", &self.log_level),
        ];
        let given = |(flag, key, value): (&str, &str, &Option<String>)| {
            value.as_ref().map(|value| Setting::flag(flag, key, value))
        };
        flags.into_iter().filter_map(given).collect()
    }
}

fn offset(address: &mut Address, by: u16) -> Result<(), Problem> {
    let Address::Tcp(tcp) = address else { return Ok(()) };
    if tcp.port() == 0 {
        return Ok(());
    }
    let port = tcp.port().checked_add(by).ok_or_else(|| {
        let what = format!("port {} plus {by} is more than 65535", tcp.port());
        Problem::new(what, &Origin::Flag("--port-offset".to_owned()), "lower the offset")
    })?;
    tcp.set_port(port);
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        serve: ServeArgs,
    }

    /// With a file of its own, so that no file of the machine is read.
    fn configured(flags: &str) -> Result<Loaded, Problems> {
        let words = ["serve", "-c", "/dev/null"].into_iter().chain(flags.split_whitespace());
        configure(&Cli::parse_from(words).serve)
    }

    #[test]
    fn flags_reach_their_keys() {
        let config = configured(
            "--name a --threads 3 --memcached 127.0.0.1:1 --memcached unix:/x --memory 2MiB \
             --max-item-size 64k --eviction lru --max-connections 7 --log-format json \
             --log-level warn --ephemeral --persist none --native off --port-offset 10 \
             --http 127.0.0.1:2 --http 127.0.0.1:0 \
             --set limits.backlog=9 --set limits.max_connections=8",
        )
        .unwrap()
        .config;
        let addresses: Vec<_> = config.memcached.iter().map(|l| l.address.to_string()).collect();
        assert_eq!(addresses, ["127.0.0.1:11", "unix:/x"]);
        assert_eq!(config.native, []);
        let http: Vec<_> = config.http.iter().map(Address::to_string).collect();
        assert_eq!(http, ["127.0.0.1:12", "127.0.0.1:0"]);
        assert_eq!((config.node.name.as_str(), config.node.threads), ("a", 3));
        assert_eq!(config.caches[0].limits.max_bytes, 2 << 20);
        assert_eq!(config.caches[0].eviction, "lru");
        assert_eq!(config.limits.max_item_size, 64 << 10);
        assert_eq!((config.limits.backlog, config.limits.max_connections), (9, 8));
        assert_eq!(config.log.level, "warn");
    }

    #[test]
    fn refusals_name_the_flag() {
        for (flags, said) in [
            ("--mode distributed", "the node belongs to no cluster"),
            ("--discover mdns", "one of off, multicast"),
            ("--discover multicast --set cluster.multicast=10.0.0.1:7401", "GROUP:PORT"),
            ("--role spectator --bootstrap-expect 3", "one of data, witness"),
            ("--role witness", "cluster.role = witness, and the node belongs to no cluster"),
            ("--role witness --bootstrap-expect 1", "founds no cluster alone"),
            ("--ephemeral --set cluster.discarded_dir=auto", "there is no data directory"),
            ("--ack async", "has no copies that could come later"),
            ("--join nowhere", "HOST:PORT or HOST:FIRST-LAST"),
            ("--join srv:isogrid.example.org", "srv:_SERVICE._tcp.DOMAIN"),
            ("--join 10.0.0.1:7401,file:", "file:PATH"),
            ("--http 0.0.0.0:1", "0.0.0.0:1 can be reached from other machines"),
            ("--native 0.0.0.0:1", "0.0.0.0:1 can be reached from other machines"),
            ("--http 127.0.0.1:7400", "two listeners have the address 127.0.0.1:7400"),
            ("--persist always", "one of none, async, sync, behind"),
            ("--memory 10", "flag --memory"),
            ("--eviction lur", "one of s3-fifo, w-tinylfu"),
            ("--memcached 127.0.0.1:65000 --port-offset 1000", "is more than 65535"),
            ("--memcached 0.0.0.0:1", "--insecure-i-know"),
            ("--set nod.threads=1", "did you mean `node.threads`?"),
        ] {
            let problems = configured(flags).unwrap_err().to_string();
            assert!(problems.contains(said), "{flags}: {problems}");
        }
    }

    /// `[key: K] [default: D]` in the help is what the table of keys says.
    #[test]
    fn the_help_says_the_defaults_of_the_keys() {
        let mut checked = 0;
        for arg in <Cli as clap::CommandFactory>::command().get_arguments() {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let Some((_, rest)) = help.split_once("[key: ") else { continue };
            let (key, rest) = rest.split_once("] [default: ").unwrap();
            let said = format!("default:  {}\n", rest.trim_end_matches(']'));
            let explained = crate::config::explain(key).unwrap();
            assert!(explained.contains(&said), "{key}: {said} is not in {explained}");
            checked += 1;
        }
        assert_eq!(checked, 21);
    }

    #[test]
    fn off_leaves_no_listener() {
        assert_eq!(configured("--memcached off").unwrap().config.memcached, []);
    }
}
