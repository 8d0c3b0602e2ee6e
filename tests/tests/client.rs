//! The Rust client against a real server, in a process of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failing test may panic")]

#[path = "client/faces.rs"]
mod faces;
#[path = "client/kill.rs"]
mod kill;
#[path = "client/logins.rs"]
mod logins;
#[path = "client/memo.rs"]
mod memo;
#[path = "client/near.rs"]
mod near;
#[path = "client/queues.rs"]
mod queues;
#[path = "client/sessions.rs"]
mod sessions;
#[path = "client/topics.rs"]
mod topics;
#[path = "client/transfers.rs"]
mod transfers;
#[path = "client/whole.rs"]
mod whole;

use std::net::TcpListener;
use std::time::Duration;

use isogrid_tests::harness::{Server, temporary};
use isogrid_wire::client::{Client, Options};

/// A server that keeps its place and its data when it is killed.
struct Place {
    native: String,
    data: String,
}

impl Place {
    fn new(what: &str) -> Self {
        // Nobody else takes a port that was free a moment ago, or the server says so.
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let data = temporary(what).to_string_lossy().into_owned();
        Place { native: free.to_string(), data }
    }

    fn start(&self) -> Server {
        Server::isogrid(&["--native", &self.native, "--data-dir", &self.data])
    }

    fn kill(&self, server: &mut Server) {
        server.signal("KILL");
        server.wait();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn options() -> Options {
    Options::default()
        .timeout(Duration::from_secs(20))
        .backoff(Duration::from_millis(5), Duration::from_millis(100))
}

/// A server that keeps nothing, and its native address.
fn server() -> (Server, String) {
    let server = Server::isogrid(&["--native", "127.0.0.1:0"]);
    let address = server.bound_for("native").remove(0);
    (server, address)
}

async fn client(address: &str) -> Client {
    Client::connect([address], options()).await.unwrap()
}
