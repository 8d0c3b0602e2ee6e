//! Transactions over two caches while the server is killed: what is found afterwards is all of one
//! or nothing of it, and everything that was acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use isogrid_tests::seeds;
use isogrid_wire::client::transaction::Commit;
use isogrid_wire::client::{Cache, Cause, Client, Error};
use isogrid_wire::native::ErrorCode;
use isogrid_wire::native::tx::Isolation;

use super::{Place, client};

const KILLS: &str = "ISOGRID_TRANSFER_KILLS";
const KILLS_DEFAULT: u64 = 4;
const MOVERS: u64 = 4;
const ACCOUNTS: u64 = 3;
const BALANCE: i64 = 1_000;

/// What a mover was told.
#[derive(Default)]
struct Told {
    /// The last transfer that it was told is done.
    done: u64,
    /// The last that it tried.
    tried: u64,
}

/// Two caches with accounts of the same names, and how many transfers each mover has done.
#[derive(Clone)]
struct Bank {
    client: Client,
    left: Cache,
    right: Cache,
}

fn number(bytes: Option<Vec<u8>>) -> i64 {
    bytes.map_or(0, |bytes| i64::from_le_bytes(bytes.try_into().unwrap()))
}

impl Bank {
    async fn open(address: &str, persist: &str) -> Bank {
        let client = client(address).await;
        let cache = |name| client.cache(name).option("persist", persist).open();
        let (left, right) = (cache("left").await.unwrap(), cache("right").await.unwrap());
        Bank { client, left, right }
    }

    /// Takes from an account in one cache what it adds to one in the other, and says in both how far
    /// its mover is.
    async fn transfer(&self, mover: u64, n: u64) -> Result<Commit, Error> {
        let (from, to) =
            if n.is_multiple_of(2) { (&self.left, &self.right) } else { (&self.right, &self.left) };
        let key = |account: u64| format!("account {}", account % ACCOUNTS).into_bytes();
        let (mine, account, other) = (format!("mover {mover}"), key(n), key(n + mover));
        // Half of them are kept by the client, half by the server.
        if mover.is_multiple_of(2) {
            let tx = self.client.transaction();
            let (a, b) = (tx.get(from, &account).await?, tx.get(to, &other).await?);
            tx.put(from, &account, &(number(a) - 1).to_le_bytes());
            tx.put(to, &other, &(number(b) + 1).to_le_bytes());
            for cache in [from, to] {
                tx.put(cache, mine.as_bytes(), &n.to_le_bytes());
            }
            return tx.commit().await;
        }
        let tx = self.client.begin(Isolation::Snapshot).await?;
        let (a, b) = (tx.get(from, &account).await?, tx.get(to, &other).await?);
        tx.put(from, &account, &(number(a) - 1).to_le_bytes()).await?;
        tx.put(to, &other, &(number(b) + 1).to_le_bytes()).await?;
        for cache in [from, to] {
            tx.put(cache, mine.as_bytes(), &n.to_le_bytes()).await?;
        }
        tx.commit().await
    }

    async fn moves(self, mover: u64, stop: Arc<AtomicBool>) -> Told {
        let mut told = Told::default();
        while !stop.load(Ordering::Relaxed) {
            told.tried += 1;
            match self.transfer(mover, told.tried).await {
                Ok(Commit::Done(_)) => told.done = told.tried,
                Ok(Commit::Conflict(keys)) => {
                    assert!(keys.iter().all(|key| ["left", "right"].contains(&key.cache.as_str())));
                    assert!(!keys.is_empty() && keys.iter().all(|key| key.key.starts_with(b"acc")));
                    told.tried -= 1;
                }
                // What has changed meanwhile keeps the second cache from joining.
                Err(error) if error.code() == Some(ErrorCode::TxConflict) => told.tried -= 1,
                // The server was killed, and it may be done or not.
                Err(error) if error.is_unknown() => break,
                Err(error) => {
                    assert_ne!(error.cause, Cause::Closed, "{error}");
                    told.tried -= 1;
                }
            }
        }
        told
    }

    async fn check(&self, told: &[Told], replay: &str) {
        let audit = self.client.begin(Isolation::Snapshot).await.unwrap();
        let mut sum = 0;
        for account in 0..ACCOUNTS {
            let key = format!("account {account}").into_bytes();
            for cache in [&self.left, &self.right] {
                sum += number(audit.get(cache, &key).await.unwrap());
            }
        }
        let accounts = i64::try_from(ACCOUNTS).unwrap();
        assert_eq!(sum, 2 * accounts * BALANCE, "half of a transfer\n{replay}");
        for (mover, told) in (0..MOVERS).zip(told) {
            let key = format!("mover {mover}").into_bytes();
            let left = number(audit.get(&self.left, &key).await.unwrap());
            let right = number(audit.get(&self.right, &key).await.unwrap());
            assert_eq!(left, right, "half of a transfer of mover {mover}\n{replay}");
            let found = u64::try_from(left).unwrap();
            let range = told.done..=told.tried;
            assert!(range.contains(&found), "mover {mover}: {found} of {range:?}\n{replay}");
        }
    }
}

async fn kill_loop(persist: &'static str) {
    let kills = seeds::number(KILLS, KILLS_DEFAULT);
    let name = format!("transfers::{persist}");
    let replay = format!("{KILLS}={kills} {}", seeds::replay(&name, 1));
    let place = Place::new("transfers");
    let mut server = place.start();
    let bank = Bank::open(&place.native, persist).await;
    for account in 0..ACCOUNTS {
        let key = format!("account {account}").into_bytes();
        for cache in [&bank.left, &bank.right] {
            assert!(cache.put(&key, &BALANCE.to_le_bytes()).await.unwrap().is_stored());
        }
    }
    let (mut done, mut bank) = (0, bank);
    for round in 0..kills {
        // Each round has movers that begin at 0 again.
        for mover in 0..MOVERS {
            for cache in [&bank.left, &bank.right] {
                cache.put(format!("mover {mover}").as_bytes(), &0_u64.to_le_bytes()).await.unwrap();
            }
        }
        let stop = Arc::new(AtomicBool::new(false));
        let moves = |mover| bank.clone().moves(mover, Arc::clone(&stop));
        let movers: Vec<_> = (0..MOVERS).map(|mover| tokio::spawn(moves(mover))).collect();
        tokio::time::sleep(Duration::from_millis(120 + 70 * round)).await;
        place.kill(&mut server);
        server = place.start();
        stop.store(true, Ordering::Relaxed);
        let mut told = Vec::new();
        for mover in movers {
            told.push(mover.await.unwrap());
        }
        bank = Bank::open(&place.native, persist).await;
        bank.check(&told, &replay).await;
        done += told.iter().map(|told| told.done).sum::<u64>();
    }
    eprintln!("{persist}: {kills} kills, {done} transfers acknowledged, none halved or lost");
    assert!(done > kills * MOVERS, "only {done} transfers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_over_caches_that_are_synced_survive_kill_9_whole() {
    kill_loop("sync").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_over_caches_that_are_written_survive_kill_9_whole() {
    kill_loop("async").await;
}
