//! Passing on what the user function prints, line by line.
//!
//! The user function is never held back: its pipes are read as fast as it writes, and when whoever reads *our* output is slower, lines are dropped
//! and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tracing::info;

use crate::config::LogFormat;

/// Where the lines of the user function go. A cheap handle; the lines of all handles keep the order in which they were read.
#[derive(Clone)]
pub struct Output {
    lines: SyncSender<Line>,
    dropped: Arc<AtomicU64>,
}

/// One line, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Which stream it was written to.
    pub stream: Stream,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Output {
    /// Passes lines on as the log does: as text to the stream they came from with `prefix` before each, or as JSON events.
    #[must_use]
    pub fn passed_on(prefix: &'static str, format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::to(LINES_MAX, move |line| print(prefix, &line)),
            LogFormat::Json => Self::to(LINES_MAX, |line| match line.stream {
                Stream::Out => info!(target: "user_function", stream = "stdout", "{}", line.text),
                Stream::Err => info!(target: "user_function", stream = "stderr", "{}", line.text),
            }),
        }
    }

    /// Hands lines to `sink` on a thread of its own, which may block; at most `lines_max` wait for it. The thread ends with the last handle.
    ///
    /// # Panics
    /// When the system refuses a thread.
    #[must_use]
    pub fn to(lines_max: usize, mut sink: impl FnMut(Line) + Send + 'static) -> Self {
        let (lines, inbox) = sync_channel::<Line>(lines_max);
        let dropped = Arc::new(AtomicU64::new(0));
        let missing = dropped.clone();
        let write = move || {
            while let Ok(line) = inbox.recv() {
                let stream = line.stream;
                sink(line);
                match missing.swap(0, Ordering::Relaxed) {
                    0 => {}
                    count => sink(Line {
                        stream,
                        text: format!("({count} lines were dropped: they came faster than they could be written)"),
                    }),
                }
            }
        };
        thread::Builder::new()
            .name("user-function-output".to_owned())
            .stack_size(256 << 10)
            .spawn(write)
            .expect("a thread can be started");
        Self { lines, dropped }
    }

    /// Passes on all lines of `pipe` until it ends.
    pub(super) async fn pump(self, pipe: impl AsyncRead + Unpin, stream: Stream) {
        let mut pipe = BufReader::with_capacity(4 << 10, pipe);
        let mut line = Vec::new();
        loop {
            let (taken, ended) = match pipe.fill_buf().await {
                Ok([]) | Err(_) => break,
                Ok(bytes) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let text = &bytes[..end.unwrap_or(bytes.len())];
                    line.extend_from_slice(text);
                    (text.len() + usize::from(end.is_some()), end.is_some())
                }
            };
            pipe.consume(taken);
            if ended || line.len() >= LINE_BYTES_MAX {
                self.push(stream, &mut line);
            }
        }
        if !line.is_empty() {
            self.push(stream, &mut line);
        }
    }

    fn push(&self, stream: Stream, line: &mut Vec<u8>) {
        let bytes = line.strip_suffix(b"\r").unwrap_or(line);
        let text = String::from_utf8_lossy(bytes).into_owned();
        line.clear();
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Line { stream, text }) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Lines that wait for our own output.
const LINES_MAX: usize = 1024;
/// A longer line is passed on in pieces.
const LINE_BYTES_MAX: usize = 16 << 10;

fn print(prefix: &str, line: &Line) {
    // Nobody may be reading us any more; that is no reason to stop serving.
    let _ = match line.stream {
        Stream::Out => writeln!(io::stdout(), "{prefix}{}", line.text),
        Stream::Err => writeln!(io::stderr(), "{prefix}{}", line.text),
    };
}
