//! Whether a user function that came back may take over from the one before.

use std::sync::Arc;

use super::{MethodSpec, ServedSpec, ServiceSpec};

impl ServedSpec {
    /// Whether `newer` can be served in place of `self`: every service and method is still there
    /// and means the same to clients and to stored state. More services, methods and message
    /// fields are fine.
    ///
    /// # Errors
    /// The first difference that matters, as a sentence for the user function.
    pub fn compatible_with(&self, newer: &ServedSpec) -> Result<(), String> {
        self.services.iter().try_for_each(|service| {
            let Some(new) = newer.service(&service.name) else {
                return Err(format!("service [{}] is no longer offered", service.name));
            };
            same_service(service, new)?;
            service.methods.iter().try_for_each(|method| match newer.method(&service.name, &method.name) {
                Some(new) => same_method(method, new),
                None => Err(format!("method [{}.{}] is no longer offered", service.name, method.name)),
            })
        })
    }
}

fn same_service(old: &ServiceSpec, new: &ServiceSpec) -> Result<(), String> {
    let changed = |what: &str, from: &dyn std::fmt::Display, to: &dyn std::fmt::Display| {
        Err(format!("service [{}] changed its {what} from [{from}] to [{to}]", old.name))
    };
    if old.entity_type != new.entity_type {
        return changed("entity type", &old.entity_type, &new.entity_type);
    }
    if old.persistence_id != new.persistence_id {
        return changed("persistence id", &old.persistence_id, &new.persistence_id);
    }
    Ok(())
}

fn same_method(old: &Arc<MethodSpec>, new: &Arc<MethodSpec>) -> Result<(), String> {
    let changed = |what: &str, from: &str, to: &str| {
        Err(format!("method [{}.{}] changed its {what} from [{from}] to [{to}]", old.service, old.name))
    };
    if old.input_type_url != new.input_type_url {
        return changed("input type", old.input.full_name(), new.input.full_name());
    }
    if old.output_type_url != new.output_type_url {
        return changed("output type", old.output.full_name(), new.output.full_name());
    }
    if shape(old) != shape(new) {
        return changed("streaming", shape(old), shape(new));
    }
    if old.key.describe() != new.key.describe() {
        return changed("entity key", &old.key.describe(), &new.key.describe());
    }
    Ok(())
}

fn shape(method: &MethodSpec) -> &'static str {
    match (method.client_streaming, method.server_streaming) {
        (false, false) => "unary",
        (true, false) => "client streaming",
        (false, true) => "server streaming",
        (true, true) => "bidirectional",
    }
}
