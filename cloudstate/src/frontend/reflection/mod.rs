//! gRPC server reflection, v1 and v1alpha, over descriptors that came at run time.
//!
//! The two versions have the same messages. They differ in what they answer: v1alpha as CloudState
//! proxies always did and their conformance suite demands, v1 by the standard.

mod index;

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use prost::Message;
use tonic::{Code, Status};
use tonic_reflection::pb::v1alpha::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1alpha::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1alpha::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse, ServerReflectionRequest,
    ServerReflectionResponse, ServiceResponse,
};

use super::serving::Serving;
use crate::call::{CallError, Reply};

pub(super) use index::ReflectionIndex;

const V1_ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";
const V1: &str = "grpc.reflection.v1.ServerReflection";

/// Which version of the protocol a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V1Alpha,
    V1,
}

impl Version {
    /// The version whose method has this gRPC path.
    pub(super) fn from_path(path: &str) -> Option<Self> {
        match path {
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => Some(Version::V1Alpha),
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo" => Some(Version::V1),
            _ => None,
        }
    }
}

/// One answer for each of `requests`; ends when they end.
pub(super) fn answers(
    version: Version,
    serving: Arc<Serving>,
    requests: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
) -> impl Stream<Item = Result<Reply, CallError>> + Send + 'static {
    let type_url: Arc<str> = "type.googleapis.com/grpc.reflection.ServerReflectionResponse".into();
    requests.map(move |request| {
        let request = ServerReflectionRequest::decode(request?)
            .map_err(|error| Status::invalid_argument(format!("not a ServerReflectionRequest: {error}")))?;
        let response = answer(version, &serving.reflection, request);
        let payload = Bytes::from(response.encode_to_vec());
        Ok(Reply { payload, type_url: type_url.clone(), metadata: None })
    })
}

fn answer(version: Version, index: &ReflectionIndex, request: ServerReflectionRequest) -> ServerReflectionResponse {
    let message_response = match &request.message_request {
        None if version == Version::V1Alpha => None,
        None => Some(error(Code::InvalidArgument, "the request asks for nothing")),
        Some(MessageRequest::ListServices(_)) => Some(services(version, index)),
        Some(MessageRequest::FileByFilename(name)) => Some(files(version, index, index.file(name), name)),
        Some(MessageRequest::FileContainingSymbol(symbol)) => {
            Some(files(version, index, index.file_of_symbol(symbol), symbol))
        }
        Some(MessageRequest::FileContainingExtension(extension)) => {
            let number = u32::try_from(extension.extension_number).unwrap_or_default();
            let file = index.file_of_extension(&extension.containing_type, number);
            let what = format!("{} [{number}]", extension.containing_type);
            Some(files(version, index, file, &what))
        }
        Some(MessageRequest::AllExtensionNumbersOfType(name)) => Some(extensions(version, index, name)),
    };
    ServerReflectionResponse { valid_host: request.host.clone(), original_request: Some(request), message_response }
}

fn services(version: Version, index: &ReflectionIndex) -> MessageResponse {
    let own: &[&str] = match version {
        Version::V1Alpha => &[V1_ALPHA],
        Version::V1 => &[V1, V1_ALPHA],
    };
    let names = own.iter().copied().chain(index.services().iter().map(|name| &**name));
    let service = names.map(|name| ServiceResponse { name: name.to_owned() }).collect();
    MessageResponse::ListServicesResponse(ListServiceResponse { service })
}

fn files(version: Version, index: &ReflectionIndex, file: Option<usize>, what: &str) -> MessageResponse {
    let files = match (version, file) {
        (Version::V1Alpha, None) => vec![],
        (Version::V1Alpha, Some(file)) => vec![index.bytes(file)],
        (Version::V1, None) => {
            return error(Code::NotFound, &format!("[{what}] is not known here"));
        }
        (Version::V1, Some(file)) => index.with_imports(file),
    };
    let file_descriptor_proto = files.into_iter().map(|bytes| bytes.to_vec()).collect();
    MessageResponse::FileDescriptorResponse(FileDescriptorResponse { file_descriptor_proto })
}

fn extensions(version: Version, index: &ReflectionIndex, name: &str) -> MessageResponse {
    match index.extension_numbers(name) {
        None if version == Version::V1 => error(Code::NotFound, &format!("[{name}] is not known here")),
        numbers => MessageResponse::AllExtensionNumbersResponse(ExtensionNumberResponse {
            base_type_name: name.to_owned(),
            extension_number: numbers.unwrap_or_default().into_iter().map(|number| number as i32).collect(),
        }),
    }
}

fn error(code: Code, message: &str) -> MessageResponse {
    MessageResponse::ErrorResponse(ErrorResponse { error_code: code as i32, error_message: message.to_owned() })
}
