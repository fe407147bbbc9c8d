//! Server reflection, v1alpha as the conformance suite wants it and v1 by the standard.

use futures_util::StreamExt;
use prost::Message;
use prost_reflect::DescriptorPool;
use tonic::Request;
use tonic_reflection::pb::{v1, v1alpha};

use crate::front_seam::{Seam, soon};

fn request(message_request: v1alpha::server_reflection_request::MessageRequest) -> v1alpha::ServerReflectionRequest {
    v1alpha::ServerReflectionRequest { host: "localhost".to_owned(), message_request: Some(message_request) }
}

/// The answers to `requests`, asked of one stream that then ends.
async fn v1alpha(
    seam: &Seam,
    requests: Vec<v1alpha::ServerReflectionRequest>,
) -> Vec<v1alpha::ServerReflectionResponse> {
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", seam.address)).expect("an address");
    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(channel.connect().await.expect("up"));
    let stream = client.server_reflection_info(Request::new(futures_util::stream::iter(requests))).await;
    soon(stream.expect("starts").into_inner().map(|answer| answer.expect("an answer")).collect()).await
}

async fn v1(
    seam: &Seam,
    message_request: v1::server_reflection_request::MessageRequest,
) -> v1::ServerReflectionResponse {
    let channel = tonic::transport::Channel::from_shared(format!("http://{}", seam.address)).expect("an address");
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.connect().await.expect("up"));
    let request = v1::ServerReflectionRequest { host: "h".to_owned(), message_request: Some(message_request) };
    let stream = client.server_reflection_info(Request::new(futures_util::stream::iter([request]))).await;
    soon(stream.expect("starts").into_inner().message()).await.expect("well").expect("an answer")
}

#[tokio::test]
async fn v1alpha_answers_as_the_conformance_suite_compares() {
    use v1alpha::server_reflection_request::MessageRequest;
    use v1alpha::server_reflection_response::MessageResponse;
    let seam = Seam::echo().await;
    let requests = vec![
        request(MessageRequest::ListServices(String::new())),
        request(MessageRequest::ListServices("nonsense.blabla.".to_owned())),
        request(MessageRequest::FileContainingSymbol("nonsense.blabla.Void".to_owned())),
    ];
    let services = ["grpc.reflection.v1alpha.ServerReflection", "shop.Cart", "shop.Kinds"]
        .map(|name| v1alpha::ServiceResponse { name: name.to_owned() });
    let list = || MessageResponse::ListServicesResponse(v1alpha::ListServiceResponse { service: services.to_vec() });
    let no_file = MessageResponse::FileDescriptorResponse(v1alpha::FileDescriptorResponse::default());
    let expected: Vec<_> = requests
        .iter()
        .zip([list(), list(), no_file])
        .map(|(request, response)| v1alpha::ServerReflectionResponse {
            valid_host: "localhost".to_owned(),
            original_request: Some(request.clone()),
            message_response: Some(response),
        })
        .collect();
    assert_eq!(v1alpha(&seam, requests).await, expected);
}

fn v1alpha_names(response: &v1alpha::ServerReflectionResponse) -> Vec<String> {
    let Some(v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(files)) =
        &response.message_response
    else {
        panic!("{response:?}")
    };
    file_names(&files.file_descriptor_proto)
}

fn file_names(files: &[Vec<u8>]) -> Vec<String> {
    let name = |bytes: &Vec<u8>| prost_types::FileDescriptorProto::decode(&**bytes).expect("a file").name().to_owned();
    files.iter().map(name).collect()
}

#[tokio::test]
async fn v1alpha_gives_one_file_at_a_time() {
    use v1alpha::server_reflection_request::MessageRequest;
    let seam = Seam::echo().await;
    let symbol = |name: &str| request(MessageRequest::FileContainingSymbol(name.to_owned()));
    let file = |name: &str| request(MessageRequest::FileByFilename(name.to_owned()));
    let extension = v1alpha::ExtensionRequest {
        containing_type: "google.protobuf.FieldOptions".to_owned(),
        extension_number: 1080,
    };
    let answers = v1alpha(
        &seam,
        vec![
            symbol("shop.Cart"),
            symbol("shop.Cart.AddItem"),
            symbol("shop.Inner"),
            file("cloudstate/entity_key.proto"),
            file("nope.proto"),
            request(MessageRequest::FileContainingExtension(extension)),
            symbol("grpc.reflection.v1alpha.ServerReflection"),
        ],
    )
    .await;
    let names: Vec<_> = answers.iter().map(v1alpha_names).collect();
    assert_eq!(names[..3], [["shop.proto"], ["shop.proto"], ["shop.proto"]]);
    assert_eq!(names[3], ["cloudstate/entity_key.proto"]);
    assert!(names[4].is_empty());
    assert_eq!(names[5], ["cloudstate/entity_key.proto"]);
    assert_eq!(names[6].len(), 1);
}

#[tokio::test]
async fn v1_gives_all_files_and_says_not_found() {
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;
    let seam = Seam::echo().await;
    let answer = v1(&seam, MessageRequest::FileContainingSymbol("shop.Cart".to_owned())).await;
    let Some(MessageResponse::FileDescriptorResponse(files)) = answer.message_response else { panic!("{answer:?}") };
    let names = file_names(&files.file_descriptor_proto);
    assert_eq!(names[0], "shop.proto");
    assert!(names.iter().any(|name| name == "google/protobuf/descriptor.proto"), "{names:?}");
    // A client can build a pool of them, options and all.
    let mut set = Vec::new();
    for file in &files.file_descriptor_proto {
        prost::encoding::bytes::encode(1, file, &mut set);
    }
    let pool = DescriptorPool::decode(&*set).expect("complete");
    let field = pool.get_message_by_name("shop.Key").expect("there").get_field(1).expect("there");
    let key = pool.get_extension_by_name("cloudstate.entity_key").expect("there");
    assert_eq!(field.options().get_extension(&key).as_bool(), Some(true));

    let answer = v1(&seam, MessageRequest::FileContainingSymbol("shop.Nope".to_owned())).await;
    let Some(MessageResponse::ErrorResponse(error)) = answer.message_response else { panic!("{answer:?}") };
    assert_eq!(error.error_code, tonic::Code::NotFound as i32);
    assert!(error.error_message.contains("shop.Nope"));

    let answer = v1(&seam, MessageRequest::ListServices(String::new())).await;
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"shop.Cart") && names.contains(&"grpc.reflection.v1.ServerReflection"), "{names:?}");

    let options = "google.protobuf.FieldOptions".to_owned();
    let answer = v1(&seam, MessageRequest::AllExtensionNumbersOfType(options)).await;
    let Some(MessageResponse::AllExtensionNumbersResponse(numbers)) = answer.message_response else {
        panic!("{answer:?}")
    };
    assert_eq!(numbers.extension_number, [1080, 50002]);
}
