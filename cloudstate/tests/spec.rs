//! Every check of a specification, with its exact text.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use cloudstate::spec::{
    EntityType, EventDestination, EventInput, EventSource, KEY_BYTES_MAX, KeyError, ServedSpec, SpecSettings,
};
use proptest::prelude::*;
use prost::Message;
use prost_reflect::{DynamicMessage, Kind, Value};
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use proto::cloudstate::entity_passivation_strategy::Strategy as Passivation;
use proto::cloudstate::{EntityPassivationStrategy, EntitySpec, TimeoutPassivationStrategy};

use crate::proto_text::{
    ACTION, CRDT, EVENT_SOURCED, VALUE_ENTITY, check, compile, entity_spec, refused, served, shop,
};

const CART: &str = "service Cart { rpc Get(Key) returns (Plain); }";

#[test]
fn a_valid_cart_is_served_with_everything_about_it() {
    let mut spec = shop(CART, &[(EVENT_SOURCED, "shop.Cart", "cart")]);
    spec.entities[0].passivation_strategy = Some(EntityPassivationStrategy {
        strategy: Some(Passivation::Timeout(TimeoutPassivationStrategy { timeout: 100 })),
    });
    let served = check(&spec).expect("valid");
    let service = served.service("shop.Cart").expect("served");
    assert_eq!(service.entity_type, EntityType::EventSourced);
    assert_eq!(&*service.persistence_id, "cart");
    assert_eq!(service.passivation_timeout, Some(Duration::from_millis(100)));
    let method = served.method("shop.Cart", "Get").expect("served");
    assert_eq!(&*method.input_type_url, "type.googleapis.com/shop.Key");
    assert_eq!(&*method.output_type_url, "type.googleapis.com/shop.Plain");
    assert_eq!(method.http[0].template.to_string(), "/shop.Cart/Get");
    assert!(served.warnings.is_empty(), "{:?}", served.warnings);
    assert!(served.method("shop.Cart", "Nope").is_none() && served.service("Cart").is_none());
}

#[test]
fn the_model_services_and_sample_carts_are_served() {
    let set = Bytes::from_static(proto::model::FILE_DESCRIPTOR_SET);
    let tck = "cloudstate.tck.model";
    let names = [
        (ACTION, format!("{tck}.action.ActionTckModel"), ""),
        (ACTION, format!("{tck}.action.ActionTwo"), ""),
        (VALUE_ENTITY, format!("{tck}.valueentity.ValueEntityTckModel"), "value-entity-tck-model"),
        (EVENT_SOURCED, format!("{tck}.EventSourcedTckModel"), "event-sourced-tck-model"),
        (EVENT_SOURCED, format!("{tck}.EventSourcedTwo"), "entity"),
        (CRDT, format!("{tck}.crdt.CrdtTckModel"), "crdt"),
        (CRDT, format!("{tck}.crdt.CrdtTwo"), "crdt"),
        (ACTION, format!("{tck}.eventlogeventing.EventLogSubscriberModel"), ""),
        (EVENT_SOURCED, "com.example.shoppingcart.ShoppingCart".to_owned(), "shopping-cart"),
    ];
    let entities: Vec<_> = names.iter().map(|(kind, name, id)| (*kind, name.as_str(), *id)).collect();
    let served = check(&entity_spec(set, &entities)).expect("valid");
    assert!(served.warnings.is_empty(), "{:?}", served.warnings);
    let paths = |service: &str, method: &str| {
        let method = served.method(service, method).expect("served");
        method.http.iter().map(|http| http.template.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(
        paths("com.example.shoppingcart.ShoppingCart", "GetCart"),
        ["/carts/{user_id}", "/carts/{user_id}/items"]
    );
    assert_eq!(paths("cloudstate.tck.model.EventSourcedTwo", "Call"), ["/cloudstate.tck.model.EventSourcedTwo/Call"]);
}

// ---- version ----

fn with_version(major: i32, minor: i32) -> EntitySpec {
    let mut spec = shop(CART, &[(EVENT_SOURCED, "shop.Cart", "cart")]);
    let info = spec.service_info.as_mut().expect("set");
    (info.protocol_major_version, info.protocol_minor_version) = (major, minor);
    spec
}

#[test]
fn other_versions_are_refused_and_none_is_only_warned_about() {
    for (major, minor) in [(1, 0), (1, 2), (0, 1), (-1, 2), (0, -2)] {
        assert_eq!(
            refused(&with_version(major, minor)),
            format!("Incompatible protocol version {major}.{minor}, only 0.2 is supported")
        );
    }
    let mut unversioned = with_version(0, 0);
    assert_eq!(check(&unversioned).expect("tolerated").warnings.len(), 1);
    unversioned.service_info = None;
    assert_eq!(check(&unversioned).expect("tolerated").warnings.len(), 1);
    let strict = SpecSettings { strict_version: true, ..Default::default() };
    assert_eq!(
        ServedSpec::check(&unversioned, &strict).expect_err("strict").to_string(),
        "Incompatible protocol version 0.0, only 0.2 is supported"
    );
}

#[test]
fn with_the_check_off_every_version_is_served_with_a_warning() {
    let lax = SpecSettings { any_version: true, ..Default::default() };
    for (major, minor) in [(1, 0), (0, 1), (0, 0)] {
        let served = ServedSpec::check(&with_version(major, minor), &lax).expect("tolerated");
        assert_eq!(served.warnings.len(), 1, "{:?}", served.warnings);
    }
    assert!(ServedSpec::check(&with_version(0, 2), &lax).expect("current").warnings.is_empty());
}

#[test]
fn a_crdt_of_the_older_dialect_is_refused_and_its_other_kinds_are_served() {
    let mut spec = shop("service S { rpc Get(Old) returns (Plain); }", &[(EVENT_SOURCED, "shop.S", "s")]);
    spec.service_info = None;
    let served = check(&spec).expect("event sourced messages are the same in both dialects");
    assert_eq!(served.services[0].methods[0].key.extract(b"\x0a\x01x").as_deref(), Ok("x"));
    spec.entities[0].entity_type = CRDT.to_owned();
    let text = refused(&spec);
    assert!(text.contains("[shop.S]") && text.contains("upgrade the support library"), "{text}");
}

// ---- descriptors ----

#[test]
fn bytes_that_are_no_descriptor_set_are_refused() {
    let spec = entity_spec(Bytes::from_static(b"\xff\xff\xff"), &[(ACTION, "shop.S", "")]);
    let text = refused(&spec);
    assert!(text.starts_with("EntitySpec.proto is not a google.protobuf.FileDescriptorSet: "), "{text}");
}

fn file(name: &str, imports: &[&str]) -> FileDescriptorProto {
    FileDescriptorProto {
        name: Some(name.to_owned()),
        dependency: imports.iter().map(|import| (*import).to_owned()).collect(),
        syntax: Some("proto3".to_owned()),
        ..Default::default()
    }
}

fn set(file: Vec<FileDescriptorProto>) -> EntitySpec {
    entity_spec(FileDescriptorSet { file }.encode_to_vec().into(), &[(ACTION, "shop.S", "")])
}

#[test]
fn circular_and_missing_imports_name_the_way_there() {
    let circle = set(vec![file("a", &["b"]), file("b", &["c"]), file("c", &["a"])]);
    assert_eq!(refused(&circle), "Circular dependency detected in entity spec descriptor: [a] -> [c] -> [b] -> [a]");
    assert_eq!(
        refused(&set(vec![file("a", &["a"])])),
        "Circular dependency detected in entity spec descriptor: [a] -> [a]"
    );
    let missing = set(vec![file("b", &["a"]), file("a", &["google/protobuf/any.proto"])]);
    assert_eq!(
        refused(&missing),
        "Descriptor dependency [google/protobuf/any.proto] not found, dependency path: [a] -> [b]"
    );
}

#[test]
fn a_syntax_nobody_knows_is_refused_where_it_is_needed_and_left_out_elsewhere() {
    let spec = shop(CART, &[(EVENT_SOURCED, "shop.Cart", "cart")]);
    let with_file = |name: &str, package: &str, service: Option<&str>| {
        let mut modern = file(name, &[]);
        modern.syntax = Some("editions".to_owned());
        modern.package = Some(package.to_owned());
        let named =
            |name: &str| prost_types::ServiceDescriptorProto { name: Some(name.to_owned()), ..Default::default() };
        modern.service.extend(service.map(named));
        let mut proto = spec.proto.to_vec();
        prost::encoding::bytes::encode(1, &Bytes::from(modern.encode_to_vec()), &mut proto);
        EntitySpec { proto: proto.into(), ..spec.clone() }
    };
    assert_eq!(check(&with_file("modern.proto", "m", None)).expect("not needed").warnings.len(), 1);
    let mut needed = with_file("modern.proto", "m", Some("S"));
    needed.entities[0].service_name = "m.S".to_owned();
    assert_eq!(
        refused(&needed),
        "EntitySpec.proto cannot be linked: file [modern.proto] has the syntax [editions]; write it in proto2 or proto3"
    );
}

#[test]
fn an_import_chain_longer_than_any_stack_is_walked() {
    let names: Vec<String> = (0..50_000).map(|index| index.to_string()).collect();
    let mut files: Vec<_> = names.windows(2).map(|pair| file(&pair[0], &[&pair[1]])).collect();
    files.push(file(&names[names.len() - 1], &[]));
    assert_eq!(refused(&set(files)), "Service [shop.S] not found in descriptors!");
}

#[test]
fn files_in_any_order_and_more_than_once_are_one_pool() {
    let spec = shop(CART, &[(EVENT_SOURCED, "shop.Cart", "cart")]);
    let mut files = FileDescriptorSet::decode(&*spec.proto).expect("compiled").file.len();
    // Raw, since a descriptor set that prost re-encodes has lost its options.
    let raw = cloudstate::spec::RawFile::parse_set(&spec.proto).expect("compiled");
    let mut reversed = Vec::new();
    for file in raw.iter().rev().chain(&raw) {
        prost::encoding::bytes::encode(1, &file.bytes, &mut reversed);
    }
    let served = check(&EntitySpec { proto: reversed.into(), ..spec }).expect("valid");
    assert_eq!(served.files.len(), std::mem::take(&mut files));
    let position = |name: &str| served.files.iter().position(|file| &*file.name == name);
    assert!(position("cloudstate/entity_key.proto") < position("shop.proto"));
    assert_eq!(served.services[0].methods[0].key.extract(b"\x0a\x01x").as_deref(), Ok("x"));
}

#[test]
fn copies_that_clash_outside_of_what_is_served_are_left_out() {
    let spec = shop(CART, &[(EVENT_SOURCED, "shop.Cart", "cart")]);
    let mut proto = spec.proto.to_vec();
    let mut copy = file("other/any.proto", &[]);
    copy.package = Some("google.protobuf".to_owned());
    copy.message_type.push(prost_types::DescriptorProto { name: Some("Any".to_owned()), ..Default::default() });
    prost::encoding::bytes::encode(1, &Bytes::from(copy.encode_to_vec()), &mut proto);
    let served = check(&EntitySpec { proto: proto.into(), ..spec }).expect("served");
    assert_eq!(served.warnings.len(), 1);
    assert!(served.files.iter().all(|file| &*file.name != "other/any.proto"));
}

// ---- entities ----

#[test]
fn entities_must_be_there_once_and_of_a_known_kind() {
    let both = format!("{CART} service Two {{ rpc Get(Key) returns (Plain); }}");
    let refused = |entities: &[(&str, &str, &str)]| refused(&shop(&both, entities));
    assert_eq!(refused(&[]), "No entities were reported by the discover call!");
    assert_eq!(refused(&[(EVENT_SOURCED, "shop.Nope", "x")]), "Service [shop.Nope] not found in descriptors!");
    assert_eq!(
        refused(&[("cloudstate.function.StatelessFunction", "shop.Cart", "x")]),
        "Service [shop.Cart] has declared an unsupported entity type [cloudstate.function.StatelessFunction]. \
         Supported types are cloudstate.crdt.Crdt,cloudstate.action.ActionProtocol,\
         cloudstate.eventsourced.EventSourced,cloudstate.valueentity.ValueEntity"
    );
    let text = refused(&[(EVENT_SOURCED, "shop.Cart", "x"), (VALUE_ENTITY, "shop.Cart", "y")]);
    assert!(text.contains("[shop.Cart] is declared by more than one entity"), "{text}");
    let text = refused(&[(EVENT_SOURCED, "shop.Cart", "x"), (VALUE_ENTITY, "shop.Two", "x")]);
    assert!(
        text.contains("[shop.Cart]") && text.contains("[shop.Two]") && text.contains("give each service"),
        "{text}"
    );
    let text = refused(&[(VALUE_ENTITY, "shop.Cart", "")]);
    assert!(text.contains("no persistence id"), "{text}");
    let text = refused(&[(EVENT_SOURCED, "shop.Cart", "a|b")]);
    assert!(text.contains("[a|b], which contains `|`"), "{text}");
    // Actions have no state and CRDTs may share it.
    served(&both, &[(ACTION, "shop.Cart", ""), (ACTION, "shop.Two", "")]);
    served(&both, &[(CRDT, "shop.Cart", "x"), (CRDT, "shop.Two", "x")]);
}

#[test]
fn without_a_journal_event_sourced_entities_are_refused() {
    let settings = SpecSettings { supported: vec![EntityType::Action, EntityType::Crdt], ..Default::default() };
    let text =
        |kind| ServedSpec::check(&shop(CART, &[(kind, "shop.Cart", "x")]), &settings).expect_err("refused").to_string();
    assert_eq!(
        text(EVENT_SOURCED),
        "Service [shop.Cart] has declared an event sourced entity, however, this proxy does not have a configured \
         store, or is using a store that doesn't support event sourced journals. A store that supports journals \
         must be configured in this stateful services resource if event sourcing is to be used."
    );
    assert_eq!(
        text(VALUE_ENTITY),
        "Service [shop.Cart] has declared an unsupported entity type [cloudstate.valueentity.ValueEntity]. \
         Supported types are cloudstate.crdt.Crdt,cloudstate.action.ActionProtocol"
    );
}

#[test]
fn streamed_methods_are_refused_where_the_type_has_none_and_before_missing_keys() {
    let body = "service S { rpc In(stream Plain) returns (Key); rpc Out(Key) returns (stream Key);
                            rpc Unary(Key) returns (Key); rpc Both(stream Key) returns (stream Key); }";
    for (kind, what) in [(EVENT_SOURCED, "Event sourced"), (VALUE_ENTITY, "Value based")] {
        assert_eq!(
            refused(&shop(body, &[(kind, "shop.S", "x")])),
            format!(
                "{what} entities do not support streamed methods, but shop.S has the following streamed methods: In,Out,Both"
            )
        );
    }
    assert_eq!(
        refused(&shop(body, &[(CRDT, "shop.S", "x")])),
        "CRDT entities do not support streaming in from the client, but shop.S has the following streamed methods: In,Both"
    );
    served(body, &[(ACTION, "shop.S", "")]);
}

#[test]
fn methods_without_key_are_refused_for_entities_with_state() {
    let body = "service S { rpc A(Plain) returns (Key); rpc B(Key) returns (Key);
                            rpc C(google.protobuf.Empty) returns (Key); }";
    for (kind, what) in [(EVENT_SOURCED, "Event sourced"), (VALUE_ENTITY, "Value based"), (CRDT, "CRDT")] {
        assert_eq!(
            refused(&shop(body, &[(kind, "shop.S", "x")])),
            format!(
                "{what} entities do not support methods whose parameters do not have at least one field marked as \
                 entity_key, but shop.S has the following methods without keys: A,C"
            )
        );
    }
    served(body, &[(ACTION, "shop.S", "")]);
    let bytes = "message B { bytes id = 1 [(.cloudstate.entity_key) = true]; } service S { rpc A(B) returns (Key); }";
    let text = refused(&shop(bytes, &[(CRDT, "shop.S", "x")]));
    assert!(text.starts_with("Field [shop.B.id] is marked as entity_key but has type bytes"), "{text}");
}

#[test]
fn options_count_by_number_whatever_they_are_called() {
    let own = r#"syntax = "proto3"; package old; import "google/protobuf/descriptor.proto";
        extend google.protobuf.FieldOptions { bool some_other_name = 50002; }
        extend google.protobuf.MethodOptions { string unrelated = 60000; }
        message M { string b = 2 [(old.some_other_name) = true]; int32 a = 1 [(old.some_other_name) = true]; }
        service S { rpc Get(M) returns (M) { option (old.unrelated) = "x"; } }"#;
    let spec = entity_spec(compile(&[("old.proto", own)]), &[(EVENT_SOURCED, "old.S", "x")]);
    let served = check(&spec).expect("valid");
    // Declaration order, not number order.
    assert_eq!(served.services[0].methods[0].key.extract(b"\x08\x07\x12\x01k").as_deref(), Ok("k-7"));
}

#[test]
fn services_without_a_package_and_messages_named_like_primitives_are_fine() {
    let own = r#"syntax = "proto3"; import "cloudstate/entity_key.proto";
        message string { .string inner = 1; bytes id = 2; }
        message M { bool id = 1 [(cloudstate.entity_key) = true]; .string text = 2; }
        service S { rpc Get(M) returns (.string); }"#;
    let spec = entity_spec(compile(&[("own.proto", own)]), &[(VALUE_ENTITY, "S", "x")]);
    let served = check(&spec).expect("valid");
    let method = served.method("S", "Get").expect("served");
    assert_eq!(method.http[0].template.to_string(), "/S/Get");
    assert_eq!(&*method.output_type_url, "type.googleapis.com/string");
    assert!(method.output.get_field_by_name("inner").is_some(), "the function's own message, not ours");
    assert_eq!(method.key.extract(b"").as_deref(), Ok("false"));
}

#[test]
fn eventing_is_read() {
    let body = r#"service S { rpc On(Plain) returns (Plain) {
        option (.cloudstate.eventing) = { in: { event_log: "cart" consumer_group: "g" } out: { topic: "t" } }; } }"#;
    let spec = shop(body, &[(ACTION, "shop.S", "")]);
    let with_topics = SpecSettings { topics: true, ..SpecSettings::default() };
    let served = ServedSpec::check(&spec, &with_topics).expect("valid");
    let eventing = served.services[0].methods[0].eventing.clone().expect("set");
    let source = Some(EventSource::EventLog("cart".to_owned()));
    assert_eq!(eventing.input, Some(EventInput { consumer_group: "g".to_owned(), source }));
    assert_eq!(eventing.output.expect("set").destination, Some(EventDestination::Topic("t".to_owned())));
}

#[test]
fn replies_cannot_be_published_where_there_is_no_broker() {
    let refused = |options: &str| {
        let body =
            format!("service S {{ rpc On(Plain) returns (Plain) {{ option (.cloudstate.eventing) = {options}; }} }}");
        refused(&shop(&body, &[(ACTION, "shop.S", "")]))
    };
    assert_eq!(
        refused(r#"{ out: { topic: "t" } }"#),
        "Service call [shop.S.On] declares an event destination topic of [t], but no topic support is configured."
    );
    assert_eq!(refused("{ out: {} }"), "Service call [shop.S.On] has declared an event out with no topic.");
    assert_eq!(
        refused(r#"{ in: { topic: "t" } out: { topic: "t" } }"#),
        "Endpoint [shop.S.On] has the same input topic as output topic [t], this is not allowed."
    );
}

// ---- HTTP rules ----

fn http_error(options: &str) -> String {
    let body = format!(
        "message In {{ string id = 1; repeated string many = 2; map<string, string> map = 3; Key inner = 4; }}
         service S {{ rpc Call(In) returns (google.protobuf.Empty) {{ option (google.api.http) = {{ {options} }}; }} }}"
    );
    refused(&shop(&body, &[(ACTION, "shop.S", "")]))
}

#[test]
fn every_mistake_in_an_http_rule_has_its_text() {
    for (rule, text) in [
        ("", "HTTP API Config: Pattern missing for rule [HttpRule(,Empty,,,Vector(),UnknownFieldSet(Map()))]!"),
        (
            r#"selector: "wrongSelector" post: "/x""#,
            "HTTP API Config: Rule selector [wrongSelector] must be empty or [shop.S.Call]",
        ),
        (r#"post: "no/initial/slash""#, "Template must start with a slash at character 1 of 'no/initial/slash'"),
        (r#"custom { kind: "*" }"#, "Template must start with a slash at end of input of ''"),
        (r#"post: "/{many}""#, "HTTP API Config: Repeated parameters [shop.In.many] are not allowed as path variables"),
        (r#"post: "/{map}""#, "HTTP API Config: Map parameters [shop.In.map] are not allowed as path variables"),
        (r#"post: "/{inner}""#, "HTTP API Config: Message path parameters not supported!"),
        (
            r#"post: "/{nope}""#,
            "HTTP API Config: Unknown field name [nope] in type [shop.In] reference in path template for method [shop.S.Call]",
        ),
        (
            r#"post: "/{inner.nope}""#,
            "HTTP API Config: Unknown field name [inner.nope] in type [shop.In] reference in path template for method [shop.S.Call]",
        ),
        (
            r#"custom { kind: "not currently supported" path: "/x" }"#,
            "HTTP API Config: Only Custom patterns with [*] kind supported but [not currently supported] found!",
        ),
        (
            r#"get: "/foo" body: "not-available""#,
            "HTTP API Config: Body configured to [not-available] but that field does not exist on input type.",
        ),
        (
            r#"post: "/foo" body: "many""#,
            "HTTP API Config: Body configured to [many] but that field is a repeated field.",
        ),
        (
            r#"get: "/foo" response_body: "not-available""#,
            "HTTP API Config: Response body field [not-available] does not exist on type [google.protobuf.Empty]",
        ),
        (
            r#"get: "/a" additional_bindings { get: "/b" additional_bindings { get: "/c" } }"#,
            "HTTP API Config: Only one level of additionalBindings supported, but [HttpRule(,Get(/a),,,Vector(\
             HttpRule(,Get(/b),,,Vector(HttpRule(,Get(/c),,,Vector(),UnknownFieldSet(Map()))),UnknownFieldSet(Map()))\
             ),UnknownFieldSet(Map()))] has more than one!",
        ),
    ] {
        assert_eq!(http_error(rule), text, "{rule}");
    }
}

// ---- keys ----

const KEYS: &str = "enum Color { RED = 0; BLUE = 5; }
    message K { double d = 9 [(.cloudstate.entity_key) = true]; string s = 1 [(.cloudstate.entity_key) = true];
        int32 i32 = 2 [(.cloudstate.entity_key) = true]; uint64 u64 = 3 [(.cloudstate.entity_key) = true];
        sint32 s32 = 4 [(.cloudstate.entity_key) = true]; sint64 s64 = 5 [(.cloudstate.entity_key) = true];
        fixed32 f32 = 6 [(.cloudstate.entity_key) = true]; bool b = 7 [(.cloudstate.entity_key) = true];
        Color c = 8 [(.cloudstate.entity_key) = true]; uint32 u32 = 10 [(.cloudstate.entity_key) = true];
        sfixed64 f64 = 11 [(.cloudstate.entity_key) = true]; float f = 12 [(.cloudstate.entity_key) = true];
        bytes noise = 13; repeated int32 more_noise = 14; }
    service S { rpc Get(K) returns (K); rpc One(Key) returns (Key); rpc Pair(Two) returns (Key); }
    message Two { string a = 1 [(.cloudstate.entity_key) = true]; string b = 2 [(.cloudstate.entity_key) = true]; }";

fn key_spec() -> Arc<ServedSpec> {
    static SPEC: LazyLock<Arc<ServedSpec>> = LazyLock::new(|| served(KEYS, &[(EVENT_SOURCED, "shop.S", "x")]));
    SPEC.clone()
}

#[test]
fn keys_join_in_declaration_order_with_defaults_for_what_is_unset() {
    let spec = key_spec();
    let key = |method, payload: &[u8]| spec.method("shop.S", method).expect("served").key.extract(payload);
    assert_eq!(key("Get", b"").as_deref(), Ok("0.0--0-0-0-0-0-false-RED-0-0-0.0"));
    assert_eq!(key("One", b"\x0a\x03a-b").as_deref(), Ok("a-b"));
    assert_eq!(key("One", b"\x0a\x01a\x0a\x01b").as_deref(), Ok("b"), "the last one counts");
    assert_eq!(key("Pair", b"\x0a\x01a\x12\x01b").as_deref(), Ok("a-b"));
    assert_eq!(key("Pair", b"\x0a\x01a").as_deref(), Ok("a-"));
}

#[test]
fn unusable_keys_name_the_field() {
    let spec = key_spec();
    let key = |method, payload: &[u8]| spec.method("shop.S", method).expect("served").key.extract(payload);
    assert_eq!(key("One", b""), Err(KeyError::Empty { field: "id".to_owned() }));
    assert_eq!(key("One", b"\x0a\x00"), Err(KeyError::Empty { field: "id".to_owned() }));
    assert_eq!(key("Pair", b""), Err(KeyError::Empty { field: "a, b".to_owned() }));
    let mut long = Vec::new();
    prost::encoding::string::encode(1, &"x".repeat(KEY_BYTES_MAX + 1), &mut long);
    assert!(matches!(key("One", &long), Err(KeyError::TooLong { length, .. }) if length == KEY_BYTES_MAX + 1));
    for malformed in [&b"\x0a\x05ab"[..], b"\x0a", b"\x08\x01", b"\x0a\x02\xff\xfe", b"\xff\xff\xff\xff\xff\xff"] {
        assert!(matches!(key("One", malformed), Err(KeyError::Malformed { .. })), "{malformed:?}");
    }
}

#[test]
fn floats_read_as_on_the_jvm() {
    let body = "message F { double d = 1 [(.cloudstate.entity_key) = true]; } service S { rpc Get(F) returns (F); }";
    let spec = served(body, &[(CRDT, "shop.S", "x")]);
    for (value, text) in [
        (1.0, "1.0"),
        (-0.5, "-0.5"),
        (1e7, "1.0E7"),
        (1.25e-4, "1.25E-4"),
        (123456.75, "123456.75"),
        (f64::INFINITY, "Infinity"),
        (f64::NAN, "NaN"),
    ] {
        let mut payload = Vec::new();
        prost::encoding::double::encode(1, &value, &mut payload);
        assert_eq!(spec.services[0].methods[0].key.extract(&payload).as_deref(), Ok(text));
    }
}

/// What a key field is by decoding the whole message.
fn by_decoding(message: &DynamicMessage) -> String {
    let mut fields: Vec<_> = message.descriptor_fields().filter(|f| !f.name().contains("noise")).collect();
    fields.sort_by_key(|field| field.path().last().copied());
    let text = |field: &prost_reflect::FieldDescriptor| match (message.get_field(field).as_ref(), field.kind()) {
        (Value::String(text), _) => text.clone(),
        (Value::Bool(value), _) => value.to_string(),
        (Value::I32(value), _) => value.to_string(),
        (Value::I64(value), _) => value.to_string(),
        (Value::U32(value), _) => (*value as i32).to_string(),
        (Value::U64(value), _) => (*value as i64).to_string(),
        (Value::F32(value), _) => format!("{value:?}"),
        (Value::F64(value), _) => format!("{value:?}"),
        (Value::EnumNumber(n), Kind::Enum(values)) => {
            values.get_value(*n).map_or_else(|| n.to_string(), |value| value.name().to_owned())
        }
        other => panic!("{other:?}"),
    };
    fields.iter().map(text).collect::<Vec<_>>().join("-")
}

trait Fields {
    fn descriptor_fields(&self) -> std::vec::IntoIter<prost_reflect::FieldDescriptor>;
}

impl Fields for DynamicMessage {
    fn descriptor_fields(&self) -> std::vec::IntoIter<prost_reflect::FieldDescriptor> {
        prost_reflect::ReflectMessage::descriptor(self).fields().collect::<Vec<_>>().into_iter()
    }
}

proptest! {
    /// Reading single fields off the wire finds what decoding the whole message finds.
    #[test]
    fn keys_are_those_of_the_decoded_message(
        s in "[a-zA-Z0-9 é:/-]{0,12}", i32 in any::<i32>(), u64 in any::<u64>(), s32 in any::<i32>(),
        s64 in any::<i64>(), f32 in any::<u32>(), b in any::<bool>(), c in prop::sample::select(vec![0, 5, 77]),
        u32 in any::<u32>(), f64 in any::<i64>(), d in -1000i32..1000, noise in any::<Vec<u8>>(),
    ) {
        let spec = key_spec();
        let method = spec.method("shop.S", "Get").expect("served");
        let mut message = DynamicMessage::new(method.input.clone());
        for (name, value) in [
            ("s", Value::String(s)), ("i32", Value::I32(i32)), ("u64", Value::U64(u64)), ("s32", Value::I32(s32)),
            ("s64", Value::I64(s64)), ("f32", Value::U32(f32)), ("b", Value::Bool(b)), ("c", Value::EnumNumber(c)),
            ("u32", Value::U32(u32)), ("f64", Value::I64(f64)), ("d", Value::F64(f64::from(d) / 4.0)),
            ("f", Value::F32(d as f32 / 8.0)), ("noise", Value::Bytes(noise.into())),
            ("more_noise", Value::List(vec![Value::I32(i32)])),
        ] {
            message.set_field_by_name(name, value);
        }
        let expected = by_decoding(&message);
        prop_assume!(expected.split('-').all(|part| part != "0.0004"));
        prop_assert_eq!(method.key.extract(&message.encode_to_vec()), Ok(expected));
    }

    #[test]
    fn no_payload_makes_it_panic(payload in any::<Vec<u8>>()) {
        let spec = key_spec();
        let _ = spec.method("shop.S", "Get").expect("served").key.extract(&payload);
    }

    #[test]
    fn no_descriptor_set_makes_it_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        static SPEC: LazyLock<EntitySpec> = LazyLock::new(|| {
            // Without the large descriptor.proto most changes hit something of ours.
            let own = r#"syntax = "proto3"; package p; enum E { A = 0; B = 1; } message K { string id = 1; E e = 2;
                oneof o { int32 x = 3; K y = 4; } map<string, K> m = 5; repeated sint64 r = 6; optional bool q = 7; }
                service S { rpc Get(K) returns (K); rpc Put(stream K) returns (stream K); }"#;
            entity_spec(compile(&[("p.proto", own)]), &[(ACTION, "p.S", "")])
        });
        let mut proto = SPEC.proto.to_vec();
        for (at, byte) in changes {
            let place = at.index(proto.len());
            proto[place] = byte;
        }
        let _ = check(&EntitySpec { proto: proto.into(), ..SPEC.clone() });
    }
}

// ---- coming back ----

#[test]
fn a_function_that_comes_back_may_add_but_not_change() {
    let entities = [(EVENT_SOURCED, "shop.Cart", "cart")];
    let old = served("service Cart { rpc Get(Key) returns (Plain); rpc Set(Key) returns (Plain); }", &entities);
    let with = |body: &str, entities: &[(&str, &str, &str)]| old.compatible_with(&served(body, entities));
    let more =
        "service Cart { rpc Get(Key) returns (Plain); rpc New(Key) returns (Plain); rpc Set(Key) returns (Plain); }";
    assert_eq!(with(more, &entities), Ok(()));
    for (body, entities, text) in [
        (CART, entities, "method [shop.Cart.Set] is no longer offered"),
        (
            "service Cart { rpc Get(Key) returns (Plain); rpc Set(Old) returns (Plain); }",
            entities,
            "method [shop.Cart.Set] changed its input type from [shop.Key] to [shop.Old]",
        ),
        (
            "service Cart { rpc Get(Key) returns (Plain); rpc Set(Key) returns (Plain); }",
            [(EVENT_SOURCED, "shop.Cart", "other")],
            "service [shop.Cart] changed its persistence id from [cart] to [other]",
        ),
        (
            "service Cart { rpc Get(Key) returns (Plain); rpc Set(Key) returns (Plain); }",
            [(VALUE_ENTITY, "shop.Cart", "cart")],
            "service [shop.Cart] changed its entity type from [cloudstate.eventsourced.EventSourced] to \
             [cloudstate.valueentity.ValueEntity]",
        ),
        (
            "service Cart { rpc Get(Key) returns (Plain); rpc Set(Key) returns (stream Plain); }",
            [(CRDT, "shop.Cart", "cart")],
            "service [shop.Cart] changed its entity type from [cloudstate.eventsourced.EventSourced] to [cloudstate.crdt.Crdt]",
        ),
        (
            "service Else { rpc Get(Key) returns (Plain); }",
            [(EVENT_SOURCED, "shop.Else", "cart")],
            "service [shop.Cart] is no longer offered",
        ),
    ] {
        assert_eq!(with(body, &entities), Err(text.to_owned()));
    }
}
