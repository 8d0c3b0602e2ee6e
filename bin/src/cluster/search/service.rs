//! Services whose SRV records say where nodes are (RFC 2782), as those that Kubernetes publishes
//! for a headless service with a named port.
//!
//! Each look-up begins with the resolver's configuration as it is then, and ends with its sockets.
//! Priorities and weights say whom a client should ask first; here all are greeted.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use domain::base::name::{Name, ToName};
use domain::base::{Message, Rtype};
use domain::rdata::Srv;
use domain::resolv::StubResolver;
use domain::resolv::stub::conf::{ResolvConf, ServerConf, Transport};

use crate::cluster::seeds::SEEDS_MAX;

/// How a service is written.
const SERVICE: &str = "srv:";
/// How long one question may take, its repetitions and a second try over TCP included.
const PATIENCE: Duration = Duration::from_secs(2);
/// Where resolvers listen unless something else is said.
const DNS_PORT: u16 = 53;

type DnsName = Name<Vec<u8>>;

/// A service as it is written: `srv:_isogrid._tcp.example.org`, `srv:..@IP:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    name: DnsName,
    /// How many dots were written in the name; `None`: it ends with one, and is looked up as it is.
    dots: Option<usize>,
    /// Who is asked; `None`: whom the system asks.
    server: Option<SocketAddr>,
}

impl Service {
    /// `None` when that is none: its name begins with `_SERVICE._tcp.`
    pub fn parse(text: &str) -> Option<Service> {
        let text = text.strip_prefix(SERVICE)?;
        let (name, server) = match text.split_once('@') {
            Some((name, server)) => (name, Some(address(server)?)),
            None => (text, None),
        };
        let mut labels = name.split('.');
        let is_service = labels.next()?.len() > 1 && name.starts_with('_');
        let is_tcp = labels.next()?.eq_ignore_ascii_case("_tcp");
        let has_domain = labels.next().is_some_and(|label| !label.is_empty());
        let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if !(is_service && is_tcp && has_domain && is_plain) {
            return None;
        }
        let dots = (!name.ends_with('.')).then(|| name.matches('.').count());
        Some(Service { name: name.parse().ok()?, dots, server })
    }

    /// Where its records say that it is, now.
    ///
    /// # Errors
    /// Nobody answered, or there is no such record.
    pub async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let conf = self.resolver();
        let names = self.candidates(&conf);
        let resolver = StubResolver::from_conf(conf);
        let mut failed = io::Error::other("nobody was asked");
        for name in names {
            match resolver.query((&name, Rtype::SRV)).await {
                Ok(answer) => {
                    let found = targets(answer.for_slice());
                    if !found.is_empty() {
                        return addresses(&resolver, found).await;
                    }
                    let said = answer.header().rcode();
                    failed = io::Error::other(format!("no SRV record: {said}"));
                }
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn resolver(&self) -> ResolvConf {
        let mut conf = ResolvConf::default();
        if let Some(server) = self.server {
            conf = ResolvConf::new();
            conf.servers.push(ServerConf::new(server, Transport::UdpTcp));
        }
        conf.options.timeout = conf.options.timeout.min(PATIENCE);
        conf.finalize();
        conf
    }

    /// The names that this one may stand for, as the system's resolver has it: one with few dots is
    /// completed first.
    fn candidates(&self, conf: &ResolvConf) -> Vec<DnsName> {
        let asked = self.dots.filter(|_| self.server.is_none());
        let suffixes = conf.options.search.as_slice().iter().filter(|_| asked.is_some());
        let relative = self.name.clone().into_relative();
        let completed = suffixes.filter(|suffix| !suffix.is_root());
        let completed =
            completed.filter_map(|suffix| Some(relative.clone().chain(suffix).ok()?.to_name()));
        let mut all: Vec<DnsName> = completed.collect();
        let is_first = asked.is_none_or(|dots| dots >= conf.options.ndots);
        all.insert(if is_first { 0 } else { all.len() }, self.name.clone());
        all
    }
}

/// `IP` or `IP:PORT`.
fn address(text: &str) -> Option<SocketAddr> {
    let bare = || text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, DNS_PORT));
    text.parse().ok().filter(|at: &SocketAddr| at.port() > 0).or_else(bare)
}

/// Whom the SRV records of an answer name, and at which port. The root is nobody.
fn targets(answer: &Message<[u8]>) -> Vec<(DnsName, u16)> {
    let Ok(section) = answer.answer() else { return Vec::new() };
    let records = section.limit_to_in::<Srv<_>>().flatten();
    let named = records.map(|record| (record.data().target().to_name(), record.data().port()));
    named
        .filter(|(target, port): &(DnsName, _)| !target.is_root() && *port > 0)
        .take(SEEDS_MAX)
        .collect()
}

/// The addresses of hosts; an error if none of them has any.
async fn addresses(
    resolver: &StubResolver,
    hosts: Vec<(DnsName, u16)>,
) -> io::Result<Vec<SocketAddr>> {
    let (mut all, mut failed) = (Vec::new(), io::Error::other("no address of any SRV record"));
    for (host, port) in hosts {
        match resolver.lookup_host(&host).await {
            Ok(found) => all.extend(found.port_iter(port)),
            Err(error) => failed = error,
        }
    }
    if all.is_empty() { Err(failed) } else { Ok(all) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_written_as_they_are_published() {
        for (text, expected) in [
            ("srv:_isogrid._tcp.example.org", Some(("_isogrid._tcp.example.org", None))),
            ("srv:_a._TCP.b.", Some(("_a._TCP.b", None))),
            ("srv:_a._tcp.b@10.0.0.1", Some(("_a._tcp.b", Some("10.0.0.1:53")))),
            ("srv:_a._tcp.b@127.0.0.1:5353", Some(("_a._tcp.b", Some("127.0.0.1:5353")))),
            ("srv:_a._tcp.b@::1", Some(("_a._tcp.b", Some("[::1]:53")))),
            ("srv:_a._tcp.b@[::1]:5353", Some(("_a._tcp.b", Some("[::1]:5353")))),
            ("srv:_a._tcp.b@127.0.0.1:0", None),
            ("srv:_a._tcp.b@dns", None),
            ("srv:_a._tcp.b:53", None),
            ("srv:_a._udp.b", None),
            ("srv:_a._tcp.", None),
            ("srv:_a._tcp", None),
            ("srv:_._tcp.b", None),
            ("srv:_a._tcp..b", None),
            ("srv:a.b.c", None),
            ("srv:", None),
            ("_a._tcp.b", None),
        ] {
            let found = Service::parse(text);
            let expected = expected.map(|(name, server)| {
                (name.to_owned(), server.map(|server| server.parse().unwrap()))
            });
            assert_eq!(found.map(|it| (it.name.to_string(), it.server)), expected, "{text}");
        }
        assert_eq!(Service::parse(&format!("srv:_a._tcp.{}", "b".repeat(64))), None);
        assert_eq!(Service::parse(&format!("srv:_a._tcp{}", ".bcd".repeat(80))), None);
    }

    /// Which names are looked up, in which order, as resolv.conf has it.
    #[test]
    fn a_name_is_completed_as_the_systems_resolver_does() {
        let pod = "nameserver 10.0.0.10\nsearch shop.svc.cluster.local svc.cluster.local\noptions ndots:5";
        let plain = "nameserver 10.0.0.1\nsearch example.org";
        for (conf, text, expected) in [
            (
                pod,
                "srv:_a._tcp.grid",
                vec![
                    "_a._tcp.grid.shop.svc.cluster.local",
                    "_a._tcp.grid.svc.cluster.local",
                    "_a._tcp.grid",
                ],
            ),
            (pod, "srv:_a._tcp.grid.", vec!["_a._tcp.grid"]),
            (pod, "srv:_a._tcp.grid@10.0.0.2", vec!["_a._tcp.grid"]),
            (plain, "srv:_a._tcp.grid", vec!["_a._tcp.grid", "_a._tcp.grid.example.org"]),
            ("", "srv:_a._tcp.grid", vec!["_a._tcp.grid"]),
        ] {
            let mut parsed = ResolvConf::new();
            parsed.parse(&mut conf.as_bytes()).unwrap();
            parsed.finalize();
            let names = Service::parse(text).unwrap().candidates(&parsed);
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            assert_eq!(names, expected, "{text}");
        }
    }
}
