//! Delivers one event: as a command, through the router, like any other call.

use std::sync::Arc;
use std::time::Duration;

use actors::Clock;
use futures_util::StreamExt;
use futures_util::stream;
use tokio_util::sync::CancellationToken;

use super::event::Event;
use super::plan::Consumer;
use super::state::Failure;
use crate::call::Requests;
use crate::entity::Command;
use crate::router::{Caller, Router};
use crate::spec::MethodSpec;
use crate::user_function::UserFunction;

/// What deliveries have in common.
#[derive(Clone)]
pub struct Delivery {
    /// Where commands go.
    pub router: Arc<Router>,
    /// Who serves them in the end: while it is away, nothing is delivered.
    pub function: UserFunction,
    /// The source of time.
    pub clock: Clock,
    /// How long an event may take, when its service says nothing else.
    pub timeout: Duration,
    /// Cancelled when no delivery should be begun any more.
    pub stopping: CancellationToken,
}

/// The function may be away for as long as it likes; this is only how often the wait is begun anew.
const LINK_WAIT: Duration = Duration::from_secs(60);

impl Delivery {
    /// Hands `event` to the method that `consumer` has for it; ready when it is handled, with all side effects and
    /// forwards.
    pub async fn deliver(self, consumer: Arc<Consumer>, event: Event) -> Result<(), Failure> {
        let payload = event.payload().map_err(|error| Failure::Hopeless(error.to_string()))?;
        let planned = consumer.method(&payload.type_url).map_err(|text| {
            self.function.report_error(text.clone());
            Failure::Hopeless(text)
        })?;
        // A function that is away, or being restarted, is no fault of the event.
        tokio::select! {
            () = self.connected() => {}
            () = self.stopping.cancelled() => return Err(Failure::NotMade),
        }
        let limit = planned.relay_timeout.unwrap_or(self.timeout);
        let command = self.command(planned.clone(), &event, payload, limit);
        let handled = self.clock.timeout(limit, self.handled(command)).await;
        handled.unwrap_or_else(|_| Err(Failure::Failed(format!("not handled within {limit:?}"))))
    }

    async fn connected(&self) {
        while self.function.link(LINK_WAIT).await.is_err() {}
    }

    fn command(&self, method: Arc<MethodSpec>, event: &Event, payload: proto::Any, limit: Duration) -> Command {
        let now = self.clock.now();
        let requests = if method.client_streaming {
            Requests::Many(stream::iter([Ok(payload.value)]).boxed())
        } else {
            Requests::One(payload.value)
        };
        Command {
            // A method that takes any is given the event itself, not an `Any` in an `Any`.
            type_url: payload.type_url.into(),
            metadata: event.metadata(),
            command_id: None,
            deadline: Some(now + limit),
            received_at: now,
            caller: Caller::client(),
            requests,
            method,
        }
    }

    /// A failure of the function is one of the delivery: nothing is acknowledged that was not handled.
    async fn handled(&self, command: Command) -> Result<(), Failure> {
        let failed = |error: crate::call::CallError| Failure::Failed(error.to_string());
        if !command.method.server_streaming && !command.method.client_streaming {
            return self.router.call(command).await.map(drop).map_err(failed);
        }
        let mut replies = self.router.stream(command).await.map_err(failed)?;
        while let Some(reply) = replies.next().await {
            reply.map_err(failed)?;
        }
        Ok(())
    }
}
