//! `backup` and `restore`.

use std::path::{Path, PathBuf};

use persistence::admin::{AdminError, StoreImport};
use tokio::sync::mpsc;

use super::bar::Bar;
use super::check::{print_findings, sound, summary};
use super::opened::{begin_sqlite, sqlite};
use super::show::bytes;
use super::{BackupArgs, Opened, Out, RestoreArgs, StoreCommandError};
use crate::cli::Exit;
use crate::config::{StoreConfig, StoreLocation};

type Done = Result<Exit, StoreCommandError>;

pub(super) async fn backup(store: &Opened, args: &BackupArgs, bar: &Bar, out: &mut Out) -> Done {
    let Opened::Sqlite(admin) = store;
    let target = target_file(&args.target)?;
    let (sender, findings) = mpsc::channel(64);
    let copied = admin.backup(target.clone(), bar.progress(), (!args.no_check).then_some(sender));
    let (totals, printed) = bar.during(async { tokio::join!(copied, print_findings(findings, out)) }).await;
    let fix = "restore an older backup; with --no-check the copy is made as it is";
    let totals = sound(totals, fix)?;
    printed?;
    let size = std::fs::metadata(&target).map_or(0, |file| file.len());
    let what = totals.map_or("not checked".to_owned(), |totals| format!("sound: {}", summary(&totals)));
    out.line(format_args!("{}: {}, {what}", target.display(), bytes(size)))?;
    Ok(Exit::Stopped)
}

/// The file to write: in a folder the one by which it is a store.
fn target_file(target: &Path) -> Result<PathBuf, StoreCommandError> {
    let meant_as_folder = target.as_os_str().as_encoded_bytes().ends_with(b"/");
    if meant_as_folder {
        std::fs::create_dir_all(target).map_err(StoreCommandError::file(target))?;
    }
    let file = if target.is_dir() { target.join("store.db") } else { target.to_owned() };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::metadata(folder).map_err(StoreCommandError::file(folder))?;
    if file.symlink_metadata().is_ok() {
        return Err(StoreCommandError::FileExists { path: file });
    }
    Ok(file)
}

pub(super) async fn restore(config: &StoreConfig, args: &RestoreArgs, bar: &Bar, out: &mut Out) -> Done {
    let folder = match &config.location {
        StoreLocation::Memory => return Err(StoreCommandError::InMemory),
        StoreLocation::Postgres(_) => return Err(StoreCommandError::OnPostgres),
        StoreLocation::Sqlite(folder) => folder,
    };
    let source = sqlite(&args.source).await.map_err(|error| match error {
        StoreCommandError::Store(AdminError::NoStore { path }) => StoreCommandError::NoBackup { path },
        other => other,
    })?;
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
