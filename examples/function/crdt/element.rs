//! Elements of sets and keys of maps.

use prost::bytes::Bytes;
use proto::Any;

/// An `Any` with an order. Equal means equal bytes, for the sidecar as well as here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Element {
    type_url: String,
    value: Bytes,
}

impl From<Any> for Element {
    fn from(Any { type_url, value }: Any) -> Self {
        Self { type_url, value }
    }
}

impl From<&Element> for Any {
    fn from(Element { type_url, value }: &Element) -> Self {
        Self { type_url: type_url.clone(), value: value.clone() }
    }
}
