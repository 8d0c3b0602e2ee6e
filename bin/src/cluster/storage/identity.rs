//! The file `identity`: who a process is, as far as that outlives it.

use std::fmt::Write as _;
use std::str::Lines;
use std::sync::Arc;

use isogrid_engine::disk::Disk;
use isogrid_grid::id::{Boot, ClusterId, NodeId, StorageId};
use isogrid_grid::metadata::Settings;

use super::StorageError;
use super::file::SmallFile;

const NAME: &str = "identity";
const HEAD: &str = "cluster identity 1";

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// Random, made with the file: never that of a member that was removed.
    pub storage: StorageId,
    /// How often it was started.
    pub boot: Boot,
    /// The storage id of the data directory around it, once there were data. Whoever trusts this
    /// member's copies trusts those.
    pub data: Option<u128>,
    /// The number that the Raft log had got to at the last start: one that ends before it has
    /// lost something.
    pub raft: u64,
    /// Which member it is, and of which cluster.
    pub member: Option<(NodeId, Settings)>,
}

/// The file in its folder.
#[derive(Debug)]
pub(super) struct IdentityFile(SmallFile);

impl IdentityFile {
    pub fn new(disk: &Arc<dyn Disk>) -> Self {
        IdentityFile(SmallFile::new(disk, NAME, HEAD))
    }

    pub fn place(&self) -> String {
        self.0.place()
    }

    pub fn read(&self) -> Result<Option<Identity>, StorageError> {
        let Some(body) = self.0.read()? else { return Ok(None) };
        let identity = Identity::parse(&body).filter(|identity| identity.text() == body);
        identity.map(Some).ok_or_else(|| self.0.damaged("a line of it is not known"))
    }

    pub fn write(&self, identity: &Identity) -> Result<(), StorageError> {
        self.0.write(&identity.text())
    }
}

impl Identity {
    /// One of a storage that was never started.
    pub fn new(storage: StorageId) -> Self {
        Identity { storage, boot: Boot(0), data: None, raft: 0, member: None }
    }

    fn text(&self) -> String {
        let Identity { storage, boot, data, raft, member } = self;
        let data = data.map_or("none".to_owned(), |data| format!("{data:032x}"));
        let boot = boot.0;
        let mut text = format!("storage {storage}\nboot {boot}\ndata {data}\nraft {raft}\n");
        if let Some((node, settings)) = member {
            let Settings { cluster, name, segments, lease_ms } = settings;
            // Writing to a string does not fail. A name may have any letters in it, so it stands
            // as JSON has it.
            let name = serde_json::Value::from(name.as_str());
            let _ = write!(text, "node {}\ncluster {cluster}\nname {name}\n", node.0);
            let _ = write!(text, "segments {segments}\nlease_ms {lease_ms}\n");
        }
        text
    }

    fn parse(body: &str) -> Option<Self> {
        let mut lines = body.lines();
        let storage = StorageId(hex(field(&mut lines, "storage")?)?);
        let boot = Boot(field(&mut lines, "boot")?.parse().ok()?);
        let data = match field(&mut lines, "data")? {
            "none" => None,
            id => Some(hex(id)?),
        };
        let raft = field(&mut lines, "raft")?.parse().ok()?;
        let is_member = lines.clone().next().is_some();
        let member = if is_member { Some(parse_member(&mut lines)?) } else { None };
        Some(Identity { storage, boot, data, raft, member })
    }
}

fn parse_member(lines: &mut Lines<'_>) -> Option<(NodeId, Settings)> {
    let node = NodeId(field(lines, "node")?.parse().ok()?);
    let settings = Settings {
        cluster: ClusterId(hex(field(lines, "cluster")?)?),
        name: serde_json::from_str(field(lines, "name")?).ok()?,
        segments: field(lines, "segments")?.parse().ok()?,
        lease_ms: field(lines, "lease_ms")?.parse().ok()?,
    };
    Some((node, settings))
}

/// What stands behind the word that the next line begins with.
fn field<'a>(lines: &mut Lines<'a>, word: &str) -> Option<&'a str> {
    lines.next()?.strip_prefix(word)?.strip_prefix(' ')
}

fn hex(text: &str) -> Option<u128> {
    u128::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        let settings = Settings {
            cluster: ClusterId(u128::MAX),
            name: "prod \"é\"\nboot 1".to_owned(),
            segments: 256,
            lease_ms: 4_000,
        };
        for (data, member) in [(None, None), (Some(7), Some((NodeId(3), settings)))] {
            let identity = Identity { storage: StorageId(1), boot: Boot(2), data, raft: 9, member };
            assert_eq!(Identity::parse(&identity.text()), Some(identity));
        }
    }

    #[test]
    fn what_is_no_identity_is_not_read() {
        let good = Identity::new(StorageId(5)).text();
        for bad in [
            String::new(),
            good.replace("boot", "boots"),
            good.replace("none", "some"),
            good.replace("boot 0", "boot -1"),
            format!("{good}node 1\n"),
        ] {
            assert_eq!(Identity::parse(&bad), None, "{bad}");
        }
    }
}
