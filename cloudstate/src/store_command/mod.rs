//! `cloudstate store`: a store seen from outside, also while a sidecar runs on it.

mod archive;
mod args;
mod bar;
mod check;
mod copy;
mod decode;
mod error;
mod fields;
mod inspect;
mod opened;
mod out;
mod show;
mod sql;
mod statements;
mod transfer;

pub use args::{
    AdoptArgs, BackupArgs, CheckArgs, EntitiesArgs, EventsArgs, ExportArgs, HELP, ImportArgs, InfoArgs, PayloadArgs,
    PlaceArgs, RestoreArgs, SqlArgs, StateArgs, StoreAction, StoreArgs,
};
pub use error::StoreCommandError;

use std::io;

use actors::Clock;
use persistence::admin::Progress;

use crate::cli::Exit;
use crate::config::StoreConfig;

use bar::Bar;
use opened::Opened;
use out::Out;

/// Does `action` to the store of `config`, and prints what comes of it. Ends early, leaving nothing unfinished behind, once
/// `progress` is cancelled.
///
/// # Errors
/// [`StoreCommandError`] says what to do about it.
pub async fn run(
    action: &StoreAction,
    config: &StoreConfig,
    progress: &Progress,
    clock: &Clock,
) -> Result<Exit, StoreCommandError> {
    let mut out = Out::stdout();
    let bar = Bar::new(progress.clone(), clock.clone());
    let done = match action {
        StoreAction::Restore(args) => copy::restore(config, args, &bar, &mut out).await,
        StoreAction::Import(args) => transfer::import(config, args, &bar, &mut out).await,
        StoreAction::Adopt(_) => opened::adopt(config, &mut out).await,
        StoreAction::Info(args) => inspect::info(&Opened::open(config, clock).await?, args, clock, &mut out).await,
        StoreAction::Entities(args) => inspect::entities(&Opened::open(config, clock).await?, args, &mut out).await,
        StoreAction::Events(args) => inspect::events(&Opened::open(config, clock).await?, args, &mut out).await,
        StoreAction::State(args) => inspect::state(&Opened::open(config, clock).await?, args, &mut out).await,
        StoreAction::Check(args) => check::check(&Opened::open(config, clock).await?, args, &bar, &mut out).await,
        StoreAction::Backup(args) => copy::backup(&Opened::open(config, clock).await?, args, &bar, &mut out).await,
        StoreAction::Export(args) => transfer::export(&Opened::open(config, clock).await?, args, &bar, &mut out).await,
        StoreAction::Sql(args) => sql::sql(&Opened::open(config, clock).await?, args, &bar, &mut out).await,
    };
    match done.and_then(|exit| out.flush().map(|()| exit)) {
        // Whoever read the output has seen enough, as `head` has. Half an export or half a check is nothing, though.
        Err(StoreCommandError::Output(error))
            if error.kind() == io::ErrorKind::BrokenPipe
                && !matches!(action, StoreAction::Check(_) | StoreAction::Export(_)) =>
        {
            Ok(Exit::Stopped)
        }
        done => done,
    }
}
