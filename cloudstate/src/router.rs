//! Where commands go: to entities by key, and from an entity's answer on to side effects and forwards
//! (CloudState protocol: forwards, side effects and metadata).
//!
//! An entity hands its answer over once its events are durable, so what happens here never holds the
//! entity up, and a caller that goes away does not take the side effects with it.

use std::collections::HashMap;
use std::sync::Arc;

use actors::{Clock, Tick};
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use proto::Any;
use proto::cloudstate::{Forward, Metadata, SideEffect, client_action};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tonic::Code;

use crate::call::{Call, CallError, Dispatch, Replies, Reply, Requests};
use crate::entity::{Answer, Command, Component, EntityCommand};
use crate::spec::{MethodSpec, ServedSpec};
use crate::user_function::UserFunction;

/// Bounds of forwards and side effects.
#[derive(Debug, Clone)]
pub struct RouterSettings {
    /// Longest chain of forwards and side effects that one call may set off.
    pub hops_max: usize,
    /// Asynchronous side effects that may be running at once; further ones wait.
    pub asynchronous_max: usize,
}

/// Through which commands a command came; [`Caller::client`] for one from outside.
#[derive(Clone, Debug, Default)]
pub struct Caller(Option<Arc<Hop>>);

#[derive(Debug)]
struct Hop {
    method: Arc<MethodSpec>,
    reason: Reason,
    caller: Caller,
}

#[derive(Clone, Copy, Debug)]
enum Reason {
    SideEffectOf,
    ForwardedFrom,
}

impl Reason {
    const fn as_str(self) -> &'static str {
        match self {
            Reason::SideEffectOf => "side-effect of",
            Reason::ForwardedFrom => "forwarded from",
        }
    }
}

impl Caller {
    /// A client called.
    pub fn client() -> Self {
        Self(None)
    }

    fn hops(&self) -> usize {
        std::iter::successors(self.0.as_ref(), |hop| hop.caller.0.as_ref()).count()
    }

    /// The callers, innermost first, in the wording of the protocol's reports.
    fn trace(&self) -> String {
        let mut text = String::new();
        let Some(first) = &self.0 else { return text };
        text.push_str(&format!("\n  {}{}.{}", first.reason.as_str(), first.method.service, first.method.name));
        let mut next = &first.caller;
        while let Some(hop) = &next.0 {
            text.push_str(&format!("\n  {} {}.{}", hop.reason.as_str(), hop.method.service, hop.method.name));
            next = &hop.caller;
        }
        text
    }
}

/// The command that a response answers, as far as it matters for what the response sets off.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The method that was called.
    pub method: Arc<MethodSpec>,
    /// Through which forwards and side effects the command came.
    pub caller: Caller,
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
        if reply.type_url != method.output_type_url {
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
            let EntityCommand { method, deadline, caller, reply_to, .. } = command;
            let answer = router.settle(&method, &caller, deadline, effects, action).await;
            router.check_reply(&method, &answer);
            reply_to.tell(answer);
        });
    }

    /// Runs `effects` in order, then carries `action` out: one element of a streamed response. The replies are that
    /// element, or all those of the command it forwards to.
    ///
    /// # Errors
    /// The function's failure, or why an effect or a forward could not be carried out.
    pub async fn finish(
        self: &Arc<Self>,
        origin: &Origin,
        effects: Vec<SideEffect>,
        action: Option<client_action::Action>,
    ) -> Result<Replies, CallError> {
        let Origin { method, caller, deadline } = origin;
        for effect in effects {
            self.run(method, caller, effect).await?;
        }
        let reply = match action {
            Some(client_action::Action::Reply(reply)) => to_reply(reply),
            Some(client_action::Action::Failure(failure)) => return Err(CallError::Failure(failure.description)),
            Some(client_action::Action::Forward(Forward { service_name, command_name, payload, metadata })) => {
                let from = self.from(method, caller, Reason::ForwardedFrom);
                let target = self.target(&service_name, &command_name, &from)?;
                return self.stream(self.command(target, payload, metadata, *deadline, from)).await;
            }
            None => None,
        };
        Ok(stream::iter(reply.map(Ok)).boxed())
    }

    async fn settle(
        self: &Arc<Self>,
        method: &Arc<MethodSpec>,
        caller: &Caller,
        deadline: Option<Tick>,
        effects: Vec<SideEffect>,
        action: Option<client_action::Action>,
    ) -> Answer {
        for effect in effects {
            self.run(method, caller, effect).await?;
        }
        match action {
            Some(client_action::Action::Reply(reply)) => Ok(to_reply(reply)),
            Some(client_action::Action::Failure(failure)) => Err(CallError::Failure(failure.description)),
            Some(client_action::Action::Forward(Forward { service_name, command_name, payload, metadata })) => {
                let from = self.from(method, caller, Reason::ForwardedFrom);
                let target = self.target(&service_name, &command_name, &from)?;
                self.call(self.command(target, payload, metadata, deadline, from)).await
            }
            None => Ok(None),
        }
    }

    /// Runs one side effect: a synchronous one to its end, an asynchronous one is only started.
    ///
    /// A failure that the target answers is its own affair; only an effect that could not be carried
    /// out fails the response, and only a synchronous one.
    async fn run(
        self: &Arc<Self>,
        method: &Arc<MethodSpec>,
        caller: &Caller,
        effect: SideEffect,
    ) -> Result<(), CallError> {
        let from = self.from(method, caller, Reason::SideEffectOf);
        let target = match self.target(&effect.service_name, &effect.command_name, &from) {
            Ok(target) => target,
            Err(error) if effect.synchronous => return Err(error),
            Err(_) => return Ok(()), // reported to the user function
        };
        let command = self.command(target, effect.payload, effect.metadata, None, from);
        if effect.synchronous {
            return match self.call(command).await {
                Ok(_) | Err(CallError::Failure(_)) => Ok(()),
                Err(error) => Err(error),
            };
        }
        // Waiting for a permit is the brake: a function that sets off more than the node can carry
        // out gets its own replies later.
        let permit = self.asynchronous.clone().acquire_owned().await.map_err(|_| shutting_down())?;
        let router = self.clone();
        self.tasks.spawn(async move {
            let name = command.method.name.clone();
            if let Err(error) = router.call(command).await {
                tracing::debug!(command = %name, %error, "asynchronous side effect failed");
            }
            drop(permit);
        });
        Ok(())
    }

    fn from(&self, method: &Arc<MethodSpec>, caller: &Caller, reason: Reason) -> Caller {
        Caller(Some(Arc::new(Hop { method: method.clone(), reason, caller: caller.clone() })))
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
        Command {
            type_url: method.input_type_url.clone(),
            requests: Requests::One(payload.unwrap_or_default().value),
            metadata: metadata.unwrap_or_default(),
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
        match self.component(&command.method) {
            Ok(component) => component.unary(command),
            Err(error) => std::future::ready(Err(error)).boxed(),
        }
    }

    /// Carries out a command with any number of replies.
    pub fn stream(&self, command: Command) -> BoxFuture<'static, Result<Replies, CallError>> {
        match self.component(&command.method) {
            Ok(component) => component.streamed(command),
            Err(error) => std::future::ready(Err(error)).boxed(),
        }
    }

    fn command_of(&self, call: Call) -> Command {
        let Call { method, metadata, deadline, requests } = call;
        Command {
            type_url: method.input_type_url.clone(),
            requests,
            metadata,
            deadline,
            received_at: self.clock.now(),
            caller: Caller::client(),
            method,
        }
    }
}

impl Dispatch for Arc<Router> {
    fn dispatch(&self, call: Call) -> BoxFuture<'static, Result<Replies, CallError>> {
        self.stream(self.command_of(call))
    }

    fn dispatch_unary(&self, call: Call) -> BoxFuture<'static, Answer> {
        self.call(self.command_of(call))
    }
}

fn not_served(method: &MethodSpec) -> CallError {
    let kind = method.entity_type.as_str();
    let text = format!("{}.{}: this version of the sidecar does not serve {kind} yet", method.service, method.name);
    CallError::status(Code::Unimplemented, text)
}

fn shutting_down() -> CallError {
    CallError::status(Code::Unavailable, "the sidecar is shutting down")
}

/// The reply for the caller: none when the user function gave no payload.
pub(crate) fn to_reply(reply: proto::cloudstate::Reply) -> Option<Reply> {
    let Any { type_url, value } = reply.payload?;
    Some(Reply { payload: value, type_url: Arc::from(type_url), metadata: reply.metadata })
}
