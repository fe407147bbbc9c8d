//! [`Gate`]: whether the tasks of one process go on, for simulations of several processes in one.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// Stands before every task of an [`ActorSystem`](crate::ActorSystem) each time it is to run; see
/// [`ActorSystemBuilder::gate`](crate::ActorSystemBuilder::gate). It makes one of several systems on one runtime a process
/// of its own: one that stands still for a while, or ends at any moment.
pub trait Gate: Send + Sync + 'static {
    /// Whether a task may go on now. One that may not is asked about again when the waker of `cx` is woken, which whoever
    /// said [`Admission::Wait`] sees to.
    fn admit(&self, cx: &mut Context<'_>) -> Admission;
}

/// What a [`Gate`] says to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It runs.
    Go,
    /// It does not run yet.
    Wait,
    /// It never runs again: what it was made of is dropped.
    Never,
}

/// The gate of a system, if it has one.
#[derive(Clone, Default)]
pub(crate) struct Gatekeeper(pub(crate) Option<Arc<dyn Gate>>);

impl Gatekeeper {
    /// `future`, behind the gate.
    pub(crate) fn guard<F: Future>(&self, future: F) -> Gated<F> {
        Gated { gate: self.0.clone(), future: Some(future) }
    }
}

impl fmt::Debug for Gatekeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Gate" } else { "no gate" })
    }
}

pin_project! {
    /// A future that goes on as a gate lets it; and never ends once that has said never.
    pub(crate) struct Gated<F> {
        gate: Option<Arc<dyn Gate>>,
        #[pin]
        future: Option<F>,
    }
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let admission = this.gate.as_ref().map_or(Admission::Go, |gate| gate.admit(cx));
        match (admission, this.future.as_mut().as_pin_mut()) {
            (Admission::Go, Some(future)) => future.poll(cx),
            (Admission::Never, _) => {
                this.future.set(None);
                *this.gate = None;
                Poll::Pending
            }
            _ => Poll::Pending,
        }
    }
}
