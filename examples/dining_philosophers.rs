//! Dining philosophers: five of them, five forks, two of which it takes to eat. Each is a state machine; a fork is an
//! actor that goes from hand to hand.
//!
//! They cannot deadlock, because every philosopher picks up the fork with the lower number first: whoever holds the
//! highest fork anybody holds waits for nobody. And nobody starves, because a fork goes to who has waited longest.
//!
//! `cargo run -p examples --example dining_philosophers`; its test, in many orders of events, is below:
//! `cargo test -p examples philosophers`

use std::collections::VecDeque;
use std::time::Duration;

use actors::{Actor, ActorContext, ActorRef, ActorSystem, Behavior, Fsm, Handled, ReplyTo};

const THINKS_FOR: Duration = Duration::from_millis(10);
const EATS_FOR: Duration = Duration::from_millis(20);

/// Lies on the table, or is in somebody's hand.
#[derive(Default)]
struct Fork {
    taken: bool,
    /// Those who want it, in order.
    waiting: VecDeque<ActorRef<PhilosopherMessage>>,
}

enum ForkMessage {
    /// Answered with [`PhilosopherMessage::ForkTaken`], now or when it is this one's turn.
    Take(ActorRef<PhilosopherMessage>),
    PutBack,
}

impl Actor for Fork {
    type Message = ForkMessage;

    async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match msg {
            ForkMessage::Take(philosopher) => self.waiting.push_back(philosopher),
            ForkMessage::PutBack => self.taken = false,
        }
        if !self.taken
            && let Some(next) = self.waiting.pop_front()
        {
            self.taken = true;
            next.tell(PhilosopherMessage::ForkTaken);
        }
        Ok(Behavior::Same)
    }
}

/// Thinks and eats until it is full, then goes.
struct Philosopher {
    seat: usize,
    state: Fsm<State>,
    hungry_for: u32,
    /// The one with the lower number first.
    forks: [ActorRef<ForkMessage>; 2],
    host: ActorRef<HostMessage>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Thinking,
    WaitingForFirst,
    WaitingForSecond,
    Eating,
}

enum PhilosopherMessage {
    /// It has thought or eaten long enough.
    TimeIsOver,
    ForkTaken,
}

impl Actor for Philosopher {
    type Message = PhilosopherMessage;

    async fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> Handled {
        self.state.stay(ctx).for_max(THINKS_FOR, PhilosopherMessage::TimeIsOver);
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        let [first, second] = &self.forks;
        match (*self.state, msg) {
            (State::Thinking, PhilosopherMessage::TimeIsOver) => {
                first.tell(ForkMessage::Take(ctx.this().clone()));
                self.state.goto(ctx, State::WaitingForFirst);
            }
            (State::WaitingForFirst, PhilosopherMessage::ForkTaken) => {
                second.tell(ForkMessage::Take(ctx.this().clone()));
                self.state.goto(ctx, State::WaitingForSecond);
            }
            (State::WaitingForSecond, PhilosopherMessage::ForkTaken) => {
                self.host.tell(HostMessage::Eats { seat: self.seat });
                self.state.goto(ctx, State::Eating).for_max(EATS_FOR, PhilosopherMessage::TimeIsOver);
            }
            (State::Eating, PhilosopherMessage::TimeIsOver) => {
                self.host.tell(HostMessage::HasEaten { seat: self.seat });
                self.forks.iter().for_each(|fork| fork.tell(ForkMessage::PutBack));
                self.hungry_for -= 1;
                if self.hungry_for == 0 {
                    return Ok(Behavior::Stopped);
                }
                self.state.goto(ctx, State::Thinking).for_max(THINKS_FOR, PhilosopherMessage::TimeIsOver);
            }
            _ => return Ok(Behavior::Unhandled),
        }
        Ok(Behavior::Same)
    }
}

/// Seats the philosophers, and sees them off.
struct Host {
    seats: usize,
    meals_each: u32,
    meals: Vec<u32>, // by seat
    gone: usize,
    reply_to: Option<ReplyTo<Vec<u32>>>,
}

enum HostMessage {
    Eats {
        seat: usize,
    },
    HasEaten {
        seat: usize,
    },
    /// A philosopher has gone.
    Gone {
        seat: usize,
    },
    /// Answered with the meals of each when all have gone.
    WhenAllAreGone(ReplyTo<Vec<u32>>),
}

/// Spawns forks and philosophers; whatever happens at the table is told to `host`.
fn lay_the_table<M: Send + 'static>(
    ctx: &mut ActorContext<M>,
    seats: usize,
    meals_each: u32,
    host: &ActorRef<HostMessage>,
) -> Vec<ActorRef<PhilosopherMessage>> {
    let forks: Vec<_> = (0..seats).map(|number| ctx.spawn(format!("fork-{number}"), Fork::default())).collect();
    let mut seat_one = |seat: usize| {
        let (left, right) = (seat, (seat + 1) % seats);
        let forks = [&forks[left.min(right)], &forks[left.max(right)]].map(ActorRef::clone);
        let state = Fsm::new(State::Thinking);
        let philosopher = Philosopher { seat, state, hungry_for: meals_each, forks, host: host.clone() };
        ctx.spawn(format!("philosopher-{seat}"), philosopher)
    };
    (0..seats).map(&mut seat_one).collect()
}

impl Actor for Host {
    type Message = HostMessage;

    async fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> Handled {
        let host = ctx.this().clone();
        for (seat, philosopher) in lay_the_table(ctx, self.seats, self.meals_each, &host).iter().enumerate() {
            ctx.watch_with(philosopher, HostMessage::Gone { seat });
        }
        self.meals = vec![0; self.seats];
        Ok(Behavior::Same)
    }

    #[expect(clippy::print_stdout, reason = "an example shows what happens")]
    async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match msg {
            HostMessage::Eats { seat } => println!("philosopher {seat} eats"),
            HostMessage::HasEaten { seat } => self.meals[seat] += 1,
            HostMessage::Gone { seat } => {
                println!("philosopher {seat} has had {} meals and goes", self.meals[seat]);
                self.gone += 1;
            }
            HostMessage::WhenAllAreGone(reply_to) => self.reply_to = Some(reply_to),
        }
        if self.gone == self.seats
            && let Some(reply_to) = self.reply_to.take()
        {
            reply_to.tell(self.meals.clone());
        }
        Ok(Behavior::Same)
    }
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows its result")]
async fn main() -> anyhow::Result<()> {
    let system = ActorSystem::new("dinner");
    let host = Host { seats: 5, meals_each: 3, meals: Vec::new(), gone: 0, reply_to: None };
    let host = system.spawn("host", host);
    let meals = host.ask(HostMessage::WhenAllAreGone, Duration::from_secs(10)).await?;
    println!("{} meals were had", meals.iter().sum::<u32>());
    system.terminate().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actors::testkit::TestKit;

    /// Lays the table and watches nothing: the test does.
    struct Table {
        host: ActorRef<HostMessage>,
    }

    impl Actor for Table {
        type Message = ();

        async fn started(&mut self, ctx: &mut ActorContext<()>) -> Handled {
            lay_the_table(ctx, 5, 3, &self.host);
            Ok(Behavior::Same)
        }

        async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
            Ok(Behavior::Same)
        }
    }

    #[test]
    fn in_whatever_order_things_happen_all_get_their_meals_and_no_two_hold_one_fork() {
        TestKit::for_each_seed(0..50, |kit| {
            let mut host = kit.probe();
            kit.spawn("table", Table { host: host.actor_ref() });
            kit.advance(Duration::from_secs(10));

            let mut eats = [false; 5];
            let mut meals = [0; 5];
            for seen in host.drain() {
                match seen {
                    HostMessage::Eats { seat } => {
                        assert!(!eats[(seat + 1) % 5] && !eats[(seat + 4) % 5], "a neighbour of {seat} eats too");
                        eats[seat] = true;
                    }
                    HostMessage::HasEaten { seat } => {
                        eats[seat] = false;
                        meals[seat] += 1;
                    }
                    HostMessage::Gone { .. } | HostMessage::WhenAllAreGone(_) => {}
                }
            }
            assert_eq!(meals, [3; 5]);
        });
    }
}
