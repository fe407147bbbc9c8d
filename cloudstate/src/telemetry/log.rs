//! The log: structured events on standard error, as text or JSON, panics included, and no reason repeated without end.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::panic;
use std::thread;

use actors::{Clock, Tick};
use parking_lot::Mutex;
use tracing::callsite::Identifier;
use tracing::{Level, Metadata, Subscriber, error, subscriber};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::{LogConfig, LogFormat};

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// `log.level` is no filter.
    #[error("`log.level` is `{level}`, but must be a level or a filter such as info,cloudstate=debug")]
    Level {
        /// The value.
        level: String,
    },
    /// This process has a log already.
    #[error("the log is open already")]
    Open,
}

/// Opens the log of this process, and logs panics.
///
/// # Errors
/// When `log.level` is no filter, or the process has a log already.
pub fn init(config: &LogConfig, clock: Clock) -> Result<(), LogError> {
    let filter: EnvFilter = config.level.parse().map_err(|_| LogError::Level { level: config.level.clone() })?;
    let lines = match config.format {
        LogFormat::Text => {
            tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).boxed()
        }
        LogFormat::Json => tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(io::stderr).boxed(),
    };
    let registry = Registry::default().with(filter).with(lines.with_filter(Repeats::new(clock, config.format)));
    subscriber::set_global_default(registry).map_err(|_| LogError::Open)?;
    log_panics();
    Ok(())
}

/// Lets at most [`LINES_PER_SECOND`] events of one place in the code through each second, for levels from info up; the first event of a later second
/// says how many were left out.
struct Repeats {
    clock: Clock,
    format: LogFormat,
    seen: Mutex<HashMap<Identifier, Window>>, // one entry for each place in the code that logs: bounded by the program's text
}

struct Window {
    began: Tick,
    lines: u32,
}

const LINES_PER_SECOND: u32 = 10;

impl Repeats {
    fn new(clock: Clock, format: LogFormat) -> Self {
        Self { clock, format, seen: Mutex::new(HashMap::new()) }
    }

    /// Written past the subscriber: a filter must not log from within itself.
    fn report(&self, metadata: &Metadata<'_>, left_out: u32) {
        let message = format!("{left_out} more events of this place were left out");
        let place = format!("{}:{}", metadata.file().unwrap_or_default(), metadata.line().unwrap_or_default());
        let line = match self.format {
            LogFormat::Text => format!("{message} place={place}"),
            LogFormat::Json => serde_json::json!({ "level": "WARN", "message": message, "place": place }).to_string(),
        };
        // Nobody reads the log any more: then nobody misses this either.
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// Whether one more line of this place may be written, and how many were left out before it.
    fn admit(&self, place: Identifier, now: Tick) -> (bool, u32) {
        let mut seen = self.seen.lock();
        let window = seen.entry(place).or_insert(Window { began: now, lines: 0 });
        let mut left_out = 0;
        if (now - window.began).as_secs() >= 1 {
            left_out = window.lines.saturating_sub(LINES_PER_SECOND);
            *window = Window { began: now, lines: 0 };
        }
        window.lines = window.lines.saturating_add(1);
        (window.lines <= LINES_PER_SECOND, left_out)
    }
}

impl<S: Subscriber> Filter<S> for Repeats {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &tracing::Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // Whoever asks for debug and trace wants all of it.
        if *metadata.level() > Level::INFO || metadata.target() == UNLIMITED {
            return true;
        }
        let (admitted, left_out) = self.admit(metadata.callsite(), self.clock.now());
        if left_out > 0 {
            self.report(metadata, left_out);
        }
        admitted
    }
}

/// What the user function prints is its business.
const UNLIMITED: &str = "user_function";

/// Panics become log events; the text of the default hook would be lost on a log collector. RUST_BACKTRACE asks for the backtrace.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("(no text)");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let thread = thread::current().name().unwrap_or("unnamed").to_owned();
        let backtrace = Backtrace::capture();
        match backtrace.status() {
            BacktraceStatus::Captured => error!(place, thread, %backtrace, "panic: {message}"),
            _ => error!(place, thread, "panic: {message}"),
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracing::Callsite;

    use super::*;

    /// The eleventh line of a second is left out; the first of the next second says so.
    #[tokio::test(start_paused = true)]
    async fn a_place_that_logs_without_end_is_held_back() {
        let place = tracing::callsite!(name: "loop", kind: tracing::metadata::Kind::EVENT, fields: message)
            .metadata()
            .callsite();
        let clock = Clock::tokio();
        let repeats = Repeats::new(clock.clone(), LogFormat::Text);
        let admitted: Vec<_> = (0..15).map(|_| repeats.admit(place.clone(), clock.now())).collect();
        assert_eq!(admitted.iter().filter(|(admitted, _)| *admitted).count(), 10);
        assert_eq!(admitted[14], (false, 0));

        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(repeats.admit(place.clone(), clock.now()), (true, 5));
        assert_eq!(repeats.admit(place, clock.now()), (true, 0));
    }
}
