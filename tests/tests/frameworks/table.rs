//! The frameworks, how they are started, and what becomes of their sessions. `docs/FRAMEWORKS.md`
//! has the same table.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use isogrid_tests::harness::{example, node_with, python_with, works};
use isogrid_tests::tidy::root;

const PYTHON: [&str; 4] = ["django", "flask", "flask-session", "pymemcache"];
const NODE: [&str; 4] = ["express", "express-session", "connect-memcached", "connect-memjs"];

/// What runs an application.
#[derive(Debug, Clone, Copy)]
pub enum Runtime {
    Python,
    Node,
    Php,
    Ruby,
    /// An example of one of our packages.
    Rust,
}

/// What becomes of what a fast request does while a slow one has its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It stays.
    Kept,
    /// It is undone by what the slow one saves.
    Lost,
    /// It is done when the slow one has ended, and stays.
    Waited,
}
use End::{Kept, Lost, Waited};

/// What an application answers when a server of its session cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreached {
    /// That it cannot.
    Refused,
    /// As if there were no session.
    Forgotten,
}
use Unreached::{Forgotten, Refused};

/// A framework with a store and its options.
pub struct Framework {
    pub name: &'static str,
    runtime: Runtime,
    script: &'static str,
    /// What its environment says beside servers and port.
    options: &'static [(&'static str, &'static str)],
    /// Two requests set different attributes.
    pub writers: End,
    /// One sets an attribute, the fast one logs out.
    pub logout: End,
    /// One reads, the fast one sets an attribute.
    pub reader: End,
    pub unreached: Unreached,
    /// Whether it is one for a cluster whose nodes may fail: the others forget sessions then.
    pub fails_over: bool,
    /// Whether its store is one of ours, over the native protocol.
    merges: bool,
}

impl Framework {
    const fn new(
        name: &'static str,
        (runtime, script): (Runtime, &'static str),
        options: &'static [(&'static str, &'static str)],
        [writers, logout, reader]: [End; 3],
        unreached: Unreached,
    ) -> Framework {
        let (fails_over, merges) = (matches!(unreached, Refused), false);
        Framework {
            name,
            runtime,
            script,
            options,
            writers,
            logout,
            reader,
            unreached,
            fails_over,
            merges,
        }
    }

    /// One with a store of ours: nothing is lost, and no error is taken for a logout.
    const fn merging(
        name: &'static str,
        app: (Runtime, &'static str),
        options: &'static [(&'static str, &'static str)],
    ) -> Framework {
        Framework { merges: true, ..Framework::new(name, app, options, [Kept; 3], Refused) }
    }

    /// Whether its store is one of ours: concurrent changes of a session are merged.
    pub fn merges(&self) -> bool {
        self.merges
    }

    /// Whether requests of one session wait for each other.
    pub fn locks(&self) -> bool {
        self.writers == Waited
    }

    /// Builds what has to be built, which may take as long as somebody else builds.
    pub fn build(&self) {
        if let Runtime::Rust = self.runtime {
            built(self.script);
        }
    }

    /// Its application at this address.
    pub fn command(&self, address: SocketAddr) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("frameworks").join(self.script);
        let mut command = match self.runtime {
            Runtime::Python => {
                let mut python = Command::new(python());
                python.env("PYTHONDONTWRITEBYTECODE", "1");
                python.env("PYTHONPATH", root().join("clients/python"));
                python
            }
            Runtime::Node => node_with(&NODE),
            Runtime::Php => {
                let mut php = Command::new("php");
                php.args(["-q", "-S", &address.to_string()]).env("PHP_CLI_SERVER_WORKERS", "4");
                php
            }
            Runtime::Ruby => Command::new("ruby"),
            Runtime::Rust => return Command::new(built(self.script)),
        };
        command.arg(script).envs(self.options.iter().copied());
        command
    }

    /// Whether what runs it is there. In CI it has to be.
    pub fn is_here(&self) -> bool {
        let (is_there, install) = self.runtime.check();
        let note = format!("{} cannot run, so this is not checked: {install}", self.name);
        assert!(is_there || std::env::var_os("CI").is_none(), "{note}");
        if !is_there {
            eprintln!("{note}");
        }
        is_there
    }
}

impl Runtime {
    /// Whether it is there, and what installs it.
    fn check(self) -> (bool, &'static str) {
        let has = |program: &str, args: [&str; 2]| works(Command::new(program).args(args));
        match self {
            Runtime::Python => (
                has("python3", ["-c", "import ensurepip"])
                    || has("python3", ["-c", "import flask"]),
                "apt-get install python3-venv",
            ),
            Runtime::Node => (has("npm", ["--version", "--silent"]), "apt-get install npm"),
            Runtime::Php => (
                has("php", ["-r", "exit((int) !extension_loaded('memcached'));"]),
                "apt-get install php-cli php-memcached",
            ),
            Runtime::Ruby => (
                has("ruby", ["-e", "require 'rack/session/dalli'; require 'webrick'"]),
                "apt-get install ruby-dalli ruby-rack ruby-connection-pool ruby-webrick",
            ),
            Runtime::Rust => (true, "it is built with the tests"),
        }
    }
}

/// An example of ours, built once.
fn built(name: &'static str) -> PathBuf {
    static BUILT: Mutex<BTreeMap<&str, PathBuf>> = Mutex::new(BTreeMap::new());
    BUILT.lock().unwrap().entry(name).or_insert_with(|| example(name)).clone()
}

fn python() -> PathBuf {
    python_with("django, flask, flask_session, pymemcache", &PYTHON)
}

const DJANGO: (Runtime, &str) = (Runtime::Python, "django_app.py");
const FLASK: (Runtime, &str) = (Runtime::Python, "flask_app.py");
const EXPRESS: (Runtime, &str) = (Runtime::Node, "express_app.js");
const PHP: (Runtime, &str) = (Runtime::Php, "php_app.php");
const RACK: (Runtime, &str) = (Runtime::Ruby, "rack_app.rb");
const STOCK_ENGINE: (&str, &str) = ("ENGINE", "django.contrib.sessions.backends.cache");

/// The table: two writers, a writer and a logout, a reader and a writer.
pub static FRAMEWORKS: [Framework; 14] = [
    Framework::new("Django", DJANGO, &[], [Lost, Kept, Kept], Refused),
    Framework::new("Django's own engine", DJANGO, &[STOCK_ENGINE], [Lost, Kept, Kept], Forgotten),
    Framework::new("Flask-Session", FLASK, &[], [Lost, Lost, Kept], Refused),
    Framework::new("Flask-Session, refreshing", FLASK, &[("REFRESH", "1")], [Lost; 3], Refused),
    Framework::new("connect-memcached", EXPRESS, &[], [Lost; 3], Refused),
    Framework::new(
        "connect-memjs",
        EXPRESS,
        &[("STORE", "connect-memjs")],
        [Lost, Lost, Kept],
        Refused,
    ),
    Framework::new("PHP", PHP, &[], [Waited; 3], Refused),
    Framework::new("PHP's own failover", PHP, &[("LIST", "1")], [Waited; 3], Forgotten),
    Framework::new("Rack", RACK, &[], [Lost; 3], Refused),
    Framework::new("Rack's own store", RACK, &[("STOCK", "1")], [Lost; 3], Forgotten),
    Framework::merging("Django, isogrid.django", DJANGO, &[("ENGINE", "isogrid.django")]),
    Framework::merging("Flask, isogrid.flask", FLASK, &[("STORE", "isogrid.flask")]),
    Framework::merging("axum, tower-sessions", (Runtime::Rust, "axum_app"), &[]),
    Framework::merging("Actix Web, actix-session", (Runtime::Rust, "actix_app"), &[]),
];
