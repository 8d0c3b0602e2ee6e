//! Copies that are written behind their processes (R2, R62): they count as long as those live, and
//! what is on their disks counts when none of them does.

use super::*;

const BEHIND: GroupId = GroupId(7);

/// Copies of the members 1 and 2, served by 1.
fn serving(local_reads: bool) -> World {
    let mut world = World::serving();
    let mut group = CreateGroup { group: BEHIND, ..create(&[&[1, 2]]) };
    (group.settings.persist, group.settings.local_reads) = (Persist::Async, local_reads);
    assert_eq!(world.apply(&Command::CreateGroup(group)), DONE);
    world
}

fn segment(world: &World) -> &Segment {
    &world.0.groups()[&BEHIND].segments[0]
}

fn change(world: &mut World, step: Step) -> Outcome {
    let expected = segment(world).epoch;
    let change = Change { group: BEHIND, segment: AT, expected, step };
    world.apply(&Command::Change(vec![change]))
}

fn start(world: &mut World, node: u64, boot: u64) -> Copy {
    world.apply(&register(node, u128::from(node) * 10, boot));
    today(world, node)
}

fn today(world: &World, node: u64) -> Copy {
    world.0.copy_of(NodeId(node), Persist::Async).unwrap()
}

/// One that is killed and comes back has what was on its disk, and is none in sync any more.
#[test]
fn a_copy_ends_with_its_process_while_another_one_lives() {
    for killed in [1, 2] {
        let mut world = serving(false);
        let (was, other) = (segment(&world).clone(), 3 - killed);
        let left = start(&mut world, killed, 100);
        let now = segment(&world).clone();
        assert_eq!(now.insync, was.insync, "what it was stays listed: nobody has taken it out");
        assert_eq!(now.primary, (killed == 2).then_some(NodeId(1)));
        assert_eq!(now.stale, [Stale { copy: left, epoch: was.epoch, at: was.clock_floor }]);
        let both = Step::Serve(NodeId(other), nodes(&[1, 2]), 9);
        assert_eq!(change(&mut world, both), NOT_CURRENT);
        assert_eq!(
            change(&mut world, Step::Serve(NodeId(killed), nodes(&[killed]), 9)),
            NOT_CURRENT
        );
        assert_eq!(change(&mut world, Step::Serve(NodeId(other), nodes(&[other]), 9)), DONE);
        assert_eq!(segment(&world).insync, [today(&world, other)]);
        assert_eq!(segment(&world).stale, now.stale);
        assert_eq!(change(&mut world, Step::Fill(vec![left], nodes(&[1, 2]))), DONE);
        let since = segment(&world).syncing[0].since;
        assert_eq!(change(&mut world, Step::Expand(left, since)), DONE);
        assert!(segment(&world).is_insync(NodeId(killed)) && segment(&world).stale.is_empty());
    }
}

/// When the processes of all are over, what their disks have counts: of all, since each has a part of
/// one log; of one, where backups answer reads.
#[test]
fn disks_count_when_all_processes_are_over() {
    for (local_reads, order) in [(false, [1, 2]), (false, [2, 1]), (true, [1, 2]), (true, [2, 1])] {
        let mut world = serving(local_reads);
        start(&mut world, order[0], 100);
        start(&mut world, order[0], 101);
        assert_eq!(change(&mut world, Step::Vacate).clone(), DONE);
        let before = segment(&world).epoch;
        start(&mut world, order[1], 102);
        let now = segment(&world).clone();
        let both = [today(&world, 1), today(&world, 2)];
        let count = if local_reads { 1 } else { 2 };
        assert_eq!((now.epoch.0, &*now.insync), (before.0 + 1, &both[..count]), "{order:?}");
        assert_eq!(now.stale.len(), 2 - count);
        assert_eq!(change(&mut world, Step::Serve(NodeId(1), nodes(&[1, 2][..count]), 9)), DONE);
    }
}

/// A disk that was lost is none that could count; and who was expelled does not come back.
#[test]
fn what_is_left_of_several_disks_counts() {
    let mut lost = serving(false);
    start(&mut lost, 1, 100);
    let Command::Register(mut other) = register(2, 20, 101) else { unreachable!() };
    other.data = StorageId(99);
    lost.apply(&Command::Register(other));
    assert_eq!(segment(&lost).insync, [today(&lost, 1)]);

    let mut expelled = serving(false);
    start(&mut expelled, 1, 100);
    assert_eq!(expelled.0.only_on(NodeId(2)).filter(|(group, _)| *group == BEHIND).count(), 1);
    assert_eq!(expelled.apply(&Command::Expel(NodeId(2), false)), NOT_ALLOWED);
    assert_eq!(expelled.apply(&Command::Expel(NodeId(2), true)), DONE);
    assert_eq!(segment(&expelled).insync, [today(&expelled, 1)]);
    assert_eq!(change(&mut expelled, Step::Serve(NodeId(1), nodes(&[1]), 9)), DONE);
}

/// R63: what one has on its disk may serve before the others are back, if an operator says so.
#[test]
fn one_disk_may_be_forced_to_serve() {
    let mut world = serving(false);
    let left = start(&mut world, 1, 100);
    assert_eq!(change(&mut world, Step::Force(left, 50)), DONE);
    assert_eq!(segment(&world).insync, [left]);
    assert_ne!(segment(&world).forced_before, 0);
}
