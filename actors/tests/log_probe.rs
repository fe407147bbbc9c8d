//! What actors log, as values.

use std::sync::atomic::{AtomicUsize, Ordering};

use actors::testkit::TestKit;
use actors::{Actor, ActorContext, Behavior, Handled};
use tracing::{Level, info, warn};

use crate::behavior_kit::{assert_says, panic_of};

struct Chatty;

impl Actor for Chatty {
    type Message = u32;

    async fn receive(&mut self, _ctx: &mut ActorContext<u32>, number: u32) -> Handled {
        match number {
            0 => return Err("zero".into()),
            number => info!(number, shown = %format!("<{number}>"), quoted = "text", "heard one"),
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn a_log_event_carries_its_actor_its_level_and_its_fields() {
    let kit = TestKit::new();
    let (one, other) = (kit.spawn("one", Chatty), kit.spawn("other", Chatty));
    kit.settle();
    let mut logs = kit.logs();
    other.tell(1);
    one.tell(2);
    warn!("of no actor");
    kit.settle();
    let event = logs.expect(|event| event.is_of(&one));
    assert_eq!((event.level, event.message.as_str()), (Level::INFO, "heard one"));
    assert!(event.target.ends_with("log_probe"), "{event}");
    let fields: Vec<_> = event.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(fields, [("number", "2"), ("quoted", "text"), ("shown", "<2>")]);
    one.tell(3);
    kit.settle();
    let later = logs.drain();
    assert_eq!(later.len(), 1, "what came before the one expected is gone: {later:?}");
    assert!(later[0].to_string().contains("INFO /user/one"), "{}", later[0]);
}

#[test]
fn what_comes_while_some_work_is_done_can_be_expected() {
    let kit = TestKit::new();
    let actor = kit.spawn("actor", Chatty);
    let failing = |event: &actors::testkit::LogEvent| event.level == Level::ERROR && event.fields["error"] == "zero";
    let text = panic_of(|| kit.expect_log(failing, || ()));
    assert_says(&text, &["what was expected was not logged, but nothing was"]);
    let text = panic_of(|| kit.expect_log(failing, || actor.tell(7)));
    assert_says(&text, &["was not logged, but this was:", "INFO /user/actor", "heard one", "number=7"]);
    let text = panic_of(|| kit.expect_no_log(|event| event.is_of(&actor), || actor.tell(8)));
    assert_says(&text, &["logged what should not have been: INFO /user/actor", "number=8"]);
    kit.expect_no_log(failing, || actor.tell(9));
    kit.expect_log(failing, || actor.tell(0));
}

#[test]
fn another_kit_on_the_same_thread_is_not_listened_to() {
    let (kit, other) = (TestKit::new(), TestKit::new());
    let actor = other.spawn("actor", Chatty);
    let (mut of_other, mut of_kit) = (other.logs(), kit.logs());
    actor.tell(1);
    other.settle();
    assert_eq!(of_kit.drain(), []);
    assert_eq!(of_other.drain().len(), 1, "an outer probe hears what an inner one hears");
}

/// Counts what it hears.
#[derive(Clone, Default)]
struct Counts(std::sync::Arc<AtomicUsize>, std::sync::Arc<AtomicUsize>);

impl tracing::Subscriber for Counts {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_span() || *metadata.level() <= Level::WARN
    }
    fn new_span(&self, _span: &tracing::span::Attributes<'_>) -> tracing::Id {
        tracing::Id::from_u64(self.0.fetch_add(1, Ordering::Relaxed) as u64 + 1)
    }
    fn record(&self, _span: &tracing::Id, _values: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _span: &tracing::Id, _follows: &tracing::Id) {}
    fn event(&self, _event: &tracing::Event<'_>) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _span: &tracing::Id) {}
    fn exit(&self, _span: &tracing::Id) {}
}

#[test]
fn whoever_listened_before_hears_what_it_asked_for() {
    let outer = Counts::default();
    let kit = TestKit::new();
    tracing::subscriber::with_default(outer.clone(), || {
        let actor = kit.spawn("actor", Chatty);
        let mut logs = kit.logs();
        actor.tell(1); // `info!`, which the outer one did not ask for
        actor.tell(0); // the failure, which it did
        kit.settle();
        assert_eq!(logs.drain().len(), 2);
        drop(logs);
        warn!("after");
    });
    assert_eq!(outer.1.load(Ordering::Relaxed), 2);
    assert!(outer.0.load(Ordering::Relaxed) >= 1, "spans are the outer one's");
}
