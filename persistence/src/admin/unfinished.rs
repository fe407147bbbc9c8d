//! [`UnfinishedFile`]: a file that gets its name when it is complete.

use super::{AdminError, place};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file that grows beside its place, under a name of its own that nobody else takes, and is removed unless it is
/// published. A process that is killed leaves it behind: `NAME.unfinished-` and 16 digits, which nobody needs.
#[derive(Debug)]
pub struct UnfinishedFile {
    path: PathBuf,
    target: PathBuf,
}

impl UnfinishedFile {
    /// Begins a file that is to be `target`. Nothing is made yet: whoever fills it creates it.
    ///
    /// # Errors
    /// [`AdminError::NotEmpty`] when something has that name already.
    pub fn begin(target: impl Into<PathBuf>) -> Result<Self, AdminError> {
        let target = target.into();
        if target.symlink_metadata().is_ok() {
            return Err(place::taken(&target));
        }
        let mut name = target.as_os_str().to_owned();
        name.push(format!("{}{:016x}", place::UNFINISHED, rand::random::<u64>()));
        Ok(Self { path: name.into(), target })
    }

    /// Where it grows.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name, once it and its name are on the disk. Blocks.
    ///
    /// # Errors
    /// [`AdminError::NotEmpty`] when something else has got that name meanwhile, which is left as it is.
    pub fn publish(self) -> Result<(), AdminError> {
        place::publish(&self.path, &self.target)
    }
}

impl Drop for UnfinishedFile {
    fn drop(&mut self) {
        // Has its name by now, or is of no use.
        let _ = fs::remove_file(&self.path);
    }
}
