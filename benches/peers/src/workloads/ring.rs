//! A ring of actors with tokens going round.

use std::sync::{Arc, OnceLock};

use crate::body::{Body, Latch, Next};
use crate::framework::{Flavor, Framework, Slot};
use crate::measure::{Measure, Watch};

const ACTORS: usize = 10_000;
const TOKENS: u64 = 100;

pub fn run<F: Framework>(flavor: Flavor, ops: u64) -> Measure {
    let hops = (ops / TOKENS).max(1);
    let ops = hops * TOKENS;
    F::block_on(flavor, async move {
        let done = Latch::new(TOKENS);
        let close = Arc::new(OnceLock::new());
        let mut ring: Vec<F::Ref> = Vec::with_capacity(ACTORS);
        for i in 0..ACTORS {
            let next = match ring.last() {
                None => Next::Late(close.clone()),
                Some(last) => Next::Known(last.clone()),
            };
            let node = Body::Relay { next, done: done.clone() };
            ring.push(F::spawn(node, Slot::new(i, ACTORS)).await);
        }
        let _ = close.set(ring.last().expect("not empty").clone());

        let watch = Watch::start();
        for token in 0..TOKENS as usize {
            F::tell(&ring[token * (ACTORS / TOKENS as usize)], hops - 1);
        }
        done.wait().await;
        watch.stop(ops)
    })
}
