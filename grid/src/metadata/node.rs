//! One member.

use crate::bytes::{Input, put_bytes, put_option, put_u8, put_u16};
use crate::id::{Boot, Incarnation, StorageId};
use crate::metadata::Join;
use crate::mutant::is_planted;

/// What a member is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It has data and may vote.
    Data,
    /// It votes and has no data: two members with data and a witness survive the end of either.
    Witness,
}

impl Role {
    /// Its name: data or witness.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Data => "data",
            Role::Witness => "witness",
        }
    }

    pub(super) fn encode(self, out: &mut Vec<u8>) {
        put_u8(
            out,
            match self {
                Role::Data => 0,
                Role::Witness => 1,
            },
        );
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Option<Self> {
        match input.u8()? {
            0 => Some(Role::Data),
            1 => Some(Role::Witness),
            _ => None,
        }
    }
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its disk.
    pub storage: StorageId,
    /// The copies on its disk. Like `storage` at first; another one when they were lost or damaged,
    /// so that nobody takes what is there for what was (R2).
    pub data: StorageId,
    /// Where its peers reach it.
    pub address: String,
    /// Where clients reach it over GNP; empty where they do not.
    pub endpoint: String,
    /// What it is there for.
    pub role: Role,
    /// Copies of one segment go to different zones where they can. May be empty.
    pub zone: String,
    /// How much it takes in proportion to others. At least 1.
    pub weight: u16,
    /// The process that runs for it, as it says itself.
    pub boot: Boot,
    /// The process that runs for it; `None` before the first has registered.
    pub incarnation: Option<Incarnation>,
    /// It is to be given nothing, and to be relieved of what it has.
    pub leaving: bool,
    /// Its process is about to end (R64): the same, until its next one runs, but it keeps its place.
    pub stopping: bool,
}

/// The bits of what a member is about to do, in its bytes.
const LEAVING: u8 = 1;
const STOPPING: u8 = 2;

impl Member {
    pub(super) fn new(join: Join) -> Self {
        let Join { storage, address, endpoint, role, zone, weight, .. } = join;
        let weight = weight.max(1);
        let (boot, incarnation) = (Boot::default(), None);
        let (leaving, stopping, data) = (false, false, storage);
        Member {
            storage,
            data,
            address,
            endpoint,
            role,
            zone,
            weight,
            boot,
            incarnation,
            leaving,
            stopping,
        }
    }

    /// Whether it may have copies of segments: a witness has none, ever.
    #[must_use]
    pub fn has_data(&self) -> bool {
        self.role == Role::Data || is_planted("witness-owns")
    }

    /// Whether roles may be given to it.
    #[must_use]
    pub fn stays(&self) -> bool {
        !self.leaving && !self.stopping
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        self.storage.encode(out);
        self.data.encode(out);
        put_bytes(out, self.address.as_bytes());
        put_bytes(out, self.endpoint.as_bytes());
        self.role.encode(out);
        put_bytes(out, self.zone.as_bytes());
        put_u16(out, self.weight);
        self.boot.encode(out);
        put_option(out, self.incarnation, |out, incarnation| incarnation.encode(out));
        let leaving = if self.leaving { LEAVING } else { 0 };
        put_u8(out, leaving | if self.stopping { STOPPING } else { 0 });
    }

    pub(super) fn decode(input: &mut Input<'_>) -> Option<Self> {
        let mut member = Member {
            storage: StorageId::decode(input)?,
            data: StorageId::decode(input)?,
            address: input.text()?,
            endpoint: input.text()?,
            role: Role::decode(input)?,
            zone: input.text()?,
            weight: input.u16()?,
            boot: Boot::decode(input)?,
            incarnation: input.option(Incarnation::decode)?,
            leaving: false,
            stopping: false,
        };
        let about_to = input.u8().filter(|bits| bits & !(LEAVING | STOPPING) == 0)?;
        (member.leaving, member.stopping) = (about_to & LEAVING != 0, about_to & STOPPING != 0);
        Some(member)
    }
}
