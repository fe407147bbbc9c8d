//! [`Out`]: standard output, whose reader may go away.

use std::fmt;
use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;

use super::StoreCommandError;

/// Standard output, buffered.
pub(super) struct Out(BufWriter<Stdout>);

impl Out {
    pub(super) fn stdout() -> Self {
        Self(BufWriter::with_capacity(64 << 10, io::stdout()))
    }

    pub(super) fn text(&mut self, text: impl fmt::Display) -> Result<(), StoreCommandError> {
        write!(self.0, "{text}").map_err(StoreCommandError::Output)
    }

    pub(super) fn line(&mut self, text: impl fmt::Display) -> Result<(), StoreCommandError> {
        writeln!(self.0, "{text}").map_err(StoreCommandError::Output)
    }

    pub(super) fn json(&mut self, value: &impl Serialize) -> Result<(), StoreCommandError> {
        serde_json::to_writer(&mut self.0, value).map_err(|error| StoreCommandError::Output(error.into()))?;
        self.line("")
    }

    pub(super) fn flush(&mut self) -> Result<(), StoreCommandError> {
        self.0.flush().map_err(StoreCommandError::Output)
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
