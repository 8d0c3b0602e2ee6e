//! A running application of a framework, and browsers that use it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use isogrid_tests::cluster::free_address;
use isogrid_tests::harness::{run, temporary, wait_until};
use serde_json::Value;

use super::table::Framework;

/// How long a browser waits for an answer: longer than any of the clients does for a node.
const PATIENCE: Duration = Duration::from_secs(20);

/// An application's process; dropped, it is killed.
pub struct App {
    pub address: SocketAddr,
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl App {
    /// Starts it with these servers for its sessions, and waits until it can be asked.
    pub fn start(framework: &Framework, servers: &[String]) -> App {
        // Ahead of the address, which is free for a moment only.
        framework.build();
        let address = free_address();
        let log = temporary("app").with_extension(address.port().to_string());
        let mut command = framework.command(address);
        command.env("SERVERS", servers.join(",")).env("PORT", address.port().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&log).unwrap()).process_group(0);
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let mut app = App { address, name: framework.name, child, log };
        wait_until("the application listens", || {
            assert_eq!(app.child.try_wait().unwrap(), None, "{}: {}", app.name, app.log());
            TcpStream::connect(address).is_ok()
        });
        app
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        // With the workers that some start.
        run(Command::new("kill").args(["-KILL", "--", &format!("-{}", self.child.id())]));
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}'s log:\n{}", self.name, self.log());
        }
        let _ = std::fs::remove_file(&self.log);
    }
}

/// Somebody with a cookie, who may go to any of the applications.
#[derive(Debug, Clone, Default)]
pub struct Browser {
    cookie: String,
}

impl Browser {
    /// One that has logged in.
    pub fn logged_in(app: &App) -> Browser {
        let mut browser = Browser::default();
        assert_eq!(browser.session(app, "login")["user"], "ann", "{}", app.name);
        browser
    }

    /// Whether they have different cookies.
    pub fn differs_from(&self, other: &Browser) -> bool {
        self.cookie != other.cookie
    }

    /// What the session has after a request that has to be answered well.
    pub fn session(&mut self, app: &App, path: &str) -> Value {
        let session = self.ask(app, path);
        session.unwrap_or_else(|why| panic!("{}, {path}: {why}\n{}", app.name, app.log()))
    }

    /// The same, or what was answered instead.
    pub fn ask(&mut self, app: &App, path: &str) -> Result<Value, String> {
        let (head, body) = self.get(app.address, path).map_err(|error| error.to_string())?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status != "200" {
            return Err(format!("{status} {body}"));
        }
        for line in head.lines() {
            let Some((name, value)) = line.split_once(": ") else { continue };
            if name.eq_ignore_ascii_case("set-cookie") {
                self.cookie = value.split(';').next().unwrap_or_default().to_owned();
            }
        }
        serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))
    }

    fn get(&self, address: SocketAddr, path: &str) -> std::io::Result<(String, String)> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let head = format!("host: {address}\r\ncookie: {}", self.cookie);
        // At once: PHP's server takes a request that comes in pieces for a bad one.
        stream.write_all(format!("GET /{path} HTTP/1.0\r\n{head}\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        Ok((head.to_owned(), body.to_owned()))
    }
}
