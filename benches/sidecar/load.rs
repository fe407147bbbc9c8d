//! The load: a closed loop of clients with one call in flight each, on carts drawn at random.
//!
//! It runs in a process of its own, on one thread, so that its processor time can be told from that of what it measures.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tokio::task::LocalSet;

use crate::caller::{Caller, Door};
use crate::kinds::Kind;
use crate::proc_stat::cpu_time;

/// Carts whose contents are compared before and after, at most.
const CHECKED_MAX: usize = 100;

/// One cell: what to call, how, for how long.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub target: SocketAddr,
    pub door: Door,
    /// What the carts' ids begin with: the same prefix means the same carts.
    pub prefix: String,
    pub carts: usize,
    /// `None`: carts.
    pub kind: Option<Kind>,
    pub clients: usize,
    pub warm_up: Duration,
    pub measured: Duration,
    /// Processes whose processor time is taken over the measured stretch.
    pub watched: Vec<u32>,
}

/// What a cell found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Calls answered within the measured stretch.
    pub calls: u64,
    pub calls_per_s: f64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub max_us: u64,
    /// Processor microseconds a call, in the order of [`Plan::watched`].
    pub cpu_us: Vec<f64>,
    pub load_cpu_us: f64,
    /// Calls answered from the first to the last, warm-up included.
    pub calls_in_all: u64,
}

/// Runs the plan.
///
/// # Errors
/// When a call fails, or a cart does not hold exactly what was put into it.
pub async fn run(plan: Plan) -> anyhow::Result<Outcome> {
    let caller = Rc::new(Caller::connect(&plan).await?);
    let checked = plan.carts.min(CHECKED_MAX);
    let mut before = Vec::with_capacity(checked);
    for cart in 0..checked {
        before.push(caller.pieces(cart).await?);
    }

    let (outcome, added) = drive(&plan, &caller).await?;

    for (cart, before) in before.into_iter().enumerate() {
        let after = caller.pieces(cart).await?;
        if plan.kind == Some(Kind::Action) {
            continue; // it keeps nothing
        }
        let (held, sent) = (after - before, added[cart]);
        ensure!(held == sent, "cart {}{cart} gained {held} pieces, {sent} were acknowledged", plan.prefix);
    }
    Ok(outcome)
}

/// What the clients have seen so far.
struct Tally {
    measuring: bool,
    latencies: Histogram<u64>,
    /// Acknowledged calls of each cart.
    added: Vec<u64>,
    calls: u64,
}

async fn drive(plan: &Plan, caller: &Rc<Caller>) -> anyhow::Result<(Outcome, Vec<u64>)> {
    let tally = Rc::new(RefCell::new(Tally {
        measuring: false,
        latencies: Histogram::new(3)?,
        added: vec![0; plan.carts],
        calls: 0,
    }));
    let end = Instant::now() + plan.warm_up + plan.measured;
    let local = LocalSet::new();
    let clients: Vec<_> = (0..plan.clients)
        .map(|client| local.spawn_local(run_client(client, end, caller.clone(), tally.clone())))
        .collect();
    let stretch = local.run_until(watch(plan, &tally)).await;
    local.await;
    for client in clients {
        client.await??;
    }

    let tally = Rc::into_inner(tally).expect("all clients have ended").into_inner();
    let per_call = |spent: &Duration| spent.as_secs_f64() * 1e6 / stretch.calls.max(1) as f64;
    let outcome = Outcome {
        calls: stretch.calls,
        calls_per_s: stretch.calls as f64 / stretch.lasted.as_secs_f64(),
        p50_us: tally.latencies.value_at_quantile(0.5),
        p99_us: tally.latencies.value_at_quantile(0.99),
        max_us: tally.latencies.max(),
        cpu_us: stretch.cpu.iter().map(per_call).collect(),
        load_cpu_us: per_call(&stretch.own_cpu),
        calls_in_all: tally.calls,
    };
    ensure!(outcome.calls > 0, "no call was answered within {:?}", plan.measured);
    Ok((outcome, tally.added))
}

async fn run_client(client: usize, end: Instant, caller: Rc<Caller>, tally: Rc<RefCell<Tally>>) -> anyhow::Result<()> {
    let mut draw = Draw::seeded(client as u64);
    loop {
        let started = Instant::now();
        if started >= end {
            return Ok(());
        }
        let cart = draw.below(caller.carts());
        caller.add(client, cart).await?;
        let took = started.elapsed();
        let mut tally = tally.borrow_mut();
        tally.calls += 1;
        tally.added[cart] += 1;
        if tally.measuring {
            tally.latencies.record(took.as_micros() as u64)?;
        }
    }
}

/// The measured stretch.
struct Stretch {
    calls: u64,
    lasted: Duration,
    cpu: Vec<Duration>,
    own_cpu: Duration,
}

async fn watch(plan: &Plan, tally: &RefCell<Tally>) -> Stretch {
    let own = std::process::id();
    let cpu = || plan.watched.iter().map(|&pid| cpu_time(pid)).collect::<Vec<_>>();

    tokio::time::sleep(plan.warm_up).await;
    let (started, cpu_before, own_before) = (Instant::now(), cpu(), cpu_time(own));
    let calls_before = {
        let mut tally = tally.borrow_mut();
        tally.measuring = true;
        tally.calls
    };

    tokio::time::sleep(plan.measured).await;
    let calls = {
        let mut tally = tally.borrow_mut();
        tally.measuring = false;
        tally.calls - calls_before
    };
    let (lasted, cpu_after, own_after) = (started.elapsed(), cpu(), cpu_time(own));
    let spent = |(after, before): (Duration, Duration)| after.saturating_sub(before);
    Stretch {
        calls,
        lasted,
        cpu: cpu_after.into_iter().zip(cpu_before).map(spent).collect(),
        own_cpu: spent((own_after, own_before)),
    }
}

/// A small generator, the same sequence for the same client on every run.
struct Draw(u64);

impl Draw {
    fn seeded(client: u64) -> Self {
        Self(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(client + 1))
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
