//! Why the arrangement does not stand.

use std::io;
use std::process::ExitStatus;

use super::{Address, FUNCTION_START, PROXY_START};

/// Why no test was run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No port, no folder or no file could be had.
    #[error("cannot prepare the tests: {0}")]
    Machine(io::Error),
    /// A command cannot be started.
    #[error("cannot start the {part} with `{command}`: {error}")]
    Command {
        /// Which part.
        part: &'static str,
        /// Its command.
        command: String,
        /// What the operating system says.
        error: io::Error,
    },
    /// A process has ended that should be running.
    #[error("the {part} ended with {status} before the tests\n{last_lines}")]
    Ended {
        /// Which part.
        part: &'static str,
        /// How.
        status: ExitStatus,
        /// The end of what it wrote.
        last_lines: String,
    },
    /// A host name or port that no connection can be made to.
    #[error("{0:#}")]
    Address(anyhow::Error),
    /// The user function does not answer `discover`.
    #[error(
        "the user function at {address} does not answer `discover` within {} s: {reason}; start it there, or set TCK_SERVICE_HOST and TCK_SERVICE_PORT",
        FUNCTION_START.as_secs()
    )]
    FunctionSilent {
        /// Where it was expected.
        address: Address,
        /// What the last attempt gave.
        reason: String,
    },
    /// The interceptor's port is taken or may not be used.
    #[error("the interceptor cannot listen on {address}: {error}; choose another port with --port or TCK_PORT")]
    Port {
        /// Where it was to listen.
        address: Address,
        /// What the operating system says.
        error: io::Error,
    },
    /// The proxy does not answer HTTP requests.
    #[error(
        "the proxy at {address} does not answer `GET /` within {} s: {reason}; start it there, or set TCK_PROXY_HOST and TCK_PROXY_PORT",
        PROXY_START.as_secs()
    )]
    ProxySilent {
        /// Where it was expected.
        address: Address,
        /// What the last attempt gave.
        reason: String,
    },
    /// The proxy runs, but did not discover the user function through the interceptor.
    #[error(
        "the proxy at {proxy} has not called `discover` at the interceptor: {reason}; start it after the suite, with USER_FUNCTION_PORT={} and USER_FUNCTION_HOST if it is elsewhere",
        interceptor.port
    )]
    NotDiscovered {
        /// Where the proxy is.
        proxy: Address,
        /// Where the interceptor is.
        interceptor: Address,
        /// What came instead.
        reason: String,
    },
}
