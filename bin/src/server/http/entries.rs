//! `/v1/caches/{name}/entries/{key}`: entries by HTTP's own means. An entity tag is a version.
//!
//! A write is answered when it is kept, as the cache's `persist` says. When nobody knows whether
//! it is, the answer is `OutcomeUnknown`: over HTTP no answer at all would be a riddle.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, ETAG};
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use isogrid_engine::load::LoadError;
use isogrid_engine::{Entry, Error, KeyHash, Unrecorded};
use isogrid_grid::structure::cache::{Counted, Lifespan, Mode, Put, Removal, Step, Written};
use isogrid_grid::{Batch, Cache};
use isogrid_wire::Limits;
use isogrid_wire::memcached::value_len_max;
use serde_json::json;

use super::body;
use super::condition::{Conditions, Tags, etag};
use super::json::{empty, json};
use super::problem::{Code, Problem};
use super::query::Query;
use super::route::Call;
use super::target::{self, Target};
use crate::server::connections::Spoken;
use crate::server::counters::Counts;
use crate::server::invalidated::Gate;
use crate::server::keeper::Keeper;
use crate::server::loading::{Refusal, Stopped, loaded};
use crate::server::node::Node;
use isogrid_grid::unit::parse_span;

/// Milliseconds until the entry expires.
const TTL: HeaderName = HeaderName::from_static("isogrid-ttl-ms");
/// Milliseconds without a read after which it expires.
const IDLE: HeaderName = HeaderName::from_static("isogrid-idle-ms");
/// The client's 32 bits, which memcached clients use.
const FLAGS: HeaderName = HeaderName::from_static("isogrid-flags");
/// The longest lifespan: 100 years.
const LIFE_MAX_MS: u64 = 100 * 365 * 24 * 3_600_000;

/// What a handler answers.
pub type Answered = Result<Response<Body>, Problem>;

/// GET, and HEAD, which leaves no trace of the read.
pub async fn get(call: Call) -> Answered {
    let Call { node, request } = call;
    Query::parse(request.uri().query(), &[])?;
    let Target { cache, key, place } = target::entry(&node, request.uri().path(), "")?;
    let conditions = Conditions::parse(request.headers())?;
    if conditions.matches.is_some() {
        return Err(Problem::invalid("if-match has no meaning for a read"));
    }
    let quiet = request.method() == Method::HEAD;
    if let Some(place) = place {
        return place.get(&key, conditions.differs.as_ref(), quiet).await;
    }
    let gate = Gate::open(&node, cache.name()).await?;
    let work = || read(&node, &cache, &key, conditions.differs.as_ref(), quiet);
    let response = when_loaded(&node, &cache, &key, work).await;
    gate.map_or(Ok(()), |gate| gate.was_read())?;
    response
}

fn read(
    node: &Node,
    cache: &Cache,
    key: &[u8],
    differs: Option<&Tags>,
    quiet: bool,
) -> Result<Answered, Stopped> {
    let now = node.now();
    let (batch, hash) = (cache.batch(now), cache.hash(key));
    let entry = if quiet { batch.peek(hash, key) } else { batch.get(hash, key) };
    if entry.is_none() && batch.is_away(hash, key) {
        return Err(Stopped::Away);
    }
    if !quiet {
        let hit = entry.is_some();
        let (hits, misses) = (u64::from(hit), u64::from(!hit));
        let counts = Counts { cmd_get: 1, get_hits: hits, get_misses: misses, ..Counts::default() };
        count(node, cache, counts);
    }
    let Some(entry) = entry else { return Ok(Err(absent())) };
    let mut response = match differs.filter(|tags| tags.name(entry.version())) {
        Some(_) => empty(StatusCode::NOT_MODIFIED),
        None => whole(&entry),
    };
    describe(&mut response, &entry, now);
    Ok(Ok(response))
}

/// Does something with an entry once it is in memory.
async fn when_loaded(
    node: &Node,
    cache: &Cache,
    key: &[u8],
    work: impl FnMut() -> Result<Answered, Stopped>,
) -> Answered {
    let refused = |refusal: Refusal| {
        let code = match refusal {
            Refusal::Load(LoadError::Damaged | LoadError::Failed) => Code::Storage,
            Refusal::Load(LoadError::NoRoom) => Code::OutOfMemory,
            Refusal::Load(LoadError::Busy) | Refusal::Crowded => Code::Overloaded,
        };
        Problem::new(code, refusal.text())
    };
    loaded(node, cache.name(), key, work).await.map_err(refused)?
}

/// The version of an entry, which must be in memory for that.
fn version(batch: &Batch<'_>, hash: KeyHash, key: &[u8]) -> Result<Option<u64>, Stopped> {
    match batch.peek(hash, key) {
        Some(entry) => Ok(Some(entry.version())),
        None if batch.is_away(hash, key) => Err(Stopped::Away),
        None => Ok(None),
    }
}

fn whole(entry: &Entry<'_>) -> Response<Body> {
    of_value(match entry.shared() {
        Some(shared) => Bytes::from_owner(shared),
        None => Bytes::copy_from_slice(entry.value()),
    })
}

/// The answer with a value.
pub fn of_value(value: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(value));
    let octets = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(CONTENT_TYPE, octets);
    response
}

/// What there is to say of an entry beside its value.
fn describe(response: &mut Response<Body>, entry: &Entry<'_>, now: u64) {
    let left = entry.deadline().map(|at| at.saturating_sub(now));
    let idle = entry.max_idle().map(u64::from);
    tell(response, entry.version(), (left, idle), entry.flags());
}

/// Tells of an entry its version, the times in ms that are left to it, and the client's bits.
pub fn tell(
    response: &mut Response<Body>,
    version: u64,
    (left, idle): (Option<u64>, Option<u64>),
    flags: u32,
) {
    let headers = response.headers_mut();
    headers.insert(ETAG, etag(version));
    if let Some(left) = left {
        headers.insert(TTL, left.into());
    }
    if let Some(idle) = idle {
        headers.insert(IDLE, idle.into());
    }
    if flags != 0 {
        headers.insert(FLAGS, flags.into());
    }
}

/// PUT.
pub async fn put(call: Call) -> Answered {
    let Call { node, request } = call;
    let query = Query::parse(request.uri().query(), &["ttl", "idle", "flags"])?;
    let Target { cache, key, place } = target::entry(&node, request.uri().path(), "")?;
    let conditions = Conditions::parse(request.headers())?;
    let number = |text: &str| text.parse::<u32>().ok();
    let flags = query.parsed("flags", "a number below 2^32", number)?.unwrap_or(0);
    let ttl = span(&query, "ttl")?;
    let idle = span(&query, "idle")?.map(|ms| u32::try_from(ms).unwrap_or(u32::MAX));
    let limits = Limits { item_size_max: node.config.limits.max_item_size, ..Limits::default() };
    let too_large = || Problem::new(Code::ValueTooLarge, "the key alone is larger than an item");
    let len_max = value_len_max(key.len(), flags, &limits).ok_or_else(too_large)?;
    let (parts, body) = request.into_parts();
    let value = body::read(&parts.headers, body, len_max).await;
    let value = value.inspect_err(|_| {
        let counts = Counts { store_too_large: 1, ..Counts::default() };
        count(&node, &cache, counts);
    })?;
    if let Some(place) = place {
        return place.put((&key, &value), (flags, ttl, idle), &conditions).await;
    }
    let gate = match conditions.differs {
        // What was loaded is kept here, and nobody hears of it.
        Some(Tags::Any) => Gate::open(&node, cache.name()).await?.and(None),
        _ => begin_write(&node, &cache, &key).await?,
    };
    let mut keeper = begin(&node, &cache);
    let put = Put {
        mode: Mode::Set,
        value: &value,
        flags,
        lifespan: lifespan(ttl, node.now()),
        max_idle: idle,
        expected: None,
        stale_if_older: false,
        version: None,
        or_create: None,
        marks: isogrid_engine::Marks::default(),
        len_max,
    };
    let work = || store(&node, &cache, &key, put, &conditions);
    let response = when_loaded(&node, &cache, &key, work).await;
    kept(&mut keeper).await?;
    written(gate, &key).await?;
    response
}

fn store(
    node: &Node,
    cache: &Cache,
    key: &[u8],
    mut put: Put<'_>,
    when: &Conditions,
) -> Result<Answered, Stopped> {
    let (batch, hash) = (cache.batch(node.now()), cache.hash(key));
    let there = version(&batch, hash, key)?;
    match (&when.matches, &when.differs) {
        (Some(Tags::Any), _) => put.mode = Mode::Replace,
        (Some(tags), _) => match there.filter(|version| tags.name(*version)) {
            Some(version) => put.expected = Some(version),
            None => return Ok(Err(conflict(there))),
        },
        (None, Some(Tags::Any)) => put.mode = Mode::Add,
        (None, Some(Tags::Versions(_))) => {
            return Ok(Err(Problem::invalid("if-none-match of a PUT can only be *")));
        }
        (None, None) => {}
    }
    let written = batch.put(hash, key, &put);
    stop(&written)?;
    let mut counts = Counts { cmd_set: 1, ..Counts::default() };
    match &written {
        Ok(Written::Done { .. }) => counts.cas_hits += u64::from(put.expected.is_some()),
        Ok(Written::Refused) => counts.set_not_stored += 1,
        Ok(Written::Conflict) => counts.cas_badval += 1,
        Ok(Written::Absent) => counts.cas_misses += 1,
        Err(error) => {
            counts.set_failed += 1;
            count_error(&mut counts, error);
        }
    }
    count(node, cache, counts);
    Ok(match written.map_err(|error| failed(&error)) {
        Ok(Written::Done { version, .. }) => Ok(stored(version, there.is_none())),
        Ok(Written::Refused | Written::Conflict | Written::Absent) => Err(conflict(there)),
        Err(problem) => Err(problem),
    })
}

/// The answer to a write that was done.
pub fn stored(version: u64, created: bool) -> Response<Body> {
    let mut response = empty(if created { StatusCode::CREATED } else { StatusCode::NO_CONTENT });
    response.headers_mut().insert(ETAG, etag(version));
    response
}

/// The answer to a count that was done.
pub fn counted(value: u64, version: u64) -> Response<Body> {
    let mut response = json(&json!({ "value": value }));
    response.headers_mut().insert(ETAG, etag(version));
    response
}

/// Passes on that an operation was stopped.
fn stop<T>(done: &Result<T, Error>) -> Result<(), Stopped> {
    done.as_ref().err().and_then(Stopped::of).map_or(Ok(()), Err)
}

/// DELETE.
pub async fn delete(call: Call) -> Answered {
    let Call { node, request } = call;
    Query::parse(request.uri().query(), &[])?;
    let Target { cache, key, place } = target::entry(&node, request.uri().path(), "")?;
    let conditions = Conditions::parse(request.headers())?;
    if conditions.differs.is_some() {
        return Err(Problem::invalid("if-none-match has no meaning for a removal"));
    }
    if let Some(place) = place {
        return place.delete(&key, conditions.matches.as_ref()).await;
    }
    let gate = begin_write(&node, &cache, &key).await?;
    let mut keeper = begin(&node, &cache);
    let work = || remove(&node, &cache, &key, conditions.matches.as_ref());
    let response = when_loaded(&node, &cache, &key, work).await;
    kept(&mut keeper).await?;
    written(gate, &key).await?;
    response
}

fn remove(
    node: &Node,
    cache: &Cache,
    key: &[u8],
    matches: Option<&Tags>,
) -> Result<Answered, Stopped> {
    let (batch, hash) = (cache.batch(node.now()), cache.hash(key));
    let mut how = Removal::default();
    if let Some(tags @ Tags::Versions(_)) = matches {
        let there = version(&batch, hash, key)?;
        how.expected = there.filter(|version| tags.name(*version));
        if how.expected.is_none() {
            return Ok(Err(conflict(there)));
        }
    }
    let removed = batch.remove(hash, key, &how);
    stop(&removed)?;
    let mut counts = Counts::default();
    match &removed {
        Ok(Written::Done { .. }) => counts.delete_hits += 1,
        Ok(_) => counts.delete_misses += 1,
        Err(error) => count_error(&mut counts, error),
    }
    count(node, cache, counts);
    Ok(match removed.map_err(|error| failed(&error)) {
        Ok(Written::Done { .. }) => Ok(empty(StatusCode::NO_CONTENT)),
        Ok(_) if matches.is_some() => Err(conflict(None)),
        Ok(_) => Err(absent()),
        Err(problem) => Err(problem),
    })
}

/// POST `../incr`.
pub async fn incr(call: Call) -> Answered {
    let Call { node, request } = call;
    let query = Query::parse(request.uri().query(), &["by", "initial", "ttl"])?;
    let Target { cache, key, place } = target::entry(&node, request.uri().path(), "/incr")?;
    let by = query.get("by").unwrap_or("1");
    let (up, digits) = by.strip_prefix('-').map_or((true, by), |digits| (false, digits));
    let number = |text: &str| text.parse::<u64>().ok();
    let refused = || Problem::invalid(format!("`by={by}` is not a whole number within 64 bits"));
    let delta = number(digits).ok_or_else(refused)?;
    let initial = query.parsed("initial", "a number below 2^64", number)?;
    let ttl = span(&query, "ttl")?;
    if let Some(place) = place {
        return place.incr(&key, (up, delta), initial, ttl).await;
    }
    let ttl = lifespan(ttl, node.now());
    let or_create = initial.map(|initial| (initial, ttl));
    let step = Step { up, delta, or_create, touch: None, expected: None, version: None };
    let gate = begin_write(&node, &cache, &key).await?;
    let mut keeper = begin(&node, &cache);
    let work = || step_one(&node, &cache, &key, &step);
    let response = when_loaded(&node, &cache, &key, work).await;
    kept(&mut keeper).await?;
    written(gate, &key).await?;
    response
}

fn step_one(node: &Node, cache: &Cache, key: &[u8], step: &Step) -> Result<Answered, Stopped> {
    let done = cache.batch(node.now()).count(cache.hash(key), key, step);
    stop(&done)?;
    let mut counts = Counts::default();
    let (hits, misses) = if step.up {
        (&mut counts.incr_hits, &mut counts.incr_misses)
    } else {
        (&mut counts.decr_hits, &mut counts.decr_misses)
    };
    match &done {
        Ok(Counted::Value { created: false, .. }) => *hits += 1,
        Ok(Counted::Absent) => *misses += 1,
        Ok(_) => {}
        Err(error) => count_error(&mut counts, error),
    }
    count(node, cache, counts);
    Ok(match done.map_err(|error| failed(&error)) {
        Ok(Counted::Value { value, version, .. }) => Ok(counted(value, version)),
        Ok(Counted::NotANumber) => Err(Problem::new(Code::NotANumber, "the value is no number")),
        Ok(Counted::Absent) => Err(absent()),
        Ok(Counted::Conflict) => Err(conflict(None)),
        Err(problem) => Err(problem),
    })
}

fn span(query: &Query, name: &str) -> Result<Option<u64>, Problem> {
    let millis = |text: &str| {
        let millis = u64::try_from(parse_span(text)?.as_millis()).ok()?;
        (1..=LIFE_MAX_MS).contains(&millis).then_some(millis)
    };
    query.parsed(name, "a time like 500ms, 60s, 5m or 2h, from 1ms to 36500d", millis)
}

fn lifespan(ttl: Option<u64>, now: u64) -> Lifespan {
    ttl.map_or(Lifespan::Default, |ttl| Lifespan::Until(now.saturating_add(ttl)))
}

/// Begins a write of an invalidated cache, if it is one.
async fn begin_write(node: &Node, cache: &Cache, key: &[u8]) -> Result<Option<Gate>, Problem> {
    let gate = Gate::open(node, cache.name()).await?;
    gate.iter().for_each(|gate| gate.writes(Some(key)));
    Ok(gate)
}

/// Waits until no other member serves what was written over.
async fn written(gate: Option<Gate>, key: &[u8]) -> Result<(), Problem> {
    let Some(gate) = gate else { return Ok(()) };
    Ok(gate.was_written(Some(key)).await?)
}

/// Begins a write, or what may learn of one that is not kept yet.
pub fn begin(node: &Node, cache: &Cache) -> Option<Keeper> {
    let mut keeper = node.keeper(cache.name());
    keeper.iter_mut().for_each(Keeper::wrote);
    keeper
}

/// Waits until what was written is kept.
///
/// # Errors
/// Nobody knows whether it is.
pub async fn kept(keeper: &mut Option<Keeper>) -> Result<(), Problem> {
    let Some(keeper) = keeper else { return Ok(()) };
    let kept = std::future::poll_fn(|cx| keeper.poll_kept(cx)).await;
    let unknown = |error| format!("it is unknown whether the write is kept: {error}");
    kept.map_err(|error| Problem::new(Code::OutcomeUnknown, unknown(error)))
}

fn count(node: &Node, cache: &Cache, mut counts: Counts) {
    let counters: Arc<_> = node.counters.of(cache.name(), Spoken::Http);
    counters.take(&mut counts);
}

fn count_error(counts: &mut Counts, error: &Error) {
    match error {
        Error::Full { .. } => counts.store_no_memory += 1,
        // Not executed yet.
        Error::Away | Error::Behind => {}
        Error::ValueLength { .. } | Error::KeyLength { .. } => counts.store_too_large += 1,
        Error::Unrecorded(_) => counts.store_unrecorded += 1,
    }
}

/// Why a write was refused.
pub fn failed(error: &Error) -> Problem {
    let code = match error {
        Error::Full { .. } => Code::OutOfMemory,
        Error::Away | Error::Behind => Code::Overloaded,
        Error::KeyLength { .. } => Code::KeyTooLarge,
        Error::ValueLength { .. } => Code::ValueTooLarge,
        Error::Unrecorded(Unrecorded::Busy) => Code::Overloaded,
        Error::Unrecorded(Unrecorded::OutOfSpace | Unrecorded::Failed) => Code::Storage,
        Error::Unrecorded(Unrecorded::Elsewhere | Unrecorded::TooFewCopies | Unrecorded::Held) => {
            Code::Overloaded
        }
        Error::Unrecorded(Unrecorded::Dropped) => Code::NoSuchObject,
    };
    Problem::new(code, error.to_string())
}

/// There is nothing at the key.
pub fn absent() -> Problem {
    Problem::absent("there is no such entry")
}

/// A condition does not hold: what is there.
pub fn conflict(there: Option<u64>) -> Problem {
    let why = match there {
        Some(version) => format!("the entry's version is \"{version}\""),
        None => "there is no such entry".to_owned(),
    };
    Problem::other_version(why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerConfig;

    const WRITERS: u64 = 4;
    const UPDATES: u64 = 5_000;

    fn put(value: &[u8]) -> Put<'_> {
        Put {
            mode: Mode::Set,
            value,
            flags: 0,
            lifespan: Lifespan::Default,
            max_idle: None,
            expected: None,
            stale_if_older: false,
            version: None,
            or_create: None,
            marks: isogrid_engine::Marks::default(),
            len_max: 100,
        }
    }

    /// One update of a counter under the version that was read; whether it was done.
    fn update(node: &Node, cache: &Cache) -> bool {
        let (version, number) = {
            let batch = cache.batch(node.now());
            let entry = batch.peek(cache.hash(b"n"), b"n").unwrap();
            let number: u64 = std::str::from_utf8(entry.value()).unwrap().parse().unwrap();
            (entry.version(), number)
        };
        let next = (number + 1).to_string();
        let when = Conditions { matches: Some(Tags::Versions(vec![version])), differs: None };
        store(node, cache, b"n", put(next.as_bytes()), &when).unwrap().is_ok()
    }

    /// The version is looked at under the lock of the entry, not only before: without that, of two
    /// writers that read the same version both would be told that they were the one.
    #[test]
    fn no_update_is_lost_to_another_writer() {
        let node = Node::new(ServerConfig::ephemeral()).unwrap();
        let cache = node.catalog.cache("default").unwrap();
        store(&node, &cache, b"n", put(b"0"), &Conditions::default()).unwrap().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                scope.spawn(|| {
                    let mut left = UPDATES;
                    while left > 0 {
                        left -= u64::from(update(&node, &cache));
                    }
                });
            }
        });
        let batch = cache.batch(node.now());
        let entry = batch.get(cache.hash(b"n"), b"n").unwrap();
        assert_eq!(entry.value(), (WRITERS * UPDATES).to_string().as_bytes());
    }
}
