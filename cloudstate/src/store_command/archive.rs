//! The format of `export`: lines of JSON. A header with the version, a line for each record, an end with totals and a
//! checksum over all bytes before it.

use std::io::{BufRead, Write};

use persistence::admin::{Record, Totals};
use serde::{Deserialize, Serialize};

/// The version written here, and the only one there has been.
const VERSION: u32 = 1;

/// The longest line that is read: the largest payload that any store takes is 512 MiB, which is two thirds of this as
/// base64. Stores take 64 MiB unless they are told to take more.
const LINE_MAX: u64 = 1 << 30;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// Version of the format.
    pub(super) cloudstate_store: u32,
    /// The kind of store it came from.
    pub(super) from: String,
    /// When it was written, ms since 1970.
    pub(super) exported_at_ms: u64,
    /// The program that wrote it.
    pub(super) program: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    end: Ending,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ending {
    totals: Totals,
    crc32c: String,
}

/// Writes an archive.
pub(super) struct ArchiveWriter<W> {
    to: Summed<W>,
    totals: Totals,
}

struct Summed<W> {
    to: W,
    crc: u32,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.crc = crc32c::crc32c_append(self.crc, &bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

impl<W: Write> ArchiveWriter<W> {
    pub(super) fn begin(to: W, from: &str, exported_at_ms: u64) -> std::io::Result<Self> {
        let mut writer = Self { to: Summed { to, crc: 0 }, totals: Totals::default() };
        writer.line(&Header {
            cloudstate_store: VERSION,
            from: from.to_owned(),
            exported_at_ms,
            program: env!("CARGO_PKG_VERSION").to_owned(),
        })?;
        Ok(writer)
    }

    pub(super) fn record(&mut self, record: &Record) -> std::io::Result<()> {
        self.totals.count(record);
        self.line(record)
    }

    /// Without it there is no archive.
    pub(super) fn end(mut self) -> std::io::Result<(W, Totals)> {
        let end = Ending { totals: self.totals, crc32c: format!("{:08x}", self.to.crc) };
        self.line(&End { end })?;
        self.to.flush()?;
        Ok((self.to.to, self.totals))
    }

    fn line(&mut self, value: &impl Serialize) -> std::io::Result<()> {
        serde_json::to_writer(&mut self.to, value)?;
        self.to.write_all(b"\n")
    }
}

/// Reads an archive.
pub(super) struct ArchiveReader<R> {
    from: R,
    line: Vec<u8>,
    number: u64,
    crc: u32,
    totals: Totals,
}

/// What is wrong with an archive.
#[derive(Debug)]
pub(super) enum ArchiveError {
    Io(std::io::Error),
    Line(String),
}

impl From<std::io::Error> for ArchiveError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl<R: BufRead> ArchiveReader<R> {
    pub(super) fn begin(from: R) -> Result<Self, ArchiveError> {
        let mut reader = Self { from, line: Vec::new(), number: 0, crc: 0, totals: Totals::default() };
        if !reader.read()? {
            return Err(ArchiveError::Line("the file is empty".into()));
        }
        let header: Header = serde_json::from_slice(&reader.line)
            .map_err(|error| ArchiveError::Line(format!("this is no export of a store: {error}")))?;
        if header.cloudstate_store != VERSION {
            let found = header.cloudstate_store;
            let reason = format!(
                "format version {found}, this program reads {VERSION}; import it with the program that wrote it"
            );
            return Err(ArchiveError::Line(reason));
        }
        Ok(reader)
    }

    /// The line read last, from 1.
    pub(super) fn line_number(&self) -> u64 {
        self.number
    }

    /// Bytes of that line.
    pub(super) fn line_bytes(&self) -> u64 {
        self.line.len() as u64
    }

    /// The next record; `None` at the end, if all is there.
    pub(super) fn next(&mut self) -> Result<Option<Record>, ArchiveError> {
        let before = self.crc;
        if !self.read()? {
            return Err(ArchiveError::Line("the file ends too early: the line with the totals is missing".into()));
        }
        let wrong = |error: serde_json::Error| ArchiveError::Line(error.to_string());
        if self.line.starts_with(b"{\"end\"") {
            let End { end } = serde_json::from_slice(&self.line).map_err(wrong)?;
            self.check_end(&end, before)?;
            return Ok(None);
        }
        let record = serde_json::from_slice(&self.line).map_err(wrong)?;
        self.totals.count(&record);
        Ok(Some(record))
    }

    fn check_end(&mut self, end: &Ending, crc: u32) -> Result<(), ArchiveError> {
        let wrong = |reason: &str| Err(ArchiveError::Line(reason.to_owned()));
        if end.crc32c != format!("{crc:08x}") {
            return wrong("the checksum does not match: the file was changed or damaged");
        }
        if end.totals != self.totals {
            return wrong("the totals do not match what came before");
        }
        if self.read()? {
            return wrong("there is more behind the end");
        }
        Ok(())
    }

    /// Reads a line into `self.line`, without its end; `false` when there are no more.
    fn read(&mut self) -> Result<bool, ArchiveError> {
        self.line.clear();
        let mut limited = std::io::Read::take(&mut self.from, LINE_MAX);
        let read = limited.read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(false);
        }
        self.number += 1;
        self.crc = crc32c::crc32c_append(self.crc, &self.line);
        if read as u64 == LINE_MAX && self.line.last() != Some(&b'\n') {
            return Err(ArchiveError::Line(format!("the line is longer than {LINE_MAX} bytes, as no record is")));
        }
        if self.line.pop_if(|last| *last == b'\n').is_none() {
            return Err(ArchiveError::Line("the line has no end: the file was cut off".into()));
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use persistence::Offset;
    use persistence::admin::{EntityRecord, EventRecord, PlacesRecord, StateRecord};

    fn records() -> Vec<Record> {
        let id = "cart|ada \"and\" more\n".to_owned();
        let offset = Offset::of_ordering(7);
        vec![
            Record::Places(PlacesRecord { events: Offset::new(1, 2, 3) }),
            Record::Entity(EntityRecord { id: id.clone(), epoch: 3, highest_seq: 1, deleted_to: 0 }),
            Record::Event(EventRecord {
                id: id.clone(),
                seq_nr: 1,
                offset,
                epoch: 3,
                time_ms: 99,
                batch_id: Some(u128::MAX - 1),
                manifest: "added/1".into(),
                payload: Bytes::from_static(&[0, 1, 255]),
                meta: Some(Bytes::new()),
                tags: vec!["red".into()],
            }),
            Record::State(StateRecord {
                id,
                revision: 2,
                offset,
                epoch: 3,
                time_ms: 99,
                batch_id: Some(5),
                manifest: None,
                payload: None,
                meta: None,
                tag: Some("green".into()),
            }),
        ]
    }

    fn written() -> Vec<u8> {
        let mut writer = ArchiveWriter::begin(Vec::new(), "sqlite", 5).unwrap();
        records().iter().for_each(|record| writer.record(record).unwrap());
        let (bytes, totals) = writer.end().unwrap();
        assert_eq!((totals.entities, totals.events, totals.states), (1, 1, 1));
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Record>, String> {
        let text = |error| match error {
            ArchiveError::Io(error) => error.to_string(),
            ArchiveError::Line(reason) => reason,
        };
        let mut reader = ArchiveReader::begin(bytes).map_err(text)?;
        let mut all = Vec::new();
        while let Some(record) = reader.next().map_err(text)? {
            all.push(record);
        }
        Ok(all)
    }

    #[test]
    fn what_was_written_is_read() {
        assert_eq!(read(&written()).unwrap(), records());
    }

    /// Written by the first version; to be read for ever.
    #[test]
    fn the_first_version_stays_readable() {
        let stored = include_bytes!("archive_v1.jsonl");
        assert_eq!(read(stored).unwrap(), records());
    }

    #[test]
    fn a_file_cut_off_anywhere_is_refused() {
        let whole = written();
        for length in 0..whole.len() {
            assert!(read(&whole[..length]).is_err(), "{length} of {}", whole.len());
        }
    }

    #[test]
    fn a_changed_byte_is_noticed() {
        let whole = written();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x10;
            assert!(read(&changed).is_err(), "byte {at}: {:?}", char::from(whole[at]));
        }
        assert!(read(&[&whole[..], b"{}\n"].concat()).unwrap_err().contains("behind the end"));
    }

    #[test]
    fn a_later_version_is_refused_with_what_to_do() {
        let later = String::from_utf8(written()).unwrap().replace("\"cloudstate_store\":1", "\"cloudstate_store\":2");
        let refused = read(later.as_bytes()).unwrap_err();
        assert!(refused.contains("version 2") && refused.contains("program that wrote it"), "{refused}");
        assert!(read(b"hello\n").unwrap_err().contains("no export"));
    }
}
