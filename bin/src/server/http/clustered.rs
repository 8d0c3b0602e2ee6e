//! Entries of caches of the cluster: each request is one of the native protocol, executed where its
//! key is served.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use isogrid_grid::Cache;
use isogrid_wire::native::cache::{
    Get, GetReply, Incr, IncrReply, Put, PutReply, Remove, RemoveReply,
};
use isogrid_wire::native::{
    Answer, Call, Codec, Entry, ErrorCode, Key, Ms, ReadOptions, Reader, Retry, Value, WriteOptions,
};

use super::condition::{Conditions, Tags};
use super::entries::{Answered, absent, conflict, counted, of_value, stored, tell};
use super::json::empty;
use super::problem::{Code, Problem};
use crate::cluster::{Cluster, Shared};
use crate::server::native::Failure;
use crate::server::native::clustered::spread::{execute, wide};
use crate::server::node::Node;

/// How long a request may take, with all its tries.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a GET tells of an entry.
const PARTS: u16 = ReadOptions::VALUE
    | ReadOptions::VERSION
    | ReadOptions::FLAGS
    | ReadOptions::TTL
    | ReadOptions::IDLE;

/// The segment of a key of a cache of the cluster.
pub struct Place {
    way: (Arc<Cluster>, Arc<Shared>),
    segment: u32,
}

impl Place {
    /// That of a key, if the cache is the cluster's.
    pub fn of(node: &Node, cache: &Cache, key: &[u8]) -> Option<Place> {
        let cluster = node.cluster.get()?;
        let shared = cluster.cache(cache.name())?;
        let way = (Arc::clone(cluster), Arc::clone(shared));
        Some(Place { way, segment: cache.hash(key).segment() })
    }

    async fn ask<'a, R: Call + Codec<'a>>(&self, request: &R) -> Result<Arc<[u8]>, Problem> {
        execute(self.way.clone(), self.segment, request, PATIENCE)
            .await
            .map_err(|why| problem(&why))
    }

    /// GET, and HEAD, which is quiet.
    pub async fn get(&self, key: &[u8], differs: Option<&Tags>, quiet: bool) -> Answered {
        let switches = if quiet { PARTS | ReadOptions::NO_TOUCH } else { PARTS };
        let answer = self.ask(&read(key, switches)).await?;
        let Some(entry) = found(&answer)? else { return Err(absent()) };
        let version = entry.version.unwrap_or(0);
        let mut response = match differs.filter(|tags| tags.name(version)) {
            Some(_) => empty(StatusCode::NOT_MODIFIED),
            None => {
                let value = entry.value.map_or(&[][..], |value| value.bytes());
                of_value(Bytes::copy_from_slice(value))
            }
        };
        let limited = |span: Option<Ms>| span.map(|span| span.0).filter(|ms| *ms != 0);
        let times = (limited(entry.ttl), limited(entry.idle));
        tell(&mut response, version, times, entry.flags.unwrap_or(0));
        Ok(response)
    }

    /// PUT: a value with the client's bits and its times, ms.
    pub async fn put(
        &self,
        (key, value): (&[u8], &[u8]),
        (flags, ttl, idle): (u32, Option<u64>, Option<u32>),
        when: &Conditions,
    ) -> Answered {
        let (mut expect, mut switches) = (None, WriteOptions::RETURN_PREV);
        match (&when.matches, &when.differs) {
            (Some(Tags::Any), _) => switches = WriteOptions::IF_PRESENT,
            (Some(tags), _) => {
                expect = Some(self.named(key, tags).await?);
                switches = 0;
            }
            (None, Some(Tags::Any)) => switches = WriteOptions::IF_ABSENT,
            (None, Some(Tags::Versions(_))) => {
                return Err(Problem::invalid("if-none-match of a PUT can only be *"));
            }
            (None, None) => {}
        }
        let (ttl, idle) = (ttl.map(Ms), idle.map(|idle| Ms(idle.into())));
        let write = WriteOptions { ttl, idle, flags: Some(flags), expect, switches };
        let put = Put { key: Key(key), value: Value::Inline(value), write };
        match decoded(&self.ask(&put).await?)? {
            PutReply::Ok { version, prev } => {
                let was_there = prev.is_some() || expect.is_some();
                let created = !was_there && switches != WriteOptions::IF_PRESENT;
                Ok(stored(version, created))
            }
            PutReply::NotStored { version, .. } | PutReply::VersionMismatch { version, .. } => {
                Err(refused(version))
            }
        }
    }

    /// DELETE.
    pub async fn delete(&self, key: &[u8], matches: Option<&Tags>) -> Answered {
        let expect = match matches {
            Some(tags @ Tags::Versions(_)) => Some(self.named(key, tags).await?),
            _ => None,
        };
        let write = WriteOptions { expect, ..WriteOptions::default() };
        match decoded(&self.ask(&Remove { key: Key(key), write }).await?)? {
            RemoveReply::Ok { .. } => Ok(empty(StatusCode::NO_CONTENT)),
            RemoveReply::VersionMismatch { version, .. } => Err(refused(version)),
            RemoveReply::NotFound {} if matches.is_some() => Err(conflict(None)),
            RemoveReply::NotFound {} => Err(absent()),
        }
    }

    /// POST `../incr`: up or down by so much. A new entry has the time to live, others keep theirs.
    pub async fn incr(
        &self,
        key: &[u8],
        (up, delta): (bool, u64),
        initial: Option<u64>,
        ttl: Option<u64>,
    ) -> Answered {
        let delta = if up { i64::try_from(delta).ok() } else { 0_i64.checked_sub_unsigned(delta) };
        let far = "`by` is within 63 bits and a sign for a cache of the cluster";
        let delta = delta.ok_or_else(|| Problem::invalid(far))?;
        let made = initial.zip(ttl);
        let initial = initial.filter(|_| made.is_none());
        loop {
            let write = WriteOptions::default();
            let incr = Incr { key: Key(key), delta, initial, write };
            match (decoded(&self.ask(&incr).await?)?, made) {
                (IncrReply::Ok { value, version }, _) => return Ok(counted(value, version)),
                (IncrReply::NotFound {}, Some((value, ttl))) => {
                    let switches = WriteOptions::IF_ABSENT;
                    let write = WriteOptions { ttl: Some(Ms(ttl)), switches, ..write };
                    let text = value.to_string();
                    let put = Put { key: Key(key), value: Value::Inline(text.as_bytes()), write };
                    // If somebody else was first it is counted with what that one made.
                    if let PutReply::Ok { version, .. } = decoded(&self.ask(&put).await?)? {
                        return Ok(counted(value, version));
                    }
                }
                (IncrReply::NotFound {}, None) => return Err(absent()),
                (IncrReply::VersionMismatch { version }, _) => return Err(refused(version)),
            }
        }
    }

    /// The version of an entry, which must be one of those that are named.
    async fn named(&self, key: &[u8], tags: &Tags) -> Result<u64, Problem> {
        let answer = self.ask(&read(key, ReadOptions::VERSION | ReadOptions::NO_TOUCH)).await?;
        let there = found(&answer)?.and_then(|entry| entry.version);
        there.filter(|version| tags.name(*version)).ok_or_else(|| conflict(there))
    }
}

fn read(key: &[u8], switches: u16) -> Get<'_> {
    Get { key: Key(key), read: ReadOptions { switches, ..ReadOptions::default() } }
}

fn found(answer: &[u8]) -> Result<Option<Entry<'_>>, Problem> {
    Ok(match decoded(answer)? {
        GetReply::Ok { entry } => Some(entry),
        GetReply::NotFound {} | GetReply::Unchanged {} => None,
    })
}

fn decoded<'a, A: Answer<'a>>(answer: &'a [u8]) -> Result<A, Problem> {
    let wrong = |_| Problem::new(Code::OutcomeUnknown, "another member's answer cannot be read");
    A::decode_all(Reader::new(answer, &wide())).map_err(wrong)
}

/// A condition does not hold, and this version is there; 0 is none.
fn refused(version: u64) -> Problem {
    conflict(Some(version).filter(|version| *version != 0))
}

fn problem(failure: &Failure) -> Problem {
    let code = match failure.code {
        ErrorCode::InvalidArgument => Code::InvalidArgument,
        ErrorCode::KeyTooLarge => Code::KeyTooLarge,
        ErrorCode::ValueTooLarge => Code::ValueTooLarge,
        ErrorCode::NotANumber | ErrorCode::WrongType => Code::NotANumber,
        ErrorCode::SegmentUnavailable => Code::SegmentUnavailable,
        ErrorCode::OutOfMemory => Code::OutOfMemory,
        ErrorCode::Storage => Code::Storage,
        other if matches!(other.retry(), Retry::Same | Retry::Other) => Code::Overloaded,
        _ => Code::OutcomeUnknown,
    };
    Problem::new(code, failure.message().to_owned())
}
