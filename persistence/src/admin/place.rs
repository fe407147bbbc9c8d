//! Files and folders of a store, as far as the one who looks at them from outside needs to know.

use super::AdminError;
use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The database file in a store's folder.
pub(crate) const DATABASE: &str = "store.db";

/// What stands between the name a file is to have and the digits that make it another's while it grows.
pub(crate) const UNFINISHED: &str = ".unfinished-";

/// The database that `path` means: the file itself, or the one in that folder.
pub(crate) fn database_of(path: &Path) -> Result<PathBuf, AdminError> {
    let no_store = || AdminError::NoStore { path: path.to_owned() };
    let found = fs::metadata(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => no_store(),
        _ => failed(path, &error),
    })?;
    if !found.is_dir() {
        return Ok(path.to_owned());
    }
    let database = path.join(DATABASE);
    match fs::metadata(&database) {
        Ok(_) => Ok(database),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(no_store()),
        Err(error) => Err(failed(&database, &error)),
    }
}

/// The process that has the lock of the store at `database`, where the kernel tells. Takes no lock itself: a sidecar that
/// starts at this very moment must not be refused for it.
pub(crate) fn writer_of(database: &Path) -> Option<u32> {
    let lock = fs::metadata(database.with_file_name("store.lock")).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let inode = format!(":{}", lock.ino());
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // 1: FLOCK  ADVISORY  WRITE 4242 fd:01:262146 0 EOF
        let &[_, "FLOCK", _, "WRITE", pid, file, ..] = fields.as_slice() else { return None };
        file.ends_with(&inode).then(|| pid.parse().ok()).flatten()
    })
}

/// Makes a file's new name survive power loss.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), AdminError> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(folder, &error))
}

/// Gives the finished file `from` its name `to`, durably, unless something has that name.
pub(crate) fn publish(from: &Path, to: &Path) -> Result<(), AdminError> {
    File::open(from).and_then(|file| file.sync_all()).map_err(|error| failed(from, &error))?;
    let renamed =
        rustix::fs::renameat_with(rustix::fs::CWD, from, rustix::fs::CWD, to, rustix::fs::RenameFlags::NOREPLACE);
    match renamed {
        Ok(()) => {}
        Err(rustix::io::Errno::EXIST) => return Err(taken(to)),
        // A file system without that flag: a second name, then the first one goes.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            fs::hard_link(from, to).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => taken(to),
                _ => failed(to, &error),
            })?;
            fs::remove_file(from).map_err(|error| failed(from, &error))?;
        }
        Err(error) => return Err(failed(to, &error.into())),
    }
    sync_folder_of(to)
}

pub(crate) fn taken(path: &Path) -> AdminError {
    AdminError::NotEmpty { place: path.display().to_string(), found: "a file".to_owned() }
}

pub(crate) fn failed(path: &Path, error: &std::io::Error) -> AdminError {
    AdminError::Failed { place: path.display().to_string(), reason: error.to_string() }
}
