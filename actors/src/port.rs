//! [`Port`]: what takes an answer where nobody awaits it, and [`PortRef`], a pointer to any of them that is one word wide. That
//! is for the sake of messages: what says whether a `ReplyTo` leads to a port or to a slot is the other word, of which most
//! values are left over to say which message of an `enum` it is in.
//!
//! # Invariant
//! A reference is the pointer of an `Arc<Ported<T, P>>` with its count, and the table of functions that lies first in there is the
//! one for `T` and `P`.

#![allow(unsafe_code, reason = "an `Arc<dyn …>` is two words wide")]

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::ask::AskError;

/// What takes an answer, or the reason why there is none. Called at most once.
pub(crate) trait Port<T: 'static>: Send + Sync + Sized + 'static {
    fn complete(this: Arc<Ported<T, Self>>, outcome: Result<T, AskError>);
    fn is_closed(&self) -> bool;
}

/// A port, and before it what a reference calls.
#[repr(C)]
pub(crate) struct Ported<T, P> {
    table: TableRef<T>,
    port: P,
}

struct Table<T> {
    complete: unsafe fn(NonNull<TableRef<T>>, Result<T, AskError>),
    is_closed: unsafe fn(NonNull<TableRef<T>>) -> bool,
    clone: unsafe fn(NonNull<TableRef<T>>),
    drop: unsafe fn(NonNull<TableRef<T>>),
}

/// `&'static Table<T>`, which could not be said of any `T`.
#[derive(Clone, Copy)]
struct TableRef<T>(NonNull<Table<T>>);

// SAFETY: a shared reference to functions.
unsafe impl<T> Send for TableRef<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for TableRef<T> {}

impl<T: 'static, P: Port<T>> Ported<T, P> {
    const TABLE: &'static Table<T> = &Table {
        // SAFETY: by the invariant that is the type, and each of these is called as it says there.
        complete: |at, outcome| unsafe { P::complete(Arc::from_raw(at.cast::<Self>().as_ptr()), outcome) },
        // SAFETY: as above; borrowed, so the count stays.
        is_closed: |at| unsafe { at.cast::<Self>().as_ref() }.port.is_closed(),
        // SAFETY: as above.
        clone: |at| unsafe { Arc::increment_strong_count(at.cast::<Self>().as_ptr()) },
        // SAFETY: as above.
        drop: |at| unsafe { drop(Arc::from_raw(at.cast::<Self>().as_ptr())) },
    };

    pub(crate) fn new(port: P) -> Arc<Self> {
        Arc::new(Self { table: TableRef(NonNull::from(Self::TABLE)), port })
    }
}

impl<T, P> Deref for Ported<T, P> {
    type Target = P;

    fn deref(&self) -> &P {
        &self.port
    }
}

/// See the module's documentation.
pub(crate) struct PortRef<T> {
    at: NonNull<TableRef<T>>,
    of: PhantomData<fn(T) -> T>,
}

// SAFETY: a port is both, and so is what counts references to it.
unsafe impl<T> Send for PortRef<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for PortRef<T> {}

impl<T> PortRef<T> {
    pub(crate) fn new<P: Port<T>>(port: Arc<Ported<T, P>>) -> Self
    where
        T: 'static,
    {
        // SAFETY: an `Arc`'s pointer is not null.
        let at = unsafe { NonNull::new_unchecked(Arc::into_raw(port).cast_mut()) };
        Self { at: at.cast(), of: PhantomData }
    }

    fn table(&self) -> &Table<T> {
        // SAFETY: it is alive, and begins with that, which refers to what is there for good.
        unsafe { self.at.as_ref().0.as_ref() }
    }

    pub(crate) fn complete(self, outcome: Result<T, AskError>) {
        let this = ManuallyDrop::new(self);
        // SAFETY: the count goes along, since this is not dropped.
        unsafe { (this.table().complete)(this.at, outcome) }
    }

    pub(crate) fn is_closed(&self) -> bool {
        // SAFETY: alive, as this has a count.
        unsafe { (self.table().is_closed)(self.at) }
    }

    /// Tells it from all others that are there.
    pub(crate) fn address(&self) -> usize {
        self.at.addr().get()
    }
}

impl<T> Clone for PortRef<T> {
    fn clone(&self) -> Self {
        // SAFETY: alive, as this has a count; the new one is that of the clone.
        unsafe { (self.table().clone)(self.at) }
        Self { at: self.at, of: PhantomData }
    }
}

impl<T> Drop for PortRef<T> {
    fn drop(&mut self) {
        // SAFETY: it is this one's count, and not used any more.
        unsafe { (self.table().drop)(self.at) }
    }
}

#[cfg(all(test, not(any(actors_loom, actors_shuttle))))]
mod tests {
    use std::sync::Mutex;

    use super::*;

    struct Noting {
        seen: Arc<Mutex<Vec<Result<String, AskError>>>>,
        closed: bool,
    }

    impl Port<String> for Noting {
        fn complete(this: Arc<Ported<String, Self>>, outcome: Result<String, AskError>) {
            this.seen.lock().unwrap().push(outcome);
        }

        fn is_closed(&self) -> bool {
            self.closed
        }
    }

    #[test]
    fn a_reference_leads_to_its_port_and_counts_as_one() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let refs = [false, true].map(|closed| PortRef::new(Ported::new(Noting { seen: seen.clone(), closed })));
        assert_eq!(refs.each_ref().map(PortRef::is_closed), [false, true]);
        assert_ne!(refs[0].address(), refs[1].address());
        assert_eq!(Arc::strong_count(&seen), 3, "one for each port");
        let [first, second] = refs;
        let again = first.clone();
        assert_eq!(again.address(), first.address());
        first.complete(Ok("done".into()));
        assert_eq!(Arc::strong_count(&seen), 3, "the clone holds the port");
        again.complete(Err(AskError::Timeout));
        drop(second);
        assert_eq!(Arc::strong_count(&seen), 1, "nobody holds either");
        assert_eq!(*seen.lock().unwrap(), [Ok("done".into()), Err(AskError::Timeout)]);
    }
}
