//! The `cloudstate` binary: reads flags, file and environment, puts the parts together, waits for a signal, drains.

#![allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]

use std::fmt::Display;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use actors::Clock;
use clap::Parser;
use cloudstate::admin::{self, Health};
use cloudstate::child::{self, ChildCommand, Output, UserFunctionChild};
use cloudstate::cli::{
    Cli, Command, ConfigArgs, DemoUserFunctionArgs, EventsAction, Exit, ParkedFilter, SettingArgs, TckArgs,
};
use cloudstate::cluster_command::{self, ClusterAction};
use cloudstate::config::{CONFIG_FILE_ENV, ConfigError, LogConfig, LogFormat, ProxyConfig, Resolved, Sources};
use cloudstate::eventing::command::{self, Action, CommandError};
use cloudstate::eventing::{self, Control, Filter};
use cloudstate::listen::{self, ListenError, MANAGEMENT_PORT, METRICS_PORT};
use cloudstate::proxy::{self, Proxy};
use cloudstate::store::{Store, StoreError};
use cloudstate::store_command::{self, StoreAction, StoreCommandError};
use cloudstate::{demo, tck, telemetry};
use persistence::admin::Progress;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Run(args) => run(&args.settings, Launch::from_words(args.command)),
        Command::Demo(settings) => run(&settings, Launch::Demo),
        Command::Config(args) => print_config(&args),
        Command::Tck(args) => conformance(&args),
        Command::Events(args) => events(&args.action),
        Command::Store(args) => store(&args.action),
        Command::Cluster(args) => cluster(&args.action),
        Command::DemoUserFunction(args) => demo_user_function(&args),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            for line in failure.text.lines() {
                // With nobody to read it, the exit status still tells.
                let _ = writeln!(std::io::stderr(), "error: {line}");
            }
            failure.exit.into()
        }
    }
}

/// What to start beside the sidecar.
enum Launch {
    /// Nothing: the user function runs already.
    Nothing,
    /// A command.
    Command(Vec<String>),
    /// The built-in shopping cart, and instructions for the user.
    Demo,
}

/// Why the process ends: a text that says what to do, and the exit status.
struct Failure {
    exit: Exit,
    text: String,
}

fn run(settings: &SettingArgs, launch: Launch) -> Result<Exit, Failure> {
    let resolved = read_settings(settings)?;
    let config = resolved.config()?;
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let clock = Clock::tokio();
        telemetry::log::init(&config.log, clock.clone()).map_err(|error| failed(Exit::Usage, error))?;
        match Sidecar::start(config, &resolved, launch, clock).await? {
            Some(sidecar) => sidecar.run().await,
            None => Ok(Exit::Stopped),
        }
    });
    // Whatever is still running has had its time.
    runtime.shutdown_timeout(LAST_BREATH);
    ended
}

/// Everything that runs, from the first port to the user function.
struct Sidecar {
    config: ProxyConfig,
    clock: Clock,
    signals: Signals,
    health: Health,
    proxy: Proxy,
    child: Option<Child>,
    _background: JoinSet<()>, // the admin ports: probes are answered until the process ends
}

/// The user function we started.
struct Child {
    stop: CancellationToken,
    supervised: JoinHandle<()>,
}

impl Sidecar {
    /// Starts everything, the user function last: it is not started for nothing when something else is wrong. `None` when
    /// a signal came while the store was being opened, which may take long after a crash.
    async fn start(
        mut config: ProxyConfig,
        resolved: &Resolved,
        launch: Launch,
        clock: Clock,
    ) -> Result<Option<Self>, Failure> {
        let mut signals = Signals::listen()?;
        let health = Health::new();
        let control = Control::default();
        let mut background = start_admin(&config, &health, &control).await?;
        let command = launch.command(&mut config, resolved).await?;
        let store = tokio::select! {
            biased;
            store = Store::open(&config.store) => store?,
            signal = signals.next() => {
                info!(signal = signal.name(), "stopped before the store was open");
                return Ok(None);
            }
        };
        let proxy = Proxy::start(config.clone(), store.clone(), health.clone())?;
        control.attach(proxy.eventing());
        let child = match command {
            None => None,
            Some(command) => match start_child(command, &config, &clock).await {
                Ok(child) => Some(child),
                Err(error) => {
                    proxy.drain().await;
                    return Err(error.into());
                }
            },
        };
        background.spawn(announce(health.clone(), proxy.address(), matches!(launch, Launch::Demo)));
        Ok(Some(Self { config, clock, signals, health, proxy, child, _background: background }))
    }

    /// Serves until a signal comes, then drains; a second signal ends at once.
    async fn run(mut self) -> Result<Exit, Failure> {
        let first = self.signals.next().await;
        info!(signal = first.name(), "stopping; a second signal ends at once");
        let Self { config, clock, mut signals, health, proxy, child, .. } = self;
        let stopping = async {
            health.draining();
            if let Cause::Terminate = first {
                // Routers that still believe the last "ready" send requests here for a moment.
                clock.sleep(config.shutdown.readiness_grace).await;
            }
            proxy.drain().await;
            if let Some(child) = child {
                child.stop.cancel();
                // A panic of the supervisor was logged; the process group is gone either way.
                let _ = child.supervised.await;
            }
        };
        tokio::select! {
            () = stopping => {
                info!("stopped");
                Ok(Exit::Stopped)
            }
            second = signals.next() => {
                warn!(signal = second.name(), "stopped before everything was finished; what was acknowledged is stored");
                Ok(Exit::Interrupted)
            }
        }
    }
}

impl Launch {
    fn from_words(words: Vec<String>) -> Self {
        if words.is_empty() { Self::Nothing } else { Self::Command(words) }
    }

    /// The command to start, if any; `config` then says where the user function will listen.
    async fn command(&self, config: &mut ProxyConfig, resolved: &Resolved) -> Result<Option<ChildCommand>, Failure> {
        let mut words = match self {
            Self::Nothing => return Ok(None),
            Self::Command(words) => words.clone(),
            Self::Demo => {
                let program = std::env::current_exe().map_err(|error| failed(Exit::Command, error))?;
                vec![program.display().to_string(), "demo-user-function".to_owned()]
            }
        };
        config.user_function.host = Ipv4Addr::LOCALHOST.to_string();
        if resolved.is_default("user-function-port") {
            config.user_function.port = listen::free_port().map_err(|error| failed(Exit::Port, error))?;
        }
        let env = [("HOST", config.user_function.host.clone()), ("PORT", config.user_function.port.to_string())];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let args = words.split_off(1);
        Ok(words.pop().map(|program| ChildCommand { program, args, env }))
    }
}

/// Why the process is asked to stop.
#[derive(Clone, Copy)]
enum Cause {
    Terminate,
    Interrupt,
}

impl Cause {
    fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM",
            Self::Interrupt => "SIGINT",
        }
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen = |kind| signal(kind).map_err(|error| failed(Exit::Failed, error));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> Cause {
        tokio::select! {
            _ = self.terminate.recv() => Cause::Terminate,
            _ = self.interrupt.recv() => Cause::Interrupt,
        }
    }
}

/// How long tasks that are left over may take to end.
const LAST_BREATH: Duration = Duration::from_millis(200);

fn read_settings(args: &SettingArgs) -> Result<Resolved, Failure> {
    let file = args
        .config
        .clone()
        .or_else(|| std::env::var_os(CONFIG_FILE_ENV).filter(|name| !name.is_empty()).map(Into::into));
    let file = file.map(|path| match std::fs::read_to_string(&path) {
        Ok(text) => Ok((path.display().to_string(), text)),
        Err(error) => {
            Err(failed(Exit::Usage, format!("cannot read the configuration file {}: {error}", path.display())))
        }
    });
    // A variable that is not UTF-8 is none of ours: all of ours are checked for their values.
    let env = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
    Ok(Sources { file: file.transpose()?, env: env.collect(), flags: args.flags() }.resolve()?)
}

fn runtime() -> Result<Runtime, Failure> {
    Builder::new_multi_thread()
        .enable_all()
        .thread_name("cloudstate")
        .max_blocking_threads(32)
        .build()
        .map_err(|error| failed(Exit::Failed, format!("cannot start threads: {error}")))
}

async fn start_admin(config: &ProxyConfig, health: &Health, control: &Control) -> Result<JoinSet<()>, Failure> {
    let mut tasks = JoinSet::new();
    if let Some(address) = config.admin.management {
        let listener = listen::bind(address, MANAGEMENT_PORT).await?;
        info!(address = %shown(&listener), "management port open: /ready, /alive, and /events for this machine");
        let router = admin::management_router(health.clone()).merge(eventing::routes(control.clone()));
        tasks.spawn(admin::serve(listener, router));
    }
    if let Some(address) = config.admin.metrics {
        let listener = listen::bind(address, METRICS_PORT).await?;
        info!(address = %shown(&listener), "metrics port open: /metrics");
        let handle = telemetry::series::install().map_err(|error| failed(Exit::Failed, error))?;
        tasks.spawn(admin::metrics_upkeep(handle.clone()));
        tasks.spawn(admin::serve(listener, admin::metrics_router(handle)));
    }
    Ok(tasks)
}

async fn start_child(command: ChildCommand, config: &ProxyConfig, clock: &Clock) -> Result<Child, child::StartError> {
    let output = Output::passed_on("[function] ", config.log.format);
    let child = UserFunctionChild::start(command, config.child.clone(), clock.clone(), output).await?;
    let stop = CancellationToken::new();
    let supervised = tokio::spawn(child.supervise(stop.clone()));
    Ok(Child { stop, supervised })
}

fn shown(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|error| error.to_string(), |address: SocketAddr| address.to_string())
}

fn print_config(args: &ConfigArgs) -> Result<Exit, Failure> {
    let resolved = read_settings(&args.settings)?;
    resolved.config()?;
    let mut text = if args.json { resolved.to_json() } else { resolved.to_text() };
    if args.json {
        text.push('\n');
    }
    print(&text)?;
    Ok(Exit::Stopped)
}

fn conformance(args: &TckArgs) -> Result<Exit, Failure> {
    if args.list {
        let tests = tck::GROUPS.iter().flat_map(|group| group.tests().map(move |test| (group, test)));
        let lines = tests.map(|(group, test)| format!("{} {}: {}\n", group.number, group.name, test.name));
        print(&lines.collect::<String>())?;
        return Ok(Exit::Stopped);
    }
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let arrangement = args.arrangement();
        let progress = |progress: tck::Progress<'_>| {
            let line = match progress {
                tck::Progress::Listening(address) => {
                    format!("the proxy's user function is at {address}, waiting for the proxy")
                }
                tck::Progress::Ended(group) => {
                    format!("{}: {} of {} passed", group.name, group.passed(), group.tests.len())
                }
            };
            // Nobody reads it, then nobody misses it.
            let _ = writeln!(std::io::stderr(), "{line}");
        };
        let report = tokio::select! {
            report = tck::run(&arrangement, &args.only, progress) => report,
            _ = signals.next() => return Ok(Exit::Interrupted),
        };
        let report = report.map_err(|error| failed(Exit::Usage, error))?;
        print(&report.to_string())?;
        if let Some(file) = &args.junit {
            let written = std::fs::write(file, report.junit());
            written.map_err(|error| failed(Exit::Usage, format!("cannot write {}: {error}", file.display())))?;
        }
        Ok(if report.failed() == 0 { Exit::Stopped } else { Exit::Failed })
    });
    runtime.shutdown_timeout(LAST_BREATH);
    ended
}

fn events(action: &EventsAction) -> Result<Exit, Failure> {
    let (action, settings, filter, json) = match action {
        EventsAction::Parked(args) => (Action::List, &args.settings, &args.filter, args.json),
        EventsAction::Replay(args) => (Action::Replay, &args.settings, &args.filter, false),
        EventsAction::Drop(args) => (Action::Drop, &args.settings, &args.filter, false),
    };
    let config = read_settings(settings)?.config()?;
    let ParkedFilter { group, source, offset } = filter;
    let filter = Filter { group: group.clone(), source: source.clone(), offset: *offset, after: None };
    let outcome = runtime()?.block_on(command::run(&config, action, filter))?;
    print(&if json { outcome.to_json() } else { outcome.to_text() })?;
    Ok(Exit::Stopped)
}

fn store(action: &StoreAction) -> Result<Exit, Failure> {
    let config = read_settings(&action.place().settings())?.config()?;
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let (progress, clock, mut told) = (Progress::default(), Clock::tokio(), false);
        let mut running = std::pin::pin!(store_command::run(action, &config.store, &progress, &clock));
        loop {
            tokio::select! {
                ended = &mut running => return Ok(ended?),
                // What is unfinished is removed; told twice, it is left lying.
                _ = signals.next() => {
                    if std::mem::replace(&mut told, true) {
                        return Ok(Exit::Interrupted);
                    }
                    progress.cancel();
                }
            }
        }
    });
    runtime.shutdown_timeout(LAST_BREATH);
    ended
}

fn demo_user_function(args: &DemoUserFunctionArgs) -> Result<Exit, Failure> {
    let log = LogConfig { format: LogFormat::Text, level: "info".to_owned() };
    runtime()?.block_on(async {
        telemetry::log::init(&log, Clock::tokio()).map_err(|error| failed(Exit::Failed, error))?;
        let listener = TcpListener::bind((args.host.as_str(), args.port)).await;
        let listener = listener.map_err(|error| failed(Exit::Port, format!("cannot listen on {}:{}: {error}", args.host, args.port)))?;
        info!(address = %shown(&listener), "shopping cart is listening");
        let mut signals = Signals::listen()?;
        tokio::select! {
            served = demo::serve(listener) => served.map(|()| Exit::Stopped).map_err(|error| failed(Exit::Failed, error)),
            _ = signals.next() => Ok(Exit::Stopped),
        }
    })
}

fn cluster(action: &ClusterAction) -> Result<Exit, Failure> {
    let done = runtime()?.block_on(cluster_command::run(action, &Clock::tokio()));
    print(&done.map_err(|error| failed(Exit::Failed, error))?)?;
    Ok(Exit::Stopped)
}

/// Says where clients are served once they are, and for the demo what to try there.
async fn announce(health: Health, address: SocketAddr, demo: bool) {
    health.until_serving().await;
    info!(%address, "serving");
    if !demo {
        return;
    }
    let started_as: Vec<_> = std::env::args().collect();
    // Nobody reads it, then nobody misses it.
    let _ = print(&demo::instructions(address.port(), std::process::id(), &started_as.join(" ")));
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| failed(Exit::Failed, error))
}

fn failed(exit: Exit, text: impl Display) -> Failure {
    Failure { exit, text: text.to_string() }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        failed(Exit::Usage, error)
    }
}

impl From<ListenError> for Failure {
    fn from(error: ListenError) -> Self {
        failed(Exit::Port, error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        failed(Exit::Store, error)
    }
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let exit = match error {
            CommandError::NoStore { .. } | CommandError::Store(_) => Exit::Store,
            _ => Exit::Failed,
        };
        failed(exit, error)
    }
}

impl From<StoreCommandError> for Failure {
    fn from(error: StoreCommandError) -> Self {
        let exit = error.exit();
        failed(exit, error)
    }
}

impl From<child::StartError> for Failure {
    fn from(error: child::StartError) -> Self {
        failed(Exit::Command, error)
    }
}

impl From<proxy::StartError> for Failure {
    fn from(error: proxy::StartError) -> Self {
        failed(Exit::Port, error)
    }
}
