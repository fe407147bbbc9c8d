//! What every group of the suite is made of; knows nothing of single tests.

mod address;
mod arrangement;
mod client;
mod compared;
mod interceptor;
mod passing;
mod process;
mod record;
mod relay;
mod shown;
mod start_error;

pub use address::Address;
pub use arrangement::{Arrangement, Part, Tck};
pub use client::{Conversation, HttpAnswer, HttpClient, connect, expect_failure, expect_one, in_time};
pub use compared::Compared;
pub use interceptor::{ActionMethod, Call, Interceptor};
pub use process::Process;
pub use record::{Direction, Recorded};
pub use shown::shown;
pub use start_error::StartError;

use std::time::Duration;

use actors::Clock;

/// For one expected message, and for one result at the client.
pub const EXPECTATION: Duration = Duration::from_secs(3);

/// From the last reply of an idle entity to the end of its stream.
pub const PASSIVATION: Duration = Duration::from_secs(2);

/// How long the queue of new calls must stay empty after a test.
const QUIET: Duration = Duration::from_millis(10);

/// How long a user function may take to answer its first discovery.
const FUNCTION_START: Duration = Duration::from_secs(60);

/// How long a proxy may take to answer its first request.
const PROXY_START: Duration = Duration::from_secs(10);

/// Between two attempts to reach a process that is starting.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(10);

/// Largest message passed on, in bytes: above any proxy's own limit, so that the interceptor never decides.
const MESSAGE_MAX: usize = 64 << 20;

/// The suite watches other processes, whose time is the real one.
fn clock() -> Clock {
    Clock::tokio()
}

/// The output of `future`, unless it takes longer than `limit`.
async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    clock().timeout(limit, future).await.ok()
}
