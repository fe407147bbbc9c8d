//! [`ControlThread`]: a thread with a runtime of its own, for all that must not wait for what users do.

use crate::seams::Spawner;
use std::{io, sync::Arc, thread};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// A thread that runs the tasks of membership, failure detection and the control lane, and nothing else.
///
/// Dropped, it ends: at once if it waits, else once the task that runs yields. Tasks that are left are dropped with it.
#[derive(Debug)]
pub(crate) struct ControlThread {
    handle: Handle,
    /// Dropped, it ends the thread.
    _until: oneshot::Sender<()>,
}

impl ControlThread {
    /// Starts it.
    ///
    /// # Errors
    /// The system gives no thread, or no means to wait for sockets.
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (_until, ends) = oneshot::channel::<()>();
        // The sender says nothing: it is dropped.
        let run = move || drop(runtime.block_on(ends));
        thread::Builder::new().name("cluster-control".to_owned()).spawn(run)?;
        Ok(Self { handle, _until })
    }

    /// Where sockets and clocks of the control lane are made: enter it first.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// For [`Seams::control`](crate::seams::Seams::control).
    pub(crate) fn spawner(&self) -> Arc<dyn Spawner> {
        Arc::new(self.handle.clone())
    }
}
