//! Doubly-linked lists over slots: the linked slab that the policies and the timing wheel share.
//!
//! Any number of [`List`]s run through one set of [`Links`]; a slot is on one of them at most.
//! A link needs 24 bits, so a node of 8 bytes has room for a tag of 16 bits beside its two links,
//! where the owner notes which list the slot is on and what else it wants to know about it.

use super::{Slot, chunks::Chunks};

const LINK_BITS: u32 = 24;
const LINK_MASK: u32 = (1 << LINK_BITS) - 1;
/// The link that leads nowhere; also the highest slot number, which is therefore not used.
const NIL: u32 = LINK_MASK;

/// Two links, and one byte of the tag above each.
#[derive(Debug, Clone, Copy)]
struct Node {
    prev: u32,
    next: u32,
}

impl Default for Node {
    fn default() -> Self {
        Self { prev: NIL, next: NIL }
    }
}

/// The two ends of a list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct List {
    head: u32,
    tail: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { head: NIL, tail: NIL }
    }
}

impl List {
    /// The slot pushed last, unless removed.
    #[cfg(test)]
    pub(crate) fn head(&self) -> Option<Slot> {
        slot(self.head)
    }

    /// The slot pushed first, unless removed.
    pub(crate) fn tail(&self) -> Option<Slot> {
        slot(self.tail)
    }

    /// Whether no slot is on it.
    pub(crate) fn is_empty(&self) -> bool {
        self.head == NIL
    }
}

/// The links of all slots: 8 bytes each.
#[derive(Debug, Default)]
pub(crate) struct Links {
    nodes: Chunks<Node>,
}

impl Links {
    /// Puts a slot that is on no list at the head of `list`.
    pub(crate) fn push(&mut self, list: &mut List, slot: Slot) {
        assert!(slot.0 < NIL, "slot out of range");
        let node = self.nodes.get_mut(slot.0);
        set_link(&mut node.prev, NIL);
        set_link(&mut node.next, list.head);
        match list.head {
            NIL => list.tail = slot.0,
            head => set_link(&mut self.nodes.get_mut(head).prev, slot.0),
        }
        list.head = slot.0;
    }

    /// Takes a slot off `list`, which it must be on. The tag stays.
    pub(crate) fn remove(&mut self, list: &mut List, slot: Slot) {
        let node = self.nodes.get(slot.0);
        let (prev, next) = (node.prev & LINK_MASK, node.next & LINK_MASK);
        match prev {
            NIL => list.head = next,
            _ => set_link(&mut self.nodes.get_mut(prev).next, next),
        }
        match next {
            NIL => list.tail = prev,
            _ => set_link(&mut self.nodes.get_mut(next).prev, prev),
        }
    }

    /// Takes the tail off.
    pub(crate) fn pop(&mut self, list: &mut List) -> Option<Slot> {
        let slot = list.tail()?;
        self.remove(list, slot);
        Some(slot)
    }

    /// Moves a slot of `list` to its head.
    pub(crate) fn move_to_head(&mut self, list: &mut List, slot: Slot) {
        if list.head != slot.0 {
            self.remove(list, slot);
            self.push(list, slot);
        }
    }

    /// The slot pushed before this one.
    #[cfg(test)]
    pub(crate) fn next(&self, of: Slot) -> Option<Slot> {
        slot(self.nodes.get(of.0).next & LINK_MASK)
    }

    /// What the owner noted on the slot; 0 until it does.
    pub(crate) fn tag(&self, slot: Slot) -> u16 {
        let node = self.nodes.get(slot.0);
        let [.., high] = node.prev.to_le_bytes();
        let [.., low] = node.next.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// Notes `tag` on the slot.
    pub(crate) fn set_tag(&mut self, slot: Slot, tag: u16) {
        let [low, high] = tag.to_le_bytes();
        let node = self.nodes.get_mut(slot.0);
        node.prev = node.prev & LINK_MASK | u32::from(high) << LINK_BITS;
        node.next = node.next & LINK_MASK | u32::from(low) << LINK_BITS;
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        self.nodes.memory()
    }
}

fn slot(link: u32) -> Option<Slot> {
    (link != NIL).then_some(Slot(link))
}

/// Changes a link and leaves the tag above it.
fn set_link(link: &mut u32, to: u32) {
    *link = *link & !LINK_MASK | to;
}

#[cfg(test)]
mod tests;
