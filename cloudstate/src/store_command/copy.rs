//! `backup` and `restore`.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use persistence::admin::{AdminError, SqliteAdmin, StoreImport, Totals};
#[cfg(feature = "postgres")]
use persistence::admin::{PostgresAdmin, StoreAdmin};
use tokio::sync::mpsc;

use super::bar::Bar;
use super::check::{print_findings, sound, summary};
use super::opened::{begin_sqlite, sqlite};
use super::show::bytes;
use super::transfer::{import_archive, import_store};
use super::{BackupArgs, Opened, Out, RestoreArgs, StoreCommandError};
use crate::cli::Exit;
use crate::config::{StoreConfig, StoreLocation};

/// What a backup is called in a folder: of a SQLite store, by which the folder is a store, and of others.
const DATABASE: &str = "store.db";
const ARCHIVE: &str = "store.jsonl";

/// What to do when a backup cannot be made of what is there.
const UNSOUND: &str = "restore an older backup; with --no-check the copy is made as it is";

type Done = Result<Exit, StoreCommandError>;

pub(super) async fn backup(store: &Opened, args: &BackupArgs, bar: &Bar, out: &mut Out) -> Done {
    let (target, totals) = match store {
        Opened::Sqlite(admin) => {
            let target = target_file(&args.target, DATABASE)?;
            let totals = copy_database(admin, &target, args, bar, out).await?;
            (target, totals)
        }
        #[cfg(feature = "postgres")]
        Opened::Postgres(admin) => {
            let target = target_file(&args.target, ARCHIVE)?;
            let totals = write_archive(admin, &target, args, bar, out).await?;
            (target, totals)
        }
    };
    let size = fs::metadata(&target).map_or(0, |file| file.len());
    let what = totals.map_or("not checked".to_owned(), |totals| format!("sound: {}", summary(&totals)));
    out.line(format_args!("{}: {}, {what}", target.display(), bytes(size)))?;
    Ok(Exit::Stopped)
}

/// Answers how much was checked.
async fn copy_database(
    admin: &SqliteAdmin,
    target: &Path,
    args: &BackupArgs,
    bar: &Bar,
    out: &mut Out,
) -> Result<Option<Totals>, StoreCommandError> {
    let (sender, findings) = mpsc::channel(64);
    let copied = admin.backup(target.to_owned(), bar.progress(), (!args.no_check).then_some(sender));
    let (totals, printed) = bar.during(async { tokio::join!(copied, print_findings(findings, out)) }).await;
    let totals = sound(totals, UNSOUND)?;
    printed?;
    Ok(totals)
}

/// Answers how much was checked.
#[cfg(feature = "postgres")]
async fn write_archive(
    admin: &PostgresAdmin,
    target: &Path,
    args: &BackupArgs,
    bar: &Bar,
    out: &mut Out,
) -> Result<Option<Totals>, StoreCommandError> {
    let (sender, findings) = mpsc::channel(64);
    let checked = (!args.no_check).then_some(sender);
    let export = |records| admin.backup(bar.progress(), checked, records);
    let written = super::transfer::write_file(target, admin.kind(), bar, export);
    let (totals, printed) = bar.during(async { tokio::join!(written, print_findings(findings, out)) }).await;
    let totals = totals.or_else(|error| match error {
        StoreCommandError::Store(error) => sound(Err(error), UNSOUND),
        other => Err(other),
    })?;
    printed?;
    Ok((!args.no_check).then_some(totals))
}

/// The file to write: in a folder the one with that name.
fn target_file(target: &Path, name: &str) -> Result<PathBuf, StoreCommandError> {
    let meant_as_folder = target.as_os_str().as_encoded_bytes().ends_with(b"/");
    if meant_as_folder {
        fs::create_dir_all(target).map_err(StoreCommandError::file(target))?;
    }
    let file = if target.is_dir() { target.join(name) } else { target.to_owned() };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::metadata(folder).map_err(StoreCommandError::file(folder))?;
    if file.symlink_metadata().is_ok() {
        return Err(StoreCommandError::FileExists { path: file });
    }
    Ok(file)
}

pub(super) async fn restore(config: &StoreConfig, args: &RestoreArgs, bar: &Bar, out: &mut Out) -> Done {
    if let StoreLocation::Memory = &config.location {
        return Err(StoreCommandError::InMemory);
    }
    let archive = archive_in(&args.source);
    if args.no_check && !(archive.is_none() && matches!(config.location, StoreLocation::Sqlite(_))) {
        return Err(StoreCommandError::AlwaysChecked);
    }
    if let Some(archive) = archive {
        return import_archive(config, &archive, "restored", bar, out).await;
    }
    let source = sqlite(&args.source).await.map_err(|error| match error {
        StoreCommandError::Store(AdminError::NoStore { path }) => StoreCommandError::NoBackup { path },
        other => other,
    })?;
    let StoreLocation::Sqlite(folder) = &config.location else {
        return import_store(config, &source, bar, out).await;
    };
    let mut import = begin_sqlite(folder).await?;
    bar.during(import.copy(&source, bar.progress())).await?;
    if args.no_check {
        import.finish_unchecked().await?;
        out.line(format_args!("sqlite:{}: not checked", folder.display()))?;
        return Ok(Exit::Stopped);
    }
    let (sender, findings) = mpsc::channel(64);
    let finished = Box::new(import).finish(bar.progress(), sender);
    let (totals, printed) = bar.during(async { tokio::join!(finished, print_findings(findings, out)) }).await;
    let totals = sound(totals, "restore another backup; with --no-check this one is restored as it is")?;
    printed?;
    out.line(format_args!("sqlite:{}: {}", folder.display(), summary(&totals)))?;
    Ok(Exit::Stopped)
}

/// The archive that `source` means, if it means one: the file, which begins as they do, or the one in that folder.
fn archive_in(source: &Path) -> Option<PathBuf> {
    if source.is_dir() {
        let archive = source.join(ARCHIVE);
        return (archive.is_file() && !source.join(DATABASE).exists()).then_some(archive);
    }
    let mut first = [0];
    File::open(source).and_then(|mut file| file.read_exact(&mut first)).ok()?;
    (first == *b"{").then(|| source.to_owned())
}
