//! `export` and `import`.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use persistence::admin::{AdminError, Record, StoreAdmin, StoreImport, Totals, UnfinishedFile};
use tokio::sync::mpsc;

use super::archive::{ArchiveError, ArchiveReader, ArchiveWriter};
use super::bar::Bar;
use super::check::{print_findings, sound, summary};
use super::opened::begin_import;
use super::{ExportArgs, ImportArgs, Opened, Out, StoreCommandError};
use crate::cli::Exit;
use crate::config::StoreConfig;

/// Batches on their way from the store to the file or back.
const QUEUE: usize = 4;

/// Records and bytes of their lines handed on at once.
const BATCH_RECORDS: usize = 256;
const BATCH_BYTES: u64 = 256 << 10;

type Done = Result<Exit, StoreCommandError>;

pub(super) async fn export(store: &Opened, args: &ExportArgs, bar: &Bar, out: &mut Out) -> Done {
    let admin = store.admin();
    let export = |records| admin.export(bar.progress(), records);
    if args.target.as_os_str() == "-" {
        let written = write_archive(admin.kind(), bar, &mut *out, StoreCommandError::Output, export);
        let (_, totals) = bar.during(written).await?;
        // Standard output is the archive's.
        let _ = writeln!(io::stderr(), "exported {}", summary(&totals));
        return Ok(Exit::Stopped);
    }
    let totals = bar.during(write_file(&args.target, admin.kind(), bar, export)).await?;
    out.line(format_args!("{}: {}", args.target.display(), summary(&totals)))?;
    Ok(Exit::Stopped)
}

/// Writes what `export` sends into a new file, which gets its name when it is complete and on the disk.
pub(super) async fn write_file<E>(
    path: &Path,
    kind: &str,
    bar: &Bar,
    export: impl FnOnce(mpsc::Sender<Vec<Record>>) -> E,
) -> Result<Totals, StoreCommandError>
where
    E: Future<Output = Result<Totals, AdminError>>,
{
    let named = |error| match error {
        AdminError::NotEmpty { .. } => StoreCommandError::FileExists { path: path.to_owned() },
        other => other.into(),
    };
    let file = UnfinishedFile::begin(path).map_err(named)?;
    let writer = File::create_new(file.path()).map_err(StoreCommandError::file(path))?;
    let writer = BufWriter::with_capacity(256 << 10, writer);
    let failed = |reason| StoreCommandError::File { path: path.to_owned(), reason };
    let (writer, totals) = write_archive(kind, bar, writer, failed, export).await?;
    writer.into_inner().map_err(|error| failed(error.into_error()))?;
    file.publish().map_err(named)?;
    Ok(totals)
}

async fn write_archive<W: Write, E>(
    kind: &str,
    bar: &Bar,
    to: W,
    failed: impl Fn(io::Error) -> StoreCommandError,
    export: impl FnOnce(mpsc::Sender<Vec<Record>>) -> E,
) -> Result<(W, Totals), StoreCommandError>
where
    E: Future<Output = Result<Totals, AdminError>>,
{
    let (sender, batches) = mpsc::channel::<Vec<Record>>(QUEUE);
    let exported = export(sender);
    let written = async {
        // Dropped when writing fails, which ends the export.
        let mut batches = batches;
        let mut writer = ArchiveWriter::begin(to, kind, bar.now_ms()).map_err(&failed)?;
        while let Some(batch) = batches.recv().await {
            batch.iter().try_for_each(|record| writer.record(record)).map_err(&failed)?;
        }
        Ok::<_, StoreCommandError>(writer)
    };
    let (exported, written) = tokio::join!(exported, written);
    let writer = written?;
    let sent = exported?;
    let (to, totals) = writer.end().map_err(&failed)?;
    debug_assert_eq!(sent, totals, "all that was sent is written");
    Ok((to, totals))
}

pub(super) async fn import(config: &StoreConfig, args: &ImportArgs, bar: &Bar, out: &mut Out) -> Done {
    import_archive(config, &args.source, "imported", bar, out).await
}

/// Makes a store of an archive; `done` is the word for that.
pub(super) async fn import_archive(config: &StoreConfig, path: &Path, done: &str, bar: &Bar, out: &mut Out) -> Done {
    // Opened before anything is begun: a wrong name must not leave a folder.
    let (source, size): (Box<dyn Read + Send>, u64) = if path.as_os_str() == "-" {
        (Box::new(io::stdin()), 0)
    } else {
        let file = File::open(path).map_err(StoreCommandError::file(path))?;
        let size = file.metadata().map_or(0, |file| file.len());
        (Box::new(file), size)
    };
    let mut import = begin_import(config, bar.clock()).await?;
    let (sender, batches) = mpsc::channel(QUEUE);
    let progress = bar.progress();
    progress.begin("reading", size);
    let counted = Counted { from: source, progress: progress.clone() };
    let named = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || read_archive(counted, &named, &sender));
    let taken = async {
        // Dropped when a batch is wrong, which ends the reading.
        let mut batches = batches;
        let mut lines = (1, 1);
        // Who feeds standard input may take for ever.
        while let Some(batch) = tokio::select! {
            biased;
            () = progress.cancelled() => return Err(AdminError::Cancelled.into()),
            batch = batches.recv() => batch,
        } {
            let (records, last): (Vec<Record>, u64) = batch?;
            lines = (lines.1 + 1, last);
            import.take(records).await.map_err(|error| wrong_records(path, lines, error))?;
        }
        Ok::<_, StoreCommandError>(())
    };
    bar.during(taken).await?;
    let sent = reading.await.unwrap_or_else(|panic| Err(StoreCommandError::Output(io::Error::other(panic))))?;
    let totals =
        finish(import, "the file is no export of a sound store: correct it, or restore a backup", bar, out).await?;
    out.line(format_args!("{done} {}", summary(&totals)))?;
    if sent.parked > totals.parked {
        let gone = sent.parked - totals.parked;
        out.line(format_args!(
            "left out: {gone} parked events whose event was deleted, so that nothing can be tried again"
        ))?;
    }
    Ok(Exit::Stopped)
}

/// Makes a store of all that another one holds, without a file between.
pub(super) async fn import_store(config: &StoreConfig, source: &dyn StoreAdmin, bar: &Bar, out: &mut Out) -> Done {
    let mut import = begin_import(config, bar.clock()).await?;
    let (sender, batches) = mpsc::channel(QUEUE);
    let exported = source.export(bar.progress(), sender);
    let taken = async {
        // Dropped when a batch cannot be taken, which ends the export.
        let mut batches = batches;
        while let Some(batch) = batches.recv().await {
            import.take(batch).await?;
        }
        Ok::<_, AdminError>(())
    };
    let (exported, taken) = bar.during(async { tokio::join!(exported, taken) }).await;
    taken?;
    exported?;
    let totals = finish(import, "restore another backup", bar, out).await?;
    out.line(format_args!("restored {}", summary(&totals)))?;
    Ok(Exit::Stopped)
}

async fn finish(
    import: Box<dyn StoreImport>,
    fix: &'static str,
    bar: &Bar,
    out: &mut Out,
) -> Result<Totals, StoreCommandError> {
    let (sender, findings) = mpsc::channel(64);
    let finished = import.finish(bar.progress(), sender);
    let (totals, printed) = bar.during(async { tokio::join!(finished, print_findings(findings, out)) }).await;
    let totals = sound(totals, fix)?;
    printed?;
    Ok(totals)
}

type Batch = Result<(Vec<Record>, u64), StoreCommandError>;

/// Sends the records in batches, each with the line of its last one. Answers how many of each there were.
fn read_archive(source: impl Read, path: &Path, batches: &mpsc::Sender<Batch>) -> Result<Totals, StoreCommandError> {
    let failed = |error, line| match error {
        ArchiveError::Io(reason) => StoreCommandError::File { path: path.to_owned(), reason },
        ArchiveError::Line(reason) => StoreCommandError::Line { path: path.to_owned(), line, reason },
    };
    // What is not sent because nobody takes it any more has failed elsewhere.
    let send = |batch| batches.blocking_send(batch).map_err(|_| StoreCommandError::Store(AdminError::Cancelled));
    let source = BufReader::with_capacity(256 << 10, source);
    let mut reader = match ArchiveReader::begin(source) {
        Ok(reader) => reader,
        Err(error) => {
            send(Err(failed(error, 1)))?;
            return Err(AdminError::Cancelled.into());
        }
    };
    let (mut batch, mut bytes, mut totals) = (Vec::new(), 0, Totals::default());
    loop {
        match reader.next() {
            Ok(Some(record)) => {
                totals.count(&record);
                bytes += reader.line_bytes();
                batch.push(record);
            }
            Ok(None) => break,
            Err(error) => {
                send(Err(failed(error, reader.line_number())))?;
                return Err(AdminError::Cancelled.into());
            }
        }
        if batch.len() >= BATCH_RECORDS || bytes >= BATCH_BYTES {
            send(Ok((std::mem::take(&mut batch), reader.line_number())))?;
            bytes = 0;
        }
    }
    send(Ok((batch, reader.line_number())))?;
    Ok(totals)
}

fn wrong_records(path: &Path, (from, to): (u64, u64), error: AdminError) -> StoreCommandError {
    match error {
        AdminError::Import(reason) => {
            let reason = format!("{reason} (in the lines {from} to {to})");
            StoreCommandError::Line { path: path.to_owned(), line: from, reason }
        }
        other => other.into(),
    }
}

/// Tells how much of a file was read.
struct Counted<R> {
    from: R,
    progress: persistence::admin::Progress,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.progress.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        let read = self.from.read(buffer)?;
        self.progress.add(read as u64);
        Ok(read)
    }
}
