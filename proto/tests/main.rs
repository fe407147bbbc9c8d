//! The schema against tables written from the protocol's definition: a slip in a `.proto` file shows here, not on the wire.

mod any;
mod options;
mod protocol;
mod samples;

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, Kind, MethodDescriptor, ReflectMessage, Syntax};

/// Rows are (full name, lines), in the order of the files; lines of one row may stand in any order.
struct Schema {
    /// (path, package, imports)
    files: &'static [(&'static str, &'static str, &'static [&'static str])],
    messages: &'static [Row],
    enums: &'static [Row],
    services: &'static [Row],
    extensions: &'static [Row],
}

type Row = (&'static str, &'static [&'static str]);

/// What a set holds, or should hold: full name to sorted lines.
type Found = BTreeMap<String, Vec<String>>;

#[test]
fn the_protocol_is_what_the_table_says() {
    compare(proto::FILE_DESCRIPTOR_SET, &protocol::PROTOCOL, &[]);
}

#[test]
fn model_services_and_samples_are_what_the_table_says() {
    compare(proto::model::FILE_DESCRIPTOR_SET, &samples::SAMPLES, protocol::PROTOCOL.files);
}

/// The files of `set` are those of `schema` with some of `imports` and protobuf's own, and define nothing but what it says.
fn compare(set: &[u8], schema: &Schema, imports: &[(&str, &str, &[&str])]) {
    let pool = DescriptorPool::decode(set).expect("a complete descriptor set");
    let ours =
        |path: &str| !path.starts_with("google/protobuf/") && !imports.iter().any(|(imported, _, _)| *imported == path);

    let files = pool.files().filter(|file| ours(file.name())).map(|file| {
        assert_eq!(file.syntax(), Syntax::Proto3, "{}", file.name());
        let imports = file.file_descriptor_proto().dependency.clone();
        (file.name().to_owned(), [vec![format!("package {}", file.package_name())], imports].concat())
    });
    let expected = schema.files.iter().map(|(path, package, imports)| {
        let lines = imports.iter().map(|import| import.to_string());
        (path.to_string(), std::iter::once(format!("package {package}")).chain(lines).collect())
    });
    equal("files", collect(files), collect(expected));

    let messages = pool.all_messages().filter(|message| ours(message.parent_file().name()));
    equal(
        "messages",
        collect(messages.map(|m| (m.full_name().into(), lines(m.fields().map(field))))),
        rows(schema.messages),
    );

    let enums = pool.all_enums().filter(|each| ours(each.parent_file().name()));
    let value = |value: prost_reflect::EnumValueDescriptor| format!("{} = {}", value.name(), value.number());
    equal("enums", collect(enums.map(|e| (e.full_name().into(), lines(e.values().map(value))))), rows(schema.enums));

    let services = pool.services().filter(|service| ours(service.parent_file().name()));
    equal(
        "services",
        collect(services.map(|s| (s.full_name().into(), lines(s.methods().map(method))))),
        rows(schema.services),
    );

    let extensions = pool.all_extensions().filter(|extension| ours(extension.parent_file().name()));
    let extension = |e: prost_reflect::ExtensionDescriptor| {
        let line = format!("{} = {} of {}", kind(&e.kind()), e.number(), e.containing_message().full_name());
        (e.full_name().to_owned(), vec![line])
    };
    equal("extensions", collect(extensions.map(extension)), rows(schema.extensions));
}

/// `repeated type name = number in oneof [entity_key]`
fn field(field: FieldDescriptor) -> String {
    let repeated = if field.cardinality() == Cardinality::Repeated { "repeated " } else { "" };
    let mut line = format!("{repeated}{} {} = {}", kind(&field.kind()), field.name(), field.number());
    if let Some(oneof) = field.containing_oneof() {
        line += &format!(" in {}", oneof.name());
    }
    let options = field.options();
    let key =
        options.descriptor().get_extension_by_full_name("cloudstate.entity_key").expect("the option is in every set");
    if options.get_extension(&key).as_bool() == Some(true) {
        line += " [entity_key]";
    }
    line
}

/// `name(stream input) returns (stream output)`
fn method(method: MethodDescriptor) -> String {
    let stream = |flag| if flag { "stream " } else { "" };
    format!(
        "{}({}{}) returns ({}{})",
        method.name(),
        stream(method.is_client_streaming()),
        method.input().full_name(),
        stream(method.is_server_streaming()),
        method.output().full_name(),
    )
}

fn kind(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(each) => each.full_name().to_owned(),
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}

fn lines(lines: impl Iterator<Item = String>) -> Vec<String> {
    lines.collect()
}

fn rows(rows: &[Row]) -> Found {
    collect(rows.iter().map(|(name, lines)| (name.to_string(), lines.iter().map(|line| line.to_string()).collect())))
}

fn collect(rows: impl Iterator<Item = (String, Vec<String>)>) -> Found {
    let mut found = Found::new();
    for (name, mut lines) in rows {
        lines.sort();
        assert!(found.insert(name.clone(), lines).is_none(), "{name} twice");
    }
    found
}

/// Fails with the differences alone, for the whole is some hundred rows.
fn equal<K: Ord + Display, V: PartialEq + Debug>(what: &str, found: BTreeMap<K, V>, expected: BTreeMap<K, V>) {
    assert!(!expected.is_empty() || found.is_empty(), "{what}: the table is empty");
    let mut differences = Vec::new();
    for (name, row) in &expected {
        match found.get(name) {
            None => differences.push(format!("{name} is missing")),
            Some(other) if other != row => {
                differences.push(format!("{name}\n  is        {other:?}\n  should be {row:?}"))
            }
            Some(_) => {}
        }
    }
    differences.extend(
        found.keys().filter(|name| !expected.contains_key(name)).map(|name| format!("{name} is not in the table")),
    );
    assert!(differences.is_empty(), "{what}:\n{}", differences.join("\n"));
}
