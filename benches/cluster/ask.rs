//! One question after another from one node to another: how long each waits for its answer.

use std::time::{Duration, Instant};

use crate::{args::Args, floor::BareEcho, median, messages::Message, pair::Pair};

const WITHIN: Duration = Duration::from_secs(10);

pub fn compare(args: &Args) -> anyhow::Result<()> {
    let (mut bare, pair) = (BareEcho::start()?, Pair::start()?);
    let count = args.questions;
    bare.ask(count / 10)?;
    ask(&pair, count / 10)?;
    let (mut floors, mut times, mut floor_slow, mut slow) = (vec![], vec![], vec![], vec![]);
    for _ in 0..args.rounds {
        let took = bare.ask(count)?;
        floor_slow.push(slowest_hundredth(&took));
        floors.push(median(took));
        let took = ask(&pair, count)?;
        slow.push(slowest_hundredth(&took));
        times.push(median(took));
    }
    let ratio = median(times.iter().zip(&floors).map(|(ours, floor)| ours / floor).collect());
    println!(
        "ask      {:>9.1} µs   floor {:>9.1} µs   ours/floor {ratio:.2}   p99 {:.1} µs, floor {:.1} µs",
        median(times) / 1e3,
        median(floors) / 1e3,
        median(slow) / 1e3,
        median(floor_slow) / 1e3
    );
    pair.stop()
}

fn ask(pair: &Pair, count: u64) -> anyhow::Result<Vec<f64>> {
    let desk = pair.desk.clone();
    pair.run(async move {
        let mut took = Vec::with_capacity(count as usize);
        for number in 0..count {
            let start = Instant::now();
            let answer = desk.ask(|reply_to| Message::Echo { number, reply_to }, WITHIN).await?;
            assert_eq!(answer, number);
            took.push(start.elapsed().as_nanos() as f64);
        }
        anyhow::Ok(took)
    })?
}

/// All others are as fast or faster.
fn slowest_hundredth(of: &[f64]) -> f64 {
    let mut of = of.to_vec();
    of.sort_by(f64::total_cmp);
    of.get(of.len() * 99 / 100).copied().unwrap_or(f64::NAN)
}
