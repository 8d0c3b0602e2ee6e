//! Transactions over two tables on a real directory in a process that is killed: what is found
//! afterwards is the state after one of them, none before the last that was acknowledged.
//!
//! Transaction `n` is a function of `n` and the state before it, so every state is known.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use isogrid_engine::env::split_mix;
use isogrid_engine::persist::{
    AtRest, DataDirectory, KeptTable, PersistConfig, PersistMode, Persistence, Preload,
};
use isogrid_engine::{Clock, Isolation, Joint, SystemClock, Table, TableConfig};
use isogrid_tests::harness::temporary;
use isogrid_tests::seeds;

use super::value;

const ROUNDS: &str = "ISOGRID_TRANSACTION_KILLS";
const ROUNDS_DEFAULT: u64 = 8;
/// Tells the test binary that it is the process to be killed: the mode and the directory.
const CHILD: &str = "ISOGRID_TRANSACTION_CHILD";
const SEGMENTS: u32 = 16;
const ACCOUNTS: usize = 4;
/// Account `n` is in the table `n` modulo their number.
const TABLES: [&str; 2] = ["left", "right"];
const BALANCE: i64 = 1_000;
/// So little that there is a checkpoint now and then.
const LOG_BYTES: u64 = 64 << 10;

/// Balance of each account, and the transaction that wrote it.
type State = [(i64, u64); ACCOUNTS];

const BEGIN: State = [(BALANCE, 0); ACCOUNTS];

/// What transaction `n` makes of a state: from one account to one, two or three others.
fn after(mut state: State, n: u64) -> State {
    let mut rng = n;
    let mut draw = |below: usize| usize::try_from(split_mix(&mut rng) % below as u64).unwrap();
    let (from, others) = (draw(ACCOUNTS), 1 + draw(ACCOUNTS - 1));
    for step in 1..=others {
        let amount = i64::try_from(draw(50)).unwrap();
        for (account, change) in [(from, -amount), ((from + step) % ACCOUNTS, amount)] {
            state[account] = (state[account].0 + change, n);
        }
    }
    state
}

/// The last transaction that a state has.
fn number(state: &State) -> u64 {
    state.iter().map(|(_, n)| *n).max().unwrap_or(0)
}

/// Keys in as many segments.
fn keys(table: &Table) -> [Vec<u8>; ACCOUNTS] {
    let mut found: Vec<(u32, Vec<u8>)> = Vec::new();
    for n in 0.. {
        let key = format!("account-{n}").into_bytes();
        let segment = table.hash(&key).segment();
        if found.iter().all(|(other, _)| *other != segment) {
            found.push((segment, key));
        }
        if found.len() == ACCOUNTS {
            break;
        }
    }
    found.into_iter().map(|(_, key)| key).collect::<Vec<_>>().try_into().unwrap()
}

fn encode((balance, n): (i64, u64)) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&balance.to_le_bytes());
    bytes[8..].copy_from_slice(&n.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> (i64, u64) {
    let (balance, n) = bytes.split_at(8);
    (i64::from_le_bytes(balance.try_into().unwrap()), u64::from_le_bytes(n.try_into().unwrap()))
}

fn open(path: &Path, mode: PersistMode) -> (DataDirectory, PersistConfig, Vec<KeptTable>) {
    let directory = DataDirectory::open(path).unwrap();
    let config = PersistConfig {
        log_bytes: LOG_BYTES,
        log_file_bytes: LOG_BYTES / 2,
        ..directory.config().unwrap()
    };
    let table = TableConfig { segments: Some(SEGMENTS), seed: 1, ..TableConfig::default() };
    let kept = TABLES.map(|name| {
        let table = Arc::new(Table::new(&table, SystemClock::new().now()).unwrap());
        KeptTable { name: name.to_owned(), table, mode, preload: Preload::All }
    });
    (directory, config, kept.into())
}

/// The process that is killed.
struct Bank {
    tables: Vec<Arc<Table>>,
    persistence: Persistence,
    sync: bool,
    keys: [Vec<u8>; ACCOUNTS],
}

impl Bank {
    /// Does the next transaction; its number, or `None` when others were first.
    fn step(&self, now: u64) -> Option<u64> {
        let mut joint = Joint::new(Isolation::Serializable, 0);
        let mut state = BEGIN;
        for (at, (key, account)) in self.keys.iter().zip(&mut state).enumerate() {
            let part = joint.part(&self.tables[at % TABLES.len()], now).ok()?;
            if let Some(entry) = part.get(key, now).unwrap() {
                *account = decode(&entry.value);
            }
        }
        let n = number(&state) + 1;
        for (at, (key, account)) in self.keys.iter().zip(after(state, n)).enumerate() {
            // The first one opens the accounts.
            if account.1 == n || n == 1 {
                let part = joint.part(&self.tables[at % TABLES.len()], now).ok()?;
                part.put(key, &value(&encode(account))).unwrap();
            }
        }
        joint.commit(now).ok().map(|_| n)
    }

    fn teller(&self, acknowledged: &AtomicU64) {
        let clock = SystemClock::new();
        loop {
            let since = self.persistence.moment();
            let Some(n) = self.step(clock.now()) else {
                std::thread::yield_now();
                continue;
            };
            let last = self.persistence.last();
            let kept = if self.sync {
                self.persistence.wait_durable(last)
            } else {
                self.persistence.flush(since, last)
            };
            kept.unwrap();
            acknowledged.fetch_max(n, Ordering::Relaxed);
            println!("{n}");
        }
    }
}

/// Not a test of its own: what [`Killed`] starts.
#[test]
fn child() {
    let Ok(what) = std::env::var(CHILD) else { return };
    let (mode, path) = what.split_once(' ').unwrap();
    let (directory, config, kept) = open(Path::new(path), PersistMode::parse(mode).unwrap());
    let tables: Vec<_> = kept.iter().map(|kept| Arc::clone(&kept.table)).collect();
    let sync = kept[0].mode == PersistMode::Sync;
    let (persistence, _) = Persistence::open(config, kept, Arc::new(SystemClock::new())).unwrap();
    directory.note_begun().unwrap();
    let bank = Bank { keys: keys(&tables[0]), tables, persistence, sync };
    println!("ready");
    let acknowledged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| bank.teller(&acknowledged));
        }
    });
}

/// A process that does transactions until it is killed.
struct Killed(Child);

impl Killed {
    fn start(mode: &str, path: &Path) -> Killed {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "kill::child", "--nocapture"]);
        command.env(CHILD, format!("{mode} {}", path.display()));
        Killed(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Kills it after a while; the last transaction that it acknowledged, if it got as far as to
    /// do any.
    fn end(mut self, begins: bool, pause: Duration) -> Option<u64> {
        let stdout = self.0.stdout.take().unwrap();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut last = None;
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                match line.trim().parse::<u64>() {
                    Ok(n) => last = last.max(Some(n)),
                    Err(_) if line.ends_with("ready") => drop(ready.send(())),
                    Err(_) => {}
                }
            }
            last
        });
        if begins {
            is_ready.recv().expect("the process ended before it was ready");
        }
        std::thread::sleep(pause);
        let early = self.0.try_wait().unwrap();
        assert!(early.is_none(), "the process ended by itself: {early:?}");
        self.0.kill().unwrap();
        self.0.wait().unwrap();
        reader.join().unwrap()
    }
}

/// What a directory holds; nothing in it is changed.
fn found(path: &Path, mode: &str) -> State {
    let (_directory, config, kept) = open(path, PersistMode::parse(mode).unwrap());
    let names = TABLES.map(str::to_owned);
    let found = AtRest::read(config, &names, None, Arc::new(SystemClock::new())).unwrap();
    let mut state = BEGIN;
    for (at, (key, account)) in keys(&kept[0].table).iter().zip(&mut state).enumerate() {
        let table = found.tables().iter().find(|kept| kept.name == TABLES[at % TABLES.len()]);
        if let Some(bytes) = super::get(&table.unwrap().table, key) {
            *account = decode(&bytes);
        }
    }
    state
}

fn kill_loop(mode: &'static str) {
    let rounds = seeds::number(ROUNDS, ROUNDS_DEFAULT);
    let seed = seeds::number("ISOGRID_SEED", 1);
    let path: PathBuf = temporary("transactions");
    let (mut rng, mut known, mut acknowledged) = (seed, BEGIN, 0);
    for round in 0..rounds {
        let pause = Duration::from_millis(split_mix(&mut rng) % 120);
        // Now and then while it reads what was kept.
        let begins = round == 0 || !split_mix(&mut rng).is_multiple_of(4);
        let pause = if begins { pause } else { pause / 8 };
        let last = Killed::start(mode, &path).end(begins, pause);
        acknowledged = acknowledged.max(last.unwrap_or(0));
        let state = found(&path, mode);
        let (n, from) = (number(&state), number(&known));
        let replay = format!("{ROUNDS}={rounds} {}", seeds::replay("transaction::kill::", seed));
        let sum: i64 = state.iter().map(|(balance, _)| balance).sum();
        assert_eq!(sum, BALANCE * 4, "round {round}: {state:?}\n{replay}");
        assert!(n >= acknowledged.max(from), "{n} of {acknowledged} in round {round}\n{replay}");
        known = (from + 1..=n).fold(known, after);
        assert_eq!(state, known, "round {round}: not the state after {n}\n{replay}");
    }
    eprintln!(
        "{mode}: {rounds} kills, {acknowledged} transactions acknowledged, none torn or lost"
    );
    assert!(acknowledged > rounds * 3, "only {acknowledged} transactions");
    std::fs::remove_dir_all(&path).unwrap();
}

#[test]
fn async_transactions_survive_kill_9_whole() {
    kill_loop("async");
}

#[test]
fn sync_transactions_survive_kill_9_whole() {
    kill_loop("sync");
}
