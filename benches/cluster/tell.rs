//! Small messages from one node to another: how many a second, and the CPU time of both sides for each.

use crate::{args::Args, floor::BareNotes, median, messages::Message, pair::Pair, usage::Watch};

pub fn compare(args: &Args) -> anyhow::Result<()> {
    let (bare, pair) = (BareNotes::start()?, Pair::start()?);
    let (mut floors, mut rates, mut floor_cpu, mut cpu) = (vec![], vec![], vec![], vec![]);
    let count = args.messages;
    // The first ones make connections and buffers.
    bare.tell(count / 10)?;
    tell(&pair, count / 10)?;
    for _ in 0..args.rounds {
        let watch = Watch::start();
        bare.tell(count)?;
        let took = watch.stop();
        floors.push(took.rate(count));
        floor_cpu.push(took.cpu_ns(count));
        let watch = Watch::start();
        tell(&pair, count)?;
        let took = watch.stop();
        rates.push(took.rate(count));
        cpu.push(took.cpu_ns(count));
    }
    let ratio = median(rates.iter().zip(&floors).map(|(ours, floor)| ours / floor).collect());
    println!(
        "tell     {:>9.0} messages/s   floor {:>9.0}   ours/floor {ratio:.2}   CPU {:.0} ns a message, floor {:.0}",
        median(rates),
        median(floors),
        median(cpu),
        median(floor_cpu)
    );
    pair.stop()
}

fn tell(pair: &Pair, count: u64) -> anyhow::Result<()> {
    let (desk, received) = (pair.desk.clone(), pair.received.clone());
    pair.run(async move { received.keep_up(count, |note| desk.tell(Message::Note(note))).await })
}
