//! Which pages of other origins may call: the CORS protocol.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response, StatusCode};

use super::body::FrontBody;
use super::settings::CorsSettings;

const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
const MAX_AGE_SECONDS: HeaderValue = HeaderValue::from_static("7200");

/// What a page needs to see of a gRPC-Web response, beyond what it always may.
const ALWAYS_EXPOSED: &str = "grpc-status, grpc-message, grpc-status-details-bin";

/// What `Access-Control-Allow-Origin` is for this request; `None` without an origin or for one that
/// may not call.
pub(super) fn allowed_origin(settings: &CorsSettings, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    match settings {
        CorsSettings::AnyOrigin => Some(HeaderValue::from_static("*")),
        CorsSettings::Origins(origins) => {
            origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
        }
    }
}

/// Whether a browser asks if it may make a request.
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight. Without the allowing headers the browser refuses on its own.
pub(super) fn preflight(origin: Option<HeaderValue>, request: &HeaderMap) -> Response<FrontBody> {
    let mut response = Response::new(FrontBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    if let Some(origin) = origin {
        vary(&origin, headers);
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE_SECONDS);
        // Metadata has any name, so whatever is asked for is allowed.
        if let Some(asked) = request.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
    }
    response
}

/// Lets the page of `origin` read a response.
pub(super) fn allow(origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    let Some(origin) = origin else { return };
    vary(&origin, headers);
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed(headers));
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
}

/// A response that is for one origin must not be given to another by a cache.
fn vary(origin: &HeaderValue, headers: &mut HeaderMap) {
    if origin != "*" {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
}

/// The metadata of the reply has any name, so the names are listed.
fn exposed(headers: &HeaderMap) -> HeaderValue {
    let mut names = ALWAYS_EXPOSED.to_owned();
    let hidden = |name: &&HeaderName| !ALWAYS_EXPOSED.split(", ").any(|known| known == name.as_str());
    for name in headers.keys().filter(hidden) {
        names.push_str(", ");
        names.push_str(name.as_str());
    }
    HeaderValue::from_str(&names).unwrap_or_else(|_| HeaderValue::from_static(ALWAYS_EXPOSED))
}
