//! [`Process`]: one life of a simulated node. Its tasks run, stand still or end, all of them.

use super::draw::Draw;
use crate::{remote::transport::BoxFuture, seams::Spawner};
use actors::{Admission, Gate};
use parking_lot::Mutex;
use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};
use tokio::{runtime::Handle, task::AbortHandle};

/// From how many tasks on those that have ended are looked for.
const TASKS_FEW: usize = 64;

/// One life of a node. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Process(Arc<Inner>);

struct Inner {
    runtime: Handle,
    state: Mutex<State>,
}

struct State {
    mode: Mode,
    /// Decides which task is deferred.
    draw: Draw,
    /// Of a thousand polls so many come later than they could.
    defers: u32,
    /// Tasks that are to go on when it does.
    standing: Vec<Waker>,
    tasks: Vec<AbortHandle>,
    tasks_many: usize,
    polls: u64,
    panic: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Running,
    StandingStill,
    Dead,
}

impl Process {
    /// A life that begins. Of a thousand polls of its tasks `defers` are put off, so that others come first.
    pub(crate) fn new(runtime: Handle, draw: Draw, defers: u32) -> Self {
        let state = State {
            mode: Mode::Running,
            draw,
            defers,
            standing: Vec::new(),
            tasks: Vec::new(),
            tasks_many: TASKS_FEW,
            polls: 0,
            panic: None,
        };
        Self(Arc::new(Inner { runtime, state: Mutex::new(state) }))
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.0.state.lock().mode != Mode::Dead
    }

    pub(crate) fn stands_still(&self) -> bool {
        self.0.state.lock().mode == Mode::StandingStill
    }

    /// How often a task of it went on.
    pub(crate) fn polls(&self) -> u64 {
        self.0.state.lock().polls
    }

    /// What the first of its tasks that panicked said.
    pub(crate) fn panic(&self) -> Option<String> {
        self.0.state.lock().panic.clone()
    }

    /// Nothing of it goes on until [`go_on`](Self::go_on), while time does: as with SIGSTOP.
    pub(crate) fn stand_still(&self) {
        let mut state = self.0.state.lock();
        if state.mode == Mode::Running {
            state.mode = Mode::StandingStill;
        }
    }

    /// Ends what [`stand_still`](Self::stand_still) began. Its tasks go on in any order.
    pub(crate) fn go_on(&self) {
        let mut state = self.0.state.lock();
        if state.mode != Mode::StandingStill {
            return;
        }
        state.mode = Mode::Running;
        let mut standing = std::mem::take(&mut state.standing);
        state.draw.shuffle(&mut standing);
        drop(state);
        standing.into_iter().for_each(Waker::wake);
    }

    /// No task of it goes on any more; all are dropped. Whatever their destructors could reach outside must be dead before.
    pub(crate) fn kill(&self) {
        let mut state = self.0.state.lock();
        state.mode = Mode::Dead;
        let (tasks, standing) = (std::mem::take(&mut state.tasks), std::mem::take(&mut state.standing));
        drop(state);
        tasks.iter().for_each(AbortHandle::abort);
        standing.into_iter().for_each(Waker::wake);
    }
}

impl Gate for Process {
    fn admit(&self, cx: &mut Context<'_>) -> Admission {
        let state = &mut *self.0.state.lock();
        match state.mode {
            Mode::Dead => return Admission::Never,
            Mode::StandingStill => {
                state.standing.push(cx.waker().clone());
                return Admission::Wait;
            }
            Mode::Running => {}
        }
        if state.draw.per_mille(state.defers) {
            cx.waker().wake_by_ref();
            return Admission::Wait;
        }
        state.polls += 1;
        Admission::Go
    }
}

impl Spawner for Process {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> AbortHandle {
        let task = Task { process: self.clone(), future: Some(task) };
        let handle = self.0.runtime.spawn(task).abort_handle();
        let mut state = self.0.state.lock();
        if state.tasks.len() >= state.tasks_many {
            state.tasks.retain(|task| !task.is_finished());
            state.tasks_many = TASKS_FEW.max(state.tasks.len() * 2);
        }
        state.tasks.push(handle.clone());
        handle
    }
}

/// A task of a process.
struct Task {
    process: Process,
    future: Option<BoxFuture<'static, ()>>,
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        match (this.process.admit(cx), &mut this.future) {
            (Admission::Go, Some(future)) => {
                let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx)));
                polled.unwrap_or_else(|panic| {
                    let text = panic.downcast_ref::<String>().map(String::as_str);
                    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it said nothing");
                    this.process.0.state.lock().panic.get_or_insert_with(|| text.to_owned());
                    this.future = None;
                    Poll::Ready(())
                })
            }
            (Admission::Wait, Some(_)) => Poll::Pending,
            _ => {
                this.future = None;
                Poll::Ready(())
            }
        }
    }
}
