//! Why a command of `cloudstate store` did not do what it was told.

use std::io;
use std::path::{Path, PathBuf};

use persistence::admin::AdminError;

use crate::cli::Exit;
use crate::store::StoreError;

/// Why a command of `cloudstate store` did not do what it was told. Stores that were there are unchanged.
#[derive(Debug, thiserror::Error)]
pub enum StoreCommandError {
    /// The setting names no store that can be looked at from here.
    #[error(
        "`store` is memory, which only the sidecar itself can see; name a store with --store sqlite:FOLDER or --store \
         postgres://USER@HOST/DATABASE"
    )]
    InMemory,
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] StoreError),
    /// The store could not do it.
    #[error("{}", hinted(.0))]
    Store(#[from] AdminError),
    /// There is nothing to restore.
    #[error("there is no store in {}; name the file or folder that `cloudstate store backup` wrote", path.display())]
    NoBackup {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The check cannot be left out.
    #[error(
        "--no-check is for a SQLite database that is restored as one: else records are stored anew, which needs sound ones"
    )]
    AlwaysChecked,
    /// What was copied or imported is not sound.
    #[error(
        "what was copied is not sound: {findings} findings, which are named on standard output; nothing was put in \
         place; {fix}"
    )]
    Unsound {
        /// How many things are wrong with it.
        findings: u64,
        /// What can be done.
        fix: &'static str,
    },
    /// The text is no persistence id.
    #[error(
        "{0:?} is no persistence id: it must be type|entity, in quotes for the shell; `cloudstate store entities` lists them"
    )]
    NoId(String),
    /// The store never heard of it.
    #[error(
        "there is no entity {0} in the store; `cloudstate store entities --prefix ...` lists those that begin alike"
    )]
    NoEntity(String),
    /// There is no such event.
    #[error("{id} has no event {seq_nr}: {has}")]
    NoEvent {
        /// Whose event.
        id: String,
        /// Its number.
        seq_nr: u64,
        /// Which there are.
        has: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        reason: io::Error,
    },
    /// The file to write is there already.
    #[error("{} is there already; name another file, or move it away", path.display())]
    FileExists {
        /// The file.
        path: PathBuf,
    },
    /// A line of what is to be imported is wrong.
    #[error("line {line} of {}: {reason}; nothing was imported", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// The file with descriptors is of no use.
    #[error("--descriptors {}: {reason}; make it with protoc --include_imports --descriptor_set_out=FILE", path.display())]
    Descriptors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody reads the output any more, which ends the command.
    #[error("standard output: {0}")]
    Output(io::Error),
}

impl StoreCommandError {
    /// The exit status that says so.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::InMemory | Self::AlwaysChecked | Self::NoId(_) | Self::Descriptors { .. } => Exit::Usage,
            Self::Store(
                AdminError::NoStore { .. }
                | AdminError::Open(_)
                | AdminError::OlderSchema { .. }
                | AdminError::NotEmpty { .. },
            ) => Exit::Store,
            #[cfg(feature = "postgres")]
            Self::Store(AdminError::NoTables { .. } | AdminError::OpenPostgres(_)) => Exit::Store,
            Self::Open(_) | Self::NoBackup { .. } => Exit::Store,
            Self::Store(AdminError::Cancelled) => Exit::Interrupted,
            _ => Exit::Failed,
        }
    }

    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |reason| Self::File { path, reason }
    }
}

fn hinted(error: &AdminError) -> String {
    match error {
        AdminError::NoStore { .. } => format!("{error}; name one with --store or CLOUDSTATE_STORE"),
        #[cfg(feature = "postgres")]
        AdminError::NoTables { .. } => {
            format!(
                "{error}; name a database with --store or CLOUDSTATE_STORE, a schema with --set postgres.schema=NAME"
            )
        }
        #[cfg(feature = "postgres")]
        AdminError::OpenPostgres(_) => format!("{error} (`store` is chosen with --store or CLOUDSTATE_STORE)"),
        AdminError::OlderSchema { place, found, supported } => format!(
            "store {place} has schema version {found}, and this program reads {supported}; a sidecar of this version \
             upgrades it when it starts"
        ),
        AdminError::Damaged(finding) => format!("{finding}; `cloudstate store check` names all that is damaged"),
        _ => error.to_string(),
    }
}
