//! The committed entries of a copy: a segment of the engine's table.

use std::collections::BTreeMap;

use isogrid_engine::table::{SegmentCopy, removals};

use crate::replica::{Base, Op};

/// Bytes of a chunk, about (R41).
const CHUNK_BYTES: usize = 256 << 10;

/// What a copy keeps beside its table.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// From this operation on they were prepared here, as the primary: then a commit only shows
    /// them.
    pub prepared_from: Option<u64>,
    /// What was removed since filling began, and under which number: a chunk may have it still.
    pub gone: Option<BTreeMap<Vec<u8>, u64>>,
    /// What came could not be done: the copy is not what it seems to be. It answers nobody until it
    /// is filled anew (R50).
    pub is_broken: bool,
}

/// The table's segment with its lock held.
pub(super) struct TableBase<'a, 't> {
    pub copy: &'a mut SegmentCopy<'t>,
    pub beside: &'a mut Beside,
}

impl Base for TableBase<'_, '_> {
    fn apply(&mut self, op: &Op) {
        let Beside { prepared_from, gone, is_broken } = &mut *self.beside;
        if prepared_from.is_some_and(|from| op.seq >= from) {
            self.copy.publish_upto(op.seq);
            if !SegmentCopy::is_clear(&op.record) {
                return;
            }
        }
        *is_broken |= self.copy.replay(&op.record).is_err();
        if let Some(gone) = gone {
            removals(&op.record, |key, seq| {
                gone.insert(key.to_vec(), seq);
            });
        }
    }

    fn chunk(&self, after: Option<&[u8]>) -> (Vec<u8>, Option<Vec<u8>>) {
        let from = after.and_then(|after| after.try_into().ok()).map_or(0, u64::from_le_bytes);
        let mut bytes = Vec::new();
        let next = self.copy.chunk(from, CHUNK_BYTES, &mut bytes);
        (bytes, next.map(|next| next.to_le_bytes().to_vec()))
    }

    fn begin_filling(&mut self) {
        self.copy.follow();
        self.copy.empty();
        *self.beside = Beside { gone: Some(BTreeMap::new()), ..Beside::default() };
    }

    fn take(&mut self, chunk: &[u8]) -> Option<()> {
        let gone = self.beside.gone.as_ref();
        let is_gone = |key: &[u8], seq: u64| {
            gone.and_then(|gone| gone.get(key)).is_some_and(|gone| *gone >= seq)
        };
        self.copy.take_chunk(chunk, &is_gone).ok()
    }

    fn filled(&mut self) {
        self.beside.gone = None;
    }
}
