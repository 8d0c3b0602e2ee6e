//! The lab: which servers take part, and where they run.

use std::fmt::Write;
use std::path::PathBuf;

use super::Result;
use super::cli::LabArgs;
use super::cores::Cores;
use super::product::Product;
use super::server::{Server, Start};

/// The servers that take part, and the cores.
pub struct Lab {
    binaries: Vec<Binary>,
    cores: Option<Cores>,
}

/// A server that takes part.
struct Binary {
    product: Product,
    path: PathBuf,
    added: String,
}

impl Lab {
    /// Finds the binaries and moves this process to its core. Only Isogrid must be there.
    pub fn open(arguments: &LabArgs) -> Result<Self> {
        let mut binaries = Vec::new();
        for product in Product::ALL.into_iter().filter(|p| !arguments.without.contains(p)) {
            match locate(product, arguments)? {
                Some(path) => {
                    // Servers run in folders of their own, where a relative path leads nowhere. Links stay: redis-server
                    // and its tools are one file that looks at its name.
                    let path = std::path::absolute(path)?;
                    let added = arguments.added(product).to_owned();
                    binaries.push(Binary { product, path, added });
                }
                None => progress(&format!("{product} is not installed and is left out")),
            }
        }
        let cores = Cores::choose(arguments.server_core, arguments.load_core)?;
        match cores {
            Some(cores) => cores.pin_self()?,
            None => progress("one core only: the servers share it with the load"),
        }
        Ok(Self { binaries, cores })
    }

    /// Those that take part.
    pub fn products(&self) -> impl Iterator<Item = Product> + '_ {
        self.binaries.iter().map(|binary| binary.product)
    }

    /// Whether a server runs with arguments of its own, for which no bar was set.
    pub fn is_plain(&self) -> bool {
        self.binaries.iter().all(|binary| binary.added.is_empty())
    }

    /// Who runs where, for the notes under a table.
    pub fn describe(&self) -> String {
        let mut text = match self.cores {
            Some(cores) => format!("servers on core {}, load on core {}", cores.server, cores.load),
            None => "servers and load share the only core".to_owned(),
        };
        for Binary { product, added, .. } in &self.binaries {
            if !added.is_empty() {
                let _ = write!(text, "; {product} with {added}");
            }
        }
        text
    }

    /// Starts one of them afresh.
    pub fn start(&self, product: Product, memory_mib: u64) -> Result<Server> {
        self.start_with(product, memory_mib, None)
    }

    /// Starts one of them with an eviction policy of Isogrid's.
    pub fn start_with(
        &self,
        product: Product,
        memory_mib: u64,
        eviction: Option<&str>,
    ) -> Result<Server> {
        self.start_one(product, memory_mib, eviction, "")
    }

    /// Starts one of them with more arguments than the command line has for it.
    pub fn start_adding(&self, product: Product, memory_mib: u64, more: &str) -> Result<Server> {
        self.start_one(product, memory_mib, None, more)
    }

    fn start_one(
        &self,
        product: Product,
        memory_mib: u64,
        eviction: Option<&str>,
        more: &str,
    ) -> Result<Server> {
        let found = self.binaries.iter().find(|binary| binary.product == product);
        let Binary { path, added, .. } =
            found.ok_or_else(|| format!("{product} does not take part"))?;
        let (cores, added) = (self.cores, format!("{added} {more}"));
        let how = Start { binary: path, memory_mib, eviction, added: &added, cores };
        Server::start(product, &how)
    }
}

/// Says on stderr what is going on.
pub fn progress(text: &str) {
    eprintln!("compare: {text}");
}

/// The binary that was named, else the one that is found; an error where one must be there.
fn locate(product: Product, arguments: &LabArgs) -> Result<Option<PathBuf>> {
    let named = match product {
        Product::Isogrid => &arguments.isogrid,
        Product::Memcached => &arguments.memcached,
        Product::Redis => &arguments.redis,
    };
    match (named, product.find(), product) {
        (Some(path), _, _) if path.is_file() => Ok(Some(path.clone())),
        (Some(path), _, _) => Err(format!("--{product} {}: no such file", path.display()).into()),
        (None, None, Product::Isogrid) => Err("no `isogrid` beside this program: build it with \
            `cargo build --release`, name it with --isogrid PATH, or leave it out with \
            --without isogrid"
            .into()),
        (None, found, _) => Ok(found),
    }
}
