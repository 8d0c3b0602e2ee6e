//! A name server for one service, as small as one can be (RFC 1035, RFC 2782).

use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::{Arc, Mutex};

const A: u16 = 1;
const SRV: u16 = 33;
const NXDOMAIN: u8 = 3;

type Hosts = Arc<Mutex<Vec<SocketAddrV4>>>;

/// A service with no hosts, until some are published.
pub struct Zone {
    address: SocketAddr,
    hosts: Hosts,
}

impl Zone {
    /// Answers for this service for as long as the process runs.
    pub fn serve(service: &str) -> Zone {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
        let (address, hosts) = (socket.local_addr().unwrap(), Hosts::default());
        let (service, known) = (service.to_owned(), Arc::clone(&hosts));
        std::thread::spawn(move || {
            let mut bytes = [0; 1_500];
            while let Ok((len, from)) = socket.recv_from(&mut bytes) {
                let answer = answer(&bytes[..len], &service, &known.lock().unwrap());
                let _ = socket.send_to(&answer, from);
            }
        });
        Zone { address, hosts }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The service has these hosts from now on.
    pub fn publish(&self, hosts: &[String]) {
        *self.hosts.lock().unwrap() = hosts.iter().map(|host| host.parse().unwrap()).collect();
    }
}

/// The n-th host is called `n.SERVICE`.
fn answer(query: &[u8], service: &str, hosts: &[SocketAddrV4]) -> Vec<u8> {
    let (name, end) = name(query);
    let kind = u16::from_be_bytes([query[end], query[end + 1]]);
    let answers: Vec<Vec<u8>> = if name == service && kind == SRV {
        (0..hosts.len()).map(|n| srv(&format!("{n}.{service}"), hosts[n].port())).collect()
    } else {
        let of = |n: &usize| name == format!("{n}.{service}") && kind == A;
        (0..hosts.len()).filter(of).map(|n| hosts[n].ip().octets().to_vec()).collect()
    };
    let is_known = !hosts.is_empty() && name.ends_with(service);
    // The question as it came, as a response that has authority, with its answers.
    let mut bytes = query[..2].to_vec();
    bytes.extend([0x85, 0x80 | if is_known { 0 } else { NXDOMAIN }, 0, 1, 0]);
    bytes.extend([u8::try_from(answers.len()).unwrap(), 0, 0, 0, 0]);
    bytes.extend(&query[12..end + 4]);
    for answer in answers {
        // The name is that of the question, the class IN, the ttl 0.
        bytes.extend([0xc0, 12]);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 0]);
        bytes.extend(u16::try_from(answer.len()).unwrap().to_be_bytes());
        bytes.extend(answer);
    }
    bytes
}

/// The name that is asked for, and where it ends.
fn name(query: &[u8]) -> (String, usize) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] > 0 {
        let len = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..=at + len]).into_owned());
        at += 1 + len;
    }
    (labels.join("."), at + 1)
}

/// Priority 10, weight 5.
fn srv(target: &str, port: u16) -> Vec<u8> {
    let mut bytes = vec![0, 10, 0, 5];
    bytes.extend(port.to_be_bytes());
    for label in target.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
