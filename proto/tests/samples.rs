//! What the conformance suite's model services and the sample services must be on the wire.

use super::Schema;

pub(super) const SAMPLES: Schema = Schema {
    files: &[
        ("cloudstate/tck/model/action.proto", "cloudstate.tck.model.action", &["google/api/annotations.proto"]),
        (
            "cloudstate/tck/model/eventsourced.proto",
            "cloudstate.tck.model",
            &["cloudstate/entity_key.proto", "google/api/annotations.proto"],
        ),
        (
            "cloudstate/tck/model/valueentity.proto",
            "cloudstate.tck.model.valueentity",
            &["cloudstate/entity_key.proto", "google/api/annotations.proto"],
        ),
        (
            "cloudstate/tck/model/crdt.proto",
            "cloudstate.tck.model.crdt",
            &["cloudstate/entity_key.proto", "google/api/annotations.proto"],
        ),
        (
            "cloudstate/tck/model/eventlogeventing.proto",
            "cloudstate.tck.model.eventlogeventing",
            &[
                "google/protobuf/any.proto",
                "google/protobuf/empty.proto",
                "cloudstate/eventing.proto",
                "cloudstate/entity_key.proto",
            ],
        ),
        (
            "shoppingcart/shoppingcart.proto",
            "com.example.shoppingcart",
            &[
                "google/protobuf/empty.proto",
                "cloudstate/entity_key.proto",
                "cloudstate/eventing.proto",
                "google/api/annotations.proto",
                "google/api/http.proto",
                "google/api/httpbody.proto",
            ],
        ),
        ("shoppingcart/persistence/domain.proto", "com.example.shoppingcart.persistence", &[]),
        (
            "crdts/crdt-example.proto",
            "com.example.crdts",
            &["cloudstate/entity_key.proto", "google/protobuf/empty.proto"],
        ),
        (
            "valueentity/shoppingcart/shoppingcart.proto",
            "com.example.valueentity.shoppingcart",
            &[
                "google/protobuf/empty.proto",
                "cloudstate/entity_key.proto",
                "cloudstate/eventing.proto",
                "google/api/annotations.proto",
                "google/api/http.proto",
                "google/api/httpbody.proto",
            ],
        ),
        ("valueentity/shoppingcart/persistence/domain.proto", "com.example.valueentity.shoppingcart.persistence", &[]),
    ],
    messages: &[
        ("cloudstate.tck.model.action.Request", &["repeated cloudstate.tck.model.action.ProcessGroup groups = 1"]),
        ("cloudstate.tck.model.action.ProcessGroup", &["repeated cloudstate.tck.model.action.ProcessStep steps = 1"]),
        (
            "cloudstate.tck.model.action.ProcessStep",
            &[
                "cloudstate.tck.model.action.Reply reply = 1 in step",
                "cloudstate.tck.model.action.Forward forward = 2 in step",
                "cloudstate.tck.model.action.Fail fail = 3 in step",
                "cloudstate.tck.model.action.SideEffect effect = 4 in step",
            ],
        ),
        ("cloudstate.tck.model.action.Reply", &["string message = 1"]),
        ("cloudstate.tck.model.action.Forward", &["string id = 1"]),
        ("cloudstate.tck.model.action.Fail", &["string message = 1"]),
        ("cloudstate.tck.model.action.SideEffect", &["string id = 1", "bool synchronous = 2"]),
        ("cloudstate.tck.model.action.Response", &["string message = 1"]),
        ("cloudstate.tck.model.action.OtherRequest", &["string id = 1"]),
        (
            "cloudstate.tck.model.Request",
            &["string id = 1 [entity_key]", "repeated cloudstate.tck.model.RequestAction actions = 2"],
        ),
        (
            "cloudstate.tck.model.RequestAction",
            &[
                "cloudstate.tck.model.Emit emit = 1 in action",
                "cloudstate.tck.model.Forward forward = 2 in action",
                "cloudstate.tck.model.Effect effect = 3 in action",
                "cloudstate.tck.model.Fail fail = 4 in action",
            ],
        ),
        ("cloudstate.tck.model.Emit", &["string value = 1"]),
        ("cloudstate.tck.model.Forward", &["string id = 1"]),
        ("cloudstate.tck.model.Effect", &["string id = 1", "bool synchronous = 2"]),
        ("cloudstate.tck.model.Fail", &["string message = 1"]),
        ("cloudstate.tck.model.Response", &["string message = 1"]),
        ("cloudstate.tck.model.Persisted", &["string value = 1"]),
        (
            "cloudstate.tck.model.valueentity.Request",
            &["string id = 1 [entity_key]", "repeated cloudstate.tck.model.valueentity.RequestAction actions = 2"],
        ),
        (
            "cloudstate.tck.model.valueentity.RequestAction",
            &[
                "cloudstate.tck.model.valueentity.Update update = 1 in action",
                "cloudstate.tck.model.valueentity.Delete delete = 2 in action",
                "cloudstate.tck.model.valueentity.Forward forward = 3 in action",
                "cloudstate.tck.model.valueentity.Effect effect = 4 in action",
                "cloudstate.tck.model.valueentity.Fail fail = 5 in action",
            ],
        ),
        ("cloudstate.tck.model.valueentity.Update", &["string value = 1"]),
        ("cloudstate.tck.model.valueentity.Delete", &[]),
        ("cloudstate.tck.model.valueentity.Forward", &["string id = 1"]),
        ("cloudstate.tck.model.valueentity.Effect", &["string id = 1", "bool synchronous = 2"]),
        ("cloudstate.tck.model.valueentity.Fail", &["string message = 1"]),
        ("cloudstate.tck.model.valueentity.Response", &["string message = 1"]),
        ("cloudstate.tck.model.valueentity.Persisted", &["string value = 1"]),
        (
            "cloudstate.tck.model.crdt.Request",
            &["string id = 1 [entity_key]", "repeated cloudstate.tck.model.crdt.RequestAction actions = 2"],
        ),
        (
            "cloudstate.tck.model.crdt.StreamedRequest",
            &[
                "string id = 1 [entity_key]",
                "cloudstate.tck.model.crdt.State end_state = 2",
                "cloudstate.tck.model.crdt.Update cancel_update = 3",
                "repeated cloudstate.tck.model.crdt.Effect effects = 4",
                "cloudstate.tck.model.crdt.Update initial_update = 5",
                "bool empty = 6",
            ],
        ),
        (
            "cloudstate.tck.model.crdt.RequestAction",
            &[
                "cloudstate.tck.model.crdt.Update update = 1 in action",
                "cloudstate.tck.model.crdt.Delete delete = 2 in action",
                "cloudstate.tck.model.crdt.Forward forward = 3 in action",
                "cloudstate.tck.model.crdt.Fail fail = 4 in action",
                "cloudstate.tck.model.crdt.Effect effect = 5 in action",
            ],
        ),
        (
            "cloudstate.tck.model.crdt.Update",
            &[
                "cloudstate.tck.model.crdt.GCounterUpdate gcounter = 1 in update",
                "cloudstate.tck.model.crdt.PNCounterUpdate pncounter = 2 in update",
                "cloudstate.tck.model.crdt.GSetUpdate gset = 3 in update",
                "cloudstate.tck.model.crdt.ORSetUpdate orset = 4 in update",
                "cloudstate.tck.model.crdt.LWWRegisterUpdate lwwregister = 5 in update",
                "cloudstate.tck.model.crdt.FlagUpdate flag = 6 in update",
                "cloudstate.tck.model.crdt.ORMapUpdate ormap = 7 in update",
                "cloudstate.tck.model.crdt.VoteUpdate vote = 8 in update",
                "cloudstate.tck.model.crdt.UpdateWriteConsistency write_consistency = 9",
            ],
        ),
        ("cloudstate.tck.model.crdt.GCounterUpdate", &["uint64 increment = 1"]),
        ("cloudstate.tck.model.crdt.PNCounterUpdate", &["sint64 change = 1"]),
        ("cloudstate.tck.model.crdt.GSetUpdate", &["string add = 1"]),
        (
            "cloudstate.tck.model.crdt.ORSetUpdate",
            &["string add = 1 in action", "string remove = 2 in action", "bool clear = 3 in action"],
        ),
        (
            "cloudstate.tck.model.crdt.LWWRegisterUpdate",
            &["string value = 1", "cloudstate.tck.model.crdt.LWWRegisterClock clock = 2"],
        ),
        (
            "cloudstate.tck.model.crdt.LWWRegisterClock",
            &["cloudstate.tck.model.crdt.LWWRegisterClockType clockType = 1", "int64 customClockValue = 2"],
        ),
        ("cloudstate.tck.model.crdt.FlagUpdate", &[]),
        (
            "cloudstate.tck.model.crdt.ORMapUpdate",
            &[
                "string add = 1 in action",
                "cloudstate.tck.model.crdt.ORMapEntryUpdate update = 2 in action",
                "string remove = 3 in action",
                "bool clear = 4 in action",
            ],
        ),
        (
            "cloudstate.tck.model.crdt.ORMapEntryUpdate",
            &["string key = 1", "cloudstate.tck.model.crdt.Update update = 2"],
        ),
        ("cloudstate.tck.model.crdt.VoteUpdate", &["bool self_vote = 1"]),
        ("cloudstate.tck.model.crdt.Delete", &[]),
        ("cloudstate.tck.model.crdt.Forward", &["string id = 1"]),
        ("cloudstate.tck.model.crdt.Fail", &["string message = 1"]),
        ("cloudstate.tck.model.crdt.Effect", &["string id = 1", "bool synchronous = 2"]),
        ("cloudstate.tck.model.crdt.Response", &["cloudstate.tck.model.crdt.State state = 1"]),
        (
            "cloudstate.tck.model.crdt.State",
            &[
                "cloudstate.tck.model.crdt.GCounterValue gcounter = 1 in value",
                "cloudstate.tck.model.crdt.PNCounterValue pncounter = 2 in value",
                "cloudstate.tck.model.crdt.GSetValue gset = 3 in value",
                "cloudstate.tck.model.crdt.ORSetValue orset = 4 in value",
                "cloudstate.tck.model.crdt.LWWRegisterValue lwwregister = 5 in value",
                "cloudstate.tck.model.crdt.FlagValue flag = 6 in value",
                "cloudstate.tck.model.crdt.ORMapValue ormap = 7 in value",
                "cloudstate.tck.model.crdt.VoteValue vote = 8 in value",
            ],
        ),
        ("cloudstate.tck.model.crdt.GCounterValue", &["uint64 value = 1"]),
        ("cloudstate.tck.model.crdt.PNCounterValue", &["int64 value = 1"]),
        ("cloudstate.tck.model.crdt.GSetValue", &["repeated string elements = 1"]),
        ("cloudstate.tck.model.crdt.ORSetValue", &["repeated string elements = 1"]),
        ("cloudstate.tck.model.crdt.LWWRegisterValue", &["string value = 1"]),
        ("cloudstate.tck.model.crdt.FlagValue", &["bool value = 1"]),
        ("cloudstate.tck.model.crdt.ORMapValue", &["repeated cloudstate.tck.model.crdt.ORMapEntryValue entries = 1"]),
        ("cloudstate.tck.model.crdt.ORMapEntryValue", &["string key = 1", "cloudstate.tck.model.crdt.State value = 2"]),
        (
            "cloudstate.tck.model.crdt.VoteValue",
            &["bool self_vote = 1", "int32 votes_for = 2", "int32 total_voters = 3"],
        ),
        (
            "cloudstate.tck.model.eventlogeventing.EmitEventRequest",
            &[
                "string id = 1 [entity_key]",
                "cloudstate.tck.model.eventlogeventing.EventOne event_one = 2 in event",
                "cloudstate.tck.model.eventlogeventing.EventTwo event_two = 3 in event",
            ],
        ),
        (
            "cloudstate.tck.model.eventlogeventing.EventOne",
            &["cloudstate.tck.model.eventlogeventing.ProcessStep step = 2"],
        ),
        (
            "cloudstate.tck.model.eventlogeventing.EventTwo",
            &["repeated cloudstate.tck.model.eventlogeventing.ProcessStep step = 2"],
        ),
        ("cloudstate.tck.model.eventlogeventing.JsonEvent", &["string id = 1 [entity_key]", "string message = 2"]),
        (
            "cloudstate.tck.model.eventlogeventing.ProcessStep",
            &[
                "cloudstate.tck.model.eventlogeventing.Reply reply = 1 in step",
                "cloudstate.tck.model.eventlogeventing.Forward forward = 2 in step",
            ],
        ),
        ("cloudstate.tck.model.eventlogeventing.Reply", &["string message = 1"]),
        ("cloudstate.tck.model.eventlogeventing.Forward", &["string message = 1"]),
        ("cloudstate.tck.model.eventlogeventing.Response", &["string id = 1", "string message = 2"]),
        ("cloudstate.tck.model.eventlogeventing.EffectRequest", &["string id = 1", "string message = 2"]),
        (
            "com.example.shoppingcart.AddLineItem",
            &["string user_id = 1 [entity_key]", "string product_id = 2", "string name = 3", "int32 quantity = 4"],
        ),
        ("com.example.shoppingcart.RemoveLineItem", &["string user_id = 1 [entity_key]", "string product_id = 2"]),
        ("com.example.shoppingcart.GetShoppingCart", &["string user_id = 1 [entity_key]"]),
        ("com.example.shoppingcart.LineItem", &["string product_id = 1", "string name = 2", "int32 quantity = 3"]),
        ("com.example.shoppingcart.Cart", &["repeated com.example.shoppingcart.LineItem items = 1"]),
        (
            "com.example.shoppingcart.persistence.LineItem",
            &["string productId = 1", "string name = 2", "int32 quantity = 3"],
        ),
        ("com.example.shoppingcart.persistence.ItemAdded", &["com.example.shoppingcart.persistence.LineItem item = 1"]),
        ("com.example.shoppingcart.persistence.ItemRemoved", &["string productId = 1"]),
        (
            "com.example.shoppingcart.persistence.Cart",
            &["repeated com.example.shoppingcart.persistence.LineItem items = 1"],
        ),
        ("com.example.crdts.UpdateCounter", &["string key = 1 [entity_key]", "int64 value = 2"]),
        ("com.example.crdts.CounterValue", &["int64 value = 1"]),
        ("com.example.crdts.Get", &["string key = 1 [entity_key]"]),
        ("com.example.crdts.SomeValue", &["string key = 1", "string description = 2"]),
        (
            "com.example.crdts.MutateSet",
            &[
                "string key = 1 [entity_key]",
                "bool clear = 2",
                "repeated com.example.crdts.SomeValue remove = 3",
                "repeated com.example.crdts.SomeValue add = 4",
            ],
        ),
        ("com.example.crdts.SetSize", &["int32 size = 1"]),
        ("com.example.crdts.SetValue", &["repeated com.example.crdts.SomeValue items = 1"]),
        ("com.example.crdts.User", &["string name = 1 [entity_key]"]),
        ("com.example.crdts.OnlineStatus", &["bool online = 1"]),
        (
            "com.example.valueentity.shoppingcart.AddLineItem",
            &["string user_id = 1 [entity_key]", "string product_id = 2", "string name = 3", "int32 quantity = 4"],
        ),
        (
            "com.example.valueentity.shoppingcart.RemoveLineItem",
            &["string user_id = 1 [entity_key]", "string product_id = 2"],
        ),
        ("com.example.valueentity.shoppingcart.GetShoppingCart", &["string user_id = 1 [entity_key]"]),
        ("com.example.valueentity.shoppingcart.RemoveShoppingCart", &["string user_id = 1 [entity_key]"]),
        (
            "com.example.valueentity.shoppingcart.LineItem",
            &["string product_id = 1", "string name = 2", "int32 quantity = 3"],
        ),
        (
            "com.example.valueentity.shoppingcart.Cart",
            &["repeated com.example.valueentity.shoppingcart.LineItem items = 1"],
        ),
        (
            "com.example.valueentity.shoppingcart.persistence.LineItem",
            &["string productId = 1", "string name = 2", "int32 quantity = 3"],
        ),
        (
            "com.example.valueentity.shoppingcart.persistence.Cart",
            &["repeated com.example.valueentity.shoppingcart.persistence.LineItem items = 1"],
        ),
    ],
    enums: &[
        (
            "cloudstate.tck.model.crdt.LWWRegisterClockType",
            &["DEFAULT = 0", "REVERSE = 1", "CUSTOM = 2", "CUSTOM_AUTO_INCREMENT = 3"],
        ),
        ("cloudstate.tck.model.crdt.UpdateWriteConsistency", &["LOCAL = 0", "MAJORITY = 1", "ALL = 2"]),
    ],
    services: &[
        (
            "cloudstate.tck.model.action.ActionTckModel",
            &[
                "ProcessUnary(cloudstate.tck.model.action.Request) returns (cloudstate.tck.model.action.Response)",
                "ProcessStreamedIn(stream cloudstate.tck.model.action.Request) returns (cloudstate.tck.model.action.Response)",
                "ProcessStreamedOut(cloudstate.tck.model.action.Request) returns (stream cloudstate.tck.model.action.Response)",
                "ProcessStreamed(stream cloudstate.tck.model.action.Request) returns (stream cloudstate.tck.model.action.Response)",
            ],
        ),
        (
            "cloudstate.tck.model.action.ActionTwo",
            &["Call(cloudstate.tck.model.action.OtherRequest) returns (cloudstate.tck.model.action.Response)"],
        ),
        (
            "cloudstate.tck.model.EventSourcedTckModel",
            &["Process(cloudstate.tck.model.Request) returns (cloudstate.tck.model.Response)"],
        ),
        (
            "cloudstate.tck.model.EventSourcedTwo",
            &["Call(cloudstate.tck.model.Request) returns (cloudstate.tck.model.Response)"],
        ),
        (
            "cloudstate.tck.model.EventSourcedConfigured",
            &["Call(cloudstate.tck.model.Request) returns (cloudstate.tck.model.Response)"],
        ),
        (
            "cloudstate.tck.model.valueentity.ValueEntityTckModel",
            &["Process(cloudstate.tck.model.valueentity.Request) returns (cloudstate.tck.model.valueentity.Response)"],
        ),
        (
            "cloudstate.tck.model.valueentity.ValueEntityTwo",
            &["Call(cloudstate.tck.model.valueentity.Request) returns (cloudstate.tck.model.valueentity.Response)"],
        ),
        (
            "cloudstate.tck.model.valueentity.ValueEntityConfigured",
            &["Call(cloudstate.tck.model.valueentity.Request) returns (cloudstate.tck.model.valueentity.Response)"],
        ),
        (
            "cloudstate.tck.model.crdt.CrdtTckModel",
            &[
                "Process(cloudstate.tck.model.crdt.Request) returns (cloudstate.tck.model.crdt.Response)",
                "ProcessStreamed(cloudstate.tck.model.crdt.StreamedRequest) returns (stream cloudstate.tck.model.crdt.Response)",
            ],
        ),
        (
            "cloudstate.tck.model.crdt.CrdtTwo",
            &["Call(cloudstate.tck.model.crdt.Request) returns (cloudstate.tck.model.crdt.Response)"],
        ),
        (
            "cloudstate.tck.model.crdt.CrdtConfigured",
            &["Call(cloudstate.tck.model.crdt.Request) returns (cloudstate.tck.model.crdt.Response)"],
        ),
        (
            "cloudstate.tck.model.eventlogeventing.EventLogSubscriberModel",
            &[
                "ProcessEventOne(cloudstate.tck.model.eventlogeventing.EventOne) returns (cloudstate.tck.model.eventlogeventing.Response)",
                "ProcessEventTwo(cloudstate.tck.model.eventlogeventing.EventTwo) returns (stream cloudstate.tck.model.eventlogeventing.Response)",
                "Effect(cloudstate.tck.model.eventlogeventing.EffectRequest) returns (cloudstate.tck.model.eventlogeventing.Response)",
                "ProcessAnyEvent(google.protobuf.Any) returns (cloudstate.tck.model.eventlogeventing.Response)",
            ],
        ),
        (
            "cloudstate.tck.model.eventlogeventing.EventSourcedEntityOne",
            &["EmitEvent(cloudstate.tck.model.eventlogeventing.EmitEventRequest) returns (google.protobuf.Empty)"],
        ),
        (
            "cloudstate.tck.model.eventlogeventing.EventSourcedEntityTwo",
            &["EmitJsonEvent(cloudstate.tck.model.eventlogeventing.JsonEvent) returns (google.protobuf.Empty)"],
        ),
        (
            "com.example.shoppingcart.ShoppingCart",
            &[
                "AddItem(com.example.shoppingcart.AddLineItem) returns (google.protobuf.Empty)",
                "RemoveItem(com.example.shoppingcart.RemoveLineItem) returns (google.protobuf.Empty)",
                "GetCart(com.example.shoppingcart.GetShoppingCart) returns (com.example.shoppingcart.Cart)",
            ],
        ),
        (
            "com.example.crdts.CrdtExample",
            &[
                "IncrementGCounter(com.example.crdts.UpdateCounter) returns (com.example.crdts.CounterValue)",
                "GetGCounter(com.example.crdts.Get) returns (com.example.crdts.CounterValue)",
                "UpdatePNCounter(com.example.crdts.UpdateCounter) returns (com.example.crdts.CounterValue)",
                "GetPNCounter(com.example.crdts.Get) returns (com.example.crdts.CounterValue)",
                "MutateGSet(com.example.crdts.MutateSet) returns (com.example.crdts.SetSize)",
                "GetGSet(com.example.crdts.Get) returns (com.example.crdts.SetValue)",
                "MutateORSet(com.example.crdts.MutateSet) returns (com.example.crdts.SetSize)",
                "GetORSet(com.example.crdts.Get) returns (com.example.crdts.SetValue)",
                "Connect(com.example.crdts.User) returns (stream google.protobuf.Empty)",
                "Monitor(com.example.crdts.User) returns (stream com.example.crdts.OnlineStatus)",
            ],
        ),
        (
            "com.example.valueentity.shoppingcart.ShoppingCart",
            &[
                "AddItem(com.example.valueentity.shoppingcart.AddLineItem) returns (google.protobuf.Empty)",
                "RemoveItem(com.example.valueentity.shoppingcart.RemoveLineItem) returns (google.protobuf.Empty)",
                "GetCart(com.example.valueentity.shoppingcart.GetShoppingCart) returns (com.example.valueentity.shoppingcart.Cart)",
                "RemoveCart(com.example.valueentity.shoppingcart.RemoveShoppingCart) returns (google.protobuf.Empty)",
            ],
        ),
    ],
    extensions: &[],
};
