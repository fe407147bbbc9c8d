//! The built-in shopping cart, spoken to as the sidecar does: message by message, and once over a real connection.

use std::net::SocketAddr;

use cloudstate::demo::{self, PERSISTENCE_ID, SERVICE, SNAPSHOT_EVERY, Session, Step};
use prost::Message;
use proto::Any;
use proto::cloudstate::client_action::Action;
use proto::cloudstate::entity_discovery_client::EntityDiscoveryClient;
use proto::cloudstate::eventsourced::event_sourced_client::EventSourcedClient;
use proto::cloudstate::eventsourced::event_sourced_stream_in::Message as In;
use proto::cloudstate::eventsourced::event_sourced_stream_out::Message as Out;
use proto::cloudstate::eventsourced::{
    EventSourcedEvent, EventSourcedInit, EventSourcedReply, EventSourcedSnapshot, EventSourcedStreamIn,
};
use proto::cloudstate::{Command, ProxyInfo};
use proto::model::example::shoppingcart::{AddLineItem, Cart, GetShoppingCart, LineItem, RemoveLineItem};
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;

const USER: &str = "alice";

fn init(snapshot: Option<EventSourcedSnapshot>) -> Option<In> {
    let (service_name, entity_id) = (SERVICE.to_owned(), USER.to_owned());
    Some(In::Init(EventSourcedInit { service_name, entity_id, snapshot }))
}

fn command(id: i64, name: &str, payload: Any) -> Option<In> {
    let (name, entity_id) = (name.to_owned(), USER.to_owned());
    Some(In::Command(Command { entity_id, id, name, payload: Some(payload), streamed: false, metadata: None }))
}

fn add(product: &str, quantity: i32) -> Any {
    let item = AddLineItem {
        user_id: USER.to_owned(),
        product_id: product.to_owned(),
        name: product.to_uppercase(),
        quantity,
    };
    Any::pack("com.example.shoppingcart.AddLineItem", &item)
}

fn remove(product: &str) -> Any {
    let item = RemoveLineItem { user_id: USER.to_owned(), product_id: product.to_owned() };
    Any::pack("com.example.shoppingcart.RemoveLineItem", &item)
}

fn get() -> Any {
    Any::pack("com.example.shoppingcart.GetShoppingCart", &GetShoppingCart { user_id: USER.to_owned() })
}

fn item(product: &str, quantity: i32) -> LineItem {
    LineItem { product_id: product.to_owned(), name: product.to_uppercase(), quantity }
}

/// The reply a command must get.
fn reply(step: Step) -> EventSourcedReply {
    match step {
        Step::Answer(Out::Reply(reply)) => reply,
        other => panic!("expected a reply, got {other:?}"),
    }
}

/// The answer to the caller, or the text of the failure.
fn outcome(reply: &EventSourcedReply) -> Result<Any, String> {
    match reply.client_action.clone().and_then(|action| action.action) {
        Some(Action::Reply(reply)) => Ok(reply.payload.expect("a payload")),
        Some(Action::Failure(failure)) => {
            assert_eq!(failure.command_id, reply.command_id);
            assert!(!failure.restart, "nothing was emitted before the failure");
            Err(failure.description)
        }
        other => panic!("expected a reply or a failure, got {other:?}"),
    }
}

fn items(session: &mut Session) -> Vec<LineItem> {
    let reply = reply(session.take(command(999, "GetCart", get())));
    assert!(reply.events.is_empty(), "a read stores nothing");
    let answer = outcome(&reply).expect("a cart");
    assert_eq!(answer.type_url, "type.googleapis.com/com.example.shoppingcart.Cart");
    Cart::decode(answer.value).expect("valid").items
}

/// Adds twice, removes once: each change is one event, the answers are empty, the view adds quantities up.
#[test]
fn commands_become_events_and_the_cart_follows() {
    let mut session = Session::default();
    assert_eq!(session.take(init(None)), Step::Listen);
    for (id, product, quantity) in [(1, "tea", 2), (2, "milk", 1), (3, "tea", 3)] {
        let reply = reply(session.take(command(id, "AddItem", add(product, quantity))));
        assert_eq!(reply.command_id, id);
        let answer = outcome(&reply).expect("accepted");
        assert_eq!((answer.type_url.as_str(), answer.value.len()), ("type.googleapis.com/google.protobuf.Empty", 0));
        assert_eq!(reply.events.len(), 1);
        assert_eq!(reply.events[0].type_url, "type.googleapis.com/com.example.shoppingcart.persistence.ItemAdded");
    }
    assert_eq!(items(&mut session), [item("tea", 5), item("milk", 1)]);
    let reply = reply(session.take(command(4, "RemoveItem", remove("tea"))));
    assert_eq!(reply.events[0].type_url, "type.googleapis.com/com.example.shoppingcart.persistence.ItemRemoved");
    assert_eq!(items(&mut session), [item("milk", 1)]);
}

#[test]
fn bad_input_fails_with_a_text_and_stores_nothing() {
    let mut session = Session::default();
    session.take(init(None));
    session.take(command(1, "AddItem", add("tea", 1)));
    for (name, payload, text) in [
        ("AddItem", add("tea", 0), "quantity must be greater than 0, but is 0"),
        ("AddItem", add("tea", -5), "quantity must be greater than 0, but is -5"),
        ("AddItem", add("", 1), "product_id must not be empty"),
        ("AddItem", add("tea", i32::MAX), "quantity must be at most 2147483646: 1 are in the cart"),
        ("RemoveItem", remove("milk"), "product milk is not in the cart"),
        ("EmptyCart", get(), "unknown command EmptyCart"),
        (
            "AddItem",
            get(),
            "expected com.example.shoppingcart.AddLineItem, got type.googleapis.com/com.example.shoppingcart.GetShoppingCart",
        ),
    ] {
        let reply = reply(session.take(command(2, name, payload)));
        assert_eq!(outcome(&reply), Err(text.to_owned()));
        assert!(reply.events.is_empty() && reply.snapshot.is_none());
    }
    assert_eq!(items(&mut session), [item("tea", 1)]);
}

/// The hundredth event comes with a snapshot; a later life that starts from it and the events after it is the same cart.
#[test]
fn a_snapshot_and_the_events_after_it_give_the_same_cart() {
    let mut first = Session::default();
    first.take(init(None));
    let mut snapshot = None;
    let mut later = Vec::new();
    for sequence in 1..=SNAPSHOT_EVERY + 2 {
        let reply = reply(first.take(command(sequence, "AddItem", add("tea", 1))));
        assert_eq!(reply.snapshot.is_some(), sequence == SNAPSHOT_EVERY);
        let payload = reply.events.into_iter().next();
        match reply.snapshot {
            Some(state) => snapshot = Some(EventSourcedSnapshot { snapshot_sequence: sequence, snapshot: Some(state) }),
            None if snapshot.is_some() => later.push(EventSourcedEvent { sequence, payload }),
            None => {}
        }
    }
    let mut second = Session::default();
    assert_eq!(second.take(init(snapshot)), Step::Listen);
    for event in later {
        assert_eq!(second.take(Some(In::Event(event))), Step::Listen);
    }
    assert_eq!(items(&mut second), items(&mut first));
    // It goes on counting where the first life stopped: the next snapshot is due at 200.
    for id in SNAPSHOT_EVERY + 3..2 * SNAPSHOT_EVERY {
        assert!(reply(second.take(command(id, "AddItem", add("tea", 1)))).snapshot.is_none());
    }
    assert!(reply(second.take(command(1, "AddItem", add("tea", 1)))).snapshot.is_some());
}

#[test]
fn messages_out_of_order_end_the_stream() {
    let failure = |session: &mut Session, message| match session.take(message) {
        Step::Fail(Out::Failure(failure)) => failure.description,
        other => panic!("expected the end of the stream, got {other:?}"),
    };
    let fresh = Session::default;
    assert_eq!(failure(&mut fresh(), command(1, "GetCart", get())), "the entity is not initialised");
    assert_eq!(failure(&mut fresh(), None), "a message without content");
    let mut twice = fresh();
    twice.take(init(None));
    assert_eq!(failure(&mut twice, init(None)), "the entity is initialised already");
    let strange = EventSourcedEvent {
        sequence: 1,
        payload: Some(Any { type_url: "type.googleapis.com/x.Y".to_owned(), ..Any::default() }),
    };
    let mut session = fresh();
    session.take(init(None));
    assert_eq!(failure(&mut session, Some(In::Event(strange))), "unknown event type.googleapis.com/x.Y");
}

/// Over a real connection: discovery says what is served, and a stream answers in step and ends when the sidecar closes its side.
#[tokio::test]
async fn the_server_speaks_the_protocol() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address: SocketAddr = listener.local_addr().expect("bound");
    let server = tokio::spawn(demo::serve(listener));
    let channel =
        Endpoint::from_shared(format!("http://{address}")).expect("valid").connect().await.expect("listening");

    let spec = EntityDiscoveryClient::new(channel.clone())
        .discover(ProxyInfo::default())
        .await
        .expect("answered")
        .into_inner();
    let entity = &spec.entities[0];
    assert_eq!((entity.service_name.as_str(), entity.persistence_id.as_str()), (SERVICE, PERSISTENCE_ID));
    let info = spec.service_info.expect("present");
    assert_eq!((info.protocol_major_version, info.protocol_minor_version), (0, 2));

    let (messages, inbox) = tokio::sync::mpsc::channel(4);
    let send = |message| messages.send(EventSourcedStreamIn { message });
    send(init(None)).await.expect("open");
    send(command(1, "AddItem", add("tea", 2))).await.expect("open");
    let mut answers =
        EventSourcedClient::new(channel).handle(ReceiverStream::new(inbox)).await.expect("a stream").into_inner();
    let first = answers.message().await.expect("no error").expect("an answer");
    assert!(matches!(first.message, Some(Out::Reply(EventSourcedReply { command_id: 1, .. }))));
    drop(messages);
    assert_eq!(answers.message().await.expect("an orderly end"), None);
    server.abort();
}
