//! One look at all actors: asks each for its children, level by level, and puts together what is known.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::TreeOptions;
use super::probe::{Answer, Lane};
use super::tree::{ActorNode, ActorState, ActorTree};
use crate::block_queue::Posture;
use crate::cell::Control;
use crate::cell_ref::ControlRef;
use crate::clock::Tick;
use crate::system::ActorSystem;

/// Where answers come in, from the actors' turns.
#[derive(Default)]
pub(crate) struct Listener(Mutex<Heard>);

#[derive(Default)]
struct Heard {
    answers: VecDeque<(usize, Lane, Answer)>,
    waker: Option<Waker>,
}

impl Listener {
    /// The next answer.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<(usize, Lane, Answer)> {
        let mut heard = self.0.lock();
        if let Some(answer) = heard.answers.pop_front() {
            return Poll::Ready(answer);
        }
        heard.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn hear(&self, index: usize, lane: Lane, answer: Answer) {
        let mut heard = self.0.lock();
        heard.answers.push_back((index, lane, answer));
        let waker = heard.waker.take();
        drop(heard);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Look<'a> {
    system: &'a ActorSystem,
    options: TreeOptions,
    listener: Arc<Listener>,
    seen: Vec<Seen>,
    /// Answers that are still to come.
    awaited: usize,
}

struct Seen {
    node: ActorNode,
    children: Vec<usize>,
    /// Since when it is asked, until it answers.
    asked: Option<Tick>,
    /// Since when a probe is in its mailbox.
    queued: Tick,
    gone: bool,
}

pub(super) async fn tree(system: &ActorSystem, options: TreeOptions) -> ActorTree {
    let mut look = Look { system, options, listener: Arc::default(), seen: Vec::new(), awaited: 0 };
    let mut top = Vec::new();
    for guardian in system.guardians() {
        let mut children = guardian.controls();
        let room = options.actors_max - look.seen.len();
        children.truncate(room);
        let mut indices: Vec<_> = children.into_iter().map(|child| look.visit(child, 0)).collect();
        look.by_name(&mut indices);
        top.extend(indices);
    }
    let answers = look.answers();
    // When the time is over what is known is the answer.
    let _ = system.clock().timeout(options.within, answers).await;
    look.into_tree(&top)
}

impl Look<'_> {
    fn visit(&mut self, actor: ControlRef, depth: usize) -> usize {
        let index = self.seen.len();
        let head = actor.head();
        self.seen.push(Seen {
            node: ActorNode {
                path: head.path().clone(),
                actor_type: head.actor_type(),
                depth,
                state: state(&*actor),
                queued: actor.queued(),
                restarts: None,
                turn_age: None,
                time_in_queue: None,
                children_known: false,
                left_out: 0,
            },
            children: Vec::new(),
            asked: None,
            queued: Tick::START,
            gone: false,
        });
        let inspector = self.system.inspector();
        let now = self.system.clock().now();
        if self.options.time_in_queue {
            self.awaited += 1;
            self.seen[index].queued = inspector.ask(&actor, Lane::Messages, now, &self.listener, index);
        }
        self.awaited += 1;
        self.seen[index].asked = Some(inspector.ask(&actor, Lane::Internal, now, &self.listener, index));
        index
    }

    /// Until all have answered.
    async fn answers(&mut self) {
        while self.awaited > 0 {
            let (index, lane, answer) = poll_fn(|cx| self.listener.poll(cx)).await;
            self.awaited -= 1;
            self.heard(index, lane, answer);
        }
    }

    fn heard(&mut self, index: usize, lane: Lane, answer: Answer) {
        match (lane, answer) {
            (_, Answer::Through { at }) => {
                let seen = &mut self.seen[index];
                seen.node.time_in_queue = Some(at - seen.queued);
            }
            (Lane::Messages, _) => {}
            (Lane::Internal, Answer::Gone) => {
                self.seen[index].asked = None;
                self.seen[index].gone = true;
            }
            (Lane::Internal, Answer::About { restarts, mut children }) => {
                let room = self.options.actors_max - self.seen.len();
                let seen = &mut self.seen[index];
                seen.asked = None;
                seen.node.restarts = Some(restarts);
                seen.node.children_known = true;
                seen.node.left_out = children.len().saturating_sub(room);
                children.truncate(room);
                let depth = seen.node.depth + 1;
                let mut indices: Vec<_> = children.into_iter().map(|child| self.visit(child, depth)).collect();
                self.by_name(&mut indices);
                self.seen[index].children = indices;
            }
        }
    }

    fn by_name(&self, indices: &mut [usize]) {
        indices.sort_by(|one, other| self.seen[*one].node.path.name().cmp(self.seen[*other].node.path.name()));
    }

    fn into_tree(self, top: &[usize]) -> ActorTree {
        let now = self.system.clock().now();
        let mut order = Vec::with_capacity(self.seen.len());
        let mut next: Vec<usize> = top.iter().rev().copied().collect();
        while let Some(index) = next.pop() {
            let seen = &self.seen[index];
            order.push(index);
            next.extend(seen.children.iter().rev());
        }
        let mut seen: Vec<_> = self.seen.into_iter().map(Some).collect();
        let nodes = order.into_iter().filter_map(|index| seen[index].take()).filter(|seen| !seen.gone);
        let actors = nodes.map(|seen| aged(self.system, seen, now)).collect();
        ActorTree { system: self.system.name().to_owned(), actors }
    }
}

/// One that has not answered has been in the same turn since it was asked, if it was in one then.
fn aged(system: &ActorSystem, seen: Seen, now: Tick) -> ActorNode {
    let mut node = seen.node;
    if let Some(asked) = seen.asked
        && matches!(node.state, ActorState::Running | ActorState::Suspended | ActorState::Starting)
    {
        let held = system.watchdog().and_then(|watchdog| watchdog.age_of(node.path.uid()));
        node.turn_age = Some(held.unwrap_or_default().max(now - asked));
    }
    node
}

/// What an actor does, from what its state word says.
fn state(actor: &dyn Control) -> ActorState {
    let posture = actor.posture();
    if actor.is_closed() {
        return ActorState::Stopping;
    }
    match posture {
        Posture::Asleep => ActorState::Idle,
        Posture::Listening => ActorState::Restarting,
        Posture::Runnable | Posture::Awaiting | Posture::Running if !actor.head().is_up() => ActorState::Starting,
        Posture::Runnable => ActorState::Ready,
        Posture::Awaiting => ActorState::Suspended,
        Posture::Running => ActorState::Running,
    }
}
