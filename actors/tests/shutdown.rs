//! Coordinated shutdown.

use std::time::Duration;

use actors::testkit::TestKit;
use actors::{ActorSystem, BoxError, Phase, PhaseBegun, TaskFailure};

use crate::script::{Diary, Order, Scripted};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn phases_run_in_order_and_the_tasks_of_one_side_by_side() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let shutdown = kit.system().coordinated_shutdown();
    kit.spawn("actor", Scripted::new("actor", &diary));
    for (phase, name, takes) in [
        (Phase::BeforeActorSystemTerminate, "flush", 1),
        (Phase::ServiceUnbind, "unbind", 1),
        (Phase::ServiceRequestsDone, "slow", 3),
        (Phase::ServiceRequestsDone, "quick", 2),
    ] {
        let (diary, clock) = (diary.clone(), kit.clock().clone());
        let work = move || async move {
            clock.sleep(SECOND * takes).await;
            diary.note(name);
            Ok(())
        };
        shutdown.add_task(phase, name, work).unwrap();
    }
    let before = kit.clock().now();
    let report = kit.block_on(shutdown.run());
    assert_eq!(diary.read(), ["actor started", "unbind", "quick", "slow", "flush", "actor post-stop", "actor dropped"]);
    assert_eq!(kit.clock().now() - before, SECOND * 5);
    assert_eq!(report.failures, []);
}

#[test]
fn a_task_that_fails_panics_or_hangs_does_not_hold_up_the_rest() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let shutdown = kit.system().coordinated_shutdown();
    let phase = Phase::ServiceStop;
    shutdown.add_task(phase, "hangs", std::future::pending).unwrap();
    shutdown.add_task(phase, "fails", || async { Err(BoxError::from("disk is gone")) }).unwrap();
    shutdown.add_task(phase, "panics", || async { panic!("oh") }).unwrap();
    shutdown.set_timeout(phase, SECOND * 7).unwrap();
    let after = diary.clone();
    let work = move || async move {
        after.note("next phase");
        Ok(())
    };
    shutdown.add_task(Phase::ClusterShutdown, "after", work).unwrap();

    let before = kit.clock().now();
    let report = kit.block_on(shutdown.run());
    assert_eq!(kit.clock().now() - before, SECOND * 7);
    assert_eq!(diary.read(), ["next phase"]);
    let told: Vec<(&str, bool)> =
        report.failures.iter().map(|TaskFailure { task, cause, .. }| (task.as_str(), cause.is_empty())).collect();
    assert_eq!(told, [("fails", false), ("panics", false), ("hangs", false)]);
    assert_eq!(report.failures[2].cause, "not done within 7s");
}

#[test]
fn it_runs_once_whoever_starts_it() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let system = kit.system().clone();
    let counted = diary.clone();
    let work = move || async move {
        counted.note("ran");
        Ok(())
    };
    system.coordinated_shutdown().add_task(Phase::ServiceUnbind, "count", work).unwrap();
    system.coordinated_shutdown().start();
    kit.block_on(async {
        system.terminate().await;
        system.terminate().await;
        system.terminated().await;
    });
    assert_eq!(diary.read(), ["ran"]);
}

#[test]
fn what_comes_too_late_is_refused() {
    let kit = TestKit::new();
    let shutdown = kit.system().coordinated_shutdown().clone();
    let clock = kit.clock().clone();
    let second = move || async move {
        clock.sleep(SECOND).await;
        Ok(())
    };
    shutdown.add_task(Phase::ServiceStop, "holds it there", second).unwrap();
    shutdown.start();
    kit.settle();
    let nothing = || async { Ok(()) };
    let begun = Err(PhaseBegun { phase: Phase::ServiceStop });
    assert_eq!(shutdown.add_task(Phase::ServiceStop, "late", nothing), begun);
    assert_eq!(shutdown.set_timeout(Phase::ServiceStop, SECOND), begun);
    assert_eq!(shutdown.add_task(Phase::ClusterLeave, "in time", nothing), Ok(()));
}

#[test]
fn the_worst_case_counts_the_phases_that_have_something_to_do() {
    let kit = TestKit::new();
    let shutdown = kit.system().coordinated_shutdown();
    assert_eq!(shutdown.worst_case(), SECOND * 10);
    shutdown.add_task(Phase::ServiceUnbind, "unbind", || async { Ok(()) }).unwrap();
    shutdown.set_timeout(Phase::ActorSystemTerminate, SECOND * 4).unwrap();
    assert_eq!(shutdown.worst_case(), SECOND * 9);
}

#[test]
fn an_actor_that_does_not_stop_is_named() {
    let kit = TestKit::new();
    let stuck = kit.spawn("stuck", Scripted::new("stuck", &Diary::default()));
    stuck.tell(Order::run(|_, ctx| {
        ctx.spawn("child", Stuck);
    }));
    kit.settle();
    let report = kit.block_on(kit.system().coordinated_shutdown().run());
    assert_eq!(report.failures[0].cause, "not done within 10s; still stopping: /user/stuck");
}

struct Stuck;

impl actors::Actor for Stuck {
    type Message = ();

    async fn started(&mut self, _ctx: &mut actors::ActorContext<()>) -> actors::Handled {
        std::future::pending().await
    }

    async fn receive(&mut self, _ctx: &mut actors::ActorContext<()>, (): ()) -> actors::Handled {
        Ok(actors::Behavior::Same)
    }
}

#[test]
fn infrastructure_stops_after_everything_else() {
    let kit = TestKit::new();
    let diary = Diary::default();
    kit.system().spawn_internal("daemon", Scripted::new("daemon", &diary));
    kit.spawn("user", Scripted::new("user", &diary));
    kit.settle();
    diary.read();
    kit.block_on(kit.system().terminate());
    assert_eq!(diary.read(), ["user post-stop", "user dropped", "daemon post-stop", "daemon dropped"]);

    let late = kit.spawn("late", Scripted::new("late", &diary));
    assert!(late.is_stopped());
    assert!(kit.system().try_spawn("late", Scripted::new("late", &diary)).is_err());
}

#[test]
fn infrastructure_stops_even_if_something_else_does_not() {
    let kit = TestKit::new();
    let diary = Diary::default();
    kit.system().spawn_internal("daemon", Scripted::new("daemon", &diary));
    kit.spawn("stuck", Stuck);
    kit.settle();
    diary.read();
    let report = kit.block_on(kit.system().coordinated_shutdown().run());
    assert_eq!(diary.read(), ["daemon post-stop", "daemon dropped"]);
    assert_eq!(report.failures[0].cause, "not done within 10s; still stopping: /user/stuck");
}

#[test]
fn a_shutdown_whose_system_is_gone_ends_at_once_and_names_what_was_not_run() {
    let kit = TestKit::new();
    let system =
        ActorSystem::builder("short").runtime(kit.system().runtime().clone()).clock(kit.clock().clone()).start();
    let shutdown = system.coordinated_shutdown().clone();
    shutdown.add_task(Phase::ServiceStop, "unbind", || async { Ok(()) }).unwrap();
    drop(system);
    let report = kit.block_on(kit.clock().timeout(SECOND, shutdown.run())).expect("nothing to wait for");
    let cause = "not run: the actor system was dropped before its shutdown began".to_owned();
    assert_eq!(report.failures, [TaskFailure { phase: Phase::ServiceStop, task: "unbind".to_owned(), cause }]);
    kit.block_on(kit.clock().timeout(SECOND, shutdown.ended())).expect("it has ended");
}
