//! [`Alarm`]: waits for one moment after another.

use actors::{Clock, Sleep, Tick};
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// A sleep that is made once.
#[derive(Default)]
pub(super) struct Alarm(Option<(Tick, Pin<Box<Sleep>>)>);

impl Alarm {
    /// Ready at `due`, and not before.
    pub(super) fn poll(&mut self, clock: &Clock, due: Tick, cx: &mut Context<'_>) -> Poll<()> {
        let (set, sleep) = self.0.get_or_insert_with(|| (due, Box::pin(clock.sleep_until(due))));
        if *set != due {
            *set = due;
            sleep.as_mut().reset(due);
        }
        sleep.as_mut().poll(cx)
    }
}
