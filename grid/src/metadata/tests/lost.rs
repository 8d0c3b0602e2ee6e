//! What is lost: copies that are stale or gone, and members that do not come back (R29, R63).

use super::*;

/// R29 and I16: what was lost is declared so only when no copy that counts is there any more.
#[test]
fn a_reset_declares_lost_what_nobody_has() {
    let mut world = World::serving();
    assert_eq!(world.change(Step::Vacate), DONE);
    assert_eq!(world.change(Step::Reset(copy(3, 4), 90)), NOT_ALLOWED, "two copies are there");
    assert_eq!(world.change(Step::Expand(copy(3, 4), 6)), NOT_INSYNC);
    for node in 1..=2u64 {
        world.apply(&register(node, u128::from(node) * 10, 100 + node));
    }
    assert_eq!(world.change(Step::Serve(NodeId(2), nodes(&[2]), 90)), NOT_CURRENT);
    assert_eq!(world.change(Step::Reset(copy(3, 3), 90)), NOT_CURRENT);
    let epoch = world.segment().epoch.0;
    assert_eq!(world.change(Step::Reset(copy(3, 4), 90)), DONE);
    let segment = world.segment();
    assert_eq!(
        (segment.primary, segment.insync.as_slice()),
        (Some(NodeId(3)), [copy(3, 4)].as_slice())
    );
    assert_eq!((segment.epoch.0, segment.lost_before), (epoch + 1, u64::from(epoch + 1) << 40));
    assert_eq!(segment.clock_floor, 90);
}

/// A process that asks again gets the same numbers; the next one ends it and its roles.
/// R63: a copy that falls behind is listed as one that an operator may have serve, when nobody does,
/// for as long as it has what it had.
#[test]
fn a_stale_copy_serves_when_it_is_forced_to_and_never_else() {
    let force = |copy| Step::Force(copy, 50);
    let mut world = World::serving();
    assert_eq!(world.change(force(copy(2, 3))), NOT_ALLOWED);
    assert_eq!(world.change(Step::Serve(NodeId(1), nodes(&[1]), 40)), DONE);
    let stale = Stale { copy: copy(2, 3), epoch: Epoch(10), at: 40 };
    assert_eq!(world.segment().stale, [stale]);
    assert_eq!(world.change(force(stale.copy)), NOT_ALLOWED, "it is served");
    assert_eq!(world.change(Step::Vacate), DONE);
    assert_eq!(world.change(force(copy(3, 4))), NOT_ALLOWED, "it never had anything");
    assert_eq!(world.change(force(copy(2, 2))), NOT_CURRENT);
    let ready = World(world.0.clone());
    assert_eq!(world.change(force(stale.copy)), DONE);
    let was = Stale { copy: copy(1, 2), epoch: Epoch(12), at: 50 };
    let segment = world.segment();
    assert_eq!((segment.primary, segment.epoch), (Some(NodeId(2)), Epoch(13)));
    assert_eq!((&*segment.insync, &*segment.stale), (&[stale.copy][..], &[was][..]));
    assert_eq!(
        (segment.forced_before, segment.lost_before, segment.clock_floor),
        (13 << 40, 0, 50)
    );
    // What was filled anew has not what it had.
    let ends: [fn(&mut World); 4] = [
        |world| {
            assert!(!matches!(
                world.change(Step::Fill(vec![copy(2, 3)], nodes(&[1, 2]))),
                Outcome::Refused(_)
            ))
        },
        |world| assert!(!matches!(world.apply(&register(2, 20, 9)), Outcome::Refused(_))),
        |world| {
            assert!(!matches!(world.apply(&Command::Expel(NodeId(2), false)), Outcome::Refused(_)))
        },
        |world| {
            world.apply(&register(1, 10, 9));
            let ours = world.0.copy_of(NodeId(3), Persist::None).unwrap();
            assert_eq!(world.change(Step::Reset(ours, 0)), DONE);
        },
    ];
    for end in ends {
        let mut world = World(ready.0.clone());
        end(&mut world);
        assert_eq!(world.segment().stale, []);
        assert!(matches!(world.change(force(stale.copy)), Outcome::Refused(_)));
    }
}

/// R29, R63: what only it had is lost with a member that does not come back, if that is accepted.
#[test]
fn who_is_gone_for_good_is_forgotten_with_what_it_had() {
    let mut world = World::serving();
    world.assert_refused(&Command::Expel(NodeId(9), true), Refusal::NoMember);
    // 1 serves, 2 has it as well.
    assert_eq!(world.apply(&Command::Expel(NodeId(1), false)), DONE);
    let segment = world.segment().clone();
    assert_eq!(
        (segment.epoch, segment.primary, segment.insync),
        (Epoch(11), None, vec![copy(2, 3)])
    );
    assert_eq!(segment.target, nodes(&[2]));
    world.assert_refused(&Command::Join(join(10, 7)), Refusal::HasLeft);
    // Now 2 alone has it.
    assert_eq!(world.0.only_on(NodeId(2)).collect::<Vec<_>>(), [(GROUP, AT)]);
    assert_eq!(world.0.only_on(NodeId(3)).count(), 0);
    world.assert_refused(&Command::Expel(NodeId(2), false), Refusal::NotAllowed);
    assert_eq!(world.apply(&Command::Expel(NodeId(2), true)), DONE);
    let lost = (world.segment().epoch, world.segment().insync.clone());
    assert_eq!(lost, (Epoch(11), vec![copy(2, 3)]), "what had it last stays listed");
    assert_eq!(world.change(Step::Reset(copy(3, 4), 5)), DONE);
    assert_eq!((world.segment().primary, world.segment().epoch), (Some(NodeId(3)), Epoch(12)));
}

/// What is on disks outlives processes, and not the members that are forgotten.
#[test]
fn a_copy_on_a_disk_is_lost_with_its_member() {
    let mut world = World::serving();
    let group = GroupId(1);
    let mut durable = CreateGroup { group, ..create(&[&[1]]) };
    durable.settings.persist = Persist::Sync;
    assert_eq!(world.apply(&Command::CreateGroup(durable)), DONE);
    world.apply(&register(1, 10, 11));
    world.assert_refused(&Command::Expel(NodeId(1), false), Refusal::NotAllowed);
    assert_eq!(world.apply(&Command::Expel(NodeId(1), true)), DONE);
    let segment = &world.0.groups()[&group].segments[0];
    assert!(segment.primary.is_none() && !world.0.is_current(segment.insync[0]));
}
