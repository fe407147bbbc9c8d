//! SQLite stores, killed or with their file system shut down.

use crate::{
    loop_disk::{LoopDisk, Shutdown},
    this_program,
};
use persistence::{
    BoxFuture, Durability, SqliteOptions, SqliteStore,
    testkit::{CrashSubject, OpenStores, write_for_ever},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The writer process.
pub(crate) async fn write(folder: &Path, durability: Durability) -> Result<(), String> {
    let options = SqliteOptions { durability, checkpoint_pages: 60, ..SqliteOptions::default() }; // crash in checkpoints too
    let store = SqliteStore::open(folder, options).map_err(|error| error.to_string())?;
    write_for_ever(OpenStores::of(store), std::io::stdout()).await;
    Ok(())
}

/// A store whose writer is killed by `kill -9`.
pub(crate) struct Killed {
    folder: PathBuf,
    durability: Durability,
    open: Option<SqliteStore>,
}

impl Killed {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, durability: Durability::Fsync, open: None }
    }
}

impl CrashSubject for Killed {
    fn writer(&mut self) -> Command {
        let mut command = this_program();
        command.args(["writer", "sqlite"]).arg(&self.folder);
        if self.durability == Durability::Os {
            command.arg("--os");
        }
        command
    }

    fn open(&mut self) -> BoxFuture<'_, Result<OpenStores, String>> {
        Box::pin(async {
            let options = SqliteOptions { durability: self.durability, ..SqliteOptions::default() };
            let store = SqliteStore::open(&self.folder, options).map_err(|error| error.to_string())?;
            self.open = Some(store.clone());
            Ok(OpenStores::of(store))
        })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if let Some(store) = self.open.take() {
                store.close().await;
            }
        })
    }
}

/// A store on a file system that is shut down.
pub(crate) struct PowerLoss {
    disk: LoopDisk,
    store: Killed,
    random: StdRng,
    lost_power: bool,
}

impl PowerLoss {
    pub(crate) fn new(folder: &Path, durability: Durability, seed: u64) -> Result<Self, String> {
        let disk = LoopDisk::new(folder, 256)?;
        let store = Killed { durability, ..Killed::new(disk.path().join("store")) };
        Ok(Self { disk, store, random: StdRng::seed_from_u64(seed), lost_power: false })
    }
}

impl CrashSubject for PowerLoss {
    fn writer(&mut self) -> Command {
        let mut command = self.store.writer();
        command.stderr(Stdio::null()); // without power it may not even get to open
        command
    }

    fn crash(&mut self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            // Now and then only the process ends, so that the power goes after what that left.
            self.lost_power = !self.random.random_ratio(1, 6);
            let how = if self.random.random_ratio(1, 3) { Shutdown::LogFlush } else { Shutdown::NoLogFlush };
            if self.lost_power { self.disk.shut_down(how) } else { Ok(()) }
        })
    }

    fn takes_power(&self) -> bool {
        self.lost_power
    }

    fn repair(&mut self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { if self.lost_power { self.disk.mount_again() } else { Ok(()) } })
    }

    fn open(&mut self) -> BoxFuture<'_, Result<OpenStores, String>> {
        self.store.open()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.store.close()
    }
}
