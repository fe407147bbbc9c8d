//! The user function: the shopping cart behind the CloudState protocol, as fast as this language makes it.
//!
//! It takes so little per command that what is measured is what stands in front of it.

use std::collections::HashMap;
use std::net::SocketAddr;

use prost::Message;
use proto::Any;
use proto::cloudstate::action::action_protocol_server::ActionProtocolServer;
use proto::cloudstate::crdt::crdt_server::CrdtServer;
use proto::cloudstate::entity_discovery_server::{EntityDiscovery, EntityDiscoveryServer};
use proto::cloudstate::eventsourced::event_sourced_server::{EventSourced, EventSourcedServer};
use proto::cloudstate::eventsourced::{
    EventSourcedReply, EventSourcedStreamIn, EventSourcedStreamOut, event_sourced_stream_in, event_sourced_stream_out,
};
use proto::cloudstate::valueentity::value_entity_server::ValueEntityServer;
use proto::cloudstate::{
    ClientAction, Command, Entity, EntitySpec, ProxyInfo, Reply, ServiceInfo, UserFunctionError, client_action,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::cart::{self, AddLineItem, Cart, GET_CART, ItemAdded, LineItem, StoredItem};
use crate::kinds::{Counting, Kind};

/// Replies of one entity that may wait for the connection: commands come one at a time.
const REPLIES_MAX: usize = 4;

/// Serves discovery and the entity streams at `address` until the process ends.
pub async fn serve(address: SocketAddr) -> anyhow::Result<()> {
    tonic::transport::Server::builder()
        .tcp_nodelay(true)
        .add_service(EntityDiscoveryServer::new(Discovery))
        .add_service(EventSourcedServer::new(Carts))
        .add_service(ValueEntityServer::new(Counting))
        .add_service(CrdtServer::new(Counting))
        .add_service(ActionProtocolServer::new(Counting))
        .serve(address)
        .await?;
    Ok(())
}

struct Discovery;

#[tonic::async_trait]
impl EntityDiscovery for Discovery {
    async fn discover(&self, _: Request<ProxyInfo>) -> Result<Response<EntitySpec>, Status> {
        let carts = Entity {
            entity_type: "cloudstate.eventsourced.EventSourced".to_owned(),
            service_name: cart::SERVICE.to_owned(),
            persistence_id: "cart".to_owned(),
            passivation_strategy: None,
        };
        Ok(Response::new(EntitySpec {
            proto: proto::model::FILE_DESCRIPTOR_SET.into(),
            entities: std::iter::once(carts).chain(Kind::ALL.map(Kind::entity)).collect(),
            service_info: Some(ServiceInfo {
                service_name: "bench-cart".to_owned(),
                service_runtime: "rust".to_owned(),
                protocol_major_version: 0,
                protocol_minor_version: 2,
                ..ServiceInfo::default()
            }),
        }))
    }

    async fn report_error(&self, request: Request<UserFunctionError>) -> Result<Response<()>, Status> {
        eprintln!("the proxy reports: {}", request.into_inner().message);
        Ok(Response::new(()))
    }
}

struct Carts;

#[tonic::async_trait]
impl EventSourced for Carts {
    type handleStream = ReceiverStream<Result<EventSourcedStreamOut, Status>>;

    async fn handle(
        &self,
        request: Request<Streaming<EventSourcedStreamIn>>,
    ) -> Result<Response<Self::handleStream>, Status> {
        let (replies, out) = mpsc::channel(REPLIES_MAX);
        // Ends with the stream: either side closing it ends the loop.
        tokio::spawn(run_entity(request.into_inner(), replies));
        Ok(Response::new(ReceiverStream::new(out)))
    }
}

async fn run_entity(
    mut messages: Streaming<EventSourcedStreamIn>,
    replies: mpsc::Sender<Result<EventSourcedStreamOut, Status>>,
) {
    let mut cart = CartState::default();
    while let Ok(Some(EventSourcedStreamIn { message: Some(message) })) = messages.message().await {
        let answer = match message {
            event_sourced_stream_in::Message::Init(_) => continue, // it takes no snapshots, so there is none to start from
            event_sourced_stream_in::Message::Event(event) => match cart.replay(event.payload) {
                Ok(()) => continue,
                Err(refused) => Err(refused),
            },
            event_sourced_stream_in::Message::Command(command) => cart.handle(command),
        };
        let answer = answer
            .map(|reply| EventSourcedStreamOut { message: Some(event_sourced_stream_out::Message::Reply(reply)) });
        let refused = answer.is_err();
        if replies.send(answer).await.is_err() || refused {
            return;
        }
    }
}

#[derive(Default)]
struct CartState {
    items: HashMap<String, LineItem>,
}

impl CartState {
    fn handle(&mut self, command: Command) -> Result<EventSourcedReply, Status> {
        let payload = command.payload.unwrap_or_default();
        let (answer, events) = if command.name == GET_CART {
            let cart = Cart { items: self.items.values().cloned().collect() };
            (cart::packed("com.example.shoppingcart.Cart", &cart), Vec::new())
        } else {
            let add = AddLineItem::decode(payload.value).map_err(invalid)?;
            let item = StoredItem { product_id: add.product_id, name: add.name, quantity: add.quantity };
            let added = ItemAdded { item: Some(item) };
            let event = cart::packed("com.example.shoppingcart.persistence.ItemAdded", &added);
            self.apply(added);
            (cart::packed("google.protobuf.Empty", &()), vec![event])
        };
        Ok(EventSourcedReply {
            command_id: command.id,
            client_action: Some(ClientAction {
                action: Some(client_action::Action::Reply(Reply { payload: Some(answer), metadata: None })),
            }),
            events,
            ..EventSourcedReply::default()
        })
    }

    fn replay(&mut self, event: Option<Any>) -> Result<(), Status> {
        self.apply(ItemAdded::decode(event.unwrap_or_default().value).map_err(invalid)?);
        Ok(())
    }

    fn apply(&mut self, added: ItemAdded) {
        let StoredItem { product_id, name, quantity } = added.item.unwrap_or_default();
        let none = LineItem { product_id: product_id.clone(), name, quantity: 0 };
        self.items.entry(product_id).or_insert(none).quantity += quantity;
    }
}

fn invalid(error: prost::DecodeError) -> Status {
    Status::invalid_argument(error.to_string())
}
