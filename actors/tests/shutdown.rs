//! Coordinated shutdown.

use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    ActorSystem, BoxError, CoordinatedShutdown, Phase, PhaseBegun, ShutdownOverBudget, ShutdownReason, ShutdownReport,
    TaskFailure,
};

use crate::script::{Diary, Order, Scripted};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn phases_run_in_order_and_the_tasks_of_one_side_by_side() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let shutdown = kit.system().coordinated_shutdown();
    shutdown.cut_short(); // it has not begun, so this means nothing
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

/// A task in each of these phases that writes the phase's name into the diary.
fn note_phases(shutdown: &CoordinatedShutdown, phases: &[Phase]) -> Diary {
    let diary = Diary::default();
    for &phase in phases {
        let diary = diary.clone();
        let work = move || async move {
            diary.note(phase);
            Ok(())
        };
        shutdown.add_task(phase, "note", work).unwrap();
    }
    diary
}

#[test]
fn a_failure_in_a_phase_that_does_not_recover_aborts_the_rest() {
    let kit = TestKit::new();
    let shutdown = kit.system().coordinated_shutdown();
    let diary = note_phases(shutdown, &[Phase::ServiceUnbind, Phase::ServiceStop, Phase::ClusterShutdown]);
    let disk = || async { Err(BoxError::from("disk is gone")) };
    shutdown.add_task(Phase::ServiceUnbind, "recovers", disk).unwrap();
    shutdown.add_task(Phase::ServiceStop, "does not", disk).unwrap();
    shutdown.set_recover(Phase::ServiceStop, false).unwrap();
    let survivor = kit.spawn("survivor", Scripted::new("survivor", &Diary::default()));

    let report = kit.block_on(shutdown.run());
    assert_eq!(diary.read(), ["service-unbind", "service-stop"]);
    assert_eq!(report.aborted_in, Some(Phase::ServiceStop));
    let told: Vec<_> = report.failures.iter().map(|failure| (failure.phase, failure.cause.as_str())).collect();
    assert_eq!(
        told,
        [
            (Phase::ServiceUnbind, "disk is gone"),
            (Phase::ServiceStop, "disk is gone"),
            (Phase::ClusterShutdown, "not run: phase service-stop failed and does not recover"),
        ]
    );
    assert_eq!(report.exit_code(), 1);
    assert!(!survivor.is_stopped(), "their phase did not run");
    let late = shutdown.add_task(Phase::ActorSystemTerminate, "late", || async { Ok(()) });
    assert_eq!(late, Err(PhaseBegun { phase: Phase::ActorSystemTerminate }), "it will not run any more");
}

#[test]
fn a_phase_that_does_not_recover_is_aborted_by_its_timeout_too() {
    let kit = TestKit::new();
    let shutdown = kit.system().coordinated_shutdown();
    shutdown.add_task(Phase::ClusterLeave, "hangs", std::future::pending).unwrap();
    shutdown.set_recover(Phase::ClusterLeave, false).unwrap();
    assert_eq!(kit.block_on(shutdown.run()).aborted_in, Some(Phase::ClusterLeave));
}

#[test]
fn a_cancelled_task_does_not_run() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let shutdown = kit.system().coordinated_shutdown();
    let [kept, cancelled, late] = ["kept", "cancelled", "late"].map(|name| {
        let diary = diary.clone();
        let work = move || async move {
            diary.note(name);
            Ok(())
        };
        shutdown.add_cancellable_task(Phase::ServiceStop, name, work).unwrap()
    });
    assert!(cancelled.cancel());
    drop(kept);
    kit.block_on(shutdown.run());
    let mut ran = diary.read();
    ran.sort();
    assert_eq!(ran, ["kept", "late"]);
    assert!(!late.cancel(), "it has run");
}

#[test]
fn a_worst_case_above_the_budget_is_said_once_each_time_it_comes_about() {
    let kit = TestKit::new();
    let system = ActorSystem::builder("tight")
        .runtime(kit.system().runtime().clone())
        .clock(kit.clock().clone())
        .shutdown_budget(SECOND * 18)
        .start();
    let mut warned = kit.probe::<ShutdownOverBudget>();
    system.event_stream().subscribe(&warned.actor_ref());
    let shutdown = system.coordinated_shutdown();
    let nothing = || async { Ok(()) };
    shutdown.add_task(Phase::ServiceUnbind, "unbind", nothing).unwrap();
    assert_eq!(shutdown.over_budget(), None);
    let one_more = shutdown.add_cancellable_task(Phase::ServiceStop, "close", nothing).unwrap();
    let over = ShutdownOverBudget { worst_case: SECOND * 20, budget: SECOND * 18 };
    assert_eq!(shutdown.over_budget(), Some(over));
    shutdown.add_task(Phase::ClusterLeave, "leave", nothing).unwrap();
    assert_eq!(warned.drain(), [over], "not again for each further task");
    assert!(one_more.cancel());
    shutdown.set_timeout(Phase::ClusterLeave, SECOND).unwrap();
    assert_eq!(shutdown.over_budget(), None);
    shutdown.set_timeout(Phase::ClusterLeave, SECOND * 4).unwrap();
    assert_eq!(warned.drain(), [ShutdownOverBudget { worst_case: SECOND * 19, budget: SECOND * 18 }]);
}

#[test]
fn a_node_declared_down_stops_hosting_first_and_hands_nothing_over() {
    let kit = TestKit::new();
    let shutdown = kit.system().coordinated_shutdown();
    let diary = note_phases(shutdown, &Phase::ALL);
    let report = kit.block_on(shutdown.run_for(ShutdownReason::ClusterDowned));
    assert_eq!(
        diary.read(),
        [
            "cluster-shutdown",
            "before-service-unbind",
            "service-unbind",
            "service-requests-done",
            "service-stop",
            "before-cluster-shutdown",
            "before-actor-system-terminate",
            "actor-system-terminate",
        ]
    );
    let skipped: Vec<Phase> = report.failures.iter().map(|failure| failure.phase).collect();
    let handing_over =
        [Phase::ClusterShardingShutdownRegion, Phase::ClusterLeave, Phase::ClusterExiting, Phase::ClusterExitingDone];
    assert_eq!(skipped, handing_over);
    assert_eq!((report.exit_code(), report.aborted_in), (3, None));
}

#[test]
fn the_first_reason_counts() {
    let kit = TestKit::new();
    let shutdown = kit.system().coordinated_shutdown();
    assert_eq!(shutdown.reason(), None);
    shutdown.start_for(ShutdownReason::ClusterJoinFailed);
    let report = kit.block_on(shutdown.run());
    assert_eq!(shutdown.reason(), Some(ShutdownReason::ClusterJoinFailed));
    assert_eq!((report.reason.clone(), report.exit_code()), (ShutdownReason::ClusterJoinFailed, 4));
}

#[test]
fn the_end_of_the_guardian_is_the_end_of_the_system() {
    let kit = TestKit::new();
    let shutdown = kit.system().coordinated_shutdown();
    let guardian = kit.spawn("guardian", Scripted::new("guardian", &Diary::default()));
    let other = kit.spawn("other", Scripted::new("other", &Diary::default()));
    shutdown.start_when_stopped(&guardian);
    kit.settle();
    assert!(!shutdown.is_started());
    guardian.tell(Order::Stop);
    let report = kit.block_on(kit.clock().timeout(SECOND, shutdown.ended())).expect("nothing holds it up");
    assert_eq!(report.reason, ShutdownReason::GuardianStopped(guardian.path().clone()));
    assert!(other.is_stopped());
}

#[test]
fn a_shutdown_cut_short_ends_at_once_and_names_what_did_not_run() {
    let kit = TestKit::new();
    let shutdown = kit.system().coordinated_shutdown();
    shutdown.cut_short(); // nothing to cut short yet
    shutdown.add_task(Phase::ServiceStop, "hangs", std::future::pending).unwrap();
    let diary = note_phases(shutdown, &[Phase::ClusterShutdown]);
    shutdown.start();
    kit.settle();
    shutdown.cut_short();
    let before = kit.clock().now();
    let report = kit.block_on(shutdown.ended());
    assert_eq!(kit.clock().now(), before);
    assert_eq!(diary.read(), [""; 0]);
    assert_eq!(report.aborted_in, Some(Phase::ServiceStop));
    let told: Vec<_> = report.failures.iter().map(|failure| (failure.task.as_str(), failure.cause.as_str())).collect();
    let not_run = "not run: the shutdown was cut short in phase service-stop";
    assert_eq!(told, [("hangs", "the shutdown was cut short"), ("note", not_run)]);
}

/// The one test with real signals: they go to the whole process.
#[cfg(unix)]
#[test]
fn a_signal_starts_the_shutdown_and_a_second_cuts_it_short() {
    use rustix::process::{Signal, getpid, kill_process};

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let report: std::sync::Arc<ShutdownReport> = runtime.block_on(async {
        let system = ActorSystem::new("signalled");
        let shutdown = system.coordinated_shutdown();
        let (begun, mut is_begun) = tokio::sync::mpsc::channel(1);
        let work = move || async move {
            begun.send(()).await?;
            std::future::pending().await
        };
        shutdown.add_task(Phase::ServiceUnbind, "hangs", work).unwrap();
        shutdown.set_timeout(Phase::ServiceUnbind, SECOND * 600).unwrap();
        shutdown.run_on_signals().expect("this process may listen");
        kill_process(getpid(), Signal::TERM).expect("a signal to oneself");
        is_begun.recv().await.expect("the task begins");
        kill_process(getpid(), Signal::INT).expect("a signal to oneself");
        shutdown.ended().await
    });
    assert_eq!(report.reason, ShutdownReason::Signal("SIGTERM"));
    assert_eq!((report.aborted_in, report.exit_code()), (Some(Phase::ServiceUnbind), 1));
}
