//! Where traces come from outside any actor, or are set by hand.

use std::cell::RefCell;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tracing::Span;

use super::{Origin, TraceContext};
use crate::ask_chain::Turn;

thread_local! {
    static ENTERED: RefCell<Option<Entered>> = const { RefCell::new(None) };
}

/// A context somebody entered on this thread.
struct Entered {
    context: TraceContext,
    /// The actor in whose turn. Another actor that is run inside this one's turn has nothing to do with it.
    by: Option<u64>,
}

/// What a message that is sent now comes from, if it is of any trace.
pub(crate) fn here() -> Option<Origin> {
    let turn = Turn::current();
    let by = turn.as_ref().map(|turn| turn.head().uid());
    let entered = ENTERED.with_borrow(|entered| {
        entered.as_ref().filter(|entered| entered.by == by).map(|entered| entered.context.clone())
    });
    let context = entered.or_else(|| turn?.head().tracer()?.current())?;
    Some(Origin { context, span: Span::current() })
}

/// Puts what was entered before back, whatever happens in between.
struct Back(Option<Entered>);

impl Drop for Back {
    fn drop(&mut self) {
        ENTERED.with_borrow_mut(|entered| mem::swap(entered, &mut self.0));
    }
}

impl TraceContext {
    /// The trace that what is sent here and now belongs to: of the message in hand of a traced actor, or the one that was
    /// entered.
    pub fn current() -> Option<Self> {
        here().map(|origin| origin.context)
    }

    /// Does `work`, and what it sends to traced actors belongs to this trace.
    pub fn enter<R>(&self, work: impl FnOnce() -> R) -> R {
        let by = Turn::current().map(|turn| turn.head().uid());
        let entered = Entered { context: self.clone(), by };
        let _back = Back(ENTERED.replace(Some(entered)));
        work()
    }

    /// `future`, and what it sends to traced actors belongs to this trace. For a request that comes from outside: its handler
    /// runs in the scope of what its headers say. Tasks it spawns are not in this scope.
    ///
    /// Cancel safe as far as `future` is.
    pub fn scope<F: Future>(self, future: F) -> InTrace<F> {
        InTrace { context: self, future }
    }
}

pin_project! {
    /// A future in a trace; see [`TraceContext::scope`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless awaited"]
    pub struct InTrace<F> {
        context: TraceContext,
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for InTrace<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let future = this.future;
        this.context.enter(|| future.poll(cx))
    }
}
