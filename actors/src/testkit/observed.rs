//! [`Observed`]: the actor under a behaviour kit. It hands its actor only what the test wants handled.
//!
//! The test and the actor share a [`Desk`]. A message the test runs comes through the mailbox, announced on the desk;
//! whatever else comes is put aside there. What is no message is laid on the desk as a [`Command`], and a bell that the
//! actor watches is stopped: its end is the one thing that reaches any actor whatever its messages are.

use std::any::Any;
use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use parking_lot::Mutex;

use super::effect::Recorder;
use crate::actor::{Actor, Behavior, BoxError, DeathPact, Handled, Panicked, Signal};
use crate::actor_ref::ActorRef;
use crate::context::ActorContext;
use crate::event_stream::UnhandledMessage;
use crate::panic_text::panic_text;
use crate::props::Props;

/// What the test does with the actor besides running a message.
pub(super) enum Command<A: Actor> {
    Signal(Signal),
    /// Runs the message of a timer.
    Timer(String),
    With(Box<Visit<A>>),
}

pub(super) type Visit<A> = dyn FnOnce(&mut A, &mut ActorContext<<A as Actor>::Message>) + Send;

/// What has come and was not handled.
pub(super) enum Waiting<M> {
    Message(M),
    Signal(Signal),
}

/// Between the test and the actor.
pub(super) struct Desk<A: Actor> {
    pub(super) recorder: Arc<Recorder>,
    state: Mutex<State<A>>,
}

struct State<A: Actor> {
    /// Whose end announces a command, and whether the actor watches it yet.
    bell: ActorRef<()>,
    watched: bool,
    /// What to do, and the bell that announces the next.
    command: Option<(Command<A>, ActorRef<()>)>,
    /// The next message is to be handled.
    announced: bool,
    /// All messages and signals are to be handled.
    open: bool,
    at_work: bool,
    waiting: VecDeque<Waiting<A::Message>>,
    returned: Option<Result<Behavior, String>>,
    failures: Vec<String>,
    panic: Option<Box<dyn Any + Send>>,
    /// How it ended is known: it got its last signal, or the test was told.
    end_known: bool,
}

impl<A: Actor> Desk<A> {
    pub(super) fn new(bell: ActorRef<()>) -> Arc<Self> {
        let state = State {
            bell,
            watched: false,
            command: None,
            announced: false,
            open: false,
            at_work: true, // it starts
            waiting: VecDeque::new(),
            returned: None,
            failures: Vec::new(),
            panic: None,
            end_known: false,
        };
        Arc::new(Self { recorder: Arc::default(), state: Mutex::new(state) })
    }

    /// The next message is one the test runs.
    pub(super) fn announce(&self) {
        let mut state = self.state.lock();
        state.announced = true;
        state.at_work = true;
    }

    /// Lays down a command. Whoever does so then stops the bell that is returned.
    pub(super) fn command(&self, command: Command<A>, next_bell: ActorRef<()>) -> ActorRef<()> {
        let mut state = self.state.lock();
        state.command = Some((command, next_bell));
        state.at_work = true;
        state.bell.clone()
    }

    /// Whether what comes is handled at once.
    pub(super) fn set_open(&self, open: bool) {
        self.state.lock().open = open;
    }

    pub(super) fn is_at_work(&self) -> bool {
        self.state.lock().at_work
    }

    pub(super) fn next_waiting(&self) -> Option<Waiting<A::Message>> {
        self.state.lock().waiting.pop_front()
    }

    pub(super) fn waiting(&self) -> usize {
        self.state.lock().waiting.len()
    }

    /// All messages that wait. Signals stay.
    pub(super) fn take_messages(&self) -> Vec<A::Message> {
        let mut messages = Vec::new();
        let mut state = self.state.lock();
        for waiting in mem::take(&mut state.waiting) {
            match waiting {
                Waiting::Message(message) => messages.push(message),
                signal @ Waiting::Signal(_) => state.waiting.push_back(signal),
            }
        }
        messages
    }

    pub(super) fn returned(&self) -> Option<Result<Behavior, String>> {
        self.state.lock().returned.clone()
    }

    pub(super) fn take_failures(&self) -> (Vec<String>, Option<Box<dyn Any + Send>>) {
        let mut state = self.state.lock();
        (mem::take(&mut state.failures), state.panic.take())
    }

    /// Whether it has ended, as is known otherwise, in a way no handler said. Says so once.
    pub(super) fn take_strange_end(&self) -> bool {
        let mut state = self.state.lock();
        let known = mem::replace(&mut state.end_known, true);
        !known && !state.at_work && !matches!(state.returned, Some(Err(_)))
    }

    fn begins(&self) {
        self.state.lock().at_work = true;
    }

    /// Runs a handler and keeps what it returned.
    async fn observe(&self, handler: impl Future<Output = Handled> + Send) -> Handled {
        self.begins();
        let outcome = AssertUnwindSafe(handler).catch_unwind().await;
        let (outcome, panic) = match outcome {
            Ok(outcome) => (outcome, None),
            Err(panic) => (Err(BoxError::from(Panicked { message: panic_text(&*panic) })), Some(panic)),
        };
        let mut state = self.state.lock();
        state.at_work = false;
        state.returned = Some(match &outcome {
            Ok(behavior) => Ok(*behavior),
            Err(error) => Err(error.to_string()),
        });
        state.failures.extend(outcome.as_ref().err().map(ToString::to_string));
        state.panic = panic.or(state.panic.take());
        outcome
    }

    /// As [`observe`](Desk::observe), for a signal: left unhandled, the end of another is a failure.
    async fn observe_signal(&self, signal: &Signal, handler: impl Future<Output = Handled> + Send) -> Handled {
        let terminated = match signal {
            Signal::Terminated(path) | Signal::ChildFailed { child: path, .. } => Some(path.clone()),
            _ => None,
        };
        self.observe(async {
            match (handler.await?, terminated) {
                (Behavior::Unhandled, Some(terminated)) => Err(DeathPact { terminated }.into()),
                (behavior, _) => Ok(behavior),
            }
        })
        .await
    }
}

/// An actor that hands its actor what the test wants handled.
pub(super) struct Observed<A: Actor> {
    actor: A,
    desk: Arc<Desk<A>>,
}

/// The actor of `props` as `desk` wants it. What it spawns are inboxes.
pub(super) fn observed<A: Actor>(props: Props<A>, desk: Arc<Desk<A>>) -> Props<Observed<A>> {
    let recorder = desk.recorder.clone();
    props.around(
        move |ctx| ctx.tell_of_itself(recorder.clone()),
        move |made| match made {
            Ok(actor) => Ok(Observed { actor, desk: desk.clone() }),
            Err(error) => {
                desk.state.lock().failures.push(error.to_string());
                Err(error)
            }
        },
    )
}

impl<A: Actor> Actor for Observed<A> {
    type Message = A::Message;

    async fn started(&mut self, ctx: &mut ActorContext<A::Message>) -> Handled {
        let Self { actor, desk } = self;
        ctx.tell_of_itself(desk.recorder.clone()); // an actor that came as a value had no factory to do it
        let bell = {
            let mut state = desk.state.lock();
            (!mem::replace(&mut state.watched, true)).then(|| state.bell.clone())
        };
        if let Some(bell) = bell {
            desk.recorder.unheard(|| ctx.watch(&bell));
        }
        desk.observe(async { actor.started(ctx).await }).await
    }

    async fn receive(&mut self, ctx: &mut ActorContext<A::Message>, message: A::Message) -> Handled {
        let Self { actor, desk } = self;
        let wanted = {
            let mut state = desk.state.lock();
            mem::take(&mut state.announced) || state.open
        };
        if wanted {
            return desk.observe(async { actor.receive(ctx, message).await }).await;
        }
        desk.state.lock().waiting.push_back(Waiting::Message(message));
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, ctx: &mut ActorContext<A::Message>, signal: Signal) -> Handled {
        let Self { actor, desk } = self;
        let open = match &signal {
            Signal::Terminated(path) if *path == *desk.state.lock().bell.path() => return self.answer_bell(ctx).await,
            Signal::Terminated(_) | Signal::ChildFailed { .. } => desk.state.lock().open,
            // The others belong to the actor's life: it cannot be kept waiting for them.
            Signal::PostStop => {
                desk.state.lock().end_known = true;
                return actor.on_signal(ctx, signal).await;
            }
            _ => return actor.on_signal(ctx, signal).await,
        };
        if open {
            let about = signal.clone();
            return desk.observe_signal(&about, async { actor.on_signal(ctx, signal).await }).await;
        }
        desk.state.lock().waiting.push_back(Waiting::Signal(signal));
        Ok(Behavior::Same)
    }
}

impl<A: Actor> Observed<A> {
    async fn answer_bell(&mut self, ctx: &mut ActorContext<A::Message>) -> Handled {
        let Self { actor, desk } = self;
        let taken = desk.state.lock().command.take();
        let Some((command, next_bell)) = taken else { return Ok(Behavior::Same) };
        desk.recorder.unheard(|| ctx.watch(&next_bell));
        desk.state.lock().bell = next_bell;
        let behavior = match command {
            Command::Signal(signal) => {
                let about = signal.clone();
                desk.observe_signal(&about, async { actor.on_signal(ctx, signal).await }).await?
            }
            Command::Timer(key) => {
                let Some(message) = ctx.timers().fire(&key) else {
                    desk.state.lock().at_work = false;
                    return Ok(Behavior::Same);
                };
                let behavior = desk.observe(async { actor.receive(ctx, message).await }).await?;
                if behavior == Behavior::Unhandled {
                    let (recipient, message_type) = (ctx.path().clone(), std::any::type_name::<A::Message>());
                    ctx.system().event_stream().publish(UnhandledMessage { recipient, message_type });
                }
                behavior
            }
            Command::With(visit) => {
                visit(actor, ctx);
                desk.state.lock().at_work = false;
                Behavior::Same
            }
        };
        // To the engine this was the end of somebody watched, and that has been handled.
        Ok(if behavior == Behavior::Unhandled { Behavior::Same } else { behavior })
    }
}
