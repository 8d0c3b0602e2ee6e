//! What each request does, and to which keys, for the table of permissions. An operation without a
//! row here does not compile.

use isogrid_wire::native::admin::Request as Admin;
use isogrid_wire::native::cache::Request as Cache;
use isogrid_wire::native::catalog::Request as Catalog;
use isogrid_wire::native::counter::Request as Counter;
use isogrid_wire::native::lease::Request as Lease;
use isogrid_wire::native::queue::Request as Queue;
use isogrid_wire::native::session::Request as Web;
use isogrid_wire::native::tx::WriteOp;
use isogrid_wire::native::{Key, Request, WriteOptions};

use super::failure::Failure;
use crate::security::OpClass;
use crate::server::admin::find;

/// One thing that a request does.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// What kind of thing.
    pub class: OpClass,
    /// The name of what it is done to, where the request says the name and not a number.
    pub name: Option<&'a str>,
    /// The key; `None` for all of them, or for none.
    pub key: Option<&'a [u8]>,
}

/// Passes what is permitted.
pub type Ask<'f> = dyn FnMut(Asked<'_>) -> Result<(), Failure> + 'f;

/// Asks for each thing that a request does. Requests within it are asked for where they are read.
///
/// # Errors
/// What `ask` says.
pub fn all(request: &Request<'_>, ask: &mut Ask<'_>) -> Result<(), Failure> {
    match request {
        Request::Cache(request) => of_cache(request, ask),
        Request::Counter(request) => of_counter(request, ask),
        Request::Lease(request) => of_lease(request, ask),
        Request::Queue(request) => of_all(of_queue(request), ask),
        Request::Session(request) => of_session(request, ask),
        Request::Catalog(request) => of_catalog(request, ask),
        Request::Admin(Admin::Call(call)) => of_all(of_method(call.method), ask),
        Request::Admin(Admin::Stream(stream)) => of_all(of_method(stream.method), ask),
        // A transaction is of its connection; what is done within it is asked for by itself.
        Request::Conn(_) | Request::Tx(_) | Request::Batch(_) => Ok(()),
    }
}

/// The class of a method of administration; who asks for one that is not there learns that only as
/// an administrator.
pub fn of_method(name: &str) -> OpClass {
    find(name).map_or(OpClass::Admin, |method| method.permission.class())
}

/// The class of a write of COMMIT_OCC.
pub fn of_write(op: WriteOp) -> OpClass {
    match op {
        WriteOp::Put | WriteOp::Touch => OpClass::Write,
        WriteOp::Remove => OpClass::Delete,
    }
}

fn of(class: OpClass, key: &[u8], ask: &mut Ask<'_>) -> Result<(), Failure> {
    ask(Asked { class, name: None, key: Some(key) })
}

fn of_all(class: OpClass, ask: &mut Ask<'_>) -> Result<(), Failure> {
    ask(Asked { class, name: None, key: None })
}

/// A write of one key, which may tell what was there.
fn write(
    class: OpClass,
    key: Key<'_>,
    options: &WriteOptions,
    ask: &mut Ask<'_>,
) -> Result<(), Failure> {
    if options.has(WriteOptions::RETURN_PREV) {
        of(OpClass::Read, key.0, ask)?;
    }
    of(class, key.0, ask)
}

fn of_cache(request: &Cache<'_>, ask: &mut Ask<'_>) -> Result<(), Failure> {
    match request {
        Cache::Get(get) => of(OpClass::Read, get.key.0, ask),
        Cache::MapGet(get) => of(OpClass::Read, get.key.0, ask),
        Cache::Put(put) => write(OpClass::Write, put.key, &put.write, ask),
        Cache::Remove(remove) => write(OpClass::Delete, remove.key, &remove.write, ask),
        Cache::Touch(touch) => of(OpClass::Write, touch.key.0, ask),
        Cache::Append(append) => of(OpClass::Write, append.key.0, ask),
        Cache::Prepend(prepend) => of(OpClass::Write, prepend.key.0, ask),
        Cache::MapUpdate(update) => of(OpClass::Write, update.key.0, ask),
        Cache::GetTouch(get) => of(OpClass::ReadWrite, get.key.0, ask),
        Cache::Incr(incr) => of(OpClass::ReadWrite, incr.key.0, ask),
        Cache::GetMany(many) => many.keys.iter().try_for_each(|key| of(OpClass::Read, key.0, ask)),
        Cache::PutMany(many) => {
            many.entries.iter().try_for_each(|entry| of(OpClass::Write, entry.key.0, ask))
        }
        Cache::RemoveMany(many) => {
            many.keys.iter().try_for_each(|key| of(OpClass::Delete, key.0, ask))
        }
        Cache::TouchMany(many) => {
            many.keys.iter().try_for_each(|key| of(OpClass::Write, key.0, ask))
        }
        Cache::Size(_) => of_all(OpClass::Read, ask),
        Cache::Clear(_) => of_all(OpClass::Clear, ask),
        Cache::Scan(_) | Cache::Listen(_) | Cache::Track(_) | Cache::PartSeq(_) => {
            of_all(OpClass::Keys, ask)
        }
    }
}

/// A counter's name is its key. All but GET change it, and tell what it was or is.
fn of_counter(request: &Counter<'_>, ask: &mut Ask<'_>) -> Result<(), Failure> {
    let both = OpClass::ReadWrite;
    match request {
        Counter::Get(get) => of(OpClass::Read, get.name.as_bytes(), ask),
        Counter::Add(add) => of(both, add.name.as_bytes(), ask),
        Counter::Set(set) => of(both, set.name.as_bytes(), ask),
        Counter::Cas(cas) => of(both, cas.name.as_bytes(), ask),
        Counter::Reset(reset) => of(both, reset.name.as_bytes(), ask),
        Counter::IdBlock(block) => of(both, block.name.as_bytes(), ask),
        Counter::AddMany(many) => {
            many.deltas.iter().try_for_each(|delta| of(both, delta.name.as_bytes(), ask))
        }
    }
}

/// A lease has no key: it is of the whole space.
fn of_lease(request: &Lease<'_>, ask: &mut Ask<'_>) -> Result<(), Failure> {
    match request {
        Lease::LeaseGrant(_) | Lease::Keepalive(_) | Lease::Revoke(_) => {
            of_all(OpClass::Write, ask)
        }
        Lease::LeaseInfo(_) => of_all(OpClass::Read, ask),
        Lease::Lock(lock) => of(OpClass::Write, lock.key.0, ask),
        Lease::Unlock(unlock) => of(OpClass::Write, unlock.key.0, ask),
        Lease::LockInfo(info) => of(OpClass::Read, info.key.0, ask),
        Lease::SemAcquire(acquire) => of(OpClass::Write, acquire.key.0, ask),
        Lease::SemRelease(release) => of(OpClass::Write, release.key.0, ask),
    }
}

/// To consume is to read a message and to remove it.
fn of_queue(request: &Queue<'_>) -> OpClass {
    match request {
        Queue::Publish(_) | Queue::Redrive(_) => OpClass::Write,
        Queue::Consume(_) | Queue::Pull(_) => OpClass::ReadWrite,
        Queue::Ack(_) | Queue::Nack(_) | Queue::Extend(_) => OpClass::ReadWrite,
        Queue::Browse(_) | Queue::Stats(_) | Queue::Read(_) => OpClass::Read,
        Queue::Purge(_) => OpClass::Clear,
    }
}

/// A session's id is its key; who gives it another one needs both. What is about more than one
/// session is about all of the space.
fn of_session(request: &Web<'_>, ask: &mut Ask<'_>) -> Result<(), Failure> {
    let class = OpClass::Session;
    match request {
        Web::Create(create) => of(class, create.id.0, ask),
        Web::Load(load) => of(class, load.id.0, ask),
        Web::Save(save) => of(class, save.id.0, ask),
        Web::Touch(touch) => of(class, touch.id.0, ask),
        Web::Destroy(destroy) => of(class, destroy.id.0, ask),
        Web::Index(index) => of(class, index.id.0, ask),
        Web::RenewId(renew) => {
            of(class, renew.old.0, ask)?;
            of(class, renew.new.0, ask)
        }
        Web::Find(_) | Web::Count(_) | Web::ListSessions(_) | Web::DestroyBy(_) => {
            of_all(class, ask)
        }
    }
}

fn of_catalog(request: &Catalog<'_>, ask: &mut Ask<'_>) -> Result<(), Failure> {
    let configure = |name| Asked { class: OpClass::Configure, name: Some(name), key: None };
    match request {
        Catalog::Create(create) => ask(configure(create.name)),
        Catalog::Alter(alter) => ask(configure(alter.name)),
        Catalog::Drop(drop) => ask(configure(drop.name)),
        Catalog::Describe(_) | Catalog::NodeStats(_) => of_all(OpClass::Monitor, ask),
        // RESOLVE asks when there is something to make, LIST and TOPOLOGY for each object in them.
        Catalog::Resolve(_)
        | Catalog::ListObjects(_)
        | Catalog::GetTopology(_)
        | Catalog::WatchTopology(_)
        | Catalog::Info(_)
        | Catalog::Health(_) => Ok(()),
    }
}
