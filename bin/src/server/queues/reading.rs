//! Who reads a topic, where it is served: what there is, or what comes within a time.

use isogrid_grid::structure::topic::Start;
use isogrid_grid::structures::queues::Read;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::Trouble;

/// Looks from there on until there is something to be told, or so long. Nobody knows that it waits: it
/// may be dropped.
///
/// # Errors
/// What `look` says.
pub async fn read(
    look: impl Fn(Start) -> Result<(Read, watch::Receiver<()>), Trouble>,
    mut start: Start,
    until: Instant,
) -> Result<Read, Trouble> {
    let mut is_over = false;
    loop {
        let (read, mut news) = look(start)?;
        if !read.given.is_empty() || read.lost > 0 || is_over {
            return Ok(read);
        }
        // From here on nothing is skipped, also what retention takes meanwhile.
        start = Start::Position(read.next);
        match timeout_at(until, news.changed()).await {
            Ok(Ok(())) => {}
            Err(_) => is_over = true,
            // The topic was dropped, or is served elsewhere.
            Ok(Err(_)) => return look(start).and(Err(Trouble::Elsewhere)),
        }
    }
}
