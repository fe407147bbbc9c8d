//! Creates actors, leaves them idle, sends each one message, stops them.
//!
//! `bytes_per_idle_actor` is the growth of the resident set from before the first to after the last actor has been made
//! and has come to rest, without the vector of addresses. `bytes_after_one` is the same once every actor has handled a
//! message. `life_cpu_ns` is all processor time from the first spawn until the last actor is gone: who puts work off
//! when it spawns pays for it there.

use std::time::{Duration, Instant};

use crate::body::{Body, Gone, Latch};
use crate::framework::{Flavor, Framework, Slot};
use crate::measure::{Measure, Watch, rss_bytes};

pub fn run<F: Framework>(flavor: Flavor, ops: u64) -> Measure {
    F::block_on(flavor, async move {
        let seen = Latch::new(ops);
        let gone = Latch::new(ops);
        let mut actors: Vec<F::Ref> = Vec::with_capacity(ops as usize);
        touch(&mut actors);
        let before = rss_bytes();

        let watch = Watch::start();
        for i in 0..ops {
            let body = Body::Blip { seen: seen.clone(), gone: Gone(gone.clone()) };
            actors.push(F::spawn(body, Slot::new(i as usize, ops as usize)).await);
        }
        let measure = watch.stop(ops);
        let idle = settled_rss().await;

        let first = Instant::now();
        for (i, actor) in actors.iter().enumerate() {
            F::tell(actor, i as u64);
        }
        let sum = seen.wait().await;
        let first = first.elapsed();
        assert_eq!(sum, ops * (ops - 1) / 2, "messages lost");
        let used = settled_rss().await;

        let stop = Instant::now();
        for actor in actors {
            F::stop(actor);
        }
        assert_eq!(gone.wait().await, ops, "actors leaked");
        let stop = stop.elapsed();

        let life = watch.stop(ops);
        let per = |total: f64| total / ops as f64;
        measure
            .with("life_cpu_ns", per(life.cpu_ns as f64))
            .with("first_message_ns", per(first.as_nanos() as f64))
            .with("stop_ns", per(stop.as_nanos() as f64))
            .with("bytes_per_idle_actor", per(idle as f64 - before as f64))
            .with("bytes_after_one", per(used as f64 - before as f64))
            .with("bytes_of_ref", size_of::<F::Ref>() as f64)
    })
}

/// Makes the vector's capacity resident.
fn touch<T>(vec: &mut Vec<T>) {
    let bytes = vec.capacity() * size_of::<T>();
    // SAFETY: the memory is allocated and holds no values yet.
    unsafe { std::ptr::write_bytes(vec.as_mut_ptr().cast::<u8>(), 0xA5, bytes) };
}

/// Waits until started actors have been polled and memory has come to rest.
async fn settled_rss() -> u64 {
    let mut last = rss_bytes();
    loop {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let now = rss_bytes();
        if now.abs_diff(last) < 1 << 20 {
            return now;
        }
        last = now;
    }
}
