use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

/// Lists in the test, and slots over which they run: more than a chunk, so that chunks are crossed.
const LISTS: usize = 3;
const SLOTS: u32 = 600;

#[derive(Debug, Clone)]
enum Op {
    Push(usize, u32),
    Remove(u32),
    Pop(usize),
    MoveToHead(u32),
    Tag(u32, u16),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..LISTS, 0..SLOTS).prop_map(|(list, slot)| Op::Push(list, slot)),
        1 => (0..SLOTS).prop_map(Op::Remove),
        1 => (0..LISTS).prop_map(Op::Pop),
        2 => (0..SLOTS).prop_map(Op::MoveToHead),
        1 => (0..SLOTS, any::<u16>()).prop_map(|(slot, tag)| Op::Tag(slot, tag)),
    ]
}

/// The model: a deque for each list, head in front.
#[derive(Default)]
struct Model {
    lists: [VecDeque<u32>; LISTS],
    tags: std::collections::BTreeMap<u32, u16>,
}

impl Model {
    fn find(&self, slot: u32) -> Option<(usize, usize)> {
        self.lists
            .iter()
            .enumerate()
            .find_map(|(list, slots)| Some((list, slots.iter().position(|s| *s == slot)?)))
    }
}

fn apply(op: &Op, links: &mut Links, lists: &mut [List; LISTS], model: &mut Model) {
    match *op {
        Op::Push(list, slot) if model.find(slot).is_none() => {
            links.push(&mut lists[list], Slot(slot));
            model.lists[list].push_front(slot);
        }
        Op::Remove(slot) => {
            if let Some((list, at)) = model.find(slot) {
                links.remove(&mut lists[list], Slot(slot));
                model.lists[list].remove(at);
            }
        }
        Op::MoveToHead(slot) => {
            if let Some((list, at)) = model.find(slot) {
                links.move_to_head(&mut lists[list], Slot(slot));
                model.lists[list].remove(at);
                model.lists[list].push_front(slot);
            }
        }
        Op::Pop(list) => {
            let popped = links.pop(&mut lists[list]).map(|s| s.0);
            assert_eq!(popped, model.lists[list].pop_back());
        }
        Op::Tag(slot, tag) => {
            links.set_tag(Slot(slot), tag);
            model.tags.insert(slot, tag);
        }
        Op::Push(..) => {}
    }
}

fn walk(links: &Links, list: &List) -> Vec<u32> {
    std::iter::successors(list.head(), |slot| links.next(*slot)).map(|s| s.0).collect()
}

proptest! {
    #[test]
    fn behaves_like_deques(ops in prop::collection::vec(op(), 0..400)) {
        let (mut links, mut lists, mut model) = <(Links, [List; LISTS], Model)>::default();
        for op in &ops {
            apply(op, &mut links, &mut lists, &mut model);
        }
        for (list, slots) in lists.iter().zip(&model.lists) {
            prop_assert_eq!(slots, &walk(&links, list));
            prop_assert_eq!(list.tail().map(|s| s.0), slots.back().copied());
            prop_assert_eq!(list.is_empty(), slots.is_empty());
        }
        for slot in 0..SLOTS {
            let tag = model.tags.get(&slot).copied().unwrap_or(0);
            prop_assert_eq!(links.tag(Slot(slot)), tag);
        }
    }
}

#[test]
fn a_slot_costs_eight_bytes() {
    let (mut links, mut list) = (Links::default(), List::default());
    for slot in 0..100_000 {
        links.push(&mut list, Slot(slot));
    }
    let a_slot = links.memory() as f64 / 100_000.0;
    assert!((8.0..8.2).contains(&a_slot), "{a_slot} bytes a slot");
}
