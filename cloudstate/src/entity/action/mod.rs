//! Actions: calls without state, straight to the user function (CloudState protocol: actions).
//!
//! ```text
//! client ──▶ requests ──▶ action call ──▶ user function
//! client ◀── replies  ◀── side effects, forwards ◀── responses
//! ```
//!
//! Nothing is buffered here: requests and responses are taken when there is room for them on the other side, so
//! the windows of the two HTTP/2 streams are all that a call holds.
//!
//! How a call ends before its time:
//!
//! - A client that goes away resets a streamed call; a unary one that has been sent runs to its end, with its
//!   side effects, and its answer is dropped.
//! - A failure, and the end of the function's side, end the client's request stream.
//! - Where one answer is due there is a time limit: the caller's, or the relay timeout, which for a call with
//!   streamed requests begins when the client has sent the last one. Streams of responses are cut by nothing but
//!   the caller's deadline, since one that is silent for hours may be in order.

mod call;
mod reset;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use actors::{Clock, Tick};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use proto::cloudstate::action::{ActionResponse, action_response};
use proto::cloudstate::{SideEffect, client_action};
use tonic::Code;

use crate::call::{CallError, Replies, Reply, Requests};
use crate::entity::{Answer, Command, Component};
use crate::router::{Origin, Router};
use crate::spec::MethodSpec;
use crate::telemetry::EntityMetrics;
use crate::user_function::UserFunction;

use call::{ActionCall, Header};

/// Time limits of actions.
#[derive(Debug, Clone)]
pub struct ActionSettings {
    /// How long a call waits for a user function that is restarting.
    pub connect_timeout: Duration,
    /// How long the one answer of a call may take, when the caller does not say.
    pub relay_timeout: Duration,
}

/// Serves the actions of one service. A cheap handle.
#[derive(Clone)]
pub struct ActionComponent {
    metrics: EntityMetrics,
    function: UserFunction,
    router: Arc<Router>,
    clock: Clock,
    settings: ActionSettings,
    draining: Arc<AtomicBool>,
}

impl ActionComponent {
    /// Actions of `function`, whose side effects and forwards go through `router`.
    pub fn new(function: UserFunction, router: Arc<Router>, settings: ActionSettings, metrics: EntityMetrics) -> Self {
        let clock = function.clock().clone();
        Self { metrics, function, router, clock, settings, draining: Arc::default() }
    }

    fn accept(&self, command: Command) -> Result<Accepted, CallError> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(CallError::status(Code::Unavailable, "the sidecar is shutting down"));
        }
        self.metrics.command_received();
        let Command { method, type_url, requests, metadata, deadline, caller, .. } = command;
        let header = Header { method: method.clone(), type_url, metadata };
        Ok(Accepted { header, requests, origin: Origin { method, caller, command_id: None, deadline } })
    }

    /// One request, one response. In a task of its own, since the function that has been given the request carries
    /// it out, and what it wants to be done is done, whether somebody waits for it or not.
    async fn one_to_one(self, origin: Origin, header: Header, payload: Bytes) -> Answer {
        let deadline = origin.deadline.unwrap_or_else(|| self.clock.now() + self.settings.relay_timeout);
        let origin = Origin { deadline: Some(deadline), ..origin };
        let router = self.router.clone();
        let started = self.clock.now();
        // While nothing has been sent, a caller that leaves takes its request with it.
        let opened = ActionCall::open(&self.function, self.settings.connect_timeout, false);
        let call = match self.until(deadline, &origin.method, opened).await {
            Ok(call) => call,
            Err(error) => {
                self.measure(started, false);
                return Err(error);
            }
        };
        let work = async move {
            let response = self.until(deadline, &origin.method, call.unary(header.with_payload(payload))).await;
            self.measure(started, response.is_ok());
            self.settle(&origin, response?).await
        };
        router.track(work).await
    }

    /// Many requests, one response. The call lives as long as the future.
    async fn many_to_one(self, accepted: Accepted) -> Answer {
        let Accepted { header, requests, origin } = accepted;
        let limit = self.settings.relay_timeout;
        let opened = ActionCall::open(&self.function, self.settings.connect_timeout, true);
        let call = tokio::select! {
            biased;
            opened = opened => opened,
            () = self.expiry(origin.deadline) => Err(late(&origin.method)),
        };
        let call = call.inspect_err(|_| self.metrics.command_failed())?;
        let (outgoing, ended) = call.requests(header.alone(), header.type_url.clone(), requests);
        let answered = call.streamed_in(outgoing);
        let overdue = async {
            ended.await;
            self.clock.sleep(limit).await;
        };
        let started = self.clock.now();
        let response = tokio::select! {
            biased;
            response = answered => response,
            () = overdue => Err(late(&origin.method)),
            () = self.expiry(origin.deadline) => Err(late(&origin.method)),
        };
        self.measure(started, response.is_ok());
        let response = response?;
        let router = self.router.clone();
        router.track(async move { self.settle(&origin, response).await }).await
    }

    /// The responses of a call with streamed responses; dropping the stream resets the call.
    fn responses(&self, accepted: Accepted) -> BoxStream<'static, Result<ActionResponse, CallError>> {
        let Accepted { header, requests, origin } = accepted;
        let (function, connect_timeout) = (self.function.clone(), self.settings.connect_timeout);
        if origin.method.client_streaming {
            let opened = async move {
                let call = ActionCall::open(&function, connect_timeout, true).await?;
                let (outgoing, _) = call.requests(header.alone(), header.type_url.clone(), requests);
                call.streamed(outgoing).await
            };
            return stream::once(opened).try_flatten().boxed();
        }
        // One call a request, one after the other.
        let one = move |payload| {
            let (function, command) = (function.clone(), header.with_payload(payload));
            async move {
                let call = ActionCall::open(&function, connect_timeout, true).await?;
                call.streamed_out(command).await
            }
        };
        requests.into_stream().and_then(one).try_flatten().boxed()
    }

    fn measure(&self, started: Tick, answered: bool) {
        if answered {
            self.metrics.command_completed(self.clock.now() - started);
        } else {
            self.metrics.command_failed();
        }
    }

    async fn settle(&self, origin: &Origin, response: ActionResponse) -> Answer {
        let (effects, action) = parts(response);
        let answer = self.router.settle(origin, effects, action).await;
        self.router.check_reply(&origin.method, &answer);
        answer
    }

    /// Completes at `deadline`, if there is one.
    fn expiry(&self, deadline: Option<Tick>) -> impl Future<Output = ()> + Send + 'static {
        let clock = self.clock.clone();
        async move {
            match deadline {
                Some(at) => clock.sleep_until(at).await,
                None => std::future::pending().await,
            }
        }
    }

    async fn until<T>(
        &self,
        deadline: Tick,
        method: &MethodSpec,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        if deadline <= self.clock.now() {
            // Nothing is started that nobody waits for.
            return Err(late(method));
        }
        tokio::select! {
            biased;
            done = work => done,
            () = self.clock.sleep_until(deadline) => Err(late(method)),
        }
    }

    fn streamed_replies(self, accepted: Accepted) -> Replies {
        let started = self.clock.now();
        let measured = self.clone();
        let origin = Arc::new(accepted.origin.clone());
        let (router, checker) = (self.router.clone(), self.router.clone());
        let method = origin.method.clone();
        let expiry = self.expiry(origin.deadline);
        let replies = self.responses(accepted).and_then(move |response| {
            let (router, origin) = (router.clone(), origin.clone());
            async move {
                let (effects, action) = parts(response);
                router.finish(&origin, effects, action).await
            }
        });
        let late_for = method.clone();
        let expired = stream::once(expiry.map(move |()| Err(late(&late_for))));
        let replies = replies.try_flatten().inspect_ok(move |reply: &Reply| {
            checker.check_type(&method, reply);
        });
        let replies = replies.inspect_err({
            let measured = measured.clone();
            move |_| measured.measure(started, false)
        });
        let completed = stream::poll_fn(move |_| {
            measured.measure(started, true);
            Poll::Ready(None)
        });
        until_error(ending_with(replies.chain(completed).boxed(), expired.boxed()))
    }
}

impl Component for ActionComponent {
    fn unary(&self, command: Command) -> BoxFuture<'static, Answer> {
        let this = self.clone();
        let accepted = match this.accept(command) {
            Ok(accepted) => accepted,
            Err(error) => return std::future::ready(Err(error)).boxed(),
        };
        let method = &accepted.header.method;
        match (method.client_streaming, method.server_streaming) {
            (false, false) => match accepted {
                Accepted { header, requests: Requests::One(payload), origin } => {
                    this.one_to_one(origin, header, payload).boxed()
                }
                many => async move { this.replies(many).next().await.transpose() }.boxed(),
            },
            (true, false) => this.many_to_one(accepted).boxed(),
            (_, true) => async move { this.replies(accepted).next().await.transpose() }.boxed(),
        }
    }

    fn streamed(&self, command: Command) -> BoxFuture<'static, Result<Replies, CallError>> {
        let replies = self.accept(command).map(|accepted| self.clone().replies(accepted));
        std::future::ready(replies).boxed()
    }

    /// Calls that are still open are the front end's and the router's, which have waited for them before.
    fn drain(&self) -> BoxFuture<'static, ()> {
        self.draining.store(true, Ordering::Relaxed);
        std::future::ready(()).boxed()
    }
}

impl ActionComponent {
    /// The replies of a call of any shape.
    fn replies(self, accepted: Accepted) -> Replies {
        let method = &accepted.header.method;
        match (method.client_streaming, method.server_streaming) {
            (_, true) => self.streamed_replies(accepted),
            (true, false) => {
                stream::once(self.many_to_one(accepted)).filter_map(|answer| async { answer.transpose() }).boxed()
            }
            (false, false) => {
                let Accepted { header, requests, origin } = accepted;
                // One call a request, one after the other.
                let answers = requests.into_stream().and_then(move |payload| {
                    let (this, origin, header) = (self.clone(), origin.clone(), header.clone());
                    this.one_to_one(origin, header, payload)
                });
                until_error(answers.try_filter_map(|reply| async { Ok(reply) }).boxed())
            }
        }
    }
}

/// A command, taken apart.
struct Accepted {
    header: Header,
    requests: Requests,
    origin: Origin,
}

fn parts(response: ActionResponse) -> (Vec<SideEffect>, Option<client_action::Action>) {
    let action = response.response.map(|response| match response {
        action_response::Response::Failure(failure) => client_action::Action::Failure(failure),
        action_response::Response::Reply(reply) => client_action::Action::Reply(reply),
        action_response::Response::Forward(forward) => client_action::Action::Forward(forward),
    });
    (response.side_effects, action)
}

fn late(method: &MethodSpec) -> CallError {
    CallError::status(Code::DeadlineExceeded, format!("{}.{} did not answer in time", method.service, method.name))
}

/// The elements of `items` until it ends or `last` has one, which then is the last.
fn ending_with<T: Send + 'static>(items: BoxStream<'static, T>, last: BoxStream<'static, T>) -> BoxStream<'static, T> {
    let both =
        stream::select_with_strategy(items.map(Some).chain(stream::iter([None])), last.map(Some), |_: &mut ()| {
            stream::PollNext::Right
        });
    both.take_while(|item| std::future::ready(item.is_some())).filter_map(std::future::ready).boxed()
}

/// Ends the stream with its first error, and lets go of what is behind it at once.
fn until_error<T: Send + 'static>(
    items: BoxStream<'static, Result<T, CallError>>,
) -> BoxStream<'static, Result<T, CallError>> {
    let next = |items: Option<BoxStream<'static, Result<T, CallError>>>| async move {
        let mut items = items?;
        match items.next().await? {
            Ok(item) => Some((Ok(item), Some(items))),
            Err(error) => Some((Err(error), None)),
        }
    };
    stream::unfold(Some(items), next).boxed()
}
