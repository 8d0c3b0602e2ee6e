//! The stream of invalidations.

use std::sync::Arc;

use super::Shared;
use crate::client::core::{LinkId, Reply};
use crate::client::error::Error;
use crate::client::handle::{UNBOUNDED, left};
use crate::client::object::Object;
use crate::client::shell::Consumer;
use crate::native::cache::{Track, TrackFlags, TrackMode, Tracked, TrackedKind};
use crate::native::{Codec, List, Reader};

/// Items that the server may send ahead. They are worked off at once, so that credit is only to
/// be given back.
const CREDIT: u32 = 1 << 16;

/// Keeps a stream open for as long as the near cache lives.
pub async fn follow(object: Arc<Object>, shared: Arc<Shared>) {
    let handle = &object.handle;
    loop {
        let deadline = tokio::time::Instant::now() + handle.timeout;
        let track = Track {
            mode: TrackMode::Read,
            prefixes: List::of(&[]),
            flags: TrackFlags::default(),
            credit: CREDIT,
        };
        let Ok(number) = object.number(deadline).await else {
            // Perhaps at once, because the cache was dropped: the server is not to be stormed.
            tokio::time::sleep(left(deadline).min(handle.timeout / 4)).await;
            continue;
        };
        let mut request = handle.request(&track);
        (request.life, request.object, request.credit) = (Some(number.0), number.1, CREDIT);
        let (credits, mut worked_off) = tokio::sync::mpsc::unbounded_channel();
        let to = Invalidations { shared: Arc::clone(&shared), credits };
        let Ok(interest) = handle.stream(request, Box::new(to)) else { return };
        while let Some(items) = worked_off.recv().await {
            interest.credit(items);
        }
        drop(interest);
        // Whatever ended it: the number may be another one by now.
        object.forget(number);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Between two streams.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

struct Invalidations {
    shared: Arc<Shared>,
    /// Closed when the stream is over.
    credits: tokio::sync::mpsc::UnboundedSender<u32>,
}

impl Consumer for Invalidations {
    fn opened(&mut self, link: LinkId) {
        self.shared.empty(Some(link));
    }

    fn items(&mut self, payload: Vec<u8>) {
        let mut input = Reader::new(&payload, &UNBOUNDED);
        let Ok(items) = List::<Tracked<'_>>::decode(&mut input) else {
            // Nobody knows what it said.
            return self.shared.drop_all();
        };
        let mut state = self.shared.lock();
        for item in items {
            match item.kind {
                TrackedKind::Invalidate => {
                    let dropped = state.copies.remove(item.key);
                    state.stats.invalidated += u64::from(dropped);
                }
                TrackedKind::Resync => {
                    state.copies.clear();
                    state.stats.emptied += 1;
                }
            }
        }
        drop(state);
        // Who gives credit has ended with the near cache, if it has.
        let _ = self.credits.send(u32::try_from(items.len()).unwrap_or(u32::MAX));
    }

    fn ended(&mut self, _: Result<Reply, Error>) {
        self.shared.empty(None);
    }
}
