//! What more than one bench needs: the floors that our own parts are held against.
//!
//! A floor does only what the physics of the task ask for. It promises nothing of what makes a real part usable,
//! so it is a bound to measure the distance to, not a design.

mod bare_log;

pub use bare_log::{BareLog, Durability};

/// A runtime as the sidecar has it: a worker a core.
///
/// # Panics
/// When the system starts no thread.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads")
}
