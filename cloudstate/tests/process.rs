//! Real processes of the `cloudstate` binary, on free ports of the loopback address.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A port that nobody listens on at the moment and that nobody is handed by chance.
pub(crate) fn free_port() -> u16 {
    cloudstate::listen::free_port().expect("a free port")
}

/// A command of the binary with none of our environment's settings.
pub(crate) fn cloudstate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloudstate"));
    command.env("MANAGEMENT_PORT", "off").env("METRICS_PORT", "off").stdin(Stdio::null());
    command
}

/// A user function as a process of its own. Dropping it kills it.
pub(crate) struct Function(Child);

impl Function {
    /// The built-in shopping cart.
    pub(crate) fn start(port: u16) -> Self {
        let mut command = cloudstate();
        command.arg("demo-user-function").env("HOST", "127.0.0.1").env("PORT", port.to_string());
        command.env("CLOUDSTATE_LOG_LEVEL", "error");
        Self::run(command.stdout(Stdio::null()))
    }

    /// Any other user function.
    pub(crate) fn run(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}")))
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        kill(&mut self.0);
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A sidecar. Dropping it kills it.
pub(crate) struct Sidecar(Child);

impl Sidecar {
    pub(crate) fn start(store: &str, http_port: u16, function_port: u16) -> Self {
        Self::start_with(store, http_port, function_port, |_| {})
    }

    pub(crate) fn start_with(
        store: &str,
        http_port: u16,
        function_port: u16,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let mut command = cloudstate();
        command
            .args(["run", "--store", store])
            .env("HTTP_PORT", http_port.to_string())
            .env("CLOUDSTATE_HTTP_INTERFACE", "127.0.0.1")
            .env("USER_FUNCTION_PORT", function_port.to_string())
            .env("CLOUDSTATE_LOG_LEVEL", "error")
            .stdout(Stdio::null());
        change(&mut command);
        Self(command.spawn().expect("the sidecar starts"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        self.0.wait().expect("a child")
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        kill(&mut self.0);
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.kill();
    }
}

fn kill(child: &mut Child) {
    // An error means that it has ended already.
    let _ = child.kill();
    let _ = child.wait();
}

/// All events of a store that no process has open: (persistence id, sequence number, manifest, payload), in order.
pub(crate) fn journal_of(folder: &Path) -> Vec<(String, i64, String, Vec<u8>)> {
    let database = database_of(folder);
    let mut query = database
        .prepare(
            "SELECT e.persistence_id, j.seq_nr, m.name, j.payload FROM journal j \
             JOIN entity e ON e.pid = j.pid JOIN manifest m ON m.id = j.manifest ORDER BY j.pid, j.seq_nr",
        )
        .expect("the documented schema");
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

/// All snapshots of a store that no process has open: (persistence id, sequence number, manifest), in order.
pub(crate) fn snapshots_of(folder: &Path) -> Vec<(String, i64, String)> {
    let database = database_of(folder);
    let mut query = database
        .prepare(
            "SELECT e.persistence_id, s.seq_nr, m.name FROM snapshot s \
             JOIN entity e ON e.pid = s.pid JOIN manifest m ON m.id = s.manifest ORDER BY s.pid, s.seq_nr",
        )
        .expect("the documented schema");
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

fn database_of(folder: &Path) -> rusqlite::Connection {
    let file = std::fs::read_dir(folder)
        .expect("the store's folder")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "db" || extension == "sqlite"))
        .expect("a database");
    rusqlite::Connection::open(file).expect("a readable database")
}
