//! [`Process`]: one life of a simulated node. Its tasks run, stand still or end, all of them.
//!
//! # Order
//! The tasks of a process are those of one task of the runtime, the *conductor*, which draws from all that can go on the one
//! that does. In which order they were woken makes no difference, so what wakes in an order of its own does no harm; and
//! any order may come up, not just that of a runtime's queue. Tasks of actors are the runtime's: they pass the process as
//! their [`Gate`].

use super::draw::Draw;
use crate::{remote::transport::BoxFuture, seams::Spawner};
use actors::{Admission, Gate};
use parking_lot::Mutex;
use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak},
    task::{Context, Poll, Wake, Waker},
};
use tokio::{runtime::Handle, sync::oneshot, task::AbortHandle};

/// How many tasks go on in a row before another process may.
const TURNS_MAX: u64 = 4;

/// One life of a node. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Process(Arc<Inner>);

struct Inner {
    runtime: Handle,
    ready: Arc<Ready>,
    state: Mutex<State>,
}

struct State {
    mode: Mode,
    /// Decides which task goes on.
    draw: Draw,
    /// Of a thousand turns so many come later than they could.
    defers: u32,
    /// Those that are to go on when the process does.
    standing: Vec<Waker>,
    tasks: Vec<Option<Task>>,
    begun: u64,
    panic: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Running,
    StandingStill,
    Dead,
}

struct Task {
    number: u64,
    /// None while it runs.
    future: Option<BoxFuture<'static, ()>>,
    waker: Waker,
    _ended: oneshot::Sender<()>,
}

/// Which tasks can go on, by place.
#[derive(Default)]
struct Ready(Mutex<(Vec<usize>, Option<Waker>)>);

impl Ready {
    fn add(&self, place: usize) {
        let (places, conductor) = &mut *self.0.lock();
        if let Err(at) = places.binary_search(&place) {
            places.insert(at, place);
        }
        conductor.take().into_iter().for_each(Waker::wake);
    }
}

struct Call {
    ready: Arc<Ready>,
    place: usize,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.ready.add(self.place);
    }
}

impl Process {
    /// A life that begins. Of a thousand turns of its tasks `defers` are put off, so that other processes come first.
    pub(crate) fn new(runtime: Handle, draw: Draw, defers: u32) -> Self {
        let state =
            State { mode: Mode::Running, draw, defers, standing: Vec::new(), tasks: Vec::new(), begun: 0, panic: None };
        let process = Self(Arc::new(Inner { runtime, ready: Arc::default(), state: Mutex::new(state) }));
        let conducts = process.clone();
        process.0.runtime.spawn(poll_fn(move |cx| conducts.conduct(cx)));
        process
    }

    pub(crate) fn stands_still(&self) -> bool {
        self.0.state.lock().mode == Mode::StandingStill
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

    /// Ends what [`stand_still`](Self::stand_still) began.
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
        let conductor = self.0.ready.0.lock().1.take();
        drop(tasks);
        standing.into_iter().chain(conductor).for_each(Waker::wake);
    }

    fn conduct(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self.admit(cx) {
            Admission::Never => return Poll::Ready(()),
            Admission::Wait => return Poll::Pending,
            Admission::Go => {}
        }
        let turns = self.0.state.lock().draw.between(1, TURNS_MAX);
        for _ in 0..turns {
            let place = {
                let (places, conductor) = &mut *self.0.ready.0.lock();
                if places.is_empty() {
                    *conductor = Some(cx.waker().clone());
                    return Poll::Pending;
                }
                places.remove(self.0.state.lock().draw.index(places.len()))
            };
            self.run(place);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn run(&self, place: usize) {
        let Some((number, mut future, waker)) = self.take(place) else { return };
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
        let mut state = self.0.state.lock();
        match polled {
            Ok(Poll::Pending) => match state.tasks.get_mut(place) {
                Some(Some(task)) if task.number == number => {
                    task.future = Some(future);
                    return;
                }
                // It was aborted by itself, or all are.
                _ => {}
            },
            Ok(Poll::Ready(())) => {}
            Err(panic) => drop(state.panic.get_or_insert_with(|| said(&*panic))),
        }
        let ended = state.tasks.get_mut(place).and_then(|task| task.take_if(|task| task.number == number));
        drop(state);
        drop((future, ended));
    }

    fn take(&self, place: usize) -> Option<(u64, BoxFuture<'static, ()>, Waker)> {
        let mut state = self.0.state.lock();
        let task = state.tasks.get_mut(place)?.as_mut()?;
        Some((task.number, task.future.take()?, task.waker.clone()))
    }

    fn abort(&self, place: usize, number: u64) {
        let mut state = self.0.state.lock();
        let aborted = state.tasks.get_mut(place).and_then(|task| task.take_if(|task| task.number == number));
        drop(state);
        drop(aborted);
    }
}

pub(super) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a value that is not text").to_owned()
}

impl Gate for Process {
    fn admit(&self, cx: &mut Context<'_>) -> Admission {
        let state = &mut *self.0.state.lock();
        match state.mode {
            Mode::Dead => Admission::Never,
            Mode::StandingStill => {
                state.standing.push(cx.waker().clone());
                Admission::Wait
            }
            Mode::Running if state.draw.per_mille(state.defers) => {
                cx.waker().wake_by_ref();
                Admission::Wait
            }
            Mode::Running => Admission::Go,
        }
    }
}

impl Spawner for Process {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> AbortHandle {
        let (ended, ends) = oneshot::channel();
        let (place, number) = {
            let state = &mut *self.0.state.lock();
            state.begun += 1;
            let number = state.begun;
            let place = state.tasks.iter().position(Option::is_none).unwrap_or(state.tasks.len());
            if state.mode != Mode::Dead {
                let waker = Waker::from(Arc::new(Call { ready: self.0.ready.clone(), place }));
                let task = Task { number, future: Some(task), waker, _ended: ended };
                match state.tasks.get_mut(place) {
                    Some(free) => *free = Some(task),
                    None => state.tasks.push(Some(task)),
                }
            }
            (place, number)
        };
        self.0.ready.add(place);
        // There is no handle without a task of the runtime: this one stands for the process's.
        let stand_in = StandIn { process: Arc::downgrade(&self.0), place, number };
        let waits = async move {
            let stand_in = stand_in;
            let _ = ends.await;
            drop(stand_in);
        };
        self.0.runtime.spawn(waits).abort_handle()
    }
}

/// Aborted, it has the task aborted that it stands for.
struct StandIn {
    process: Weak<Inner>,
    place: usize,
    number: u64,
}

impl Drop for StandIn {
    fn drop(&mut self) {
        if let Some(process) = self.process.upgrade() {
            Process(process).abort(self.place, self.number);
        }
    }
}
