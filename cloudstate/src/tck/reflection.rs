//! Group 10, "verifying proxy test: gRPC server reflection".

use anyhow::Result;
use tonic_reflection::pb::v1alpha::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1alpha::{
    FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
};

use super::engine::{Conversation, Tck};
use super::suite::{Test, test};

pub(super) const TESTS: &[Test] = &[test!("verify that the proxy supports server reflection", supported)];

async fn supported(tck: &mut Tck) -> Result<()> {
    let mut client = ServerReflectionClient::new(tck.proxy.clone());
    let mut talk = Conversation::open(move |requests| async move { client.server_reflection_info(requests).await });

    let mut names: Vec<String> = tck.spec.entities.iter().map(|entity| entity.service_name.clone()).collect();
    names.sort();
    names.insert(0, "grpc.reflection.v1alpha.ServerReflection".to_owned());
    let service = names.into_iter().map(|name| ServiceResponse { name }).collect();
    let list = MessageResponse::ListServicesResponse(ListServiceResponse { service });
    let no_file = MessageResponse::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto: Vec::new() });

    let host = &tck.proxy_address.host;
    for (question, answer) in [
        (MessageRequest::ListServices(String::new()), list.clone()),
        (MessageRequest::ListServices("nonsense.blabla.".to_owned()), list),
        (MessageRequest::FileContainingSymbol("nonsense.blabla.Void".to_owned()), no_file),
    ] {
        let request = ServerReflectionRequest { host: host.clone(), message_request: Some(question) };
        talk.send(request.clone()).await?;
        talk.expect(ServerReflectionResponse {
            valid_host: host.clone(),
            original_request: Some(request),
            message_response: Some(answer),
        })
        .await?;
    }
    talk.pass().await
}
