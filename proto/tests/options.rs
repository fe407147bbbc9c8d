//! Options survive in the exported descriptor sets, as generated code reads them.

use std::collections::BTreeMap;

use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, ReflectMessage};
use proto::cloudstate::{Eventing, event_source::Source};
use proto::google::api::{HttpRule, http_rule::Pattern};

#[test]
fn http_rules_and_event_sources_are_kept() {
    let pool = DescriptorPool::decode(proto::model::FILE_DESCRIPTOR_SET).expect("a complete descriptor set");
    let mut found = BTreeMap::new();
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let http = option(&method, "google.api.http").map(|rule| http(&rule.transcode_to().expect("an HttpRule")));
        let eventing = option(&method, "cloudstate.eventing").map(|e| eventing(e.transcode_to().expect("an Eventing")));
        for text in http.into_iter().chain(eventing) {
            let name = method.full_name().to_owned();
            assert!(found.insert(name, text).is_none(), "{} has both options", method.full_name());
        }
    }

    let expected = [
        ("cloudstate.tck.model.action.ActionTckModel.ProcessUnary", "post /tck/model/action/unary body *"),
        ("cloudstate.tck.model.EventSourcedTckModel.Process", "post /tck/model/eventsourced/{id} body *"),
        ("cloudstate.tck.model.valueentity.ValueEntityTckModel.Process", "post /tck/model/entity/{id} body *"),
        ("cloudstate.tck.model.crdt.CrdtTckModel.Process", "post /tck/model/crdt/{id} body *"),
        ("cloudstate.tck.model.eventlogeventing.EventLogSubscriberModel.ProcessEventOne", "in eventlogeventing-one"),
        ("cloudstate.tck.model.eventlogeventing.EventLogSubscriberModel.ProcessEventTwo", "in eventlogeventing-one"),
        ("cloudstate.tck.model.eventlogeventing.EventLogSubscriberModel.ProcessAnyEvent", "in eventlogeventing-two"),
        ("com.example.shoppingcart.ShoppingCart.AddItem", "post /cart/{user_id}/items/add body *"),
        ("com.example.shoppingcart.ShoppingCart.RemoveItem", "post /cart/{user_id}/items/{product_id}/remove"),
        (
            "com.example.shoppingcart.ShoppingCart.GetCart",
            "get /carts/{user_id}, get /carts/{user_id}/items response_body items",
        ),
        ("com.example.valueentity.shoppingcart.ShoppingCart.AddItem", "post /ve/cart/{user_id}/items/add body *"),
        (
            "com.example.valueentity.shoppingcart.ShoppingCart.RemoveItem",
            "post /ve/cart/{user_id}/items/{product_id}/remove",
        ),
        (
            "com.example.valueentity.shoppingcart.ShoppingCart.GetCart",
            "get /ve/carts/{user_id}, get /ve/carts/{user_id}/items response_body items",
        ),
        ("com.example.valueentity.shoppingcart.ShoppingCart.RemoveCart", "post /ve/carts/{user_id}/remove"),
    ];
    assert_eq!(found, expected.map(|(method, text)| (method.to_owned(), text.to_owned())).into());
}

fn option(method: &MethodDescriptor, name: &str) -> Option<DynamicMessage> {
    let options = method.options();
    // A set without eventing has no such option to look for.
    let extension = options.descriptor().get_extension_by_full_name(name)?;
    options
        .has_extension(&extension)
        .then(|| options.get_extension(&extension).as_message().expect("a message").clone())
}

fn http(rule: &HttpRule) -> String {
    let mut text = match rule.pattern.as_ref().expect("a pattern") {
        Pattern::Get(path) => format!("get {path}"),
        Pattern::Post(path) => format!("post {path}"),
        other => panic!("no service here has {other:?}"),
    };
    if !rule.body.is_empty() {
        text += &format!(" body {}", rule.body);
    }
    if !rule.response_body.is_empty() {
        text += &format!(" response_body {}", rule.response_body);
    }
    rule.additional_bindings.iter().fold(text, |text, more| format!("{text}, {}", http(more)))
}

fn eventing(eventing: Eventing) -> String {
    assert_eq!(eventing.out, None);
    match eventing.r#in.and_then(|source| source.source) {
        Some(Source::EventLog(log)) => format!("in {log}"),
        other => panic!("no service here has {other:?}"),
    }
}
