//! A network of the kernel's own: each node is in a network namespace, with one cable to a switch
//! between the nodes and another one to the clients. Packets are lost, and TCP has to cope.
//!
//! `isoN-s` is the switch, `isoN-K` the namespace of node K, and this side's end of its cable to
//! the clients.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use super::network::Link;
use crate::harness::tls::Authority;

/// Such networks at a time, on one machine.
const NETWORKS: u32 = 250;
/// What a slow cable carries; what finds its queue full is lost.
const SLOW: &str = "rate 8mbit burst 16kb";
/// Nobody's hardware address: what is sent to it arrives nowhere, and its sender is not told.
const NOBODY: &str = "02:00:00:00:00:ff";

/// The namespaces; gone when this is.
pub struct Namespaces {
    number: u32,
    nodes: usize,
    /// Peers that are not on loopback have to have certificates.
    authority: Authority,
}

/// Whether this user may make them, and programs and kernel are there for it.
#[must_use]
pub fn may_make_namespaces() -> bool {
    Namespaces::new(2).is_some()
}

/// `ip` or `tc` with these arguments.
fn tool(name: &str, words: &str) -> Result<(), String> {
    let mut command = Command::new(name);
    let done = command.args(words.split(' ')).output().map_err(|e| format!("{name}: {e}"))?;
    let why = || format!("{name} {words}: {}", String::from_utf8_lossy(&done.stderr).trim());
    if done.status.success() { Ok(()) } else { Err(why()) }
}

fn ip(words: &str) -> Result<(), String> {
    tool("ip", words)
}

impl Namespaces {
    /// So many, all cables good; `None`, and a note, where that cannot be.
    pub fn new(nodes: usize) -> Option<Namespaces> {
        let begin = std::process::id() % NETWORKS;
        let numbers = (0..NETWORKS).map(|number| (begin + number) % NETWORKS);
        // The name of the switch belongs to who makes it.
        let mut made = numbers.map(|number| (number, ip(&format!("netns add iso{number}-s"))));
        let is_taken =
            |made: &Result<(), String>| made.as_ref().is_err_and(|why| why.contains("File exists"));
        let (number, made) = made.find(|(_, made)| !is_taken(made))?;
        let connected = made.and_then(|()| Self::connected(number, nodes));
        connected
            .inspect_err(|why| eprintln!("no network namespaces, so this is not checked: {why}"))
            .ok()
    }

    fn connected(number: u32, nodes: usize) -> Result<Namespaces, String> {
        let authority = Authority::new();
        authority.sign("peer", "a member", 2090);
        let namespaces = Namespaces { number, nodes, authority };
        namespaces.connect()?;
        Ok(namespaces)
    }

    fn switch(&self) -> String {
        format!("iso{}-s", self.number)
    }

    fn name(&self, node: usize) -> String {
        format!("iso{}-{node}", self.number)
    }

    /// Where a node is reached by the others.
    fn peer(node: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, node as u8 + 1)
    }

    /// The two ends of the cable between the clients and a node.
    fn ends(&self, node: usize) -> [Ipv4Addr; 2] {
        // What RFC 2544 has set aside for tests of networks.
        [1, 2].map(|end| Ipv4Addr::new(198, 18, self.number as u8, node as u8 * 4 + end))
    }

    fn connect(&self) -> Result<(), String> {
        let switch = self.switch();
        ip(&format!("-n {switch} link add name switch type bridge"))?;
        ip(&format!("-n {switch} link set switch up"))?;
        for node in 0..self.nodes {
            let name = self.name(node);
            let [here, there] = self.ends(node);
            ip(&format!("netns add {name}"))?;
            ip(&format!("-n {name} link set lo up"))?;
            ip(&format!("link add peers netns {name} type veth peer name p{node} netns {switch}"))?;
            ip(&format!("-n {switch} link set p{node} master switch up"))?;
            ip(&format!("-n {name} addr add {}/24 dev peers", Self::peer(node)))?;
            ip(&format!("-n {name} link set peers up"))?;
            ip(&format!("link add {name} type veth peer name clients netns {name}"))?;
            ip(&format!("addr add {here}/30 dev {name}"))?;
            ip(&format!("link set {name} up"))?;
            ip(&format!("-n {name} addr add {there}/30 dev clients"))?;
            ip(&format!("-n {name} link set clients up"))?;
        }
        // Whether the kernel has all that is needed is seen now.
        self.set(0, 1, Link::Slow(std::time::Duration::from_millis(1)))?;
        self.heal()
    }

    /// Where clients, HTTP and peers reach a node. Each has all ports for itself.
    pub fn places(&self, node: usize) -> [SocketAddr; 3] {
        let [_, client] = self.ends(node);
        [(client, 11_211), (client, 7_480), (Self::peer(node), 7_401)].map(SocketAddr::from)
    }

    /// What is put ahead of the command of a node. Both programs become what they are to run, so
    /// its process is the node's.
    pub fn enter(&self, node: usize) -> [String; 4] {
        let place = format!("--net=/run/netns/{}", self.name(node));
        ["nsenter", &place, "env", "ISOGRID_INSECURE=1"].map(str::to_owned)
    }

    /// The settings of a node that others reach over such a network.
    pub fn settings(&self) -> Vec<String> {
        let files = [("cert", "peer.pem"), ("key", "peer.key"), ("ca", "ca.pem")];
        let setting = |(key, file)| format!("cluster.tls_{key}={}", self.authority.path(file));
        let all = files.map(setting).into_iter().flat_map(|pair| ["--set".to_owned(), pair]);
        all.chain(["--insecure-i-know".to_owned()]).collect()
    }

    /// The way from one node to another becomes this. A slow one has all others on its cable.
    pub fn set(&self, from: usize, to: usize, link: Link) -> Result<(), String> {
        let (name, to) = (self.name(from), Self::peer(to));
        match link {
            Link::Good => Ok(()),
            Link::Slow(span) => Self::slow_down(&name, "peers", span.as_millis()),
            Link::Stalled | Link::Swallowed => {
                ip(&format!("-n {name} neigh replace {to} lladdr {NOBODY} nud permanent dev peers"))
            }
            Link::Dropped => ip(&format!("-n {name} route replace unreachable {to}")),
        }
    }

    fn slow_down(name: &str, cable: &str, ms: u128) -> Result<(), String> {
        tool("tc", &format!("-n {name} qdisc replace dev {cable} root tbf {SLOW} latency {ms}ms"))
    }

    /// All ways from and to a node become this: `Stalled` pulls its cable.
    pub fn isolate(&self, node: usize, link: Link) -> Result<(), String> {
        match link {
            Link::Stalled => ip(&format!("-n {} link set p{node} down", self.switch())),
            Link::Slow(span) => {
                Self::slow_down(&self.switch(), &format!("p{node}"), span.as_millis())?;
                self.set(node, node, link)
            }
            Link::Good | Link::Swallowed | Link::Dropped => {
                let others = (0..self.nodes).filter(|other| *other != node);
                let ways = others.flat_map(|other| [(node, other), (other, node)]);
                ways.into_iter().try_for_each(|(from, to)| self.set(from, to, link))
            }
        }
    }

    /// All are good again.
    pub fn heal(&self) -> Result<(), String> {
        let switch = self.switch();
        (0..self.nodes).try_for_each(|node| {
            let name = self.name(node);
            ip(&format!("-n {switch} link set p{node} up"))?;
            ip(&format!("-n {name} neigh flush dev peers nud permanent"))?;
            ip(&format!("-n {name} route flush type unreachable"))?;
            tool("tc", &format!("-n {name} qdisc replace dev peers root noqueue"))?;
            tool("tc", &format!("-n {switch} qdisc replace dev p{node} root noqueue"))
        })
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // What was not made yet cannot be removed.
        let names = (0..self.nodes).map(|node| self.name(node)).chain([self.switch()]);
        names.for_each(|name| {
            let _ = ip(&format!("netns del {name}"));
        });
    }
}
