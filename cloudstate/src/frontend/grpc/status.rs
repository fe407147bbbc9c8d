//! Statuses as gRPC puts them on the wire.

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use tonic::Status;

use crate::frontend::body::FrontBody;

pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(crate) const GRPC_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// The trailers of a call that went well.
pub(super) fn ok_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    trailers
}

/// Longer messages are cut: percent-encoded they would be over the header limit of common clients,
/// which then report a broken stream instead of the failure.
const MESSAGE_MAX: usize = 2 * 1024;

/// The trailers that carry `status`.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    if status.message().len() > MESSAGE_MAX {
        return trailers(&shortened(status));
    }
    let mut trailers = HeaderMap::with_capacity(3);
    if status.add_header(&mut trailers).is_err() {
        // Only metadata that is no legal header can bring us here: say the rest without it.
        trailers.clear();
        let plain = Status::new(status.code(), status.message());
        if plain.add_header(&mut trailers).is_err() {
            trailers.insert(GRPC_STATUS, HeaderValue::from(plain.code() as i32));
        }
    }
    trailers
}

fn shortened(status: &Status) -> Status {
    const CUT: &str = " (cut)";
    let message = status.message();
    let end = message.floor_char_boundary(MESSAGE_MAX - CUT.len());
    let details = bytes::Bytes::copy_from_slice(status.details());
    let metadata = status.metadata().clone();
    Status::with_details_and_metadata(status.code(), format!("{}{CUT}", &message[..end]), details, metadata)
}

/// A response that is nothing but `status`.
pub(crate) fn trailers_only(status: &Status) -> Response<FrontBody> {
    let mut response = Response::new(FrontBody::empty());
    *response.headers_mut() = trailers(status);
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
    response
}
