//! What every group of the suite is made of; knows nothing of single tests.

mod client;
mod interceptor;
mod passing;
mod processes;
mod record;
mod relay;
mod report;
mod setup;

pub use client::{Conversation, HttpClient, connect};
pub use interceptor::Interceptor;
pub use processes::{Process, function_binary, start_function, start_sidecar};
pub use record::Recorded;
pub use report::Report;
pub use setup::Setup;

use std::time::Duration;

/// For one expected message, and for one result at the client.
pub const EXPECTATION: Duration = Duration::from_secs(3);

/// From the last reply of an idle entity to the end of its stream.
pub const PASSIVATION: Duration = Duration::from_secs(2);

/// How long the queue of new calls must stay empty after a test.
pub const QUIET: Duration = Duration::from_millis(10);

/// Between two attempts to reach a process that is starting.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(10);

/// Largest message passed on, in bytes: above the sidecar's own limit, so that the interceptor never decides.
pub const MESSAGE_MAX: usize = 64 << 20;
