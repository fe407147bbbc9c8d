//! Events of event logs become commands: with an action played by hand, and events put into the journal directly.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use cloudstate::admin;
use cloudstate::config::{Listen, ProxyConfig};
use cloudstate::eventing::{self, Control, Plan, Support};
use cloudstate::listen::{self, MANAGEMENT_PORT};
use cloudstate::spec::{ServedSpec, SpecSettings};
use cloudstate::store::{EventStore, Store};
use persistence::{
    Append, BoxFuture, Changes, EventFeed, FeedPage, FeedQuery, Fence, FenceScope, Journal, JournalError, Offset,
    ParkedEvent, PersistenceId, ProjectionId, ProjectionStore, RawEvent, ReplayLimit, Selection, SqliteOptions,
    SqliteStore,
};
use proto::Any;
use proto::cloudstate::EntitySpec;
use proto::cloudstate::metadata_entry::Value;
use proto::model::tck::eventlogeventing::{EventOne, EventTwo};
use tokio::task::AbortHandle;
use tower::ServiceExt;

use crate::proto_text::{ACTION, EVENT_SOURCED, VALUE_ENTITY, entity_spec, served, shop};
use crate::scripted::{SOON, ScriptedFunction, TestSidecar, soon};

const SUBSCRIBER: &str = "cloudstate.tck.model.eventlogeventing.EventLogSubscriberModel";

/// The subscriber of the model, and the entities whose events it reads.
fn model() -> EntitySpec {
    let package = "cloudstate.tck.model.eventlogeventing";
    let one = format!("{package}.EventSourcedEntityOne");
    let two = format!("{package}.EventSourcedEntityTwo");
    let entities = [
        (ACTION, SUBSCRIBER, ""),
        (EVENT_SOURCED, &one, "eventlogeventing-one"),
        (EVENT_SOURCED, &two, "eventlogeventing-two"),
    ];
    entity_spec(Bytes::from_static(proto::model::FILE_DESCRIPTOR_SET), &entities)
}

/// Actions, by name and the options of their only method, that take the events `shop.Plain` of `cart`.
pub(crate) fn subscribers(actions: &[(&str, &str)]) -> EntitySpec {
    let service = |(name, options): &(&str, &str)| {
        format!(
            "service {name} {{ rpc On(Plain) returns (Plain) {{ option (.cloudstate.eventing) = {{ {options} }}; }} }}\n"
        )
    };
    let body: String = actions.iter().map(service).collect();
    let names: Vec<String> = actions.iter().map(|(name, _)| format!("shop.{name}")).collect();
    let mut entities: Vec<_> = names.iter().map(|name| (ACTION, name.as_str(), "")).collect();
    entities.push((EVENT_SOURCED, "shop.Cart", "cart"));
    shop(&format!("{body} service Cart {{ rpc Get(Key) returns (Plain); }}"), &entities)
}

pub(crate) const OF_CART: &str = r#"in: { event_log: "cart" }"#;

/// An entity whose log the test writes.
pub(crate) struct Log {
    journal: Arc<dyn Journal<RawEvent>>,
    id: PersistenceId,
    fence: Fence,
}

impl Log {
    pub(crate) async fn of(store: &Store, kind: &str, entity: &str) -> Self {
        let id = PersistenceId::of(kind, entity);
        let fence = store.journal.claim(FenceScope::Entity(id.clone())).await.expect("claimed");
        Self { journal: store.journal.clone(), id, fence }
    }

    async fn append(&self, events: Vec<Any>) {
        let highest = self.journal.highest_seq(self.id.clone()).await.expect("read");
        let raw = |event: Any| RawEvent { manifest: event.type_url.into(), payload: event.value, meta: None };
        let append = Append {
            id: self.id.clone(),
            expected_seq: highest + 1,
            fence: self.fence.clone(),
            batch_id: rand::random(),
            events: events.into_iter().map(raw).collect(),
            tags: Vec::new(),
            time_ms: 1,
        };
        self.journal.append(append).await.expect("stored");
    }

    /// Events `shop.Plain` whose bytes are these texts.
    pub(crate) async fn texts(&self, texts: &[&str]) {
        self.append(texts.iter().map(|text| plain(text)).collect()).await;
    }
}

fn plain(text: &str) -> Any {
    Any { type_url: "type.googleapis.com/shop.Plain".to_owned(), value: Bytes::copy_from_slice(text.as_bytes()) }
}

/// The bytes of the next event for the action, which is handled.
pub(crate) async fn next_text(function: &mut ScriptedFunction) -> String {
    let action = function.action().await;
    let text = text_of(&action.command);
    action.done();
    text
}

pub(crate) fn text_of(command: &proto::cloudstate::action::ActionCommand) -> String {
    String::from_utf8(command.payload.clone().expect("a payload").value.to_vec()).expect("a text")
}

/// Retries at once, and parks soon.
pub(crate) fn hasty(attempts: usize) -> impl FnOnce(&mut ProxyConfig) {
    move |config| {
        config.eventing.attempts_max = attempts.try_into().expect("some");
        config.eventing.backoff.min = Duration::from_millis(5);
        config.eventing.backoff.max = Duration::from_millis(20);
    }
}

fn at(ordering: u64) -> Offset {
    Offset::of_ordering(ordering)
}

async fn parked(store: &Store) -> Vec<ParkedEvent> {
    let projections = &store.events.as_ref().expect("with events").projections;
    projections.parked(Selection::default(), None, 100).await.expect("read")
}

/// Waits until so many events are parked.
pub(crate) async fn until_parked(store: &Store, count: usize) -> Vec<ParkedEvent> {
    let waited = async {
        loop {
            let found = parked(store).await;
            if found.len() == count {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the parking of an event", waited).await
}

/// Methods are chosen by the event's type; one that takes any is given the event itself. The metadata is as it is on
/// the wire, in this order.
#[tokio::test]
async fn an_event_arrives_as_it_was_stored_with_its_attributes_in_order() {
    let store = Store::in_memory();
    let mut function = ScriptedFunction::start(model()).await;
    let _sidecar = TestSidecar::over(store.clone(), &function, |_| {}).ready().await;
    let one = Any::pack("cloudstate.tck.model.eventlogeventing.EventOne", &EventOne::default());
    let two = Any::pack("cloudstate.tck.model.eventlogeventing.EventTwo", &EventTwo { step: vec![Default::default()] });
    let json = Any { type_url: "json.cloudstate.io/JsonEvent".to_owned(), value: Bytes::from_static(b"\x0a\x02{}") };
    let first = Log::of(&store, "eventlogeventing-one", "a|b").await;
    first.append(vec![one.clone(), two.clone()]).await;
    for (id, method, event) in [("1", "ProcessEventOne", &one), ("2", "ProcessEventTwo", &two)] {
        let action = function.action().await;
        assert_eq!((&*action.command.service_name, &*action.command.name), (SUBSCRIBER, method));
        assert_eq!(action.command.payload.as_ref(), Some(event));
        let expected = [
            ("ce-id", id),
            ("ce-source", "eventlogeventing-one"),
            ("ce-specversion", "1.0"),
            ("ce-type", &*event.type_url),
            ("Content-Type", "application/vnd.cloudstate.protobuf.any"),
            ("ce-subject", "a|b"),
        ];
        let entries = action.command.metadata.clone().expect("set").entries.into_iter();
        let entries: Vec<_> = entries.map(|entry| (entry.key, entry.value)).collect();
        let expected = expected.map(|(key, value)| (key.to_owned(), Some(Value::StringValue(value.to_owned()))));
        assert_eq!(entries, expected);
        action.done();
    }
    Log::of(&store, "eventlogeventing-two", "c").await.append(vec![json.clone()]).await;
    let action = function.action().await;
    assert_eq!(action.command.name, "ProcessAnyEvent");
    assert_eq!(action.command.payload, Some(json), "not an Any in an Any");
    action.done();
}

/// What was handled is not delivered again after an orderly stop; what was not, is.
/// CloudState protocol, known defects 69: nothing is lost around the moment of subscription.
#[tokio::test]
async fn a_restarted_sidecar_goes_on_where_the_last_one_was() {
    let store = Store::in_memory();
    let log = Log::of(&store, "cart", "a").await;
    log.texts(&["before the start"]).await;
    let mut function = ScriptedFunction::start(subscribers(&[("Mail", OF_CART)])).await;
    let sidecar = TestSidecar::over(store.clone(), &function, |_| {}).ready().await;
    // The sidecar has claimed the entity meanwhile.
    let log = Log::of(&store, "cart", "a").await;
    log.texts(&["while it runs", "in flight at the end"]).await;
    assert_eq!(next_text(&mut function).await, "before the start");
    assert_eq!(next_text(&mut function).await, "while it runs");
    let in_flight = function.action().await;
    let stopping = tokio::spawn(sidecar.proxy.drain());
    in_flight.fail("not today");
    soon("the end", stopping).await.expect("drained");
    log.texts(&["while it was away"]).await;

    let sidecar = TestSidecar::over(store.clone(), &function, |_| {}).ready().await;
    assert_eq!(next_text(&mut function).await, "in flight at the end", "a failure is not acknowledged");
    let again = function.action().await;
    assert_eq!(text_of(&again.command), "while it was away");
    drop(sidecar);
    let _sidecar = TestSidecar::over(store, &function, |_| {}).ready().await;
    let texts = async {
        // The offset may or may not have been saved before the sudden end: at least once.
        loop {
            match next_text(&mut function).await.as_str() {
                "while it was away" => return,
                other => assert_eq!(other, "in flight at the end"),
            }
        }
    };
    soon("what was in flight at the sudden end", texts).await;
}

/// CloudState protocol, known defects 65: a failure is not acknowledged, and an event that always fails does not hold up
/// the others for ever. It is kept, and handled when asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_event_is_parked_after_its_attempts_and_replayed_on_request() {
    let store = Store::in_memory();
    let mut function = ScriptedFunction::start(subscribers(&[("Mail", OF_CART)])).await;
    let sidecar = TestSidecar::over(store.clone(), &function, hasty(3)).ready().await;
    let management = Management::of(&sidecar).await;
    let log = Log::of(&store, "cart", "a").await;
    log.texts(&["poison", "next"]).await;
    for _ in 0..3 {
        let action = function.action().await;
        assert_eq!(text_of(&action.command), "poison", "the next one of the entity waits");
        action.fail("cannot digest this");
    }
    assert_eq!(next_text(&mut function).await, "next");
    let found = until_parked(&store, 1).await;
    let ParkedEvent { projection, offset, id, seq_nr, attempts, reason, replay, .. } = &found[0];
    assert_eq!((&*projection.group, &*projection.source), ("shop.Mail", "cart"));
    assert_eq!((*offset, id.as_str(), *seq_nr, *attempts, *replay), (at(1), "cart|a", 1, 3, false));
    assert_eq!(reason, "cannot digest this");

    let (code, out) = management.command(&["parked"]);
    assert_eq!(code, Some(0), "{out}");
    assert_eq!(out, "group shop.Mail source cart offset 1: entity \"a\" event 1, 3 attempts: cannot digest this\n");
    assert_eq!(management.command(&["replay", "--offset=1"]), (Some(0), "1 event tried again\n".to_owned()));
    for _ in 0..3 {
        let action = function.action().await;
        assert_eq!(text_of(&action.command), "poison");
        action.fail("still not");
    }
    let waited = async {
        while parked(&store).await[0].attempts != 6 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the parking of the event again", waited).await;
    assert_eq!(management.command(&["replay", "--all"]), (Some(0), "1 event tried again\n".to_owned()));
    assert_eq!(next_text(&mut function).await, "poison");
    until_parked(&store, 0).await;
    assert_eq!(management.command(&["parked"]), (Some(0), "no event is parked\n".to_owned()));
}

/// A replay that is asked for while nobody runs is done at the next start; a dropped event is not heard of again.
#[tokio::test]
async fn parked_events_of_a_stopped_sidecar_are_replayed_when_it_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = format!("--store=sqlite:{}", folder.path().display());
    let cli = |args: &[&str]| run_command(&[args, &[&*place, "--management-port=off"]].concat());
    let (code, text) = cli(&["parked"]);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("there is no store in"), "{text}");

    let store = SqliteStore::open(folder.path(), SqliteOptions::default()).expect("opened");
    let mail = ProjectionId { group: "shop.Mail".into(), source: "cart".into() };
    let fence = ProjectionStore::take_over(&store, mail.clone()).await.expect("claimed").fence;
    let config = ProxyConfig::default();
    let log = {
        let id = PersistenceId::of("cart", "a");
        let journal: Arc<dyn Journal<RawEvent>> = Arc::new(store.clone());
        let fence = journal.claim(FenceScope::Entity(id.clone())).await.expect("claimed");
        Log { journal, id, fence }
    };
    log.texts(&["one", "two", "three"]).await;
    for offset in [1, 2] {
        let event = ParkedEvent {
            projection: mail.clone(),
            offset: at(offset),
            id: log.id.clone(),
            seq_nr: offset,
            attempts: 8,
            reason: "no".to_owned(),
            time_ms: 0,
            replay: false,
        };
        store.park(fence.clone(), event).await.expect("parked");
    }
    store.save_offset(fence, at(2)).await.expect("saved");
    let (code, text) = cli(&["parked"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("is in use by process") && text.contains("management port is off"), "{text}");
    store.close().await;

    assert_eq!(
        cli(&["replay", "--offset=1", "--group=shop.Mail"]).1,
        "1 event to be tried again when the sidecar starts\n"
    );
    assert_eq!(cli(&["drop", "--offset=2"]).1, "1 event dropped\n");
    let (_, json) = cli(&["parked", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (&json[0]["offset"], &json[0]["replay"], &json[1]),
        (&"1".into(), &true.into(), &serde_json::Value::Null)
    );
    let (code, text) = cli(&["drop"]);
    assert_eq!(code, Some(2), "what to drop has to be said: {text}");

    let mut function = ScriptedFunction::start(subscribers(&[("Mail", OF_CART)])).await;
    let mut config = config.store;
    config.location = cloudstate::config::StoreLocation::Sqlite(folder.path().to_owned());
    let store = Store::open(&config).await.expect("opened");
    let sidecar = TestSidecar::over(store.clone(), &function, |_| {}).ready().await;
    let mut texts = [next_text(&mut function).await, next_text(&mut function).await];
    texts.sort();
    assert_eq!(texts, ["one", "three"]);
    until_parked(&store, 0).await;
    soon("the end of the sidecar", sidecar.proxy.drain()).await;
}

/// CloudState protocol, known defects 68: events of different entities are handled at once, within the bound; those of
/// one entity one after the other.
#[tokio::test]
async fn entities_are_served_side_by_side_and_each_in_order() {
    let store = Store::in_memory();
    let mut function = ScriptedFunction::start(subscribers(&[("Mail", OF_CART)])).await;
    let _sidecar = TestSidecar::over(store.clone(), &function, |config| {
        hasty(100)(config);
        config.eventing.parallelism = 3.try_into().expect("some");
    })
    .ready()
    .await;
    for entity in ["a", "b", "c", "d", "e"] {
        let texts: Vec<String> = (1..=4).map(|number| format!("{entity}{number}")).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        Log::of(&store, "cart", entity).await.texts(&texts).await;
    }
    let (mut open, mut done) = (Vec::new(), BTreeMap::<char, Vec<String>>::new());
    let mut failed = 0;
    while done.values().map(Vec::len).sum::<usize>() < 20 {
        // Fewer entities than places are left near the end.
        let unfinished = 5 - done.values().filter(|texts| texts.len() == 4).count();
        while open.len() < unfinished.min(3) {
            open.push(function.action().await);
        }
        assert!(function.has_no_action(), "no more than three at once");
        let mut entities: Vec<_> = open.iter().map(|action| text_of(&action.command).remove(0)).collect();
        entities.sort_unstable();
        entities.dedup();
        assert_eq!(entities.len(), open.len(), "one event of an entity at a time");
        let action = open.pop().expect("something is open");
        let text = text_of(&action.command);
        failed += 1;
        if failed % 4 == 0 {
            action.fail("try again");
        } else {
            done.entry(text.chars().next().expect("not empty")).or_default().push(text);
            action.done();
        }
    }
    for (entity, texts) in done {
        let expected: Vec<String> = (1..=4).map(|number| format!("{entity}{number}")).collect();
        assert_eq!(texts, expected, "of entity {entity}, each once and in order");
    }
}

#[tokio::test]
async fn consumer_groups_know_nothing_of_each_other() {
    let store = Store::in_memory();
    let bill = r#"in: { event_log: "cart" consumer_group: "billing" }"#;
    let mut function = ScriptedFunction::start(subscribers(&[("Mail", OF_CART), ("Bill", bill)])).await;
    let sidecar = TestSidecar::over(store.clone(), &function, hasty(2)).ready().await;
    Log::of(&store, "cart", "a").await.texts(&["1", "2"]).await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        let action = function.action().await;
        if action.command.service_name == "shop.Mail" {
            action.fail("no mail today");
        } else {
            seen.push(text_of(&action.command));
            action.done();
        }
    }
    assert_eq!(seen, ["1", "2"], "one group goes on while the other fails");
    let groups: Vec<_> = until_parked(&store, 2).await.into_iter().map(|event| event.projection.group).collect();
    assert_eq!(groups, ["shop.Mail".into(), "shop.Mail".into()]);
    let (status, problems) = sidecar.proxy.eventing().status().await;
    let status: Vec<_> = status.iter().map(|one| (&*one.group, &*one.source, one.parked)).collect();
    assert_eq!((status, problems), (vec![("billing", "cart", 0), ("shop.Mail", "cart", 2)], Vec::new()));
}

/// CloudState protocol, known defects 65: what is wrong with one consumer is told, and keeps no other from running.
#[tokio::test]
async fn a_topic_is_refused_and_other_consumers_run() {
    let store = Store::in_memory();
    let topic = r#"in: { topic: "orders" }"#;
    let mut function = ScriptedFunction::start(subscribers(&[("Orders", topic), ("Mail", OF_CART)])).await;
    let sidecar = TestSidecar::over(store.clone(), &function, |_| {}).ready().await;
    let text =
        "Eventing consumer [shop.Plain] has declared a [topic] event source, but this event source isn't supported.";
    assert_eq!(function.report().await, text);
    Log::of(&store, "cart", "a").await.texts(&["1"]).await;
    assert_eq!(next_text(&mut function).await, "1");
    assert_eq!(sidecar.proxy.eventing().status().await.1, [text]);
}

/// CloudState protocol, known defects 65: a method that only publishes is no consumer, and no error of one.
#[test]
fn a_method_with_only_an_output_is_no_consumer() {
    let spec = subscribers(&[("Feed", r#"out: { topic: "news" }"#), ("Mail", OF_CART)]);
    let spec = ServedSpec::check(&spec, &SpecSettings { topics: true, ..SpecSettings::default() }).expect("valid");
    let plan = Plan::of(&spec, Support { event_logs: true });
    assert_eq!((plan.consumers.len(), plan.problems.len(), plan.warnings.len()), (1, 0, 0), "{plan:?}");
}

#[test]
fn what_is_wrong_with_a_consumer_is_said_in_the_protocols_words() {
    let plan = |options: &str, support| {
        let entities =
            [(ACTION, "shop.S", ""), (VALUE_ENTITY, "shop.V", "value"), (EVENT_SOURCED, "shop.Cart", "cart")];
        let services = "service V { rpc Get(Key) returns (Plain); } service Cart { rpc Get(Key) returns (Plain); }";
        Plan::of(&served(&format!("service S {{ {options} }} {services}"), &entities), Support { event_logs: support })
    };
    let method = |name: &str, input: &str, options: &str| {
        format!("rpc {name}({input}) returns (Plain) {{ option (.cloudstate.eventing) = {{ {options} }}; }}")
    };
    let problem = |options: &str, support| {
        let plan = plan(options, support);
        assert_eq!((plan.consumers.len(), plan.problems.len()), (0, 1), "{plan:?}");
        plan.problems[0].clone()
    };
    for empty in ["in: {}", r#"in: { consumer_group: "g" }"#, r#"in: { event_log: "" }"#] {
        let text = problem(&method("On", "Plain", empty), true);
        assert_eq!(text, "Eventing consumer [shop.Plain] has declared an input with no source.", "{empty}");
    }
    assert_eq!(
        problem(&method("On", "Plain", OF_CART), false),
        "Eventing consumer [shop.Plain] has declared a [event_log] event source, but this event source isn't supported."
    );
    assert_eq!(
        problem(&method("On", "Plain", r#"in: { event_log: "value" }"#), true),
        "Eventing consumer [shop.Plain] has declared an input of [value], but this does not support being used as an \
         event source."
    );
    let twice = method("A", "Plain", OF_CART) + &method("B", "Plain", OF_CART);
    assert_eq!(
        problem(&twice, true),
        "Endpoints [shop.S.A] and [shop.S.B] both subscribe to the same event source with the same input type. If you \
         wish to define two independent consumers of the same event source, use the consumer_group annotation on the \
         source to identify them."
    );
    let any_twice = method("A", "google.protobuf.Any", OF_CART) + &method("B", "google.protobuf.Any", OF_CART);
    assert!(problem(&any_twice, true).starts_with("Endpoints [shop.S.A] and [shop.S.B]"));
    let grouped = method("A", "Plain", OF_CART)
        + &method("B", "Plain", r#"in: { event_log: "cart" consumer_group: "b" }"#)
        + &method("C", "Key", OF_CART)
        + &method("D", "Plain", r#"in: { event_log: "unknown" }"#);
    let plan = plan(&grouped, true);
    assert!(plan.problems.is_empty(), "{plan:?}");
    let names: Vec<_> = plan.consumers.iter().map(|consumer| consumer.projection.to_string()).collect();
    assert_eq!(names, ["b of cart", "shop.S of cart", "shop.S of unknown"]);
    assert_eq!(plan.warnings, ["shop.S.D reads the event log of [unknown], but no service has that persistence id"]);
    let method = |type_url: &str| plan.consumers[1].method(type_url).map(|method| method.name.to_string());
    assert_eq!(method("type.googleapis.com/shop.Key"), Ok("C".to_owned()));
    assert_eq!(
        method("json.cloudstate.io/shop.Key").expect_err("no method takes any"),
        "No method can be found to handle protobuf type of [json.cloudstate.io/shop.Key] on input cart. Either declare a \
         method for this type, or declare a method that accepts google.protobuf.Any."
    );
}

/// An event that no method takes is parked at once: trying again does not help. The function is told.
#[tokio::test]
async fn an_event_without_a_method_is_parked_and_reported() {
    let store = Store::in_memory();
    let mut function = ScriptedFunction::start(subscribers(&[("Mail", OF_CART)])).await;
    let _sidecar = TestSidecar::over(store.clone(), &function, |_| {}).ready().await;
    let unknown = Any { type_url: "type.googleapis.com/shop.Unknown".to_owned(), value: Bytes::new() };
    Log::of(&store, "cart", "a").await.append(vec![unknown, plain("next")]).await;
    let text = function.report().await;
    assert!(text.starts_with("No method can be found to handle protobuf type of [type.googleapis.com/shop.Unknown]"));
    let found = until_parked(&store, 1).await;
    assert_eq!((found[0].attempts, &found[0].reason), (1, &text));
    assert_eq!(next_text(&mut function).await, "next");
}

/// A function that is away is no fault of the event: it is not tried meanwhile, so it cannot run out of attempts.
#[tokio::test]
async fn events_wait_for_a_function_that_is_away() {
    let store = Store::in_memory();
    let function = ScriptedFunction::start(subscribers(&[("Mail", OF_CART)])).await;
    let port = function.port;
    let sidecar = TestSidecar::over(store.clone(), &function, hasty(1)).ready().await;
    drop(function);
    let gone = async {
        while sidecar.health.ready().is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the loss of the function", gone).await;
    Log::of(&store, "cart", "a").await.texts(&["1"]).await;
    let mut function = ScriptedFunction::start_on(port, subscribers(&[("Mail", OF_CART)]), None).await;
    assert_eq!(next_text(&mut function).await, "1");
    assert_eq!(parked(&store).await, []);
}

/// A feed that cannot be read at first, and then breaks whoever reads it.
struct Troubled {
    feed: Arc<dyn EventFeed<RawEvent>>,
    reads: AtomicUsize,
}

impl EventFeed<RawEvent> for Troubled {
    fn page(
        &self,
        query: FeedQuery,
        after: Offset,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<FeedPage<RawEvent>, JournalError>> {
        match self.reads.fetch_add(1, Ordering::SeqCst) {
            0 => Box::pin(async { Err(JournalError::Unavailable { reason: "a bad moment".to_owned() }) }),
            1 => Box::pin(async { panic!("a bad reader") }),
            _ => self.feed.page(query, after, limit),
        }
    }

    fn offset_of(&self, id: PersistenceId, seq_nr: u64) -> BoxFuture<'static, Result<Option<Offset>, JournalError>> {
        self.feed.offset_of(id, seq_nr)
    }

    fn changes(&self) -> Changes {
        self.feed.changes()
    }
}

/// A store that cannot be read, or a consumer that breaks, is tried again.
#[tokio::test]
async fn a_consumer_outlives_a_bad_moment() {
    let mut store = Store::in_memory();
    let EventStore { feed, projections } = store.events.take().expect("with events");
    let feed = Arc::new(Troubled { feed, reads: AtomicUsize::new(0) });
    store.events = Some(EventStore { feed, projections });
    let mut function = ScriptedFunction::start(subscribers(&[("Mail", OF_CART)])).await;
    let _sidecar = TestSidecar::over(store.clone(), &function, hasty(1)).ready().await;
    Log::of(&store, "cart", "a").await.texts(&["1", "2"]).await;
    assert_eq!(next_text(&mut function).await, "1");
    assert_eq!(next_text(&mut function).await, "2");
}

/// The function comes back with a method it did not have: from then on it is used, by the consumer that runs.
#[tokio::test]
async fn a_consumer_follows_the_methods_of_a_function_that_comes_back() {
    let store = Store::in_memory();
    let with = |more: &str| {
        let body = format!(
            "service Mail {{ rpc On(Plain) returns (Plain) {{ option (.cloudstate.eventing) = {{ {OF_CART} }}; }} {more} }}
             service Cart {{ rpc Get(Key) returns (Plain); }}"
        );
        shop(&body, &[(ACTION, "shop.Mail", ""), (EVENT_SOURCED, "shop.Cart", "cart")])
    };
    let function = ScriptedFunction::start(with("")).await;
    let port = function.port;
    let sidecar = TestSidecar::over(store.clone(), &function, hasty(1)).ready().await;
    drop(function);
    let gone = async {
        while sidecar.health.ready().is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the loss of the function", gone).await;
    let other = format!("rpc Other(Key) returns (Plain) {{ option (.cloudstate.eventing) = {{ {OF_CART} }}; }}");
    let mut function = ScriptedFunction::start_on(port, with(&other), None).await;
    let sidecar = sidecar.ready().await;
    let key = Any { type_url: "type.googleapis.com/shop.Key".to_owned(), value: Bytes::new() };
    Log::of(&store, "cart", "a").await.append(vec![key]).await;
    let action = function.action().await;
    assert_eq!(action.command.name, "Other");
    action.done();
    assert_eq!(sidecar.proxy.eventing().status().await.0.len(), 1, "one consumer, the same");
}

/// The instance that claimed last consumes; the one before notices and stops.
#[tokio::test]
async fn a_consumer_that_was_taken_over_stops() {
    let store = Store::in_memory();
    let mut function = ScriptedFunction::start(subscribers(&[("Mail", OF_CART)])).await;
    let sidecar = TestSidecar::over(store.clone(), &function, hasty(1)).ready().await;
    let log = Log::of(&store, "cart", "a").await;
    log.texts(&["1"]).await;
    let action = function.action().await;
    let mail = ProjectionId { group: "shop.Mail".into(), source: "cart".into() };
    let projections = store.events.as_ref().expect("with events").projections.clone();
    projections.take_over(mail.clone()).await.expect("claimed");
    action.fail("parking is refused to the former instance");
    let stopped = async {
        while !sidecar.proxy.eventing().status().await.0.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the end of the consumer", stopped).await;
    assert_eq!(
        projections.take_over(mail).await.expect("claimed").offset,
        Offset::START,
        "the event is left to the other one"
    );
    assert_eq!(parked(&store).await, []);
}

/// Whoever was told to wait before the start waits, and goes on where it was once it is told so.
#[tokio::test]
async fn a_paused_consumer_waits_until_it_is_resumed() {
    let store = Store::in_memory();
    let mail = ProjectionId { group: "shop.Mail".into(), source: "cart".into() };
    let projections = store.events.as_ref().expect("with events").projections.clone();
    projections.set_paused(mail.clone(), true).await.expect("paused");
    let log = Log::of(&store, "cart", "a").await;
    log.texts(&["1"]).await;
    let mut function = ScriptedFunction::start(subscribers(&[("Mail", OF_CART)])).await;
    let sidecar = TestSidecar::over(store.clone(), &function, |_| {}).ready().await;
    let eventing = sidecar.proxy.eventing();
    let paused = async {
        loop {
            if let [one] = &eventing.status().await.0[..]
                && let Some(problem) = &one.problem
                && problem.starts_with("paused")
            {
                return one.offset;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert_eq!(soon("the consumer's saying that it is paused", paused).await, Offset::START);
    assert!(function.has_no_action());
    projections.set_paused(mail, false).await.expect("resumed");
    eventing.parked_changed();
    assert_eq!(next_text(&mut function).await, "1");
}

/// What changes things is for callers on the same machine: others are told so, whatever the path.
#[tokio::test]
async fn strangers_do_not_get_at_parked_events() {
    let from = |address: Option<&str>, method: &str, path: &str| {
        let mut request = http::Request::builder().method(method).uri(path).header("content-type", "application/json");
        if let Some(address) = address {
            request = request.extension(admin::Peer(format!("{address}:4711").parse().expect("an address")));
        }
        let request = request.body(axum::body::Body::from("{}")).expect("valid");
        let answered = eventing::routes(Control::default()).oneshot(request);
        async { answered.await.expect("infallible").status().as_u16() }
    };
    for (method, path) in
        [("GET", "/events/consumers"), ("POST", "/events/parked"), ("POST", "/events/replay"), ("POST", "/events/drop")]
    {
        for stranger in [Some("10.1.2.3"), Some("[2001:db8::1]"), Some("[::ffff:10.1.2.3]"), None] {
            assert_eq!(from(stranger, method, path).await, 403, "{path} from {stranger:?}");
        }
        for own in ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"] {
            assert_eq!(from(Some(own), method, path).await, 503, "{path} from {own} while the sidecar starts");
        }
    }
}

/// The management port of a sidecar in this process, and the binary to ask it with.
struct Management {
    address: SocketAddr,
    task: AbortHandle,
}

impl Management {
    async fn of(sidecar: &TestSidecar) -> Self {
        let control = Control::default();
        control.attach(sidecar.proxy.eventing());
        let listener = listen::bind(Listen { interface: [127, 0, 0, 1].into(), port: 0 }, MANAGEMENT_PORT).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let task = tokio::spawn(admin::serve(listener, eventing::routes(control))).abort_handle();
        Self { address, task }
    }

    /// Exit status and output of `cloudstate events ...`, which asks the sidecar because its store is in memory.
    fn command(&self, args: &[&str]) -> (Option<i32>, String) {
        let port = format!("--management-port={}", self.address.port());
        tokio::task::block_in_place(|| run_command(&[args, &["--store=memory", &port]].concat()))
    }
}

impl Drop for Management {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn run_command(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloudstate"));
    command.arg("events").args(args).env_clear();
    let (done, output) = mpsc::channel();
    thread::spawn(move || done.send(command.output()));
    let output = output.recv_timeout(SOON).unwrap_or_else(|_| panic!("`cloudstate events {args:?}` did not end"));
    let output = output.expect("the binary is there");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).expect("UTF-8"))
}
