//! [`StoreLock`]: one process per store folder.

use super::OpenError;
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Holds `store.lock` exclusively. The kernel lets go of it when the process ends, however it ends.
pub(crate) struct StoreLock {
    file: File,
    path: PathBuf,
}

impl StoreLock {
    /// Creates the folder if need be and locks it.
    pub(crate) fn acquire(folder: &Path) -> Result<Self, OpenError> {
        create_folder(folder)?;
        let path = folder.join("store.lock");
        let mut file = loop {
            let file = Self::lock(folder, &path)?;
            // One that was removed between the two steps locks nobody out any more.
            if is_at(&file, &path) {
                break file;
            }
        };
        let write_pid = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        // Only a courtesy to the next process, and a full disk must not keep a store from being read.
        if let Err(error) = write_pid(&mut file) {
            tracing::warn!(path = %path.display(), %error, "cannot note this process in the lock file");
        }
        Ok(Self { file, path })
    }

    fn lock(folder: &Path, path: &Path) -> Result<File, OpenError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|error| refused(path, &error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                Err(OpenError::InUse { folder: folder.to_owned(), pid })
            }
            Err(error) => Err(OpenError::Io { path: path.to_owned(), reason: error.to_string() }),
        }
    }

    /// Removes the file, for a folder in which there is no store after all.
    pub(crate) fn remove(self) {
        // Left lying it does no harm.
        let _ = fs::remove_file(&self.path);
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let place = |found: fs::Metadata| (found.dev(), found.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(held), Ok(found)) => place(held) == place(found),
        (_, Err(error)) => error.kind() != ErrorKind::NotFound,
        _ => true,
    }
}

impl Drop for StoreLock {
    fn drop(&mut self) {
        // Closing is not enough: a child process between fork and exec holds a copy of the descriptor, and with it the
        // lock. Unlocking takes it from all copies.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

fn create_folder(folder: &Path) -> Result<(), OpenError> {
    match fs::metadata(folder) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => {
            return Err(OpenError::NotAFolder { path: folder.to_owned() });
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Err(OpenError::NotAFolder { path: folder.to_owned() });
        }
        Err(_) => {}
    }
    // The new names must survive power loss too, or the whole store would be gone.
    let missing: Vec<_> = folder.ancestors().take_while(|folder| fs::metadata(folder).is_err()).collect();
    fs::create_dir_all(folder).map_err(|error| refused(folder, &error))?;
    for created in missing {
        let parent = created.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(|error| refused(parent, &error))?;
    }
    Ok(())
}

fn refused(path: &Path, error: &std::io::Error) -> OpenError {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            OpenError::ReadOnly { path: path.to_owned(), reason: error.to_string() }
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => OpenError::NotAFolder { path: path.to_owned() },
        _ => OpenError::Io { path: path.to_owned(), reason: error.to_string() },
    }
}
