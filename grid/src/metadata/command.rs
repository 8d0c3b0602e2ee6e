//! What can be proposed, and its bytes in the Raft log.

use isogrid_engine::Timestamp;

use super::{Change, GroupSettings, Role};
use crate::bytes::{Input, put_bytes, put_many, put_u8, put_u16, put_u64, whole};
use crate::id::{Boot, Epoch, GroupId, NodeId, StorageId};

/// A change of what all members agree on. Each does the same when it comes twice: a proposer
/// that does not know what became of one asks again (R74).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A process runs for a member.
    Register(Register),
    /// A process wants to be a member.
    Join(Join),
    /// Segments change, each for itself: those that cannot stay as they are.
    Change(Vec<Change>),
    /// A group of caches comes into being.
    CreateGroup(CreateGroup),
    /// A member wants to go.
    Leave(NodeId),
    /// A member that has nothing any more is forgotten.
    Remove(NodeId),
    /// This process of a member is about to end, and its next one comes in time.
    Stop(NodeId, Boot),
    /// A member that is gone for good is forgotten with what it has, also with what only it has if
    /// that is accepted.
    Expel(NodeId, bool),
    /// All processes end, and keep what they have until the first of the next ones runs (R64).
    ShutDown,
}

/// A process runs for a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// Which member.
    pub node: NodeId,
    /// Its disk, as it finds it.
    pub storage: StorageId,
    /// The copies on it, as it finds them.
    pub data: StorageId,
    /// The process.
    pub boot: Boot,
    /// Where its peers reach it now.
    pub address: String,
}

/// A process wants to be a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Join {
    /// The name of the cluster that it looks for.
    pub cluster: String,
    /// Its disk.
    pub storage: StorageId,
    /// The process.
    pub boot: Boot,
    /// Where its peers reach it.
    pub address: String,
    /// What it is there for.
    pub role: Role,
    /// Where it stands.
    pub zone: String,
    /// How much it takes in proportion to others.
    pub weight: u16,
}

/// A group of caches comes into being.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateGroup {
    /// Its number.
    pub group: GroupId,
    /// What its caches have in common.
    pub settings: GroupSettings,
    /// The epoch that its segments begin with.
    pub epoch: Epoch,
    /// The proposer's time.
    pub now: Timestamp,
    /// Who owns each segment, its primary first.
    pub owners: Vec<Vec<NodeId>>,
}

/// Whose proposal it is, so that the proposer knows it again when it is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    /// The process that proposed.
    pub boot: Boot,
    /// Which of its proposals.
    pub n: u64,
}

/// A command as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Whose.
    pub ticket: Ticket,
    /// What.
    pub command: Command,
}

impl Proposal {
    /// The entry's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.ticket.boot.encode(&mut out);
        put_u64(&mut out, self.ticket.n);
        self.command.encode(&mut out);
        out
    }

    /// The proposal of an entry; `None` when the bytes are none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        whole(bytes, |input| {
            let ticket = Ticket { boot: Boot::decode(input)?, n: input.u64()? };
            Some(Proposal { ticket, command: Command::decode(input)? })
        })
    }
}

impl Command {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Command::Register(register) => {
                put_u8(out, 1);
                register.encode(out);
            }
            Command::Join(join) => {
                put_u8(out, 2);
                join.encode(out);
            }
            Command::Change(changes) => {
                put_u8(out, 3);
                put_many(out, changes.iter(), |out, change| change.encode(out));
            }
            Command::CreateGroup(create) => {
                put_u8(out, 4);
                create.encode(out);
            }
            Command::Leave(node) => {
                put_u8(out, 5);
                node.encode(out);
            }
            Command::Remove(node) => {
                put_u8(out, 6);
                node.encode(out);
            }
            Command::Stop(node, boot) => {
                put_u8(out, 7);
                node.encode(out);
                boot.encode(out);
            }
            Command::Expel(node, accepts_loss) => {
                put_u8(out, 8);
                node.encode(out);
                put_u8(out, u8::from(*accepts_loss));
            }
            Command::ShutDown => put_u8(out, 9),
        }
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(match input.u8()? {
            1 => Command::Register(Register::decode(input)?),
            2 => Command::Join(Join::decode(input)?),
            3 => Command::Change(input.many(Change::decode)?),
            4 => Command::CreateGroup(CreateGroup::decode(input)?),
            5 => Command::Leave(NodeId::decode(input)?),
            6 => Command::Remove(NodeId::decode(input)?),
            7 => Command::Stop(NodeId::decode(input)?, Boot::decode(input)?),
            8 => Command::Expel(NodeId::decode(input)?, input.bool()?),
            9 => Command::ShutDown,
            _ => return None,
        })
    }
}

impl Register {
    fn encode(&self, out: &mut Vec<u8>) {
        self.node.encode(out);
        self.storage.encode(out);
        self.data.encode(out);
        self.boot.encode(out);
        put_bytes(out, self.address.as_bytes());
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(Register {
            node: NodeId::decode(input)?,
            storage: StorageId::decode(input)?,
            data: StorageId::decode(input)?,
            boot: Boot::decode(input)?,
            address: input.text()?,
        })
    }
}

impl Join {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.cluster.as_bytes());
        self.storage.encode(out);
        self.boot.encode(out);
        put_bytes(out, self.address.as_bytes());
        self.role.encode(out);
        put_bytes(out, self.zone.as_bytes());
        put_u16(out, self.weight);
    }

    pub(crate) fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(Join {
            cluster: input.text()?,
            storage: StorageId::decode(input)?,
            boot: Boot::decode(input)?,
            address: input.text()?,
            role: Role::decode(input)?,
            zone: input.text()?,
            weight: input.u16()?,
        })
    }
}

impl CreateGroup {
    fn encode(&self, out: &mut Vec<u8>) {
        self.group.encode(out);
        self.settings.encode(out);
        self.epoch.encode(out);
        put_u64(out, self.now);
        put_many(out, self.owners.iter(), |out, owners| {
            put_many(out, owners.iter(), |out, node| node.encode(out));
        });
    }

    fn decode(input: &mut Input<'_>) -> Option<Self> {
        Some(CreateGroup {
            group: GroupId::decode(input)?,
            settings: GroupSettings::decode(input)?,
            epoch: Epoch::decode(input)?,
            now: input.u64()?,
            owners: input.many(|input| input.many(NodeId::decode))?,
        })
    }
}
