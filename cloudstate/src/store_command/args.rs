//! The command line of `cloudstate store`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::SettingArgs;

/// Arguments of `store`.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: StoreAction,
}

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub enum StoreAction {
    /// Show how much is in the store, and how far its consumers are
    Info(InfoArgs),
    /// List entities, by persistence id
    Entities(EntitiesArgs),
    /// Show the events of an entity
    #[command(after_help = EVENTS_HELP)]
    Events(EventsArgs),
    /// Show what is stored of an entity beside its events: state or newest snapshot, epochs, what is deleted
    #[command(after_help = STATE_HELP)]
    State(StateArgs),
    /// Look at every row and name all that is wrong
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Copy the store as it is at this moment into a file, while the sidecar goes on
    #[command(after_help = BACKUP_HELP)]
    Backup(BackupArgs),
    /// Make a store of a backup, in a place where nothing is
    #[command(after_help = RESTORE_HELP)]
    Restore(RestoreArgs),
    /// Write everything in the store as lines of JSON, from which any kind of store can be made
    #[command(after_help = EXPORT_HELP)]
    Export(ExportArgs),
    /// Make a store of what `export` wrote, in a place where nothing is
    #[command(after_help = IMPORT_HELP)]
    Import(ImportArgs),
    /// Run SQL that reads
    #[command(after_help = SQL_HELP)]
    Sql(SqlArgs),
    /// After a restore on another PostgreSQL server: have sidecars accept the store there
    #[command(after_help = ADOPT_HELP)]
    Adopt(AdoptArgs),
}

/// Which store.
#[derive(Debug, Args)]
pub struct PlaceArgs {
    /// sqlite:FOLDER or postgres://USER@HOST/DATABASE [env: CLOUDSTATE_STORE] [default: sqlite:./cloudstate-data]
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// The sidecar's configuration file, TOML [env: CLOUDSTATE_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Any other setting of the sidecar. May be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = crate::cli::key_and_value)]
    pub set: Vec<(String, String)>,
}

/// How to show payloads.
#[derive(Debug, Args)]
pub struct PayloadArgs {
    /// Descriptors by which payloads are shown as JSON: a file of `protoc --include_imports --descriptor_set_out=FILE`
    #[arg(long, value_name = "FILE")]
    pub descriptors: Option<PathBuf>,
}

/// Arguments of `store info`.
#[derive(Debug, Args)]
pub struct InfoArgs {
    /// Which store.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `store entities`.
#[derive(Debug, Args)]
pub struct EntitiesArgs {
    /// Which store.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Only of this type: what stands before the | in a persistence id
    #[arg(long = "type", value_name = "TYPE")]
    pub entity_type: Option<String>,
    /// Only those that begin so: the entity id with --type, else the persistence id
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    pub prefix: String,
    /// Only those behind this persistence id
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
    /// Print JSON, one entity a line
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `store events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// The persistence id, type|entity
    #[arg(value_name = "ID")]
    pub id: String,
    /// Which store.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Only this event, with all that is stored of it
    #[arg(long, value_name = "SEQ", conflicts_with_all = ["from", "to"])]
    pub at: Option<u64>,
    /// From this sequence number on
    #[arg(long, value_name = "SEQ", default_value_t = 1, hide_default_value = true)]
    pub from: u64,
    /// Up to this sequence number
    #[arg(long, value_name = "SEQ")]
    pub to: Option<u64>,
    /// How to show payloads.
    #[command(flatten)]
    pub payload: PayloadArgs,
    /// Print JSON, one event a line
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `store state`.
#[derive(Debug, Args)]
pub struct StateArgs {
    /// The persistence id, type|entity
    #[arg(value_name = "ID")]
    pub id: String,
    /// Which store.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// How to show payloads.
    #[command(flatten)]
    pub payload: PayloadArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `store check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Which store.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Print JSON, one finding a line, and a summary
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `store backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file to write, or a folder; of a SQLite store the folder then is a store of its own
    #[arg(value_name = "FILE|FOLDER")]
    pub target: PathBuf,
    /// Which store.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Do not check the copy
    #[arg(long)]
    pub no_check: bool,
}

/// Arguments of `store restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// What `backup` wrote
    #[arg(value_name = "FILE|FOLDER")]
    pub source: PathBuf,
    /// Which store.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Do not check what is restored, damage and all: a SQLite database as one again
    #[arg(long)]
    pub no_check: bool,
}

/// Arguments of `store export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The file to write; - for standard output
    #[arg(value_name = "FILE", default_value = "-", hide_default_value = true)]
    pub target: PathBuf,
    /// Which store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Arguments of `store import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What `export` wrote; - for standard input
    #[arg(value_name = "FILE")]
    pub source: PathBuf,
    /// Which store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Arguments of `store sql`.
#[derive(Debug, Args)]
pub struct SqlArgs {
    /// One statement; without it statements are read from standard input, each ended by a semicolon
    #[arg(value_name = "STATEMENT")]
    pub statement: Option<String>,
    /// Which store.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Print JSON, one row a line
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `store adopt`.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// Which store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

impl StoreAction {
    /// Which store is meant.
    #[must_use]
    pub fn place(&self) -> &PlaceArgs {
        match self {
            Self::Info(args) => &args.place,
            Self::Entities(args) => &args.place,
            Self::Events(args) => &args.place,
            Self::State(args) => &args.place,
            Self::Check(args) => &args.place,
            Self::Backup(args) => &args.place,
            Self::Restore(args) => &args.place,
            Self::Export(args) => &args.place,
            Self::Import(args) => &args.place,
            Self::Sql(args) => &args.place,
            Self::Adopt(args) => &args.place,
        }
    }
}

impl PlaceArgs {
    /// As the sidecar would be given them.
    #[must_use]
    pub fn settings(&self) -> SettingArgs {
        let Self { store, config, set } = self;
        SettingArgs { store: store.clone(), config: config.clone(), set: set.clone(), ..SettingArgs::default() }
    }
}

/// What stands below the help of `store`.
pub const HELP: &str = "\
All of these may be used while a sidecar runs on the store: they read beside it and change nothing; restore and import
make new stores only. While one of them reads, the write-ahead log of a store on SQLite grows by what is written, and from
a certain length on the sidecar waits for it now and then, up to 100 ms: have long ones run when there is little to do.

Examples:
  cloudstate store info
  cloudstate store entities --type shopping-cart --limit 20
  cloudstate store events 'shopping-cart|ada' --from 10
  cloudstate store check --store sqlite:/var/lib/cloudstate
  cloudstate store backup /backup/monday.db
  cloudstate store restore /backup/monday.db --store sqlite:/var/lib/restored
  cloudstate store export --store postgres://shop@db/shop | cloudstate store import - --store sqlite:/var/lib/shop
  cloudstate store sql 'SELECT entity_type, count(*) FROM entity GROUP BY 1'

Exit status:
  0    done; for check: nothing is wrong
  1    it failed, or there is no such entity; for check: something is wrong
  2    wrong command line or configuration
  4    the store cannot be opened, or the place for a new one is not empty
  130  interrupted; what was unfinished is removed";

const EVENTS_HELP: &str = "\
Payloads are shown as JSON where their type is known: JSON and primitive values always, other messages with
--descriptors. Else the fields of a message are shown by number, then text as text, then bytes as hexadecimal digits.
Lists show the beginning of long payloads; --at and --json show them whole.

Examples:
  cloudstate store events 'shopping-cart|ada'
  cloudstate store events 'shopping-cart|ada' --at 17
  cloudstate store events 'shopping-cart|ada' --from 100 --to 120 --json --descriptors cart.desc";

const STATE_HELP: &str = "\
For an entity that keeps a history this is its newest snapshot and how many events come after it: what they add up to
only the user function knows. `cloudstate store events ID` shows them.";

const CHECK_HELP: &str = "\
Looked at are: in SQLite the pages of the database and whether its indexes agree with its tables, for which PostgreSQL
has pg_amcheck; the checksum of every event, snapshot and state; that the events of each entity have no holes, are in
order and never fall to an older epoch; that nothing was written with an epoch that was never claimed; that events, tags,
snapshots, states, offsets and parked events belong to something.

A finding is a line on standard output. Nothing is repaired: restore a backup, or start the sidecar, which refuses the
damaged entities and serves the others. A warning is a line that begins with \"warning: \": what it tells of may be meant
so, as events that were deleted without a snapshot, and does not change the exit status.

Exit status:
  0    nothing is wrong, warnings apart
  1    something is
  4    the store cannot be opened";

const BACKUP_HELP: &str = "\
SQLite: a copy of the database, page by page, of one moment: that at which the command starts. The sidecar is not held
up for longer than a moment; its write-ahead log grows meanwhile by what is written. The copy is checked as by `store
check` before it gets its name, and is on the disk when the command ends. Copying store.db by other means while a sidecar
runs gives no backup.

PostgreSQL: lines of JSON as `store export` writes them, of one moment: that of a transaction which only reads. It is
checked as by `store check` first, and so read twice. Sidecars are not held up; the server keeps what is deleted meanwhile
until the command ends. `restore` and `import` make a store of it, of either kind. Backups of whole databases and of
points in time are the administrator's: pg_dump or a base backup hold the store like any other tables. Once pg_restore
has put it on another server: `cloudstate store adopt`.

Examples:
  cloudstate store backup /backup/$(date +%F).db
  cloudstate store backup /backup/monday/      a folder that can be used as a store: sqlite:/backup/monday
  cloudstate store backup /backup/monday.jsonl --store postgres://shop@db/shop";

const RESTORE_HELP: &str = "\
--store names the place for the store, which must be empty or not exist. The backup itself stays as it is. What was
copied is checked as by `store check` and only then put in place; of a SQLite database that becomes one again that can be
left out (--no-check). Everything is as it was, epochs included: whoever was shut out before stays shut out. A backup of
either kind of store can be restored as either.

PostgreSQL: into a schema whose tables are empty or not there (--set postgres.schema=NAME for another one), in one
transaction: all or nothing. No sidecar may run on that schema meanwhile. The store begins a new generation, so that what
is written from now on comes after everything before in the order in which consumers read, and consumers go on where they
were. It belongs to this server at once: there is nothing to adopt.

Examples:
  cloudstate store restore /backup/monday.db --store sqlite:/var/lib/cloudstate
  cloudstate store restore /backup/monday.jsonl --store postgres://shop@db/restored";

const EXPORT_HELP: &str = "\
The first line names the version of the format. Then comes a line for each owner of a shard, offset of a consumer, parked
event, entity, event in commit order, snapshot and state; payloads as base64. The last line holds the totals and a
checksum, so that a file that lost its end is no export. All of it is of one moment. A damaged row ends the export with an
error that names it.

Examples:
  cloudstate store export everything.jsonl
  cloudstate store export | zstd > everything.jsonl.zst";

const IMPORT_HELP: &str = "\
--store names the place for the store, which must be empty or not exist; in PostgreSQL that is a schema whose tables are
empty or not there, on which no sidecar runs meanwhile. All of the file or nothing is taken: the new store is checked as
by `store check` and only then put in place. Epochs stay, so whoever was shut out before stays shut out; consumers go on
where they were.

Examples:
  cloudstate store import everything.jsonl --store sqlite:/var/lib/other
  zstd -dc everything.jsonl.zst | cloudstate store import - --store postgres://shop@db/shop";

const SQL_HELP: &str = "\
Nothing can be changed: the database is opened read-only, in PostgreSQL by a transaction for each statement that can only
read, and statements that do anything but read are refused. Bytes are shown as x'hexadecimal digits'. Without a statement
on a terminal it is a shell. In PostgreSQL tables need no schema before their names, and there is no limit to how long a
statement may take.

Examples:
  cloudstate store sql 'SELECT entity_type, count(*) FROM entity GROUP BY 1'
  cloudstate store sql 'SELECT sql FROM sqlite_schema'
  cloudstate store sql --json 'SELECT * FROM owner' | jq .
  cloudstate store sql < report.sql";

const ADOPT_HELP: &str = "\
For a store that pg_restore put on another server, or that came to another server by an upgrade with pg_dump: sidecars
refuse it there, because the numbers of transactions, by which its events are ordered, begin anew on each server. Adopting
it says that nobody writes to the original any more: the store begins a new generation, whose events come after all those
before. A second time it does nothing, as on the server that wrote the store. What `cloudstate store restore` or `import`
made needs no adoption.

A store in SQLite needs no such thing: a restored one can be used at once.

Example:
  pg_restore -d shop shop.dump && cloudstate store adopt --store postgres://shop@newdb/shop";
