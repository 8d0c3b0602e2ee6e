//! TRACK and LISTEN on caches of the cluster: who hears of what, and reads that are to be followed by
//! an invalidation. Those are registered at the node that is asked, which hears of the changes of all
//! members; whoever executes them knows nothing of it.

use std::sync::Arc;

use isogrid_grid::catalog::Kind;
use isogrid_wire::native::ReadOptions;
use isogrid_wire::native::cache::{
    EventKinds, Get, GetMany, Listen, ListenFlags, MapGet, Request, Track, TrackFlags,
};

use super::hear::Hearing;
use crate::cluster::{Cluster, Shared};
use crate::server::native::failure::Failure;
use crate::server::native::live::Live;
use crate::server::native::request::{At, Flow};
use crate::server::native::session::Session;
use crate::server::native::track::Tracking;

type Way = (Arc<Cluster>, Arc<Shared>);

impl Session {
    /// Begins to listen at all members.
    ///
    /// # Errors
    /// The pattern cannot be used.
    pub(super) fn hear(
        &self,
        way: &Way,
        at: &At<'_>,
        listen: &Listen<'_>,
    ) -> Result<Flow, Failure> {
        let hearing = self.hearing(way, at, listen)?;
        Ok(Flow::Live(Box::new(Live::Hear(Box::new(hearing))), listen.credit))
    }

    fn hearing(&self, way: &Way, at: &At<'_>, listen: &Listen<'_>) -> Result<Hearing, Failure> {
        let object = at.object(Kind::Cache)?;
        let life = object.cache.as_ref().map_or(0, |cache| cache.table().life());
        Hearing::open(way, (at.id, life), listen, self.writer())
    }

    /// Begins to tell which keys are out of date, whoever serves them.
    ///
    /// # Errors
    /// There are too many prefixes or trackers.
    pub(super) fn track(&self, way: &Way, at: &At<'_>, track: &Track<'_>) -> Result<Flow, Failure> {
        let is_deaf = track.flags.has(TrackFlags::NO_LOOP);
        let listen = Listen {
            events: EventKinds::of(u8::MAX),
            read: ReadOptions::default(),
            glob: None,
            flags: ListenFlags { switches: if is_deaf { ListenFlags::NO_LOOP } else { 0 } },
            credit: 0,
        };
        let hearing = Some(Box::new(self.hearing(way, at, &listen)?));
        let object = at.object(Kind::Cache)?;
        let cache = object.cache.as_ref().ok_or_else(super::one_by_one)?;
        let tracking = Tracking::open(cache, object.id, track, 0, hearing)?;
        Ok(Flow::Live(Box::new(Live::Track(tracking)), track.credit))
    }

    /// Registers what a read is to be followed by an invalidation of; the same read without that, if
    /// there is any. To be called before it is executed: a change that it does not see finds the
    /// registration.
    ///
    /// # Errors
    /// The connection does not track what it reads.
    pub(super) fn register<'a>(
        &self,
        at: &At<'_>,
        request: &Request<'a>,
    ) -> Result<Option<Request<'a>>, Failure> {
        let (Request::Get(Get { read, .. })
        | Request::MapGet(MapGet { read, .. })
        | Request::GetMany(GetMany { read, .. })) = request
        else {
            return Ok(None);
        };
        if !read.has(ReadOptions::TRACK) {
            return Ok(None);
        }
        let tracker = self.tracker(at.object(Kind::Cache)?)?;
        let read = ReadOptions { switches: read.switches & !ReadOptions::TRACK, ..*read };
        Ok(Some(match *request {
            Request::Get(get) => {
                tracker.register(get.key.0);
                Request::Get(Get { read, ..get })
            }
            Request::MapGet(get) => {
                tracker.register(get.key.0);
                Request::MapGet(MapGet { read, ..get })
            }
            Request::GetMany(many) => {
                self.check_keys(many.keys.len())?;
                many.keys.iter().for_each(|key| tracker.register(key.0));
                Request::GetMany(GetMany { read, ..many })
            }
            other => other,
        }))
    }
}
