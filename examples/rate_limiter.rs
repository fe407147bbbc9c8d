//! A rate limiter: a bucket of tokens that fills by the clock, a short line of those who wait for one, and a refusal at
//! once for everybody else.
//!
//! `cargo run -p examples --example rate_limiter`; its tests, in virtual time, are below:
//! `cargo test -p examples rate_limiter`

use std::collections::VecDeque;
use std::time::Duration;

use actors::{
    Actor, ActorContext, ActorSystem, AskWithStatusError, Behavior, Handled, MissedTicks, ReplyTo, StatusError,
};

/// What the limiter refuses with.
const TOO_MANY_REQUESTS: i32 = 429;

/// Grants a request for each token of its bucket.
struct RateLimiter {
    limits: Limits,
    tokens: u32,
    /// Those who came when there was no token, in order.
    waiting: VecDeque<ReplyTo<Result<(), StatusError>>>,
}

struct Limits {
    /// As many may come at once after a quiet time.
    burst: u32,
    /// One token comes back this often.
    refill_every: Duration,
    /// As many may wait for a token; more are refused.
    waiting_max: usize,
}

enum RateLimiterMessage {
    /// Answered when the request may go ahead, or refused.
    Acquire(ReplyTo<Result<(), StatusError>>),
    /// A token comes back.
    Refill,
}

impl RateLimiter {
    fn new(limits: Limits) -> Self {
        Self { tokens: limits.burst, waiting: VecDeque::new(), limits }
    }

    fn acquire(&mut self, ctx: &mut ActorContext<RateLimiterMessage>, reply_to: ReplyTo<Result<(), StatusError>>) {
        if self.tokens > 0 {
            self.tokens -= 1;
            reply_to.succeed(());
        } else if self.waiting.len() < self.limits.waiting_max {
            self.waiting.push_back(reply_to);
        } else {
            reply_to.refuse(StatusError::new("too many requests, come again later").with_code(TOO_MANY_REQUESTS));
        }
        // The timer runs only while there is something to fill: an idle limiter costs nothing.
        if !ctx.timers().is_active("refill") {
            let every = self.limits.refill_every;
            // After a pause of the machine all tokens of that time come: the bucket says how many fit.
            ctx.timers().start_at_fixed_rate("refill", every, MissedTicks::Burst, || RateLimiterMessage::Refill);
        }
    }

    fn refill(&mut self, ctx: &mut ActorContext<RateLimiterMessage>) {
        while let Some(reply_to) = self.waiting.pop_front() {
            if !reply_to.is_closed() {
                return reply_to.succeed(());
            } // else: it gave up waiting, and the token is for the next
        }
        self.tokens += 1;
        if self.tokens == self.limits.burst {
            ctx.timers().cancel("refill");
        }
    }
}

impl Actor for RateLimiter {
    type Message = RateLimiterMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match msg {
            RateLimiterMessage::Acquire(reply_to) => self.acquire(ctx, reply_to),
            RateLimiterMessage::Refill => self.refill(ctx),
        }
        Ok(Behavior::Same)
    }
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "an example shows its result")]
async fn main() -> anyhow::Result<()> {
    let system = ActorSystem::new("shop");
    let limits = Limits { burst: 3, refill_every: Duration::from_millis(100), waiting_max: 2 };
    let limiter = system.spawn("limiter", RateLimiter::new(limits));

    // Eight at once: three are let in, two wait for the next tokens, three are refused.
    let requests: Vec<_> =
        (1..=8).map(|_| limiter.ask_with_status(RateLimiterMessage::Acquire, Duration::from_secs(1))).collect();
    for (number, request) in (1..).zip(requests) {
        match request.await {
            Ok(()) => println!("request {number}: granted"),
            Err(AskWithStatusError::Refused(status)) => println!("request {number}: refused, {status}"),
            Err(error) => println!("request {number}: {error}"), // no answer in time, for instance
        }
    }

    system.terminate().await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actors::ActorRef;
    use actors::testkit::TestKit;

    const SECOND: Duration = Duration::from_secs(1);

    /// Three at once, then one a second; two may wait.
    fn limiter(kit: &TestKit) -> ActorRef<RateLimiterMessage> {
        kit.spawn("limiter", RateLimiter::new(Limits { burst: 3, refill_every: SECOND, waiting_max: 2 }))
    }

    /// Asks `many` times at once, and returns how many of them were granted within `within` and how many refused.
    fn ask(kit: &TestKit, limiter: &ActorRef<RateLimiterMessage>, many: u32, within: Duration) -> (usize, usize) {
        let asks: Vec<_> = (0..many).map(|_| limiter.ask_with_status(RateLimiterMessage::Acquire, within)).collect();
        let answers: Vec<_> = asks.into_iter().map(|ask| kit.block_on(ask)).collect();
        let refused = |answer: &Result<(), AskWithStatusError>| match answer {
            Err(AskWithStatusError::Refused(status)) => status.code() == Some(TOO_MANY_REQUESTS),
            _ => false,
        };
        let granted = answers.iter().filter(|answer| answer.is_ok()).count();
        (granted, answers.iter().filter(|answer| refused(answer)).count())
    }

    #[test]
    fn a_burst_is_granted_two_wait_for_their_tokens_and_the_others_are_refused() {
        let kit = TestKit::new();
        let limiter = limiter(&kit);
        let before = kit.clock().now();
        assert_eq!(ask(&kit, &limiter, 8, 10 * SECOND), (5, 3));
        assert_eq!(kit.clock().now() - before, 2 * SECOND); // of virtual time, to the millisecond
    }

    #[test]
    fn a_token_is_not_wasted_on_who_has_given_up() {
        let kit = TestKit::new();
        let limiter = limiter(&kit);
        assert_eq!(ask(&kit, &limiter, 5, SECOND / 2), (3, 0)); // two wait for half a second and go
        kit.advance(SECOND / 2);
        assert_eq!(ask(&kit, &limiter, 1, Duration::from_millis(1)), (1, 0));
    }

    #[test]
    fn a_quiet_hour_fills_the_bucket_and_no_more() {
        let kit = TestKit::new();
        let limiter = limiter(&kit);
        ask(&kit, &limiter, 3, SECOND);
        kit.advance(3_600 * SECOND);
        assert_eq!(ask(&kit, &limiter, 4, Duration::from_millis(1)), (3, 0));
    }
}
