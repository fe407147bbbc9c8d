//! Actors that never run out of work, beside a thousand that are pinged: how long a ping waits for its turn.
//!
//! One actor floods itself and two flood each other, with messages that each lead to another one. The pings come from a
//! thread of their own, a few every millisecond; the delay is the time from telling to handling. The target is a 99th
//! percentile of at most 5 ms; on a machine that is busy with other things the figure includes them. A task of tokio sleeps
//! a millisecond again and again beside them: how late it wakes up says when the runtime comes to look at its timers, whose
//! own steps are a millisecond.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use actors::{Actor, ActorContext, ActorRef, ActorSystem, Behavior, Handled, ReplyTo};
use anyhow::ensure;
use hdrhistogram::Histogram;

use crate::args::Args;

const PINGED: usize = 1_000;
/// Pings a millisecond.
const PINGS: usize = 20;
/// Messages a flooder always has.
const AFLOAT: usize = 64;
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Tells whoever it was wired to as many as it is told.
struct Flooder {
    to: Option<ActorRef<FlooderMessage>>,
    ebb: Arc<AtomicBool>,
    handled: u64,
}

enum FlooderMessage {
    Wire(ActorRef<FlooderMessage>),
    Wave,
    /// Answers how many waves it has seen.
    Handled(ReplyTo<u64>),
}

impl Actor for Flooder {
    type Message = FlooderMessage;

    async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match msg {
            FlooderMessage::Wire(to) => {
                for _ in 0..AFLOAT {
                    to.tell(FlooderMessage::Wave);
                }
                self.to = Some(to);
            }
            FlooderMessage::Wave => {
                self.handled += 1;
                if let Some(to) = self.to.as_ref().filter(|_| !self.ebb.load(Relaxed)) {
                    to.tell(FlooderMessage::Wave);
                }
            }
            FlooderMessage::Handled(reply_to) => reply_to.tell(self.handled),
        }
        Ok(Behavior::Same)
    }
}

/// Notes how long each ping waited.
#[derive(Default)]
struct Pinged {
    waited: Vec<Duration>,
}

enum PingedMessage {
    Ping(Instant),
    Take(ReplyTo<Vec<Duration>>),
}

impl Actor for Pinged {
    type Message = PingedMessage;

    async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match msg {
            PingedMessage::Ping(told) => self.waited.push(told.elapsed()),
            PingedMessage::Take(reply_to) => reply_to.tell(std::mem::take(&mut self.waited)),
        }
        Ok(Behavior::Same)
    }
}

/// One row a number of workers, without and with the flood.
pub fn compare(args: &Args) -> anyhow::Result<()> {
    println!(
        "| workers | flood | waves/s | pings | p50 ms | p99 ms | p99.9 ms | most ms | timer p50 ms | timer p99 ms |"
    );
    println!("|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for &workers in &args.workers {
        for flood in [false, true] {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build()?;
            let Row { waves, delays, timers } = runtime.block_on(row(flood, args.flooded))?;
            let ms = |of: &Histogram<u64>, quantile| {
                Duration::from_nanos(of.value_at_quantile(quantile)).as_secs_f64() * 1e3
            };
            println!(
                "| {workers} | {} | {:.0} | {} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} | {:.3} |",
                if flood { "one and a pair" } else { "none" },
                waves as f64 / args.flooded.as_secs_f64(),
                delays.len(),
                ms(&delays, 0.5),
                ms(&delays, 0.99),
                ms(&delays, 0.999),
                ms(&delays, 1.0),
                ms(&timers, 0.5),
                ms(&timers, 0.99),
            );
        }
    }
    Ok(())
}

/// Waves handled, and in nanoseconds the delays of pings and of timers.
struct Row {
    waves: u64,
    delays: Histogram<u64>,
    timers: Histogram<u64>,
}

async fn row(flood: bool, within: Duration) -> anyhow::Result<Row> {
    let system = ActorSystem::new("fairness");
    let pinged: Vec<_> = (0..PINGED).map(|_| system.spawn_anonymous(Pinged::default())).collect();
    let ebb = Arc::new(AtomicBool::new(false));
    let flooder = || system.spawn_anonymous(Flooder { to: None, ebb: ebb.clone(), handled: 0 });
    let flooders: Vec<_> = (0..3).map(|_| flooder()).collect();
    if flood {
        for (from, to) in [(0, 0), (1, 2), (2, 1)] {
            flooders[from].tell(FlooderMessage::Wire(flooders[to].clone()));
        }
    }
    let (targets, end) = (pinged.clone(), Instant::now() + within);
    let pinging = thread::spawn(move || ping(&targets, end));
    let timing = tokio::spawn(sleep_again_and_again(end));
    // The thread must not hold a worker up.
    let pings = tokio::task::spawn_blocking(move || pinging.join()).await?.expect("it does not panic");
    ebb.store(true, Relaxed);
    let timers = timing.await??;

    let mut waves = 0;
    for flooder in &flooders {
        waves += flooder.ask(FlooderMessage::Handled, ANSWER_WITHIN).await?;
    }
    ensure!(!flood || waves > 0, "nobody flooded");
    let mut delays = Histogram::new(3)?;
    for actor in &pinged {
        for waited in actor.ask(PingedMessage::Take, ANSWER_WITHIN).await? {
            delays.record(waited.as_nanos() as u64)?;
        }
    }
    assert_eq!(delays.len(), pings, "pings lost");
    system.terminate().await;
    Ok(Row { waves, delays, timers })
}

/// How much later than asked for it wakes up.
async fn sleep_again_and_again(end: Instant) -> anyhow::Result<Histogram<u64>> {
    const NAP: Duration = Duration::from_millis(1);
    let mut late = Histogram::new(3)?;
    while Instant::now() < end {
        let asleep = Instant::now();
        tokio::time::sleep(NAP).await;
        late.record(asleep.elapsed().saturating_sub(NAP).as_nanos() as u64)?;
    }
    Ok(late)
}

/// Pings all in turn, a few every millisecond; returns how many it told.
fn ping(targets: &[ActorRef<PingedMessage>], end: Instant) -> u64 {
    let mut pings = 0;
    let mut next = targets.iter().cycle();
    while Instant::now() < end {
        for target in next.by_ref().take(PINGS) {
            target.tell(PingedMessage::Ping(Instant::now()));
            pings += 1;
        }
        thread::sleep(Duration::from_millis(1));
    }
    pings
}
