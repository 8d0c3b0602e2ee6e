//! Who may do what: users and roles, logins, the one question before each request, and the record
//! of it all. No sockets and no protocol in here but for [`memcached`]'s table.
//!
//! For a protocol that is to be guarded:
//! - [`Security::is_required`] says whether a new connection has to log in;
//! - [`Security::wait`], [`Security::password`], [`Security::scram`], [`Security::succeeded`] and
//!   [`Security::failed`] carry a login, [`Accounts`] say whom it lets in;
//! - [`allow`] is asked before each request, with the [`Identity`] that the connection keeps;
//! - [`Security::generation`] tells that users have changed; [`Accounts::again`] what that means
//!   for an identity.

pub mod access;
pub mod accounts;
pub mod audit;
pub mod chain;
pub mod change;
pub mod first_user;
pub mod glob;
pub mod hex;
pub mod limiter;
pub mod memcached;
pub mod passwords;
pub mod permission;
pub mod plain;
pub mod pool;
pub mod random;
pub mod role;
pub mod users;
pub mod users_file;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use isogrid_wire::scram::{Challenge, Hello, Verifier};
use tokio::sync::oneshot;

pub use access::{Identity, OpClass, Way, allow, allow_some};
pub use accounts::{Accounts, Source};
use audit::{Audit, Event};
use limiter::{Limiter, Wait};
use pool::{Busy, Pool};
use users_file::UsersFileError;

/// When logins are required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Never.
    Off,
    /// As soon as there is a user.
    Auto,
    /// Always.
    On,
}

/// What a node is told about its security.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// When logins are required.
    pub mode: Mode,
    /// Where users come from; `None` when there is no place for them.
    pub source: Option<Source>,
    /// Where the audit log is; `None` for none.
    pub audit: Option<PathBuf>,
}

/// Where a login comes from, and who it is about.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// Now, Unix ms.
    pub now: u64,
    /// The name that is claimed.
    pub user: &'a [u8],
    /// The client's address; `None` on a unix socket.
    pub peer: Option<IpAddr>,
    /// How.
    pub way: Way,
}

/// The threads and the log that logins need.
struct Active {
    pool: Pool,
    audit: Option<Audit>,
}

impl Active {
    fn start(settings: &Settings) -> Result<Self, UsersFileError> {
        let io = |path: PathBuf| |source| UsersFileError::Io { path, source };
        let audit = settings.audit.as_ref();
        let audit = audit.map(|path| {
            let folder = path.parent().map_or(Ok(()), users_file::create_private_folder);
            folder.and_then(|()| Audit::open(path)).map_err(io(path.clone()))
        });
        let pool = Pool::start().map_err(io("the threads that check passwords".into()))?;
        Ok(Active { pool, audit: audit.transpose()? })
    }
}

/// The security of a node.
pub struct Security {
    settings: Settings,
    accounts: RwLock<Arc<Accounts>>,
    required: AtomicBool,
    generation: AtomicU64,
    /// What decoys are made of when no file says.
    decoy: [u8; 32],
    limiter: Mutex<Limiter>,
    /// What is there once logins are required.
    active: OnceLock<Active>,
    /// Logins tried.
    pub logins: AtomicU64,
    /// Logins that failed.
    pub failures: AtomicU64,
    /// Requests that were denied.
    pub denied: AtomicU64,
}

impl Security {
    /// Reads the users and opens the audit log.
    ///
    /// # Errors
    /// When a file cannot be used, or the system has no threads to give.
    pub fn open(settings: Settings) -> Result<Self, UsersFileError> {
        let mut accounts = match (&settings.source, settings.mode) {
            (Some(source), Mode::Auto | Mode::On) => Accounts::read(source)?,
            _ => Accounts::Users(users::Users::default()),
        };
        if let (Mode::On, true, Some(Source::Users(path))) =
            (settings.mode, accounts.is_empty(), &settings.source)
        {
            first_user::create(path)?;
            accounts = Accounts::read(&Source::Users(path.clone()))?;
        }
        let required = is_required(settings.mode, &accounts);
        let active = OnceLock::new();
        if required {
            let _ = active.set(Active::start(&settings)?);
        }
        Ok(Security {
            settings,
            accounts: RwLock::new(Arc::new(accounts)),
            required: AtomicBool::new(required),
            generation: AtomicU64::new(0),
            decoy: random::bytes(),
            limiter: Mutex::default(),
            active,
            logins: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            denied: AtomicU64::new(0),
        })
    }

    /// Whether a new connection has to log in.
    #[must_use]
    pub fn is_required(&self) -> bool {
        self.required.load(Ordering::Acquire)
    }

    /// Where users come from, if there is anywhere to look.
    #[must_use]
    pub fn source(&self) -> Option<&Source> {
        self.settings.source.as_ref().filter(|_| self.settings.mode != Mode::Off)
    }

    /// Everybody who may log in now.
    #[must_use]
    pub fn accounts(&self) -> Arc<Accounts> {
        Arc::clone(&self.accounts.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes each time that the accounts do.
    #[inline]
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Reads the file of users again; whether anything changed. With an error all stays as it was.
    ///
    /// # Errors
    /// When the file cannot be read, or has something wrong in it.
    pub fn reload(&self, now: u64) -> Result<bool, UsersFileError> {
        let Some(source) = self.source() else { return Ok(false) };
        let accounts = Accounts::read(source)?;
        if *self.accounts() == accounts {
            return Ok(false);
        }
        // Once logins were required they stay so: deleting the last user opens nothing.
        let required = self.is_required() || is_required(self.settings.mode, &accounts);
        if required && self.active.get().is_none() {
            let _ = self.active.set(Active::start(&self.settings)?);
        }
        *self.accounts.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(accounts);
        self.required.store(required, Ordering::Release);
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.record(&Event { time: now, event: "accounts_changed", ..Event::default() });
        Ok(true)
    }

    /// How long a login has to wait before it is checked.
    pub fn wait(&self, attempt: &Attempt<'_>) -> Wait {
        let user = accounts::name_hash(attempt.user);
        self.limiter().wait(attempt.now, &user, attempt.peer)
    }

    /// Checks a password against `accounts` on a thread of its own; the answer arrives at the
    /// receiver.
    ///
    /// # Errors
    /// [`Busy`] when too many are waiting already.
    pub fn password(
        &self,
        accounts: &Arc<Accounts>,
        user: &[u8],
        password: &[u8],
    ) -> Result<oneshot::Receiver<Option<Identity>>, Busy> {
        let (accounts, decoy) = (Arc::clone(accounts), self.decoy());
        let (user, password) = (user.to_owned(), password.to_owned());
        let pool = self.active.get().ok_or(Busy)?;
        pool.pool.run(move || accounts.with_password(&user, &password, &decoy))
    }

    /// Goes on with a SCRAM login. When it is finished, [`Accounts::named`] says who it
    /// was; the user may be gone by then.
    #[must_use]
    pub fn scram(&self, hello: Hello) -> Challenge {
        let verifier: Verifier = self.accounts().verifier(hello.user(), &self.decoy());
        hello.challenge(verifier, &random::bytes())
    }

    /// Notes that a login succeeded.
    pub fn succeeded(&self, attempt: &Attempt<'_>) {
        self.logins.fetch_add(1, Ordering::Relaxed);
        self.record_attempt(attempt, "login", "");
    }

    /// Notes that a login failed, which slows down the next ones.
    pub fn failed(&self, attempt: &Attempt<'_>, why: &str) {
        self.logins.fetch_add(1, Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed);
        let user = accounts::name_hash(attempt.user);
        self.limiter().failed(attempt.now, &user, attempt.peer);
        self.record_attempt(attempt, "login_failed", why);
    }

    /// Notes that a login was refused without a check, which tells nobody whether it was right and
    /// slows nothing down.
    pub fn refused(&self, attempt: &Attempt<'_>, why: &str) {
        self.logins.fetch_add(1, Ordering::Relaxed);
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.record_attempt(attempt, "login_failed", why);
    }

    /// Writes a line to the audit log, if there is one.
    pub fn record(&self, event: &Event<'_>) {
        if let Some(audit) = self.audit() {
            audit.record(event);
        }
    }

    /// The audit log.
    #[must_use]
    pub fn audit(&self) -> Option<&Audit> {
        self.active.get()?.audit.as_ref()
    }

    fn record_attempt(&self, attempt: &Attempt<'_>, event: &'static str, why: &str) {
        let Attempt { now, user, peer, way } = *attempt;
        // A password that was typed where the name belongs must not be kept: a name that nobody
        // has is not shown.
        let known = std::str::from_utf8(user).ok();
        let known = known.filter(|name| event == "login" || self.is_known(name));
        let (user, way) = (known.unwrap_or("?"), way.name());
        self.record(&Event { time: now, event, user, peer, way, why, ..Event::default() });
    }

    fn is_known(&self, name: &str) -> bool {
        match &*self.accounts() {
            accounts @ Accounts::Users(_) => accounts.named(name, Way::Plain).is_some(),
            Accounts::Passwords(passwords, _) => passwords.has(name.as_bytes()),
        }
    }

    fn decoy(&self) -> [u8; 32] {
        self.accounts().decoy().unwrap_or(self.decoy)
    }

    fn limiter(&self) -> std::sync::MutexGuard<'_, Limiter> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_required(mode: Mode, accounts: &Accounts) -> bool {
    match mode {
        Mode::Off => false,
        Mode::On => true,
        Mode::Auto => !accounts.is_empty(),
    }
}
