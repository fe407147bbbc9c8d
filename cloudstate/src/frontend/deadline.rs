//! How long a call may take.

use std::future::Future;
use std::time::Duration;

use actors::{Clock, Tick};
use tonic::Status;

/// When a call ends whether it is answered or not, and what its client is told then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    at: Option<Tick>,
    limit: Duration,
    own: bool,
}

impl Deadline {
    /// For a call that its client gives `asked`, or `relay_timeout` when it does not say.
    pub(super) fn unary(clock: &Clock, asked: Option<Duration>, relay_timeout: Duration, max: Duration) -> Self {
        let limit = asked.unwrap_or(relay_timeout).min(max);
        Self { at: Some(clock.now() + limit), limit, own: asked.is_none() }
    }

    /// For a streamed call: only its client limits it, since a stream may stay open for hours.
    pub(super) fn streamed(clock: &Clock, asked: Option<Duration>) -> Self {
        let limit = asked.unwrap_or_default();
        Self { at: asked.map(|limit| clock.now() + limit), limit, own: false }
    }

    pub(super) fn at(&self) -> Option<Tick> {
        self.at
    }

    /// Runs `work` until the deadline.
    pub(super) async fn run<T>(&self, clock: &Clock, work: impl Future<Output = T>) -> Result<T, Status> {
        let Some(at) = self.at else {
            return Ok(work.await);
        };
        if self.limit.is_zero() {
            // Nothing is started that nobody waits for.
            return Err(self.exceeded());
        }
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => Ok(done),
            () = clock.sleep_until(at) => Err(self.exceeded()),
        }
    }

    /// What the client is told.
    pub(super) fn exceeded(&self) -> Status {
        let (limit, own) = (self.limit, self.own);
        if own {
            Status::deadline_exceeded(format!("no answer within {limit:?} (relay timeout)"))
        } else {
            Status::deadline_exceeded(format!("no answer within the deadline of {limit:?}"))
        }
    }
}
