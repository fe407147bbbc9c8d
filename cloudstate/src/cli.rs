//! The command line of the `cloudstate` binary.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::cluster_command::{self, ClusterArgs};
use crate::config::Flag;
use crate::store_command::{self, StoreArgs};
use crate::tck::{Arrangement, Chosen, Part};

/// The sidecar of stateful serverless: durable, single-writer state for gRPC user functions.
#[derive(Debug, Parser)]
#[command(name = "cloudstate", version, arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the sidecar, with COMMAND also the user function
    #[command(after_help = EXIT_STATUSES)]
    Run(RunArgs),
    /// Run the sidecar with a built-in shopping cart and say what to try
    #[command(after_help = EXIT_STATUSES)]
    Demo(SettingArgs),
    /// Print every setting with its effective value and where it comes from
    Config(ConfigArgs),
    /// Check a proxy, a user function's SDK, or both, with the protocol's conformance suite
    #[command(after_help = TCK_HELP)]
    Tck(TckArgs),
    /// Look after events that the user function could not handle, which are parked
    Events(EventsArgs),
    /// Look into a store, check it, copy it; also while a sidecar runs on it
    #[command(after_help = store_command::HELP)]
    Store(StoreArgs),
    /// See who is in a cluster, have a member leave or give it up
    #[command(after_help = cluster_command::HELP)]
    Cluster(ClusterArgs),
    /// The shopping cart of `demo`, as the user function it is
    #[command(hide = true)]
    DemoUserFunction(DemoUserFunctionArgs),
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Settings.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// The user function's command; it is given HOST and PORT, restarted when it dies and stopped with the sidecar
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Arguments of `config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Settings.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `tck`.
#[derive(Debug, Args)]
pub struct TckArgs {
    /// Shell command that starts the user function; it is given HOST and PORT
    #[arg(long, value_name = "COMMAND")]
    pub function: Option<String>,
    /// Shell command that starts the proxy; it is given USER_FUNCTION_HOST, USER_FUNCTION_PORT and HTTP_PORT
    #[arg(long, value_name = "COMMAND")]
    pub proxy: Option<String>,
    /// Where the user function listens [default: 127.0.0.1]
    #[arg(long, value_name = "HOST", env = "TCK_SERVICE_HOST", hide_env_values = true)]
    pub service_host: Option<String>,
    /// Its port [default: 8080; with --function a free one]
    #[arg(long, value_name = "PORT", env = "TCK_SERVICE_PORT", hide_env_values = true)]
    pub service_port: Option<u16>,
    /// Where the proxy listens [default: 127.0.0.1]
    #[arg(long, value_name = "HOST", env = "TCK_PROXY_HOST", hide_env_values = true)]
    pub proxy_host: Option<String>,
    /// Its port [default: 9000; with --proxy a free one]
    #[arg(long, value_name = "PORT", env = "TCK_PROXY_PORT", hide_env_values = true)]
    pub proxy_port: Option<u16>,
    /// Where the suite listens for the proxy [default: 0.0.0.0; with --proxy 127.0.0.1]
    #[arg(long, value_name = "HOST", env = "TCK_HOST", hide_env_values = true)]
    pub host: Option<String>,
    /// Its port, the USER_FUNCTION_PORT of the proxy [default: 8090; with --proxy a free one]
    #[arg(long, value_name = "PORT", env = "TCK_PORT", hide_env_values = true)]
    pub port: Option<u16>,
    /// Run this group, by number or name; may be repeated [default: all groups]
    #[arg(long, value_name = "GROUP")]
    pub only: Vec<Chosen>,
    /// Print the tests, one a line, and run none
    #[arg(long)]
    pub list: bool,
    /// Write the outcomes as JUnit's XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

impl TckArgs {
    /// Where the parts are.
    #[must_use]
    pub fn arrangement(&self) -> Arrangement {
        let part = |host: &Option<String>, port, command: &Option<String>| Part {
            host: host.clone(),
            port,
            command: command.clone(),
        };
        Arrangement {
            host: self.host.clone(),
            port: self.port,
            proxy: part(&self.proxy_host, self.proxy_port, &self.proxy),
            function: part(&self.service_host, self.service_port, &self.function),
        }
    }
}

/// Arguments of `events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// What to do with parked events.
    #[command(subcommand)]
    pub action: EventsAction,
}

/// What to do with parked events. The sidecar may be running, then its management port is asked, or not.
#[derive(Debug, Subcommand)]
pub enum EventsAction {
    /// List parked events, with the reason
    Parked(ParkedArgs),
    /// Have parked events tried again, by the sidecar that runs or the next one to start
    Replay(SelectArgs),
    /// Give parked events up for good; they stay in the journal of their entity
    Drop(SelectArgs),
}

/// Arguments of `events parked`.
#[derive(Debug, Args)]
pub struct ParkedArgs {
    /// Settings; those of the sidecar.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// Which events.
    #[command(flatten)]
    pub filter: ParkedFilter,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `events replay` and `events drop`.
#[derive(Debug, Args)]
pub struct SelectArgs {
    /// Settings; those of the sidecar.
    #[command(flatten)]
    pub settings: SettingArgs,
    /// Which events.
    #[command(flatten)]
    pub filter: ParkedFilter,
    /// All parked events
    #[arg(long, required_unless_present_any = ["group", "source", "offset"], conflicts_with_all = ["group", "source", "offset"])]
    pub all: bool,
}

/// Which parked events; those that all of the given options fit.
#[derive(Debug, Args)]
pub struct ParkedFilter {
    /// Those of this consumer group
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Those of this event log
    #[arg(long, value_name = "PERSISTENCE_ID")]
    pub source: Option<String>,
    /// The event with this offset
    #[arg(long, value_name = "OFFSET")]
    pub offset: Option<persistence::Offset>,
}

/// Arguments of the hidden `demo-user-function`.
#[derive(Debug, Args)]
pub struct DemoUserFunctionArgs {
    /// Address to listen on
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    pub host: String,
    /// Port to listen on
    #[arg(long, env = "PORT", default_value_t = 8080)]
    pub port: u16,
}

/// Settings that can be given as flags: the frequent ones by name, all others with `--set`. Given twice, the last one counts.
#[derive(Debug, Clone, Default, Args)]
pub struct SettingArgs {
    /// Configuration file, TOML [env: CLOUDSTATE_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Public port: gRPC, gRPC-Web and HTTP/JSON [env: HTTP_PORT] [default: 9000]
    #[arg(long, value_name = "PORT", overrides_with = "http_port")]
    pub http_port: Option<String>,
    /// Where the user function listens [env: USER_FUNCTION_HOST] [default: 127.0.0.1]
    #[arg(long, value_name = "HOST", overrides_with = "user_function_host")]
    pub user_function_host: Option<String>,
    /// Its port [env: USER_FUNCTION_PORT] [default: 8080; with COMMAND a free one]
    #[arg(long, value_name = "PORT", overrides_with = "user_function_port")]
    pub user_function_port: Option<String>,
    /// sqlite:FOLDER, postgres://USER@HOST/DATABASE or memory [env: CLOUDSTATE_STORE] [default: sqlite:./cloudstate-data]
    #[arg(long, value_name = "STORE", overrides_with = "store")]
    pub store: Option<String>,
    /// /ready, /alive and /events; off for none [env: MANAGEMENT_PORT] [default: 8558]
    #[arg(long, value_name = "PORT", overrides_with = "management_port")]
    pub management_port: Option<String>,
    /// /metrics; off for none [env: METRICS_PORT] [default: 9090]
    #[arg(long, value_name = "PORT", overrides_with = "metrics_port")]
    pub metrics_port: Option<String>,
    /// error, warn, info, debug, trace, or a filter [env: CLOUDSTATE_LOG_LEVEL] [default: info]
    #[arg(long, value_name = "LEVEL", overrides_with = "log_level")]
    pub log_level: Option<String>,
    /// text or json [env: CLOUDSTATE_LOG_FORMAT] [default: text]
    #[arg(long, value_name = "FORMAT", overrides_with = "log_format")]
    pub log_format: Option<String>,
    /// Any other setting; `cloudstate config` lists them. May be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
}

impl SettingArgs {
    /// The settings given, in the order in which they win: a named flag beats `--set`.
    #[must_use]
    pub fn flags(&self) -> Vec<Flag> {
        let set = self.set.iter().map(|(key, value)| ("--set", key.as_str(), Some(value)));
        let named = [
            ("--http-port", "http-port", self.http_port.as_ref()),
            ("--user-function-host", "user-function-host", self.user_function_host.as_ref()),
            ("--user-function-port", "user-function-port", self.user_function_port.as_ref()),
            ("--store", "store", self.store.as_ref()),
            ("--management-port", "management.port", self.management_port.as_ref()),
            ("--metrics-port", "telemetry.prometheus.port", self.metrics_port.as_ref()),
            ("--log-level", "log.level", self.log_level.as_ref()),
            ("--log-format", "log.format", self.log_format.as_ref()),
        ];
        let flag = |(name, key, value): (&str, &str, Option<&String>)| {
            Some(Flag { name: name.to_owned(), key: key.to_owned(), value: value?.clone() })
        };
        set.chain(named).filter_map(flag).collect()
    }
}

/// Why the process ended, as its exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was asked to stop and lost nothing.
    Stopped = 0,
    /// Something broke while it ran.
    Failed = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// A port is taken or may not be used.
    Port = 3,
    /// The store cannot be opened.
    Store = 4,
    /// The user function's command cannot be started.
    Command = 5,
    /// It was asked to stop a second time and did not finish what it had begun.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

const EXAMPLES: &str = "\
Examples:
  cloudstate demo                            a shopping cart to play with
  cloudstate run -- node index.js            the sidecar and a user function
  cloudstate run --user-function-port 8080   the sidecar of a user function that runs already
  cloudstate run --store memory --set eventsourced-entity.passivation-timeout=5s
  cloudstate config --json                   the effective settings
  cloudstate events parked                   events that the user function could not handle
  cloudstate store info                      what is in the store
  cloudstate tck --help                      how to check a proxy or an SDK

Settings come from a TOML file, under the environment, under flags.";

const EXIT_STATUSES: &str = "\
Exit status:
  0    stopped on SIGTERM or SIGINT, nothing lost
  1    something broke while running
  2    wrong command line or configuration
  3    a port is taken or may not be used
  4    the store cannot be opened
  5    COMMAND cannot be started
  130  told to stop twice: ended without finishing what was running";

const TCK_HELP: &str = "\
The user function serves the suite's model services; what it does not serve is pending. The proxy is started with
the suite's address as USER_FUNCTION_HOST and USER_FUNCTION_PORT and with empty stores. The order is: user function,
suite, proxy; or let the suite start the others. The groups of model tests need no proxy.

Examples:
  cloudstate tck                             all parts run on this machine, on their usual ports
  cloudstate tck --only 2 --only model-crdt  the user function at port 8080 alone
  cloudstate tck --function 'node index.js' --proxy 'cloudstate run --store memory'
  cloudstate tck --list

Exit status:
  0    all tests passed, or are pending
  1    tests failed
  2    the tests could not be run
  130  interrupted";

pub(crate) fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("must be KEY=VALUE, such as relay-timeout=30s".to_owned()),
    }
}
