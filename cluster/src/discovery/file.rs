//! [`FileDiscovery`]: a file says where the nodes are.

use super::{Contacts, Discovery};
use crate::member::Address;
use actors::BoxError;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file with one address, `HOST:PORT`, per line. Lines that are empty or begin with `#` say nothing.
#[derive(Clone, Debug)]
pub struct FileDiscovery {
    path: PathBuf,
}

impl FileDiscovery {
    /// The file at `path`. It is read again each time, so it may be written later.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

/// More than a list of nodes needs.
const FILE_MAX: u64 = 64 * 1024;

impl Discovery for FileDiscovery {
    fn contacts(&self) -> Contacts<'_> {
        let path = self.path.clone();
        Box::pin(async move { tokio::task::spawn_blocking(move || read(&path)).await? })
    }
}

fn read(path: &Path) -> Result<Vec<Address>, BoxError> {
    let size = fs::metadata(path)?.len();
    if size > FILE_MAX {
        return Err(format!("{}: {size} bytes are no list of nodes", path.display()).into());
    }
    let text = fs::read_to_string(path)?;
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let address = |(at, line): (usize, &str)| {
        line.parse().map_err(|error| format!("{}: line {}: {error}", path.display(), at + 1).into())
    };
    lines.map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_read_and_what_is_no_address_is_told_by_its_line() {
        let path = std::env::temp_dir().join(format!("cluster-seeds-{}", std::process::id()));
        fs::write(&path, "# seeds\n\n n1:2551\n[::1]:2552\n").unwrap();
        let source = FileDiscovery::new(&path);
        assert_eq!(source.contacts().await.unwrap(), ["n1:2551".parse().unwrap(), "[::1]:2552".parse().unwrap()]);
        fs::write(&path, "n1:2551\nn2").unwrap();
        let told = source.contacts().await.unwrap_err().to_string();
        assert!(told.contains("line 2") && told.contains("port is missing"), "{told}");
        fs::remove_file(&path).unwrap();
        assert!(source.contacts().await.is_err());
    }
}
