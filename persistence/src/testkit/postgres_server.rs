//! [`PostgresServer`]: a real PostgreSQL server for tests.

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::{
    fs,
    io::{self, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// A PostgreSQL server of its own: data in a temporary folder, on a free port of 127.0.0.1. It ends with this handle, and
/// also when the process ends in any other way, `kill -9` included.
///
/// The superuser is [`SUPERUSER`](Self::SUPERUSER); every connection from this machine is trusted until
/// [`set_access`](Self::set_access) says otherwise. All calls block the calling thread, none for longer than a minute.
///
/// The server refuses to run as root: started by root, it runs as the user `postgres`, or else `nobody`.
pub struct PostgresServer {
    folder: TempDir,
    programs: PathBuf,
    user: Option<(u32, u32)>, // whom the server runs as, if not as we do
    port: u16,
    running: Mutex<Option<Child>>, // the shell that looks after the server
    databases: AtomicU64,
}

/// How a [`PostgresServer`] is set up.
#[derive(Clone, Debug, Default)]
pub struct PostgresServerOptions {
    /// Whether a commit waits for the disk. Default no: tests without crashes are faster so.
    pub fsync: bool,
    /// Lines for `postgresql.conf`, each like `max_connections=20`. Default none.
    pub settings: Vec<String>,
}

/// Why a server for tests could not be started or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresServerError {
    /// The programs are not installed.
    #[error(
        "no PostgreSQL server is installed (looked for initdb in PATH and /usr/lib/postgresql/*/bin); \
         scripts/test installs one, or run: apt-get install postgresql"
    )]
    NotInstalled,
    /// A program of the server failed.
    #[error("{what} failed: {reason}")]
    Failed {
        /// Which program or step.
        what: &'static str,
        /// What it said.
        reason: String,
    },
}

/// Between two looks at something that is about to happen.
const PAUSE: Duration = Duration::from_millis(20);

/// How often a server is started that ends at once.
const STARTS: u32 = 5;

/// Looks until it is given up: a minute, for a machine that does ten other things.
const LOOKS: u32 = 3_000;

/// Runs the server and ends it once standard input closes, which it does however this process ends. Unless told to keep
/// the folder, it removes that too.
const KEEPER: &str = r#"trap '' INT TERM HUP
"$1/postgres" -D "$2/data" >>"$2/log" 2>&1 </dev/null &
server=$!
word=$(cat)
kill -QUIT $server 2>/dev/null
wait $server
[ "$word" = keep ] || rm -rf "$2"
"#;

impl PostgresServer {
    /// The role that may do everything.
    pub const SUPERUSER: &str = "cloudstate";

    /// Makes a data folder and starts a server on it.
    ///
    /// # Errors
    /// [`PostgresServerError::NotInstalled`] tells how to install it.
    pub fn start(options: &PostgresServerOptions) -> Result<Self, PostgresServerError> {
        let programs = find_programs().ok_or(PostgresServerError::NotInstalled)?;
        let user = if geteuid().is_root() { Some(unprivileged_user()?) } else { None };
        let folder = tempfile::Builder::new().prefix("postgres-").tempdir().map_err(failed("temporary folder"))?;
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).map_err(failed("chown of the temporary folder"))?;
        }
        let port = free_port().map_err(failed("finding a free port"))?;
        let server = Self { folder, programs, user, port, running: Mutex::new(None), databases: AtomicU64::new(0) };
        let initdb = server
            .program("initdb")
            .args(["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--username", Self::SUPERUSER, "-D"])
            .arg(server.data())
            .output();
        succeeded("initdb", initdb)?;
        server.configure(options)?;
        server.restart()?;
        Ok(server)
    }

    /// Port on 127.0.0.1, the same after every restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Connection string of the superuser for `database`.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{}@127.0.0.1:{}/{database}", Self::SUPERUSER, self.port)
    }

    /// Makes an empty database and answers its name.
    ///
    /// # Errors
    /// What the server said.
    pub fn create_database(&self) -> Result<String, PostgresServerError> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(name)
    }

    /// Runs `sql` as the superuser by `psql`, and answers the rows: columns separated by `|`.
    ///
    /// # Errors
    /// What the server said.
    pub fn sql(&self, database: &str, sql: &str) -> Result<String, PostgresServerError> {
        let ran = self
            .program("psql")
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg(self.url(database))
            .output();
        Ok(succeeded("psql", ran)?.trim_end().to_owned())
    }

    /// Runs a program of PostgreSQL's, such as `pg_dump`, and answers what it printed.
    ///
    /// # Errors
    /// What it printed as an error.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String, PostgresServerError> {
        succeeded("a program of PostgreSQL", self.program(program).args(arguments).output())
    }

    /// Replaces `pg_hba.conf`, which says who may connect how, and makes the server read it and `postgresql.conf` again.
    ///
    /// # Errors
    /// When the file cannot be written or the server does not run.
    pub fn set_access(&self, lines: &str) -> Result<(), PostgresServerError> {
        fs::write(self.data().join("pg_hba.conf"), lines).map_err(failed("writing pg_hba.conf"))?;
        self.signal(Signal::HUP);
        Ok(())
    }

    /// Adds a line to `postgresql.conf`; it counts from the next [`restart`](Self::restart) on.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_setting(&self, line: &str) -> Result<(), PostgresServerError> {
        let path = self.data().join("postgresql.conf");
        let before = fs::read_to_string(&path).map_err(failed("reading postgresql.conf"))?;
        fs::write(path, format!("{before}\n{line}\n")).map_err(failed("writing postgresql.conf"))
    }

    /// Writes a file into the data folder that only the server can read, such as a key, and answers its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_file(&self, name: &str, contents: &str) -> Result<PathBuf, PostgresServerError> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.data().join(name);
        fs::write(&path, contents).map_err(failed("writing a file"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed("chmod"))?;
        if let Some((uid, gid)) = self.user {
            chown(&path, Some(uid), Some(gid)).map_err(failed("chown"))?;
        }
        Ok(path)
    }

    /// Kills every process of the server with SIGKILL, as a machine that loses its power does, and waits until they are
    /// gone. [`restart`](Self::restart) recovers.
    pub fn kill(&self) {
        let all = self.pause();
        for pid in &all {
            let _ = kill_process(*pid, Signal::KILL);
        }
        assert!(wait_until(|| !all.iter().any(|pid| is_running(*pid))), "the server did not end: {}", self.log());
        self.end_keeper("keep");
    }

    /// Stops every process of the server with SIGSTOP: connections stay, and nothing is answered any more, until
    /// [`resume`](Self::resume) or [`kill`](Self::kill).
    pub fn stop_answering(&self) {
        self.pause();
    }

    /// Lets a server go on that was made to [`stop_answering`](Self::stop_answering).
    pub fn resume(&self) {
        if let Some(server) = self.pid() {
            for pid in children(server).into_iter().chain([server]) {
                let _ = kill_process(pid, Signal::CONT);
            }
        }
    }

    /// Stops the parent before its children are listed, as else it would start others; none notices what becomes of another.
    fn pause(&self) -> Vec<Pid> {
        let Some(server) = self.pid() else { return Vec::new() };
        let _ = kill_process(server, Signal::STOP);
        assert!(
            wait_until(|| matches!(state(server), None | Some('T' | 'Z'))),
            "the server did not stop: {}",
            self.log()
        );
        let all: Vec<Pid> = std::iter::once(server).chain(children(server)).collect();
        for pid in &all {
            let _ = kill_process(*pid, Signal::STOP);
        }
        all
    }

    /// Stops the server as if it had crashed, without a checkpoint, if it runs; starts it, and waits until it answers.
    ///
    /// # Errors
    /// The end of the server's log, when it does not come up within a minute.
    pub fn restart(&self) -> Result<(), PostgresServerError> {
        self.end_keeper("keep");
        for _ in 0..STARTS {
            let before = self.log().len();
            let mut keeper = Command::new("sh");
            keeper.arg("-c").arg(KEEPER).arg("keeper").arg(&self.programs).arg(self.folder.path());
            keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
            self.unprivileged(&mut keeper);
            *self.running.lock() = Some(keeper.spawn().map_err(failed("starting the server"))?);
            let ended = || self.log().get(before..).is_some_and(|said| said.contains("database system is shut down"));
            wait_until(|| self.answers() || ended());
            if self.answers() {
                return Ok(());
            }
            if !ended() {
                break;
            }
            // Somebody may have taken the port meanwhile, for a connection of a moment.
            self.end_keeper("keep");
        }
        Err(PostgresServerError::Failed { what: "starting the server", reason: self.log() })
    }

    /// Whether it is this server that answers, and not another one at its port.
    fn answers(&self) -> bool {
        let asked = self.program("pg_isready").args(["-h", "127.0.0.1", "-p", &self.port.to_string()]).output();
        self.pid().is_some() && asked.is_ok_and(|asked| asked.status.success())
    }

    /// The server's log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn configure(&self, options: &PostgresServerOptions) -> Result<(), PostgresServerError> {
        let (folder, port) = (self.folder.path().display(), self.port);
        self.add_setting(&format!("listen_addresses='127.0.0.1'\nport={port}\nunix_socket_directories='{folder}'"))?;
        self.add_setting("max_connections=200\nshared_buffers=32MB\nmax_wal_size=1GB\nlogging_collector=off")?;
        if !options.fsync {
            self.add_setting("fsync=off\nfull_page_writes=off")?;
        }
        options.settings.iter().try_for_each(|line| self.add_setting(line))
    }

    /// One of PostgreSQL's programs, run as the server's user.
    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        command.stdin(Stdio::null()).env_remove("PGHOST").env_remove("PGPORT").env_remove("PGOPTIONS");
        self.unprivileged(&mut command);
        command
    }

    fn unprivileged(&self, command: &mut Command) {
        command.current_dir(self.folder.path());
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn pid(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let pid = Pid::from_raw(text.lines().next()?.trim().parse().ok()?)?;
        // The file outlives a server that was killed, and its number may have gone to a stranger.
        let command = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
        let ours = String::from_utf8_lossy(&command).contains(&*self.data().to_string_lossy());
        (ours && is_running(pid)).then_some(pid)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill_process(pid, signal);
        }
    }

    /// Tells the keeper a last word and waits for it.
    fn end_keeper(&self, word: &str) {
        self.resume(); // who is stopped does not end
        if let Some(mut keeper) = self.running.lock().take() {
            if let Some(mut input) = keeper.stdin.take() {
                let _ = input.write_all(word.as_bytes());
            }
            if !wait_until(|| keeper.try_wait().is_ok_and(|ended| ended.is_some())) {
                let _ = keeper.kill();
                let _ = keeper.wait();
            }
        }
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.end_keeper("");
    }
}

fn find_programs() -> Option<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            Some((version, path.join("bin")))
        })
        .filter(|(_, programs)| programs.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().map(|(_, programs)| programs).or_else(|| {
        let shell = Command::new("sh").args(["-c", "command -v initdb"]).output().ok()?;
        let path = String::from_utf8(shell.stdout).ok()?;
        Path::new(path.trim()).canonicalize().ok()?.parent().map(Path::to_owned)
    })
}

fn unprivileged_user() -> Result<(u32, u32), PostgresServerError> {
    let users = fs::read_to_string("/etc/passwd").map_err(failed("reading /etc/passwd"))?;
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    ids("postgres").or_else(|| ids("nobody")).ok_or_else(|| PostgresServerError::Failed {
        what: "finding a user for the server",
        reason: "it does not run as root, and there is neither `postgres` nor `nobody`".into(),
    })
}

fn free_port() -> io::Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr().map(|address| address.port())
}

fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero();
    let listed = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    listed.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

/// What a process does, as `ps` names it; `None` for no such process.
fn state(pid: Pid) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether there is such a process and it has not ended.
fn is_running(pid: Pid) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

#[expect(clippy::disallowed_methods, reason = "other processes take real time, and this runs no actor")]
fn wait_until(mut happened: impl FnMut() -> bool) -> bool {
    for _ in 0..LOOKS {
        if happened() {
            return true;
        }
        thread::sleep(PAUSE);
    }
    false
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> PostgresServerError {
    move |error| PostgresServerError::Failed { what, reason: error.to_string() }
}

fn succeeded(what: &'static str, output: io::Result<Output>) -> Result<String, PostgresServerError> {
    let output = output.map_err(failed(what))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(PostgresServerError::Failed { what, reason: text(&output.stderr) })
}
