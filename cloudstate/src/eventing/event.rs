//! From an event, wherever it comes from, to the command that it becomes (CloudState protocol: from event to command).

use bytes::{BufMut, Bytes, BytesMut};
use persistence::{FeedEvent, RawEvent};
use proto::Any;
use proto::cloudstate::metadata_entry::Value;
use proto::cloudstate::{Metadata, MetadataEntry};

/// Content type of an event that is a `google.protobuf.Any` already, as those of event logs are.
pub const ANY: &str = "application/vnd.cloudstate.protobuf.any";

/// One event with its CloudEvents attributes, whatever the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unique within the source.
    pub id: String,
    /// Where it comes from.
    pub source: String,
    /// Version of CloudEvents.
    pub spec_version: String,
    /// What happened; for [`ANY`] the full type URL. May be empty.
    pub event_type: String,
    /// What `data` is.
    pub content_type: String,
    /// Schema of `data`.
    pub data_schema: Option<String>,
    /// What it happened to: for event logs the entity's id.
    pub subject: Option<String>,
    /// When, in ISO 8601.
    pub time: Option<String>,
    /// The content; for [`ANY`] the value of the `Any`, whose type URL is `event_type`.
    pub data: Bytes,
}

/// Content that cannot be made a command's payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// The text is in a charset that is not known here, or not what it says it is.
    #[error("content type [{content_type}]: {reason}; send utf-8")]
    Text {
        /// As the event says it.
        content_type: String,
        /// What is wrong.
        reason: String,
    },
}

impl Event {
    /// An event of an event log.
    #[must_use]
    pub fn of_log(event: &FeedEvent<RawEvent>) -> Self {
        Self {
            id: event.offset.to_string(),
            source: event.id.entity_type().to_owned(),
            spec_version: "1.0".to_owned(),
            event_type: event.stored.event.manifest.to_string(),
            content_type: ANY.to_owned(),
            data_schema: None,
            subject: Some(event.id.entity_id().to_owned()),
            time: None,
            data: event.stored.event.payload.clone(),
        }
    }

    /// The metadata of the command, in the order in which it is on the wire.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        let always = [
            ("ce-id", Some(&self.id)),
            ("ce-source", Some(&self.source)),
            ("ce-specversion", Some(&self.spec_version)),
            ("ce-type", Some(&self.event_type)),
            ("Content-Type", Some(&self.content_type)),
            ("ce-dataschema", self.data_schema.as_ref()),
            ("ce-subject", self.subject.as_ref()),
            ("ce-time", self.time.as_ref()),
        ];
        let entry = |(key, value): (&str, Option<&String>)| {
            Some(MetadataEntry { key: key.to_owned(), value: Some(Value::StringValue(value?.clone())) })
        };
        Metadata { entries: always.into_iter().filter_map(entry).collect() }
    }

    /// The payload of the command.
    ///
    /// # Errors
    /// [`ContentError`] when the content is not what its type says.
    pub fn payload(&self) -> Result<Any, ContentError> {
        let (essence, parameters) = media_type(&self.content_type);
        let parameter = |wanted: &str| parameters.iter().find(|(name, _)| name == wanted).map(|(_, value)| &**value);
        let any = match &*essence {
            ANY => Any { type_url: self.event_type.clone(), value: self.data.clone() },
            "application/protobuf" | "application/x-protobuf" | "application/vnd.google.protobuf" => {
                let name = parameter("proto").or_else(|| parameter("messagetype")).unwrap_or(&self.event_type);
                Any { type_url: format!("type.googleapis.com/{name}"), value: self.data.clone() }
            }
            json if json == "application/json" || (json.starts_with("application/") && json.ends_with("+json")) => {
                Any { type_url: format!("json.cloudstate.io/{}", self.event_type), value: field_one(&self.data) }
            }
            text if text.starts_with("text/") => {
                let text = decode(&self.data, parameter("charset").unwrap_or("utf-8"))
                    .map_err(|reason| ContentError::Text { content_type: self.content_type.clone(), reason })?;
                Any { type_url: "p.cloudstate.io/string".to_owned(), value: field_one(&text) }
            }
            _ => Any { type_url: "p.cloudstate.io/bytes".to_owned(), value: field_one(&self.data) },
        };
        Ok(any)
    }
}

/// `type/subtype` in lower case, and the parameters, their names in lower case.
fn media_type(text: &str) -> (String, Vec<(String, String)>) {
    let mut parts = text.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let parameters = parts.filter_map(|part| {
        let (name, value) = part.split_once('=')?;
        Some((name.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned()))
    });
    (essence, parameters.collect())
}

/// A message whose field 1 is `content`: no bytes at all when that is empty.
fn field_one(content: &[u8]) -> Bytes {
    if content.is_empty() {
        return Bytes::new();
    }
    let mut message = BytesMut::with_capacity(content.len() + 11);
    message.put_u8(0x0a); // field 1, length-delimited
    prost::encoding::encode_varint(content.len() as u64, &mut message);
    message.put_slice(content);
    message.freeze()
}

/// `data` as UTF-8.
fn decode(data: &[u8], charset: &str) -> Result<Vec<u8>, String> {
    let charset = charset.to_ascii_lowercase();
    let utf16 = |big_endian: bool, data: &[u8]| {
        let pairs = data.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err("an odd number of bytes is no utf-16".to_owned());
        }
        let unit = |pair: &[u8]| {
            let pair = [pair[0], pair[1]];
            if big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
        };
        let text = String::from_utf16(&pairs.map(unit).collect::<Vec<_>>());
        text.map(String::into_bytes).map_err(|error| error.to_string())
    };
    match (&*charset, data) {
        ("utf-8" | "utf8" | "us-ascii", _) => {
            std::str::from_utf8(data).map(|text| text.as_bytes().to_vec()).map_err(|error| error.to_string())
        }
        ("iso-8859-1" | "latin1", _) => Ok(data.iter().map(|byte| char::from(*byte)).collect::<String>().into_bytes()),
        ("utf-16", [0xff, 0xfe, rest @ ..]) => utf16(false, rest),
        ("utf-16", [0xfe, 0xff, rest @ ..]) => utf16(true, rest),
        ("utf-16" | "utf-16be", _) => utf16(true, data),
        ("utf-16le", _) => utf16(false, data),
        _ => Err(format!("charset {charset} is not known")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use persistence::{PersistenceId, Stored};

    use super::*;

    fn event(content_type: &str, data: &[u8]) -> Event {
        Event {
            id: "7".to_owned(),
            source: "s".to_owned(),
            spec_version: "1.0".to_owned(),
            event_type: "shop.Added".to_owned(),
            content_type: content_type.to_owned(),
            data_schema: None,
            subject: None,
            time: None,
            data: Bytes::copy_from_slice(data),
        }
    }

    fn payload(content_type: &str, data: &[u8]) -> (String, Vec<u8>) {
        let any = event(content_type, data).payload().expect("valid");
        (any.type_url, any.value.to_vec())
    }

    #[test]
    fn an_event_of_a_log_is_handed_over_as_it_was_stored() {
        let raw = RawEvent {
            manifest: Arc::from("json.cloudstate.io/Added"),
            payload: Bytes::from_static(b"\x0a\x02{}"),
            meta: None,
        };
        let stored = Stored { seq_nr: 3, epoch: 1, time_ms: 5, event: raw };
        let event = Event::of_log(&FeedEvent {
            offset: persistence::Offset::of_ordering(12),
            id: PersistenceId::of("cart", "a|b"),
            stored,
        });
        let payload = event.payload().expect("valid");
        assert_eq!((&*payload.type_url, &payload.value[..]), ("json.cloudstate.io/Added", &b"\x0a\x02{}"[..]));
        let entries: Vec<_> = event.metadata().entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
        let expected = [
            ("ce-id", "12"),
            ("ce-source", "cart"),
            ("ce-specversion", "1.0"),
            ("ce-type", "json.cloudstate.io/Added"),
            ("Content-Type", "application/vnd.cloudstate.protobuf.any"),
            ("ce-subject", "a|b"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), Some(Value::StringValue(value.to_owned()))));
        assert_eq!(entries, expected);
    }

    #[test]
    fn optional_attributes_follow_in_order() {
        let mut event = event("text/plain", b"");
        event.data_schema = Some("schema".to_owned());
        event.subject = Some("subject".to_owned());
        event.time = Some("time".to_owned());
        let keys: Vec<_> = event.metadata().entries.into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys[5..], ["ce-dataschema", "ce-subject", "ce-time"]);
    }

    #[test]
    fn protobuf_is_named_by_parameter_or_event_type() {
        for (content_type, url) in [
            ("application/protobuf", "type.googleapis.com/shop.Added"),
            ("Application/X-Protobuf; proto=a.B; messageType=c.D", "type.googleapis.com/a.B"),
            ("application/vnd.google.protobuf;messageType=\"c.D\"", "type.googleapis.com/c.D"),
        ] {
            assert_eq!(payload(content_type, b"\x08\x01"), (url.to_owned(), b"\x08\x01".to_vec()), "{content_type}");
        }
    }

    /// CloudState protocol, known defects 65: JSON, text and bytes that are not empty failed.
    #[test]
    fn json_text_and_bytes_are_wrapped_whether_empty_or_not() {
        for (content_type, url) in [
            ("application/json", "json.cloudstate.io/shop.Added"),
            ("application/vnd.x+json; charset=utf-8", "json.cloudstate.io/shop.Added"),
            ("text/plain", "p.cloudstate.io/string"),
            ("image/png", "p.cloudstate.io/bytes"),
            ("", "p.cloudstate.io/bytes"),
        ] {
            assert_eq!(payload(content_type, b"{1}"), (url.to_owned(), b"\x0a\x03{1}".to_vec()), "{content_type}");
            assert_eq!(payload(content_type, b""), (url.to_owned(), Vec::new()), "{content_type}, empty");
        }
        let long = vec![b'x'; 300];
        assert_eq!(payload("text/plain", &long).1[..4], [0x0a, 0xac, 0x02, b'x']);
    }

    /// CloudState protocol, known defects 67: text in another charset became empty.
    #[test]
    fn text_in_another_charset_is_decoded() {
        let expected = "\u{e4}".as_bytes();
        for (charset, data) in [
            ("utf-8", expected),
            ("ISO-8859-1", b"\xe4"),
            ("utf-16", b"\xff\xfe\xe4\x00"),
            ("utf-16", b"\xfe\xff\x00\xe4"),
            ("utf-16be", b"\x00\xe4"),
            ("UTF-16LE", b"\xe4\x00"),
        ] {
            let (url, value) = payload(&format!("text/plain; charset={charset}"), data);
            assert_eq!((&*url, &value[2..]), ("p.cloudstate.io/string", expected), "{charset}");
        }
        for (charset, data) in [("klingon", &b"a"[..]), ("utf-8", b"\xff"), ("utf-16", b"a")] {
            let error = event(&format!("text/plain; charset={charset}"), data).payload().expect_err("not text");
            assert!(error.to_string().contains(charset), "{error}");
        }
    }
}
