//! Situations, and what the leader proposes in each.

use super::*;
use crate::id::{Boot, ClusterId, Data, Incarnation, StorageId};
use crate::metadata::{
    Acks, Command, CreateGroup, Join, Outcome, Owners, Persist, Register, Role, Settings,
};

const GROUP: GroupId = GroupId(0);
const NOW: Timestamp = 1_000;
const FLOOR: Timestamp = NOW + WALL_SKEW_MAX;

fn nodes<C: FromIterator<NodeId>>(nodes: &[u64]) -> C {
    nodes.iter().map(|node| NodeId(*node)).collect()
}

fn serve(primary: u64, insync: &[u64], floor: Timestamp) -> Step {
    Step::Serve(NodeId(primary), nodes(insync), floor)
}

/// A cluster of members without zones, and what its leader knows of them.
struct World {
    metadata: Metadata,
    health: Health,
    requests: BTreeSet<Request>,
}

/// What the plan says, of a segment in a group of one: steps, who is withheld, who is asked.
type Said = (Vec<Step>, Vec<u64>, Vec<u64>);

impl World {
    /// So many members, registered, all well; segments owned like that, with two copies wanted or
    /// as many as there are.
    fn new(members: u64, owners: &[&[u64]]) -> Self {
        World::with(members, owners, false, false)
    }

    fn with(members: u64, owners: &[&[u64]], local_reads: bool, durable: bool) -> Self {
        World::of(members, &[], owners, (local_reads, durable))
    }

    /// These of the members are witnesses.
    fn of(
        members: u64,
        witnesses: &[u64],
        owners: &[&[u64]],
        (local_reads, durable): (bool, bool),
    ) -> Self {
        let role = |node| if witnesses.contains(&node) { Role::Witness } else { Role::Data };
        let join = |node: u64| Join {
            cluster: String::new(),
            storage: StorageId(node.into()),
            boot: Boot(0),
            address: String::new(),
            endpoint: String::new(),
            role: role(node),
            zone: String::new(),
            weight: 1,
        };
        let segments = u16::try_from(owners.len()).unwrap();
        let (cluster, name) = (ClusterId(1), String::new());
        let settings = Settings { cluster, name, segments, lease_ms: 2_000 };
        let metadata = Metadata::found(settings, (1..=members).map(join).collect());
        let all: BTreeSet<NodeId> = (1..=members).map(NodeId).collect();
        let health = Health { alive: all.clone(), expected: all, ..Health::default() };
        let mut world = World { metadata, health, requests: BTreeSet::new() };
        (1..=members).for_each(|node| world.restart(node, 1));
        let most = owners.iter().map(|owners| owners.len()).max().unwrap_or(0).max(2);
        let count = Owners::Count(u8::try_from(most).unwrap());
        let (min_insync, acks) = (1, Acks::Sync);
        let persist = if durable { Persist::Sync } else { Persist::None };
        let settings = GroupSettings { owners: count, persist, local_reads, min_insync, acks };
        let owners = owners.iter().map(|owners| nodes(owners)).collect();
        let create = CreateGroup { group: GROUP, settings, epoch: Epoch(1), now: 7, owners };
        world.apply(&Command::CreateGroup(create));
        world
    }

    fn apply(&mut self, command: &Command) {
        let outcome = self.metadata.apply(self.metadata.index() + 1, command);
        assert!(!matches!(outcome, Outcome::Refused(_)), "{command:?}: {outcome:?}");
    }

    fn restart(&mut self, node: u64, boot: u64) {
        self.restart_with(node, node, boot);
    }

    /// With these copies on its disk.
    fn restart_with(&mut self, node: u64, data: u64, boot: u64) {
        let (storage, address) = (StorageId(node.into()), String::new());
        let endpoint = String::new();
        let (node, data, boot) = (NodeId(node), StorageId(data.into()), Boot(boot));
        self.apply(&Command::Register(Register { node, storage, data, boot, address, endpoint }));
    }

    /// Not heard of since their leases were over.
    fn gone(&mut self, gone: &[u64]) {
        self.unknown(gone);
        self.health.gone.extend(nodes::<Vec<_>>(gone));
    }

    /// Neither alive nor surely gone.
    fn unknown(&mut self, some: &[u64]) {
        self.health.alive.retain(|node| !some.contains(&node.0));
    }

    fn segment(&self) -> &Segment {
        &self.metadata.groups()[&GROUP].segments[0]
    }

    fn copy(&self, node: u64) -> Copy {
        let persist = self.metadata.groups()[&GROUP].settings.persist;
        self.metadata.copy_of(NodeId(node), persist).unwrap()
    }

    fn ask(&mut self, wish: Wish) {
        let epoch = self.segment().epoch;
        self.requests.insert(Request { group: GROUP, segment: SegmentId(0), epoch, wish });
    }

    fn plan(&self) -> Plan {
        plan(&self.metadata, &self.health, &self.requests, NOW)
    }

    fn said(&self) -> Said {
        let Plan { changes, withhold, give_up } = self.plan();
        let steps = changes.into_iter().map(|change| change.step).collect();
        let asked = give_up.iter().map(|ask| ask.node.0).collect();
        (steps, withhold.iter().map(|node| node.0).collect(), asked)
    }

    /// Proposes what the plan says, which is applied at once.
    fn follow(&mut self) {
        let changes = self.plan().changes;
        self.apply(&Command::Change(changes));
    }
}

fn nothing() -> Said {
    (vec![], vec![], vec![])
}

/// One segment, that 1 serves and 2 has in sync; 3 has nothing. What happened, and what is done.
#[test]
fn situations_of_one_segment() {
    type Happens = fn(&mut World);
    let table: Vec<(&str, Happens, Said)> = vec![
        ("all is well", |_| {}, nothing()),
        ("the primary is gone", |w| w.gone(&[1]), (vec![serve(2, &[2], FLOOR)], vec![1], vec![])),
        ("the primary may be gone", |w| w.unknown(&[1]), nothing()),
        ("the backup may be gone", |w| w.unknown(&[2]), nothing()),
        ("nobody was heard of yet", |w| w.unknown(&[1, 2, 3]), nothing()),
        (
            "the primary is gone, its heir may be",
            |w| {
                w.gone(&[1]);
                w.unknown(&[2]);
            },
            nothing(),
        ),
        (
            "all in sync are gone: nobody else serves",
            |w| {
                w.gone(&[1, 2]);
                w.health.reset_lost = true;
            },
            (vec![Step::Vacate], vec![1], vec![]),
        ),
        ("the backup is gone", |w| w.gone(&[2]), (vec![serve(1, &[1], FLOOR)], vec![2], vec![])),
        (
            "the backup does not answer",
            |w| w.ask(Wish::Shrink(NodeId(2))),
            (vec![serve(1, &[1], FLOOR)], vec![], vec![]),
        ),
        (
            "it did not answer in another epoch",
            |w| {
                w.ask(Wish::Shrink(NodeId(2)));
                w.apply_serve(2, &[1, 2]);
                w.apply_serve(1, &[1, 2]);
            },
            nothing(),
        ),
        ("the primary complains of itself", |w| w.ask(Wish::Shrink(NodeId(1))), nothing()),
        ("somebody wants in who is not filled", |w| w.ask(Wish::Expand(w.copy(3), 0)), nothing()),
        (
            "the backup is not expected back: another is filled",
            |w| {
                w.gone(&[2]);
                w.follow();
                w.health.expected.remove(&NodeId(2));
            },
            (
                vec![Step::Fill(vec![World::new(3, &[&[1, 2]]).copy(3)], nodes(&[1, 3]))],
                vec![],
                vec![],
            ),
        ),
    ];
    for (what, happens, expect) in table {
        let mut world = World::new(3, &[&[1, 2]]);
        happens(&mut world);
        assert_eq!(world.said(), expect, "{what}");
    }
}

impl World {
    fn apply_serve(&mut self, primary: u64, insync: &[u64]) {
        let expected = self.segment().epoch;
        let step = serve(primary, insync, 0);
        let change = Change { group: GROUP, segment: SegmentId(0), expected, step };
        self.apply(&Command::Change(vec![change]));
    }
}

/// R29: nothing is declared lost while the process that had it may come back, nor unless the
/// operator wants so, and never what is on disks.
#[test]
fn a_segment_without_copies_waits_or_begins_anew() {
    let mut world = World::new(3, &[&[1, 2]]);
    world.gone(&[1, 2]);
    world.health.reset_lost = true;
    world.follow();
    assert_eq!((world.segment().primary, world.said()), (None, nothing()));
    // One comes back as it was: it has everything.
    let (metadata, health) = (world.metadata.clone(), world.health.clone());
    let mut back = World { metadata, health, requests: BTreeSet::new() };
    back.health.gone.remove(&NodeId(2));
    back.health.alive.insert(NodeId(2));
    assert_eq!(back.said(), (vec![serve(2, &[2], FLOOR)], vec![1], vec![]));
    // Both come back as other processes, with nothing.
    world.restart(1, 2);
    assert_eq!(world.said(), nothing(), "the other one may still have it");
    world.restart(2, 2);
    world.health.reset_lost = false;
    assert_eq!(world.said(), nothing(), "the operator is to decide");
    world.health.reset_lost = true;
    let step = Step::Reset(world.copy(3), FLOOR);
    assert_eq!(world.said(), (vec![step], vec![], vec![]), "the only one that is alive");
    (world.health.gone, world.health.alive) = (BTreeSet::new(), nodes(&[1, 2, 3]));
    let step = Step::Reset(world.copy(1), FLOOR);
    assert_eq!(world.said(), (vec![step], vec![], vec![]), "the one that should have it");
    world.follow();
    assert_eq!(world.segment().insync, [world.copy(1)]);
}

/// R63: what nobody has any more begins anew when an operator has accepted that, on disks as well.
#[test]
fn what_was_lost_with_expelled_members_begins_anew() {
    for durable in [false, true] {
        let mut world = World::with(3, &[&[1, 2]], false, durable);
        world.gone(&[1, 2]);
        world.follow();
        world.apply(&Command::Expel(NodeId(1), false));
        assert_eq!(world.said(), nothing(), "2 may still come back");
        world.apply(&Command::Expel(NodeId(2), true));
        let reset = Step::Reset(world.copy(3), FLOOR);
        assert_eq!(world.said(), (vec![reset], vec![], vec![]), "{durable}");
        world.follow();
        assert_eq!(world.segment().primary, Some(NodeId(3)));
    }
}

/// Which members are witnesses, who owns the segment, who is gone, of 4 members. Who has it in the end, once all that is filled is in sync.
#[test]
fn a_witness_owns_nothing_whatever_happens() {
    type Nodes = &'static [u64];
    let table: [(Nodes, Nodes, Nodes, Nodes); 7] = [
        (&[3], &[1, 2, 4], &[], &[1, 2, 4]),
        (&[3], &[1, 2], &[], &[1, 2]),
        (&[3], &[1, 2], &[1], &[2, 4]),
        (&[3], &[1, 2], &[1, 4], &[2]),
        (&[3], &[1, 2], &[1, 2], &[]),
        (&[3, 4], &[1, 2], &[2], &[1]),
        (&[1, 2, 3], &[4], &[], &[4]),
    ];
    for (witnesses, owners, gone, expected) in table {
        for (local_reads, durable) in [(false, false), (true, false), (false, true)] {
            let mut world = World::of(4, witnesses, &[owners], (local_reads, durable));
            world.health.reset_lost = true;
            world.gone(gone);
            world.health.expected.retain(|node| !gone.contains(&node.0));
            for _ in 0..8 {
                world.follow();
                let segment = world.segment().clone();
                let named = |node: &u64| segment.names(NodeId(*node));
                assert!(!witnesses.iter().any(named), "{witnesses:?}: {segment:?}");
                for filling in segment.syncing {
                    world.ask(Wish::Expand(filling.copy, filling.since));
                }
            }
            let served = world.segment().primary.map_or(vec![], |_| {
                let mut nodes: Vec<u64> =
                    world.segment().insync.iter().map(|copy| copy.node.0).collect();
                nodes.sort_unstable();
                nodes
            });
            assert_eq!(served, expected, "{witnesses:?} of 4, {owners:?} own it, {gone:?} gone");
        }
    }
}

#[test]
fn copies_on_disks_come_back_with_their_processes() {
    let mut world = World::with(3, &[&[1, 2]], false, true);
    world.gone(&[1, 2]);
    world.health.reset_lost = true;
    world.follow();
    (1..=2).for_each(|node| world.restart(node, 2));
    assert_eq!(world.said(), nothing());
    (world.health.gone, world.health.alive) = (nodes(&[1]), nodes(&[2, 3]));
    assert_eq!(world.said(), (vec![serve(2, &[2], FLOOR)], vec![1], vec![]));
}

/// R62: when a whole cluster starts again nobody serves before the disks of all have come, as long
/// as the leader has not heard of them and they may. A failover waits for nobody.
#[test]
fn a_cluster_that_starts_waits_for_its_disks() {
    let mut world = World::with(3, &[&[1, 2]], false, true);
    world.health.awaited = nodes(&[2, 3]);
    world.gone(&[1]);
    assert_eq!(world.said(), (vec![serve(2, &[2], FLOOR)], vec![1], vec![]));
    (1..=2).for_each(|node| world.restart(node, 2));
    world.health.gone.clear();
    (world.health.alive, world.health.awaited) = (nodes(&[1]), nodes(&[2]));
    assert_eq!(world.said(), nothing());
    world.health.awaited.clear();
    assert_eq!(world.said(), (vec![serve(1, &[1, 2], FLOOR)], vec![], vec![]));
}

/// R2, R63: a member whose copies were lost has others, and those have nothing.
#[test]
fn copies_that_were_lost_are_not_there() {
    let mut world = World::with(3, &[&[1, 2]], false, true);
    let lost = world.copy(1);
    world.restart_with(1, 77, 2);
    assert!(!world.metadata.is_current(lost) && world.copy(1) != lost);
    assert_eq!((world.segment().primary, &*world.segment().insync), (None, &[world.copy(2)][..]));
    world.follow();
    assert_eq!(world.segment().primary, Some(NodeId(2)));
    // It is filled again from the other, and what is the last stays listed when that is lost too.
    assert_eq!(world.said().0, [Step::Fill(vec![world.copy(1)], nodes(&[1, 2]))]);
    let last = world.copy(2);
    world.restart_with(2, 78, 2);
    world.health.reset_lost = true;
    assert_eq!(world.said(), nothing(), "nothing that was on disks is declared lost");
    assert_eq!(world.segment().insync, [last]);
}

/// R9 and R21: where backups answer reads, one is dropped only when its lease is over.
#[test]
fn a_backup_that_reads_is_dropped_when_its_lease_is_over() {
    let mut world = World::with(3, &[&[1, 2]], true, false);
    world.ask(Wish::Shrink(NodeId(2)));
    assert_eq!(world.said(), (vec![], vec![2], vec![]));
    world.gone(&[2]);
    assert_eq!(world.said(), (vec![serve(1, &[1], FLOOR)], vec![2], vec![]));
}

/// R42: who was filled is in sync when the primary says so, of this filling.
#[test]
fn a_copy_is_filled_until_the_primary_says_that_it_is() {
    let mut world = World::new(3, &[&[1, 2]]);
    world.gone(&[2]);
    world.follow();
    assert_eq!(world.said(), nothing(), "2 is expected back, and keeps its place");
    world.health.expected.remove(&NodeId(2));
    world.follow();
    let since = world.metadata.index();
    assert_eq!(world.segment().syncing, [Filling { copy: world.copy(3), since }]);
    assert_eq!(world.said(), nothing());
    // Of another filling, another process, or another epoch.
    let third = world.copy(3);
    let old = Copy { data: Data::Memory(Incarnation(1)), ..third };
    world.ask(Wish::Expand(third, since - 1));
    world.ask(Wish::Expand(old, since));
    assert_eq!(world.said(), nothing());
    world.ask(Wish::Expand(third, since));
    assert_eq!(world.said(), (vec![Step::Expand(third, since)], vec![], vec![]));
    // The process ends before that is applied: its next one is filled anew.
    world.restart(3, 2);
    let again = Step::Fill(vec![world.copy(3)], nodes(&[1, 3]));
    assert_eq!(world.said(), (vec![again], vec![], vec![]));
}

#[test]
fn a_filling_that_is_abandoned_ends_and_the_next_is_another_one() {
    let mut world = World::new(2, &[&[1]]);
    world.follow();
    let first = world.segment().syncing[0];
    world.unknown(&[2]);
    assert_eq!(world.said(), nothing(), "it goes on while the copy may be there");
    world.ask(Wish::Abandon(first.copy, first.since));
    assert_eq!(world.said(), (vec![Step::Fill(vec![], nodes(&[1, 2]))], vec![], vec![]));
    world.follow();
    assert_eq!(world.said(), nothing(), "nobody knows where 2 is");
    world.health.alive.insert(NodeId(2));
    world.follow();
    let second = world.segment().syncing[0];
    assert!(second.copy == first.copy && second.since > first.since);
    // The wish was for the first one.
    assert_eq!(world.said(), nothing());
    world.gone(&[2]);
    assert_eq!(world.said(), (vec![Step::Fill(vec![], nodes(&[1, 2]))], vec![], vec![]));
}

/// R44: a few at a time, to a member and from a primary.
#[test]
fn few_copies_are_filled_at_a_time() {
    let fills = |world: &World| {
        let segments = &world.metadata.groups()[&GROUP].segments;
        let filling = |segment: &&Segment| !segment.syncing.is_empty();
        let busy: Vec<(u64, u64)> = segments
            .iter()
            .filter(filling)
            .map(|segment| (segment.primary.unwrap().0, segment.syncing[0].copy.node.0))
            .collect();
        busy
    };
    // From one primary to one.
    let mut world = World::new(2, &[&[1u64][..]; 2 * TRANSFERS_MAX]);
    world.follow();
    assert_eq!(fills(&world), [(1, 2); TRANSFERS_MAX]);
    assert_eq!(world.said().0.len(), 0, "the others wait");
    // One is done: the next begins, and no more.
    let Filling { copy, since } = world.segment().syncing[0];
    world.ask(Wish::Expand(copy, since));
    world.follow();
    world.follow();
    assert_eq!(fills(&world).len(), TRANSFERS_MAX);
    // Of two primaries to one: it takes no more. What a member sends and takes is one sum.
    let owners: Vec<&[u64]> =
        (0..2 * TRANSFERS_MAX).map(|at| if at % 2 == 0 { &[1][..] } else { &[2] }).collect();
    let mut world = World::new(3, &owners);
    world.health.expected = nodes(&[1, 2, 3]);
    world.follow();
    for node in 1..=3 {
        let busy = fills(&world).iter().filter(|(from, to)| *from == node || *to == node).count();
        assert!(busy <= TRANSFERS_MAX, "{node}: {:?}", fills(&world));
    }
}

/// R33: the primary is asked to give up first, and its word is what takes the role.
#[test]
fn a_member_that_leaves_is_relieved_of_what_it_has() {
    let mut world = World::new(3, &[&[1, 2]]);
    world.apply(&Command::Leave(NodeId(1)));
    let fill = Step::Fill(vec![world.copy(3)], nodes(&[2, 3]));
    assert_eq!(world.said(), (vec![fill], vec![], vec![]), "another copy comes first");
    world.follow();
    let Filling { copy, since } = world.segment().syncing[0];
    assert_eq!(world.said(), nothing());
    world.ask(Wish::Expand(copy, since));
    world.follow();
    assert_eq!(world.said(), (vec![], vec![], vec![1]));
    world.ask(Wish::GaveUp(NodeId(1)));
    assert_eq!(world.said(), (vec![serve(2, &[2, 3], FLOOR)], vec![], vec![]));
    world.follow();
    assert_eq!(world.said(), nothing());
    world.apply(&Command::Remove(NodeId(1)));
}

/// Found by the simulator: a primary gave up for one that was removed before it took over, and nobody
/// served the segment any more, though both its copies were there.
#[test]
fn who_has_given_up_for_nobody_is_replaced() {
    let mut world = World::new(3, &[&[1, 2]]);
    world.ask(Wish::GaveUp(NodeId(1)));
    assert_eq!(world.said(), (vec![serve(2, &[1, 2], FLOOR)], vec![], vec![]));
    // There is nobody else: the same one serves in a later epoch.
    world.unknown(&[2]);
    assert_eq!(world.said(), (vec![Step::Vacate], vec![], vec![]));
    world.follow();
    assert_eq!(world.said(), (vec![serve(1, &[1, 2], FLOOR)], vec![], vec![]));
}

/// Where backups answer reads, those that go give up as well.
#[test]
fn a_backup_that_leaves_goes_without_a_word_unless_it_reads() {
    for (local_reads, expect) in [
        (false, (vec![serve(1, &[1, 3], FLOOR)], vec![], vec![])),
        (true, (vec![], vec![], vec![2])),
    ] {
        let mut world = World::with(3, &[&[1, 2]], local_reads, false);
        world.apply(&Command::Leave(NodeId(2)));
        world.follow();
        let Filling { copy, since } = world.segment().syncing[0];
        world.ask(Wish::Expand(copy, since));
        world.follow();
        assert_eq!(world.said(), expect, "{local_reads}");
        // The heir may be gone by now: what there is stays.
        world.unknown(&[3]);
        assert_eq!(world.said(), nothing());
    }
}

/// R33, R64: what is there, whether backups answer reads, who is about to end; what is done first,
/// and what when who was asked has given up.
#[test]
fn a_process_that_is_about_to_end_hands_over_first() {
    type Case = (&'static [u64], bool, &'static [u64], Said, Option<Said>);
    let given = |step| Some((vec![step], vec![], vec![]));
    let asked = |nodes: &[u64]| (vec![], vec![], nodes.to_vec());
    let table: Vec<Case> = vec![
        (&[1, 2], false, &[1], asked(&[1]), given(serve(2, &[2], FLOOR))),
        (&[1, 2, 3], false, &[1], asked(&[1]), given(serve(2, &[2, 3], FLOOR))),
        (&[1, 2, 3], false, &[1, 2], asked(&[1]), given(serve(3, &[3], FLOOR))),
        (&[1, 2, 3], true, &[1, 2], asked(&[1, 2]), given(serve(3, &[3], FLOOR))),
        (&[2, 1], false, &[1], (vec![serve(2, &[2], FLOOR)], vec![], vec![]), None),
        (&[2, 1], true, &[1], asked(&[1]), given(serve(2, &[2], FLOOR))),
        // There is nobody to take it.
        (&[1, 2], false, &[1, 2], nothing(), None),
    ];
    for (owners, local_reads, ends, first, then) in table {
        let mut world = World::with(3, &[owners], local_reads, false);
        ends.iter().for_each(|node| world.apply(&Command::Stop(NodeId(*node), Boot(1))));
        assert_eq!(world.said(), first, "{owners:?} {local_reads} {ends:?}");
        let Some(then) = then else { continue };
        first.2.iter().for_each(|node| world.ask(Wish::GaveUp(NodeId(*node))));
        assert_eq!(world.said(), then, "{owners:?} {local_reads} {ends:?}");
        world.follow();
        // It keeps its place, and gets nothing before its next process runs.
        assert_eq!(world.said(), nothing(), "{owners:?} {local_reads} {ends:?}");
    }
    let mut world = World::new(2, &[&[1, 2]]);
    world.apply(&Command::Stop(NodeId(2), Boot(1)));
    world.follow();
    world.restart(2, 2);
    let fill = Step::Fill(vec![world.copy(2)], nodes(&[1, 2]));
    assert_eq!(world.said(), (vec![fill], vec![], vec![]));
}

/// The only copy of a member that is about to end is filled elsewhere before it does.
#[test]
fn what_nobody_else_has_is_filled_first() {
    let mut world = World::new(2, &[&[1]]);
    world.apply(&Command::Stop(NodeId(1), Boot(1)));
    world.follow();
    let Filling { copy, since } = world.segment().syncing[0];
    assert_eq!(copy, world.copy(2));
    world.ask(Wish::Expand(copy, since));
    world.follow();
    assert_eq!(world.said(), (vec![], vec![], vec![1]));
}

/// Nobody fails over to one that has all roles already, while another one has none.
#[test]
fn heirs_are_those_that_serve_least() {
    let mut world = World::new(4, &[&[1, 2, 3], &[1, 2, 3], &[1, 2, 3], &[2, 3, 4], &[4, 1, 2]]);
    world.gone(&[1]);
    let heir = |change: Change| match change.step {
        Step::Serve(primary, ..) => Some((change.segment.0, primary.0)),
        _ => None,
    };
    let heirs: Vec<(u16, u64)> = world.plan().changes.into_iter().filter_map(heir).collect();
    assert_eq!(heirs, [(0, 3), (1, 2), (2, 3), (4, 4)]);
}

/// Each step is of the epoch that was looked at, and the first owners are those that are there.
#[test]
fn plans_name_what_they_saw() {
    let mut world = World::new(3, &[&[1, 2], &[2, 3]]);
    world.apply_serve(2, &[1, 2]);
    world.gone(&[2]);
    let seen: Vec<(u16, u32)> =
        world.plan().changes.iter().map(|change| (change.segment.0, change.expected.0)).collect();
    assert_eq!(seen, [(0, 2), (1, 1)]);
    world.apply(&Command::Leave(NodeId(3)));
    let settings = world.metadata.groups()[&GROUP].settings.clone();
    let owners = first_owners(&world.metadata, &settings);
    assert!(owners.iter().all(|owners| owners.len() == 2 && !owners.contains(&NodeId(3))));
}
