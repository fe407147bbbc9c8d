//! What more than one bench needs: the floors that our own parts are held against.
//!
//! `cargo bench -p benches` runs all: `actors` (`--features peers`: beside other libraries), `cluster`, `journal`, `persistence`, and `sidecar`,
//! which builds the sidecar as it is shipped, starts real processes and takes six minutes; `cargo bench -p benches --bench sidecar -- --quick` is a look
//! in ten seconds, `--help` names the other flags. `cargo test -p benches --benches` runs each once, as short as it can be.
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
