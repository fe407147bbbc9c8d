//! What the protocol between sidecar and user function, and the options of the front end, must be on the wire.

use super::Schema;

pub(super) const PROTOCOL: Schema = Schema {
    files: &[
        (
            "cloudstate/entity.proto",
            "cloudstate",
            &["google/protobuf/any.proto", "google/protobuf/empty.proto", "google/protobuf/descriptor.proto"],
        ),
        (
            "cloudstate/event_sourced.proto",
            "cloudstate.eventsourced",
            &["google/protobuf/any.proto", "cloudstate/entity.proto"],
        ),
        (
            "cloudstate/value_entity.proto",
            "cloudstate.valueentity",
            &["google/protobuf/any.proto", "cloudstate/entity.proto"],
        ),
        ("cloudstate/crdt.proto", "cloudstate.crdt", &["google/protobuf/any.proto", "cloudstate/entity.proto"]),
        ("cloudstate/action.proto", "cloudstate.action", &["google/protobuf/any.proto", "cloudstate/entity.proto"]),
        ("cloudstate/entity_key.proto", "cloudstate", &["google/protobuf/descriptor.proto"]),
        ("cloudstate/legacy_entity_key.proto", "cloudstate", &["google/protobuf/descriptor.proto"]),
        ("cloudstate/eventing.proto", "cloudstate", &["google/protobuf/descriptor.proto"]),
        ("google/api/annotations.proto", "google.api", &["google/api/http.proto", "google/protobuf/descriptor.proto"]),
        ("google/api/http.proto", "google.api", &[]),
        ("google/api/httpbody.proto", "google.api", &["google/protobuf/any.proto"]),
    ],
    messages: &[
        ("cloudstate.Metadata", &["repeated cloudstate.MetadataEntry entries = 1"]),
        (
            "cloudstate.MetadataEntry",
            &["string key = 1", "string string_value = 2 in value", "bytes bytes_value = 3 in value"],
        ),
        ("cloudstate.Reply", &["google.protobuf.Any payload = 1", "cloudstate.Metadata metadata = 2"]),
        (
            "cloudstate.Forward",
            &[
                "string service_name = 1",
                "string command_name = 2",
                "google.protobuf.Any payload = 3",
                "cloudstate.Metadata metadata = 4",
            ],
        ),
        (
            "cloudstate.ClientAction",
            &[
                "cloudstate.Reply reply = 1 in action",
                "cloudstate.Forward forward = 2 in action",
                "cloudstate.Failure failure = 3 in action",
            ],
        ),
        (
            "cloudstate.SideEffect",
            &[
                "string service_name = 1",
                "string command_name = 2",
                "google.protobuf.Any payload = 3",
                "bool synchronous = 4",
                "cloudstate.Metadata metadata = 5",
            ],
        ),
        (
            "cloudstate.Command",
            &[
                "string entity_id = 1",
                "int64 id = 2",
                "string name = 3",
                "google.protobuf.Any payload = 4",
                "bool streamed = 5",
                "cloudstate.Metadata metadata = 6",
            ],
        ),
        ("cloudstate.StreamCancelled", &["string entity_id = 1", "int64 id = 2"]),
        ("cloudstate.Failure", &["int64 command_id = 1", "string description = 2", "bool restart = 3"]),
        (
            "cloudstate.EntitySpec",
            &["bytes proto = 1", "repeated cloudstate.Entity entities = 2", "cloudstate.ServiceInfo service_info = 3"],
        ),
        (
            "cloudstate.ServiceInfo",
            &[
                "string service_name = 1",
                "string service_version = 2",
                "string service_runtime = 3",
                "string support_library_name = 4",
                "string support_library_version = 5",
                "int32 protocol_major_version = 6",
                "int32 protocol_minor_version = 7",
            ],
        ),
        (
            "cloudstate.Entity",
            &[
                "string entity_type = 1",
                "string service_name = 2",
                "string persistence_id = 3",
                "cloudstate.EntityPassivationStrategy passivation_strategy = 4",
            ],
        ),
        ("cloudstate.EntityPassivationStrategy", &["cloudstate.TimeoutPassivationStrategy timeout = 1 in strategy"]),
        ("cloudstate.TimeoutPassivationStrategy", &["int64 timeout = 1"]),
        ("cloudstate.UserFunctionError", &["string message = 1"]),
        (
            "cloudstate.ProxyInfo",
            &[
                "int32 protocol_major_version = 1",
                "int32 protocol_minor_version = 2",
                "string proxy_name = 3",
                "string proxy_version = 4",
                "repeated string supported_entity_types = 5",
            ],
        ),
        (
            "cloudstate.eventsourced.EventSourcedInit",
            &[
                "string service_name = 1",
                "string entity_id = 2",
                "cloudstate.eventsourced.EventSourcedSnapshot snapshot = 3",
            ],
        ),
        (
            "cloudstate.eventsourced.EventSourcedSnapshot",
            &["int64 snapshot_sequence = 1", "google.protobuf.Any snapshot = 2"],
        ),
        ("cloudstate.eventsourced.EventSourcedEvent", &["int64 sequence = 1", "google.protobuf.Any payload = 2"]),
        (
            "cloudstate.eventsourced.EventSourcedReply",
            &[
                "int64 command_id = 1",
                "cloudstate.ClientAction client_action = 2",
                "repeated cloudstate.SideEffect side_effects = 3",
                "repeated google.protobuf.Any events = 4",
                "google.protobuf.Any snapshot = 5",
            ],
        ),
        (
            "cloudstate.eventsourced.EventSourcedStreamIn",
            &[
                "cloudstate.eventsourced.EventSourcedInit init = 1 in message",
                "cloudstate.eventsourced.EventSourcedEvent event = 2 in message",
                "cloudstate.Command command = 3 in message",
            ],
        ),
        (
            "cloudstate.eventsourced.EventSourcedStreamOut",
            &[
                "cloudstate.eventsourced.EventSourcedReply reply = 1 in message",
                "cloudstate.Failure failure = 2 in message",
            ],
        ),
        (
            "cloudstate.valueentity.ValueEntityStreamIn",
            &[
                "cloudstate.valueentity.ValueEntityInit init = 1 in message",
                "cloudstate.Command command = 2 in message",
            ],
        ),
        (
            "cloudstate.valueentity.ValueEntityInit",
            &[
                "string service_name = 1",
                "string entity_id = 2",
                "cloudstate.valueentity.ValueEntityInitState state = 3",
            ],
        ),
        ("cloudstate.valueentity.ValueEntityInitState", &["google.protobuf.Any value = 1"]),
        (
            "cloudstate.valueentity.ValueEntityStreamOut",
            &[
                "cloudstate.valueentity.ValueEntityReply reply = 1 in message",
                "cloudstate.Failure failure = 2 in message",
            ],
        ),
        (
            "cloudstate.valueentity.ValueEntityReply",
            &[
                "int64 command_id = 1",
                "cloudstate.ClientAction client_action = 2",
                "repeated cloudstate.SideEffect side_effects = 3",
                "cloudstate.valueentity.ValueEntityAction state_action = 4",
            ],
        ),
        (
            "cloudstate.valueentity.ValueEntityAction",
            &[
                "cloudstate.valueentity.ValueEntityUpdate update = 1 in action",
                "cloudstate.valueentity.ValueEntityDelete delete = 2 in action",
            ],
        ),
        ("cloudstate.valueentity.ValueEntityUpdate", &["google.protobuf.Any value = 1"]),
        ("cloudstate.valueentity.ValueEntityDelete", &[]),
        (
            "cloudstate.crdt.CrdtStreamIn",
            &[
                "cloudstate.crdt.CrdtInit init = 1 in message",
                "cloudstate.crdt.CrdtDelta delta = 2 in message",
                "cloudstate.crdt.CrdtDelete delete = 3 in message",
                "cloudstate.Command command = 4 in message",
                "cloudstate.StreamCancelled stream_cancelled = 5 in message",
            ],
        ),
        (
            "cloudstate.crdt.CrdtStreamOut",
            &[
                "cloudstate.crdt.CrdtReply reply = 1 in message",
                "cloudstate.crdt.CrdtStreamedMessage streamed_message = 2 in message",
                "cloudstate.crdt.CrdtStreamCancelledResponse stream_cancelled_response = 3 in message",
                "cloudstate.Failure failure = 4 in message",
            ],
        ),
        (
            "cloudstate.crdt.CrdtDelta",
            &[
                "cloudstate.crdt.GCounterDelta gcounter = 1 in delta",
                "cloudstate.crdt.PNCounterDelta pncounter = 2 in delta",
                "cloudstate.crdt.GSetDelta gset = 3 in delta",
                "cloudstate.crdt.ORSetDelta orset = 4 in delta",
                "cloudstate.crdt.LWWRegisterDelta lwwregister = 5 in delta",
                "cloudstate.crdt.FlagDelta flag = 6 in delta",
                "cloudstate.crdt.ORMapDelta ormap = 7 in delta",
                "cloudstate.crdt.VoteDelta vote = 8 in delta",
            ],
        ),
        ("cloudstate.crdt.GCounterDelta", &["uint64 increment = 1"]),
        ("cloudstate.crdt.PNCounterDelta", &["sint64 change = 1"]),
        ("cloudstate.crdt.GSetDelta", &["repeated google.protobuf.Any added = 1"]),
        (
            "cloudstate.crdt.ORSetDelta",
            &["bool cleared = 1", "repeated google.protobuf.Any removed = 2", "repeated google.protobuf.Any added = 3"],
        ),
        (
            "cloudstate.crdt.LWWRegisterDelta",
            &["google.protobuf.Any value = 1", "cloudstate.crdt.CrdtClock clock = 2", "int64 custom_clock_value = 3"],
        ),
        ("cloudstate.crdt.FlagDelta", &["bool value = 1"]),
        (
            "cloudstate.crdt.ORMapDelta",
            &[
                "bool cleared = 1",
                "repeated google.protobuf.Any removed = 2",
                "repeated cloudstate.crdt.ORMapEntryDelta updated = 3",
                "repeated cloudstate.crdt.ORMapEntryDelta added = 4",
            ],
        ),
        ("cloudstate.crdt.ORMapEntryDelta", &["google.protobuf.Any key = 1", "cloudstate.crdt.CrdtDelta delta = 2"]),
        ("cloudstate.crdt.VoteDelta", &["bool self_vote = 1", "int32 votes_for = 2", "int32 total_voters = 3"]),
        (
            "cloudstate.crdt.CrdtInit",
            &["string service_name = 1", "string entity_id = 2", "cloudstate.crdt.CrdtDelta delta = 3"],
        ),
        ("cloudstate.crdt.CrdtDelete", &[]),
        (
            "cloudstate.crdt.CrdtReply",
            &[
                "int64 command_id = 1",
                "cloudstate.ClientAction client_action = 2",
                "repeated cloudstate.SideEffect side_effects = 4",
                "cloudstate.crdt.CrdtStateAction state_action = 5",
                "bool streamed = 6",
            ],
        ),
        (
            "cloudstate.crdt.CrdtStateAction",
            &[
                "cloudstate.crdt.CrdtDelta update = 1 in action",
                "cloudstate.crdt.CrdtDelete delete = 2 in action",
                "cloudstate.crdt.CrdtWriteConsistency write_consistency = 3",
            ],
        ),
        (
            "cloudstate.crdt.CrdtStreamedMessage",
            &[
                "int64 command_id = 1",
                "cloudstate.ClientAction client_action = 2",
                "repeated cloudstate.SideEffect side_effects = 3",
                "bool end_stream = 4",
            ],
        ),
        (
            "cloudstate.crdt.CrdtStreamCancelledResponse",
            &[
                "int64 command_id = 1",
                "repeated cloudstate.SideEffect side_effects = 2",
                "cloudstate.crdt.CrdtStateAction state_action = 3",
            ],
        ),
        (
            "cloudstate.action.ActionCommand",
            &[
                "string service_name = 2",
                "string name = 3",
                "google.protobuf.Any payload = 4",
                "cloudstate.Metadata metadata = 5",
            ],
        ),
        (
            "cloudstate.action.ActionResponse",
            &[
                "cloudstate.Failure failure = 1 in response",
                "cloudstate.Reply reply = 2 in response",
                "cloudstate.Forward forward = 3 in response",
                "repeated cloudstate.SideEffect side_effects = 4",
            ],
        ),
        ("cloudstate.Eventing", &["cloudstate.EventSource in = 1", "cloudstate.EventDestination out = 2"]),
        (
            "cloudstate.EventSource",
            &["string consumer_group = 1", "string topic = 2 in source", "string event_log = 3 in source"],
        ),
        ("cloudstate.EventDestination", &["string topic = 1 in destination"]),
        ("google.api.Http", &["repeated google.api.HttpRule rules = 1", "bool fully_decode_reserved_expansion = 2"]),
        (
            "google.api.HttpRule",
            &[
                "string selector = 1",
                "string get = 2 in pattern",
                "string put = 3 in pattern",
                "string post = 4 in pattern",
                "string delete = 5 in pattern",
                "string patch = 6 in pattern",
                "google.api.CustomHttpPattern custom = 8 in pattern",
                "string body = 7",
                "string response_body = 12",
                "repeated google.api.HttpRule additional_bindings = 11",
            ],
        ),
        ("google.api.CustomHttpPattern", &["string kind = 1", "string path = 2"]),
        (
            "google.api.HttpBody",
            &["string content_type = 1", "bytes data = 2", "repeated google.protobuf.Any extensions = 3"],
        ),
    ],
    enums: &[
        ("cloudstate.crdt.CrdtWriteConsistency", &["LOCAL = 0", "MAJORITY = 1", "ALL = 2"]),
        ("cloudstate.crdt.CrdtClock", &["DEFAULT = 0", "REVERSE = 1", "CUSTOM = 2", "CUSTOM_AUTO_INCREMENT = 3"]),
    ],
    services: &[
        (
            "cloudstate.EntityDiscovery",
            &[
                "discover(cloudstate.ProxyInfo) returns (cloudstate.EntitySpec)",
                "reportError(cloudstate.UserFunctionError) returns (google.protobuf.Empty)",
            ],
        ),
        (
            "cloudstate.eventsourced.EventSourced",
            &[
                "handle(stream cloudstate.eventsourced.EventSourcedStreamIn) returns (stream cloudstate.eventsourced.EventSourcedStreamOut)",
            ],
        ),
        (
            "cloudstate.valueentity.ValueEntity",
            &[
                "handle(stream cloudstate.valueentity.ValueEntityStreamIn) returns (stream cloudstate.valueentity.ValueEntityStreamOut)",
            ],
        ),
        (
            "cloudstate.crdt.Crdt",
            &["handle(stream cloudstate.crdt.CrdtStreamIn) returns (stream cloudstate.crdt.CrdtStreamOut)"],
        ),
        (
            "cloudstate.action.ActionProtocol",
            &[
                "handleUnary(cloudstate.action.ActionCommand) returns (cloudstate.action.ActionResponse)",
                "handleStreamedIn(stream cloudstate.action.ActionCommand) returns (cloudstate.action.ActionResponse)",
                "handleStreamedOut(cloudstate.action.ActionCommand) returns (stream cloudstate.action.ActionResponse)",
                "handleStreamed(stream cloudstate.action.ActionCommand) returns (stream cloudstate.action.ActionResponse)",
            ],
        ),
    ],
    extensions: &[
        ("cloudstate.entity_key", &["bool = 1080 of google.protobuf.FieldOptions"]),
        ("cloudstate.legacy_entity_key", &["bool = 50002 of google.protobuf.FieldOptions"]),
        ("cloudstate.eventing", &["cloudstate.Eventing = 1081 of google.protobuf.MethodOptions"]),
        ("google.api.http", &["google.api.HttpRule = 72295728 of google.protobuf.MethodOptions"]),
    ],
};
