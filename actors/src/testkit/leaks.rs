//! The end of a test: stopping actors, and finding those that were forgotten.

use std::sync::Arc;
use std::time::Duration;

use super::TestKit;
use crate::actor_ref::ActorRef;
use crate::inspect::TreeOptions;
use crate::path::ActorPath;
use crate::shutdown::ShutdownReport;

/// How long actors that are busy are waited for. All others answer without any time.
const LOOK: Duration = Duration::from_millis(1);

impl TestKit {
    /// As [`new`](TestKit::new); when the kit is dropped and an actor under `/user` is still alive, the test fails as by
    /// [`verify_no_leaks`](TestKit::verify_no_leaks).
    pub fn strict() -> Self {
        let mut kit = Self::new();
        kit.strict = true;
        kit
    }

    /// The actors under `/user`, at the top, that have not stopped. Whatever they spawned is alive with them.
    pub fn alive(&self) -> Vec<ActorPath> {
        self.settle();
        self.system.alive_at_top().into_iter().filter(|path| path.as_str().starts_with("/user/")).collect()
    }

    /// Lets everything happen that needs no time, then makes sure that no actor is left. Where one is busy with a message a
    /// millisecond may pass.
    ///
    /// # Panics
    /// When actors under `/user` are still alive; they and all below them are named, except what is below one that is busy.
    #[track_caller]
    pub fn verify_no_leaks(&self) {
        if self.alive().is_empty() {
            return;
        }
        let names = self.names_of_all().join(", ");
        panic!("still alive at the end of the test: {names}; stop them, with `TestKit::stop` for instance");
    }

    /// Of the actors under `/user`, whatever their depth.
    fn names_of_all(&self) -> Vec<String> {
        let options = TreeOptions { within: LOOK, ..TreeOptions::default() };
        let tree = self.block_on(self.system.tree_with(options));
        let under_user = tree.actors().iter().filter(|node| node.path.as_str().starts_with("/user/"));
        under_user
            .map(|node| match (node.children_known, node.left_out) {
                (false, _) => format!("{} (busy, perhaps with actors below it)", node.path.as_str()),
                (true, 0) => node.path.as_str().to_owned(),
                (true, more) => format!("{} (and {more} below it)", node.path.as_str()),
            })
            .collect()
    }

    /// Stops an actor at the top and waits until it has terminated, three seconds at most.
    ///
    /// # Panics
    /// When it has not by then. When `actor` is not at the top: others are stopped by their parents alone.
    #[track_caller]
    pub fn stop<M: Send + 'static>(&self, actor: &ActorRef<M>) {
        let path = actor.path();
        let at_top = path.system_uid() == self.system.uid()
            && path.as_str().strip_prefix("/user/").is_some_and(|name| !name.contains('/'));
        assert!(at_top, "{path} is not at the top of this kit's system; only its parent can stop it");
        actor.control_arc().stop();
        let within = self.dilated(self.ground.patience());
        let ended = self.probes.await_end(&self.ground, actor, within);
        assert!(ended, "{path} was told to stop and has not terminated within {within:?}");
    }

    /// Runs the system's [`CoordinatedShutdown`](crate::CoordinatedShutdown) to its end, in virtual time, and returns
    /// what did not go well. Probes live on.
    pub fn shutdown(&self) -> Arc<ShutdownReport> {
        self.block_on(self.system.coordinated_shutdown().run())
    }
}

impl Drop for TestKit {
    fn drop(&mut self) {
        if self.strict && !std::thread::panicking() {
            self.verify_no_leaks();
        }
    }
}
