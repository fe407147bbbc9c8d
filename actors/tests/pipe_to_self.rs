//! Work beside an actor that ends with its life.

use std::time::Duration;

use actors::testkit::TestKit;
use actors::{ActorRef, Props, SupervisorStrategy};

use crate::script::{Diary, Order, Scripted};

const SECOND: Duration = Duration::from_secs(1);

fn restarting(kit: &TestKit, diary: &Diary) -> ActorRef<Order> {
    let made = diary.clone();
    let props = Props::new(move || Scripted::new("it", &made)).supervise(SupervisorStrategy::restart());
    kit.spawn("actor", props)
}

fn pipe(after: Duration, says: &'static str) -> Order {
    Order::run(move |this, ctx| {
        let (clock, diary) = (ctx.clock().clone(), this.diary.clone());
        let work = async move {
            clock.sleep(after).await;
            diary.note("done");
            says
        };
        ctx.pipe_to_self(work, Order::note);
    })
}

#[test]
fn the_result_comes_back_as_a_message_and_the_actor_serves_meanwhile() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = restarting(&kit, &diary);
    actor.tell(pipe(SECOND, "result"));
    actor.tell(Order::note("meanwhile"));
    kit.advance(SECOND);
    assert_eq!(diary.read(), ["it started", "it meanwhile", "done", "it result"]);
}

#[test]
fn the_work_ends_with_the_life_that_started_it() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = restarting(&kit, &diary);
    actor.tell(pipe(SECOND, "result"));
    kit.settle();
    actor.tell(Order::Fail("broken"));
    kit.advance(SECOND * 5);
    assert_eq!(diary.read(), ["it started", "it pre-restart", "it dropped", "it started"]);
}

#[test]
fn a_panic_in_the_work_fails_the_actor() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = restarting(&kit, &diary);
    actor.tell(Order::run(|_, ctx| ctx.pipe_to_self(async { panic!("in the work") }, |()| Order::Stop)));
    kit.settle();
    assert_eq!(diary.read(), ["it started", "it dropped", "it started"]);
    assert!(!actor.is_stopped());
}

#[test]
fn tied_tasks_end_when_the_actor_stops() {
    struct NotesDrop(Diary);
    impl Drop for NotesDrop {
        fn drop(&mut self) {
            self.0.note("task dropped");
        }
    }
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = restarting(&kit, &diary);
    actor.tell(Order::run(|this, ctx| {
        let guard = NotesDrop(this.diary.clone());
        ctx.spawn_task(async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
    }));
    kit.settle();
    actor.tell(Order::Stop);
    kit.settle();
    assert!(diary.read().contains(&"task dropped".to_owned()));
}
