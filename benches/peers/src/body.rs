//! The behaviours behind the actors. They are the same code for every
//! framework; a framework only supplies the mailbox, the scheduling and the
//! envelope around `on_tell` and `on_ask`.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::{Notify, oneshot};

use crate::framework::{Framework, Slot};

pub enum Body<F: Framework> {
    /// Adds messages up and reports the sum after the expected number.
    Sink(Sink),
    /// Passes `msg - 1` on until it reaches zero.
    Relay { next: Next<F>, done: Latch },
    /// Answers `msg + 1`.
    Echo,
    /// Takes note of one message, and of its own end.
    Blip {
        seen: Latch,
        #[expect(dead_code, reason = "held for its drop")]
        gone: Gone,
    },
}

impl<F: Framework> Body<F> {
    #[inline]
    pub fn on_tell(&mut self, msg: u64) {
        match self {
            Body::Sink(sink) => sink.add(msg),
            Body::Relay { next, done } => match msg {
                0 => done.arrive(0),
                _ => F::tell(next.get(), msg - 1),
            },
            Body::Echo => unreachable!("echo is only asked"),
            Body::Blip { seen, .. } => seen.arrive(msg),
        }
    }

    /// Messages it waits for, where it is told how many.
    pub fn expects(&self) -> u64 {
        match self {
            Body::Sink(sink) => sink.left,
            _ => 0,
        }
    }

    #[inline]
    pub fn on_ask(&mut self, msg: u64) -> u64 {
        match self {
            Body::Echo => msg + 1,
            _ => unreachable!("only echo is asked"),
        }
    }
}

/// How many messages a [`Sink`] got after one with a higher number.
pub static OUT_OF_ORDER: AtomicU64 = AtomicU64::new(0);

pub struct Sink {
    sum: u64,
    left: u64,
    last: u64,
    out_of_order: u64,
    /// Rounds of arithmetic per message.
    work: u32,
    done: Latch,
}

impl Sink {
    pub fn new(expected: u64, work: u32, done: Latch) -> Self {
        Sink { sum: 0, left: expected, last: 0, out_of_order: 0, work, done }
    }

    #[inline]
    fn add(&mut self, msg: u64) {
        if self.work > 0 {
            black_box(work(msg, self.work));
        }
        self.sum += msg;
        self.out_of_order += u64::from(msg < self.last);
        self.last = msg;
        self.left -= 1;
        if self.left == 0 {
            OUT_OF_ORDER.store(self.out_of_order, Ordering::Relaxed);
            self.done.arrive(self.sum);
        }
    }
}

/// A dependent chain of multiplications: about 1.1 ns a round.
#[inline(never)]
pub fn work(seed: u64, rounds: u32) -> u64 {
    let mut x = seed | 1;
    for _ in 0..rounds {
        x = x.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ (x >> 29);
    }
    x
}

/// The next actor of a relay, which may not exist yet when its predecessor is
/// made.
pub enum Next<F: Framework> {
    Known(F::Ref),
    Late(Arc<OnceLock<F::Ref>>),
}

impl<F: Framework> Next<F> {
    #[inline]
    fn get(&self) -> &F::Ref {
        match self {
            Next::Known(next) => next,
            Next::Late(cell) => cell.get().expect("wired before the first message"),
        }
    }
}

/// Counts arrivals down, adds up what they bring, and wakes whoever waits.
#[derive(Clone)]
pub struct Latch(Arc<LatchState>);

struct LatchState {
    left: AtomicU64,
    sum: AtomicU64,
    notify: Notify,
}

impl Latch {
    pub fn new(arrivals: u64) -> Self {
        Latch(Arc::new(LatchState { left: AtomicU64::new(arrivals), sum: AtomicU64::new(0), notify: Notify::new() }))
    }

    #[inline]
    pub fn arrive(&self, value: u64) {
        self.0.sum.fetch_add(value, Ordering::Relaxed);
        if self.0.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.notify.notify_one();
        }
    }

    /// Waits for the last arrival; returns the sum.
    pub async fn wait(&self) -> u64 {
        self.0.notify.notified().await;
        assert_eq!(self.0.left.load(Ordering::Acquire), 0);
        self.0.sum.load(Ordering::Relaxed)
    }
}

/// Arrives at a latch when dropped.
pub struct Gone(pub Latch);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.arrive(1);
    }
}

/// A node of the skynet tree.
pub struct Sky<F: Framework> {
    parent: Parent<F>,
    left: u32,
    sum: u64,
}

pub enum Parent<F: Framework> {
    Node(F::Sky),
    Root(Option<oneshot::Sender<u64>>),
}

pub enum SkyMsg {
    /// Cover `size` leaves, the first of which is `first`.
    Start { size: u64, first: u64 },
    /// A child's sum.
    Sum(u64),
}

/// What a node does about a message.
pub enum Reaction {
    /// Makes a child for each, and starts it with it.
    Split(Parts),
    Wait,
    /// It has reported; it stops.
    Done,
}

const FAN_OUT: u64 = 10;

/// The children's shares.
pub struct Parts {
    size: u64,
    first: u64,
}

impl Parts {
    pub fn starts(&self) -> impl Iterator<Item = SkyMsg> + use<> {
        let Parts { size, first } = *self;
        (0..FAN_OUT).map(move |i| SkyMsg::Start { size, first: first + i * size })
    }
}

impl<F: Framework> Sky<F> {
    pub fn new(parent: Parent<F>) -> Self {
        Sky { parent, left: 0, sum: 0 }
    }

    pub fn below(parent: F::Sky) -> Self {
        Sky::new(Parent::Node(parent))
    }

    #[inline]
    pub fn react(&mut self, msg: SkyMsg) -> Reaction {
        match msg {
            SkyMsg::Start { size: 1, first } => {
                self.report(first);
                Reaction::Done
            }
            SkyMsg::Start { size, first } => {
                self.left = FAN_OUT as u32;
                Reaction::Split(Parts { size: size / FAN_OUT, first })
            }
            SkyMsg::Sum(sum) => {
                self.sum += sum;
                self.left -= 1;
                if self.left > 0 {
                    return Reaction::Wait;
                }
                self.report(self.sum);
                Reaction::Done
            }
        }
    }

    /// Handles one message where children are spawned like anything else; true when the node is done and should stop.
    #[inline]
    pub async fn on(&mut self, me: &F::Sky, msg: SkyMsg) -> bool {
        match self.react(msg) {
            Reaction::Split(parts) => {
                let top = matches!(self.parent, Parent::Root(_));
                for (i, part) in parts.starts().enumerate() {
                    let slot = top.then(|| Slot::new(i, FAN_OUT as usize));
                    let child = F::spawn_sky(Sky::below(me.clone()), slot).await;
                    F::tell_sky(&child, part);
                }
                false
            }
            Reaction::Wait => false,
            Reaction::Done => true,
        }
    }

    fn report(&mut self, sum: u64) {
        match &mut self.parent {
            Parent::Node(parent) => F::tell_sky(parent, SkyMsg::Sum(sum)),
            Parent::Root(done) => {
                let _ = done.take().expect("reports once").send(sum);
            }
        }
    }
}
