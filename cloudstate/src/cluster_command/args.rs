//! The command line of `cloudstate cluster`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Arguments of `cluster`.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: ClusterAction,
}

/// What to do with the members of a cluster.
#[derive(Debug, Subcommand)]
pub enum ClusterAction {
    /// Show who is a member, who can be reached, who leads
    Status(StatusArgs),
    /// Ask a member to leave: it hands over what it does first
    Leave(MemberArgs),
    /// Give a member up, whatever it does: for one that is gone for good
    Down(MemberArgs),
}

/// Whom to ask.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Management of any node of the cluster, where its program serves it (not the sidecar's own port)
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8558")]
    pub node: String,
    /// File with the token that the management wants
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Arguments of `cluster status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub node: NodeArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `cluster leave` and `cluster down`.
#[derive(Debug, Args)]
pub struct MemberArgs {
    /// Where the member is, as `cluster status` shows it
    #[arg(value_name = "HOST:PORT")]
    pub member: String,
    /// Whom to ask.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// At the end of `cluster --help`.
pub const HELP: &str = "\
Examples:
  cloudstate cluster status --node 10.0.0.7:8558 --token-file /etc/cluster/token --json
  cloudstate cluster leave 10.0.0.8:2551 --node 10.0.0.7:8558 --token-file /etc/cluster/token
  cloudstate cluster down 10.0.0.9:2551 --node 10.0.0.7:8558 --token-file /etc/cluster/token

  With `cargo run -p examples --example three_nodes` in another terminal:
  cloudstate cluster status --node 127.0.0.1:25621
  cloudstate cluster leave 127.0.0.1:25523 --node 127.0.0.1:25621
  cloudstate cluster down 127.0.0.1:25522 --node 127.0.0.1:25621

Exit status:
  0    done, or begun
  1    nobody answered, or it was refused";
