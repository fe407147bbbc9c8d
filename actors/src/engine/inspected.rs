//! What an actor says about itself when it is asked; see [`crate::inspect`].

use super::Engine;
use crate::actor::Actor;
use crate::inspect::{Answer, Probe};

impl<A: Actor> Engine<A> {
    /// Answers a probe from the runtime's lane.
    #[cold]
    pub(super) fn inspected(&self, probe: Probe) {
        probe.answer(&Answer::About { restarts: self.ctx.restarts(), children: self.ctx.child_controls() });
    }

    /// Answers a probe that has come through the mailbox.
    #[cold]
    pub(super) fn reached(&self, probe: Probe) {
        probe.answer(&Answer::Through { at: self.ctx.clock().now() });
    }
}
