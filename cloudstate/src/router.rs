//! Where commands go: to entities by key, and from an entity's answer on to side effects and forwards
//! (CloudState protocol: forwards, side effects and metadata).
//!
//! An entity hands its answer over once its events are durable, so what happens here never holds the
//! entity up, and a caller that goes away does not take the side effects with it.
//!
//! What is defined here where the protocol leaves it open:
//!
//! - **Time.** Synchronous side effects share the time that the call has left, or the relay timeout when the
//!   call has no end. An asynchronous one has the relay timeout for itself and all it sets off.
//! - **Failures.** What the target of a synchronous side effect answers is discarded, a failure as well. One
//!   that could not be carried out (unknown target, no answer in time, no connection) fails the response,
//!   although the state is stored by then; later side effects are skipped. Asynchronous ones fail nothing.
//! - **Bounds.** A chain of forwards and side effects has a greatest length, so loops end. Asynchronous side
//!   effects wait for a place; those of asynchronous side effects never wait, since they would wait for
//!   their own cause, and are dropped when there is none. While too many commands are under way, calls
//!   from outside are refused before anything is done for them.
//! - **Keys.** A target that is an entity with a store carries a command out once per `idempotency-key` in the metadata
//!   of its `Forward` or `SideEffect`. A forward without one, of a command with a key, has a key made of that: when the
//!   command is sent again it is forwarded again, and the target knows it. Side effects of a command that is sent again
//!   are not carried out again.
//! - **Metadata.** A target is given the metadata of its `Forward` or `SideEffect`, once, and nothing of the
//!   call that led to it. After a forward it is the metadata of the final reply that reaches the client.

mod caller;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actors::{Clock, Tick};
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use persistence::CommandId;
use prost::Message;
use proto::Any;
use proto::cloudstate::{Forward, Metadata, SideEffect, client_action};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::task::TaskTracker;
use tonic::Code;

pub use caller::Caller;
use caller::Reason;

use crate::call::{Call, CallError, Dispatch, Replies, Reply, Requests};
use crate::entity::{Answer, Command, Component, EntityCommand};
use crate::idempotency;
use crate::spec::{MethodSpec, ServedSpec};
use crate::telemetry::metrics;
use crate::user_function::UserFunction;

/// The type URL of a message that may be any other.
const ANY: &str = "type.googleapis.com/google.protobuf.Any";

/// Bounds of forwards and side effects.
#[derive(Debug, Clone)]
pub struct RouterSettings {
    /// Longest chain of forwards and side effects that one call may set off.
    pub hops_max: usize,
    /// Asynchronous side effects that may be running at once; further ones wait.
    pub asynchronous_max: usize,
    /// Commands whose effects and forwards may be under way at once; further calls of clients are refused.
    pub under_way_max: usize,
    /// Time for an asynchronous side effect, and for all synchronous ones of a response to a call without a
    /// deadline.
    pub effects_timeout: Duration,
}

/// The command that a response answers, as far as it matters for what the response sets off.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The method that was called.
    pub method: Arc<MethodSpec>,
    /// Through which forwards and side effects the command came.
    pub caller: Caller,
    /// Names the command, if its caller does; what it forwards to is named after it.
    pub command_id: Option<CommandId>,
    /// When the caller stops waiting.
    pub deadline: Option<Tick>,
}

/// Who serves what, at the moment.
#[derive(Default)]
pub struct Table {
    /// What the user function serves.
    pub spec: Option<Arc<ServedSpec>>,
    /// Who serves each service, by service name.
    pub components: HashMap<Arc<str>, Arc<dyn Component>>,
}

/// Takes commands to where they are served.
pub struct Router {
    table: ArcSwap<Table>,
    function: UserFunction,
    clock: Clock,
    settings: RouterSettings,
    tasks: TaskTracker,
    asynchronous: Arc<Semaphore>,
}

impl Router {
    /// A router that serves nothing yet.
    pub fn new(function: UserFunction, clock: Clock, settings: RouterSettings) -> Arc<Self> {
        Arc::new(Self {
            table: ArcSwap::default(),
            function,
            clock,
            asynchronous: Arc::new(Semaphore::new(settings.asynchronous_max)),
            settings,
            tasks: TaskTracker::new(),
        })
    }

    /// Serves `table` from now on. Calls under way are not disturbed.
    pub fn serve(&self, table: Table) {
        self.table.store(Arc::new(table));
    }

    /// Who serves what, at the moment.
    pub fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Completes when no side effect and no forward is under way.
    pub async fn idle(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Warns about a reply whose type is not the one the method declares.
    pub fn check_reply(&self, method: &MethodSpec, answer: &Answer) {
        if let Ok(Some(reply)) = answer {
            self.check_type(method, reply);
        }
    }

    /// The same for one reply.
    pub fn check_type(&self, method: &MethodSpec, reply: &Reply) {
        if reply.type_url != method.output_type_url && &*method.output_type_url != ANY {
            let text = format!(
                "Warning: {}.{}: Expected reply type_url to be [{}] but was [{}].",
                method.service, method.name, method.output_type_url, reply.type_url
            );
            tracing::warn!("{text}");
            self.function.report_error(text);
        }
    }

    /// Runs `effects` in order, then carries `action` out and answers `command`.
    pub fn complete(
        self: Arc<Self>,
        command: EntityCommand,
        effects: Vec<SideEffect>,
        action: Option<client_action::Action>,
    ) {
        let router = self.clone();
        self.tasks.spawn(async move {
            let EntityCommand { method, command_id, deadline, caller, reply_to, .. } = command;
            let origin = Origin { method, caller, command_id, deadline };
            let answer = router.settle(&origin, effects, action).await;
            router.check_reply(&origin.method, &answer);
            reply_to.tell(answer);
        });
    }

    /// Runs `effects` in order, then carries `action` out: a response with one reply.
    ///
    /// # Errors
    /// The function's failure, or why an effect or a forward could not be carried out.
    ///
    /// # Cancel safety
    /// Dropping the future skips the side effects that have not been started.
    pub async fn settle(
        self: &Arc<Self>,
        origin: &Origin,
        effects: Vec<SideEffect>,
        action: Option<client_action::Action>,
    ) -> Answer {
        self.run_all(origin, effects).await?;
        match action {
            Some(client_action::Action::Reply(reply)) => Ok(to_reply(reply)),
            Some(client_action::Action::Failure(failure)) => Err(CallError::Failure(failure.description)),
            Some(client_action::Action::Forward(forward)) => self.call(self.forwarded(origin, forward)?).await,
            None => Ok(None),
        }
    }

    /// Runs `effects` in order, then carries `action` out: one element of a streamed response. The replies
    /// are that element, or all those of the command it forwards to.
    ///
    /// # Errors
    /// The function's failure, or why an effect or a forward could not be carried out.
    ///
    /// # Cancel safety
    /// The side effects are carried out even when the future is dropped.
    pub async fn finish(
        self: &Arc<Self>,
        origin: &Origin,
        effects: Vec<SideEffect>,
        action: Option<client_action::Action>,
    ) -> Result<Replies, CallError> {
        if !effects.is_empty() {
            let (router, origin) = (self.clone(), origin.clone());
            self.track(async move { router.run_all(&origin, effects).await }).await?;
        }
        let reply = match action {
            Some(client_action::Action::Reply(reply)) => to_reply(reply),
            Some(client_action::Action::Failure(failure)) => return Err(CallError::Failure(failure.description)),
            Some(client_action::Action::Forward(forward)) => {
                return self.stream(self.forwarded(origin, forward)?).await;
            }
            None => None,
        };
        Ok(stream::iter(reply.map(Ok)).boxed())
    }

    /// Does `work` in a task that draining waits for. The future only waits for it: dropping it stops nothing.
    pub(crate) fn track<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, CallError>> + Send + 'static,
    ) -> impl Future<Output = Result<T, CallError>> + Send + 'static {
        let task = self.tasks.spawn(work);
        async move { task.await.unwrap_or_else(|_| Err(shutting_down())) }
    }

    async fn run_all(self: &Arc<Self>, origin: &Origin, effects: Vec<SideEffect>) -> Result<(), CallError> {
        if effects.is_empty() {
            return Ok(());
        }
        let until = origin.deadline.unwrap_or_else(|| self.clock.now() + self.settings.effects_timeout);
        for effect in effects {
            self.run(origin, until, effect).await?;
        }
        Ok(())
    }

    /// Runs one side effect: a synchronous one to its end, an asynchronous one is only started.
    async fn run(self: &Arc<Self>, origin: &Origin, until: Tick, effect: SideEffect) -> Result<(), CallError> {
        let SideEffect { service_name, command_name, payload, synchronous, metadata } = effect;
        let reason = if synchronous { Reason::SideEffectOf } else { Reason::AsynchronousSideEffectOf };
        let from = origin.caller.then(&origin.method, reason);
        let target = match self.target(&service_name, &command_name, &from) {
            Ok(target) => target,
            Err(error) if synchronous => return Err(error),
            Err(_) => return Ok(()), // reported to the user function
        };
        if synchronous {
            let command = self.command(target, payload, metadata, Some(until), from);
            return match self.exhaust(command, until).await {
                Ok(()) | Err(CallError::Failure(_)) => Ok(()),
                Err(error) => Err(error),
            };
        }
        let Some(place) = self.place(&origin.caller, until).await else {
            metrics::side_effect_dropped();
            tracing::warn!(target = %format_args!("{service_name}.{command_name}"), "asynchronous side effect dropped: too many are under way");
            return Ok(());
        };
        let router = self.clone();
        self.tasks.spawn(async move {
            let until = router.clock.now() + router.settings.effects_timeout;
            let command = router.command(target, payload, metadata, Some(until), from);
            if let Err(error) = router.exhaust(command, until).await {
                metrics::side_effect_failed();
                tracing::debug!(target = %format_args!("{service_name}.{command_name}"), %error, "asynchronous side effect failed");
            }
            drop(place);
        });
        Ok(())
    }

    /// A place for an asynchronous side effect that `caller` sets off. Waiting for one is the brake: a function
    /// that sets off more than the node can carry out gets its own replies later.
    async fn place(&self, caller: &Caller, until: Tick) -> Option<OwnedSemaphorePermit> {
        let places = self.asynchronous.clone();
        if caller.is_asynchronous() {
            return places.try_acquire_owned().ok();
        }
        tokio::select! {
            biased;
            place = places.acquire_owned() => place.ok(),
            () = self.clock.sleep_until(until) => None,
        }
    }

    /// Carries a command out and discards all its replies.
    async fn exhaust(&self, command: Command, until: Tick) -> Result<(), CallError> {
        let method = command.method.clone();
        let work = async {
            if method.server_streaming {
                let mut replies = self.stream(command).await?;
                while let Some(reply) = replies.next().await {
                    reply?;
                }
            } else {
                self.call(command).await?;
            }
            Ok(())
        };
        tokio::select! {
            biased;
            done = work => done,
            () = self.clock.sleep_until(until) => {
                let text = format!("the side effect {}.{} was not done in time", method.service, method.name);
                Err(CallError::status(Code::DeadlineExceeded, text))
            }
        }
    }

    fn forwarded(&self, origin: &Origin, forward: Forward) -> Result<Command, CallError> {
        let Forward { service_name, command_name, payload, metadata } = forward;
        let from = origin.caller.then(&origin.method, Reason::ForwardedFrom);
        let target = self.target(&service_name, &command_name, &from)?;
        let mut command = self.command(target, payload, metadata, origin.deadline, from);
        if let (None, Some(origin)) = (&command.command_id, &origin.command_id) {
            command.command_id = Some(idempotency::forwarded(origin, &command));
        }
        Ok(command)
    }

    fn target(&self, service: &str, command: &str, from: &Caller) -> Result<Arc<MethodSpec>, CallError> {
        let table = self.table.load();
        let spec = table.spec.as_ref();
        let problem = match spec.and_then(|spec| spec.method(service, command)) {
            Some(_) if from.hops() > self.settings.hops_max => format!(
                "More than {} forwards and side effects in a row, stopped before {service}.{command}",
                self.settings.hops_max
            ),
            Some(method) => return Ok(method.clone()),
            None if spec.is_some_and(|spec| spec.service(service).is_some()) => {
                format!("Service [{service}] does not have a command named: [{command}]")
            }
            None => format!("Service [{service}] unknown"),
        };
        let text = problem + &from.trace();
        tracing::warn!("{text}");
        self.function.report_error(text);
        Err(CallError::status(Code::Internal, "Error"))
    }

    fn command(
        &self,
        method: Arc<MethodSpec>,
        payload: Option<Any>,
        metadata: Option<Metadata>,
        deadline: Option<Tick>,
        caller: Caller,
    ) -> Command {
        let payload = payload.unwrap_or_default().value;
        let command_id = idempotency::of_metadata(metadata.as_ref(), &method, &payload).unwrap_or_else(|error| {
            let text = format!("{}.{} is called without a key: {error}", method.service, method.name);
            tracing::warn!("{text}");
            self.function.report_error(text);
            None
        });
        Command {
            type_url: method.input_type_url.clone(),
            requests: Requests::One(payload),
            metadata: metadata.unwrap_or_default(),
            command_id,
            deadline,
            received_at: self.clock.now(),
            caller,
            method,
        }
    }

    fn component(&self, method: &MethodSpec) -> Result<Arc<dyn Component>, CallError> {
        self.table.load().components.get(&method.service).cloned().ok_or_else(|| not_served(method))
    }

    /// Carries out a command of which one reply is wanted.
    pub fn call(&self, command: Command) -> BoxFuture<'static, Answer> {
        let component = match self.component(&command.method) {
            Ok(component) => component,
            Err(error) => return std::future::ready(Err(error)).boxed(),
        };
        let (method, deadline, clock) = (command.method.clone(), command.deadline, self.clock.clone());
        let answer = component.unary(command);
        async move {
            match answer.await {
                Ok(reply) => Ok(reply.map(|reply| wrapped(&method, reply))),
                Err(error) => Err(too_late(error, deadline, &clock)),
            }
        }
        .boxed()
    }

    /// Carries out a command with any number of replies.
    pub fn stream(&self, command: Command) -> BoxFuture<'static, Result<Replies, CallError>> {
        let component = match self.component(&command.method) {
            Ok(component) => component,
            Err(error) => return std::future::ready(Err(error)).boxed(),
        };
        let (method, deadline, clock) = (command.method.clone(), command.deadline, self.clock.clone());
        let replies = component.streamed(command);
        async move {
            let replies = replies.await.map_err(|error| too_late(error, deadline, &clock))?;
            Ok(match &*method.output_type_url {
                ANY => replies.map(move |reply| reply.map(|reply| wrapped(&method, reply))).boxed(),
                _ => replies,
            })
        }
        .boxed()
    }

    /// Refuses calls while more is under way than the node can bear: what a caller sets off may outlive it, so
    /// the limit of calls alone bounds nothing.
    fn admit(&self) -> Result<(), CallError> {
        if self.tasks.len() < self.settings.under_way_max {
            return Ok(());
        }
        let text = "too many side effects and forwards are under way; try again later";
        Err(CallError::status(Code::ResourceExhausted, text))
    }

    fn command_of(&self, call: Call) -> Command {
        let Call { method, metadata, command_id, deadline, requests } = call;
        Command {
            type_url: method.input_type_url.clone(),
            requests,
            metadata,
            command_id,
            deadline,
            received_at: self.clock.now(),
            caller: Caller::client(),
            method,
        }
    }
}

impl Dispatch for Arc<Router> {
    fn dispatch(&self, call: Call) -> BoxFuture<'static, Result<Replies, CallError>> {
        match self.admit() {
            Ok(()) => self.stream(self.command_of(call)),
            Err(error) => std::future::ready(Err(error)).boxed(),
        }
    }

    fn dispatch_unary(&self, call: Call) -> BoxFuture<'static, Answer> {
        match self.admit() {
            Ok(()) => self.call(self.command_of(call)),
            Err(error) => std::future::ready(Err(error)).boxed(),
        }
    }
}

fn not_served(method: &MethodSpec) -> CallError {
    let text = format!("service {} is not served at the moment", method.service);
    CallError::status(Code::Unavailable, text)
}

fn shutting_down() -> CallError {
    CallError::status(Code::Unavailable, "the sidecar is shutting down")
}

/// The reply for the caller: none when the user function gave no payload.
pub(crate) fn to_reply(reply: proto::cloudstate::Reply) -> Option<Reply> {
    let Any { type_url, value } = reply.payload?;
    Some(Reply { payload: value, type_url: Arc::from(type_url), metadata: reply.metadata })
}

/// A method that declares `google.protobuf.Any` sends its clients that message: a reply of another type is
/// wrapped in it.
fn wrapped(method: &MethodSpec, reply: Reply) -> Reply {
    if &*method.output_type_url != ANY || &*reply.type_url == ANY {
        return reply;
    }
    let Reply { payload, type_url, metadata } = reply;
    let any = Any { type_url: type_url.to_string(), value: payload };
    Reply { payload: any.encode_to_vec().into(), type_url: method.output_type_url.clone(), metadata }
}

/// A command that was not carried out for want of something, and whose time is over, was too late.
fn too_late(error: CallError, deadline: Option<Tick>, clock: &Clock) -> CallError {
    match &error {
        CallError::Status(status)
            if status.code() == Code::Unavailable && deadline.is_some_and(|at| at <= clock.now()) =>
        {
            CallError::status(Code::DeadlineExceeded, format!("no answer in time: {}", status.message()))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{EntityType, SpecSettings};

    fn method(output_type_url: &str) -> MethodSpec {
        let entity = proto::cloudstate::Entity {
            entity_type: EntityType::Action.as_str().to_owned(),
            service_name: "cloudstate.tck.model.action.ActionTwo".to_owned(),
            ..Default::default()
        };
        let spec = proto::cloudstate::EntitySpec {
            proto: bytes::Bytes::from_static(proto::model::FILE_DESCRIPTOR_SET),
            entities: vec![entity],
            service_info: None,
        };
        let settings = SpecSettings {
            strict_version: false,
            any_version: true,
            supported: EntityType::ALL.to_vec(),
            relay_timeouts: Default::default(),
            topics: Default::default(),
        };
        let served = ServedSpec::check(&spec, &settings).expect("the model is valid");
        let method = served.method("cloudstate.tck.model.action.ActionTwo", "Call").expect("the model has it");
        MethodSpec { output_type_url: output_type_url.into(), ..MethodSpec::clone(method) }
    }

    fn reply(type_url: &str, payload: &'static [u8]) -> Reply {
        Reply { payload: bytes::Bytes::from_static(payload), type_url: type_url.into(), metadata: None }
    }

    #[test]
    fn a_reply_of_any_type_is_wrapped_once_and_only_where_the_method_says_any() {
        let json = || reply("json.cloudstate.io/object", b"payload");
        let any = wrapped(&method(ANY), json());
        assert_eq!(&*any.type_url, ANY);
        let inner = Any::decode(any.payload.clone()).expect("an Any");
        assert_eq!((inner.type_url.as_str(), inner.value.as_ref()), ("json.cloudstate.io/object", &b"payload"[..]));
        assert_eq!(wrapped(&method(ANY), any.clone()), any);
        assert_eq!(wrapped(&method("type.googleapis.com/a.B"), json()), json());
    }

    #[test]
    fn only_asynchronous_effects_make_what_follows_asynchronous() {
        let method = Arc::new(method(ANY));
        let waited = Caller::client().then(&method, Reason::SideEffectOf).then(&method, Reason::ForwardedFrom);
        assert!(!waited.is_asynchronous());
        let unwatched = Caller::client().then(&method, Reason::AsynchronousSideEffectOf);
        assert!(unwatched.then(&method, Reason::ForwardedFrom).is_asynchronous());
    }
}
