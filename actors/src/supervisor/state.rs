//! What a supervisor decides. Pure: what happened and when go in, what to do comes out.
//!
//! Invariant: at most one child is being stopped at a time, and none is started while one is: a new group begins only
//! when the old one has ended.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Tick;

/// Who is restarted when a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupStrategy {
    /// That child alone: its siblings do not depend on it.
    OneForOne,
    /// All of them: each depends on the others.
    OneForAll,
    /// That child and those started after it: each depends on those before it.
    RestForOne,
}

/// Which ends of a child call for a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartKind {
    /// Every end: the child is to be there always.
    Permanent,
    /// A failure only: a child that stops by itself has done its work. It begins anew with its group all the same.
    Transient,
    /// None; a group restart stops it for good.
    Temporary,
}

impl RestartKind {
    fn comes_back(self, failed: bool) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient => failed,
            Self::Temporary => false,
        }
    }
}

/// How many restarts within how long are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Intensity {
    pub(super) max: u32,
    pub(super) within: Duration,
}

/// Where a child is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Running,
    /// Told to stop, and not yet ended.
    Stopping,
    /// Ended, and to be started again as soon as its group has ended.
    Returning,
    /// Ended for good, unless its group restarts.
    Over,
}

/// What the supervisor is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Start(usize),
    Stop(usize),
    /// All children have ended: end too.
    Finish(End),
}

/// Why the supervisor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was told to.
    ShutDown,
    /// This child was the one that failed once too often.
    GaveUp(usize),
}

#[derive(Debug)]
struct Child {
    kind: RestartKind,
    status: Status,
    /// Belongs to the group that is being restarted.
    member: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    Watch,
    RestartGroup,
    End(End),
}

/// The children of a supervisor in the order they start.
#[derive(Debug)]
pub(super) struct State {
    strategy: GroupStrategy,
    intensity: Intensity,
    children: Vec<Child>,
    restarts: VecDeque<Tick>, // those within the intensity's window
    plan: Plan,
}

impl State {
    pub(super) fn new(
        strategy: GroupStrategy,
        intensity: Intensity,
        kinds: impl IntoIterator<Item = RestartKind>,
    ) -> Self {
        let child = |kind| Child { kind, status: Status::Over, member: false };
        let children = kinds.into_iter().map(child).collect();
        Self { strategy, intensity, children, restarts: VecDeque::new(), plan: Plan::Watch }
    }

    /// Starts all children, in order.
    pub(super) fn start(&mut self) -> Vec<Effect> {
        let started = self.children.iter_mut().enumerate().map(|(index, child)| {
            child.status = Status::Running;
            Effect::Start(index)
        });
        started.collect()
    }

    /// A child has ended, for whatever reason.
    pub(super) fn ended(&mut self, index: usize, failed: bool, now: Tick) -> Vec<Effect> {
        let child = &mut self.children[index];
        let on_its_own = child.status == Status::Running;
        let comes_back = child.kind.comes_back(failed);
        child.status = if child.member { Status::Returning } else { Status::Over };
        // Who belongs to a group that restarts anyway is no further reason to restart it.
        let reason = on_its_own && comes_back && !child.member && !matches!(self.plan, Plan::End(_));
        if reason {
            if self.too_many(now) {
                self.end(End::GaveUp(index));
            } else {
                self.gather(index);
            }
        }
        self.go_on()
    }

    /// Stops all children, the last first, each only when the one after it has ended.
    pub(super) fn shut_down(&mut self) -> Vec<Effect> {
        if !matches!(self.plan, Plan::End(_)) {
            self.end(End::ShutDown);
        }
        self.go_on()
    }

    pub(super) fn status(&self, index: usize) -> Status {
        self.children[index].status
    }

    /// Whether a restart now is one too many; if not, it is counted.
    fn too_many(&mut self, now: Tick) -> bool {
        while self.restarts.front().is_some_and(|&at| now - at >= self.intensity.within) {
            self.restarts.pop_front();
        }
        if self.restarts.len() >= self.intensity.max as usize {
            return true;
        }
        self.restarts.push_back(now);
        false
    }

    /// Marks those that are restarted with `index`.
    fn gather(&mut self, index: usize) {
        let group = match self.strategy {
            GroupStrategy::OneForOne => index..index + 1,
            GroupStrategy::OneForAll => 0..self.children.len(),
            GroupStrategy::RestForOne => index..self.children.len(),
        };
        for child in &mut self.children[group] {
            child.member = true;
            if child.status == Status::Over {
                child.status = Status::Returning;
            }
        }
        self.plan = Plan::RestartGroup;
    }

    fn end(&mut self, end: End) {
        self.plan = Plan::End(end);
        for child in &mut self.children {
            child.member = false;
            if child.status == Status::Returning {
                child.status = Status::Over;
            }
        }
    }

    fn go_on(&mut self) -> Vec<Effect> {
        if self.children.iter().any(|child| child.status == Status::Stopping) {
            return Vec::new();
        }
        let ending = matches!(self.plan, Plan::End(_));
        let last = self.children.iter().rposition(|child| child.status == Status::Running && (ending || child.member));
        match (self.plan, last) {
            (Plan::Watch, _) => Vec::new(),
            (Plan::RestartGroup | Plan::End(_), Some(last)) => {
                self.children[last].status = Status::Stopping;
                vec![Effect::Stop(last)]
            }
            (Plan::RestartGroup, None) => self.start_group(),
            (Plan::End(end), None) => vec![Effect::Finish(end)],
        }
    }

    fn start_group(&mut self) -> Vec<Effect> {
        self.plan = Plan::Watch;
        let mut effects = Vec::new();
        for (index, child) in self.children.iter_mut().enumerate().filter(|(_, child)| child.member) {
            child.member = false;
            child.status = Status::Over;
            if child.kind != RestartKind::Temporary {
                child.status = Status::Running;
                effects.push(Effect::Start(index));
            }
        }
        effects
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WITHIN: Duration = Duration::from_secs(5);

    fn state(strategy: GroupStrategy, max: u32, kinds: &[RestartKind]) -> State {
        let mut state = State::new(strategy, Intensity { max, within: WITHIN }, kinds.iter().copied());
        state.start();
        state
    }

    fn at(second: u64) -> Tick {
        Tick::START + Duration::from_secs(second)
    }

    #[test]
    fn restarts_are_forgotten_after_the_window() {
        let mut state = state(GroupStrategy::OneForOne, 1, &[RestartKind::Permanent]);
        assert_eq!(state.ended(0, true, at(0)), [Effect::Start(0)]);
        assert_eq!(state.ended(0, true, at(5)), [Effect::Start(0)]);
        assert_eq!(state.ended(0, true, at(9)), [Effect::Finish(End::GaveUp(0))]);
    }

    #[test]
    fn an_earlier_child_that_fails_meanwhile_widens_the_group() {
        let mut state = state(GroupStrategy::RestForOne, 9, &[RestartKind::Permanent; 4]);
        assert_eq!(state.ended(2, true, at(0)), [Effect::Stop(3)]);
        assert_eq!(state.ended(1, true, at(0)), []);
        assert_eq!(state.ended(3, false, at(0)), [Effect::Start(1), Effect::Start(2), Effect::Start(3)]);
        assert_eq!(state.restarts.len(), 2, "two reasons to restart");
    }

    #[test]
    fn a_shutdown_ends_a_restart_that_is_under_way() {
        let mut state = state(GroupStrategy::OneForAll, 9, &[RestartKind::Permanent; 3]);
        assert_eq!(state.ended(0, true, at(0)), [Effect::Stop(2)]);
        assert_eq!(state.shut_down(), []);
        assert_eq!(state.ended(2, false, at(0)), [Effect::Stop(1)]);
        assert_eq!(state.ended(1, false, at(0)), [Effect::Finish(End::ShutDown)]);
    }

    fn kind() -> impl Strategy<Value = RestartKind> {
        prop_oneof![Just(RestartKind::Permanent), Just(RestartKind::Transient), Just(RestartKind::Temporary)]
    }

    fn strategy() -> impl Strategy<Value = GroupStrategy> {
        prop_oneof![Just(GroupStrategy::OneForOne), Just(GroupStrategy::OneForAll), Just(GroupStrategy::RestForOne)]
    }

    proptest! {
        /// Whatever ends in whatever order: nothing runs twice, nothing is started while another stops, what is told
        /// to stop runs, and once told to shut down the supervisor comes to its end.
        #[test]
        fn a_new_group_waits_for_the_old(
            strategy in strategy(),
            kinds in prop::collection::vec(kind(), 1..6),
            ends in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..40),
            max in 0u32..20,
        ) {
            let mut state = State::new(strategy, Intensity { max, within: WITHIN }, kinds.iter().copied());
            let mut alive = vec![false; kinds.len()];
            let mut stopping: Option<usize> = None;
            let mut finished = false;
            let mut carry_out = |effects: Vec<Effect>, alive: &mut Vec<bool>, stopping: &mut Option<usize>| {
                for effect in effects {
                    match effect {
                        Effect::Start(index) => {
                            assert!(!alive[index] && stopping.is_none());
                            alive[index] = true;
                        }
                        Effect::Stop(index) => {
                            assert!(alive[index] && stopping.is_none());
                            *stopping = Some(index);
                        }
                        Effect::Finish(_) => {
                            assert!(alive.iter().all(|alive| !alive));
                            finished = true;
                        }
                    }
                }
                finished
            };
            carry_out(state.start(), &mut alive, &mut stopping);
            let mut over = false;
            for (which, failed) in ends {
                let running: Vec<usize> = (0..alive.len()).filter(|&index| alive[index]).collect();
                if running.is_empty() || over {
                    break;
                }
                let index = running[which.index(running.len())];
                alive[index] = false;
                if stopping == Some(index) {
                    stopping = None;
                }
                over = carry_out(state.ended(index, failed, at(0)), &mut alive, &mut stopping);
            }
            if !over {
                over = carry_out(state.shut_down(), &mut alive, &mut stopping);
            }
            while let Some(index) = stopping.take() {
                alive[index] = false;
                over = carry_out(state.ended(index, false, at(0)), &mut alive, &mut stopping);
            }
            prop_assert!(over);
        }
    }
}
