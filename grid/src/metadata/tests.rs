//! What each command does and when it is refused, and the bytes of it all.

mod behind;
mod lost;

use proptest::prelude::*;

use super::*;
use crate::id::SegmentId;
use crate::random::{Random, assert_calm, assert_strict};

const GROUP: GroupId = GroupId(0);
const AT: SegmentId = SegmentId(0);

fn join(storage: u128, boot: u64) -> Join {
    Join {
        cluster: "shop".to_owned(),
        storage: StorageId(storage),
        boot: Boot(boot),
        address: format!("host:{boot}"),
        endpoint: format!("host:1{boot}"),
        role: super::Role::Data,
        zone: String::new(),
        weight: 1,
    }
}

fn register(node: u64, storage: u128, boot: u64) -> Command {
    Command::Register(Register {
        node: NodeId(node),
        storage: StorageId(storage),
        data: StorageId(storage),
        boot: Boot(boot),
        address: format!("host:{boot}"),
        endpoint: format!("host:1{boot}"),
    })
}

fn create(owners: &[&[u64]]) -> CreateGroup {
    let nodes = |nodes: &&[u64]| nodes.iter().map(|node| NodeId(*node)).collect();
    CreateGroup {
        group: GROUP,
        settings: GroupSettings {
            owners: Owners::Count(2),
            persist: Persist::None,
            local_reads: false,
            min_insync: 1,
            acks: Acks::Sync,
        },
        epoch: Epoch(10),
        now: 5,
        owners: owners.iter().map(nodes).collect(),
    }
}

fn nodes(nodes: &[u64]) -> Vec<NodeId> {
    nodes.iter().map(|node| NodeId(*node)).collect()
}

/// The copy in the memory of the process that entry registered.
fn copy(node: u64, incarnation: u64) -> Copy {
    Copy { node: NodeId(node), data: Data::Memory(Incarnation(incarnation)) }
}

/// The members 1, 2 and 3, whose storages are 10, 20 and 30, and what is applied to them.
struct World(Metadata);

impl World {
    fn new() -> Self {
        let settings = Settings {
            cluster: ClusterId(1),
            name: "shop".to_owned(),
            segments: 1,
            lease_ms: 2_000,
        };
        let founders = vec![join(30, 0), join(10, 0), join(20, 0)];
        let mut metadata = Metadata::found(settings, founders);
        metadata.advance(1);
        World(metadata)
    }

    /// The three have registered in the entries 2, 3 and 4; the group's segment is in sync on 1
    /// and 2.
    fn serving() -> Self {
        let mut world = World::new();
        for node in 1..=3u64 {
            let outcome = world.apply(&register(node, u128::from(node) * 10, node));
            assert_eq!(outcome, Outcome::Registered(NodeId(node), Incarnation(node + 1)));
        }
        assert_eq!(world.apply(&Command::CreateGroup(create(&[&[1, 2]]))), Outcome::Done);
        world
    }

    fn apply(&mut self, command: &Command) -> Outcome {
        self.0.apply(self.0.index() + 1, command)
    }

    fn segment(&self) -> &Segment {
        &self.0.groups()[&GROUP].segments[0]
    }

    fn change(&mut self, step: Step) -> Outcome {
        let expected = self.segment().epoch;
        self.apply(&Command::Change(vec![Change { group: GROUP, segment: AT, expected, step }]))
    }

    /// Refused, and nothing is changed by it but the index.
    fn assert_refused(&mut self, command: &Command, why: Refusal) {
        let mut before = self.0.clone();
        assert_eq!(self.apply(command), Outcome::Refused(why), "{command:?}");
        before.advance(self.0.index());
        assert_eq!(self.0, before, "{command:?}");
    }
}

const DONE: Outcome = Outcome::Done;
const NOT_ALLOWED: Outcome = Outcome::Refused(Refusal::NotAllowed);
const NOT_CURRENT: Outcome = Outcome::Refused(Refusal::NotCurrent);
const NOT_INSYNC: Outcome = Outcome::Refused(Refusal::NotInSync);

/// R3: each step alone, from the primary 1 with 2 in sync and 3 being filled since the entry 6.
#[test]
fn epochs_rise_with_the_primary_and_those_in_sync_and_never_else() {
    let serve = |primary, insync: &[u64]| Step::Serve(NodeId(primary), nodes(insync), 50);
    let fill = |copies: &[Copy], target: &[u64]| Step::Fill(copies.to_vec(), nodes(target));
    let (second, third) = (copy(2, 3), copy(3, 4));
    let old = copy(3, 2);
    let table: Vec<(Step, Outcome, u32)> = vec![
        (serve(1, &[1, 2]), DONE, 0),
        (serve(2, &[1, 2]), DONE, 1),
        (serve(2, &[2]), DONE, 1),
        (serve(1, &[1]), DONE, 1),
        (serve(3, &[3]), NOT_INSYNC, 0),
        (serve(1, &[1, 3]), NOT_INSYNC, 0),
        (serve(1, &[2]), NOT_INSYNC, 0),
        (serve(3, &[1, 2]), NOT_INSYNC, 0),
        (serve(1, &[1, 1]), NOT_INSYNC, 0),
        (serve(1, &[]), NOT_INSYNC, 0),
        (Step::Expand(third, 6), DONE, 1),
        (Step::Expand(third, 5), NOT_INSYNC, 0),
        (Step::Expand(old, 6), NOT_INSYNC, 0),
        (Step::Expand(second, 6), NOT_INSYNC, 0),
        (Step::Vacate, DONE, 1),
        (fill(&[], &[1, 2]), DONE, 0),
        (fill(&[third], &[3, 1]), DONE, 0),
        (fill(&[old], &[3, 1]), NOT_CURRENT, 0),
        (fill(&[second], &[1, 2]), NOT_ALLOWED, 0),
        (fill(&[third, third], &[3, 1]), NOT_ALLOWED, 0),
        (Step::Reset(copy(1, 2), 50), NOT_ALLOWED, 0),
    ];
    for (step, outcome, rise) in table {
        let mut world = World::serving();
        assert_eq!(world.change(Step::Fill(vec![third], nodes(&[1, 2, 3]))), DONE);
        let before = world.segment().clone();
        assert_eq!(world.change(step.clone()), outcome, "{step:?}");
        let after = world.segment();
        assert_eq!(after.epoch.0 - before.epoch.0, rise, "{step:?}");
        let has_changed = (before.primary, &before.insync) != (after.primary, &after.insync);
        assert_eq!(has_changed, rise > 0, "{step:?}");
        assert!(outcome == DONE || before == *after, "{step:?} was refused and done");
    }
}

#[test]
fn changes_are_each_for_the_segment_and_epoch_that_they_name() {
    let mut world = World::serving();
    let step = Step::Serve(NodeId(2), nodes(&[2]), 0);
    let change = |group, segment, expected| {
        let step = step.clone();
        Change {
            group: GroupId(group),
            segment: SegmentId(segment),
            expected: Epoch(expected),
            step,
        }
    };
    let refusals = [
        (change(0, 0, 9), Refusal::Stale(Epoch(10))),
        (change(0, 0, 11), Refusal::Stale(Epoch(10))),
        (change(1, 0, 10), Refusal::NoSegment),
        (change(0, 1, 10), Refusal::NoSegment),
    ];
    for (change, why) in refusals {
        world.assert_refused(&Command::Change(vec![change]), why);
    }
    // The good one among bad ones is done, once.
    let all = Command::Change(vec![change(1, 0, 10), change(0, 0, 10), change(0, 0, 10)]);
    assert_eq!(world.apply(&all), Outcome::Refused(Refusal::NoSegment));
    assert_eq!((world.segment().epoch, world.segment().primary), (Epoch(11), Some(NodeId(2))));
}

/// The clock floor never falls, and a filling that goes on keeps its beginning.
#[test]
fn steps_keep_what_they_do_not_change() {
    let mut world = World::serving();
    assert_eq!(world.change(Step::Serve(NodeId(2), nodes(&[1, 2]), 70)), DONE);
    assert_eq!(world.change(Step::Serve(NodeId(1), nodes(&[1, 2]), 60)), DONE);
    assert_eq!(world.segment().clock_floor, 70);
    assert_eq!(world.change(Step::Fill(vec![copy(3, 4)], nodes(&[1, 3]))), DONE);
    let begun = world.segment().syncing.clone();
    assert_eq!(begun, [Filling { copy: copy(3, 4), since: world.0.index() }]);
    assert_eq!(world.change(Step::Fill(vec![copy(3, 4)], nodes(&[3, 1]))), DONE);
    assert_eq!(world.segment().syncing, begun);
    assert_eq!(world.change(Step::Fill(vec![], nodes(&[1, 2]))), DONE);
    assert_eq!(world.change(Step::Fill(vec![copy(3, 4)], nodes(&[1, 3]))), DONE);
    assert_ne!(world.segment().syncing, begun, "given up and begun anew is another filling");
}

#[test]
fn one_boot_is_one_incarnation() {
    let mut world = World::serving();
    let again = world.apply(&register(1, 10, 1));
    assert_eq!(again, Outcome::Registered(NodeId(1), Incarnation(2)));
    assert_eq!((world.segment().epoch, world.segment().primary), (Epoch(10), Some(NodeId(1))));
    // The backup's process ends: only its copy goes.
    let next = world.apply(&register(2, 20, 22));
    assert_eq!(next, Outcome::Registered(NodeId(2), Incarnation(world.0.index())));
    assert_eq!((world.segment().epoch, world.segment().primary), (Epoch(11), Some(NodeId(1))));
    assert_eq!(world.segment().insync, [copy(1, 2)]);
    // The last copy's: it stays listed, so that no older one is taken for it, and nobody serves.
    world.apply(&register(1, 10, 11));
    assert_eq!((world.segment().epoch, world.segment().primary), (Epoch(12), None));
    assert_eq!(world.segment().insync, [copy(1, 2)]);
    // Once more: nothing is taken any more, and the epoch stays.
    world.apply(&register(1, 10, 111));
    assert_eq!(world.segment().epoch, Epoch(12));
    world.assert_refused(&register(9, 10, 1), Refusal::NoMember);
    world.assert_refused(&register(1, 20, 1), Refusal::OtherStorage);
}

/// Found by the simulator: the registration of a process that was over came late. It counted as a
/// new process, ended the one that ran, whose lease still held, and another member was given what
/// that served.
#[test]
fn a_registration_that_comes_late_ends_nobody() {
    let mut world = World::serving();
    let running = world.apply(&register(1, 10, 8));
    let before = world.0.clone();
    for late in [register(1, 10, 7), Command::Join(join(10, 7))] {
        assert_eq!(world.apply(&late), Outcome::Refused(Refusal::NotCurrent));
        assert_eq!(world.0.members(), before.members());
        assert_eq!(world.0.groups(), before.groups());
    }
    assert_eq!(world.apply(&register(1, 10, 8)), running);
}

#[test]
fn a_copy_on_a_disk_outlives_its_process() {
    let mut world = World::serving();
    let group = GroupId(1);
    let mut durable = create(&[&[1, 2]]);
    (durable.group, durable.settings.persist) = (group, Persist::Sync);
    assert_eq!(world.apply(&Command::CreateGroup(durable)), DONE);
    let before = world.0.groups()[&group].segments[0].insync.clone();
    world.apply(&register(1, 10, 11));
    let segment = &world.0.groups()[&group].segments[0];
    assert_eq!((segment.epoch, segment.primary, &segment.insync), (Epoch(11), None, &before));
    assert!(before.iter().all(|copy| world.0.is_current(*copy)));
}

/// A process that was let in and starts again before it has heard so asks once more, maybe from
/// another port.
#[test]
fn joining_twice_is_one_member_at_its_newest_address() {
    let mut world = World::serving();
    let first = world.apply(&Command::Join(join(40, 1)));
    assert_eq!(first, Outcome::Registered(NodeId(4), Incarnation(6)));
    assert_eq!(world.apply(&Command::Join(join(40, 1))), first);
    let second = world.apply(&Command::Join(join(40, 2)));
    assert_eq!(second, Outcome::Registered(NodeId(4), Incarnation(8)));
    assert_eq!(world.0.members()[&NodeId(4)].address, "host:2");
    assert_eq!(world.0.members().len(), 4);
    let other = Join { cluster: "bank".to_owned(), ..join(50, 1) };
    world.assert_refused(&Command::Join(other), Refusal::Taken);
}

/// Members that all asked at once to leave waited for each other for ever.
/// Whoever proposes it: a witness is given no copy, and takes nothing from the last that has data.
#[test]
fn a_witness_is_given_nothing() {
    let mut world = World::serving();
    world.apply(&Command::Join(Join { role: super::Role::Witness, ..join(90, 1) }));
    let node = NodeId(4);
    let incarnation = world.0.members()[&node].incarnation.unwrap();
    assert_eq!(world.0.copy_of(node, Persist::None), None);
    let fill = Step::Fill(vec![copy(4, incarnation.0)], nodes(&[1, 4]));
    assert_eq!(world.change(fill), NOT_CURRENT);
    let owned = CreateGroup { group: GroupId(1), ..create(&[&[4]]) };
    world.assert_refused(&Command::CreateGroup(owned), Refusal::NotCurrent);
    for with_data in [1, 2] {
        assert_eq!(world.apply(&Command::Leave(NodeId(with_data))), DONE);
    }
    world.assert_refused(&Command::Leave(NodeId(3)), Refusal::NotAllowed);
    assert_eq!(world.apply(&Command::Leave(node)), DONE);
}

#[test]
fn the_last_that_has_not_asked_to_leave_cannot() {
    let mut world = World::serving();
    for node in [1, 3] {
        assert_eq!(world.apply(&Command::Leave(NodeId(node))), DONE);
    }
    world.assert_refused(&Command::Leave(NodeId(2)), Refusal::NotAllowed);
    assert_eq!(world.apply(&Command::Leave(NodeId(3))), DONE);
}

/// R64.
#[test]
fn a_shut_down_is_over_when_a_process_begins() {
    let mut world = World::serving();
    assert_eq!(world.apply(&Command::ShutDown), DONE);
    let at = world.0.shut_down();
    assert_eq!((at, world.apply(&Command::ShutDown)), (Some(world.0.index() - 1), DONE));
    assert_eq!(world.0.shut_down(), at);
    // What the process before said does not count.
    world.apply(&register(1, 10, 1));
    assert_eq!(world.0.shut_down(), at);
    world.apply(&register(1, 10, 9));
    assert_eq!(world.0.shut_down(), None);
}

#[test]
fn who_has_left_does_not_come_back_and_numbers_are_not_given_again() {
    let mut world = World::serving();
    world.assert_refused(&Command::Leave(NodeId(9)), Refusal::NoMember);
    assert_eq!(world.apply(&Command::Leave(NodeId(2))), DONE);
    assert_eq!(world.apply(&Command::Leave(NodeId(2))), DONE);
    world.assert_refused(&Command::Remove(NodeId(2)), Refusal::NotAllowed);
    assert_eq!(world.change(Step::Serve(NodeId(1), nodes(&[1]), 0)), DONE);
    world.assert_refused(&Command::Remove(NodeId(2)), Refusal::NotAllowed);
    assert_eq!(world.change(Step::Fill(vec![copy(3, 4)], nodes(&[1, 3]))), DONE);
    world.assert_refused(&Command::Remove(NodeId(3)), Refusal::NotAllowed);
    assert_eq!(world.apply(&Command::Remove(NodeId(2))), DONE);
    world.assert_refused(&Command::Remove(NodeId(2)), Refusal::NoMember);
    world.assert_refused(&Command::Join(join(20, 7)), Refusal::HasLeft);
    world.assert_refused(&register(2, 20, 7), Refusal::NoMember);
    let next = world.apply(&Command::Join(join(21, 7)));
    assert!(matches!(next, Outcome::Registered(NodeId(4), _)), "{next:?}");
    // And the next snapshot knows it as well.
    let mut again = World(Metadata::decode(&world.0.encode()).unwrap());
    again.assert_refused(&Command::Join(join(20, 7)), Refusal::HasLeft);
}

/// R64: what was said for a process holds for no other one.
#[test]
fn a_process_that_is_about_to_end_says_so_for_itself_alone() {
    let mut world = World::serving();
    let is_stopping = |world: &World| world.0.members()[&NodeId(1)].stopping;
    world.assert_refused(&Command::Stop(NodeId(9), Boot(1)), Refusal::NoMember);
    world.apply(&register(1, 10, 5));
    world.assert_refused(&Command::Stop(NodeId(1), Boot(4)), Refusal::NotCurrent);
    assert_eq!(world.apply(&Command::Stop(NodeId(1), Boot(5))), DONE);
    assert_eq!(world.apply(&Command::Stop(NodeId(1), Boot(5))), DONE);
    world.apply(&register(1, 10, 5));
    assert!(is_stopping(&world), "the same process registers twice");
    let again = World(Metadata::decode(&world.0.encode()).unwrap());
    assert!(is_stopping(&again) && again.0 == world.0);
    world.apply(&register(1, 10, 6));
    assert!(!is_stopping(&world));
    world.assert_refused(&Command::Stop(NodeId(1), Boot(5)), Refusal::NotCurrent);
}

#[test]
fn groups_begin_with_current_copies_of_all_segments() {
    let refused: [(&[&[u64]], Refusal); 5] = [
        (&[], Refusal::NotAllowed),
        (&[&[1], &[2]], Refusal::NotAllowed),
        (&[&[]], Refusal::NotCurrent),
        (&[&[1, 9]], Refusal::NotCurrent),
        (&[&[1, 1]], Refusal::NotAllowed),
    ];
    let mut world = World::serving();
    for (owners, why) in refused {
        let command = Command::CreateGroup(CreateGroup { group: GroupId(1), ..create(owners) });
        world.assert_refused(&command, why);
    }
    let segment = world.segment().clone();
    assert_eq!((segment.epoch, segment.primary), (Epoch(10), Some(NodeId(1))));
    assert_eq!((segment.insync, segment.target), (vec![copy(1, 2), copy(2, 3)], nodes(&[1, 2])));
    // Again is the same; with other settings it is another one.
    assert_eq!(world.apply(&Command::CreateGroup(create(&[&[3]]))), DONE);
    assert_eq!(world.segment().target, nodes(&[1, 2]));
    let mut other = create(&[&[1, 2]]);
    other.settings.min_insync = 2;
    world.assert_refused(&Command::CreateGroup(other), Refusal::Taken);
    // Founders that have not registered have no copies yet.
    World::new().assert_refused(&Command::CreateGroup(create(&[&[1]])), Refusal::NotCurrent);
}

#[test]
#[should_panic(expected = "comes after")]
fn an_entry_that_comes_again_stops_the_process() {
    let mut world = World::serving();
    world.0.apply(5, &Command::Leave(NodeId(1)));
}

/// Commands that mostly mean something to the world's members, and whose epochs mostly fit.
fn likely(random: &mut Random, metadata: &Metadata) -> Command {
    let node = 1 + random.below(5);
    let storage = u128::from(node) * 10;
    let some = |random: &mut Random| nodes(&[1 + random.below(4), 1 + random.below(4)]);
    let a_copy = |random: &mut Random| {
        let node = NodeId(1 + random.below(5));
        let persist = match random.below(4) {
            0 => Persist::Sync,
            1 => Persist::Async,
            _ => Persist::None,
        };
        metadata.copy_of(node, persist).unwrap_or_else(|| random.copy())
    };
    match random.below(11) {
        0 => register(node, storage, random.below(9)),
        1 => Command::Join(join(storage, random.below(9))),
        2 => Command::Leave(NodeId(node)),
        3 => Command::Remove(NodeId(node)),
        4 => Command::Stop(NodeId(node), Boot(random.below(9))),
        5 => Command::Expel(NodeId(node), random.bool()),
        6 => Command::ShutDown,
        _ => {
            let step = match random.below(7) {
                0 => Step::Serve(NodeId(node), some(random), random.below(99)),
                1 => Step::Serve(NodeId(node), nodes(&[node]), 0),
                2 => {
                    let filling = metadata.groups()[&GROUP].segments[0].syncing.first().copied();
                    filling.map_or(Step::Vacate, |one| Step::Expand(one.copy, one.since))
                }
                3 | 4 => Step::Fill(vec![a_copy(random)], some(random)),
                5 => {
                    let stale = metadata.groups()[&GROUP].segments[0].stale.last();
                    let copy = stale.map_or_else(|| a_copy(random), |stale| stale.copy);
                    Step::Force(copy, random.below(99))
                }
                _ => Step::Reset(a_copy(random), random.below(99)),
            };
            let expected = metadata.groups()[&GROUP].segments[0].epoch;
            Command::Change(vec![Change { group: GROUP, segment: AT, expected, step }])
        }
    }
}

/// Clients fetch the table anew when the topology epoch changes, and only then.
#[test]
fn the_topology_epoch_rises_when_requests_go_elsewhere_and_only_then() {
    let table = |world: &World| {
        let members = world.0.members().iter();
        let members: Vec<_> =
            members.map(|(node, of)| (*node, of.endpoint.clone(), of.incarnation)).collect();
        (members, world.segment().primary)
    };
    let mut world = World::serving();
    let (now, both) = (9, nodes(&[1, 2]));
    let steps: [(Command, bool); 9] = [
        (register(3, 30, 3), false),
        (register(3, 30, 4), true),
        (Command::Leave(NodeId(3)), false),
        (Command::Remove(NodeId(3)), true),
        (moved(10, Step::Serve(NodeId(1), both.clone(), now)), false),
        (moved(10, Step::Serve(NodeId(2), both.clone(), now)), true),
        (moved(11, Step::Serve(NodeId(2), nodes(&[2]), now)), false),
        (moved(11, Step::Serve(NodeId(1), nodes(&[1]), now)), false),
        (moved(12, Step::Vacate), true),
    ];
    for (command, changes) in steps {
        let (before, was) = (table(&world), world.0.routes());
        world.apply(&command);
        let rises = world.0.routes() == world.0.index();
        assert_eq!((rises, table(&world) != before), (changes, changes), "{command:?}");
        assert!(rises || world.0.routes() == was, "{command:?}");
        let decoded = Metadata::decode(&world.0.encode()).unwrap();
        assert_eq!(decoded.routes(), world.0.routes());
    }
}

fn moved(epoch: u32, step: Step) -> Command {
    let expected = Epoch(epoch);
    Command::Change(vec![Change { group: GROUP, segment: AT, expected, step }])
}

proptest! {
    /// Whatever is proposed: an epoch rises by one with its roles and never falls, the primary is
    /// in sync, and copies are listed once.
    #[test]
    fn segments_are_sound_whatever_is_proposed(seed: u64) {
        let (mut random, mut world) = (Random(seed), World::serving());
        for _ in 0..60 {
            let before = world.segment().clone();
            let command = likely(&mut random, &world.0);
            world.apply(&command);
            let after = world.segment();
            let has_changed = (before.primary, &before.insync) != (after.primary, &after.insync);
            prop_assert_eq!(after.epoch.0 - before.epoch.0, u32::from(has_changed), "{:?}", command);
            prop_assert!(!after.insync.is_empty(), "{:?}", command);
            prop_assert!(after.primary.is_none_or(|node| after.is_insync(node)), "{:?}", command);
            let mut named: Vec<NodeId> = after.insync.iter().map(|copy| copy.node).collect();
            named.extend(after.syncing.iter().map(|filling| filling.copy.node));
            // What a process left on its disk while others may have more is stale, and listed still.
            let is_left = |stale: &&Stale| {
                let of_node = after.insync.iter().find(|copy| copy.node == stale.copy.node);
                of_node.is_none_or(|copy| world.0.today(*copy) != Some(stale.copy))
            };
            named.extend(after.stale.iter().filter(is_left).map(|stale| stale.copy.node));
            let count = named.len();
            named.sort();
            named.dedup();
            prop_assert_eq!(named.len(), count, "{:?}: {:?}", command, after);
        }
        let again = Metadata::decode(&world.0.encode());
        prop_assert_eq!(again, Some(world.0));
    }

    #[test]
    fn proposals_come_from_the_log_as_they_went_in(seed: u64) {
        let proposal = Random(seed).proposal();
        assert_strict(&proposal, &proposal.encode(), Proposal::decode);
    }
}

#[test]
fn bytes_that_are_no_state_are_refused() {
    let mut random = Random(3);
    let mut world = World::serving();
    for _ in 0..60 {
        let command = likely(&mut random, &world.0);
        world.apply(&command);
    }
    let bytes = world.0.encode();
    assert_strict(&world.0, &bytes, Metadata::decode);
    assert_calm(&bytes[..4], Metadata::decode);
    assert_calm(&[0; 16], Proposal::decode);
}

#[test]
fn epochs_of_a_cluster_that_is_made_again_repeat_nothing() {
    const YEAR_2025: u64 = 1_735_689_600_000;
    let table = [
        (0, 1),
        (YEAR_2025, 1),
        (YEAR_2025 + 59_999, 1),
        (YEAR_2025 + 7 * 60_000, 7),
        (u64::MAX, 1 << 23),
    ];
    for (now, epoch) in table {
        assert_eq!(first_epoch(now), Epoch(epoch), "{now}");
    }
}
