//! What a test does to a cluster.

use super::SimCluster;
use crate::{remote::door::Remote as _, seams::Spawner as _, testkit::net::NetFaults};
use std::time::Duration;

impl SimCluster {
    /// Ends the process there at once: nothing of it runs any more, no destructor has an effect on other nodes, and the kernel
    /// of its host closes its connections, as with SIGKILL. Its values are dropped, so a `Drop` that writes to what the test
    /// has does so, perhaps late. Does nothing if none runs.
    pub fn kill(&mut self, node: usize) {
        self.end(node, true, "is killed");
    }

    /// Takes the power from the host there: as [`kill`](Self::kill), but nobody is told. Until it is
    /// [started](Self::start) nothing answers at its address.
    pub fn power_off(&mut self, node: usize) {
        self.end(node, false, "loses power");
    }

    fn end(&mut self, node: usize, power: bool, what: &str) {
        // First its network is dead, then what runs on it.
        self.net.stop(node, power);
        let _entered = self.runtime.enter();
        if self.machines[node].life.take().is_some() {
            self.note(node, what);
        }
    }

    /// [Kills](Self::kill) what runs there, and starts another life.
    pub fn restart(&mut self, node: usize) {
        self.kill(node);
        self.start(node);
    }

    /// Nothing of the process there goes on for so long, while time passes: as with SIGSTOP and SIGCONT, or a machine that
    /// was suspended. What comes for it meanwhile waits.
    pub fn pause(&mut self, node: usize, time: Duration) {
        let Some(life) = &self.machines[node].life else { return };
        let (process, clock) = (life.process.clone(), self.clock.clone());
        process.stand_still();
        self.runtime.spawn(async move {
            clock.sleep(time).await;
            process.go_on();
        });
        self.note(node, "stands still");
    }

    /// Ends [`pause`](Self::pause) early.
    pub fn resume(&mut self, node: usize) {
        if let Some(life) = &self.machines[node].life {
            life.process.go_on();
            self.note(node, "goes on");
        }
    }

    /// Whether a process runs there and does not stand still.
    pub fn is_active(&self, node: usize) -> bool {
        self.machines[node].life.as_ref().is_some_and(|life| !life.process.stands_still())
    }

    /// Sets the wall clock there forth or back. Nothing that waits may notice.
    pub fn jump_wall(&mut self, node: usize, by_ms: i64) {
        let clock = &self.machines[node].clock;
        clock.set_wall_ms(clock.wall_ms().wrapping_add_signed(by_ms));
        self.note(node, "has another wall clock");
    }

    /// The member there leaves: what it does is handed over, then its process ends.
    ///
    /// # Panics
    /// As [`cluster`](Self::cluster).
    pub fn leave(&mut self, node: usize, within: Duration) {
        let cluster = self.cluster(node);
        if let Some(life) = &self.machines[node].life {
            life.process.spawn(Box::pin(async move { drop(cluster.leave(within).await) }));
        }
        self.note(node, "leaves");
    }

    /// `by` has `node` given up, as an operator does.
    ///
    /// # Panics
    /// As [`cluster`](Self::cluster), for `by`.
    pub fn down(&mut self, by: usize, node: usize) {
        let _entered = self.runtime.enter();
        // One that is no member need not be given up.
        let _ = self.cluster(by).down(&self.machines[node].address);
        self.note(by, "gives one up");
    }

    /// `by` never again has a word with the life that runs at `node`, as after an overflow of what must arrive.
    ///
    /// # Panics
    /// As [`cluster`](Self::cluster), for both.
    pub fn quarantine(&mut self, by: usize, node: usize) {
        let _entered = self.runtime.enter();
        self.cluster(by).remoting().quarantine(self.cluster(node).me());
        self.note(by, "cuts one off");
    }

    // ---- the network

    /// Nothing passes from `from` to `to`, in this direction. What streams carry is held back.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.net.cut(from, to);
    }

    /// It passes again.
    pub fn heal(&mut self, from: usize, to: usize) {
        self.net.heal(from, to);
    }

    /// Nothing passes between nodes of different parts; what was cut before stays so. A node that is in no part can talk to
    /// all.
    pub fn split(&mut self, parts: &[&[usize]]) {
        for (one, here) in parts.iter().enumerate() {
            for there in parts.iter().skip(one + 1) {
                for (from, to) in here.iter().flat_map(|from| there.iter().map(move |to| (*from, *to))) {
                    self.net.cut(from, to);
                    self.net.cut(to, from);
                }
            }
        }
    }

    /// Nothing passes between `node` and all others.
    pub fn isolate(&mut self, node: usize) {
        let others: Vec<usize> = (0..self.nodes()).filter(|other| *other != node).collect();
        self.split(&[&[node], &others]);
    }

    /// Whether nothing passes from `from` to `to`.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.net.is_cut(from, to)
    }

    /// Whether streams from `from` to `to` stand still.
    pub fn is_stalled(&self, from: usize, to: usize) -> bool {
        self.net.is_stalled(from, to)
    }

    /// No link is cut, and no stream stands still. Who was given up stays away: [`recover`](Self::recover) or
    /// [`start`](Self::start) begins it again.
    pub fn heal_all(&mut self) {
        self.net.heal_all();
    }

    /// Bytes of streams from `from` to `to` stand still, or go on. Datagrams pass.
    pub fn stall(&mut self, from: usize, to: usize, stalled: bool) {
        self.net.stall(from, to, stalled);
    }

    /// All connections between the two break.
    pub fn reset(&mut self, one: usize, two: usize) {
        self.net.reset(one, two);
    }

    /// What passes from `from` to `to` takes so much longer.
    pub fn lag(&mut self, from: usize, to: usize, lag: Duration) {
        self.net.lag(from, to, lag.as_millis() as u64);
    }

    /// What the network does by itself from now on.
    pub fn set_faults(&mut self, faults: NetFaults) {
        self.net.set_faults(faults);
    }

    /// How often the node there has sent a datagram or tried to connect so far, in all its lives.
    pub fn sent(&self, node: usize) -> u64 {
        self.net.sent(node)
    }

    /// How many frames of the ordinary lane from `from` to `to` may have been lost with connections so far.
    pub(crate) fn lost(&self, from: usize, to: usize) -> u64 {
        self.net.lost(from, to)
    }

    /// Datagrams sent by all so far, and how many of them were lost.
    pub fn datagrams(&self) -> (u64, u64) {
        let carried = self.net.carried();
        (carried.datagrams, carried.lost)
    }
    /// Datagrams and pieces of streams sent by all so far, and the bytes in both, without what a real network adds.
    pub fn traffic(&self) -> (u64, u64) {
        let carried = self.net.carried();
        (carried.datagrams + carried.writes, carried.bytes)
    }
}
