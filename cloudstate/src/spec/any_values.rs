//! Descriptors for the values of an `Any` that are no messages of the user function.
//!
//! A CloudState `Any` may hold `p.cloudstate.io/<primitive>`, a message whose only field is number 1
//! of that type, or `json.cloudstate.io/<type>`, one whose field 1 is JSON text. With a message
//! called `string` and so on in the pool, an `Any` of a primitive reads and writes like any other.

use prost_reflect::DescriptorPool;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto};

/// Full name of the message that holds JSON text in its field 1.
pub const JSON_VALUE: &str = "cloudstate.internal.JsonValue";

const PRIMITIVES: [(&str, Type); 7] = [
    ("string", Type::String),
    ("bytes", Type::Bytes),
    ("int32", Type::Int32),
    ("int64", Type::Int64),
    ("float", Type::Float),
    ("double", Type::Double),
    ("bool", Type::Bool),
];

/// Adds the messages to `pool`. A pool that has messages of these names keeps its own.
pub(super) fn add_to(pool: &mut DescriptorPool) {
    let primitives = PRIMITIVES.map(|(name, kind)| holder(name, kind)).to_vec();
    for file in [
        file("cloudstate-internal/primitives.proto", "", primitives),
        file("cloudstate-internal/json.proto", "cloudstate.internal", vec![holder("JsonValue", Type::Bytes)]),
    ] {
        let mut extended = pool.clone();
        if extended.add_file_descriptor_proto(file).is_ok() {
            *pool = extended;
        }
    }
}

fn file(name: &str, package: &str, message_type: Vec<DescriptorProto>) -> FileDescriptorProto {
    FileDescriptorProto {
        name: Some(name.to_owned()),
        package: (!package.is_empty()).then(|| package.to_owned()),
        message_type,
        syntax: Some("proto3".to_owned()),
        ..Default::default()
    }
}

fn holder(name: &str, kind: Type) -> DescriptorProto {
    DescriptorProto {
        name: Some(name.to_owned()),
        field: vec![FieldDescriptorProto {
            name: Some("value".to_owned()),
            number: Some(1),
            label: Some(Label::Optional as i32),
            r#type: Some(kind as i32),
            ..Default::default()
        }],
        ..Default::default()
    }
}
