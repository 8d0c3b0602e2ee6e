//! An array that grows a chunk at a time, so that growth never copies what is already there.

/// An array over all indexes, `CHUNK` to a chunk; one that was never set reads as the default.
#[derive(Debug, Default)]
pub(crate) struct Chunks<T, const CHUNK: usize = 256> {
    chunks: Vec<Box<[T; CHUNK]>>,
}

impl<T: Copy + Default, const CHUNK: usize> Chunks<T, CHUNK> {
    /// The element at `index`.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> T {
        let (chunk, place) = split::<CHUNK>(index);
        self.chunks.get(chunk).and_then(|c| c.get(place)).copied().unwrap_or_default()
    }

    /// The element at `index`, to be changed; the array grows to hold it.
    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> &mut T {
        let (chunk, place) = split::<CHUNK>(index);
        if self.chunks.len() <= chunk {
            self.grow(chunk);
        }
        #[expect(clippy::indexing_slicing, reason = "the array was grown to have the chunk")]
        &mut self.chunks[chunk][place]
    }

    #[cold]
    fn grow(&mut self, chunk: usize) {
        self.chunks.resize_with(chunk + 1, || Box::new([T::default(); CHUNK]));
    }

    /// Bytes on the heap.
    pub(crate) fn memory(&self) -> usize {
        self.chunks.capacity() * size_of::<Box<[T; CHUNK]>>()
            + self.chunks.len() * size_of::<[T; CHUNK]>()
    }
}

fn split<const CHUNK: usize>(index: u32) -> (usize, usize) {
    let index = index as usize;
    (index / CHUNK, index % CHUNK)
}
