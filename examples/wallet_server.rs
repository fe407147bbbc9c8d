//! Wallets with a read model: events are what is true, a table made of them is what is asked.
//!
//! ```text
//! cargo run -p examples --example wallet_server -- FOLDER 8080
//! curl -X POST 127.0.0.1:8080/wallets/ada/deposit/500     # {"balance":500,"number":1}
//! curl '127.0.0.1:8080/richest?after=ada:1'               # [{"wallet":"ada","cents":500,"changes":1}]
//! curl -X POST -H 'idempotency-key: 7f9c2ba4' 127.0.0.1:8080/wallets/ada/withdraw/20   # again and again: once
//! ```
//!
//! Each wallet is an event-sourced actor. A projection adds its events up in a table of a database of its own, with its
//! place in the same transaction: kill the program at any moment, and no event is lost or counted twice. Who has just
//! written asks with what the write answered, and sees it. Who got no answer sends the command again with the same
//! `idempotency-key`: it is carried out once, and answered as it was the first time.

#![expect(clippy::print_stdout, reason = "a program for people to watch")]

use actors::{Actor, ActorContext, ActorRef, ActorSystem, AskError, Behavior, BoxError, Handled, Props, ReplyTo};
use anyhow::Context;
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use persistence::{
    Adapted, Coded, CommandId, Effect, EventSourced, EventSourcedBehavior, FeedEvent, FeedQuery, Guarded, MessagePack,
    Once, PersistenceId, Projection, Projections, RecoveryLimit, ReplyOnce, SqliteOptions, SqliteReadModel,
    SqliteStore, WaitError, rusqlite::Transaction,
};
use serde::{Deserialize, Serialize};
use std::{net::Ipv4Addr, path::PathBuf, time::Duration};
use tokio::net::TcpListener;

const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// The most that a wallet may hold: what a column of the read model can. Whatever is stored has to fit into all that is
/// made of it, so it is refused where it is decided on, in the command handler.
const MOST_CENTS: u64 = i64::MAX as u64;

/// Wallets that read their events at the same time; the others wait.
const RECOVERIES: usize = 16;

// The wallet: what may happen, and what has.

struct WalletEntity {
    id: PersistenceId,
}

struct WalletCommand {
    change: Change,
    reply_to: ReplyToChange,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Change {
    Deposit { cents: u64 },
    Withdrawal { cents: u64 },
}

/// Where the answer goes, and whether it is kept for those who ask again.
enum ReplyToChange {
    Once(ReplyOnce<Answer>),
    Plain(ReplyTo<Answer>),
}

/// What is answered, and to what: who sends a key again with something else is told so.
#[derive(Serialize, Deserialize)]
struct Answer {
    to: Change,
    outcome: Outcome,
}

#[derive(Serialize, Deserialize)]
enum Outcome {
    Changed(Changed),
    /// More than is there, or more than there is room for.
    Refused {
        balance: u64,
    },
}

/// The balance after a change, and the number under which it was stored.
#[derive(Serialize, Deserialize)]
struct Changed {
    balance: u64,
    number: u64,
}

#[derive(Clone, Serialize, Deserialize)]
enum WalletEvent {
    Deposited { cents: u64 },
    Withdrawn { cents: u64 },
}

#[derive(Default)]
struct Wallet {
    cents: u64,
    /// Of the last event.
    number: u64,
}

impl EventSourced for WalletEntity {
    type Command = WalletCommand;
    type Event = WalletEvent;
    type State = Wallet;

    fn persistence_id(&self) -> PersistenceId {
        self.id.clone()
    }

    fn once<'c>(&self, command: &'c mut WalletCommand) -> Option<&'c mut dyn Once> {
        match &mut command.reply_to {
            ReplyToChange::Once(reply_to) => Some(reply_to),
            ReplyToChange::Plain(_) => None,
        }
    }

    fn handle_command(&self, wallet: &Wallet, WalletCommand { change, reply_to }: WalletCommand) -> Effect<Self> {
        let (after, event) = match change {
            Change::Deposit { cents } => {
                let sum = wallet.cents.checked_add(cents).filter(|sum| *sum <= MOST_CENTS);
                (sum, WalletEvent::Deposited { cents })
            }
            Change::Withdrawal { cents } => (wallet.cents.checked_sub(cents), WalletEvent::Withdrawn { cents }),
        };
        let (effect, outcome) = match after {
            None => (Effect::none(), Outcome::Refused { balance: wallet.cents }),
            Some(balance) => (Effect::persist(event), Outcome::Changed(Changed { balance, number: wallet.number + 1 })),
        };
        let answer = Answer { to: change, outcome };
        match reply_to {
            ReplyToChange::Once(reply_to) => effect.then_reply_once(reply_to, answer),
            ReplyToChange::Plain(reply_to) => effect.then_reply(reply_to, |_| answer),
        }
    }

    fn handle_event(wallet: &mut Wallet, event: &WalletEvent) {
        match event {
            WalletEvent::Deposited { cents } => wallet.cents += cents,
            WalletEvent::Withdrawn { cents } => wallet.cents -= cents,
        }
        wallet.number += 1;
    }
}

// The bank: starts a wallet when it is first asked for. In a cluster, sharding does this.

/// Behind a circuit breaker: while the disk fails, commands are refused at once and it is left in peace. Clones share it.
type Events = Adapted<Guarded<SqliteStore>, MessagePack<WalletEvent>>;

struct Bank {
    events: Events,
    recoveries: RecoveryLimit,
}

struct ToWallet(PersistenceId, WalletCommand);

impl Actor for Bank {
    type Message = ToWallet;

    async fn receive(&mut self, ctx: &mut ActorContext<ToWallet>, ToWallet(id, command): ToWallet) -> Handled {
        let wallet = ctx.child(id.entity_id()).unwrap_or_else(|| {
            let entity = WalletEntity { id: id.clone() };
            let behavior = EventSourcedBehavior::with_records(entity, self.events.clone());
            ctx.spawn(id.entity_id(), behavior.recovery_limit(self.recoveries.clone()))
        });
        wallet.tell(command);
        Ok(Behavior::Same)
    }
}

fn codec() -> MessagePack<WalletEvent> {
    MessagePack::new("wallet.Event", 1)
}

// The read model: one row for each wallet.

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS wallet(name TEXT PRIMARY KEY, cents INTEGER NOT NULL, changes INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS wallet_cents ON wallet(cents);";

/// Runs in the transaction that also notes how far the projection is.
fn add_up(db: &Transaction<'_>, event: &FeedEvent<WalletEvent>) -> Result<(), BoxError> {
    let change = match event.stored.event {
        WalletEvent::Deposited { cents } => i64::try_from(cents)?,
        WalletEvent::Withdrawn { cents } => -i64::try_from(cents)?,
    };
    db.prepare_cached(
        "INSERT INTO wallet(name, cents, changes) VALUES (?1, ?2, 1)
         ON CONFLICT DO UPDATE SET cents = cents + excluded.cents, changes = changes + 1",
    )?
    .execute((event.id.entity_id(), change))?;
    Ok(())
}

#[derive(Serialize)]
struct Row {
    wallet: String,
    cents: u64,
    changes: u64,
}

// HTTP.

#[derive(Clone)]
struct App {
    bank: ActorRef<ToWallet>,
    model: SqliteReadModel,
    balances: Projections,
}

type Refusal = (StatusCode, String);

async fn deposit(
    State(app): State<App>,
    Path((name, cents)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Changed>, Refusal> {
    app.change(&name, Change::Deposit { cents: amount(&cents)? }, &headers).await
}

async fn withdraw(
    State(app): State<App>,
    Path((name, cents)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Json<Changed>, Refusal> {
    app.change(&name, Change::Withdrawal { cents: amount(&cents)? }, &headers).await
}

impl App {
    async fn change(&self, name: &str, change: Change, headers: &HeaderMap) -> Result<Json<Changed>, Refusal> {
        let (id, key) = (PersistenceId::of("wallet", name), idempotency_key(headers)?);
        let has_key = key.is_some();
        let command = |reply_to| {
            let reply_to = match key {
                Some(key) => ReplyToChange::Once(ReplyOnce::new(key, reply_to)),
                None => ReplyToChange::Plain(reply_to),
            };
            ToWallet(id, WalletCommand { change, reply_to })
        };
        let answer = self.bank.ask(command, ANSWER_WITHIN).await.map_err(|error| not_known(error, has_key))?;
        if answer.to != change {
            let text = "this idempotency-key was that of another command: each needs one of its own\n";
            return Err((StatusCode::UNPROCESSABLE_ENTITY, text.to_owned()));
        }
        match (answer.outcome, change) {
            (Outcome::Changed(changed), _) => Ok(Json(changed)),
            (Outcome::Refused { balance }, Change::Deposit { .. }) => {
                let room = MOST_CENTS.saturating_sub(balance);
                let text = format!(
                    "a wallet holds at most {MOST_CENTS} cents and {name} has {balance}: deposit at most {room}\n"
                );
                Err((StatusCode::BAD_REQUEST, text))
            }
            (Outcome::Refused { balance }, Change::Withdrawal { cents }) => {
                Err((StatusCode::CONFLICT, format!("{name} has {balance} cents and not {cents}\n")))
            }
        }
    }
}

fn amount(cents: &str) -> Result<u64, Refusal> {
    cents.parse().map_err(|_| {
        (StatusCode::BAD_REQUEST, format!("{cents}: write a whole number of cents, at most {MOST_CENTS}\n"))
    })
}

/// The command's name, if its sender gave it one.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<CommandId>, Refusal> {
    let bad = |why: String| (StatusCode::BAD_REQUEST, format!("idempotency-key: {why}\n"));
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().map_err(|error| bad(error.to_string()))?;
    CommandId::try_of(key, &[]).map(Some).map_err(|error| bad(error.to_string()))
}

/// A command without an answer.
fn not_known(error: AskError, has_key: bool) -> Refusal {
    let what_to_do = if has_key {
        "send it again with the same idempotency-key"
    } else {
        "look before you send it again, or give it an idempotency-key the next time"
    };
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}: whether it was stored is not known; {what_to_do}\n"))
}

/// The read model may be some moments behind. Who wants to see a change says which: `after=WALLET:NUMBER`.
#[derive(Deserialize)]
struct Freshness {
    after: Option<String>,
}

async fn richest(
    State(app): State<App>,
    Query(Freshness { after }): Query<Freshness>,
) -> Result<Json<Vec<Row>>, Refusal> {
    if let Some(after) = after {
        let place = after.rsplit_once(':').and_then(|(name, number)| Some((name, number.parse().ok()?)));
        let Some((name, number)) = place else {
            return Err((StatusCode::BAD_REQUEST, format!("after={after}: write WALLET:NUMBER\n")));
        };
        let id = PersistenceId::of("wallet", name);
        app.balances.wait_until(&id, number, ANSWER_WITHIN).await.map_err(|error| behind(&after, &error))?;
    }
    let rows = app.model.read(|db| {
        let mut query =
            db.prepare_cached("SELECT name, cents, changes FROM wallet ORDER BY cents DESC, name LIMIT 10")?;
        let rows = query.query_map((), |row| {
            let (cents, changes) = (row.get::<_, i64>(1)?, row.get::<_, i64>(2)?);
            Ok(Row { wallet: row.get(0)?, cents: cents.unsigned_abs(), changes: changes.unsigned_abs() })
        })?;
        rows.collect()
    });
    Ok(Json(rows.await.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")))?))
}

/// A query that has not seen what it waited for. It changes nothing, so it can always be asked again.
fn behind(after: &str, error: &WaitError) -> Refusal {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("the read model has not seen {after} ({error}): ask again, or without `after` for what it has seen\n"),
    )
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().unwrap_or_else(|| "wallets-data".to_owned()));
    let port: u16 = args.next().map_or(Ok(8080), |port| port.parse()).context("the second argument is a port")?;

    let store = SqliteStore::open(&folder, SqliteOptions::default())?;
    let model = SqliteReadModel::open(folder.join("balances.db"), |db| db.execute_batch(TABLES))?;

    let system = ActorSystem::new("bank");
    let feed = Coded::new(store.clone(), codec());
    let balances = Projection::events("balances", feed, FeedQuery::of("wallet")).exactly_once(&model, add_up);
    let balances = Projections::spawn(&system, balances, 1);
    let journal = Guarded::journal(store.clone(), system.clock().clone());
    let (events, recoveries) = (Adapted::new(journal, codec()), RecoveryLimit::new(RECOVERIES));
    let bank = Props::new(move || Bank { events: events.clone(), recoveries: recoveries.clone() });
    let bank = system.spawn("bank", bank);

    let app = Router::new()
        .route("/wallets/{name}/deposit/{cents}", post(deposit))
        .route("/wallets/{name}/withdraw/{cents}", post(withdraw))
        .route("/richest", get(richest))
        .with_state(App { bank, model, balances: balances.clone() });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.context("listening")?;
    println!("wallets in {} on http://{}", folder.display(), listener.local_addr()?);
    axum::serve(listener, app)
        .with_graceful_shutdown(async {
            // Without a handler for it ctrl-c ends the program at once, which loses nothing either.
            let _ = tokio::signal::ctrl_c().await;
        })
        .await?;

    balances.stop(ANSWER_WITHIN).await.context("stopping the projection")?;
    system.terminate().await;
    store.close().await;
    Ok(())
}
