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

/// The trailers that carry `status`.
pub(super) fn trailers(status: &Status) -> HeaderMap {
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

/// A response that is nothing but `status`.
pub(crate) fn trailers_only(status: &Status) -> Response<FrontBody> {
    let mut response = Response::new(FrontBody::empty());
    *response.headers_mut() = trailers(status);
    response.headers_mut().insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
    response
}
