//! What a node says of the cluster.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::harness::http_request;

/// How long a node may take to say.
const PATIENCE: Duration = Duration::from_secs(2);

/// Whether a node says that every copy that should be there is; `None` when it cannot say so.
pub fn is_whole(node: SocketAddr) -> Option<bool> {
    match status(node) {
        Some(404) => None,
        status => Some(status == Some(200)),
    }
}

fn status(node: SocketAddr) -> Option<u16> {
    let mut stream = TcpStream::connect_timeout(&node, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let request = http_request("GET", "/health/cluster", &["connection: close"], b"");
    stream.write_all(&request).ok()?;
    // `HTTP/1.1 200 ..`
    let mut line = [0; 12];
    stream.read_exact(&mut line).ok()?;
    std::str::from_utf8(line.get(9..)?).ok()?.parse().ok()
}
