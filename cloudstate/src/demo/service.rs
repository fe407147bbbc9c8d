//! The user function as a gRPC server: `EntityDiscovery` says what it serves, `EventSourced` carries one stream for each active cart.

use std::io;

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use prost::Message;
use prost::bytes::Bytes;
use proto::cloudstate::entity_discovery_server::{EntityDiscovery, EntityDiscoveryServer};
use proto::cloudstate::eventsourced::event_sourced_server::{EventSourced, EventSourcedServer};
use proto::cloudstate::eventsourced::{EventSourcedStreamIn, EventSourcedStreamOut};
use proto::cloudstate::{Entity, EntitySpec, ProxyInfo, ServiceInfo, UserFunctionError};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use super::session::{Session, Step};
use super::{MESSAGE_SIZE_MAX, PERSISTENCE_ID, SERVICE};

/// Serves the shopping cart on `listener` until dropped. A user function holds no state that is not stored elsewhere, so it may end at any time.
///
/// # Errors
/// When accepting connections fails for good.
pub async fn serve(listener: TcpListener) -> io::Result<()> {
    Server::builder()
        .add_service(EntityDiscoveryServer::new(Discovery))
        .add_service(EventSourcedServer::new(Carts).max_decoding_message_size(MESSAGE_SIZE_MAX))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await
        .map_err(io::Error::other)
}

struct Discovery;

#[tonic::async_trait]
impl EntityDiscovery for Discovery {
    async fn discover(&self, request: Request<ProxyInfo>) -> Result<Response<EntitySpec>, Status> {
        let proxy = request.into_inner();
        tracing::info!(proxy = proxy.proxy_name, version = proxy.proxy_version, "discovered");
        Ok(Response::new(specification()?))
    }

    async fn report_error(&self, request: Request<UserFunctionError>) -> Result<Response<()>, Status> {
        tracing::error!(message = request.into_inner().message, "the sidecar reports an error");
        Ok(Response::new(()))
    }
}

struct Carts;

#[tonic::async_trait]
impl EventSourced for Carts {
    type handleStream = BoxStream<'static, Result<EventSourcedStreamOut, Status>>;

    async fn handle(
        &self,
        request: Request<Streaming<EventSourcedStreamIn>>,
    ) -> Result<Response<Self::handleStream>, Status> {
        // One message is taken when the last answer was: the sidecar's pace is ours.
        let answers = stream::try_unfold(Some((request.into_inner(), Session::default())), |open| async move {
            let Some((mut messages, mut session)) = open else {
                return Ok(None);
            };
            while let Some(message) = messages.next().await.transpose()? {
                let (out, open) = match session.take(message.message) {
                    Step::Listen => continue,
                    Step::Answer(out) => (out, Some((messages, session))),
                    Step::Fail(out) => (out, None),
                };
                return Ok(Some((EventSourcedStreamOut { message: Some(out) }, open)));
            }
            Ok(None) // the sidecar has closed its side: the entity is passivated
        });
        Ok(Response::new(answers.boxed()))
    }
}

fn specification() -> Result<EntitySpec, Status> {
    let entity = Entity {
        entity_type: "cloudstate.eventsourced.EventSourced".to_owned(),
        service_name: SERVICE.to_owned(),
        persistence_id: PERSISTENCE_ID.to_owned(),
        passivation_strategy: None,
    };
    let info = ServiceInfo {
        service_name: "shopping-cart-demo".to_owned(),
        service_version: env!("CARGO_PKG_VERSION").to_owned(),
        service_runtime: "rust".to_owned(),
        support_library_name: "none".to_owned(),
        support_library_version: String::new(),
        protocol_major_version: 0,
        protocol_minor_version: 2,
    };
    let proto = descriptors("shoppingcart/shoppingcart.proto").map_err(|error| Status::internal(error.to_string()))?;
    Ok(EntitySpec { proto, entities: vec![entity], service_info: Some(info) })
}

/// `file` and all it imports, as a serialised descriptor set.
///
/// Files are kept as bytes: decoded and encoded again, options that are extensions (the entity keys) would be lost.
fn descriptors(file: &str) -> Result<Bytes, prost::DecodeError> {
    let set = FileSet::decode(proto::model::FILE_DESCRIPTOR_SET)?;
    let mut files = Vec::with_capacity(set.file.len());
    for bytes in set.file {
        let header = FileHeader::decode(bytes.clone())?;
        files.push((header, bytes));
    }
    let mut wanted = vec![file.to_owned()];
    let mut kept = FileSet::default();
    // Imports come before what imports them, so one pass from the end finds all.
    for (header, bytes) in files.into_iter().rev() {
        if wanted.contains(&header.name) {
            wanted.extend(header.dependency);
            kept.file.push(bytes);
        }
    }
    kept.file.reverse();
    Ok(kept.encode_to_vec().into())
}

/// `google.protobuf.FileDescriptorSet` with its files left as bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct FileSet {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    file: Vec<Bytes>,
}

/// What of `google.protobuf.FileDescriptorProto` is needed to follow imports.
#[derive(Clone, PartialEq, prost::Message)]
struct FileHeader {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "3")]
    dependency: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_specification_holds_the_service_with_its_options_and_no_strangers() {
        let spec = specification().expect("valid descriptors");
        let pool = prost_reflect::DescriptorPool::decode(spec.proto).expect("complete: every import is there");
        let service = pool.get_service_by_name(SERVICE).expect("the service");
        assert_eq!(
            service.methods().map(|method| method.name().to_owned()).collect::<Vec<_>>(),
            ["AddItem", "RemoveItem", "GetCart"]
        );

        let key = pool.get_extension_by_name("cloudstate.entity_key").expect("the extension");
        let input = pool.get_message_by_name("com.example.shoppingcart.AddLineItem").expect("the message");
        let keys: Vec<_> = input
            .fields()
            .filter(|field| field.options().has_extension(&key))
            .map(|field| field.name().to_owned())
            .collect();
        assert_eq!(keys, ["user_id"]);

        assert!(pool.files().all(|file| !file.name().contains("tck")), "the conformance suite's models are not ours");
    }
}
