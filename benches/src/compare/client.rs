//! `client`: what the Rust client promises. A hit of its near cache, and callers of one key that is
//! not there: one computes, the others are woken with its result.

use std::io::Error as IoError;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use isogrid_wire::client::{Client, Options};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::Result;
use super::bars::{Bar, FLIGHT_COMPUTED, FLIGHT_WOKEN_MS, NEAR_HIT_NS};
use super::cli::ClientArgs;
use super::clock::now;
use super::lab::{Lab, progress};
use super::load::empty_histogram;
use super::product::Product;
use super::server::{Server, free_address};
use super::statistics::{median, minimum};
use super::table::{Cell, Table};

const COLUMNS: [&str; 6] = ["what", "measured", "best", "unit", "bar", "verdict"];
const LIMIT_MIB: u64 = 64;
/// Hits of the near cache in one round.
const HITS: u32 = 200_000;
/// Clients that callers share; each has one connection.
const CLIENTS: usize = 3;
/// How long computing takes: all callers wait by then.
const COMPUTING: Duration = Duration::from_millis(300);

/// Measures both over and over.
pub fn run(lab: &Lab, arguments: &ClientArgs) -> Result<Table> {
    let ClientArgs { rounds, callers } = *arguments;
    let address = free_address()?;
    let added = format!("--native {address}");
    let server = lab.start_adding(Product::Isogrid, LIMIT_MIB, &added)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut all = Rounds::default();
    for round in 1..=rounds {
        progress(&format!("client: round {round} of {rounds}"));
        all.hit_ns.push(runtime.block_on(near_hit_ns(address))?);
        all.fly(&runtime, address, callers, round)?;
    }
    drop::<Server>(server);
    let mut table = Table::new(
        format!("client: {rounds} rounds, {callers} callers of one key over {CLIENTS} connections"),
        &COLUMNS,
    );
    all.report(&mut table);
    Ok(table)
}

/// What the rounds brought.
#[derive(Default)]
struct Rounds {
    hit_ns: Vec<f64>,
    computed: Vec<f64>,
    woken_ms: Vec<f64>,
}

impl Rounds {
    fn fly(
        &mut self,
        runtime: &Runtime,
        address: SocketAddr,
        callers: usize,
        round: usize,
    ) -> Result<()> {
        let (computed, woken) = runtime.block_on(flight(address, callers, round))?;
        self.computed.push(computed as f64);
        self.woken_ms.push(woken.value_at_quantile(0.99) as f64 / 1e6);
        Ok(())
    }

    fn report(self, table: &mut Table) {
        let most = self.computed.iter().copied().fold(0.0, f64::max);
        for (what, all, unit, bar, decimals) in [
            ("near-cache hit", self.hit_ns, "ns", NEAR_HIT_NS, 0),
            ("computed, the most of a round", vec![most], "times", FLIGHT_COMPUTED, 0),
            ("woken after the result, p99", self.woken_ms, "ms", FLIGHT_WOKEN_MS, 2),
        ] {
            let measured: Option<f64> = median(all.iter().copied());
            let judge = |bar: Bar| measured.map(|it| Cell::Verdict(bar.judge(it)));
            table.push([
                what.into(),
                Cell::number(measured, decimals),
                Cell::number(minimum(all), decimals),
                unit.into(),
                Cell::number(Some(bar.bar), decimals),
                judge(bar).unwrap_or(Cell::Empty),
            ]);
        }
    }
}

async fn connect(address: SocketAddr) -> Result<Client> {
    Ok(Client::connect([address.to_string()], Options::default()).await?)
}

/// Nanoseconds of a read that a copy answers.
async fn near_hit_ns(address: SocketAddr) -> Result<f64> {
    let client = connect(address).await?;
    let cache = client.cache("default").must_exist().near(16).open().await?;
    cache.put(b"near", &[b'v'; 100]).await?;
    let stats = || cache.near_stats().unwrap_or_default();
    while stats().hits == 0 {
        cache.get(b"near").await?;
        tokio::task::yield_now().await;
    }
    let before = (stats(), now());
    for _ in 0..HITS {
        cache.get(b"near").await?;
    }
    let elapsed = now() - before.1;
    match stats().hits - before.0.hits == u64::from(HITS) {
        true => Ok(elapsed.as_nanos() as f64 / f64::from(HITS)),
        false => Err("reads of a copy went to the server".into()),
    }
}

/// How often the key was computed, and the time from its result until each caller had it, ns.
async fn flight(
    address: SocketAddr,
    callers: usize,
    round: usize,
) -> Result<(u64, Histogram<u64>)> {
    let mut memos = Vec::new();
    for _ in 0..CLIENTS {
        let client = connect(address).await?;
        let cache = client.cache("default").must_exist().open().await?;
        memos.push(client.memo(&cache).open().await?);
    }
    let computed = Arc::new(AtomicU64::new(0));
    let result_at = Arc::new(OnceLock::new());
    let key = format!("flight-{round}");
    let mut waiting = JoinSet::new();
    for memo in memos.iter().cycle().take(callers) {
        let (memo, key) = (memo.clone(), key.clone());
        let (computed, result_at) = (Arc::clone(&computed), Arc::clone(&result_at));
        let compute = move || async move {
            computed.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(COMPUTING).await;
            result_at.get_or_init(now);
            Ok::<_, IoError>(b"result".to_vec())
        };
        waiting.spawn(async move { memo.get(key.as_bytes(), compute).await.map(|_| now()) });
    }
    let mut landed: Vec<Instant> = Vec::new();
    while let Some(caller) = waiting.join_next().await {
        landed.push(caller?.map_err(|error| format!("no result: {error}"))?);
    }
    let result_at = *result_at.get().ok_or("nobody computed")?;
    let mut woken = empty_histogram()?;
    for at in landed {
        let late = at.saturating_duration_since(result_at);
        woken.saturating_record(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
    }
    Ok((computed.load(Ordering::Relaxed), woken))
}
