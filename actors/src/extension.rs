//! What all of a system share without knowing of each other.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// One value of a type each.
#[derive(Default)]
pub(crate) struct Extensions(Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl Extensions {
    pub(crate) fn of<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        if let Some(found) = self.find() {
            return found;
        }
        // Made outside the lock, as making it may ask for another one. Who comes second takes what the first has left.
        let made: Arc<dyn Any + Send + Sync> = Arc::new(T::default());
        let kept = Arc::clone(self.0.lock().entry(TypeId::of::<T>()).or_insert(made));
        kept.downcast().unwrap_or_else(|_| unreachable!("it is kept under its own type"))
    }

    fn find<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let kept = self.0.lock().get(&TypeId::of::<T>()).cloned();
        kept.and_then(|kept| kept.downcast().ok())
    }
}

#[cfg(test)]
mod tests {
    use crate::testkit::TestKit;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    struct Count(AtomicU64);

    #[test]
    fn a_system_has_one_of_each_and_shares_none_with_another() {
        let (kit, other) = (TestKit::new(), TestKit::new());
        kit.system().extension::<Count>().0.fetch_add(1, Ordering::Relaxed);
        kit.system().clone().extension::<Count>().0.fetch_add(1, Ordering::Relaxed);
        assert_eq!(kit.system().extension::<Count>().0.load(Ordering::Relaxed), 2);
        assert_eq!(other.system().extension::<Count>().0.load(Ordering::Relaxed), 0);
    }
}
