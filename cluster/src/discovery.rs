//! [`Discovery`]: finds through whom to join. [`Bootstrap`] decides when enough is known.

use crate::member::Address;
use actors::{BoxError, Tick};
use std::{future::Future, path::PathBuf, pin::Pin, time::Duration};

/// Finds the nodes of a cluster.
pub trait Discovery: Send + Sync + 'static {
    /// The addresses at which nodes are, or may be, as they are known now; in any order. At most 64 are used. Dropped when it
    /// takes longer than ten seconds.
    ///
    /// # Errors
    /// Whatever went wrong: it is logged, and asked again a second later.
    fn contacts(&self) -> Pin<Box<dyn Future<Output = Result<Vec<Address>, BoxError>> + Send + '_>>;
}

/// All addresses that a name stands for, by the system's resolver. Nodes must advertise those numbers, and one port.
#[derive(Clone, Debug)]
pub struct DnsDiscovery {
    name: String,
    port: u16,
}

impl DnsDiscovery {
    /// The nodes at `port` of all addresses of `name`.
    pub fn new(name: impl Into<String>, port: u16) -> Self {
        Self { name: name.into(), port }
    }
}

impl Discovery for DnsDiscovery {
    fn contacts(&self) -> Pin<Box<dyn Future<Output = Result<Vec<Address>, BoxError>> + Send + '_>> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((self.name.as_str(), self.port)).await?;
            Ok(found.map(|found| Address::new(found.ip().to_string(), self.port)).collect::<Result<_, _>>()?)
        })
    }
}

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
    fn contacts(&self) -> Pin<Box<dyn Future<Output = Result<Vec<Address>, BoxError>> + Send + '_>> {
        let path = self.path.clone();
        Box::pin(async move { tokio::task::spawn_blocking(move || read(&path)).await? })
    }
}

fn read(path: &std::path::Path) -> Result<Vec<Address>, BoxError> {
    let size = std::fs::metadata(path)?.len();
    if size > FILE_MAX {
        return Err(format!("{}: {size} bytes are no list of nodes", path.display()).into());
    }
    let text = std::fs::read_to_string(path)?;
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let address = |(at, line): (usize, &str)| {
        line.parse().map_err(|error| format!("{}: line {}: {error}", path.display(), at + 1).into())
    };
    lines.map(address).collect()
}

/// Decides, without any I/O, whom to join through.
#[derive(Debug)]
pub(crate) struct Bootstrap {
    me: Address,
    contacts_min: usize,
    stable_for: Duration,
    may_begin: bool,
    known: Vec<Address>,
    since: Option<Tick>,
}

impl Bootstrap {
    pub(crate) fn new(me: Address, contacts_min: usize, stable_for: Duration, may_begin: bool) -> Self {
        Self { me, contacts_min, stable_for, may_begin, known: Vec::new(), since: None }
    }

    /// Takes what was found, at `now`. The seeds, once they are known well enough: the first may begin a cluster.
    pub(crate) fn found(&mut self, mut contacts: Vec<Address>, now: Tick) -> Option<Vec<Address>> {
        contacts.sort();
        contacts.dedup();
        contacts.truncate(crate::membership::swim::SEEDS_MAX);
        if self.since.is_none() || contacts != self.known {
            self.known = contacts;
            self.since = Some(now);
        }
        let is_stable = self.since.is_some_and(|since| now - since >= self.stable_for);
        if !is_stable || self.known.len() < self.contacts_min {
            return None;
        }
        let mut seeds = self.known.clone();
        if seeds.first() == Some(&self.me) && !self.may_begin {
            seeds.rotate_left(1);
            if seeds.first() == Some(&self.me) {
                return None;
            }
        }
        (!seeds.is_empty()).then_some(seeds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(names: &[&str]) -> Vec<Address> {
        names.iter().map(|name| format!("{name}:1").parse().unwrap()).collect()
    }

    fn at(secs: u64) -> Tick {
        Tick::START + Duration::from_secs(secs)
    }

    fn bootstrap(me: &str, may_begin: bool) -> Bootstrap {
        Bootstrap::new(all(&[me])[0].clone(), 2, Duration::from_secs(5), may_begin)
    }

    #[test]
    fn nothing_is_done_before_enough_are_known_and_stay_the_same() {
        let mut node = bootstrap("a", true);
        assert_eq!(node.found(all(&["a"]), at(0)), None);
        assert_eq!(node.found(all(&["a"]), at(9)), None, "one is not enough");
        assert_eq!(node.found(all(&["b", "a"]), at(10)), None);
        assert_eq!(node.found(all(&["a", "b", "b"]), at(14)), None);
        assert_eq!(node.found(all(&["a", "b", "c"]), at(15)), None, "they have changed");
        assert_eq!(node.found(all(&["c", "b", "a"]), at(20)), Some(all(&["a", "b", "c"])));
    }

    #[test]
    fn where_none_is_to_be_begun_the_lowest_comes_last() {
        let mut node = bootstrap("a", false);
        node.found(all(&["a", "b"]), at(0));
        assert_eq!(node.found(all(&["a", "b"]), at(5)), Some(all(&["b", "a"])));
        let mut other = bootstrap("b", false);
        other.found(all(&["a", "b"]), at(0));
        assert_eq!(other.found(all(&["a", "b"]), at(5)), Some(all(&["a", "b"])), "the first of them is not this node");
    }

    #[tokio::test]
    async fn a_file_is_read_and_what_is_no_address_is_told_by_its_line() {
        let path = std::env::temp_dir().join(format!("cluster-seeds-{}", std::process::id()));
        std::fs::write(&path, "# seeds\n\n n1:2551\n[::1]:2552\n").unwrap();
        let source = FileDiscovery::new(&path);
        assert_eq!(source.contacts().await.unwrap(), ["n1:2551".parse().unwrap(), "[::1]:2552".parse().unwrap()]);
        std::fs::write(&path, "n1:2551\nn2").unwrap();
        let told = source.contacts().await.unwrap_err().to_string();
        assert!(told.contains("line 2") && told.contains("port is missing"), "{told}");
        std::fs::remove_file(&path).unwrap();
        assert!(source.contacts().await.is_err());
    }

    #[tokio::test]
    async fn a_name_is_looked_up() {
        let found = DnsDiscovery::new("localhost", 7).contacts().await.unwrap();
        assert!(found.iter().any(|found| found.to_string() == "127.0.0.1:7" || found.to_string() == "[::1]:7"));
    }
}
