//! `proto::Any` is `google.protobuf.Any` on the wire and shares its payload.

use prost::Message;
use prost::bytes::Bytes;
use proto::cloudstate::Command;
use proto::cloudstate::eventsourced::{EventSourcedStreamIn, event_sourced_stream_in};

#[test]
fn the_wire_is_that_of_any() {
    for (type_url, value) in
        [("json.cloudstate.io/object", &b"\x0a\x02{}"[..]), ("p.cloudstate.io/string", b""), ("", b"")]
    {
        let ours = proto::Any { type_url: type_url.into(), value: Bytes::from_static(value) };
        let theirs = prost_types::Any { type_url: type_url.into(), value: value.into() };
        assert_eq!(ours.encode_to_vec(), theirs.encode_to_vec(), "{type_url}");
        assert_eq!(proto::Any::decode(&*theirs.encode_to_vec()), Ok(ours), "{type_url}");
    }
}

#[test]
fn a_payload_deep_in_a_message_is_a_part_of_what_was_received() {
    let payload = proto::Any { type_url: "type.googleapis.com/x".into(), value: vec![7; 4096].into() };
    let command = Command { payload: Some(payload), ..Command::default() };
    let sent = EventSourcedStreamIn { message: Some(event_sourced_stream_in::Message::Command(command)) };
    let received = Bytes::from(sent.encode_to_vec());

    let decoded = EventSourcedStreamIn::decode(received.clone()).expect("what was encoded");

    assert_eq!(decoded, sent);
    let Some(event_sourced_stream_in::Message::Command(command)) = decoded.message else { panic!("{decoded:?}") };
    let value = command.payload.expect("the payload").value;
    assert!(received.as_ptr_range().contains(&value.as_ptr()), "the payload was copied");
}
