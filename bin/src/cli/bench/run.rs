//! The phases of a run, on threads that each have connections of their own.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use super::choose::{Choose, Requests, Traffic};
use super::clock::Clock;
use super::codec::Broken;
use super::connection::{self, Connection, Shape, Target, Work};
use super::schedule::{Arrivals, Limit, Schedule};
use super::tally::Tally;
use crate::cli::output::bars;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    pub target: Target,
    pub connections: u64,
    pub depth: usize,
    pub threads: usize,
    /// Requests a second; `None` is a closed loop.
    pub rate: Option<u64>,
    pub traffic: Traffic,
    pub shape: Shape,
    pub seed: u64,
    /// Whether each key is written once before.
    pub fill: bool,
    pub warmup: Duration,
    pub limit: Limit,
}

/// What came of it.
pub struct Outcome {
    pub fill: Tally,
    pub warmup: Tally,
    pub measured: Tally,
    /// The share of the time that the busiest thread of the generator was busy.
    pub busy: f64,
}

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Fill,
    Warmup,
    Measured,
}

/// A thread of the generator, and its connections with their numbers.
struct Crew {
    runtime: Runtime,
    connections: Vec<(u64, Option<Connection>)>,
}

/// Runs all phases.
pub fn run(plan: &Plan) -> Result<Outcome, Broken> {
    let mut crews = connect(plan)?;
    let mut go = |phase| together(plan, &mut crews, phase);
    let (fill, _) = if plan.fill { go(Phase::Fill)? } else { (Tally::default(), 0.0) };
    let (warmup, _) =
        if plan.warmup.is_zero() { (Tally::default(), 0.0) } else { go(Phase::Warmup)? };
    let (measured, busy) = go(Phase::Measured)?;
    Ok(Outcome { fill, warmup, measured, busy })
}

fn connect(plan: &Plan) -> Result<Vec<Crew>, Broken> {
    let threads = plan.threads as u64;
    let crew = |thread: u64| {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(system)?;
        let mut connections = Vec::new();
        for number in (thread..plan.connections).step_by(plan.threads) {
            let open = runtime.block_on(Connection::open(&plan.target))?;
            connections.push((number, Some(open)));
        }
        Ok(Crew { runtime, connections })
    };
    (0..threads).map(crew).collect()
}

/// One phase on all threads at once; what came of it, and how busy the busiest thread was.
fn together(plan: &Plan, crews: &mut [Crew], phase: Phase) -> Result<(Tally, f64), Broken> {
    let bar = phase.bar(plan);
    let clock = Clock::start();
    let results: Vec<_> = std::thread::scope(|scope| {
        let start = |crew| {
            let bar = bar.clone();
            scope.spawn(move || alone(plan, crew, phase, clock, bar))
        };
        let running: Vec<_> = crews.iter_mut().map(start).collect();
        running.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
    });
    bar.finish_and_clear();
    let (mut all, mut busiest) = (Tally::default(), 0.0_f64);
    for result in results {
        let panicked = |_| Broken("a thread of the generator has panicked".to_owned());
        let (tally, busy) = result.map_err(panicked)??;
        all.add(&tally);
        busiest = busiest.max(busy);
    }
    Ok((all, busiest))
}

/// One phase on one thread.
fn alone(
    plan: &Plan,
    crew: &mut Crew,
    phase: Phase,
    clock: Clock,
    bar: ProgressBar,
) -> Result<(Tally, f64), Broken> {
    let metrics = crew.runtime.metrics();
    let (began, busy_before) = (clock.now(), metrics.worker_total_busy_duration(0));
    let stage = Rc::new(Stage { plan: plan.clone(), phase, clock, tally: RefCell::default(), bar });
    let tasks = LocalSet::new();
    let spawn = |(number, open)| tasks.spawn_local(Rc::clone(&stage).one(number, open));
    let running: Vec<_> = std::mem::take(&mut crew.connections).into_iter().map(spawn).collect();
    crew.connections = crew.runtime.block_on(tasks.run_until(async {
        let mut connections = Vec::with_capacity(running.len());
        for task in running {
            connections.push(task.await.map_err(system)?);
        }
        Ok(connections)
    }))?;
    let mut tally = stage.tally.take();
    tally.elapsed = clock.now();
    let busy = metrics.worker_total_busy_duration(0).saturating_sub(busy_before);
    Ok((tally.clone(), busy.as_secs_f64() / (tally.elapsed - began).as_secs_f64().max(1e-9)))
}

/// What the connections of a thread share in one phase.
struct Stage {
    plan: Plan,
    phase: Phase,
    clock: Clock,
    tally: RefCell<Tally>,
    bar: ProgressBar,
}

impl Stage {
    /// The part of one connection, which comes back unless it could not be made again.
    async fn one(
        self: Rc<Self>,
        number: u64,
        mut open: Option<Connection>,
    ) -> (u64, Option<Connection>) {
        let Stage { plan, phase, clock, tally, .. } = &*self;
        let schedule = phase.schedule(plan, number);
        let requests = phase.requests(plan, number);
        let progress = |answers| self.show(answers);
        let (shape, progress, clock) = (&plan.shape, &progress, *clock);
        let is_open = phase.is_open(plan);
        let mut work = Work { schedule, requests, tally, shape, clock, is_open, progress };
        let result = connection::run(&plan.target, &mut open, &mut work).await;
        let mut tally = tally.borrow_mut();
        tally.unsent += work.schedule.unsent();
        if let Err(Broken(why)) = result {
            tally.broke(&why, &[]);
        }
        (number, open)
    }

    fn show(&self, answers: u64) {
        if self.phase.limit(&self.plan, 0).time.is_some() {
            self.bar.set_position(millis(self.clock.now()));
        } else {
            self.bar.inc(answers);
        }
    }
}

impl Phase {
    /// When the part of a connection ends.
    fn limit(self, plan: &Plan, number: u64) -> Limit {
        let part = |all: u64| all / plan.connections + u64::from(number < all % plan.connections);
        match self {
            Phase::Fill => Limit { requests: Some(part(plan.traffic.keys)), time: None },
            Phase::Warmup => Limit { requests: None, time: Some(plan.warmup) },
            Phase::Measured => {
                Limit { requests: plan.limit.requests.map(part), time: plan.limit.time }
            }
        }
    }

    /// Whether requests come at a rate of their own.
    fn is_open(self, plan: &Plan) -> bool {
        plan.rate.is_some() && self != Phase::Fill
    }

    fn schedule(self, plan: &Plan, number: u64) -> Schedule {
        let limit = self.limit(plan, number);
        match plan.rate.filter(|_| self.is_open(plan)) {
            Some(rate) => {
                let arrivals = Arrivals { rate, first: number, stride: plan.connections };
                Schedule::open(arrivals, plan.depth, limit)
            }
            None => Schedule::closed(plan.depth, limit),
        }
    }

    /// The measured requests are the same whatever was sent before.
    fn requests(self, plan: &Plan, number: u64) -> Requests {
        let choose = |seed| Choose::new(plan.traffic.clone(), seed, number);
        match self {
            Phase::Fill => {
                Requests::Fill { sizes: choose(!plan.seed), next: number, stride: plan.connections }
            }
            Phase::Warmup => Requests::Drawn(choose(!plan.seed)),
            Phase::Measured => Requests::Drawn(choose(plan.seed)),
        }
    }

    /// On stderr, where that is a terminal.
    fn bar(self, plan: &Plan) -> ProgressBar {
        let limit = self.limit(plan, 0);
        let length = match (limit.time, self) {
            (Some(time), _) => millis(time),
            (None, Phase::Fill) => plan.traffic.keys,
            (None, _) => plan.limit.requests.unwrap_or(1),
        };
        let bar = ProgressBar::with_draw_target(Some(length), bars());
        // A template that does not parse would only cost the bar its looks.
        let style = ProgressStyle::with_template("{msg:9} {bar:40} {percent}% {eta} left");
        bar.set_style(style.unwrap_or(ProgressStyle::default_bar()));
        bar.set_message(match self {
            Phase::Fill => "filling",
            Phase::Warmup => "warming",
            Phase::Measured => "measuring",
        });
        bar
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn system(error: impl std::fmt::Display) -> Broken {
    Broken(error.to_string())
}
