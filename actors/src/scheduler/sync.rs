//! The atomics of the two protocols that are model checked: std's, or loom's under `cfg(actors_loom)`.

#[cfg(actors_loom)]
pub(super) use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU8, AtomicU64, fence},
};

#[cfg(not(actors_loom))]
pub(super) use self::plain::UnsafeCell;
#[cfg(not(actors_loom))]
pub(super) use std::sync::atomic::{AtomicU8, AtomicU64, fence};

#[cfg(not(actors_loom))]
mod plain {
    /// std's cell with loom's way of asking for the pointer.
    #[derive(Debug)]
    pub(in super::super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(in super::super) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        pub(in super::super) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}
