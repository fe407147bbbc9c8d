//! [`TraceContext`]: which trace a message belongs to, as W3C Trace Context writes it.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;

use super::state::TraceState;

/// The one flag of version 00: the trace is recorded.
const SAMPLED: u8 = 1;
/// Of the second edition: the trace id is random. Handed on as it came.
const RANDOM: u8 = 1 << 1;

/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const LENGTH: usize = 55;

/// A position in a trace: what the headers `traceparent` and `tracestate` of [W3C Trace Context] say.
///
/// [`parse`](FromStr) and [`Display`](fmt::Display) are those of `traceparent`. Made from headers at the edge of a program, and
/// handed on by [`enter`](TraceContext::enter) or [`scope`](TraceContext::scope); inside handlers of actors that are
/// [`traced`](crate::Props::traced) it passes on by itself.
///
/// ```
/// use actors::TraceContext;
///
/// let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let context = TraceContext::from_headers(header, "vendor=1")?;
/// assert!(context.is_sampled());
/// assert_eq!((context.to_string().as_str(), context.state().as_str()), (header, "vendor=1"));
/// # Ok::<(), actors::TraceContextError>(())
/// ```
///
/// [W3C Trace Context]: https://www.w3.org/TR/trace-context/
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: NonZeroU128,
    span_id: NonZeroU64,
    flags: u8,
    state: TraceState,
}

impl TraceContext {
    /// The beginning of a trace.
    pub fn new(trace_id: NonZeroU128, span_id: NonZeroU64, sampled: bool) -> Self {
        Self { trace_id, span_id, flags: if sampled { SAMPLED } else { 0 }, state: TraceState::default() }
    }

    /// What a request's headers say. A `tracestate` that is empty, or not as it has to be, counts as none: it must not make
    /// the trace break. A header that came in several lines is joined with commas.
    ///
    /// # Errors
    /// [`TraceContextError`] says what is wrong with `traceparent`; the request is then handled as if it had none.
    pub fn from_headers(traceparent: &str, tracestate: &str) -> Result<Self, TraceContextError> {
        let context: Self = traceparent.parse()?;
        Ok(context.with_state(tracestate.parse().unwrap_or_default()))
    }

    /// With another [`state`](TraceContext::state).
    #[must_use]
    pub fn with_state(mut self, state: TraceState) -> Self {
        self.state = state;
        self
    }

    /// A span below this one, of the same trace.
    #[must_use]
    pub fn child(&self, span_id: NonZeroU64) -> Self {
        Self { span_id, ..self.clone() }
    }

    /// Which trace. Written with 32 hexadecimal digits.
    pub fn trace_id(&self) -> NonZeroU128 {
        self.trace_id
    }

    /// Which span of it: the parent of what comes next. Written with 16 hexadecimal digits.
    pub fn span_id(&self) -> NonZeroU64 {
        self.span_id
    }

    /// Whether the trace is recorded. One that is not is handed on all the same, and makes no spans.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// What tracing systems added for themselves: the header `tracestate`.
    pub fn state(&self) -> &TraceState {
        &self.state
    }
}

/// The header `traceparent`, of version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// From the header `traceparent`. A later version is read as far as version 00 goes, as the standard wants it.
impl FromStr for TraceContext {
    type Err = TraceContextError;

    fn from_str(header: &str) -> Result<Self, TraceContextError> {
        let bytes = header.as_bytes();
        if bytes.len() < LENGTH {
            return Err(TraceContextError::Length);
        }
        if bytes[2] != b'-' || bytes[35] != b'-' || bytes[52] != b'-' {
            return Err(TraceContextError::Form);
        }
        let version = hex(&bytes[..2])?;
        let fits = match version {
            0xff => return Err(TraceContextError::Version),
            0 => bytes.len() == LENGTH,
            _ => bytes.len() == LENGTH || bytes[LENGTH] == b'-',
        };
        if !fits {
            return Err(TraceContextError::Length);
        }
        let trace_id = NonZeroU128::new(hex(&bytes[3..35])?).ok_or(TraceContextError::Zero)?;
        let span_id = hex(&bytes[36..52])? as u64; // 16 digits
        let span_id = NonZeroU64::new(span_id).ok_or(TraceContextError::Zero)?;
        let flags = hex(&bytes[53..55])? as u8 & (SAMPLED | RANDOM); // 2 digits
        Ok(Self { trace_id, span_id, flags, state: TraceState::default() })
    }
}

/// Lower case only, says the standard.
fn hex(digits: &[u8]) -> Result<u128, TraceContextError> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return Err(TraceContextError::Form),
        };
        Ok(number << 4 | u128::from(digit))
    })
}

/// What is wrong with a header `traceparent` or `tracestate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TraceContextError {
    /// Too short, or longer than its version allows.
    #[error("`traceparent` must have 55 characters, as 00-(32 digits)-(16 digits)-(2 digits)")]
    Length,
    /// A character where it does not belong.
    #[error("`traceparent` must be hexadecimal digits in lower case, parted by `-`")]
    Form,
    /// Version `ff`, which there never is.
    #[error("`traceparent` must not be of version ff")]
    Version,
    /// The trace or the span is all zeros, which names none.
    #[error("neither the trace id nor the span id of `traceparent` may be zero")]
    Zero,
    /// See [`TraceState`].
    #[error("`tracestate` must be a list of at most 32 `key=value`, each key once")]
    State,
}
