//! Request headers to metadata, reply metadata to response headers.

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use proto::cloudstate::metadata_entry::Value;
use proto::cloudstate::{Metadata, MetadataEntry};

/// gRPC peers send binary metadata with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Headers about the connection or the framing of this hop, which mean nothing to the next.
const OWNED_REQUEST: [&str; 17] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "grpc-accept-encoding",
    "grpc-encoding",
    "grpc-timeout",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-http2-stream-id",
];

/// Headers that the transport writes itself.
const OWNED_RESPONSE: [&str; 11] = [
    "connection",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "proxy-connection",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// More than this of a reply's metadata would make the response unreadable for common clients, whose
/// limit for all headers is 8 or 16 KiB.
const RESPONSE_MAX: usize = 6 * 1024;

/// The metadata that goes with a call; `None` when it is larger than `max` bytes.
///
/// Values of `-bin` headers become bytes. A value that is no text, or no base64 where it should be,
/// is left out.
pub(super) fn from_headers(headers: &HeaderMap, max: usize) -> Option<Metadata> {
    let mut entries = Vec::with_capacity(headers.len());
    let mut size = 0;
    for (name, value) in headers {
        let name = name.as_str();
        if OWNED_REQUEST.contains(&name) {
            continue;
        }
        size += name.len() + value.len();
        if size > max {
            return None;
        }
        if name.ends_with("-bin") {
            // Several values of one name may have been joined on the way.
            for part in value.as_bytes().split(|byte| *byte == b',') {
                if let Ok(bytes) = BASE64.decode(part.trim_ascii()) {
                    entries.push(entry(name, Value::BytesValue(Bytes::from(bytes))));
                }
            }
        } else if let Ok(text) = value.to_str() {
            entries.push(entry(name, Value::StringValue(text.to_owned())));
        }
    }
    Some(Metadata { entries })
}

/// Adds the metadata of the first reply to the headers of a response.
///
/// Left out: headers that the transport owns, names and values that are no legal headers, bytes
/// under a name that does not end in `-bin`, and what is over 6 KiB altogether.
pub(super) fn to_headers(metadata: &Metadata, headers: &mut HeaderMap) {
    let mut size = 0;
    for entry in &metadata.entries {
        let Ok(name) = HeaderName::from_bytes(entry.key.as_bytes()) else {
            continue;
        };
        if OWNED_RESPONSE.contains(&name.as_str()) || name.as_str().starts_with("grpc-") {
            continue;
        }
        let binary = name.as_str().ends_with("-bin");
        let value = match &entry.value {
            Some(Value::StringValue(text)) => HeaderValue::from_str(text),
            Some(Value::BytesValue(bytes)) if binary => HeaderValue::from_str(&BASE64.encode(bytes)),
            _ => continue,
        };
        if let Ok(value) = value
            && size + name.as_str().len() + value.len() <= RESPONSE_MAX
        {
            size += name.as_str().len() + value.len();
            headers.append(name, value);
        }
    }
}

/// The value of a text entry of `metadata`, whatever the case of its name.
pub(super) fn text<'a>(metadata: Option<&'a Metadata>, name: &str) -> Option<&'a str> {
    metadata?.entries.iter().find_map(|entry| match &entry.value {
        Some(Value::StringValue(text)) if entry.key.eq_ignore_ascii_case(name) => Some(text.as_str()),
        _ => None,
    })
}

fn entry(name: &str, value: Value) -> MetadataEntry {
    MetadataEntry { key: name.to_owned(), value: Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_headers_stay_behind_and_binary_ones_become_bytes() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-timeout", "1S"),
            ("authorization", "Bearer x"),
            ("trace-bin", "AAEC"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let metadata = from_headers(&headers, 1000).expect("small");
        assert_eq!(
            metadata.entries,
            [
                entry("authorization", Value::StringValue("Bearer x".to_owned())),
                entry("trace-bin", Value::BytesValue(Bytes::from_static(&[0, 1, 2]))),
            ]
        );
        assert_eq!(from_headers(&headers, 20), None);
    }

    #[test]
    fn a_reply_cannot_write_headers_of_the_transport() {
        let metadata = Metadata {
            entries: vec![
                entry("Content-Type", Value::StringValue("text/html".to_owned())),
                entry("grpc-status", Value::StringValue("0".to_owned())),
                entry("x-split", Value::StringValue("a\r\nset-cookie: b".to_owned())),
                entry("x-Bytes", Value::BytesValue(Bytes::from_static(b"dropped"))),
                entry("x-kept", Value::StringValue("yes".to_owned())),
                entry("x-kept-bin", Value::BytesValue(Bytes::from_static(&[255]))),
            ],
        };
        let mut headers = HeaderMap::new();
        to_headers(&metadata, &mut headers);
        assert_eq!(headers.len(), 2, "{headers:?}");
        assert_eq!(headers["x-kept"], "yes");
        assert_eq!(headers["x-kept-bin"], "/w");
    }
}
