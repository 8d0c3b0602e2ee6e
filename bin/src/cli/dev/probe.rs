//! Whether the nodes serve: what a load balancer would ask them.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::plan::Plan;

/// How often a node is asked.
const LOOK: Duration = Duration::from_millis(20);
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
const YES: &[u8] = b"HTTP/1.1 200 ";

/// Returns when every node is ready.
pub async fn all_serve(plan: &Plan) {
    for node in &plan.nodes {
        let address = node.http();
        while !matches!(timeout(PATIENCE, is_good(&address, "/health/ready")).await, Ok(Ok(true))) {
            sleep(LOOK).await;
        }
    }
}

/// Whether what is asked for is answered with yes.
///
/// # Errors
/// There is no answer.
pub async fn is_good(address: &str, path: &str) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; YES.len()];
    stream.read_exact(&mut head).await?;
    Ok(head == YES)
}
