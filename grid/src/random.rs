//! Random values of what members agree on and say to each other, for tests of their bytes.

use isogrid_engine::env::split_mix;

use crate::id::{Boot, Copy, Data, Epoch, GroupId, Incarnation, NodeId, SegmentId, StorageId};
use crate::metadata::{
    Acks, Change, Command, CreateGroup, GroupSettings, Join, Owners, Persist, Proposal, Register,
    Role, Step, Ticket,
};

pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        split_mix(&mut self.0)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn many<T>(&mut self, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| one(self)).collect()
    }

    pub fn bytes(&mut self, most: u64) -> Vec<u8> {
        (0..self.below(most)).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }

    pub fn text(&mut self) -> String {
        self.many(|random| {
            ["é", "a", "10.0.0.1:7", "\0"][usize::try_from(random.below(4)).unwrap()]
        })
        .concat()
    }

    fn u8(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    fn u16(&mut self) -> u16 {
        u16::try_from(self.below(1 << 16)).unwrap()
    }

    pub fn bool(&mut self) -> bool {
        self.below(2) == 0
    }

    pub fn node(&mut self) -> NodeId {
        NodeId(self.next())
    }

    fn storage(&mut self) -> StorageId {
        StorageId(u128::from(self.next()) << 64 | u128::from(self.next()))
    }

    pub fn epoch(&mut self) -> Epoch {
        Epoch(u32::try_from(self.below(1 << 32)).unwrap())
    }

    pub fn group(&mut self) -> GroupId {
        GroupId(self.u16())
    }

    pub fn segment(&mut self) -> SegmentId {
        SegmentId(self.u16())
    }

    pub fn copy(&mut self) -> Copy {
        let data = match self.u8() {
            0..100 => Data::Memory(Incarnation(self.next())),
            100..200 => Data::Disk(self.storage()),
            _ => Data::Behind(self.storage(), Incarnation(self.next())),
        };
        Copy { node: self.node(), data }
    }

    fn step(&mut self) -> Step {
        match self.below(6) {
            0 => Step::Serve(self.node(), self.many(Random::node), self.next()),
            1 => Step::Expand(self.copy(), self.next()),
            2 => Step::Vacate,
            3 => Step::Fill(self.many(Random::copy), self.many(Random::node)),
            4 => Step::Force(self.copy(), self.next()),
            _ => Step::Reset(self.copy(), self.next()),
        }
    }

    fn change(&mut self) -> Change {
        let (group, segment) = (self.group(), self.segment());
        Change { group, segment, expected: self.epoch(), step: self.step() }
    }

    pub fn join(&mut self) -> Join {
        Join {
            cluster: self.text(),
            storage: self.storage(),
            boot: Boot(self.next()),
            address: self.text(),
            endpoint: self.text(),
            role: if self.bool() { Role::Data } else { Role::Witness },
            zone: self.text(),
            weight: self.u16(),
        }
    }

    fn register(&mut self) -> Register {
        let (node, storage) = (self.node(), self.storage());
        let data = self.storage();
        let (boot, address, endpoint) = (Boot(self.next()), self.text(), self.text());
        Register { node, storage, data, boot, address, endpoint }
    }

    fn create_group(&mut self) -> CreateGroup {
        let owners = match self.u8() {
            0..100 => Owners::All,
            count => Owners::Count(count),
        };
        let persist = match self.u8() {
            0..100 => Persist::None,
            100..200 => Persist::Async,
            _ => Persist::Sync,
        };
        let (local_reads, min_insync) = (self.bool(), self.u8());
        let acks = if self.bool() { Acks::Async } else { Acks::Sync };
        CreateGroup {
            group: self.group(),
            settings: GroupSettings { owners, persist, local_reads, min_insync, acks },
            epoch: self.epoch(),
            now: self.next(),
            owners: self.many(|random| random.many(Random::node)),
        }
    }

    pub fn command(&mut self) -> Command {
        match self.below(9) {
            0 => Command::Register(self.register()),
            1 => Command::Join(self.join()),
            2 => Command::Change(self.many(Random::change)),
            3 => Command::CreateGroup(self.create_group()),
            4 => Command::Leave(self.node()),
            5 => Command::Remove(self.node()),
            6 => Command::Stop(self.node(), Boot(self.next())),
            7 => Command::Expel(self.node(), self.bool()),
            _ => Command::ShutDown,
        }
    }

    pub fn proposal(&mut self) -> Proposal {
        let ticket = Ticket { boot: Boot(self.next()), n: self.next() };
        Proposal { ticket, command: self.command() }
    }
}

/// Whole bytes give the value again; cut short or with more behind them they are none; damaged
/// ones are refused or stand for something else, and never panic.
pub fn assert_strict<T: PartialEq + std::fmt::Debug>(
    value: &T,
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Option<T>,
) {
    assert_eq!(decode(bytes).as_ref(), Some(value));
    for end in 0..bytes.len() {
        assert_eq!(decode(&bytes[..end]), None, "{end} of {} bytes of {value:?}", bytes.len());
    }
    assert_eq!(decode(&[bytes, &[0]].concat()), None, "a byte more than {value:?}");
    for at in 0..bytes.len() {
        for damage in [1, 0x80, 0xff] {
            let mut bytes = bytes.to_vec();
            bytes[at] ^= damage;
            drop(decode(&bytes));
        }
    }
}

/// Random bytes, with a front that gets as far as possible, never panic.
pub fn assert_calm<T>(front: &[u8], decode: impl Fn(&[u8]) -> Option<T>) {
    for seed in 0..20_000 {
        let mut random = Random(seed);
        let kind = u8::try_from(random.below(12)).unwrap();
        let bytes = [front, &[kind], random.bytes(80).as_slice()].concat();
        drop(decode(&bytes));
    }
}

/// The rounds of a fuzz loop: from `ISOGRID_FUZZ_SEED` on, as many as `ISOGRID_FUZZ_ROUNDS` says.
pub fn fuzz_rounds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect(name));
    let first = number("ISOGRID_FUZZ_SEED").unwrap_or(1);
    first..first + number("ISOGRID_FUZZ_ROUNDS").unwrap_or(20_000)
}
