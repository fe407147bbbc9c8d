//! Groups of actors that start, restart and stop together.

use std::time::Duration;

use actors::testkit::{TestKit, TestProbe};
use actors::{
    Actor, ActorContext, ActorRef, Behavior, BoxError, ChildOver, ChildRef, ChildSpec, GroupRestarted, GroupStrategy,
    Handled, Props, RestartKind, RestartsExhausted, Signal, Stopped, Supervisor, SupervisorMessage, TryTellError,
};

use crate::script::Diary;

const SECOND: Duration = Duration::from_secs(1);

/// Says in the diary when it lives and when it has ended; takes its time to stop.
struct Member {
    name: &'static str,
    diary: Diary,
    stops_in: Duration,
}

#[derive(Debug)]
enum Do {
    Fail,
    Stop,
    Note(&'static str),
    Hang,
    /// Spawns a child that hangs.
    Spawn,
}

impl Actor for Member {
    type Message = Do;

    async fn started(&mut self, _ctx: &mut ActorContext<Do>) -> Handled {
        self.diary.note(format!("+{}", self.name));
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<Do>, order: Do) -> Handled {
        match order {
            Do::Fail => return Err(BoxError::from("broken")),
            Do::Stop => return Ok(Behavior::Stopped),
            Do::Note(what) => self.diary.note(format!("{} {what}", self.name)),
            Do::Hang => std::future::pending().await,
            Do::Spawn => {
                let child = Member { name: "below", diary: self.diary.clone(), stops_in: SECOND };
                ctx.spawn("below", child).tell(Do::Hang);
            }
        }
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, ctx: &mut ActorContext<Do>, signal: Signal) -> Handled {
        if let Signal::PostStop = signal {
            ctx.clock().sleep(self.stops_in).await;
            self.diary.note(format!("-{}", self.name));
        }
        Ok(Behavior::Same)
    }
}

/// Children a, b, c and so on, under one supervisor.
struct Group {
    kit: TestKit,
    diary: Diary,
    refs: Vec<ChildRef<Do>>,
    supervisor: ActorRef<SupervisorMessage>,
}

fn spec(name: &'static str, diary: &Diary, stops_in: Duration) -> ChildSpec<Member> {
    let diary = diary.clone();
    ChildSpec::new(name, move || Member { name, diary: diary.clone(), stops_in })
}

impl Group {
    fn new(strategy: GroupStrategy, kinds: &[(&'static str, RestartKind)]) -> Self {
        Self::with(kinds, |kind| kind, Supervisor::new(strategy))
    }

    fn with(
        kinds: &[(&'static str, RestartKind)],
        shape: impl Fn(ChildSpec<Member>) -> ChildSpec<Member>,
        mut supervisor: Supervisor,
    ) -> Self {
        let kit = TestKit::new();
        let diary = Diary::default();
        let mut refs = Vec::new();
        for &(name, kind) in kinds {
            let spec = shape(spec(name, &diary, SECOND).restart(kind));
            refs.push(spec.child_ref());
            supervisor = supervisor.child(spec);
        }
        let supervisor = kit.spawn("group", supervisor);
        kit.settle();
        Self { kit, diary, refs, supervisor }
    }

    /// Tells one child something and lets all come to rest; returns what the diary says then.
    fn tell(&self, child: usize, order: Do) -> Vec<String> {
        self.diary.read();
        assert!(self.refs[child].try_tell(order).is_ok(), "child {child} is not there");
        self.kit.advance(SECOND * 10);
        self.diary.read()
    }
}

use GroupStrategy::{OneForAll, OneForOne, RestForOne};
use RestartKind::{Permanent, Temporary, Transient};

const THREE: [(&str, RestartKind); 3] = [("a", Permanent), ("b", Permanent), ("c", Permanent)];

#[test]
fn one_for_one_leaves_the_siblings_alone() {
    let group = Group::new(OneForOne, &THREE);
    assert_eq!(group.diary.read(), ["+a", "+b", "+c"]);
    assert_eq!(group.tell(1, Do::Fail), ["-b", "+b"]);
}

#[test]
fn one_for_all_ends_all_in_reverse_before_any_begins_anew() {
    let group = Group::new(OneForAll, &THREE);
    assert_eq!(group.tell(1, Do::Fail), ["-b", "-c", "-a", "+a", "+b", "+c"]);
}

#[test]
fn rest_for_one_takes_along_those_that_started_later() {
    let group = Group::new(RestForOne, &THREE);
    assert_eq!(group.tell(1, Do::Fail), ["-b", "-c", "+b", "+c"]);
    assert_eq!(group.tell(0, Do::Fail), ["-a", "-c", "-b", "+a", "+b", "+c"]);
}

#[test]
fn a_member_that_fails_while_its_group_stops_is_no_further_reason() {
    let group = Group::with(&THREE, |spec| spec, Supervisor::new(OneForAll).intensity(1, SECOND * 60));
    group.diary.read();
    for child in &group.refs {
        child.try_tell(Do::Fail).expect("all are there");
    }
    group.kit.advance(SECOND * 10);
    let happened = group.diary.read();
    assert_eq!(happened[3..], ["+a", "+b", "+c"]);
    assert!(!group.supervisor.is_stopped(), "three failures, one restart");
}

#[test]
fn a_new_group_waits_for_the_slowest_of_the_old() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let specs = [spec("quick", &diary, Duration::ZERO), spec("failing", &diary, Duration::ZERO)];
    let refs = specs.each_ref().map(ChildSpec::child_ref);
    let slow = spec("slow", &diary, SECOND * 4);
    kit.spawn("group", specs.into_iter().fold(Supervisor::new(OneForAll), Supervisor::child).child(slow));
    kit.settle();
    diary.read();
    refs[1].try_tell(Do::Fail).expect("it is there");
    kit.advance(SECOND);
    refs[0].try_tell(Do::Stop).expect("its turn to be stopped has not come");
    kit.advance(SECOND * 2);
    assert_eq!(diary.read(), ["-failing", "-quick"]);
    kit.advance(SECOND);
    assert_eq!(diary.read(), ["-slow", "+quick", "+failing", "+slow"]);
}

#[test]
fn a_transient_child_that_is_done_stays_away_until_its_group_restarts() {
    let group = Group::new(OneForAll, &[("a", Permanent), ("b", Transient)]);
    assert_eq!(group.tell(1, Do::Stop), ["-b"]);
    assert_eq!(group.kit.block_on(group.refs[1].ready()), Err(ChildOver));
    assert_eq!(group.tell(0, Do::Stop), ["-a", "+a", "+b"], "a permanent child comes back from every end");
    assert_eq!(group.tell(1, Do::Fail), ["-b", "-a", "+a", "+b"]);
}

#[test]
fn a_temporary_child_never_comes_back() {
    let group = Group::new(OneForAll, &[("a", Permanent), ("b", Temporary), ("c", Temporary)]);
    assert_eq!(group.tell(1, Do::Fail), ["-b"]);
    assert_eq!(group.tell(0, Do::Fail), ["-a", "-c", "+a"]);
}

#[test]
fn one_restart_too_many_ends_the_group_and_fails_the_supervisor() {
    let kit = TestKit::new();
    let (diary, mut parent) = (Diary::default(), kit.probe());
    let specs = [spec("a", &diary, Duration::ZERO), spec("b", &diary, Duration::ZERO)];
    let failing = specs[1].child_ref();
    let supervisor = specs.into_iter().fold(Supervisor::new(OneForOne).intensity(2, SECOND * 10), Supervisor::child);
    let supervisor = under_parent(&kit, supervisor, &parent);
    for _ in 0..2 {
        failing.try_tell(Do::Fail).expect("it is there");
        kit.advance(SECOND * 6);
    }
    failing.try_tell(Do::Fail).expect("the first of three is forgotten by now");
    kit.settle();
    assert!(!supervisor.is_stopped());
    diary.read();
    failing.try_tell(Do::Fail).expect("it is there");
    kit.settle();
    assert_eq!(diary.read(), ["-b", "-a"]);
    let exhausted =
        RestartsExhausted { child: "b".to_owned(), cause: Some("broken".to_owned()), max: 2, within: SECOND * 10 };
    assert_eq!(parent.expect_message(), exhausted);
    assert!(supervisor.is_stopped());
    assert_eq!(kit.block_on(failing.ready()), Err(ChildOver));
}

/// Spawns a supervisor under a parent that reports what it fails with.
fn under_parent(
    kit: &TestKit,
    supervisor: Supervisor,
    report_to: &TestProbe<RestartsExhausted>,
) -> ActorRef<SupervisorMessage> {
    struct Parent(ActorRef<RestartsExhausted>);

    impl Actor for Parent {
        type Message = ();

        async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
            Ok(Behavior::Same)
        }

        async fn on_signal(&mut self, _ctx: &mut ActorContext<()>, signal: Signal) -> Handled {
            if let Signal::ChildFailed { cause, .. } = signal {
                self.0.tell(cause.downcast_ref::<RestartsExhausted>().expect("a supervisor's failure").clone());
            }
            Ok(Behavior::Same)
        }
    }

    let mut spawned = kit.probe();
    let report_to = report_to.actor_ref();
    let tell = spawned.actor_ref();
    let mut supervisor = Some(supervisor);
    let parent = Props::setup(move |ctx: &mut ActorContext<()>| {
        let child = ctx.spawn("group", supervisor.take().expect("one life"));
        ctx.watch(&child);
        tell.tell(child);
        Parent(report_to.clone())
    });
    kit.spawn("parent", parent);
    spawned.expect_message()
}

#[test]
fn a_supervisor_that_gives_up_is_a_failed_child_of_the_one_above() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let leaf = ChildRef::new();
    let inner = {
        let (diary, leaf) = (diary.clone(), leaf.clone());
        move || {
            let leaf = spec("leaf", &diary, Duration::ZERO).referred_by(&leaf);
            Supervisor::new(OneForOne).child(leaf).intensity(0, SECOND)
        }
    };
    let outer = Supervisor::new(OneForAll)
        .child(spec("sibling", &diary, Duration::ZERO))
        .child(ChildSpec::new("inner", inner).stop_unlimited());
    kit.spawn("outer", outer);
    kit.settle();
    diary.read();
    leaf.try_tell(Do::Fail).expect("it is there");
    kit.settle();
    assert_eq!(diary.read(), ["-leaf", "-sibling", "+sibling", "+leaf"]);
    assert!(leaf.current().is_some(), "the reference follows the child through a restart of its supervisor");
}

#[test]
fn a_shutdown_goes_in_reverse_one_after_the_other_each_within_its_limit() {
    let group = Group::with(&THREE, |spec| spec.stop_within(SECOND * 3), Supervisor::new(OneForOne));
    group.refs[1].try_tell(Do::Hang).expect("it is there");
    group.kit.settle();
    group.diary.read();
    let began = group.kit.clock().now();
    group.supervisor.tell(SupervisorMessage::Shutdown);
    let mut watcher = group.kit.probe::<()>();
    group.kit.advance(SECOND * 5);
    watcher.expect_terminated(&group.supervisor);
    assert_eq!(group.diary.read(), ["-c", "-a"], "the one that hangs is dropped");
    assert_eq!(group.kit.clock().now() - began, SECOND * 5, "one second, three for the one that hangs, one");
}

#[test]
fn a_supervisor_that_is_stopped_goes_in_reverse_too_and_kills_what_hangs_below() {
    let group = Group::with(&THREE, |spec| spec.stop_within(SECOND * 3), Supervisor::new(OneForOne));
    group.refs[1].try_tell(Do::Spawn).expect("it is there");
    group.kit.settle();
    group.diary.read();
    group.kit.system().stop(&group.supervisor);
    group.kit.advance(SECOND * 5);
    assert_eq!(group.diary.read(), ["-c", "-a"], "the one whose child hangs had three seconds");
    group.kit.probe::<()>().expect_terminated(&group.supervisor);
    assert_eq!(group.kit.clock().now() - actors::Tick::START, SECOND * 5, "it has ended by then");
}

#[test]
fn a_child_ref_follows_its_child() {
    let group = Group::new(OneForAll, &THREE);
    let child = &group.refs[2];
    let first = child.current().expect("it is there");
    group.refs[0].try_tell(Do::Fail).expect("it is there");
    group.kit.settle();
    group.kit.advance(SECOND + SECOND / 2); // the group is stopping
    assert_eq!(child.current(), None);
    assert!(matches!(child.try_tell(Do::Note("lost")), Err(TryTellError::Stopped(Do::Note("lost")))));
    group.diary.read();
    let (sent, next) = group.kit.block_on(async { (child.send(Do::Note("waited")).await, child.ready().await) });
    assert!(sent.is_ok());
    let second = next.expect("it is back");
    assert_ne!(second, first);
    assert!(first.is_stopped());
    group.kit.settle();
    assert_eq!(group.diary.read(), ["-c", "-b", "+a", "+b", "+c", "c waited"]);

    group.supervisor.tell(SupervisorMessage::Shutdown);
    group.kit.advance(SECOND * 10);
    assert_eq!(group.kit.block_on(child.ready()), Err(ChildOver));
    assert!(matches!(group.kit.block_on(child.send(Do::Stop)), Err(Stopped(Do::Stop))));
}

#[test]
fn a_supervisor_says_which_children_it_has() {
    let group = Group::new(OneForOne, &[("a", Permanent), ("b", Temporary)]);
    let mut events = group.kit.probe::<GroupRestarted>();
    group.kit.system().event_stream().subscribe(&events.actor_ref());
    group.tell(0, Do::Fail);
    group.tell(1, Do::Stop);
    let ask = group.supervisor.ask(SupervisorMessage::WhichChildren, SECOND);
    let children = group.kit.block_on(ask).expect("an answer");
    let told: Vec<_> = children.iter().map(|child| (child.name.as_str(), child.path.is_some(), child.starts)).collect();
    assert_eq!(told, [("a", true, 2), ("b", false, 1)]);
    assert_eq!(children[0].last_failure.as_deref(), Some("broken"));
    assert_eq!(
        events.drain(),
        [GroupRestarted {
            supervisor: group.supervisor.path().clone(),
            child: "a".to_owned(),
            cause: Some("broken".to_owned()),
            started: vec!["a".to_owned()],
        }]
    );

    let look_up = |name: &str| {
        let name = name.to_owned();
        let ask = group.supervisor.ask(|reply_to| SupervisorMessage::Child { name, reply_to }, SECOND);
        group.kit.block_on(ask).expect("an answer")
    };
    let child = look_up("a").expect("there is such a spec");
    assert!(child.typed::<u64>().is_none(), "its messages are of another type");
    assert_eq!(child.typed::<Do>().and_then(|child| child.current()), group.refs[0].current());
    assert!(look_up("nobody").is_none());
}

#[test]
#[should_panic(expected = "two specs of one supervisor are named `a`")]
fn names_are_unique() {
    let diary = Diary::default();
    let _ = Supervisor::new(OneForOne).child(spec("a", &diary, SECOND)).child(spec("a", &diary, SECOND));
}
