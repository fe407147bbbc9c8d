//! `google.protobuf.Any` with shared bytes.

use prost::bytes::Bytes;

/// A message of any type, as in `google/protobuf/any.proto`; the wire is the same.
///
/// Unlike the generated one its value is shared, not copied, when the `Any` is cloned or decoded
/// out of [`Bytes`].
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Any {
    /// Says what `value` is: `type.googleapis.com/<full name>`, `json.cloudstate.io/<type>` or
    /// `p.cloudstate.io/<primitive>`.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The serialised message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

impl Any {
    /// Packs `message` as `type.googleapis.com/<name>`.
    pub fn pack<M: prost::Message>(name: &str, message: &M) -> Self {
        Self { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec().into() }
    }
}
