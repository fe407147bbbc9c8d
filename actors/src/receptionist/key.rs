//! [`ServiceKey`]: the name of a service and the type of message it understands.

use std::any::{TypeId, type_name};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

/// Names a service: a name together with the type of message understood there. Two keys with one name and different
/// types are different keys. Cheap to clone.
pub struct ServiceKey<M> {
    name: Arc<str>,
    message: PhantomData<fn(M)>,
}

impl<M> ServiceKey<M> {
    /// The key of that name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), message: PhantomData }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<M> Clone for ServiceKey<M> {
    fn clone(&self) -> Self {
        Self { name: self.name.clone(), message: PhantomData }
    }
}

impl<M> PartialEq for ServiceKey<M> {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl<M> Eq for ServiceKey<M> {}

impl<M> fmt::Debug for ServiceKey<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceKey<{}>({:?})", type_name::<M>(), self.name)
    }
}

impl<M> fmt::Display for ServiceKey<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A key whose message type is a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeyId {
    pub(super) name: Arc<str>,
    pub(super) message: TypeId,
    pub(super) message_type: &'static str,
}

impl KeyId {
    pub(crate) fn of<M: 'static>(key: &ServiceKey<M>) -> Self {
        Self { name: key.name.clone(), message: TypeId::of::<M>(), message_type: type_name::<M>() }
    }
}
