//! Two actors pass one message back and forth: the latency of a hop.

use std::sync::{Arc, OnceLock};

use crate::body::{Body, Latch, Next};
use crate::framework::{Flavor, Framework, Slot};
use crate::measure::{Measure, Watch};

pub fn run<F: Framework>(flavor: Flavor, ops: u64) -> Measure {
    F::block_on(flavor, async move {
        let done = Latch::new(1);
        let late = Arc::new(OnceLock::new());
        let ping = Body::Relay { next: Next::Late(late.clone()), done: done.clone() };
        let ping = F::spawn(ping, Slot::new(0, 2)).await;
        let pong = Body::Relay { next: Next::Known(ping.clone()), done: done.clone() };
        let pong = F::spawn(pong, Slot::new(1, 2)).await;
        let _ = late.set(pong);

        let watch = Watch::start();
        F::tell(&ping, ops - 1);
        done.wait().await;
        watch.stop(ops)
    })
}
