//! `docs/FROM_AKKA.md` speaks of what there is: every name in its second column, and every path in its third, is used below, which compiles.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actors::delivery::*;
use actors::testkit::*;
use actors::*;

const PAGE: &str = include_str!("../../docs/FROM_AKKA.md");
const NAMES_IN_USE: &str = include_str!("from_akka.rs");
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn each_name_on_the_page_is_one_of_this_crate() {
    let mut names = BTreeSet::new();
    let (page, _) = PAGE.split_once("\n## Persistence\n").expect("the parts that follow are other crates'");
    for row in page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Akka")) {
        let mut columns = row.split('|').skip(2);
        let mut quoted = || columns.next().unwrap_or_default().split('`').skip(1).step_by(2);
        names.extend(quoted());
        names.extend(quoted().filter(|name| name.contains("::") && !name.starts_with("tokio::")));
    }
    assert!(names.len() > 100, "the page lost its table: {names:?}");
    let missing: Vec<_> = names.into_iter().filter(|name| !is_used(name)).collect();
    assert!(missing.is_empty(), "use them below, or correct the page: {missing:?}");
}

/// As it is or, where its type is known from the function around it, as `.name`.
fn is_used(name: &str) -> bool {
    let occurs = |text: &str| {
        let after = |(at, _): (usize, _)| NAMES_IN_USE[at + text.len()..].chars().next();
        let ends = |next: char| !next.is_alphanumeric() && next != '_';
        NAMES_IN_USE.match_indices(text).any(|found| after(found).is_some_and(ends))
    };
    occurs(name) || name.split_once("::").is_some_and(|(_, member)| occurs(&format!(".{member}")))
}

struct Plain;

impl Actor for Plain {
    type Message = u32;

    async fn started(&mut self, ctx: &mut ActorContext<u32>) -> Handled {
        inside(ctx);
        Actor::started(&mut FnActor::new((), |(), _ctx, _: u32| Ok(Behavior::Same)), ctx).await
    }

    async fn receive(&mut self, ctx: &mut ActorContext<u32>, message: u32) -> Handled {
        let mut other = FnActor::new((), |(), _ctx, _: u32| Ok(Behavior::Stopped));
        Actor::receive(&mut other, ctx, message).await
    }

    async fn on_signal(&mut self, ctx: &mut ActorContext<u32>, signal: Signal) -> Handled {
        match signal {
            Signal::PreRestart | Signal::PostStop => Ok(Behavior::Unhandled),
            Signal::Terminated(terminated) => Err(DeathPact { terminated }.into()),
            Signal::ChildFailed { .. } => {
                let mut other = FnActor::new((), |(), _ctx, _: u32| Ok(Behavior::Same));
                Actor::on_signal(&mut other, ctx, signal).await
            }
            _ => Ok(Behavior::Same),
        }
    }
}

struct Seen;

impl Interceptor<u32> for Seen {}

#[derive(Clone, Copy)]
enum State {
    Only,
}

fn inside(ctx: &mut ActorContext<u32>) {
    let this: ActorRef<u32> = ctx.this().clone();
    let _ = (ctx.system().name(), ctx.deadline(), ctx.child::<u32>("a"), ctx.children().count());
    let child = ctx.spawn("a", Plain);
    let _ = (ctx.spawn_anonymous(Plain), ctx.try_spawn("b", Plain));
    ctx.watch(&child);
    ctx.watch_with(&child, 1);
    ctx.unwatch(&child);
    ctx.stop(&child);
    ctx.drain(&child, SECOND);
    ctx.stop_within(&child, SECOND);
    ctx.kill(&child);

    let questions = ctx.spawn_anonymous(FnActor::new((), |(), _ctx, _: ReplyTo<u32>| Ok(Behavior::Same)));
    ctx.ask(&questions, |reply_to| reply_to, SECOND, |answer| answer.unwrap_or(0));
    ctx.ask_all([&questions], |reply_to| reply_to, SECOND, |_| 0);
    let refused =
        ctx.spawn_anonymous(FnActor::new((), |(), _ctx, _: ReplyTo<Result<u32, StatusError>>| Ok(Behavior::Same)));
    ctx.ask_with_status(&refused, |reply_to| reply_to, SECOND, |answer| answer.unwrap_or(0));
    ctx.pipe_to_self(async { 1 }, |one| one);
    ctx.spawn_task(async {});
    let _ = ctx.spawn_blocking(|| 1, |one| one);
    ctx.forward(&this, 1);
    let _: Option<TraceContext> = ctx.trace_context();
    ctx.pipe_stream_to_self(futures_util::stream::iter([1, 2]), 1, |number| number, || 0);
    let _: ActorRef<u8> = ctx.message_adapter(u32::from);
    let _: ActorRef<u8> = this.map(u32::from);
    let _: ActorRef<u16> = this.narrow();

    ctx.timers().start_single("single", SECOND, 1);
    ctx.timers().start_with_fixed_delay("delay", SECOND, || 1);
    for missed in [MissedTicks::Skip, MissedTicks::Delay, MissedTicks::Burst] {
        ctx.timers().start_at_fixed_rate("rate", SECOND, missed, || 1);
    }
    if ctx.timers().is_active("rate") {
        ctx.timers().cancel("rate");
    }
    ctx.timers().cancel_all();
    ctx.set_receive_timeout(SECOND, || 1);
    ctx.cancel_receive_timeout();
    let mut stash = StashBuffer::with_capacity(1);
    let _ = (stash.stash(1), stash.try_stash(2), ctx.stash(&mut stash, 3));
    ctx.unstash_all(&mut stash);
    let mut fsm = Fsm::new(State::Only);
    fsm.goto(ctx, State::Only).for_max(SECOND, 1);
    fsm.stay(ctx).for_max(SECOND, 1);

    let pool = ctx.spawn_pool("pool", PoolRouter::new(1, || Props::new(|| Plain)).broadcast_when(|_| false));
    pool.resize(2);
}

async fn outside(system: &ActorSystem) -> Result<(), BoxError> {
    let plain = system.spawn("plain", Props::new(|| Plain).supervise(strategies()));
    plain.tell(1);
    let _ = (plain.try_tell(2), plain.send(3).await, plain.path(), system.ignore_ref::<u32>());
    let setup = Props::setup(|_| Plain).mailbox(Mailbox::bounded(1)).stop_timeout(SECOND).stop_limit(SECOND);
    let setup = setup.mailbox(Mailbox::bounded(1).drop_oldest()).mailbox_bytes(1, |_| 1).pinned().traced();
    let seen: Props<Intercepted<Plain, Seen>> =
        Props::new(|| Plain).mailbox(Mailbox::bounded(1).drop_newest()).intercept(Seen);
    system.spawn_anonymous(seen).terminated().await;
    let failing = Props::try_setup(|_| Ok(Plain)).mailbox(Mailbox::unbounded()).on_failed_message(FailedMessage::Park);
    let again = failing.on_failed_message(FailedMessage::Redeliver { max: 1 });
    system.spawn_anonymous(setup.supervise_error::<Panicked>(SupervisorStrategy::resume()));
    system.stop(&system.spawn_anonymous(again));
    let _ = system.parking_lot();

    let (reply_to, answer) = ReplyTo::channel();
    let reply_to: ReplyTo<u32> = reply_to.map(u64::from);
    if !reply_to.is_closed() {
        reply_to.tell(1);
    }
    match answer.await {
        Err(AskError::Timeout | AskError::Stopped | AskError::NoReply | AskError::Full | AskError::Cycle) => {}
        Err(_) | Ok(_) => ReplyTo::ignore().tell(1),
    }
    let status = FnActor::new((), |(), _ctx, reply_to: ReplyTo<Result<u32, StatusError>>| {
        if reply_to.is_closed() {
            reply_to.succeed(1);
        } else {
            reply_to.refuse(StatusError::new("no"));
        }
        Ok(Behavior::Stopped)
    });
    let status = system.spawn_anonymous(status);
    let _ = status.ask_with_status(|reply_to| reply_to, SECOND).await;
    let questions = [system.spawn_anonymous(FnActor::new((), |(), _ctx, _: ReplyTo<u32>| Ok(Behavior::Same)))];
    let _ = questions[0].ask(|reply_to| reply_to, SECOND).await;
    let _ = ask_all(&questions, |reply_to| reply_to, SECOND).await;
    let _ = ask_first(1, &questions, |reply_to| reply_to, SECOND).await;
    let _ = ask_hedged(&questions, |reply_to| reply_to, SECOND, SECOND).await;

    for strategy in [GroupStrategy::OneForAll, GroupStrategy::RestForOne] {
        system.spawn_anonymous(Supervisor::new(strategy).child(ChildSpec::new("plain", || Plain)));
    }

    for logic in [RoutingLogic::round_robin(), RoutingLogic::random(), RoutingLogic::smallest_mailbox()] {
        system.spawn_pool("pool", PoolRouter::new(1, || Props::new(|| Plain)).logic(logic));
    }
    let key: ServiceKey<u32> = ServiceKey::new("key");
    for logic in [RoutingLogic::consistent_hashing(|_| 1), RoutingLogic::broadcast()] {
        let group = GroupRouter::new(&key).logic(logic).prefer_local();
        system.spawn_group("group", group.broadcast_when(|_| false));
    }
    let receptionist: Receptionist = system.receptionist();
    receptionist.register(&key, &plain);
    receptionist.deregister(&key, &plain);
    let listing: Listing<u32> = receptionist.find(&key, SECOND).await?;
    let _ = (listing.instances(), listing.all_instances());
    receptionist.subscribe(&key, &system.ignore_ref());

    let events: &EventStream = system.event_stream();
    events.subscribe::<DeadLetter>(&system.ignore_ref());
    events.subscribe::<UnhandledMessage>(&system.ignore_ref());
    events.publish(1);
    events.suppress_dead_letters::<u32>();
    let _ = events.dead_letters(DeadLetterReason::Stopped);

    let (_, source) = system.spawn_source::<u32>("source", 1, Overflow::DropOldest);
    drop((source, ActorSink::new(plain.clone()), Clock::tokio().sleep(SECOND)));
    let acknowledged: ActorRef<(u32, ReplyTo<()>)> = system.ignore_ref();
    drop(AcknowledgedSink::new(acknowledged, 1, |number, reply_to| (number, reply_to)));

    let shutdown: &CoordinatedShutdown = system.coordinated_shutdown();
    shutdown.add_task(Phase::ServiceUnbind, "unbind", || async { Ok(()) })?;
    shutdown.set_timeout(Phase::ActorSystemTerminate, SECOND)?;
    shutdown.start_when_stopped(&plain);
    shutdown.run_on_signals()?;
    shutdown.start();
    let _: Arc<ShutdownReport> = system.terminate_within(SECOND).await;
    system.terminate().await;
    Ok(())
}

fn strategies() -> SupervisorStrategy {
    let _ = (SupervisorStrategy::stop(), SupervisorStrategy::restart().keep_children());
    let backoff = SupervisorStrategy::restart_with_backoff(SECOND, SECOND);
    backoff.with_limit(1, SECOND).reset_after(SECOND).jitter(0.1)
}

fn delivery(system: &ActorSystem, chunking: Chunking<u32>) {
    let queue = InMemoryProducerQueue::new();
    fn is_durable(_: &impl DurableProducerQueue<u32>) {}
    is_durable(&queue);
    let producer = ProducerController::props("p", ProducerSettings::default()).durable_queue(queue);
    system.spawn_anonymous(producer.chunking(chunking));
    let consumer: ConsumerControllerProps<u32> = ConsumerController::props(ConsumerSettings::default());
    system.spawn_anonymous(consumer);
    let pulled: WorkPullingControllerProps<u32> = WorkPullingController::props("w", WorkPullingSettings::default());
    system.spawn_anonymous(pulled);
    system.spawn_anonymous(FnActor::new((), |(), _ctx, next: RequestNext<u32>| {
        next.send(1);
        Ok(Behavior::Same)
    }));
    system.spawn_anonymous(FnActor::new((), |(), _ctx, delivery: Delivery<u32>| {
        delivery.confirm();
        Ok(Behavior::Same)
    }));
}

fn testing() {
    let builder: ActorSystemBuilder = ActorSystem::builder("b").workers(1).throughput(1).tracing(Tracing::new());
    drop(builder.runtime(tokio::runtime::Handle::current()).start());
    let _: fn(&ActorSystem) -> Arc<u32> = ActorSystem::extension::<u32>;
    TestKit::for_each_seed(0..1, |_| {});
    let kit = TestKit::strict();
    kit.advance(SECOND);
    drop(kit.logs());
    kit.expect_log(|_| true, || ());
    let mut probe: TestProbe<u32> = TestKit::new().probe();
    probe.expect_message();
    probe.expect_message_eq(1);
    probe.fish_for_message(SECOND, |_| FishingOutcome::Complete);
    probe.expect_no_message(SECOND);
    probe.expect_terminated(&probe.actor_ref());
    let mut behavior = BehaviorTestKit::new(Plain);
    behavior.run(1);
    let path: ActorPath = probe.actor_ref().path().clone();
    behavior.expect_effect(Effect::Stopped { child: path });
    drop(behavior.child_inbox::<u32>("a"));
}

/// What is only compiled.
const _: () = {
    let _ = (outside, delivery, testing, StateTimeout::<'static, u32>::for_max);
};
