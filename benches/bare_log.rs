//! A log that appends records and syncs them in groups: the least a durable store can do.
//!
//! While one group syncs, the next one collects. There is no timer, no index, no reading back.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use tokio::sync::{mpsc, oneshot};

/// Records that may wait for the writer; one group is at most this large.
const WAITING_MAX: usize = 4_096;

/// An append-only file with one writing thread. Clones write to the same file.
#[derive(Clone)]
pub struct BareLog {
    records: mpsc::Sender<Record>,
    counts: Arc<Counts>,
}

/// When an append is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After `fdatasync` of the group that holds the record.
    Synced,
    /// After `write`: the page cache has it, the disk may not.
    Written,
}

#[derive(Default)]
struct Counts {
    appends: AtomicU64,
    syncs: AtomicU64,
}

struct Record {
    bytes: Vec<u8>,
    done: oneshot::Sender<io::Result<()>>,
}

impl BareLog {
    /// Opens `path` for appending, creating it when it is not there, and starts the writing thread, which ends with the last clone.
    ///
    /// # Errors
    /// What opening the file or starting a thread reports.
    pub fn open(path: &Path, durability: Durability) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let (records, inbox) = mpsc::channel(WAITING_MAX);
        let counts = Arc::new(Counts::default());
        let counted = counts.clone();
        thread::Builder::new()
            .name("bare-log".to_owned())
            .spawn(move || write_groups(file, durability, inbox, &counted))?;
        Ok(Self { records, counts })
    }

    /// Appends one record and waits until the group it is in is as durable as asked for.
    ///
    /// # Errors
    /// The error of the group's write or sync; [`io::ErrorKind::BrokenPipe`] when an earlier group failed and ended the writer.
    pub async fn append(&self, bytes: Vec<u8>) -> io::Result<()> {
        let (done, answer) = oneshot::channel();
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the log's writer has ended");
        self.records.send(Record { bytes, done }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Records appended so far.
    pub fn appends(&self) -> u64 {
        self.counts.appends.load(Relaxed)
    }

    /// Calls of `fdatasync` so far.
    pub fn syncs(&self) -> u64 {
        self.counts.syncs.load(Relaxed)
    }
}

fn write_groups(mut file: File, durability: Durability, mut inbox: mpsc::Receiver<Record>, counts: &Counts) {
    let mut group = Vec::new();
    let mut bytes = Vec::new();
    while inbox.blocking_recv_many(&mut group, WAITING_MAX) > 0 {
        bytes.clear();
        for record in &group {
            frame(&mut bytes, &record.bytes);
        }
        let written = file.write_all(&bytes).and_then(|()| match durability {
            Durability::Synced => file.sync_data(),
            Durability::Written => Ok(()),
        });
        counts.appends.fetch_add(group.len() as u64, Relaxed);
        counts.syncs.fetch_add(u64::from(durability == Durability::Synced), Relaxed);
        let failed = written.as_ref().err().map(io::Error::kind);
        for record in group.drain(..) {
            // The one who waited may have gone away; its record is in the log all the same.
            let _ = record.done.send(failed.map_or(Ok(()), |kind| Err(kind.into())));
        }
        if failed.is_some() {
            return;
        }
    }
}

/// Length, room for a checksum, record: what any log that is read back needs at least.
fn frame(out: &mut Vec<u8>, record: &[u8]) {
    out.extend_from_slice(&(record.len() as u32).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(record);
}
