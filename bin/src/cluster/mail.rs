//! What copies say to those of other members, by member: all of it goes with one message.

use isogrid_grid::id::NodeId;
use isogrid_grid::message::ToCopy;

/// Bytes of records and chunks beyond which a message takes no more.
const MESSAGE_BYTES: usize = 1 << 20;

/// Messages that are not sent yet.
#[derive(Default)]
pub(super) struct Mail(Vec<Letter>);

struct Letter {
    to: NodeId,
    all: Vec<ToCopy>,
    bytes: usize,
}

impl Mail {
    /// Adds to what a member gets; all of it when that is to be sent now.
    pub fn put(&mut self, to: NodeId, one: ToCopy) -> Option<Vec<ToCopy>> {
        let at = self.0.iter().position(|letter| letter.to == to).unwrap_or_else(|| {
            self.0.push(Letter { to, all: Vec::new(), bytes: 0 });
            self.0.len() - 1
        });
        let letter = self.0.get_mut(at)?;
        letter.bytes += one.2.payload_len();
        letter.all.push(one);
        (letter.bytes >= MESSAGE_BYTES).then(|| self.0.swap_remove(at).all)
    }

    /// All that is left.
    pub fn into_iter(self) -> impl Iterator<Item = (NodeId, Vec<ToCopy>)> {
        self.0.into_iter().map(|letter| (letter.to, letter.all))
    }
}

#[cfg(test)]
mod tests {
    use isogrid_grid::id::{Epoch, GroupId, SegmentId};
    use isogrid_grid::replica::Peer;

    use super::*;

    #[test]
    fn each_member_gets_one_message_until_it_is_too_long() {
        let one = |at: u16, last| {
            (GroupId(1), SegmentId(at), Peer::Ack { epoch: Epoch(1), last, committed: 0, since: 0 })
        };
        let mut mail = Mail::default();
        for (to, at) in [(1, 5), (2, 6), (1, 7), (1, 5)] {
            assert_eq!(mail.put(NodeId(to), one(at, 3)), None);
        }
        let fill = isogrid_grid::replica::FillId { since: 1, begun: Epoch(1) };
        let bytes = vec![0; MESSAGE_BYTES];
        let chunk = Peer::Chunk { epoch: Epoch(1), fill, number: 1, bytes };
        let chunk = (GroupId(1), SegmentId(9), chunk);
        let long = mail.put(NodeId(1), chunk.clone());
        assert_eq!(long, Some(vec![one(5, 3), one(7, 3), one(5, 3), chunk]));
        assert_eq!(mail.put(NodeId(1), one(8, 4)), None);
        let rest: Vec<_> = mail.into_iter().collect();
        assert_eq!(rest, [(NodeId(2), vec![one(6, 3)]), (NodeId(1), vec![one(8, 4)])]);
    }
}
