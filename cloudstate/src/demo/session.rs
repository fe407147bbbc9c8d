//! One cart's stream as a state machine: messages of the sidecar in, answers out. No I/O.
//!
//! The sidecar first says who the entity is and what it remembers (`init`, then one `event` each), then sends one command at a time and waits
//! for its reply. The events of a reply are durable before anybody hears of it.

use prost::Message;
use proto::Any;
use proto::cloudstate::client_action::Action;
use proto::cloudstate::eventsourced::event_sourced_stream_in::Message as In;
use proto::cloudstate::eventsourced::event_sourced_stream_out::Message as Out;
use proto::cloudstate::eventsourced::{EventSourcedEvent, EventSourcedInit, EventSourcedReply};
use proto::cloudstate::{ClientAction, Command, Failure, Reply};
use proto::model::example::shoppingcart::{AddLineItem, RemoveLineItem, persistence};

use super::SERVICE;
use super::cart::{Cart, CartEvent};

/// A snapshot is taken whenever the number of events passes a multiple of this.
pub const SNAPSHOT_EVERY: i64 = 100;

/// One entity's life between the opening and the closing of its stream.
#[derive(Debug, Default)]
pub struct Session {
    cart: Option<Cart>, // none until `init`
    sequence: i64,      // of the last event the cart has taken in
}

/// What to do next.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Wait for the next message.
    Listen,
    /// Send this, then wait for the next message.
    Answer(Out),
    /// Send this and end the stream: the two sides disagree about the entity, so it must be loaded anew.
    Fail(Out),
}

impl Session {
    /// Takes one message of the sidecar.
    pub fn take(&mut self, message: Option<In>) -> Step {
        let taken = match message {
            Some(In::Init(init)) => self.init(init).map(|()| Step::Listen),
            Some(In::Event(event)) => self.event(event).map(|()| Step::Listen),
            Some(In::Command(command)) => self.command(command),
            None => Err("a message without content".to_owned()),
        };
        taken.unwrap_or_else(|description| {
            Step::Fail(Out::Failure(Failure { command_id: 0, description, restart: false }))
        })
    }

    fn init(&mut self, init: EventSourcedInit) -> Result<(), String> {
        if self.cart.is_some() {
            return Err("the entity is initialised already".to_owned());
        }
        if init.service_name != SERVICE {
            return Err(format!("unknown service {}", init.service_name));
        }
        let (sequence, state) =
            init.snapshot.map_or((0, None), |snapshot| (snapshot.snapshot_sequence, snapshot.snapshot));
        self.cart = Some(match state {
            Some(any) => unpack::<persistence::Cart>(SNAPSHOT, &any)?.into(),
            None => Cart::default(),
        });
        self.sequence = sequence;
        Ok(())
    }

    fn event(&mut self, event: EventSourcedEvent) -> Result<(), String> {
        let cart = self.cart.as_mut().ok_or(NOT_INITIALISED)?;
        let payload = event.payload.ok_or("an event without payload")?;
        let happened = match payload.type_url.strip_prefix(TYPE_PREFIX) {
            Some(ITEM_ADDED) => CartEvent::ItemAdded(unpack(ITEM_ADDED, &payload)?),
            Some(ITEM_REMOVED) => CartEvent::ItemRemoved(unpack(ITEM_REMOVED, &payload)?),
            _ => return Err(format!("unknown event {}", payload.type_url)),
        };
        cart.apply(happened);
        self.sequence = event.sequence;
        Ok(())
    }

    fn command(&mut self, command: Command) -> Result<Step, String> {
        let cart = self.cart.as_mut().ok_or(NOT_INITIALISED)?;
        let mut reply = EventSourcedReply { command_id: command.id, ..EventSourcedReply::default() };
        let action = match decide(cart, &command) {
            Ok((answer, None)) => Action::Reply(Reply { payload: Some(answer), metadata: None }),
            Ok((answer, Some(event))) => {
                reply.events.push(pack_event(&event));
                cart.apply(event);
                self.sequence += 1;
                if self.sequence % SNAPSHOT_EVERY == 0 {
                    reply.snapshot = Some(Any::pack(SNAPSHOT, &cart.snapshot()));
                }
                Action::Reply(Reply { payload: Some(answer), metadata: None })
            }
            // The cart has not changed, so nothing has to be loaded anew.
            Err(description) => Action::Failure(Failure { command_id: command.id, description, restart: false }),
        };
        reply.client_action = Some(ClientAction { action: Some(action) });
        Ok(Step::Answer(Out::Reply(reply)))
    }
}

/// The answer to a command, and what happened if something did.
fn decide(cart: &Cart, command: &Command) -> Result<(Any, Option<CartEvent>), String> {
    let payload = command.payload.as_ref().ok_or("a command without payload")?;
    let done = || Any::pack("google.protobuf.Empty", &());
    match command.name.as_str() {
        "AddItem" => {
            Ok((done(), Some(cart.add(&unpack::<AddLineItem>("com.example.shoppingcart.AddLineItem", payload)?)?)))
        }
        "RemoveItem" => Ok((
            done(),
            Some(cart.remove(&unpack::<RemoveLineItem>("com.example.shoppingcart.RemoveLineItem", payload)?)?),
        )),
        "GetCart" => Ok((Any::pack("com.example.shoppingcart.Cart", &cart.view()), None)),
        name => Err(format!("unknown command {name}")),
    }
}

const TYPE_PREFIX: &str = "type.googleapis.com/";
const ITEM_ADDED: &str = "com.example.shoppingcart.persistence.ItemAdded";
const ITEM_REMOVED: &str = "com.example.shoppingcart.persistence.ItemRemoved";
const SNAPSHOT: &str = "com.example.shoppingcart.persistence.Cart";
const NOT_INITIALISED: &str = "the entity is not initialised";

fn pack_event(event: &CartEvent) -> Any {
    match event {
        CartEvent::ItemAdded(added) => Any::pack(ITEM_ADDED, added),
        CartEvent::ItemRemoved(removed) => Any::pack(ITEM_REMOVED, removed),
    }
}

fn unpack<M: Message + Default>(name: &str, any: &Any) -> Result<M, String> {
    if any.type_url.strip_prefix(TYPE_PREFIX) != Some(name) {
        return Err(format!("expected {name}, got {}", any.type_url));
    }
    M::decode(any.value.clone()).map_err(|error| format!("{name}: {error}"))
}
