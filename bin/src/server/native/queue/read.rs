//! READ: messages of a topic from a position on. Who waits for more waits for nothing that is kept of
//! it, so it is forgotten when it goes.

use std::sync::Arc;
use std::time::Duration;

use isogrid_grid::structure::queue::BATCH_MAX;
use isogrid_wire::native::queue::Read;

use super::kept;
use super::message::{say_read, start_of};
use crate::server::native::clustered::queues::read;
use crate::server::native::clustered::spread::after;
use crate::server::native::failure::Failure;
use crate::server::native::reply::Given;
use crate::server::native::request::{At, Flow};
use crate::server::native::session::Session;
use crate::server::native::under_way::Awaited;
use crate::server::queues::{self, Place, Way};

impl Session {
    /// Has messages of a topic read where it is served.
    ///
    /// # Errors
    /// They cannot be asked for so.
    pub(super) fn read(
        &mut self,
        way: Option<Way>,
        at: &At<'_>,
        name: &str,
        request: &Read,
    ) -> Result<Flow, Failure> {
        self.check_wait(at)?;
        let (start, most) = (start_of(request), usize::from(request.n));
        if !(1..=BATCH_MAX).contains(&most) {
            return Err(Failure::invalid(format!("`n` is 1 to {BATCH_MAX}")));
        }
        if let Some((cluster, _)) = &way {
            // It must not overtake what was asked before it in this turn.
            self.unsent.send(cluster);
        }
        let until = after(Duration::from_millis(request.wait.0));
        let (node, name) = (Arc::clone(&self.node), name.to_owned());
        let later = Box::pin(async move {
            let look = |start| node.with(|turn| turn.read(&name, start, most));
            let seen = match &way {
                Some(way) => read::ask(&node, way, (&name, start, most), until).await,
                None => match queues::read(look, start, until).await {
                    Ok(seen) => kept(&node, !seen.given.is_empty()).await.map(|()| seen),
                    Err(trouble) => Err(trouble.into()),
                },
            };
            let say = |seen: &_| say_read(seen, |answer| Given::answer(answer));
            seen.as_ref().map_or_else(Given::failure, say)
        });
        let awaited = Awaited { object: at.id, key: Vec::new() };
        Ok(if request.wait.0 > 0 { Flow::Waits(later, awaited) } else { Flow::Later(later) })
    }
}
