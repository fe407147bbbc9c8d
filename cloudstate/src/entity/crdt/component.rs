//! The CRDT entities of a service as the router sees them.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use futures_util::{FutureExt, TryFutureExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::replies;
use crate::call::{CallError, Replies};
use crate::entity::region::RegionComponent;
use crate::entity::{Answer, Command, Component};
use crate::router::{Origin, Router};

/// One service of CRDT entities.
#[derive(Clone)]
pub struct CrdtComponent {
    region: RegionComponent,
    router: Arc<Router>,
    /// The tasks that carry the elements of streamed commands.
    pumps: TaskTracker,
    stopping: CancellationToken,
}

impl CrdtComponent {
    /// The entities of `region`.
    pub fn new(region: RegionComponent, router: Arc<Router>) -> Self {
        Self { region, router, pumps: TaskTracker::new(), stopping: CancellationToken::new() }
    }

    async fn open(self, command: Command) -> Result<Replies, CallError> {
        let Self { region, router, pumps, stopping } = self;
        let (sink, pump, replies) = replies::channel();
        // The deadline is that of the call's beginning: what an element forwards to has a time limit of its own.
        let origin =
            Origin { method: command.method.clone(), caller: command.caller.clone(), command_id: None, deadline: None };
        pumps.spawn(async move { pump.run(&router, origin, stopping).await });
        region.deliver(command, Some(sink)).await?;
        Ok(replies)
    }
}

impl Component for CrdtComponent {
    fn unary(&self, command: Command) -> BoxFuture<'static, Answer> {
        if command.method.server_streaming {
            let opened = self.clone().open(command);
            return opened.and_then(|mut replies| async move { replies.next().await.transpose() }).boxed();
        }
        self.region.unary(command)
    }

    fn streamed(&self, command: Command) -> BoxFuture<'static, Result<Replies, CallError>> {
        if command.method.server_streaming {
            return self.clone().open(command).boxed();
        }
        let answer = self.region.unary(command);
        answer.map_ok(|reply| stream::iter(reply.map(Ok)).boxed()).boxed()
    }

    fn end_streams(&self) {
        self.stopping.cancel();
    }

    fn drain(&self) -> BoxFuture<'static, ()> {
        self.stopping.cancel();
        self.pumps.close();
        let (region, pumps) = (self.region.drain(), self.pumps.clone());
        async move {
            region.await;
            pumps.wait().await;
        }
        .boxed()
    }
}
