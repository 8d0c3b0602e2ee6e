//! memcached's `-l`: several interfaces, each with or without a port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use super::{Failure, exit};

/// The addresses of a list like `127.0.0.1,[::1]:11212,notls:localhost`; a port that is not said
/// is `port`, as memcached counts them: -1 is a free one, 0 is none. Each with whether it is to do
/// without TLS.
pub fn parse_list(list: &str, port: i64) -> Result<Vec<(SocketAddr, bool)>, Failure> {
    let parts = list.split([',', ';']).filter(|part| !part.is_empty());
    let resolved: Result<Vec<_>, _> = parts.map(|part| parse_one(part, port)).collect();
    let failed = |why| {
        let message = format!("{why}\nfailed to listen on one of interface(s) {list}: Success");
        Failure::new(exit::OS, message)
    };
    resolved.map(|lists| lists.into_iter().flatten().collect()).map_err(failed)
}

/// The port to bind: `None` for none, 0 for a free one.
pub fn port_to_bind(port: i64) -> Result<Option<u16>, String> {
    match port {
        0 => Ok(None),
        -1 => Ok(Some(0)),
        port => u16::try_from(port).map(Some).map_err(|_| format!("Invalid port number: {port}")),
    }
}

fn parse_one(part: &str, port: i64) -> Result<Vec<(SocketAddr, bool)>, String> {
    let (part, plain) = part.strip_prefix("notls:").map_or((part, false), |part| (part, true));
    let (host, port) = split_port(part, port)?;
    let Some(port) = port_to_bind(port)? else { return Ok(Vec::new()) };
    if host == "*" {
        let everywhere = everywhere().into_iter().map(|ip| SocketAddr::new(ip, port));
        return Ok(everywhere.map(|address| (address, plain)).collect());
    }
    let found = (host, port).to_socket_addrs();
    let found = found.map_err(|_| "getaddrinfo(): Name or service not known".to_owned())?;
    Ok(found.map(|address| (address, plain)).collect())
}

/// A port follows the only colon, or the bracket that closes an IPv6 address.
fn split_port(part: &str, port: i64) -> Result<(&str, i64), String> {
    let (host, rest) = match part.strip_prefix('[') {
        Some(bracketed) => {
            bracketed.split_once(']').ok_or_else(|| format!("Invalid IPV6 address: \"{part}\""))?
        }
        None if part.matches(':').count() == 1 => {
            part.split_at(part.find(':').unwrap_or(part.len()))
        }
        None => (part, ""),
    };
    match rest.strip_prefix(':') {
        Some(text) => {
            let port = text.parse().map_err(|_| format!("Invalid port number: \"{text}\""));
            Ok((host, port?))
        }
        None => Ok((host, port)),
    }
}

/// Every interface, over IPv6 too where the machine has it.
fn everywhere() -> Vec<IpAddr> {
    let has_v6 = std::fs::read_to_string("/proc/net/if_inet6").is_ok_and(|list| !list.is_empty());
    let v6 = has_v6.then_some(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    [IpAddr::V4(Ipv4Addr::UNSPECIFIED)].into_iter().chain(v6).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        for (list, expected) in [
            ("127.0.0.1", "127.0.0.1:11211"),
            ("127.0.0.1:1,127.0.0.2", "127.0.0.1:1 127.0.0.2:11211"),
            ("::1", "[::1]:11211"),
            ("[::1]:2;notls:10.0.0.1:3", "[::1]:2 !10.0.0.1:3"),
            ("notls:[::1]", "![::1]:11211"),
            ("127.0.0.1:-1", "127.0.0.1:0"),
            ("127.0.0.1:0", ""),
            ("127.0.0.1:", "Invalid port number: \"\""),
            ("127.0.0.1:99999", "Invalid port number: 99999"),
            ("[::1", "Invalid IPV6 address: \"[::1\""),
            (":1", "getaddrinfo(): Name or service not known"),
            ("256.1.1.1", "getaddrinfo(): Name or service not known"),
        ] {
            let got = match parse_list(list, 11211) {
                Ok(found) => {
                    let shown = found.iter().map(|(address, plain)| {
                        let mark = if *plain { "!" } else { "" };
                        format!("{mark}{address}")
                    });
                    shown.collect::<Vec<_>>().join(" ")
                }
                Err(failure) => {
                    assert_eq!(failure.code, 71);
                    failure.message.lines().next().unwrap_or_default().to_owned()
                }
            };
            assert_eq!(got, expected, "{list}");
        }
    }

    #[test]
    fn a_star_is_every_interface() {
        let found = parse_list("*:5", 0).unwrap();
        assert!(
            found.iter().all(|(address, _)| address.ip().is_unspecified() && address.port() == 5)
        );
    }
}
